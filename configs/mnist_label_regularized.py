"""Label-regularized AAE on MNIST: a mode for each label (figure 4).

  python train.py --config=configs/mnist_label_regularized.py

--config.prior.name=swiss_roll gives each label a stretch of the roll. For the
paper's 10,000 labelled and 40,000 unlabelled images add
--config.num_labels=10000 --config.dataset.num_validation=10000.

94.5 % of the test images lie in the region of their label when all are labelled
(one run; benchmarks/results/mnist_label_regularized.json). Five minutes on two
cores.
"""

from configs import default


def get_config(variant='fast'):
  """The discriminator is told the label of every image."""
  config = default.get_config()
  config.system = 'label_regularized_aae'
  config.dataset.name = 'mnist'
  config.prior.name = 'gaussian_mixture'
  config.num_labels = -1
  default.hidden(config, 400, 400)
  config.encoder.batch_norm = True
  default.phases(config, 'reconstruction', 'discriminator', 'generator')
  config.batch_size = 200
  config.epochs = 40
  config.schedule.name = 'linear'
  return default.variant(config, variant)
