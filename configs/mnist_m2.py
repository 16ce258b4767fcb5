"""Semi-supervised VAE (M2) on MNIST with 100 labels (results table).

  python train.py --config=configs/mnist_m2.py

Kingma et al. (2014) err in 11.97 ± 1.71 % of the test images with 100 labels
and in 3.60 ± 0.56 % with 1000 (--config.num_labels=1000), after 3000 epochs.
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """The weight of the cross-entropy is of means over batches."""
  config = recipes.start('m2', 'mnist', hidden=(500,))
  recipes.adam(config, 'bound')
  config.encoder.activation = config.decoder.activation = 'softplus'
  config.binarize = True
  config.weights.bound.classification_weight = 1.0
  config.latent_size = 50
  config.num_labels = 100
  config.batch_size = 200
  config.schedule.name = 'linear'
  config.epochs = 30
  return recipes.variant(config, variant)
