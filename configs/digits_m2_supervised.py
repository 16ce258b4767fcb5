"""M2 with all labels, digits: it classifies by importance sampling.

python train.py --config=configs/digits_m2_supervised.py
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """No network infers the label."""
  config = recipes.start('m2_supervised', 'digits', hidden=(128, 128))
  recipes.adam(config, 'elbo')
  config.encoder.activation = config.decoder.activation = 'softplus'
  config.latent_size = 10
  config.schedule.name = 'linear'
  config.epochs = 100
  config.num_seeds = 3
  return recipes.variant(config, variant)
