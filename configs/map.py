"""Dimensionality-reduction AAE: any images as a map in the plane.

  aae train map --config.dataset.name=./photos \
      --config.dataset.image_size="(32, 32)"

It learns from few labels; `map:unlabelled` from none. Without a name it takes
digits: with --config.num_labels=100 it errs in 8.3 % of the test images, and
`map:unlabelled` in 15.6 % by its clusters (one draw of each), after two minutes
of one core.
"""

from aae_jax import recipes, rules


def get_config(variant='fast'):
  """--config.latent_size=3 for a map in space."""
  config = recipes.start('dimensionality_reduction_aae', 'digits')
  recipes.noisy(config)
  recipes.adam(
    config,
    'reconstruction',
    'discriminator',
    'generator',
    'classification',
    'separation',
  )
  recipes.consistent(config, begin=0.0)
  recipes.of_any_frequency(config)
  config.weights.separation.threshold = 4.0
  config.schedule.name = 'linear'
  rules.leave(config, *rules.OF_IMAGES, *rules.OF_Y, *rules.OF_LABELS)
  return recipes.variant(config, variant, unlabelled=_unlabelled)


def _unlabelled(config):
  """Nothing but the images."""
  config.system = 'dimensionality_reduction_clustering_aae'
  del config.optimizer.classification
  config.optimizer.separation.learning_rate = 1e-2
  recipes.without_labels(config)
  recipes.sure_clusters(config)
  config.prior_y.frequencies = 'uniform'
  config.weights.generator.y_weight = 3.0
  config.labelled_batch_size = recipes.defaults().labelled_batch_size
  rules.leave(config, *rules.OF_IMAGES, *rules.OF_Y, 'num_clusters')
