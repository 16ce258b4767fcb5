"""Tests of aae_jax.training: the loop, what it leaves behind, and resuming."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import jax
import ml_collections
import numpy as np
import pytest

from aae_jax import (
  datasets,
  drawing,
  errors,
  experiments,
  figures,
  measures,
  pages,
  provenance,
  runs,
  saved_model,
  trained,
  training,
)
from aae_jax.checkpoints import Checkpoints
from aae_jax.errors import InputError
from aae_jax.interruption import Interruption
from aae_jax.train_step import Request
from tests import tiny

SLOW_IMPORTS = {
  'tensorflow',
  'sklearn',
  'matplotlib',
  'scipy.io',
  'scipy.optimize',
  'scipy.spatial',
  'scipy.stats',
}
SEEDS = range(4, 6)
TOTAL_STEPS = 20  # Four epochs of 44 images in batches of 8.
DATASET = dataclasses.replace(tiny.DATASET, validation=tiny.make_split(9, 3))


class Compiled:
  """Experiments of which each is built and compiled once.

  Attributes:
    dataset: what experiments are built on.
    before_call: sees and may change the arguments of every call of steps.
  """

  def __init__(self):
    self.dataset = DATASET
    self.before_call = lambda state, num_steps: state
    self._built, self._evaluators = {}, {}

  def build(self, config):
    shared = json.loads(config.to_json())
    for key in experiments.NEUTRAL_KEYS:
      shared.pop(key, None)
    key = json.dumps(shared)
    if key not in self._built:
      built = self._build(config)
      self._built[key] = built, built.run(), built.init()
    built, run, initial = self._built[key]
    return Replica(
      built.spec,
      self.dataset,
      built.labelled,
      built.devices,
      compiled=lambda state, data, request: run(
        self.before_call(state, request.num_steps), data, request
      ),
      initial=initial,
    )

  def _build(self, config):
    built = _BUILD(config)
    return dataclasses.replace(built, devices=built.devices[:1])

  def evaluator(self, system, schema):
    if id(system) not in self._evaluators:
      made = _EVALUATOR(system, schema)
      self._evaluators[id(system)] = made
    return self._evaluators[id(system)]


def analyze(built, state):
  """Numbers that take no time."""
  del state
  seeds = slice(len(built.spec.seeds))
  return {
    'energy_distance': np.array([0.25, 0.75])[seeds],
    'parzen_bandwidth': np.array([0.1, 0.2])[seeds],
  }


_BUILD = experiments.build
_EVALUATOR = measures.Evaluator
_WRITE_FIGURES = figures.write_figures
_WRITE_PAGES = pages.write_pages


@dataclasses.dataclass(frozen=True)
class Replica(experiments.Experiment):
  """An experiment that is compiled already."""

  compiled: object
  initial: object

  def run(self):
    return self.compiled

  def init(self):
    return jax.tree.map(
      lambda x: jax.device_put(x, x.sharding, may_alias=False), self.initial
    )


@pytest.fixture(scope='module')
def compiled():
  """Takes the place of what costs most of the time of a tiny run."""
  patch = pytest.MonkeyPatch()
  compiled = Compiled()
  patch.setattr(datasets, 'load', lambda **_: compiled.dataset)
  patch.setattr(training.experiments, 'build', compiled.build)
  patch.setattr(measures, 'Evaluator', compiled.evaluator)
  patch.setattr(training.measures, 'analyze', analyze)
  patch.setattr(figures, 'write_figures', lambda *_: None)
  patch.setattr(pages, 'write_pages', lambda *_: None)
  yield compiled
  patch.undo()


@pytest.fixture(autouse=True)
def undisturbed(compiled):
  yield
  compiled.dataset = DATASET
  compiled.before_call = lambda state, num_steps: state


def make_config(**changes):
  """Two seeds of all that a run can have."""
  return tiny.make_config(
    'semi_supervised_aae',
    **{
      **tiny.NOISY,
      'encoder.noise': 0.3,
      'num_seeds': len(SEEDS),
      'seed': SEEDS.start,
      'ema_decay': 0.9,
      'schedule.name': 'linear',
      'evaluate_every_epochs': 2,
      'dataset.num_validation': 9,
      **changes,
    },
  )


def make_single_config(**changes):
  return tiny.make_config('autoencoder', **changes)


@dataclasses.dataclass(frozen=True)
class Run:
  """What a run has left in its workdir."""

  config: ml_collections.ConfigDict
  workdir: pathlib.Path

  @property
  def results(self):
    return json.loads((self.workdir / 'results.json').read_text())

  @property
  def rows(self):
    """The rows of metrics.jsonl, apart from the time they took."""
    lines = (self.workdir / 'metrics.jsonl').read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [{k: v for k, v in row.items() if k != 'seconds'} for row in rows]

  @property
  def state(self):
    built = training.experiments.build(self.config)
    with Checkpoints(self.workdir / 'checkpoints', 9) as checkpoints:
      return tiny.plain(checkpoints.restore(built.abstract_state()))

  @property
  def files(self):
    """Content and time of change of every file."""
    return {
      path: (path.read_bytes(), os.stat(path).st_mtime_ns)
      for path in self.workdir.rglob('*')
      if path.is_file()
    }


def train(config, workdir):
  training.train_and_evaluate(config, workdir)
  return Run(config, workdir)


@pytest.fixture(scope='module')
def finished(tmp_path_factory, compiled):
  """A run that nothing has disturbed."""
  return train(make_config(), tmp_path_factory.mktemp('finished') / 'run')


@pytest.fixture(scope='module')
def finished_single(tmp_path_factory, compiled):
  folder = tmp_path_factory.mktemp('finished_single')
  return train(make_single_config(), folder / 'run')


def test_results(finished):
  results = finished.results
  assert results['config'] == json.loads(finished.config.to_json())
  assert results['step'] == results['total_steps'] == TOTAL_STEPS
  assert results['seeds'] == results['sound_seeds'] == list(SEEDS)
  assert results['dataset'] == {
    'name': 'random',
    'train': 44,
    'validation': 9,
    'test': 13,
  }
  assert results['training_seconds'] > 0
  made_by = provenance.of_process()
  assert results['evaluated'] == made_by
  assert results['trained'] == [
    {
      **made_by,
      'first_step': 0,
      'last_step': TOTAL_STEPS,
      'seconds': results['training_seconds'],
    }
  ]
  assert not {'commit', 'versions', 'hardware'} & results.keys()


def test_metrics_of_seeds(finished):
  metrics = finished.results['metrics']
  names = [
    f'{split}/{measure}{weights}'
    for split in ('validation', 'test')
    for measure in ('classification_error', 'reconstruction_error')
    for weights in ('', '_raw')
  ]
  analyzed = {'test/energy_distance', 'test/parzen_bandwidth'}
  assert set(metrics) == {*names, *analyzed}
  for summary in metrics.values():
    assert len(summary['per_seed']) == len(SEEDS)
    assert summary['mean'] == np.mean(summary['per_seed'])
    assert summary['std'] == np.std(summary['per_seed'], ddof=1)
  assert metrics['test/energy_distance']['per_seed'] == [0.25, 0.75]


def test_metrics_of_one_seed_have_no_spread(finished_single):
  summary = finished_single.results['metrics']['test/reconstruction_error']
  assert summary['std'] is None
  assert summary['per_seed'] == [summary['mean']]


def test_images_that_chose_are_named(finished, compiled, tmp_path):
  assert finished.results['chosen_on'] == {
    'test/parzen_bandwidth': 'validation'
  }
  compiled.dataset = tiny.DATASET
  run = train(make_single_config(), tmp_path / 'run')
  assert run.results['chosen_on'] == {'test/parzen_bandwidth': 'training'}


def test_parameters_are_those_of_one_seed(finished):
  assert finished.results['parameters']['encoder'] == (
    16 * 8
    + 8 * 8
    + 2 * 2 * 8  # Normalized, and so without a bias.
    + 8 * 3
    + 3
    + 8 * 2
    + 2
  )


def test_rows(finished):
  rows = finished.rows
  assert [row['step'] for row in rows] == [5, 10, 15, 20]
  assert [row['epoch'] for row in rows] == [1, 2, 3, 4]
  for row in rows:
    assert {
      f'{phase}/loss'
      for phase in (
        'reconstruction',
        'discriminator',
        'generator',
        'classification',
      )
    } <= set(row)
    is_evaluated = row['epoch'] % 2 == 0
    assert ('validation/classification_error' in row) == is_evaluated
    assert not any(name.startswith('test/') for name in row)


def test_last_row_and_results_agree(finished):
  name = 'validation/classification_error'
  assert finished.rows[-1][name] == finished.results['metrics'][name]


def test_test_split_has_no_say(finished, compiled, tmp_path):
  """Seen only after the last step, and by nothing but the measures."""
  compiled.dataset = dataclasses.replace(DATASET, test=tiny.make_split(17, 99))
  seen, steps = [], []

  def note_step(state, num_steps):
    steps.append(int(state.step) + num_steps)
    return state

  compiled.before_call = note_step
  original = _EVALUATOR.__call__

  def note_split(self, state, split, *rest):
    seen.append((steps[-1], split.num_images))
    return original(self, state, split, *rest)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(_EVALUATOR, '__call__', note_split)
    other = train(make_config(), tmp_path / 'run')
  assert seen == [(10, 9), (20, 9), (20, 9), (20, 17)]
  assert other.rows == finished.rows
  jax.tree.map(np.testing.assert_array_equal, other.state, finished.state)
  name = 'test/reconstruction_error'
  assert other.results['metrics'][name] != finished.results['metrics'][name]


def test_finished_run_is_left_alone(finished, capsys):
  before = finished.files
  train(finished.config, finished.workdir)
  assert finished.files == before
  assert capsys.readouterr().out == (
    f'{finished.workdir} holds the finished run: there is nothing to do.\n'
  )


def without_classification(config):
  config.system = 'autoencoder'
  del config.num_labels


@pytest.mark.parametrize(
  'change, messages',
  [
    (
      lambda config: config.update(epochs=5),
      ['epochs is 5, in the workdir 4'],
    ),
    (
      lambda config: config.update(seed=0),
      ['seed is 0, in the workdir 4'],
    ),
    (
      lambda config: config.encoder.update(hidden=(8, 9)),
      ['encoder.hidden is [8, 9], in the workdir [8, 8]'],
    ),
    (
      lambda config: config.prior.update(radius=2.5),
      ['prior.radius is 2.5, in the workdir None'],
    ),
    (
      without_classification,
      [
        'num_labels is absent, in the workdir 6',
        'system is autoencoder, in the workdir semi_supervised_aae',
      ],
    ),
  ],
)
def test_run_of_another_config_is_refused(finished, change, messages):
  config = finished.config.copy_and_resolve_references()
  change(config)
  before = finished.files
  for entry in (
    training.train_and_evaluate,
    training.evaluate,
    training.export,
  ):
    with pytest.raises(InputError) as raised:
      entry(config, finished.workdir)
    for message in messages:
      assert message in str(raised.value)
    assert str(raised.value).count(', in the workdir ') == len(messages)
  assert finished.files == before


NOW = {'epochs': 4, 'encoder.noise': 0.0, 'num_labels': 6}
DEFAULTS = {'epochs': 100, 'encoder.noise': 0.0, 'steps_per_call': -1}


@pytest.mark.parametrize(
  ('before', 'different'),
  [
    (NOW, []),
    # A neutral key may differ, lack, or be gone.
    ({**NOW, 'steps_per_call': 3}, []),
    ({**NOW, 'epochs': 5}, ['epochs is 4, in the workdir 5']),
    # What came later is at its default, as it was without the key.
    ({'epochs': 4, 'num_labels': 6}, []),
    # This one is not.
    (
      {'encoder.noise': 0.0, 'num_labels': 6},
      ['epochs is 4, in the workdir 100'],
    ),
    # And this one has none.
    (
      {'epochs': 4, 'encoder.noise': 0.0},
      ['num_labels is 6, in the workdir absent'],
    ),
    # What is gone was another program, whatever its value.
    ({**NOW, 'decay': None}, ['decay is absent, in the workdir None']),
  ],
)
def test_differences(before, different):
  assert training.differences(before, NOW, DEFAULTS) == different


def test_an_option_that_came_later_may_be_none():
  now = {**NOW, 'optimizer.elbo.clip_norm': None}
  assert training.differences(NOW, now, DEFAULTS) == []
  assert training.differences(
    {**now, 'optimizer.elbo.clip_norm': 1.0}, now, DEFAULTS
  )


def test_run_that_lacks_a_newer_key_goes_on(finished, tmp_path):
  path = tmp_path / 'config.json'
  content = json.loads(finished.config.to_json())
  del content['encoder']['initializer'], content['posterior']
  path.write_text(json.dumps(content))
  shutil.copy(finished.workdir / 'model.json', tmp_path)
  training.check_config(finished.config, runs.Run(tmp_path))
  config = finished.config.copy_and_resolve_references()
  config.encoder.initializer = 'normal'
  with pytest.raises(
    InputError, match='initializer is normal, in the workdir he'
  ):
    training.check_config(config, runs.Run(tmp_path))


def test_run_of_other_data_is_refused(compiled, tmp_path):
  config = make_single_config(steps_per_call=3, checkpoint_every_seconds=0.0)
  stop_before_call(compiled, 4)
  with pytest.raises(Stop):
    train(config, tmp_path / 'run')
  before = Run(config, tmp_path / 'run').files
  other = dataclasses.replace(DATASET, test=tiny.make_split(13, 99))
  compiled.dataset = other
  for entry in (training.train_and_evaluate, training.evaluate):
    with pytest.raises(InputError) as raised:
      entry(config, tmp_path / 'run')
    assert str(raised.value) == (
      f'{tmp_path}/run holds the run of other data (random, of digest '
      f'{DATASET.digest[:12]}) than random, of digest {other.digest[:12]}; '
      'choose another --workdir.'
    )
  assert Run(config, tmp_path / 'run').files == before


def test_neutral_keys_may_differ(finished, capsys):
  config = finished.config.copy_and_resolve_references()
  config.update_from_flattened_dict(
    {
      'checkpoint_every_seconds': 7.0,
      'checkpoints_to_keep': 7,
      'dataset.data_dir': 'elsewhere',
      'dataset.manual_dir': 'there',
      'evaluate_every_epochs': 7,
      'on_divergence': 'continue',
      'steps_per_call': 7,
    }
  )
  train(config, finished.workdir)
  assert 'nothing to do' in capsys.readouterr().out


def test_evaluation_gives_the_same_numbers(finished):
  before, files = finished.results, finished.files
  (finished.workdir / 'results.json').unlink()
  training.evaluate(finished.config, finished.workdir)
  assert finished.results['metrics'] == before['metrics']
  changed = {
    path.name
    for path, content in finished.files.items()
    if content != files[path]
  }
  assert changed == {'results.json'}


@pytest.mark.parametrize('made', [False, True])
def test_nothing_to_evaluate(made, tmp_path, compiled):
  if made:
    (tmp_path / 'checkpoints').mkdir()
  with pytest.raises(InputError, match='holds no run, for it has no config'):
    training.evaluate(make_single_config(), tmp_path)


class Stop(Exception):
  """Ends a run as an error of the machine would."""


def stop_before_call(compiled, number):
  """Raises Stop in place of the call of that number, from 0."""
  calls = iter(range(10**6))

  def before_call(state, num_steps):
    del num_steps
    if next(calls) == number:
      raise Stop
    return state

  compiled.before_call = before_call


def interrupt(compiled, config, workdir, *numbers):
  """Stops a run before the calls of these numbers, and lets it finish."""
  for number in numbers:
    stop_before_call(compiled, number)
    with pytest.raises(Stop):
      train(config, workdir)
  stop_before_call(compiled, None)
  return train(config, workdir)


def assert_same_run(one, other):
  jax.tree.map(np.testing.assert_array_equal, one.state, other.state)
  assert one.results['metrics'] == other.results['metrics']
  # Those of an epoch that was interrupted, too.
  assert one.rows == other.rows


@pytest.mark.parametrize('steps_per_call', [1, 3, -1])
def test_steps_per_call_change_nothing(
  steps_per_call, finished, compiled, tmp_path
):
  config = make_config(steps_per_call=steps_per_call)
  assert_same_run(train(config, tmp_path / 'run'), finished)


@pytest.mark.parametrize('numbers', [(0,), (2, 1), (4, 4, 1), (7,)], ids=str)
def test_interrupted_run_is_the_same(numbers, finished, compiled, tmp_path):
  """Calls of at most 3 steps end after steps 1, 2, 5, 8, 10, 13, 15, ..."""
  config = make_config(steps_per_call=3, checkpoint_every_seconds=0.0)
  run = interrupt(compiled, config, tmp_path / 'run', *numbers)
  assert_same_run(run, finished)


def stop_in(batch, config, workdir):
  """Trains until a signal in a batch of an evaluation; how many there were."""
  interruption, batches = Interruption(), []
  original = trained.Trained.call

  def call(self, *arguments):
    batches.append(arguments)
    if len(batches) == batch:
      interruption.signal = signal.SIGTERM
    return original(self, *arguments)

  def leave(message, number=None):
    raise Stop

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(trained.Trained, 'call', call)
    patch.setattr(interruption, 'leave', leave)
    with pytest.raises(Stop):
      training.train_and_evaluate(config, workdir, interruption)
  return len(batches)


@pytest.mark.parametrize(
  ('signal_in', 'last', 'step', 'rows'),
  [(1, 1, 10, 1), (2, 2, 10, 1), (3, 4, 20, 4)],
)
def test_a_signal_ends_an_evaluation_which_is_made_up_for(
  signal_in, last, step, rows, finished, compiled, tmp_path
):
  """Of the second epoch; not that of the last. Each is of two weights."""
  assert stop_in(signal_in, make_config(), tmp_path / 'run') == last
  stopped = Run(make_config(), tmp_path / 'run')
  assert (stopped.state.step, len(stopped.rows)) == (step, rows)
  assert_same_run(train(make_config(), tmp_path / 'run'), finished)


def test_run_goes_on_where_it_was_saved(compiled, tmp_path, capsys):
  config = make_single_config(steps_per_call=3, checkpoint_every_seconds=0.0)
  begun = []

  stop_before_call(compiled, 4)
  with pytest.raises(Stop):
    train(config, tmp_path / 'run')

  def before_call(state, num_steps):
    del num_steps
    begun.append(int(state.step))
    return state

  compiled.before_call = before_call
  capsys.readouterr()
  train(config, tmp_path / 'run')
  assert begun[0] == 8
  assert 'Going on from step 8.' in capsys.readouterr().out


def test_results_name_who_trained_and_who_evaluated(
  compiled, tmp_path, monkeypatch
):
  """Calls end after steps 1, 2, 5, 8, ...; the third process evaluates."""
  config = make_single_config(steps_per_call=3, checkpoint_every_seconds=0.0)
  made_by = iter('abc')

  def begin():
    process = {'commit': next(made_by)}
    monkeypatch.setattr(provenance, 'of_process', lambda: process)

  begin()
  stop_before_call(compiled, 4)
  with pytest.raises(Stop):
    train(config, tmp_path / 'run')
  begin()
  stop_before_call(compiled, None)
  run = train(config, tmp_path / 'run')
  trained = run.results['trained']
  assert [(p['commit'], p['first_step'], p['last_step']) for p in trained] == [
    ('a', 0, 8),
    ('b', 8, TOTAL_STEPS),
  ]
  assert run.results['evaluated'] == {'commit': 'b'}
  seconds = run.results['training_seconds']
  assert seconds == sum(p['seconds'] for p in trained)
  # The rows go on where the first process has saved, not where it wrote one.
  times = [
    json.loads(row)['seconds']
    for row in (run.workdir / 'metrics.jsonl').read_text().splitlines()
  ]
  assert times[0] < trained[0]['seconds'] < times[1] < times[-1] <= seconds
  begin()
  training.evaluate(config, run.workdir)
  assert run.results['trained'] == trained
  assert run.results['evaluated'] == {'commit': 'c'}
  assert run.results['training_seconds'] == seconds


def test_run_that_ended_before_its_results(finished_single, compiled, tmp_path):
  run = train(make_single_config(), tmp_path / 'run')
  (run.workdir / 'results.json').unlink()
  stop_before_call(compiled, 0)
  assert_same_run(train(run.config, run.workdir), finished_single)


def test_unfinished_run_may_be_evaluated(finished_single, compiled, tmp_path):
  config = make_single_config(steps_per_call=3, checkpoint_every_seconds=0.0)
  stop_before_call(compiled, 4)
  with pytest.raises(Stop):
    train(config, tmp_path / 'run')
  training.evaluate(config, tmp_path / 'run')
  results = Run(config, tmp_path / 'run').results
  assert (results['step'], results['total_steps']) == (8, TOTAL_STEPS)
  stop_before_call(compiled, None)
  assert_same_run(train(config, tmp_path / 'run'), finished_single)


def test_rows_are_written_before_the_checkpoint(
  compiled, tmp_path, monkeypatch
):
  """Otherwise a run that is killed in between would lack the rows."""
  seen = []
  original = Checkpoints.save

  def save(self, step, state):
    rows = (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()
    seen.append((step, len(rows)))
    assert (
      provenance.History(tmp_path / 'run', step).trained[-1]['last_step']
      == step
    )
    return original(self, step, state)

  monkeypatch.setattr(Checkpoints, 'save', save)
  train(
    make_single_config(steps_per_call=3, checkpoint_every_seconds=0.0),
    tmp_path / 'run',
  )
  assert seen[2] == (5, 1)
  assert all(rows == step // 5 for step, rows in seen)


def test_checkpoints_are_kept_as_asked(compiled, tmp_path):
  config = make_single_config(
    steps_per_call=3, checkpoint_every_seconds=0.0, checkpoints_to_keep=3
  )
  run = train(config, tmp_path / 'run')
  steps = {
    int(path.name) for path in (run.workdir / 'checkpoints').glob('[0-9]*')
  }
  assert steps == {15, 18, 20}


def poison(seed, step):
  """Makes the weights of a seed NaN in the call that begins at a step."""

  def before_call(state, num_steps):
    del num_steps
    if int(state.step) != step:
      return state
    bad = lambda x: x.at[seed].set(np.nan) if x.ndim else x
    return state.replace(params=jax.tree.map(bad, state.params))

  return before_call


def test_loss_that_is_not_finite_stops_the_run(finished, compiled, tmp_path):
  config = make_config(steps_per_call=3, checkpoint_every_seconds=0.0)
  compiled.before_call = poison(seed=1, step=8)
  with pytest.raises(
    errors.DivergenceError,
    match=(
      '^classification/loss of seed 5 is not finite at step 8; the last '
      'checkpoint is from before'
    ),
  ):
    train(config, tmp_path / 'run')
  run = Run(config, tmp_path / 'run')
  state = run.state
  assert state.step == 8
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))
  assert [row['epoch'] for row in run.rows] == [1]
  compiled.before_call = lambda state, num_steps: state
  assert_same_run(train(config, run.workdir), finished)


@pytest.mark.parametrize('step', [8, TOTAL_STEPS - 1])
def test_weights_born_infinite_are_never_saved(compiled, tmp_path, step):
  """The losses of that step are finite: the last phase spoils its weights."""
  config = make_config(steps_per_call=1, checkpoint_every_seconds=0.0)

  def before_call(state, num_steps):
    del num_steps
    if int(state.step) != step:
      return state
    rates = state.hyperparams['classification']['learning_rate']
    rates = {'learning_rate': rates.at[1].set(np.inf)}
    return state.replace(
      hyperparams={**state.hyperparams, 'classification': rates}
    )

  compiled.before_call = before_call
  with pytest.raises(
    errors.DivergenceError,
    match=f'^weights of seed 5 are not finite after step {step + 1}; the last ',
  ):
    train(config, tmp_path / 'run')
  state = Run(config, tmp_path / 'run').state
  assert state.step == step
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))
  assert not (tmp_path / 'run/results.json').exists()


def test_sound_seeds_may_go_on(finished, compiled, tmp_path, capsys):
  compiled.before_call = poison(seed=1, step=5)
  config = make_config(on_divergence='continue')
  run = train(config, tmp_path / 'run')
  assert run.results['sound_seeds'] == [4]
  measured = dict(run.results['metrics'])
  # The analysis is not the real one.
  del measured['test/energy_distance'], measured['test/parzen_bandwidth']
  assert len(measured) == 8
  for name, summary in measured.items():
    expected = finished.results['metrics'][name]['per_seed'][0]
    assert summary == {
      'mean': expected,
      'std': None,
      'per_seed': [expected, None],
    }, name
  row = run.rows[-1]
  assert row['reconstruction/loss']['per_seed'][1] is None
  assert row['reconstruction/loss']['mean'] is not None
  name = 'validation/classification_error'
  assert row[name] == run.results['metrics'][name]
  assert 'the sound seeds, 1 of 2: the others' in capsys.readouterr().out


def test_pictures_and_pages_are_of_a_sound_seed_and_cost_no_number(
  compiled, tmp_path, monkeypatch
):
  seen = []

  def write_figures(experiment, state, run, name):
    seen.append(bool(run.results))
    seen.extend(_WRITE_FIGURES(experiment, state, run, name))

  monkeypatch.setattr(figures, 'write_figures', write_figures)
  monkeypatch.setattr(pages, 'write_pages', _WRITE_PAGES)
  monkeypatch.setattr(drawing, 'DPI', 20)
  monkeypatch.setattr(figures, 'PRIOR_DRAWS', 1000)
  compiled.before_call = poison(seed=0, step=5)
  train(make_config(on_divergence='continue'), tmp_path / 'run')
  assert seen[0]
  assert {'latent.png', 'reconstructions.png', 'curves.png'} < set(seen[1:])
  report = (tmp_path / 'run/report.html').read_text()
  assert report.count('<img') == len(seen) - 1
  assert 'Seed 5, step 20' in (tmp_path / 'run/explorer.html').read_text()


def test_no_sound_seed_is_left(compiled, tmp_path):
  config = make_config(on_divergence='continue')
  compiled.before_call = poison(seed=slice(None), step=5)
  with pytest.raises(errors.DivergenceError, match='seed 4 .* at step 5;'):
    train(config, tmp_path / 'run')


def test_a_run_starts_without_what_takes_long_to_import():
  code = (
    'import sys; from aae_jax import program, training;'
    f'assert not {SLOW_IMPORTS} & set(sys.modules)'
  )
  subprocess.run([sys.executable, '-c', code], check=True)


def test_workdir_that_cannot_be_written(compiled, tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(
    InputError, match='^cannot write to workdir .*/file/run: Not a directory'
  ):
    train(make_single_config(), tmp_path / 'file' / 'run')


@pytest.mark.parametrize(
  ('changes', 'draws'), [({}, 2), ({'num_labels': -1}, 0)]
)
def test_label_draws_are_those_that_are_made(
  changes, draws, compiled, tmp_path
):
  """Every seed has its own draw, or all the labels."""
  config = make_config(epochs=1, evaluate_every_epochs=1, **changes)
  assert train(config, tmp_path / 'run').results['label_draws'] == draws
  labelled = compiled.build(config).labelled.tolist()
  assert len({tuple(row) for row in labelled}) == max(1, draws)


def test_no_labels_are_drawn_where_none_are_learned_from(finished_single):
  assert finished_single.results['label_draws'] == 0


def test_tensorboard_names_the_seeds(finished):
  [path] = finished.workdir.glob('events.*')
  content = path.read_bytes()
  for seed in SEEDS:
    assert b'reconstruction/loss/seed_%d' % seed in content
  assert b'seed_0' not in content


def test_plan_is_told(compiled, tmp_path):
  config = make_config()
  experiment = compiled.build(config)
  lines = dict(
    line.split(maxsplit=1)
    for line in training.describe(config, experiment, tmp_path).splitlines()
  )
  assert lines == {
    'System': (
      'semi_supervised_aae: reconstruction, discriminator, generator, '
      'classification'
    ),
    'Data': (
      'random, 4 x 4 x 1: 44 images to train on, 6 of them labelled; '
      '9 for validation, 13 for the test; held by the devices: they are in '
      'memory'
    ),
    'Parameters': lines['Parameters'],
    'Devices': '1 x cpu',
    'Precision': 'float32',
    'Seeds': '4, 5',
    'Steps': '20: 4 epochs of 5, batch size 8',
    'Workdir': str(tmp_path),
  }
  assert set(lines['Parameters'].split(', ')) == {
    'encoder 269',
    'decoder 280',
    'discriminator_y 113',
    'discriminator_z 105',
  }


SETTINGS = [{'generator.y_weight': weight} for weight in (1.0, 300.0)]


def make_search(**changes):
  return make_config(**{'search.generator.y_weight': (1.0, 300.0), **changes})


@pytest.fixture(scope='module')
def searched(tmp_path_factory, compiled):
  """A search that nothing has disturbed."""
  return train(make_search(), tmp_path_factory.mktemp('searched') / 'run')


def test_a_search_has_rows_of_each_setting(searched):
  rows = searched.rows
  assert [row['step'] for row in rows] == [5, 5, 10, 10, 15, 15, 20, 20]
  assert [row['setting'] for row in rows] == 4 * SETTINGS
  for one, other in zip(rows[::2], rows[1::2], strict=True):
    assert one.keys() == other.keys()
    assert len(one['generator/loss']['per_seed']) == len(SEEDS)
    assert other['generator/loss']['mean'] > 100 * one['generator/loss']['mean']


def test_results_of_a_search_are_told_by_setting(searched):
  results = searched.results
  told, name = results['search'], 'validation/classification_error'
  assert told['chosen_by'] == name
  assert [setting['setting'] for setting in told['settings']] == SETTINGS
  found = [setting['metrics'] for setting in told['settings']]
  for metrics, row in zip(found, searched.rows[-2:], strict=True):
    assert metrics[name] == row[name]
    assert not any(key.startswith('test/') for key in metrics)
  best = int(np.argmin([metrics[name]['mean'] for metrics in found]))
  assert told['best'] == SETTINGS[best]
  assert results['last_epoch']['setting'] == SETTINGS[best]
  # All else is of the best setting alone.
  assert found[best].items() <= results['metrics'].items()
  assert len(results['metrics']['test/classification_error']['per_seed']) == 2
  assert results['seeds'] == results['sound_seeds'] == list(SEEDS)
  assert results['label_draws'] == len(SEEDS)


def test_results_without_a_search_tell_of_none(finished):
  assert 'search' not in finished.results
  assert not any('setting' in row for row in finished.rows)


def test_parameters_of_a_search_are_those_of_one_run(searched, finished):
  assert searched.results['parameters'] == finished.results['parameters']


@pytest.mark.parametrize('best', [0, 1])
def test_test_images_are_for_the_best_setting(best, searched, monkeypatch):
  seen = []

  def note(what, state):
    weights = state.hyperparams['generator']['y_weight'].tolist()
    seen.append((what, weights))

  class Evaluator(_EVALUATOR):
    def __call__(self, state, split, *rest):
      note(split.num_images, state)
      return super().__call__(state, split, *rest)

  def noted(what, original):
    def function(built, state, *rest):
      note(what, state)
      [setting] = built.spec.settings
      assert setting.values == SETTINGS[best]
      return original(built, state, *rest)

    return function

  monkeypatch.setattr(training.measures, 'Evaluator', Evaluator)
  monkeypatch.setattr(training.search, 'best', lambda *_: best)
  for module, name in (
    (training.measures, 'analyze'),
    (figures, 'write_figures'),
    (pages, 'write_pages'),
  ):
    monkeypatch.setattr(module, name, noted(name, getattr(module, name)))
  before = (searched.workdir / 'results.json').read_text()
  training.evaluate(searched.config, searched.workdir)
  assert searched.results['search']['best'] == SETTINGS[best]
  (searched.workdir / 'results.json').write_text(before)
  weights = [SETTINGS[best]['generator.y_weight']] * 2
  assert seen == [
    (9, [1.0, 1.0, 300.0, 300.0]),
    (13, weights),
    ('analyze', weights),
    ('write_figures', weights),
    ('write_pages', weights),
  ]


def test_a_search_that_was_interrupted_is_the_same(
  searched, compiled, tmp_path
):
  config = make_search(steps_per_call=3, checkpoint_every_seconds=0.0)
  run = interrupt(compiled, config, tmp_path / 'run', 4, 1)
  assert_same_run(run, searched)
  assert run.results['search'] == searched.results['search']


def test_another_search_is_another_run(searched):
  config = make_search(**{'search.generator.y_weight': (1.0, 30.0)})
  with pytest.raises(InputError) as raised:
    training.train_and_evaluate(config, searched.workdir)
  assert (
    'search.generator.y_weight is [1.0, 30.0], in the workdir [1.0, 300.0]'
  ) in str(raised.value)


def test_a_search_says_what_it_does_and_found(searched, compiled, capsys):
  experiment = compiled.build(searched.config)
  plan = training.describe(searched.config, experiment, searched.workdir)
  assert (
    'Seeds      4, 5\n'
    'Settings   generator.y_weight=1.0 | generator.y_weight=300.0\n'
    'Chosen by  validation/classification_error\n'
  ) in plan
  training.evaluate(searched.config, searched.workdir)
  lines = capsys.readouterr().out.splitlines()
  told = searched.results['search']
  for setting, line in zip(told['settings'], lines, strict=False):
    [(key, value)] = setting['setting'].items()
    mean = setting['metrics']['validation/classification_error']['mean']
    assert line.startswith(
      f'{key}={value}: validation/classification_error {mean:.4g} ± '
    )
  [(key, value)] = told['best'].items()
  assert lines[2] == (
    f'The best is {key}={value}, and all that follows is its.'
  )


def test_tensorboard_names_the_settings(searched):
  [path] = searched.workdir.glob('events.*')
  content = path.read_bytes()
  for setting in (b'generator.y_weight=1.0', b'generator.y_weight=300.0'):
    assert b'generator/loss/%s/seed_4' % setting in content


def test_a_setting_that_diverges_is_named(compiled, tmp_path):
  compiled.before_call = poison(seed=2, step=5)
  with pytest.raises(
    errors.DivergenceError,
    match='^classification/loss of generator.y_weight=300.0, seed 4 is not ',
  ):
    train(make_search(), tmp_path / 'run')


@pytest.mark.parametrize('diverged', [0, 1])
def test_a_setting_that_diverges_is_not_the_best(diverged, compiled, tmp_path):
  compiled.before_call = poison(seed=2 * diverged, step=5)
  config = make_search(on_divergence='continue')
  results = train(config, tmp_path / 'run').results
  assert results['search']['best'] == SETTINGS[1 - diverged]
  assert results['sound_seeds'] == list(SEEDS)
  summary = results['search']['settings'][diverged]['metrics'][
    'validation/classification_error'
  ]
  first, second = summary['per_seed']
  assert first is None and summary['mean'] == second


def ask(monkeypatch, steps_per_call, *seconds):
  """Makes calls that take so long; returns the steps that are asked for."""
  now = 0.0
  monkeypatch.setattr(training.time, 'monotonic', lambda: now)
  pace = training.Pace(steps_per_call, 1e9, Interruption())
  lengths = []
  for duration in seconds:
    request = pace(0)
    # An epoch has a hundred steps.
    request = request._replace(num_steps=min(request.num_steps, 100))
    lengths.append(request.num_steps)
    now += duration
    pace.returned(request)
  return lengths


def test_calls_have_at_most_the_steps_of_the_config(monkeypatch):
  assert ask(monkeypatch, -1, *[1e-6] * 3) == [1, 1, 100]
  assert ask(monkeypatch, 40, *[1e-6] * 4) == [1, 1, 40, 40]


def test_calls_are_as_short_as_a_signal_can_wait(monkeypatch):
  """The first, slow one compiles; then a step takes a second, then two."""
  assert ask(monkeypatch, -1, 60.0, 1.0, 10.0, 4.0) == [1, 1, 5, 2]


def test_a_signal_is_answered_by_a_call_of_no_steps():
  interruption = Interruption()
  pace = training.Pace(7, 1e9, interruption)
  assert pace(0) == Request(1)
  interruption.signal = 15
  assert pace(0) == Request(0, save=True, leave=15)


def test_saves_are_asked_for_when_they_are_due(monkeypatch):
  clock = iter([0.0, 0.0, 59.0, 60.0, 61.0, 119.0, 121.0])
  monkeypatch.setattr(training.time, 'monotonic', lambda: next(clock))
  pace = training.Pace(7, 60.0, Interruption())
  saves = [pace(0).save for _ in range(6)]
  assert saves == [False, False, True, False, False, True]


def test_steps_need_neither_a_file_nor_a_configuration():
  """A call ends with its epoch, or where it is asked to; then nobody leaves."""
  system = tiny.system('autoencoder', epochs=2)
  calls = list(training.steps(system.experiment, system.init()))
  assert [agreed for _, agreed in calls] == [Request(5), Request(5)]
  requests = iter([Request(3), Request(9, save=True), Request(2, leave=15)])
  calls = training.steps(
    system.experiment, system.init(), lambda step: next(requests)
  )
  steps, agreed = zip(
    *((int(state.step), agreed) for state, agreed in calls), strict=True
  )
  assert steps == (3, 5, 7)
  assert agreed == (Request(3), Request(2, save=True), Request(2, leave=15))


def test_export_of_nothing(tmp_path):
  with pytest.raises(InputError, match='expected the workdir of a run'):
    training.export(make_single_config(), tmp_path)


MEASURE = 'validation/classification_error'
SCORES = {5: (9.0, 5.0), 10: (8.0, 6.0), 15: (9.0, 1.0)}
"""After each epoch, of the two seeds: the second is over before it is best."""


def make_stopping(**changes):
  early = {'measure': 'classification_error', 'patience': 1}
  return make_config(early_stopping=early, **changes)


_WITH_VALIDATED = measures.with_validated


def with_scores(built, state, found, name):
  """Every epoch has its score in place of what is measured."""
  found = _WITH_VALIDATED(built, state, found, name)
  return {**found, MEASURE: np.array(SCORES[int(state.step)])}


@pytest.fixture
def scored(compiled, monkeypatch):
  monkeypatch.setattr(training.measures, 'with_validated', with_scores)


@pytest.fixture(scope='module')
def stopped(compiled, tmp_path_factory):
  """A run that has stopped early, undisturbed."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(training.measures, 'with_validated', with_scores)
    return train(make_stopping(), tmp_path_factory.mktemp('stopped') / 'run')


