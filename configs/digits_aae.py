"""AAE on digits with a 2-D Gaussian prior."""

from configs import default


def get_config():
  """The adversarial autoencoder of the paper's section 2, made small."""
  config = default.get_config()
  config.objective = 'aae'
  for network in (config.encoder, config.decoder, config.discriminator):
    network.hidden = (256, 256)
  config.optimizer.discriminator = default.phase(learning_rate=1e-4, b1=0.5)
  config.optimizer.generator = default.phase(learning_rate=3e-4, b1=0.5)
  config.epochs = 200
  return config
