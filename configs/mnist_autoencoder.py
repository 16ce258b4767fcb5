"""Autoencoder on MNIST: the baseline of every picture.

  python train.py --config=configs/mnist_autoencoder.py

Nothing is compared with a number of the paper; its codes leave holes. A
Gaussian fitted to its codes decodes to a Parzen log-likelihood of 213.4 nats in
2-D, and 271.7 nats in 8-D (one run each;
benchmarks/results/mnist_autoencoder*.json). Five minutes of a core
of a busy machine.
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """A 2-D code that nothing shapes."""
  config = recipes.start('autoencoder', 'mnist', hidden=(400, 400))
  config.encoder.batch_norm = True
  recipes.adam(config, 'reconstruction')
  config.batch_size = 200
  config.schedule.name = 'linear'
  config.epochs = 30
  return recipes.variant(config, variant)
