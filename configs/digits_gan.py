"""Generative adversarial network on digits."""

from aae_jax import recipes


def get_config(variant='fast'):
  """A decoder of Gaussian noise, and a discriminator of images."""
  config = recipes.start('gan', 'digits', hidden=(256, 256))
  config.discriminator.activation = 'leaky_relu'
  recipes.adam(
    config, 'discriminator', 'generator', discriminator=2e-4, generator=2e-4
  )
  config.latent_size = 10
  config.epochs = 300
  return recipes.variant(config, variant)
