"""Tests of benchmarks.start."""

import pytest

from benchmarks import start


def test_time_memory_and_status_of_a_process(tmp_path):
  code = ['-c', 'import time; time.sleep(0.2); data = bytearray(2**26)']
  seconds, memory, status = start.run(code, tmp_path)
  assert seconds > 0.2 and memory > 64 and status == 0


def test_a_wrong_value_is_a_refusal_and_all_else_a_failure(tmp_path):
  code = ['-c', 'raise SystemExit("epochs is 0; expected at least 1.")']
  assert start.run(code, tmp_path)[2] == 1
  with pytest.raises(RuntimeError, match='ZeroDivisionError'):
    start.run(['-c', '1 / 0'], tmp_path)


@pytest.mark.whole
def test_a_training_ends_with_its_first_step(tmp_path):
  flags = ['--config=configs/digits_autoencoder.py']
  code = start.FIRST_STEP.replace('SystemExit', "SystemExit('expected')")
  seconds, _, status = start.run(['-c', code], tmp_path, *flags)
  assert seconds > 0 and status == 1


def test_median_of_each(tmp_path, monkeypatch):
  """Nothing compiled is there when a start is cold."""
  compiled, made = tmp_path / '.cache/aae_jax/compilation', []

  def run(code, home, *arguments):
    made.append((code[0], compiled.exists()))
    compiled.mkdir(parents=True, exist_ok=True)
    return float(len(made)), 100.0, 0

  monkeypatch.setattr(start, 'run', run)
  found = start.measure('digits_aae', tmp_path)
  assert found == {
    'seconds': {'cold': 5.0, 'warm': 6.0, 'refused': 7.0},
    'memory_mebibytes': 100.0,
  }
  starts = [exists for code, exists in made if code == '-c']
  assert starts == [False, True] * start.REPETITIONS