def states_of(compiled, config):
  """The states after the epochs of a run, without early stopping."""
  built = compiled.build(config)
  states = training.steps(built, built.init())
  return {int(state.step): tiny.plain(state) for state, _ in states}


def test_a_run_stops_early_with_the_best_of_each_seed(stopped, compiled):
  results = stopped.results
  assert (results['step'], results['total_steps']) == (15, TOTAL_STEPS)
  assert [row['epoch'] for row in stopped.rows] == [1, 2, 3]
  assert results['early_stopping'] == {
    'chosen_by': MEASURE,
    'measured': 'best',
    'best_epochs': [2, 1],
    'stopped_after_epoch': 3,
  }
  saved, states = stopped.state, states_of(compiled, make_config())
  for index, step in enumerate((10, 5)):
    for name, kept in saved.best['weights'].items():
      jax.tree.map(
        lambda x, y, i=index: np.testing.assert_array_equal(x[i], y[i]),
        kept,
        getattr(states[step], name),
      )
  jax.tree.map(
    np.testing.assert_array_equal, saved.replace(best={}), states[15]
  )


def test_early_stopping_changes_no_step(stopped, compiled, tmp_path):
  plain = train(make_config(evaluate_every_epochs=1), tmp_path / 'run')
  for row, expected in zip(stopped.rows, plain.rows, strict=False):
    assert {**row, MEASURE: None} == {**expected, MEASURE: None}
    assert row[MEASURE]['per_seed'] == list(SCORES[row['step']])


