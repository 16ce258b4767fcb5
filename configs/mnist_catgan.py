"""CatGAN on MNIST with 100 labels (results table).

  python train.py --config=configs/mnist_catgan.py

Springenberg (2016) errs in 1.91 ± 0.10 % of the test images with 100 labels, in
1.73 ± 0.18 % with 1000 and in 0.91 % with all of them. Here it errs in 5.3 %
with 100 labels after 50 epochs (one draw;
benchmarks/results/mnist_100_catgan.json).

`configs/mnist_catgan.py:paper` has the sizes of its networks, and the rates of
public code without labels: no known code of its authors tells the weight of the
labelled images, and how long they are trained on.
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """The classifier is the encoder, normalized like the generator."""
  config = recipes.start('catgan', 'mnist', hidden=(400, 400))
  recipes.adam(config, 'discriminator', 'generator', discriminator=1e-3)
  config.optimizer.generator.learning_rate = 3e-4
  config.encoder.update(batch_norm=True, input_noise=0.3, noise=0.3)
  config.decoder.batch_norm = True
  for network in (config.encoder, config.decoder):
    network.update(activation='leaky_relu', slope=0.1)
  config.prior.name = 'uniform'
  config.latent_size = 128
  config.num_labels = 100
  config.ema_decay = 0.999
  config.schedule.name = 'linear'
  config.epochs = 50
  config.batch_size = 200
  return recipes.variant(config, variant, paper=_paper)


def _paper(config):
  """An epoch has 600 steps of 100 images and 100 labelled ones."""
  config.encoder.hidden = (1000, 500, 250, 250, 250)
  config.decoder.hidden = (500, 500, 1000)
  for options in config.optimizer.values():
    options.update(learning_rate=2e-4, weight_decay=1e-5)
  config.schedule.name = 'constant'
  config.ema_decay = 0.0
  config.batch_size = 100
  config.epochs = 200
