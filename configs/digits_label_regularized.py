"""Label-regularized AAE on digits: a mode of the prior for each label."""

from configs import default


def get_config():
  """All images are labelled; --config.num_labels=500 for fewer."""
  config = default.get_config()
  config.system = 'label_regularized_aae'
  config.prior.name = 'gaussian_mixture'
  config.num_labels = -1
  default.hidden(config, 256, 256)
  config.encoder.batch_norm = True
  default.phases(config, 'reconstruction', 'discriminator', 'generator')
  config.schedule.name = 'linear'
  config.epochs = 200
  return config
