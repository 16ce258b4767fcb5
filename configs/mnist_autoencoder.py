"""Autoencoder on MNIST: the baseline of every picture."""

from configs import default


def get_config():
  """A 2-D code that nothing shapes."""
  config = default.get_config()
  config.dataset.name = 'mnist'
  default.hidden(config, 400, 400)
  config.encoder.batch_norm = True
  config.batch_size = 200
  config.epochs = 30
  config.schedule.name = 'linear'
  return config
