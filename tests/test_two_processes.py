"""Tests of benchmarks.two_processes."""

import json
import sys

import pytest

from benchmarks import two_processes


def test_rounds_take_turns(monkeypatch, tmp_path):
  started = []

  def run(num_processes):
    started.append(num_processes)
    return [10.0 * num_processes, 11.0 * num_processes, 90.0]

  monkeypatch.setattr(two_processes, 'run', run)
  monkeypatch.setattr(two_processes, 'idle_maker', dict)
  monkeypatch.setattr(two_processes, 'refuse_changed_files', lambda: None)
  path = tmp_path / 'found.json'
  monkeypatch.setattr(sys, 'argv', ['two_processes', f'--output={path}'])
  two_processes.main()
  assert started == [1, 2] * two_processes.ROUNDS
  found = json.loads(path.read_text())
  assert found['two_processes_to_one'] == 2.0
  assert found['milliseconds_per_step']['one_process'] == {
    'median': 11.0,
    'minimum': 10.0,
    'maximum': 90.0,
  }


@pytest.mark.whole
@pytest.mark.parametrize('num_processes', [1, 2])
def test_the_first_process_tells_of_each_call(num_processes):
  times = two_processes.run(num_processes)
  assert len(times) == two_processes.CALLS and min(times) > 0


def test_a_process_that_fails_is_no_measurement(monkeypatch):
  monkeypatch.setattr(two_processes, '_CHILD', '1 / 0')
  with pytest.raises(RuntimeError, match='ZeroDivisionError'):
    two_processes.run(2)
