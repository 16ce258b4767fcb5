"""Generative adversarial network on MNIST.

  python train.py --config=configs/mnist_gan.py

Parzen log-likelihood 71.7 nats (one run; benchmarks/results/mnist_gan.json): 30
epochs of a fully connected network are a beginning. Four minutes on two cores.
"""

from configs import default


def get_config():
  """A decoder of Gaussian noise, and a discriminator of images."""
  config = default.get_config()
  config.system = 'gan'
  config.dataset.name = 'mnist'
  config.latent_size = 20
  default.hidden(config, 400, 400)
  config.discriminator.activation = 'leaky_relu'
  default.phases(
    config, 'discriminator', 'generator', discriminator=2e-4, generator=2e-4
  )
  config.batch_size = 200
  config.epochs = 30
  return config
