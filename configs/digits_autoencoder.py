"""Autoencoder on digits: the baseline of every picture."""

from configs import default


def get_config():
  """A 2-D code that nothing shapes."""
  config = default.get_config()
  default.hidden(config, 256, 256)
  config.encoder.batch_norm = True
  return config
