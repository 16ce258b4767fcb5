"""Skip deep generative model (SDGM) on digits, 100 labels.

python train.py --config=configs/digits_sdgm.py
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """The weight of the cross-entropy is that of its authors."""
  config = recipes.start('sdgm', 'digits', hidden=(128, 128))
  recipes.adam(config, 'bound')
  config.binarize = False
  config.weights.bound.classification_weight = 60.0
  config.latent_size = config.auxiliary_size = 10
  config.num_labels = 100
  config.batch_size = 100
  config.schedule.name = 'linear'
  config.epochs = 100
  config.num_seeds = 3
  return recipes.variant(config, variant)
