"""Label-regularized AAE on digits: a mode of the prior for each label."""

from aae_jax import recipes


def get_config(variant='fast'):
  """All images are labelled; --config.num_labels=500 for fewer."""
  config = recipes.start('label_regularized_aae', 'digits', hidden=(256, 256))
  config.encoder.batch_norm = True
  config.prior.name = 'gaussian_mixture'
  recipes.adam(config, 'reconstruction', 'discriminator', 'generator')
  config.schedule.name = 'linear'
  config.epochs = 200
  return recipes.variant(config, variant)
