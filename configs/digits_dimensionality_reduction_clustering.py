"""Dimensionality-reduction AAE on digits, 2-D, 16 clusters, no labels."""

from aae_jax import recipes


def get_config(variant='fast'):
  """Nothing but the images; validation images name the clusters."""
  config = recipes.start(
    'dimensionality_reduction_clustering_aae', 'digits', hidden=(256, 256)
  )
  recipes.noisy(config)
  recipes.adam(
    config,
    'reconstruction',
    'discriminator',
    'generator',
    'separation',
    separation=1e-2,
  )
  recipes.without_labels(config)
  config.weights.generator.y_weight = 3.0
  config.weights.separation.threshold = 4.0
  config.num_clusters = 16
  config.dataset.num_validation = 137
  config.schedule.name = 'linear'
  config.epochs = 250
  return recipes.variant(config, variant)
