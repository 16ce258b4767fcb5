"""Tests of aae_jax.provenance."""

import json
import re
import sys

import jax
import pytest

from aae_jax import provenance
from aae_jax.provenance import History


class Clock:
  """A clock that only the test moves."""

  def __init__(self):
    self.now = 100.0


@pytest.fixture
def clock(monkeypatch):
  clock = Clock()
  monkeypatch.setattr(provenance.time, 'monotonic', lambda: clock.now)
  return clock


@pytest.fixture
def start(tmp_path, monkeypatch, clock):
  """Starts a process of another commit, which trains until it saves."""
  processes = iter('abcdefg')

  def start(step, *saves):
    clock.now += 1000  # The pause between processes.
    made_by = {'commit': next(processes)}
    monkeypatch.setattr(provenance, 'of_process', lambda: made_by)
    history = History(tmp_path, step)
    for saved in saves:
      clock.now += (saved - step) / 10  # A step takes a tenth of a second.
      step = saved
      history.save(step)
    return history

  return start


def share(commit, first_step, last_step, seconds):
  return {
    'commit': commit,
    'first_step': first_step,
    'last_step': last_step,
    'seconds': pytest.approx(seconds),
  }


def test_of_process():
  found = provenance.of_process()
  assert re.fullmatch('[0-9a-f]{40}(-dirty)?', found['commit'])
  assert found['versions']['jax'] == jax.__version__
  assert found['hardware']['devices'] == len(jax.local_devices())
  assert found['hardware']['platform'] == 'cpu'


@pytest.mark.parametrize(
  'words, command',
  [
    (['train.py', '--config=a'], ['python', 'train.py', '--config=a']),
    (['/usr/bin/aae', 'train', 'a'], ['aae', 'train', 'a']),
  ],
)
def test_command_is_what_a_shell_is_told(words, command, monkeypatch):
  monkeypatch.setattr(sys, 'argv', words)
  assert provenance.of_process.__wrapped__()['command'] == command


def test_commit_is_unknown_without_git(monkeypatch):
  monkeypatch.setenv('PATH', '')
  assert provenance.of_process.__wrapped__()['commit'] is None


def test_one_process(start, tmp_path):
  history = start(0, 10, 20)
  assert history.trained == [share('a', 0, 20, 2.0)]
  assert History(tmp_path, 20).trained == history.trained


def test_processes_in_order(start):
  start(0, 10, 20)
  history = start(20, 30)
  assert history.trained == [share('a', 0, 20, 2.0), share('b', 20, 30, 1.0)]
  assert start(30).trained == history.trained


def test_what_was_lost_does_not_count(start, clock):
  """Saved last, but not what the next process has gone on from."""
  start(0, 10, 20)
  start(20, 30, 40)
  history = start(30, 50)
  assert history.trained == [
    share('a', 0, 20, 2.0),
    share('b', 20, 30, 1.0),
    share('c', 30, 50, 2.0),
  ]
  clock.now += 7
  assert history.seconds == pytest.approx(2 + 1 + 2 + 7)
  assert start(10, 20).trained == [
    share('a', 0, 10, 1.0),
    share('d', 10, 20, 1),
  ]


def test_process_that_saves_nothing_new_has_no_share(start):
  start(0, 10)
  assert start(10, 10).trained == [share('a', 0, 10, 1.0)]


def test_reading_changes_nothing(start, tmp_path):
  start(0, 10, 20)
  before = (tmp_path / 'provenance.json').read_text()
  History(tmp_path, 10)
  assert (tmp_path / 'provenance.json').read_text() == before
  [process] = json.loads(before)
  assert process['saves'] == [[10, 1.0], [20, 2.0]]
