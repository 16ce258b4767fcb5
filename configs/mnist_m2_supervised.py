"""M2 with all labels, MNIST: it classifies by importance sampling.

  python train.py --config=configs/mnist_m2_supervised.py

The results table has 0.96 % with all labels in its row of M1 + M2; the code of
Kingma et al. (2014) gives that as what this model converges to, with 1000
draws. Here there are 100 for each label, ten million decoded images for an
evaluation of 10,000: so the validation images, if any, are evaluated seldom.
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """No network infers the label."""
  config = recipes.start('m2_supervised', 'mnist', hidden=(500, 500))
  recipes.adam(config, 'elbo')
  config.encoder.activation = config.decoder.activation = 'softplus'
  config.binarize = True
  config.latent_size = 50
  config.batch_size = 200
  config.schedule.name = 'linear'
  config.epochs = 30
  config.evaluate_every_epochs = 30
  return recipes.variant(config, variant)
