"""Semi-supervised AAE on digits with 100 labels.

  python train.py --config=configs/digits_semi_supervised.py

Test error 6.5 % (mean of three draws of the labels, standard deviation 1.1;
benchmarks/results/digits_100.json). A minute and a half on two cores.
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """The classification phase learns from 100 labels."""
  config = recipes.start('semi_supervised_aae', 'digits', hidden=(128, 128))
  recipes.noisy(config)
  recipes.adam(
    config, 'reconstruction', 'discriminator', 'generator', 'classification'
  )
  config.weights.generator.y_weight = 3.0
  config.latent_size = 10
  config.num_labels = 100
  config.schedule.name = 'linear'
  config.epochs = 340
  config.num_seeds = 3
  return recipes.variant(config, variant)