def test_numbers_are_of_the_best_which_load_gives(stopped, compiled):
  states = states_of(compiled, make_config())
  evaluator = _EVALUATOR(compiled.build(make_config()).system, DATASET.schema)
  for index, (seed, step) in enumerate(zip(SEEDS, (10, 5), strict=True)):
    expected = evaluator(states[step], DATASET.test)
    for name, values in expected.items():
      found = stopped.results['metrics'][f'test/{name}']['per_seed']
      assert found[index] == values[index]
    for which, at in (('best', step), ('last', 15)):
      run, _ = saved_model.restore(stopped.workdir, seed, which)
      jax.tree.map(
        lambda x, y, i=index: np.testing.assert_array_equal(x[0], y[i]),
        run.weights,
        trained.averaged(states[at]),
      )
  assert saved_model.load(stopped.workdir).functions
  with pytest.raises(InputError) as raised:
    saved_model.load(stopped.workdir, which='first')
  assert str(raised.value) == "which is 'first'; expected 'best' or 'last'."


def test_a_run_that_stopped_early_is_finished(stopped, capsys):
  before = stopped.files
  train(stopped.config, stopped.workdir)
  assert 'there is nothing to do' in capsys.readouterr().out
  assert stopped.files == before


@pytest.mark.parametrize('numbers', [(2, 1), (5, 1), (6,)], ids=str)
def test_early_stopping_that_was_interrupted_is_the_same(
  numbers, stopped, scored, compiled, tmp_path
):
  """Calls end after steps 1, 2, 5, 8, 10, 13, 15."""
  config = make_stopping(steps_per_call=3, checkpoint_every_seconds=0.0)
  run = interrupt(compiled, config, tmp_path / 'run', *numbers)
  assert_same_run(run, stopped)
  assert run.results['early_stopping'] == stopped.results['early_stopping']


