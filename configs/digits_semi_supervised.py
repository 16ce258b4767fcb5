"""Semi-supervised AAE on digits with 100 labels.

  python train.py --config=configs/digits_semi_supervised.py

Test error 6.4 % (mean of three draws of the labels, standard deviation 1.5;
benchmarks/results/digits_100.json), where scikit-learn's LabelSpreading has
6.81 %. A minute and a half on two cores.
"""

from configs import default


def get_config():
  """The classification phase learns from 100 labels."""
  config = default.get_config()
  config.system = 'semi_supervised_aae'
  config.latent_size = 10
  config.num_labels = 100
  config.labelled_batch_size = 100
  default.hidden(config, 128, 128)
  config.encoder.batch_norm = True
  config.encoder.input_noise = 0.3
  config.encoder.noise = 0.3
  default.phases(
    config, 'reconstruction', 'discriminator', 'generator', 'classification'
  )
  config.weights.generator.y_weight = 3.0
  config.schedule.name = 'linear'
  config.ema_decay = 0.999
  config.epochs = 340
  config.num_seeds = 3
  return config
