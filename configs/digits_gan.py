"""Generative adversarial network on digits."""

from configs import default


def get_config():
  """A decoder of Gaussian noise, and a discriminator of images."""
  config = default.get_config()
  config.system = 'gan'
  config.latent_size = 10
  default.hidden(config, 256, 256)
  config.discriminator.activation = 'leaky_relu'
  default.phases(
    config, 'discriminator', 'generator', discriminator=2e-4, generator=2e-4
  )
  config.epochs = 300
  return config
