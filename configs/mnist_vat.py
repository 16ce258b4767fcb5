"""Virtual adversarial training on MNIST with 100 labels (results table).

  python train.py --config=configs/mnist_vat.py

The results table has 2.33 % with 100 labels, 1.36 % with 1000
(--config.num_labels=1000) and 0.64 ± 0.04 % with all of them (-1).

`configs/mnist_vat.py:paper` has the settings of its own code.
"""

from aae_jax import recipes


def get_config(variant='fast'):
  """15,000 updates; an epoch is a pass over the unlabelled images."""
  config = recipes.start('vat', 'mnist', hidden=(400, 400))
  config.encoder.update(batch_norm=True, input_noise=0.3, noise=0.3)
  recipes.adam(config, 'classification')
  config.num_labels = 100
  config.batch_size = 240
  config.ema_decay = 0.999
  config.schedule.name = 'linear'
  config.epochs = 60
  return recipes.variant(config, variant, paper=_paper)


def _paper(config):
  """Of the code of Miyato et al. (2015), whose batches have 250 images."""
  config.encoder.update(
    hidden=(1200, 1200), batch_norm_heads=True, input_noise=0.0, noise=0.0
  )
  config.optimizer.classification.learning_rate = 2e-3
  config.consistency.update(radius=0.3, difference=1e-6)
  config.ema_decay = 0.0
  # 50,000 steps; the rate is multiplied by 0.9 every 500.
  config.batch_size = 248
  config.schedule.update(name='exponential', factor=0.9**0.482)
  config.epochs = 207
