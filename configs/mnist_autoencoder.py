"""Autoencoder on MNIST: the baseline of every picture.

  python train.py --config=configs/mnist_autoencoder.py

Nothing is compared with a number of the paper; its codes leave holes. A
Gaussian fitted to its codes decodes to a Parzen log-likelihood of 209.5 nats in
2-D, and 264.1 nats in 8-D (one run each;
benchmarks/results/mnist_autoencoder*.json). Three minutes on two cores.
"""

from configs import default


def get_config():
  """A 2-D code that nothing shapes."""
  config = default.get_config()
  config.dataset.name = 'mnist'
  default.hidden(config, 400, 400)
  config.encoder.batch_norm = True
  config.batch_size = 200
  config.epochs = 30
  config.schedule.name = 'linear'
  return config
