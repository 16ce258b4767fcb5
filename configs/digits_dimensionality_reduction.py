"""Dimensionality-reduction AAE on digits, 2-D, with 100 labels."""

from aae_jax import recipes


def get_config(variant='fast'):
  """The representation is a learned cluster head plus style."""
  config = recipes.start(
    'dimensionality_reduction_aae', 'digits', hidden=(256, 256)
  )
  recipes.noisy(config)
  recipes.adam(
    config,
    'reconstruction',
    'discriminator',
    'generator',
    'classification',
    'separation',
  )
  config.weights.generator.y_weight = 3.0
  config.weights.separation.threshold = 4.0
  config.num_labels = 100
  config.schedule.name = 'linear'
  config.epochs = 250
  return recipes.variant(config, variant)
