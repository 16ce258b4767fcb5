"""VAE of images and of its codes with a label (M1 + M2), SVHN, 1000 labels.

  python train.py --config=configs/svhn_m1_m2.py

Kingma et al. (2014) err in 36.02 ± 0.10 %, on the principal components of the
whole of SVHN and of its extra images. For a part of it add
--config.dataset.manual_dir=DIR --config.dataset.allow_unverified=True.
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """Fully connected; the label must outweigh the density of a code."""
  config = recipes.start('m1_m2', 'svhn_cropped', hidden=(500,))
  recipes.adam(config, 'elbo', 'bound')
  config.weights.bound.classification_weight = 30.0
  config.latent_size = 50
  config.num_labels = 1000
  config.schedule.name = 'linear'
  config.epochs = 100
  config.num_seeds = 3
  return recipes.variant(config, variant)
