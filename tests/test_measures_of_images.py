"""Tests of aae_jax.measures: means over images."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from aae_jax import measures, randomness, systems, train_step, trained
from aae_jax.datasets.dataset import Split

SPLIT = tiny.make_split(13, 5)
SCHEMA = tiny.DATASET.schema


class Linear:
  """A network of one matrix; enough for a model."""

  def apply(self, variables, x, *, rng, train, mutable):
    assert not train and rng is None and mutable
    x = x.reshape(x.shape[0], -1)
    return x @ variables['params'], {}


def make_system(**functions):
  networks = {'encoder': Linear(), 'decoder': Linear()}
  model = systems.Model({'z': 5}, **functions)
  return systems.System(networks, (), model)


def classify(apply, batch, rng):
  assert rng is None
  return jax.nn.softmax(apply('encoder', batch['image'])[:, :3])


def encode(apply, batch, rng):
  assert rng is None
  return {'z': apply('encoder', batch['image'])}


def decode(apply, batch, rng):
  assert rng is None
  return apply('decoder', batch['code']['z']).reshape(-1, 4, 4, 1)


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


SYSTEM = make_system(encode=encode, decode=decode, classify=classify)


def assert_close(found, wanted):
  assert found.keys() == wanted.keys()
  for name, value in wanted.items():
    np.testing.assert_allclose(found[name], value, rtol=1e-4)


@pytest.mark.parametrize('batch_size', [1, 4, 5, 12, 13, 14, 1000])
def test_means_are_over_the_whole_split(batch_size, monkeypatch):
  """What fills the last batch does not count, and no image is left out."""
  monkeypatch.setattr(trained, 'BATCH_SIZE', batch_size)
  found = measures.Evaluator(SYSTEM, SCHEMA)(make_state(), SPLIT)
  assert_close(found, expected(make_state().params))
  assert len(set(found['classification_error'])) == 2


def test_measures_are_of_the_split_at_hand():
  """Public code reports the accuracy on the training data."""
  evaluator = measures.Evaluator(SYSTEM, SCHEMA)
  for seed, size in ((6, 30), (7, 13)):
    split = tiny.make_split(size, seed)
    found = evaluator(make_state(), split)
    assert_close(found, expected(make_state().params, split))


def test_an_evaluation_is_abandoned_between_batches(monkeypatch):
  monkeypatch.setattr(trained, 'BATCH_SIZE', 4)
  answers = iter([True, True, False])
  with pytest.raises(measures.AbandonedError):
    measures.Evaluator(SYSTEM, SCHEMA)(
      make_state(), SPLIT, lambda: next(answers)
    )
  assert not [*answers]


def test_averages_are_what_counts_where_there_are_any():
  ema = {'params': make_params(1), 'batch_stats': {}}
  state = make_state(ema)
  found = measures.Evaluator(SYSTEM, SCHEMA)(state, SPLIT)
  newest = expected(state.params)
  wanted = expected(ema['params']) | {
    f'{name}_raw': value for name, value in newest.items()
  }
  assert_close(found, wanted)


@pytest.mark.parametrize('part', ['params', 'ema'])
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_a_seed_that_is_not_sound_has_no_number(part, value):
  """Not even an error: argmax of NaN is a class."""
  state = make_state({'params': make_params(1), 'batch_stats': {}})
  sound = measures.Evaluator(SYSTEM, SCHEMA)(state, SPLIT)
  spoilt = state.params if part == 'params' else state.ema['params']
  spoilt['decoder'][0, 2, 3] = value
  np.testing.assert_array_equal(trained.sound_seeds(state), [False, True])
  found = measures.Evaluator(SYSTEM, SCHEMA)(state, SPLIT)
  assert found.keys() == sound.keys() and len(found) == 4
  for name, per_seed in found.items():
    np.testing.assert_array_equal(per_seed, [np.nan, sound[name][1]])


def test_averages_go_with_averaged_statistics():
  built = tiny.build('autoencoder', num_seeds=2, **{'encoder.batch_norm': True})
  state = tiny.random_state(built.system)
  seeds = lambda tree: jax.tree.map(lambda x: jnp.stack([x, 2 * x]), tree)
  params, stats = seeds(state.params), seeds(state.batch_stats)
  evaluator = measures.Evaluator(built.system, SCHEMA)

  def measure(**arrays):
    return evaluator(types.SimpleNamespace(**arrays), SPLIT)

  other = jax.tree.map(lambda x: 3 * x, stats)
  found = measure(
    params=params,
    batch_stats=stats,
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
  schema = SCHEMA if labels else SCHEMA._replace(num_classes=None)
  evaluator = measures.Evaluator(make_system(**functions), schema)
  assert evaluator(make_state(), split).keys() == names


def test_a_code_without_y_is_completed_by_the_label():
  def decode_label(apply, batch, rng):
    z = jnp.pad(batch['code']['y'], ((0, 0), (0, 2)))
    return decode(apply, {'code': {'z': z}}, rng)

  model = systems.Model(
    {'y': 3, 'z': 5}, told=('y',), encode=encode, decode=decode_label
  )
  system = make_system()
  evaluator = measures.Evaluator(
    systems.System(system.networks, (), model), SCHEMA
  )
  found = evaluator(make_state(), SPLIT)
  image = make_state().params['decoder'][:, SPLIT.label]
  error = ((image - SPLIT.image.reshape(-1, 16) / 255) ** 2).sum(-1)
  assert_close(found, {'reconstruction_error': error.mean(axis=1)})


@pytest.mark.parametrize('name', tiny.NAMES)
def test_every_system_can_be_measured(name):
  system = tiny.build(name).system
  state = tiny.random_state(system)
  apply, _ = train_step.bind(
    system.networks, state.params, state.batch_stats, train=False
  )
  batch = tiny.make_batch()
  for name in measures.allowed(system.model, labels=True):
    number = measures.NUMBERS[name]
    if not number.is_of_images:
      continue
    found = jax.eval_shape(
      functools.partial(number.how, system.model, apply), batch, tiny.keys(8)
    )
    assert found.shape == (8,)


def draw_bound(apply, batch, keys):
  """Terms that depend on the image and on its own noise."""
  image = batch['image']
  assert apply('encoder', image).shape[1] == 5
  pixel = image[:, 0, 0, 0]
  return pixel + randomness.normal(keys, ()), 2 * pixel


@pytest.mark.parametrize('batch_size', [4, 13, 1000])
def test_terms_of_the_bound_have_the_noise_of_the_image(
  batch_size, monkeypatch
):
  """The same at every evaluation, however images are put into batches."""
  monkeypatch.setattr(trained, 'BATCH_SIZE', batch_size)
  evaluator = measures.Evaluator(make_system(bound=draw_bound), SCHEMA)
  found = evaluator(make_state(), SPLIT)
  keys = randomness.position_keys(jax.random.key(0), jnp.arange(13))
  noise = np.mean(randomness.normal(keys, ()))
  pixel = np.mean(SPLIT.image[:, 0, 0, 0] / 255)
  wanted = {
    'log_likelihood': pixel + noise,
    'divergence': 2 * pixel,
    'elbo': noise - pixel,
  }
  assert_close(found, {k: np.full(2, v) for k, v in wanted.items()})


def test_region_share_is_of_codes_in_the_region_of_their_label():
  in_region = np.arange(13) < 4

  def region(apply, batch, rng):
    z, label = batch['code']['z'], jnp.asarray(SPLIT.label)
    return jnp.where(in_region, label, label + 1) + 0 * z[:, 0].astype(int)

  evaluator = measures.Evaluator(
    make_system(encode=encode, region=region), SCHEMA
  )
  found = evaluator(make_state(), SPLIT)
  assert_close(found, {'region_share': np.full(2, 400 / 13)})
