"""Variational autoencoder on digits, 2-D Gaussian prior."""

from aae_jax import recipes


def get_config(variant='fast'):
  """The divergence to the prior in closed form."""
  config = recipes.start('vae', 'digits', hidden=(256, 256))
  recipes.adam(config, 'elbo')
  return recipes.variant(config, variant)
