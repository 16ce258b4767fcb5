"""Semi-supervised AAE on SVHN with 1000 labels (table 2).

  python train.py --config=configs/svhn_semi_supervised.py

The paper's error is 17.70 ± 0.30 %, on the whole of SVHN. For a part of it add
--config.dataset.manual_dir=DIR --config.dataset.allow_unverified=True; a number
measured on a part is not to be set beside the paper's. Unlike the paper's,
images are not standardized: they stay in [0, 1].

Measured on a part, 4,434 training and 1,952 test images: 49.5 ± 2.5 %, no
better than svhn_classifier (three draws; benchmarks/results/svhn_subset_*),
40 minutes on two busy cores. The settings were chosen on validation images of
the part, with one draw.
"""

from configs import default


def get_config():
  """A convolutional encoder and decoder, with batch normalization."""
  config = default.get_config()
  config.system = 'semi_supervised_aae'
  config.dataset.name = 'svhn_cropped'
  config.latent_size = 20
  config.num_labels = 1000
  config.labelled_batch_size = 100
  config.discriminator.hidden = (400, 400)
  default.convolutional(config, channels=(32, 64, 128), hidden=(256,))
  config.decoder.channels = (16, 32, 64)
  config.encoder.input_dropout = 0.2
  config.encoder.noise = 0.3
  default.phases(
    config,
    'reconstruction',
    'discriminator',
    'generator',
    'classification',
    reconstruction=3e-4,
    generator=1e-4,
  )
  config.schedule.name = 'linear'
  config.ema_decay = 0.999
  config.epochs = 30
  config.num_seeds = 3
  return config
