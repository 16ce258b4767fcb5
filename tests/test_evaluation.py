"""Tests of aae_jax.evaluation."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import systems

from aae_jax import evaluation, objectives
from aae_jax.datasets.dataset import Split

SPLIT = systems.make_split(13, 5)


class Linear:
  """A network of one matrix; enough for a model."""

  def apply(self, variables, x, *, rng, train, mutable):
    assert not train and rng is None and mutable
    x = x.reshape(x.shape[0], -1)
    return x @ variables['params'], {}


def make_objective(**functions):
  return objectives.Objective(
      {'encoder': Linear(), 'decoder': Linear()},
      (),
      objectives.Model(**functions),
  )


def classify(apply, image):
  return jax.nn.softmax(apply('encoder', image)[:, :3])


def encode(apply, image, rng):
  assert rng is None
  return {'z': apply('encoder', image)}


def decode(apply, code):
  return apply('decoder', code['z']).reshape(-1, 4, 4, 1)


def make_params(seed):
  generator = np.random.default_rng(seed)
  return {
      'encoder': generator.normal(size=(2, 16, 5)).astype('float32'),
      'decoder': generator.normal(size=(2, 5, 16)).astype('float32'),
  }


def make_state(ema=None):
  return types.SimpleNamespace(
      params=make_params(0), batch_stats={}, ema=ema or {}, step=0
  )


def expected(params, split=SPLIT):
  """The measures of two seeds by NumPy, over the whole split at once."""
  flat = split.image.reshape(-1, 16) / 255
  code = np.stack([flat @ matrix for matrix in params['encoder']])
  predicted = code[..., :3].argmax(axis=-1)
  image = np.einsum('snz,szp->snp', code, params['decoder'])
  return {
      'classification_error': 100 * (predicted != split.label).mean(axis=1),
      'reconstruction_error': ((image - flat) ** 2).sum(-1).mean(axis=1),
  }


OBJECTIVE = make_objective(encode=encode, decode=decode, classify=classify)


def assert_close(found, wanted):
  assert found.keys() == wanted.keys()
  for name, value in wanted.items():
    np.testing.assert_allclose(found[name], value, rtol=1e-4)


@pytest.mark.parametrize('batch_size', [1, 4, 5, 12, 13, 14, 1000])
def test_means_are_over_the_whole_split(batch_size, monkeypatch):
  """What fills the last batch does not count, and no image is left out."""
  monkeypatch.setattr(evaluation, 'BATCH_SIZE', batch_size)
  found = evaluation.Evaluator(OBJECTIVE, labels=True)(make_state(), SPLIT)
  assert_close(found, expected(make_state().params))
  assert len(set(found['classification_error'])) == 2


def test_measures_are_of_the_split_at_hand():
  """Public code reports the accuracy on the training data."""
  evaluator = evaluation.Evaluator(OBJECTIVE, labels=True)
  for seed, size in ((6, 30), (7, 13)):
    split = systems.make_split(size, seed)
    found = evaluator(make_state(), split)
    assert_close(found, expected(make_state().params, split))


def test_averages_are_what_counts_where_there_are_any():
  ema = {'params': make_params(1), 'batch_stats': {}}
  state = make_state(ema)
  found = evaluation.Evaluator(OBJECTIVE, labels=True)(state, SPLIT)
  newest = expected(state.params)
  wanted = expected(ema['params']) | {
      f'{name}_raw': value for name, value in newest.items()
  }
  assert_close(found, wanted)


def test_averages_go_with_averaged_statistics():
  built = systems.build(
      'autoencoder', num_seeds=2, **{'encoder.batch_norm': True}
  )
  state = systems.random_state(built.objective)
  seeds = lambda tree: jax.tree.map(lambda x: jnp.stack([x, 2 * x]), tree)
  params, stats = seeds(state.params), seeds(state.batch_stats)
  evaluator = evaluation.Evaluator(built.objective, labels=True)

  def measure(**arrays):
    return evaluator(types.SimpleNamespace(**arrays), SPLIT)

  other = jax.tree.map(lambda x: 3 * x, stats)
  found = measure(
      params=params, batch_stats=stats,
      ema={'params': params, 'batch_stats': other},
  )
  alone = measure(params=params, batch_stats=other, ema={})
  newest = measure(params=params, batch_stats=stats, ema={})
  name = 'reconstruction_error'
  np.testing.assert_allclose(found[name], alone[name], rtol=1e-6)
  np.testing.assert_allclose(found[f'{name}_raw'], newest[name], rtol=1e-6)
  assert not np.allclose(alone[name], newest[name])


@pytest.mark.parametrize(
    'functions, labels, names',
    [
        ({'classify': classify}, True, {'classification_error'}),
        ({'classify': classify}, False, set()),
        ({'encode': encode}, True, set()),
        ({'decode': decode}, True, set()),
        ({'encode': encode, 'decode': decode}, False, {'reconstruction_error'}),
    ],
)
def test_measures_follow_from_the_model(functions, labels, names):
  split = SPLIT if labels else Split(SPLIT.image, None)
  evaluator = evaluation.Evaluator(make_objective(**functions), labels)
  assert evaluator(make_state(), split).keys() == names


@pytest.mark.parametrize('name', systems.NAMES)
def test_every_system_can_be_measured(name):
  built = systems.build(name)
  state = systems.random_state(built.objective)
  state = jax.tree.map(lambda x: x[None], state)
  evaluator = evaluation.Evaluator(built.objective, labels=True)
  for value in evaluator(state, SPLIT).values():
    assert value.shape == (1,) and np.isfinite(value).all()
