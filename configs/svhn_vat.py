"""Virtual adversarial training on SVHN with 1000 labels (results table).

  python train.py --config=configs/svhn_vat.py

The results table has 24.63 %, of a fully connected network on the whole of
SVHN. For a part of it add --config.dataset.manual_dir=DIR
--config.dataset.allow_unverified=True. Measured on a part of it, 4,434 training
and 1,952 test images: 38.7 ± 0.6 %, no less than svhn_classifier (two draws;
benchmarks/results/svhn_part_vat.json), eleven minutes of a core of a busy
machine.
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """The classifier of svhn_classifier, held to what it says nearby."""
  config = recipes.start('vat', 'svhn_cropped', hidden=(256,))
  recipes.convolutional(config, channels=(32, 64, 128))
  config.encoder.update(standardize=True, input_dropout=0.2, noise=0.3)
  config.consistency.radius = 1.5
  recipes.adam(config, 'classification')
  config.num_labels = 1000
  config.schedule.name = 'linear'
  config.ema_decay = 0.999
  config.epochs = 30
  config.num_seeds = 3
  return recipes.variant(config, variant)
