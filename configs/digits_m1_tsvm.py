"""VAE (M1) and a transductive SVM on digits with 100 labels (results table).

python train.py --config=configs/digits_m1_tsvm.py
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """The machine is fitted to the mean codes after the last epoch."""
  config = recipes.start('m1_tsvm', 'digits', hidden=(256, 256))
  recipes.adam(config, 'elbo')
  config.latent_size = 10
  config.num_labels = 100
  config.epochs = 100
  config.num_seeds = 3
  return recipes.variant(config, variant)
