"""Semi-supervised AAE on SVHN with 1000 labels (table 2)."""

from configs import default


def get_config():
  """A convolutional encoder and decoder, with batch normalization."""
  config = default.get_config()
  config.objective = 'semi_supervised_aae'
  config.dataset.name = 'svhn_cropped'
  config.latent_size = 20
  config.num_labels = 1000
  config.labelled_batch_size = 100
  config.discriminator.hidden = (400, 400)
  default.convolutional(config, channels=(32, 64, 128), hidden=(256,))
  config.encoder.input_dropout = 0.2
  default.phases(
      config, 'reconstruction', 'discriminator', 'generator', 'classification'
  )
  config.weights = {'generator': {'y_weight': 3.0, 'z_weight': 1.0}}
  config.schedule.name = 'linear'
  config.ema_decay = 0.999
  config.epochs = 30
  config.num_seeds = 3
  return config
