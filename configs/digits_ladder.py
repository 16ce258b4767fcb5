"""Ladder network on digits with 100 labels (results table).

python train.py --config=configs/digits_ladder.py
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """Smaller than on MNIST."""
  config = recipes.start('ladder', 'digits')
  config.encoder.update(hidden=(256, 128, 64), input_noise=0.3, noise=0.3)
  recipes.adam(config, 'denoising', denoising=2e-3)
  config.num_labels = 100
  config.schedule.update(name='linear', begin=2 / 3)
  config.epochs = 100
  config.num_seeds = 3
  return recipes.variant(config, variant)
