"""CatGAN on digits with 100 labels (results table).

python train.py --config=configs/digits_catgan.py
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """The classifier is the encoder, normalized like the generator."""
  config = recipes.start('catgan', 'digits', hidden=(256, 256))
  recipes.adam(config, 'discriminator', 'generator', discriminator=1e-3)
  config.optimizer.generator.learning_rate = 3e-4
  config.encoder.update(batch_norm=True, input_noise=0.3, noise=0.3)
  config.decoder.batch_norm = True
  for network in (config.encoder, config.decoder):
    network.update(activation='leaky_relu', slope=0.1)
  config.prior.name = 'uniform'
  config.latent_size = 16
  config.num_labels = 100
  config.ema_decay = 0.999
  config.schedule.name = 'linear'
  config.epochs = 200
  config.num_seeds = 3
  return recipes.variant(config, variant)
