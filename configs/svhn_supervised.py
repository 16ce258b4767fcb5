"""Supervised AAE on SVHN: styles by labels (figure 7).

  python train.py --config=configs/svhn_supervised.py

The paper shows a picture, figures/styles.png here, and gives no number. For a
part of SVHN add --config.dataset.manual_dir=DIR
--config.dataset.allow_unverified=True.

Measured on a part, 4,434 training and 1,952 test images: a linear probe of the
style errs in 81.25 %, where 90 % is chance (one run;
benchmarks/results/svhn_subset_supervised.json). Seven minutes on one core.
"""

from configs import default


def get_config():
  """The decoder is told the label of every image."""
  config = default.get_config()
  config.system = 'supervised_aae'
  config.dataset.name = 'svhn_cropped'
  config.latent_size = 15
  # Beside a style this small the decoder learns first what the label tells it.
  config.prior.std = 0.1
  config.discriminator.hidden = (400, 400)
  default.convolutional(config, channels=(32, 64, 128), hidden=(256,))
  config.encoder.input_dropout = 0.2
  default.phases(config, 'reconstruction', 'discriminator', 'generator')
  config.schedule.name = 'linear'
  config.epochs = 40
  return config
