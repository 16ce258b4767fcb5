"""Dimensionality-reduction AAE on MNIST, 2-D, 100 labels (figure 10)."""

from configs import default


def get_config(variant='fast'):
  """--config.num_labels=1000 or --config.latent_size=10 for the others."""
  config = default.get_config()
  config.objective = 'dimensionality_reduction_aae'
  config.dataset.name = 'mnist'
  config.num_labels = 100
  config.labelled_batch_size = 100
  default.hidden(config, 400, 400)
  config.encoder.batch_norm = True
  config.encoder.input_noise = 0.3
  config.encoder.noise = 0.3
  default.phases(
      config,
      'reconstruction',
      'discriminator',
      'generator',
      'classification',
      'separation',
  )
  config.weights = {
      'generator': {'y_weight': 3.0, 'z_weight': 1.0},
      'separation': {'threshold': 4.0},
  }
  config.schedule.name = 'linear'
  config.ema_decay = 0.999
  config.batch_size = 200
  config.epochs = 40
  return default.variant(config, variant)
