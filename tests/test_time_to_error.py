"""Tests of benchmarks.time_to_error."""

import contextlib
import dataclasses
import itertools
import json
import sys

import numpy as np
import pytest
import tiny

from benchmarks import time_to_error
from benchmarks.time_to_error import Learner
from benchmarks.timing import training_of
from configs import digits_semi_supervised


def test_first_look_that_is_good_enough_counts():
  """Five looks an epoch of ten steps; looking takes no time of the training."""
  made, errors = [], iter([30.0, 9.0, 11.0, 6.0, 5.5, 5.0, 4.0])
  seconds = itertools.count()
  learner = Learner(made.append, lambda: next(errors))
  found = time_to_error.follow(
    learner, (10.0, 6.0, 5.0), 10, 4, clock=lambda: float(next(seconds))
  )
  assert made == [2] * 6
  assert found['seconds'] == {'10': 2.0, '6': 4.0, '5': 6.0}
  assert found['epochs'] == {'10': 0.4, '6': 0.8, '5': 1.2}
  assert found['curve'][1] == (0.4, 2.0, 9.0)


def test_what_is_not_reached_has_no_number():
  learner = Learner(lambda num_steps: None, lambda: 7.0)
  found = time_to_error.follow(learner, (10.0, 6.0), 5, 2)
  assert len(found['curve']) == 10
  assert found['seconds']['6'] is None and found['epochs']['6'] is None
  assert found['epochs']['10'] == 0.2


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
  assert list(found) == ['peer_missing', 'pure', 'peer', 'any']
  assert set(found['any']['seconds']) == {'10', '6', '5', '2'}
  assert capsys.readouterr().out.count('not reached') == 3 + 3 + 4


def test_trainings_are_those_that_are_named(monkeypatch, tmp_path):
  found = run(monkeypatch, tmp_path, 'any')
  assert list(found) == ['peer_missing', 'any']


def test_a_peer_that_is_missing_is_told(monkeypatch, tmp_path, capsys):
  found = run(monkeypatch, tmp_path, missing='no PyTorch')
  assert found['peer_missing'] == 'no PyTorch'
  assert list(found) == ['peer_missing', 'pure', 'any']
  assert 'without peer: no PyTorch' in capsys.readouterr().out
