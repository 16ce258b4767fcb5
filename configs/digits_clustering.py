"""Clustering AAE on digits with 16 clusters."""

from configs import default


def get_config():
  """Validation images name the clusters, for the error."""
  config = default.get_config()
  config.system = 'clustering_aae'
  config.latent_size = 5
  config.num_clusters = 16
  config.dataset.num_validation = 137
  default.hidden(config, 256, 256)
  config.encoder.batch_norm = True
  config.encoder.input_noise = 0.3
  config.encoder.noise = 0.3
  # What keeps the adversary of y from being sure keeps clusters from dying.
  config.discriminator.noise = 0.5
  default.phases(
    config,
    'reconstruction',
    'discriminator',
    'generator',
    discriminator=5e-4,
  )
  config.weights.generator.y_weight = 3.0
  config.schedule.name = 'linear'
  config.ema_decay = 0.999
  config.epochs = 250
  return config
