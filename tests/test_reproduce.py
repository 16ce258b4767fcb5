"""Tests of benchmarks/reproduce.py, with trainings that only leave files."""

import ast
import contextlib
import json
import pathlib
import runpy
import shutil
import sys

import pytest

from aae_jax import metrics
from benchmarks import reproduce
from benchmarks.rows import ROWS, Row
from tests import programs

CONFIGS = pathlib.Path(reproduce.ROOT) / 'configs'
NOW, BEFORE = 'tree', 'older tree'
MAKER = {'versions': {}, 'hardware': {'platform': 'cpu'}}


class Trainings:
  """Stands in for train.py.

  Attributes:
    commands: that were run.
    fails_at: the seed whose training fails.
  """

  def __init__(self, root):
    self.root, self.commands, self.fails_at = root, [], None

  def __call__(self, command):
    self.commands.append(command)
    flags = dict(word.lstrip('-').split('=', 1) for word in command[1:])
    seed = int(flags['config.seed'])
    if seed == self.fails_at:
      return 3
    self.leave(
      self.root / flags['workdir'], flags['config'], seed, self._keys(flags)
    )
    return 0

  def _keys(self, flags):
    keys = {}
    for flag, value in flags.items():
      key = flag.removeprefix('config.')
      if key != flag:
        with contextlib.suppress(ValueError, SyntaxError):
          value = ast.literal_eval(value)
        keys[key] = value
    return keys

  def leave(self, workdir, config, seed, keys, commit='now', step=20):
    """What a run leaves in its workdir."""
    path, *variant = str(config).split(':')
    config = runpy.run_path(str(self.root / path))['get_config'](*variant)
    config.update_from_flattened_dict(keys)
    config = json.loads(config.to_json())
    seeds = [seed + k for k in range(config['num_seeds'])]
    error = metrics.summarize(
      {'test/classification_error': [2.0 + s for s in seeds]},
      [True] * len(seeds),
    )
    processes = [{**MAKER, 'commit': commit, 'first_step': 0}]
    results = {
      'metrics': error,
      'chosen_on': {},
      'last_epoch': {},
      'step': step,
      'total_steps': 20,
      'seeds': seeds,
      'sound_seeds': seeds,
      'label_draws': len(seeds),
      'dataset': {'name': 'digits', 'train': 1437},
      'parameters': {'encoder': 5},
      'training_seconds': 10.0 * len(seeds),
      'trained': processes,
      'evaluated': {**MAKER, 'commit': commit},
      'config': config,
    }
    rows = {'step': 20, 'epoch': 2, 'seconds': 8.0 * len(seeds)}
    workdir.mkdir(parents=True)
    metrics.write_json(workdir / 'config.json', config)
    metrics.write_json(workdir / 'provenance.json', processes)
    metrics.write_json(workdir / 'results.json', results)
    (workdir / 'metrics.jsonl').write_text(json.dumps(rows) + '\n')


@pytest.fixture
def trainings(monkeypatch, tmp_path):
  """The program works in a folder of its own, on a CPU, at one commit."""
  shutil.copytree(CONFIGS, tmp_path / 'configs')
  (tmp_path / 'benchmarks').mkdir()
  found = Trainings(tmp_path)
  monkeypatch.setattr(reproduce, 'ROOT', tmp_path)
  monkeypatch.setattr(reproduce, 'run', found)
  monkeypatch.setattr(reproduce, 'has_accelerator', lambda: False)
  monkeypatch.setattr(reproduce, 'refuse_changed_files', lambda: None)
  at = {'HEAD': NOW, 'now': NOW, 'neutral': NOW, 'before': BEFORE}
  monkeypatch.setattr(reproduce, 'code_at', lambda revision: at[revision])
  return found


@pytest.fixture
def call(trainings, monkeypatch):
  """Calls the program; returns the results of all rows."""

  def call(*arguments):
    monkeypatch.setattr(sys, 'argv', ['reproduce.py', *arguments])
    reproduce.main()
    return {path.stem: json.loads(path.read_text()) for path in files()}

  def files():
    return (trainings.root / 'benchmarks/results').iterdir()

  return call


def seeds_trained(trainings):
  """The first seed of each training, and how many it has."""
  return [
    tuple(int(word.partition('=')[2]) for word in command[-2:])
    for command in trainings.commands
  ]


def test_every_row_gets_its_draws_where_nothing_is_named(call):
  found = call()
  assert {name: len(found[name]['seeds']) for name in found} == {
    name: row.draws for name, row in ROWS.items()
  }


def test_commands_of_a_row(call, trainings):
  call('clustering_16', '--seeds=2')
  assert trainings.commands == [
    [
      'train.py',
      '--config=configs/mnist_clustering.py',
      f'--workdir={trainings.root}/runs/benchmarks/clustering_16/seed_{seed}',
      '--config.num_clusters=16',
      f'--config.seed={seed}',
      '--config.num_seeds=1',
    ]
    for seed in (0, 1)
  ]


