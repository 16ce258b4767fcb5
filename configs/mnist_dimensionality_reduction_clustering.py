"""Dimensionality-reduction AAE on MNIST, 2-D, 20 clusters, no labels.

  python train.py --config=configs/mnist_dimensionality_reduction_clustering.py

The paper errs in 13.95 % of the test images. Measured here after 60 epochs:
27.0 % (one run; benchmarks/results/2d_unsupervised.json). Twenty minutes on one
core.

`configs/mnist_dimensionality_reduction_clustering.py:any` adds what is no part
of the paper's system: augmentation, consistency and marginal entropy. 5.2 %
after 50 epochs, 40 minutes of a core of a busy machine (one run;
benchmarks/results/2d_unsupervised_any.json).
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """Nothing but the images; figure 10 of the paper."""
  config = recipes.start(
    'dimensionality_reduction_clustering_aae', 'mnist', hidden=(400, 400)
  )
  recipes.noisy(config)
  recipes.adam(
    config,
    'reconstruction',
    'discriminator',
    'generator',
    'separation',
    separation=1e-2,
  )
  recipes.without_labels(config)
  config.weights.generator.y_weight = 3.0
  config.weights.separation.threshold = 4.0
  config.num_clusters = 20
  config.dataset.num_validation = 5000
  config.batch_size = 200
  config.schedule.name = 'linear'
  config.epochs = 60
  return recipes.variant(config, variant, paper=recipes.paper, any=_any)


def _any(config):
  """What is no part of the paper's system: augmentation and consistency."""
  recipes.consistent(config, begin=0.0)
  recipes.sure_clusters(config)
  config.epochs = 50
