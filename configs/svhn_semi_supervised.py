"""Semi-supervised AAE on SVHN with 1000 labels (table 2).

  python train.py --config=configs/svhn_semi_supervised.py

The paper's error is 17.70 ± 0.30 %, on the whole of SVHN. For a part of it add
--config.dataset.manual_dir=DIR --config.dataset.allow_unverified=True; a number
measured on a part is not to be set beside the paper's.

Measured on a part, 4,434 training and 1,952 test images: 37.0 ± 1.9 %, as
svhn_classifier (five draws; benchmarks/results/svhn_part.json), 8 minutes of a
core a draw. The variant `any` augments the images, and y is consistent: 25.5 ±
1.1 %, no less than svhn_classifier:any (three draws;
benchmarks/results/svhn_part_any.json), 14 minutes.
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """A convolutional encoder and decoder, with batch normalization."""
  config = recipes.start('semi_supervised_aae', 'svhn_cropped', hidden=(256,))
  recipes.convolutional(config, channels=(32, 64, 128))
  config.decoder.channels = (16, 32, 64)
  config.encoder.update(standardize=True, input_dropout=0.2, noise=0.3)
  config.discriminator.hidden = (400, 400)
  recipes.adam(
    config,
    'reconstruction',
    'discriminator',
    'generator',
    'classification',
    reconstruction=3e-4,
    generator=1e-4,
  )
  config.latent_size = 20
  config.num_labels = 1000
  config.schedule.name = 'linear'
  config.ema_decay = 0.999
  config.epochs = 20
  config.num_seeds = 3
  return recipes.variant(config, variant, any=_any)


def _any(config):
  config.encoder.augmentation.update(shift=2.0, turn=10.0, scale=0.15)
  config.additions = ('consistency',)
  config.consistency.update(begin=3.0, radius=1.5)
