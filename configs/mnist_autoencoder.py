"""Autoencoder on MNIST: the baseline of every picture."""

from configs import default


def get_config():
  """A 2-D code that nothing shapes."""
  config = default.get_config()
  config.dataset.name = 'mnist'
  config.encoder.batch_norm = True
  config.epochs = 20
  return config
