"""Supervised AAE on digits: label to the decoder, style to the code."""

from aae_jax import recipes


def get_config(variant='fast'):
  """The decoder is told the label of every image."""
  config = recipes.start('supervised_aae', 'digits', hidden=(256, 256))
  # Beside a style this small the decoder learns first what the label tells it.
  config.prior.std = 0.1
  config.encoder.batch_norm = True
  recipes.adam(config, 'reconstruction', 'discriminator', 'generator')
  config.latent_size = 4
  config.schedule.name = 'linear'
  config.epochs = 200
  return recipes.variant(config, variant)
