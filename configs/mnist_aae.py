"""AAE on MNIST with a 2-D Gaussian prior."""

from configs import default


def get_config():
  """The adversarial autoencoder of the paper's section 2."""
  config = default.get_config()
  config.objective = 'aae'
  config.dataset.name = 'mnist'
  config.optimizer.discriminator = default.phase(learning_rate=1e-4, b1=0.5)
  config.optimizer.generator = default.phase(learning_rate=3e-4, b1=0.5)
  config.epochs = 40
  return config
