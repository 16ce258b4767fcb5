"""Adversarial autoencoder on digits, 2-D Gaussian prior.

  python train.py --config=configs/digits_aae.py

The figure 2 of the paper in small: compare figures/latent.png with that of
digits_autoencoder. About a minute on two cores.
"""

from configs import default


def get_config():
  """The AAE of the section 2 of the paper, made small."""
  config = default.get_config()
  config.system = 'aae'
  default.hidden(config, 256, 256)
  config.encoder.batch_norm = True
  default.phases(config, 'reconstruction', 'discriminator', 'generator')
  config.schedule.name = 'linear'
  config.epochs = 200
  return config
