"""Every method that is compared learns digits from a hundred labels.

By its configuration, shortened. The second seed is a control, whose networks do
not learn: so no bound holds by itself.
"""

import runpy

import jax
import numpy as np
import pytest

from aae_jax import experiments, measures, training
from tests.programs import ROOT


@pytest.mark.parametrize(
  ('name', 'most', 'control'),
  [
    ('classifier', 20, 60),
    ('vat', 20, 60),
    pytest.param('ladder', 12, 60, marks=pytest.mark.whole),
    pytest.param('catgan', 15, 60, marks=pytest.mark.whole),
    ('m2', 15, 60),
    pytest.param('m2_supervised', 25, 60, marks=pytest.mark.whole),
    # A VAE needs more epochs before its codes tell digits apart.
    pytest.param('m1_m2', 75, 85, marks=pytest.mark.whole),
    pytest.param('adgm', 20, 60, marks=pytest.mark.whole),
    pytest.param('sdgm', 20, 60, marks=pytest.mark.whole),
    # Codes of random weights tell digits apart, though not as well.
    pytest.param('m1_tsvm', 28, 30, marks=pytest.mark.whole),
  ],
)
def test_it_learns(name, most, control):
  path = ROOT / f'configs/digits_{name}.py'
  config = runpy.run_path(str(path))['get_config']()
  has_decoder = config.decoder.hidden != (1000, 1000)
  config.encoder.hidden = (64, 64)
  if has_decoder:
    config.decoder.hidden = (64, 64)
  config.epochs = 40
  config.num_seeds = 2
  # An average of weights would not be there yet.
  config.ema_decay = 0.0
  config.dataset.num_validation = 360
  built = experiments.build(config)
  state = built.init()
  stopped = jax.tree.map(lambda x: x.at[1].set(0.0), state.hyperparams)
  rates = {
    phase: {**found, 'learning_rate': stopped[phase]['learning_rate']}
    for phase, found in state.hyperparams.items()
  }
  *_, (state, _) = training.steps(built, state.replace(hyperparams=rates))
  measure = measures.Evaluator(built.system, built.schema)
  found = measure(built.finish(state), built.dataset.validation)
  learned, untrained = np.asarray(found['classification_error'])
  assert learned < most and untrained > control, (learned, untrained)
