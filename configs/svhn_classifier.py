"""The encoder of svhn_semi_supervised, trained on the 1000 labels alone.

  python train.py --config=configs/svhn_classifier.py

The paper's plain network errs in 47.50 %, on the whole of SVHN. For a part of
it add --config.dataset.manual_dir=DIR --config.dataset.allow_unverified=True.
Measured on a part of it, 4,434 training and 1,952 test images: 37.1 ± 1.6 %
(five draws; benchmarks/results/svhn_part_classifier.json), three minutes of a
core a draw. With the variant `any`, which augments the images, 25.2 ± 0.9 %
(five draws; benchmarks/results/svhn_part_classifier_any.json), four minutes.
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """What the semi-supervised AAE is compared with."""
  config = recipes.start('classifier', 'svhn_cropped', hidden=(256,))
  recipes.convolutional(config, channels=(32, 64, 128))
  config.encoder.update(standardize=True, input_dropout=0.2, noise=0.3)
  recipes.adam(config, 'classification')
  config.num_labels = 1000
  config.schedule.name = 'linear'
  config.ema_decay = 0.999
  config.epochs = 30
  config.num_seeds = 3
  return recipes.variant(config, variant, any=_any)


def _any(config):
  config.encoder.augmentation.update(shift=2.0, turn=10.0, scale=0.15)
  config.epochs = 60
