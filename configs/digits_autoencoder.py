"""Autoencoder on digits: the baseline of every picture.

  python train.py --config=configs/digits_autoencoder.py

Nothing is compared with a number of the paper; its codes leave holes. Less than
a minute on two cores.
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """A 2-D code that nothing shapes."""
  config = recipes.start('autoencoder', 'digits', hidden=(256, 256))
  config.encoder.batch_norm = True
  recipes.adam(config, 'reconstruction')
  return recipes.variant(config, variant)
