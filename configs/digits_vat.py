"""Virtual adversarial training on digits with 100 labels (results table).

python train.py --config=configs/digits_vat.py
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """The network of digits_classifier without noise, and consistency."""
  config = recipes.start('vat', 'digits', hidden=(256, 256))
  config.encoder.batch_norm = True
  recipes.adam(config, 'classification')
  config.consistency.radius = 1.0
  config.num_labels = 100
  config.ema_decay = 0.999
  config.schedule.name = 'linear'
  config.epochs = 150
  config.num_seeds = 3
  return recipes.variant(config, variant)
