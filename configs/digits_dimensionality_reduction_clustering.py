"""Dimensionality-reduction AAE on digits, 2-D, 16 clusters, no labels."""

from configs import default


def get_config():
  """Nothing but the images; validation images name the clusters."""
  config = default.get_config()
  config.system = 'dimensionality_reduction_clustering_aae'
  config.dataset.num_validation = 137
  config.num_clusters = 16
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
    'separation',
    discriminator=5e-4,
    separation=1e-2,
  )
  config.weights.generator.y_weight = 3.0
  config.weights.separation.threshold = 4.0
  config.schedule.name = 'linear'
  config.ema_decay = 0.999
  config.epochs = 250
  return config