def test_accelerator_trains_what_is_missing_together(
  call, trainings, monkeypatch
):
  call('digits_100', '--seeds=1')
  monkeypatch.setattr(reproduce, 'has_accelerator', lambda: True)
  results = call('digits_100', '--seeds=5')['digits_100']
  assert seeds_trained(trainings) == [(0, 1), (1, 4)]
  assert trainings.commands[1][2].endswith('digits_100/seeds_1_4')
  assert results['seeds'] == [0, 1, 2, 3, 4]
  assert results['training_seconds'] == 50.0


def test_finished_seeds_are_not_trained_again(call, trainings, capsys):
  call('digits_100', '--seeds=2')
  call('digits_100', '--seeds=4')
  assert seeds_trained(trainings) == [(0, 1), (1, 1), (2, 1), (3, 1)]
  shutil.rmtree(trainings.root / 'runs')
  results = call('digits_100', '--seeds=4')['digits_100']
  assert len(trainings.commands) == 4 and results['seeds'] == [0, 1, 2, 3]
  capsys.readouterr()
  assert call('digits_100', '--seeds=2')['digits_100'] == results
  assert call('digits_100', '--seeds=4')['digits_100'] == results
  assert capsys.readouterr().out == 2 * 'digits_100: all 4 seeds are there.\n'


def test_finished_workdirs_do_without_the_file(call, trainings):
  before = call('digits_100', '--seeds=2')
  (trainings.root / 'benchmarks/results/digits_100.json').unlink()
  assert call('digits_100', '--seeds=2') == before
  assert len(trainings.commands) == 2


def test_file_is_written_after_each_seed(call, trainings):
  trainings.fails_at = 2
  with pytest.raises(
    SystemExit, match='^python -m benchmarks.reproduce: status 3 '
  ):
    call('digits_100', '--seeds=4')
  path = trainings.root / 'benchmarks/results/digits_100.json'
  assert json.loads(path.read_text())['seeds'] == [0, 1]
  trainings.fails_at = None
  seeds = [*range(ROWS['digits_100'].draws)]
  assert call('digits_100')['digits_100']['seeds'] == seeds


def test_unfinished_run_goes_on_in_its_workdir(call, trainings):
  workdir = trainings.root / 'runs/benchmarks/digits_100/seed_0'
  config = 'configs/digits_semi_supervised.py'
  keys = {'seed': 0, 'num_seeds': 1}
  trainings.leave(workdir, config, 0, keys, step=10)
  (workdir / 'checkpoint').touch()
  trainings.leave = lambda workdir, *others: metrics.write_json(
    workdir / 'results.json',
    json.loads((workdir / 'results.json').read_text()) | {'step': 20},
  )
  results = call('digits_100', '--seeds=1')['digits_100']
  assert (workdir / 'checkpoint').exists()
  assert len(trainings.commands) == 1 and results['step'] == 20


@pytest.mark.parametrize('what', ['trained', 'config', 'format'])
def test_file_of_another_time_is_replaced(call, trainings, what, capsys):
  path = trainings.root / 'benchmarks/results/digits_100.json'
  results = call('digits_100', '--seeds=3')['digits_100']
  if what == 'trained':
    results['trained'][1]['commit'] = 'before'
  elif what == 'config':
    results['config']['latent_size'] = 7
  else:
    del results['trained']
    results['commit'] = 'before'
  path.write_text(json.dumps(results))
  shutil.rmtree(trainings.root / 'runs')
  capsys.readouterr()
  found = call('digits_100', '--seeds=2')['digits_100']
  assert seeds_trained(trainings)[3:] == [(0, 1), (1, 1)]
  assert found['seeds'] == [0, 1]
  reason = (
    'latent_size is 10, in the workdir 7'
    if what == 'config'
    else 'it is of the code at commit before'
  )
  first_line = capsys.readouterr().out.splitlines()[0]
  assert first_line == f'digits_100.json will be replaced: {reason}.'


@pytest.mark.parametrize('what', ['trained', 'evaluated', 'config'])
def test_workdir_of_another_time_is_put_aside(call, trainings, what, capsys):
  folder = trainings.root / 'runs/benchmarks/digits_100'
  call('digits_100', '--seeds=1')
  for number in (1, 2):
    (trainings.root / 'benchmarks/results/digits_100.json').unlink()
    if what == 'trained':
      path = folder / 'seed_0/provenance.json'
      path.write_text(json.dumps([{'commit': 'before'}]))
    elif what == 'evaluated':
      path = folder / 'seed_0/results.json'
      results = json.loads(path.read_text())
      path.write_text(json.dumps(results | {'evaluated': {'commit': 'before'}}))
    else:
      path = folder / 'seed_0/config.json'
      config = json.loads(path.read_text())
      path.write_text(json.dumps(config | {'epochs': 7}))
    changed = path.read_text()
    call('digits_100', '--seeds=1')
    assert f'seed_0 is now seed_0_old_{number}: ' in capsys.readouterr().out
    assert (folder / f'seed_0_old_{number}' / path.name).read_text() == changed
  assert len(trainings.commands) == 3


def test_neutral_keys_may_differ(call, trainings):
  call('digits_100', '--seeds=1', '--config.steps_per_call=5')
  results = call('digits_100', '--seeds=2', '--config.steps_per_call=7')
  assert results['digits_100']['seeds'] == [0, 1]


