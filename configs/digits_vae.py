"""Variational autoencoder on digits, 2-D Gaussian prior."""

from configs import default


def get_config():
  """The divergence to the prior in closed form."""
  config = default.get_config()
  config.system = 'vae'
  default.hidden(config, 256, 256)
  default.phases(config, 'elbo')
  return config
