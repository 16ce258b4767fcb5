"""Autoencoder on digits: the baseline of every picture.

  python train.py --config=configs/digits_autoencoder.py

Nothing is compared with a number of the paper; its codes leave holes. Less than
a minute on two cores.
"""

from configs import default


def get_config():
  """A 2-D code that nothing shapes."""
  config = default.get_config()
  default.hidden(config, 256, 256)
  config.encoder.batch_norm = True
  return config
