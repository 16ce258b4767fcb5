"""VAE of images and of its codes with a label (M1 + M2), digits, 100 labels.

python train.py --config=configs/digits_m1_m2.py
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """Both models have codes of one size."""
  config = recipes.start('m1_m2', 'digits', hidden=(128, 128))
  recipes.adam(config, 'elbo', 'bound')
  config.binarize = False
  config.latent_size = 10
  config.num_labels = 100
  config.schedule.name = 'linear'
  config.epochs = 200
  config.num_seeds = 3
  return recipes.variant(config, variant)
