"""Variational autoencoder on MNIST, 2-D Gaussian prior (figure 2 of the paper).

  python train.py --config=configs/mnist_vae.py

The figure that it is compared in: its codes are further from the prior than
those of mnist_aae, energy distance 0.059, and 0.12 for the mixture of ten
Gaussians. Evidence lower bound -140 nats, importance-weighted -138 (one run
each; benchmarks/results/mnist_vae_*.json). Four minutes of a core.
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """--config.prior.name=gaussian_mixture estimates the divergence."""
  config = recipes.start('vae', 'mnist', hidden=(400, 400))
  recipes.adam(config, 'elbo')
  config.batch_size = 200
  config.schedule.name = 'linear'
  config.epochs = 30
  return recipes.variant(config, variant)
