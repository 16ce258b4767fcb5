"""Supervised AAE on digits: label to the decoder, style to the code."""

from configs import default


def get_config():
  """The decoder is told the label of every image."""
  config = default.get_config()
  config.system = 'supervised_aae'
  config.latent_size = 4
  # Beside a style this small the decoder learns first what the label tells it.
  config.prior.std = 0.1
  default.hidden(config, 256, 256)
  config.encoder.batch_norm = True
  default.phases(config, 'reconstruction', 'discriminator', 'generator')
  config.schedule.name = 'linear'
  config.epochs = 200
  return config
