"""Semi-supervised AAE on MNIST with 100 labels."""

from configs import default


def get_config():
  """The classification phase learns from 100 labels."""
  config = default.get_config()
  config.objective = 'semi_supervised_aae'
  config.dataset.name = 'mnist'
  config.latent_size = 10
  config.num_labels = 100
  config.labelled_batch_size = 100
  for network in (config.encoder, config.decoder, config.discriminator):
    network.hidden = (400, 400)
  config.encoder.batch_norm = True
  config.encoder.input_noise = 0.3
  config.encoder.noise = 0.3
  config.optimizer.discriminator = default.phase(learning_rate=1e-4, b1=0.5)
  config.optimizer.generator = default.phase(b1=0.5)
  config.optimizer.classification = default.phase()
  config.weights = {'generator': {'y_weight': 3.0, 'z_weight': 1.0}}
  config.schedule.name = 'linear'
  config.ema_decay = 0.999
  config.batch_size = 200
  config.epochs = 50
  return config
