"""Tests of benchmarks/reproduce.py."""

import json
import sys

import pytest

from benchmarks import reproduce

ALL = list(reproduce.RUNS)


@pytest.fixture
def call(monkeypatch, tmp_path):
  """Calls the program, whose trainings only leave their command."""

  def run(command, cwd, check):
    assert command[0] == sys.executable and cwd == tmp_path and check
    [workdir] = [word for word in command if word.startswith('--workdir=')]
    workdir = tmp_path / workdir.removeprefix('--workdir=')
    workdir.mkdir(parents=True)
    (workdir / 'results.json').write_text(json.dumps(command[1:]))

  monkeypatch.setattr(reproduce, 'ROOT', tmp_path)
  monkeypatch.setattr(reproduce.subprocess, 'run', run)
  monkeypatch.setattr(reproduce, 'refuse_changed_files', lambda: None)
  (tmp_path / 'benchmarks').mkdir()

  def call(*arguments):
    monkeypatch.setattr(sys, 'argv', ['reproduce.py', *arguments])
    reproduce.main()
    results = tmp_path / 'benchmarks/results'
    return {
      path.stem: json.loads(path.read_text()) for path in results.iterdir()
    }

  return call


def test_everything_is_run_where_nothing_is_named(call):
  assert sorted(call()) == sorted(ALL)


def test_command_of_a_run(call, tmp_path):
  assert call('mnist_clustering_16') == {
    'mnist_clustering_16': [
      'train.py',
      '--config=configs/mnist_clustering.py',
      f'--workdir={tmp_path}/runs/benchmarks/mnist_clustering_16',
      '--config.num_clusters=16',
    ]
  }


@pytest.mark.parametrize('is_first', [True, False])
def test_neutral_keys_are_passed_on(call, is_first):
  keys = [
    '--config.dataset.manual_dir=/data/a=b',
    '--config.steps_per_call=5',
  ]
  names = ['svhn_subset_classifier', 'digits_100']
  found = call(*(keys + names if is_first else names + keys))
  assert found.keys() == {*names}
  assert found['svhn_subset_classifier'][-3:] == [
    '--config.dataset.allow_unverified=True',
    *keys,
  ]
  assert found['digits_100'][-2:] == keys


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
  ],
)
def test_other_keys_are_refused_in_a_line(call, argument, message, tmp_path):
  with pytest.raises(SystemExit) as stopped:
    call('digits_100', argument)
  assert str(stopped.value).startswith(f'reproduce.py: {message}')
  assert '\n' not in str(stopped.value)
  assert not (tmp_path / 'runs').exists()
