"""Dimensionality-reduction AAE on digits, 2-D, with 100 labels."""

from configs import default


def get_config():
  """The representation is a learned cluster head plus style."""
  config = default.get_config()
  config.system = 'dimensionality_reduction_aae'
  config.num_labels = 100
  config.labelled_batch_size = 100
  default.hidden(config, 256, 256)
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
  config.weights.generator.y_weight = 3.0
  config.weights.separation.threshold = 4.0
  config.schedule.name = 'linear'
  config.ema_decay = 0.999
  config.epochs = 250
  return config
