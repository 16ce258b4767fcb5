"""Semi-supervised AAE on digits with 100 labels, and a consistent y.

  python train.py --config=configs/digits_semi_supervised.py

With augmentation, consistency and marginal entropy beside the paper's phases.
Test error 6.3 % (mean of ten draws of the labels, standard deviation 1.4;
benchmarks/results/digits_100.json), half a minute of one core a draw.
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """The classification phase learns from 100 labels."""
  config = recipes.start('semi_supervised_aae', 'digits', hidden=(128, 128))
  recipes.noisy(config)
  recipes.adam(
    config, 'reconstruction', 'discriminator', 'generator', 'classification'
  )
  recipes.consistent(config, begin=30.0)
  # Of images of 8 x 8 pixels.
  config.encoder.augmentation.update(shift=0.7, turn=10.0, scale=0.1)
  config.prior_y.balanced = True
  config.weights.generator.y_weight = 3.0
  config.latent_size = 10
  config.num_labels = 100
  config.schedule.name = 'linear'
  config.epochs = 200
  config.num_seeds = 3
  return recipes.variant(config, variant)
