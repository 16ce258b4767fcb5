"""The plain network on MNIST with 100 labels ("NN" in the results table).

  python train.py --config=configs/mnist_classifier.py

The table has 25.80 % with 100 labels, 8.73 % with 1000
(--config.num_labels=1000) and 1.25 % with all of them (-1), and does not say
what the network is: here it is the paper's encoder, with its noise on the
image. It errs in 22.2 % with 100 labels (mean of five draws, standard deviation
2.3; benchmarks/results/mnist_100_nn.json), in a minute and a half.
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """3,000 steps; an epoch has as many as one over the unlabelled images."""
  config = recipes.start('classifier', 'mnist', hidden=(1000, 1000))
  config.encoder.input_noise = 0.3
  recipes.adam(config, 'classification')
  config.num_labels = 100
  config.schedule.name = 'linear'
  config.epochs = 5
  return recipes.variant(config, variant)
