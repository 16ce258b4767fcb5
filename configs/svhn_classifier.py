"""The encoder of svhn_semi_supervised, trained on the 1000 labels alone.

  python train.py --config=configs/svhn_classifier.py

The paper's plain network errs in 47.50 %, on the whole of SVHN. For a part of
it add --config.dataset.manual_dir=DIR --config.dataset.allow_unverified=True.
Measured on a part of it, 4,434 training and 1,952 test images: 48.9 ± 2.7 %
(three draws; benchmarks/results/svhn_subset_classifier.json), six minutes on
two busy cores.
"""

from configs import default


def get_config():
  """What the semi-supervised AAE is compared with."""
  config = default.get_config()
  config.system = 'classifier'
  config.dataset.name = 'svhn_cropped'
  config.num_labels = 1000
  config.labelled_batch_size = 100
  default.convolutional(config, channels=(32, 64, 128), hidden=(256,))
  config.encoder.input_dropout = 0.2
  config.encoder.noise = 0.3
  default.phases(config, 'classification')
  config.schedule.name = 'linear'
  config.ema_decay = 0.999
  config.epochs = 30
  config.num_seeds = 3
  return config
