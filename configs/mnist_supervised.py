"""Supervised AAE on MNIST: styles by labels (figure 7)."""

from configs import default


def get_config(variant='fast'):
  """The decoder is told the label of every image."""
  config = default.get_config()
  config.objective = 'supervised_aae'
  config.dataset.name = 'mnist'
  config.latent_size = 15
  default.hidden(config, 400, 400)
  config.encoder.batch_norm = True
  default.phases(config, 'reconstruction', 'discriminator', 'generator')
  config.batch_size = 200
  config.epochs = 40
  config.schedule.name = 'linear'
  return default.variant(config, variant)
