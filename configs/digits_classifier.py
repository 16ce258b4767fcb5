"""The encoder of digits_semi_supervised, trained on the 100 labels alone.

  python train.py --config=configs/digits_classifier.py

Half a minute on two cores.
"""

from configs import default


def get_config():
  """What the semi-supervised AAE is compared with."""
  config = default.get_config()
  config.system = 'classifier'
  config.num_labels = 100
  config.labelled_batch_size = 100
  config.encoder.hidden = (256, 256)
  config.encoder.batch_norm = True
  config.encoder.input_noise = 0.3
  config.encoder.noise = 0.3
  default.phases(config, 'classification')
  config.schedule.name = 'linear'
  config.ema_decay = 0.999
  config.epochs = 250
  config.num_seeds = 3
  return config