def test_a_run_that_stopped_before_its_results(
  stopped, compiled, tmp_path, capsys
):
  before = stopped.results
  shutil.copytree(stopped.workdir, tmp_path / 'run')
  (tmp_path / 'run/results.json').unlink()
  stop_before_call(compiled, 0)
  results = train(stopped.config, tmp_path / 'run').results
  assert results['metrics'] == before['metrics']
  assert results['early_stopping'] == before['early_stopping']
  assert (
    'After epoch 3 of 4; all that follows is of the best by '
    f'{MEASURE}: epoch 2, 1.\n'
  ) in capsys.readouterr().out


def test_with_early_stopping_no_signal_ends_an_evaluation(scored, tmp_path):
  """Else what is saved would lack what is kept."""
  stop_in(1, make_stopping(), tmp_path / 'run')
  saved = Run(make_stopping(), tmp_path / 'run')
  assert (saved.state.step, len(saved.rows)) == (5, 1)
  assert saved.state.best['step'].tolist() == [5, 5]


def test_a_run_that_is_not_over_may_be_evaluated(scored, compiled, tmp_path):
  config = make_stopping(steps_per_call=3, checkpoint_every_seconds=0.0)
  stop_before_call(compiled, 4)
  with pytest.raises(Stop):
    train(config, tmp_path / 'run')
  training.evaluate(config, tmp_path / 'run')
  run = Run(config, tmp_path / 'run')
  assert run.results['step'] == 8
  assert run.results['early_stopping']['best_epochs'] == [1, 1]
  assert run.results['early_stopping']['stopped_after_epoch'] is None
  assert not runs.Run(run.workdir).is_finished


