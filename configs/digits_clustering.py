"""Clustering AAE on digits with 16 clusters."""

from aae_jax import recipes


def get_config(variant='fast'):
  """Validation images name the clusters, for the error."""
  config = recipes.start('clustering_aae', 'digits', hidden=(256, 256))
  recipes.noisy(config)
  recipes.adam(config, 'reconstruction', 'discriminator', 'generator')
  recipes.without_labels(config)
  config.weights.generator.y_weight = 3.0
  config.latent_size = 5
  config.num_clusters = 16
  config.dataset.num_validation = 137
  config.schedule.name = 'linear'
  config.epochs = 250
  return recipes.variant(config, variant)
