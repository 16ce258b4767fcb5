"""Supervised AAE on SVHN: styles by labels (figure 7)."""

from configs import default


def get_config():
  """The decoder is told the label of every image."""
  config = default.get_config()
  config.objective = 'supervised_aae'
  config.dataset.name = 'svhn_cropped'
  config.latent_size = 15
  config.num_labels = -1
  config.discriminator.hidden = (400, 400)
  default.convolutional(config, channels=(32, 64, 128), hidden=(256,))
  default.phases(config, 'reconstruction', 'discriminator', 'generator')
  config.schedule.name = 'linear'
  config.epochs = 40
  return config
