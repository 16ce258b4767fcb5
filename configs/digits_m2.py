"""Semi-supervised VAE (M2) on digits with 100 labels (results table).

python train.py --config=configs/digits_m2.py
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """The weight of the cross-entropy is of means over batches."""
  config = recipes.start('m2', 'digits', hidden=(256,))
  recipes.adam(config, 'bound')
  config.encoder.activation = config.decoder.activation = 'softplus'
  config.binarize = False
  config.weights.bound.classification_weight = 1.0
  config.latent_size = 10
  config.num_labels = 100
  config.batch_size = 100
  config.schedule.name = 'linear'
  config.epochs = 200
  config.num_seeds = 3
  return recipes.variant(config, variant)
