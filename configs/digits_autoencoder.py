"""Autoencoder on digits: the baseline of every picture."""

from configs import default


def get_config():
  """A 2-D code that nothing shapes."""
  config = default.get_config()
  config.encoder.hidden = config.decoder.hidden = (256, 256)
  return config
