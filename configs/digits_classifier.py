"""The encoder of digits_semi_supervised, trained on the 100 labels alone.

  python train.py --config=configs/digits_classifier.py

Half a minute on two cores.
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """What the semi-supervised AAE is compared with."""
  config = recipes.start('classifier', 'digits', hidden=(256, 256))
  recipes.noisy(config)
  recipes.adam(config, 'classification')
  config.num_labels = 100
  config.schedule.name = 'linear'
  config.epochs = 250
  config.num_seeds = 3
  return recipes.variant(config, variant)