def test_code_may_not_change_between_seeds(call, trainings, monkeypatch):
  codes = iter([NOW, NOW, NOW])
  monkeypatch.setattr(
    reproduce, 'code_at', lambda revision: next(codes, BEFORE)
  )
  with pytest.raises(SystemExit, match='another commit .* start the command'):
    call('digits_100', '--seeds=3')
  assert seeds_trained(trainings) == [(0, 1)]


def test_changed_files_are_looked_for_before_each_seed(
  call, trainings, monkeypatch
):
  def refuse():
    if len(trainings.commands) == 2:
      raise SystemExit('changed files')

  monkeypatch.setattr(reproduce, 'refuse_changed_files', refuse)
  with pytest.raises(SystemExit, match='^changed files$'):
    call('digits_100', '--seeds=3')


def test_results_name_a_commit(call, monkeypatch):
  monkeypatch.setattr(reproduce, 'code_at', lambda revision: None)
  with pytest.raises(SystemExit, match='is not a clone; expected one, whose'):
    call('digits_100')


@pytest.mark.parametrize('is_first', [True, False])
def test_neutral_keys_are_passed_on(call, trainings, is_first):
  keys = [
    '--config.dataset.manual_dir=/data/a=b',
    '--config.steps_per_call=5',
  ]
  rows = ['svhn_part_supervised', 'parzen']
  assert call(*(keys + rows if is_first else rows + keys)).keys() == {*rows}
  assert all(command[-2:] == keys for command in trainings.commands)
  assert trainings.commands[0][3] == '--config.dataset.allow_unverified=True'


@pytest.mark.parametrize(
  ('argument', 'message'),
  [
    (
      '--config.epochs=3',
      '--config.epochs=3 would give another result; expected one of '
      'checkpoint_every_seconds, ',
    ),
    ('--config.seed', "unknown argument '--config.seed'; expected --config.K"),
    ('--workdir=x', "unknown argument '--workdir=x'; expected --config.KEY"),
    ('--seeds=0', 'seeds is 0; expected at least 1.'),
  ],
)
def test_other_arguments_are_refused_in_a_line(
  call, trainings, argument, message
):
  with pytest.raises(SystemExit) as stopped:
    call('digits_100', argument)
  assert str(stopped.value).startswith(
    f'python -m benchmarks.reproduce: {message}'
  )
  assert '\n' not in str(stopped.value)
  assert not trainings.commands


def test_configuration_is_what_the_command_builds():
  row = Row('mnist_clustering', {'num_clusters': 16}, draws=3)
  config = reproduce.config_of(row, range(2, 5))
  assert config['num_clusters'] == 16 and config['latent_size'] == 5
  assert (config['seed'], config['num_seeds']) == (2, 3)


def test_accelerator_is_asked_for_in_another_process(monkeypatch):
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  assert not reproduce.has_accelerator()


def test_programs_end_with_their_status():
  assert reproduce.run(['-c', 'pass']) == 0
  assert reproduce.run(['-c', 'exit(3)']) == 3


@pytest.mark.parametrize('name, status', [('SIGTERM', -15), ('SIGINT', 4)])
def test_programs_get_to_save_what_they_have(name, status):
  """A terminal sends SIGINT to both; SIGTERM is for the parent alone."""
  program = (
    'import os, signal, time\n'
    f'os.kill(os.getppid(), signal.{name})\n'
    'time.sleep(1)\n'
    'exit(4)'
  )
  assert reproduce.run(['-c', program]) == status


def test_row_is_trained_and_merged(call, trainings, monkeypatch, tmp_path):
  """With the program itself: two epochs of a tiny classifier."""
  row = Row(
    'digits_classifier',
    {
      'epochs': 2,
      'encoder.hidden': (8,),
      'dataset.num_validation': 100,
      'evaluate_every_epochs': 1,
    },
  )
  monkeypatch.setitem(reproduce.ROWS, 'tiny', row)
  monkeypatch.setattr(reproduce, 'code_at', lambda revision: NOW)
  home, folders = tmp_path / 'home', iter(['first', 'second'])
  home.mkdir()

  def run(command):
    folder = tmp_path / next(folders)
    return programs.start(folder, home, *command[1:]).wait()

  monkeypatch.setattr(reproduce, 'run', run)
  results = call('tiny', '--seeds=2')['tiny']
  errors = results['metrics']['test/classification_error']
  assert len(set(errors['per_seed'])) == 2 and errors['std'] > 0
  assert [part['seeds'] for part in results['trained']] == [[0], [1]]
  for curve, seconds in zip(
    results['curve'], results['seconds_per_seed'], strict=True
  ):
    assert [epoch for epoch, _, _ in curve] == [1, 2]
    assert 0 < curve[0][1] <= curve[1][1] <= seconds + 1
    assert all(0 < error <= 100 for _, _, error in curve)
  (tmp_path / 'benchmarks/results/tiny.json').unlink()
  assert call('tiny', '--seeds=2')['tiny'] == results
