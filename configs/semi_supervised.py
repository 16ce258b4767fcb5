"""Semi-supervised AAE on any images, of which few are labelled.

  aae train semi_supervised --config.dataset.name=./photos \
      --config.dataset.image_size="(32, 32)"

Without a name it takes digits: with --config.num_labels=100 it errs in 5.6 % of
the test images (one draw), after a minute and a half of one core.
"""

from aae_jax import recipes, rules


def get_config(variant='fast'):
  """Sizes follow from the data; all labels that are given are learnt from."""
  config = recipes.start('semi_supervised_aae', 'digits')
  recipes.noisy(config)
  recipes.adam(
    config, 'reconstruction', 'discriminator', 'generator', 'classification'
  )
  recipes.consistent(config, begin=0.0)
  recipes.of_any_frequency(config)
  config.latent_size = 10
  config.schedule.name = 'linear'
  rules.leave(config, *rules.OF_IMAGES, *rules.OF_Y, *rules.OF_LABELS)
  return recipes.variant(config, variant)
