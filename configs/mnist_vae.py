"""Variational autoencoder on MNIST, 2-D Gaussian prior (figure 2)."""

from configs import default


def get_config():
  """--config.prior.name=gaussian_mixture estimates the divergence."""
  config = default.get_config()
  config.objective = 'vae'
  config.dataset.name = 'mnist'
  default.hidden(config, 400, 400)
  default.phases(config, 'elbo')
  config.batch_size = 200
  config.epochs = 30
  config.schedule.name = 'linear'
  return config
