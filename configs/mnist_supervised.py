"""Supervised AAE on MNIST: styles by labels (figure 7).

  python train.py --config=configs/mnist_supervised.py

The paper shows a picture, figures/styles.png here, and gives no number. A
linear probe of the style errs in 61.9 % of the test images, where 90 % is
chance (one run; benchmarks/results/mnist_supervised.json). Four minutes on one
core. The epochs were chosen on validation images: more of them sharpen the
pictures, and the label comes back into the style.
"""

from configs import default


def get_config(variant='fast'):
  """The decoder is told the label of every image."""
  config = default.get_config()
  config.system = 'supervised_aae'
  config.dataset.name = 'mnist'
  config.latent_size = 15
  default.hidden(config, 400, 400)
  config.encoder.batch_norm = True
  config.encoder.input_noise = 0.3
  config.encoder.noise = 0.3
  # Beside a style this small the decoder learns first what the label tells it.
  config.prior.std = 0.005
  # A weak adversary leaves the label in the style, and so do many epochs; one
  # without noise can win, and then the style says nothing.
  config.discriminator.noise = 0.3
  default.phases(
    config,
    'reconstruction',
    'discriminator',
    'generator',
    discriminator=5e-4,
  )
  config.batch_size = 200
  config.epochs = 20
  config.schedule.name = 'linear'
  return default.variant(config, variant)
