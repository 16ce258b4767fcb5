"""Adversarial autoencoder on MNIST, 2-D Gaussian prior (figure 2)."""

from configs import default


def get_config(variant='fast'):
  """--config.prior.name=gaussian_mixture or swiss_roll for the others."""
  config = default.get_config()
  config.objective = 'aae'
  config.dataset.name = 'mnist'
  default.hidden(config, 400, 400)
  config.encoder.batch_norm = True
  default.phases(config, 'reconstruction', 'discriminator', 'generator')
  config.batch_size = 200
  config.epochs = 40
  config.schedule.name = 'linear'
  return default.variant(config, variant)