def test_what_becomes_of_a_seed_that_is_over_does_not_matter(
  stopped, scored, compiled, tmp_path
):
  compiled.before_call = poison(seed=1, step=10)
  run = train(make_stopping(), tmp_path / 'over')
  assert run.results['sound_seeds'] == list(SEEDS)
  assert run.results['metrics'] == stopped.results['metrics']
  for seed, step in ((0, 10), (1, 5)):
    compiled.before_call = poison(seed, step)
    with pytest.raises(errors.DivergenceError, match=f'of seed {seed + 4} '):
      train(make_stopping(), tmp_path / f'run_{seed}')


def test_a_number_of_samples_may_stop_early(compiled, tmp_path, monkeypatch):
  """The energy distance is none: it does not choose."""
  monkeypatch.setattr(measures, 'NUM_SAMPLES', 100)
  config = tiny.make_config(
    'clustering_aae',
    epochs=1,
    early_stopping={'measure': 'clustering_error', 'patience': 1},
    **{'dataset.num_validation': 9},
  )
  run = train(config, tmp_path / 'run')
  [row] = run.rows
  name = 'validation/clustering_error'
  assert np.isfinite(row[name]['mean'])
  assert run.state.best['score'] == np.float32(row[name]['mean'])


@pytest.mark.parametrize('measure', ['clustering_error', 'no_such'])
def test_what_a_system_does_not_have_cannot_stop_it(
  measure, compiled, tmp_path
):
  config = make_config(**{'early_stopping.measure': measure})
  with pytest.raises(InputError) as raised:
    train(config, tmp_path / 'run')
  assert str(raised.value) == (
    f'early_stopping.measure is {measure!r}; expected what this system has '
    'while it is trained: classification_error, parzen_log_likelihood, '
    'reconstruction_error.'
  )
  assert not (tmp_path / 'run').exists()


def test_a_run_goes_on_with_its_patience_alone(stopped, finished):
  config = make_stopping(**{'early_stopping.patience': 3})
  with pytest.raises(
    InputError, match='early_stopping.patience is 3, in the workdir 1'
  ):
    train(config, stopped.workdir)
  with pytest.raises(InputError, match='measure is classification_error, in '):
    train(make_stopping(), finished.workdir)


def test_early_stopping_is_told(compiled, tmp_path):
  config = make_stopping()
  plan = training.describe(config, compiled.build(config), tmp_path)
  assert f'\nStops      by {MEASURE}; patience, in epochs: 1\n' in plan
