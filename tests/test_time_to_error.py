"""Tests of benchmarks.time_to_error."""

import contextlib
import dataclasses
import itertools
import json
import sys

import numpy as np
import pytest
import tiny

from aae_jax import experiments
from benchmarks import time_to_error
from benchmarks.reproduce import configure
from benchmarks.rows import METHODS, ROWS
from benchmarks.time_to_error import Learner
from benchmarks.timing import training_of
from configs import digits_semi_supervised


def test_first_look_that_is_good_enough_counts():
  """Five looks an epoch of ten steps; looking takes no time of the training."""
  made, errors = [], iter([30.0, 9.0, 11.0, 6.0, 5.5, 5.0, 2.0, 1.0])
  seconds = itertools.count()
  learner = Learner(made.append, lambda: next(errors))
  found = time_to_error.follow(
    learner, 10, 4, clock=lambda: float(next(seconds))
  )
  assert made == [2] * 7
  assert found['seconds'] == {'10': 2.0, '6': 4.0, '5': 6.0, '2': 7.0}
  assert found['epochs'] == {'10': 0.4, '6': 0.8, '5': 1.2, '2': 1.4}
  assert found['curve'][1] == (0.4, 2.0, 9.0)


def test_what_is_not_reached_has_no_number():
  learner = Learner(lambda num_steps: None, lambda: 7.0)
  found = time_to_error.follow(learner, 5, 2)
  assert len(found['curve']) == 10
  assert found['seconds']['6'] is None and found['epochs']['6'] is None
  assert found['epochs']['10'] == 0.2


def test_training_is_left_after_five_minutes():
  seconds = itertools.count(step=100)
  learner = Learner(lambda num_steps: None, lambda: 7.0)
  found = time_to_error.follow(
    learner, 5, 2, clock=lambda: float(next(seconds))
  )
  assert [look[1] for look in found['curve']] == [100.0, 200.0, 300.0]


def test_every_method_that_classifies_while_it_is_trained_takes_part():
  """The others have no curve; the settings are those of the rows."""
  taken = set()
  for method in METHODS:
    config = configure(ROWS[method.row], [0])
    system = experiments.build_system(config, tiny.DATASET.schema)
    if system.unfinished.model.classify:
      taken.add(method.row)
  assert {*time_to_error.TITLES} == taken | {'peer'}


def test_ours_is_looked_at_after_its_steps():
  experiment = tiny.build('semi_supervised_aae')
  dataset = dataclasses.replace(tiny.DATASET, validation=tiny.make_split(9, 3))
  experiment = dataclasses.replace(experiment, dataset=dataset)
  with time_to_error.ours(experiment) as learner:
    learner.train(3)
    assert 0 <= learner.error() <= 100
  with training_of(experiment) as steps:
    assert int(steps(7).step) == 7
    assert int(steps(2).step) == 9


def test_peer_is_looked_at_by_its_averages():
  pytest.importorskip('torch')
  config = digits_semi_supervised.get_config()
  config.dataset.num_validation = 100
  experiment = time_to_error.experiments.build(config)
  with time_to_error.peer(experiment, config) as learner:
    before = learner.error()
    learner.train(150)
    assert learner.error() < before - 30


def run(monkeypatch, tmp_path, *arguments, missing=None):
  """Calls the program with trainings that reach nothing; the file it wrote."""
  experiment = tiny.build('semi_supervised_aae', epochs=1)
  learner = Learner(lambda num_steps: None, lambda: np.float64(50))
  for name in ('ours', 'peer'):
    monkeypatch.setattr(
      time_to_error, name, lambda *_: contextlib.nullcontext(learner)
    )
  monkeypatch.setattr(time_to_error, 'PICTURE', tmp_path / 'found.png')
  monkeypatch.setattr(time_to_error, 'build', lambda _: (experiment, None))
  monkeypatch.setattr(time_to_error, 'missing_peer', lambda: missing)
  monkeypatch.setattr(time_to_error, 'idle_maker', lambda *_: {})
  monkeypatch.setattr(time_to_error, 'refuse_changed_files', lambda: None)
  path = tmp_path / 'found.json'
  output = f'--output={path}'
  monkeypatch.setattr(sys, 'argv', ['time_to_error', output, *arguments])
  time_to_error.main()
  return json.loads(path.read_text())


def test_trainings_that_reach_nothing_are_told(monkeypatch, tmp_path, capsys):
  found = run(monkeypatch, tmp_path)
  assert list(found['trainings']) == list(time_to_error.TITLES)
  assert set(found['trainings']['peer']['seconds']) == {'10', '6', '5', '2'}
  told = capsys.readouterr().out
  assert told.count('not reached') == 4 * len(time_to_error.TITLES)


def test_trainings_are_those_that_are_named(monkeypatch, tmp_path):
  found = run(monkeypatch, tmp_path, 'mnist_100_any')
  assert list(found['trainings']) == ['mnist_100_any']
  assert (tmp_path / 'found.png').stat().st_size


def test_a_peer_that_is_missing_is_told(monkeypatch, tmp_path, capsys):
  found = run(monkeypatch, tmp_path, 'peer', 'mnist_100', missing='no PyTorch')
  assert found['peer_missing'] == 'no PyTorch'
  assert list(found['trainings']) == ['mnist_100']
  assert 'without peer: no PyTorch' in capsys.readouterr().out


def test_a_line_for_each_training():
  """In the order of the table, error over seconds."""
  curve = [(0.2, 10.0, 30.0), (0.4, 20.0, 8.0)]
  figure = time_to_error.draw(
    {name: {'curve': curve} for name in ('peer', 'mnist_100_vat')}
  )
  (axes,) = figure.axes
  assert [line.get_label() for line in axes.lines] == ['VAT', 'AAE in PyTorch']
  assert list(axes.lines[0].get_xdata()) == [10.0, 20.0]
  assert list(axes.lines[0].get_ydata()) == [30.0, 8.0]
