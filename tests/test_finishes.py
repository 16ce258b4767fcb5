"""Tests of aae_jax.finishes, and of what is done with what they make."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from aae_jax import (
  datasets,
  errors,
  experiments,
  figures,
  finishes,
  networks,
  runs,
  saved_model,
  systems,
  trained,
  training,
)
from aae_jax.datasets import Split
from aae_jax.finishes import Finish
from aae_jax.svm import TransductiveSVC
from aae_jax.train_step import Request

DATASET = dataclasses.replace(tiny.DATASET, validation=tiny.make_split(9, 3))
NUM_STEPS = 20


def counting(encoder, num_classes):
  """A classifier that takes from a finish how often it was told each class."""
  base = systems.classifier(encoder, num_classes)

  def scale(apply, batch, rng):
    del batch, rng
    return apply('counts', jnp.ones((1, num_classes)))

  def compute(run, split, key):
    assert split.num_images == 44 and key.shape == ()
    assert jax.tree.leaves(run.weights)[0].shape[0] == 1
    counts = np.bincount(split.label + 1, minlength=num_classes + 1)
    return {'params': {'counts': {'heads': counts[1:, None]}}}

  def classify(apply, batch, rng):
    return scale(apply, batch, rng) + base.model.classify(apply, batch, rng)

  return dataclasses.replace(
    base,
    networks={**base.networks, 'counts': networks.ClusterHeads(num_classes, 1)},
    model=dataclasses.replace(base.model, classify=classify),
    finish=(Finish('counts', scale, compute, gives=('classify',)),),
  )


def make_config(**changes):
  config = tiny.make_config('classifier')
  config.system = f'{__name__}:counting'
  config.num_labels = 6
  config.dataset.num_validation = 9
  config.evaluate_every_epochs = 1
  config.steps_per_call = 3
  config.num_seeds = 2
  config.ema_decay = 0.9
  config.update(changes)
  return config


@pytest.fixture(autouse=True)
def in_memory(monkeypatch):
  monkeypatch.setattr(datasets, 'load', lambda **_: DATASET)
  monkeypatch.setattr(figures, 'write_figures', lambda *_: None)
  build = experiments.build

  def on_one_device(config):
    built = build(config)
    return dataclasses.replace(built, devices=built.devices[:1])

  monkeypatch.setattr(training.experiments, 'build', on_one_device)


def test_what_is_made_is_saved_with_the_last_step(tmp_path):
  config = make_config()
  training.train_and_evaluate(config, tmp_path)
  run = runs.Run(tmp_path)
  state = run.restore(experiments.build(config).abstract_state())
  assert int(state.step) == NUM_STEPS
  for params in (state.params, state.ema['params']):
    # Two of each of three classes are drawn for either seed.
    np.testing.assert_array_equal(
      params['counts']['heads'], 2 * np.ones((2, 3, 1))
    )
  assert 'test/classification_error' in run.results['metrics']
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert len(rows) == 4
  assert not any('validation/classification_error' in row for row in rows)


def test_before_the_last_step_there_is_nothing_of_it(tmp_path, monkeypatch):
  """Neither numbers nor functions, and a resumed run makes it."""
  config = make_config(checkpoint_every_seconds=0.0)
  whole = tmp_path / 'whole'
  training.train_and_evaluate(config, whole)

  def stop(self, step):
    if step >= 9:
      raise KeyboardInterrupt
    return Request(3, save=True)

  with monkeypatch.context() as patch:
    patch.setattr(training.Pace, '__call__', stop)
    with pytest.raises(KeyboardInterrupt):
      training.train_and_evaluate(config, tmp_path / 'part')
  training.evaluate(config, tmp_path / 'part')
  results = runs.Run(tmp_path / 'part').results
  assert results['step'] < NUM_STEPS
  assert 'test/classification_error' not in results['metrics']
  assert 'classify' not in saved_model.load(tmp_path / 'part').functions
  training.train_and_evaluate(config, tmp_path / 'part')
  assert 'classify' in saved_model.load(tmp_path / 'part').functions
  abstract = experiments.build(config).abstract_state()
  states = [
    runs.Run(path).restore(abstract) for path in (whole, tmp_path / 'part')
  ]
  for one, other in zip(
    *map(jax.tree.leaves, map(tiny.plain, states)), strict=True
  ):
    np.testing.assert_array_equal(one, other)


def test_a_seed_that_is_not_sound_is_left_as_it_is():
  built = experiments.build(make_config())
  state = built.init()
  kernel = lambda x: x.at[0].set(jnp.nan)
  state = state.replace(
    params={
      **state.params,
      'encoder': jax.tree.map(kernel, state.params['encoder']),
    }
  )
  before = np.asarray(state.params['counts']['heads'])
  made = built.finish(state).params['counts']['heads']
  np.testing.assert_array_equal(made[0], before[0])
  np.testing.assert_array_equal(made[1], np.full((3, 1), 2.0))


def test_statistics_are_those_of_all_training_images():
  """And nothing is left of those of before."""
  built = tiny.build('vat', **{'encoder.batch_norm': True})
  state = built.init()
  junk = jax.tree.map(lambda x: x + 100.0, state.batch_stats)
  state = built.finish(state.replace(batch_stats=junk))
  image = np.asarray(DATASET.train.image / 255, np.float64).reshape(44, -1)
  first = state.params['encoder']['trunk']['Layer_0']
  dense = image @ np.asarray(first['Dense_0']['kernel'][0], np.float64)
  stats = state.batch_stats['encoder']['trunk']['Layer_0']['BatchNorm_0']
  stats = jax.tree.map(lambda x: np.asarray(x[0]), stats)
  spread = dense.std(axis=0)
  np.testing.assert_allclose(
    stats['mean'], dense.mean(axis=0), atol=0.1 * spread.max()
  )
  np.testing.assert_allclose(stats['var'], dense.var(axis=0), rtol=0.15)


@pytest.mark.parametrize('kernel', ['linear', 'rbf'])
@pytest.mark.parametrize('num_classes', [2, 3])
def test_network_decides_as_the_machine_does(kernel, num_classes):
  generator = np.random.default_rng(0)
  rows = generator.normal(size=(60, 4)).astype(np.float32)
  label = np.full(60, -1)
  label[:30] = np.arange(30) % num_classes
  split = Split(rows, label)
  make = functools.partial(TransductiveSVC, kernel=kernel, n_components=20)
  finish = finishes.support_vector_machine(lambda *_: None, make)

  class Rows:
    def run(self, function, batch):
      return batch['image'][None]

  made = finish.compute(Rows(), split, jax.random.key(3))['params']['svm']
  machine = networks.SupportVectorMachine(
    num_classes, 20 if kernel == 'rbf' else 0
  )
  shapes = jax.eval_shape(machine.init, jax.random.key(0), rows)['params']
  assert jax.tree.map(np.shape, made) == jax.tree.map(lambda x: x.shape, shapes)
  decision = machine.apply({'params': made}, rows)
  seed = int(jax.random.randint(jax.random.key(3), (), 0, 2**31 - 1))
  expected = make(random_state=seed).fit(rows, label)
  np.testing.assert_array_equal(
    np.argmax(decision, axis=1), expected.predict(rows)
  )
  if num_classes > 2:
    np.testing.assert_allclose(
      decision, expected.decision_function(rows), rtol=1e-3, atol=1e-3
    )


def test_machine_learns_the_labels_of_the_draw_alone(monkeypatch):
  """With the weights that are evaluated; each seed those of its own draw."""
  seen = []
  fit = TransductiveSVC.fit

  def recording(self, rows, label):
    seen.append((rows, label))
    return fit(self, rows, label)

  monkeypatch.setattr(TransductiveSVC, 'fit', recording)
  config = tiny.make_config('m1_tsvm', num_seeds=2, ema_decay=0.5)
  built = training.experiments.build(config)
  state = built.init()
  state = built.finish(
    state.replace(ema=jax.tree.map(lambda x: 2 * x, state.ema))
  )
  model = built.trained(trained.averaged(state))
  codes = model.run(built.system.model.encode, {'image': DATASET.train.image})
  for (rows, label), code, drawn in zip(
    seen, codes['z'], built.labelled, strict=True
  ):
    np.testing.assert_allclose(rows, code, rtol=1e-4, atol=1e-5)
    known = np.flatnonzero(label >= 0)
    np.testing.assert_array_equal(known, np.sort(drawn))
    np.testing.assert_array_equal(label[known], DATASET.train.label[known])
  for params in (state.params, state.ema['params']):
    assert np.abs(params['svm']['decision']['kernel']).max() > 0
  # It is that which `classify` asks.
  probability = model.run(
    built.system.model.classify, {'image': DATASET.train.image}
  )
  assert probability.shape == (2, 44, 3) and set(np.unique(probability)) == {
    0,
    1,
  }


@pytest.mark.parametrize(
  ('key', 'value', 'message'),
  [
    ('svm.kernel', 'cubic', "unknown kernel 'cubic'"),
    ('svm.regularization', 0.0, 'regularization is 0.0; expected'),
    ('svm.n_components', 0, 'n_components is 0; expected'),
  ],
)
def test_a_machine_that_cannot_be(key, value, message):
  with pytest.raises(errors.InputError, match=message):
    experiments.build(tiny.make_config('m1_tsvm', **{key: value}))


def scaled(encoder, num_classes):
  """The same, whose classes are there before the finish too."""
  system = counting(encoder, num_classes)
  [finish] = system.finish
  finish = dataclasses.replace(finish, gives=())
  return dataclasses.replace(system, finish=(finish,))


def test_a_run_that_stops_early_is_finished_with_both_weights(
  tmp_path, monkeypatch
):
  scores = {5: 1.0, 10: 2.0}
  name = 'validation/classification_error'
  monkeypatch.setattr(
    training.measures,
    'with_validated',
    lambda built, state, found, _: {
      **found,
      name: np.full(2, scores[int(state.step)]),
    },
  )
  config = make_config()
  config.system = f'{__name__}:scaled'
  config.early_stopping.update(measure='classification_error', patience=1)
  training.train_and_evaluate(config, tmp_path)
  state = runs.Run(tmp_path).restore(experiments.build(config).abstract_state())
  assert int(state.step) == 10
  assert state.best['step'].tolist() == [5, 5]
  kept = state.best['weights']
  for params in (state.params, kept['params'], kept['ema']['params']):
    np.testing.assert_array_equal(
      params['counts']['heads'], 2 * np.ones((2, 3, 1))
    )
  # And the others are of their epochs.
  encoders = (state.params['encoder'], kept['params']['encoder'])
  assert not all(
    jax.tree.leaves(jax.tree.map(lambda x, y: (x == y).all(), *encoders))
  )
