"""Supervised AAE on SVHN: styles by labels (figure 7).

  python train.py --config=configs/svhn_supervised.py

The paper shows a picture, figures/styles.png here, and gives no number. For a
part of SVHN add --config.dataset.manual_dir=DIR
--config.dataset.allow_unverified=True.

Measured on a part, 4,434 training and 1,952 test images: a linear probe of the
style errs in 81.0 %, where 90 % is chance (one run;
benchmarks/results/svhn_part_supervised.json). Thirteen minutes of a core of a
busy machine.
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """The decoder is told the label of every image."""
  config = recipes.start('supervised_aae', 'svhn_cropped', hidden=(256,))
  # Beside a style this small the decoder learns first what the label tells it.
  config.prior.std = 0.1
  recipes.convolutional(config, channels=(32, 64, 128))
  config.encoder.input_dropout = 0.2
  config.discriminator.hidden = (400, 400)
  recipes.adam(config, 'reconstruction', 'discriminator', 'generator')
  config.latent_size = 15
  config.schedule.name = 'linear'
  config.epochs = 40
  return recipes.variant(config, variant)
