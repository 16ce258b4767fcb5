"""Generative adversarial network on digits."""

from configs import default


def get_config():
  """A decoder of Gaussian noise, and a discriminator of images."""
  config = default.get_config()
  config.objective = 'gan'
  config.latent_size = 10
  default.hidden(config, 256, 256)
  default.phases(config, 'discriminator', 'generator')
  config.epochs = 300
  return config
