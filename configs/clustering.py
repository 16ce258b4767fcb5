"""Clustering AAE on any images: groups of those that are alike, without labels.

  aae train clustering --config.dataset.name=./photos \
      --config.dataset.image_size="(32, 32)"

Without a name it takes digits: 13.1 % of the test images are in a cluster of
another digit (one run), after a minute and a half of one core.
"""

from aae_jax import recipes, rules


def get_config(variant='fast'):
  """--config.num_clusters is three times the classes, or 24 of none."""
  config = recipes.start('clustering_aae', 'digits')
  recipes.noisy(config)
  recipes.adam(config, 'reconstruction', 'discriminator', 'generator')
  recipes.without_labels(config)
  recipes.consistent(config, begin=0.0)
  recipes.sure_clusters(config)
  config.weights.generator.y_weight = 3.0
  config.latent_size = 5
  config.schedule.name = 'linear'
  rules.leave(config, *rules.OF_IMAGES, *rules.OF_Y, 'num_clusters')
  return recipes.variant(config, variant)
