"""Label-regularized AAE on MNIST: a mode for each label (figure 4)."""

from configs import default


def get_config(variant='fast'):
  """--config.num_labels=10000 for 10,000 labelled images among all."""
  config = default.get_config()
  config.objective = 'label_regularized_aae'
  config.dataset.name = 'mnist'
  config.prior.name = 'gaussian_mixture'
  config.num_labels = -1
  default.hidden(config, 400, 400)
  config.encoder.batch_norm = True
  default.phases(config, 'reconstruction', 'discriminator', 'generator')
  config.batch_size = 200
  config.epochs = 40
  config.schedule.name = 'linear'
  return default.variant(config, variant)
