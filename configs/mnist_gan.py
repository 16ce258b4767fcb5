"""Generative adversarial network on MNIST.

  python train.py --config=configs/mnist_gan.py

Parzen log-likelihood 74.8 nats (one run; benchmarks/results/gan.json): 30
epochs of a fully connected network are a beginning. Four minutes on two cores.
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """A decoder of Gaussian noise, and a discriminator of images."""
  config = recipes.start('gan', 'mnist', hidden=(400, 400))
  config.discriminator.activation = 'leaky_relu'
  recipes.adam(
    config, 'discriminator', 'generator', discriminator=2e-4, generator=2e-4
  )
  config.latent_size = 20
  config.batch_size = 200
  config.epochs = 30
  return recipes.variant(config, variant)
