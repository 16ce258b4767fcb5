"""Adversarial autoencoder on MNIST, 2-D Gaussian prior (figure 2 of the paper).

  python train.py --config=configs/mnist_aae.py [--config.prior.name=swiss_roll]

The codes fill the prior: energy distance 0.001 on the test images, 0.007 for
the mixture of ten Gaussians. With --config.latent_size=8 --config.prior.std=5.0
the Parzen log-likelihood is 325 nats, where the paper has 340 (one run each;
benchmarks/results/mnist_aae_*.json and parzen.json). Eight to twelve minutes
of a core of a busy machine.
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """--config.prior.name=gaussian_mixture or swiss_roll for the others."""
  config = recipes.start('aae', 'mnist', hidden=(400, 400))
  config.encoder.batch_norm = True
  recipes.adam(config, 'reconstruction', 'discriminator', 'generator')
  config.batch_size = 200
  config.schedule.name = 'linear'
  config.epochs = 40
  return recipes.variant(config, variant, paper=recipes.paper)
