"""Tests of aae_jax.metrics."""

import contextlib
import io
import json
import os
import pathlib
import re
import resource
import struct

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from aae_jax import metrics
from aae_jax.errors import InputError
from aae_jax.metrics import MetricsWriter, Progress


class Clock:
  """A clock that only the test moves."""

  def __init__(self, monkeypatch):
    self.now = 100.0
    monkeypatch.setattr(metrics.time, 'monotonic', lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
  return Clock(monkeypatch)


class Terminal(io.StringIO):
  def isatty(self):
    return True


def read_events(directory):
  """Yields the events of a directory, by the format's definition."""
  for path in sorted(directory.glob('events.out.tfevents.*')):
    content = path.read_bytes()
    while content:
      (size,) = struct.unpack('<Q', content[:8])
      yield Event.FromString(content[12 : 12 + size])
      content = content[12 + size + 4 :]


def read_rows(directory):
  text = (directory / 'metrics.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]


def summarize(per_seed):
  """The summaries of seeds that are all sound."""
  num_seeds = len(next(iter(per_seed.values()), ()))
  return metrics.summarize(per_seed, np.ones(num_seeds, bool))


def write(writer, step, epoch, per_seed, seconds=0.0):
  writer.write(step, epoch, seconds, summarize(per_seed))


@contextlib.contextmanager
def full_disk(size):
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_summarize_several_seeds():
  summary = summarize({'a/loss': jnp.array([1.0, 2.0, 6.0])})
  assert summary == {
    'a/loss': {
      'mean': 3.0,
      'std': pytest.approx(7**0.5),  # (4 + 1 + 9) / 2
      'per_seed': [1.0, 2.0, 6.0],
    }
  }


def test_summarize_one_seed_has_no_spread():
  assert summarize({'a': [2]}) == {
    'a': {'mean': 2.0, 'std': None, 'per_seed': [2.0]}
  }


@pytest.mark.parametrize(
  ('sound', 'mean', 'std'),
  [
    ([True, False, True], 3.0, 8**0.5),
    ([False, False, True], 5.0, None),
    ([False] * 3, np.nan, None),
    # A sound seed's number that is not finite is no reason to leave it out.
    ([False, True, True], np.nan, np.nan),
  ],
)
def test_summaries_are_over_the_sound_seeds(sound, mean, std):
  summary = metrics.summarize({'a': [1.0, np.nan, 5.0]}, sound)['a']
  np.testing.assert_equal(summary['mean'], mean)
  assert summary['std'] == pytest.approx(std, nan_ok=True)
  np.testing.assert_equal(summary['per_seed'], [1.0, np.nan, 5.0])


@pytest.mark.parametrize('values', [1.0, [1.0], np.ones((2, 2))])
def test_summarize_refuses_other_shapes(values):
  shape = re.escape(str(np.shape(values)))
  with pytest.raises(ValueError, match=f'a/loss has the shape {shape}; expec'):
    metrics.summarize({'a/loss': values}, [True, True])


def test_write_json(tmp_path):
  path = tmp_path / 'results.json'
  metrics.write_json(
    path, {'b': [1, (float('nan'),)], 'a': {'c': -float('inf'), 'd': 0.5}}
  )
  assert path.read_text() == (
    '{\n  "b": [\n    1,\n    [\n      null\n    ]\n  ],\n'
    '  "a": {\n    "c": null,\n    "d": 0.5\n  }\n}\n'
  )
  metrics.write_json(path, None)
  assert path.read_text() == 'null\n'
  assert os.listdir(tmp_path) == ['results.json']


def test_write_json_fails_whole(tmp_path):
  path = tmp_path / 'results.json'
  metrics.write_json(path, [1])
  with full_disk(100), pytest.raises(OSError, match='write .*: File too large'):
    metrics.write_json(path, list(range(1000)))
  assert json.loads(path.read_text()) == [1]


def test_rows(tmp_path):
  with MetricsWriter(tmp_path / 'new', 0, [0, 1]) as writer:
    write(
      writer, 10, 1, {'a/loss': np.float32([1, 3]), 'b/error': [np.nan, 1]}, 1.5
    )
  assert read_rows(tmp_path / 'new') == [
    {
      'step': 10,
      'epoch': 1,
      'seconds': 1.5,
      'a/loss': {
        'mean': 2.0,
        'std': pytest.approx(2**0.5),
        'per_seed': [1.0, 3.0],
      },
      'b/error': {'mean': None, 'std': None, 'per_seed': [None, 1.0]},
    }
  ]


def test_losses_that_are_not_finite_are_written(tmp_path):
  with MetricsWriter(tmp_path, 0, [0, 1]) as writer:
    write(
      writer, 1, 0, {'a/loss': [np.inf, -np.inf], 'b/loss': [1e300, -1e300]}
    )
  assert read_rows(tmp_path)[0]['a/loss']['per_seed'] == [None, None]


def test_resumed_rows_replace_what_was_after_the_checkpoint(tmp_path):
  with MetricsWriter(tmp_path, 0, [0]) as writer:
    for step in (10, 20, 30):
      write(writer, step, 1, {'a/loss': [step]})
  path = tmp_path / 'metrics.jsonl'
  kept = path.read_text().replace('"epoch": 1', '"epoch":   1')
  path.write_text(kept)
  with MetricsWriter(tmp_path, 20, [0]) as writer:
    write(writer, 30, 1, {'a/loss': [-30]})
  lines = path.read_text().splitlines()
  assert lines[:2] == kept.splitlines()[:2]
  assert len(lines) == 3
  last = json.loads(lines[2])
  assert (last['step'], last['a/loss']['mean']) == (30, -30)


def test_rows_that_are_read(tmp_path):
  assert metrics.read_rows(tmp_path, {}) == []
  with MetricsWriter(tmp_path, 0, [0]) as writer:
    write(writer, 10, 1, {'a/loss': [1]})
    write(writer, 20, 2, {'a/loss': [2]})
  rows = metrics.read_rows(tmp_path, {})
  assert [row['a/loss']['mean'] for row in rows] == [1, 2]


@pytest.mark.parametrize(
  'line', ['{"step": 1', '[]', '{"epoch": 1}', '{"step": "1"}', '\xff']
)
def test_refuses_a_file_of_something_else(tmp_path, line):
  (tmp_path / 'metrics.jsonl').write_text(
    f'{{"step": 1, "seconds": 1}}\n{line}\n', encoding='latin-1'
  )
  with pytest.raises(InputError, match='line 2 of .*jsonl is not a row'):
    MetricsWriter(tmp_path, 10, [0])


def test_rows_reach_the_disk_by_themselves(tmp_path, clock):
  with MetricsWriter(tmp_path, 0, [0]) as writer:
    write(writer, 1, 0, {'a/loss': [1]})
    assert not (tmp_path / 'metrics.jsonl').exists()
    clock.now += 11
    write(writer, 2, 0, {'a/loss': [1]})
    assert len(read_rows(tmp_path)) == 2
    write(writer, 3, 0, {'a/loss': [1]})
    assert len(read_rows(tmp_path)) == 2
    writer.flush()
    assert len(read_rows(tmp_path)) == 3
    assert len([e for e in read_events(tmp_path) if e.summary.value]) == 3


def test_tensorboard(tmp_path):
  with MetricsWriter(tmp_path, 0, [7, 8]) as writer:
    write(writer, 5, 1, {'a/loss': [1.0, 2.0], 'a/error': [0.25, 0.25]})
  version, session, row = read_events(tmp_path)
  assert version.file_version == 'brain.Event:2'
  assert session.session_log.status == SessionLog.START
  assert row.step == 5
  assert {value.tag: value.simple_value for value in row.summary.value} == {
    'a/loss': 1.5,
    'a/loss/seed_7': 1.0,
    'a/loss/seed_8': 2.0,
    'a/error': 0.25,
    'a/error/seed_7': 0.25,
    'a/error/seed_8': 0.25,
  }


SETTINGS = [{'generator.y_weight': weight} for weight in (1.0, 3.0)]


def test_a_search_has_a_row_of_each_setting(tmp_path):
  with MetricsWriter(tmp_path, 0, [7, 8]) as writer:
    for step in (5, 10):
      for setting in SETTINGS:
        loss = step + setting['generator.y_weight']
        found = summarize({'a/loss': [loss, loss]})
        writer.write(step, step // 5, 0.0, found, setting)
  rows = read_rows(tmp_path)
  assert [row['setting'] for row in rows] == 2 * SETTINGS
  assert [row['a/loss']['mean'] for row in rows] == [6, 8, 11, 13]
  assert metrics.read_rows(tmp_path, SETTINGS[1]) == rows[1::2]
  assert metrics.read_rows(tmp_path, {}) == []
  values = [v for e in read_events(tmp_path) for v in e.summary.value]
  assert [(v.tag, v.simple_value) for v in values[:4]] == [
    ('a/loss/generator.y_weight=1.0', 6.0),
    ('a/loss/generator.y_weight=1.0/seed_7', 6.0),
    ('a/loss/generator.y_weight=1.0/seed_8', 6.0),
    ('a/loss/generator.y_weight=3.0', 8.0),
  ]


def test_progress_of_a_search_shows_its_settings_side_by_side(clock):
  del clock
  stream = io.StringIO()
  with Progress(40, 0, 10, 200, stream=stream) as progress:
    found = ({'a/loss': [loss, loss]} for loss in (0.5, 2.0))
    progress.update(10, 1, *map(summarize, found))
  assert stream.getvalue() == 'step 10/40, epoch 1/4, a 0.5 | 2\n'


def test_tensorboard_of_a_resumed_run(tmp_path):
  for restored_step, loss in ((0, 1.0), (5, 2.0)):
    with MetricsWriter(tmp_path, restored_step, [0]) as writer:
      write(writer, 10, 1, {'a/loss': [loss]})
  events = list(read_events(tmp_path))
  purges = [e.step for e in events if e.HasField('session_log')]
  assert purges == [1, 6]
  values = [v for e in events for v in e.summary.value]
  assert [(v.tag, v.simple_value) for v in values] == [
    ('a/loss', 1.0),
    ('a/loss', 2.0),
  ]


def test_full_disk(tmp_path):
  with full_disk(2000):
    with pytest.raises(OSError, match=f'write {tmp_path}.*: File too large'):
      with MetricsWriter(tmp_path, 0, [0]) as writer:
        for step in range(100):
          write(writer, step, 0, {'a/loss': [1.0]})


def test_full_disk_does_not_hide_the_error_of_the_run(tmp_path, caplog):
  with full_disk(2000), pytest.raises(KeyError, match='of the run'):
    with MetricsWriter(tmp_path, 0, [0]) as writer:
      for step in range(30):
        write(writer, step, 0, {'a/loss': [1.0]})
      raise KeyError('of the run')
  assert 'File too large' in caplog.text


def test_workdir_that_cannot_be_made(tmp_path):
  pathlib.Path(tmp_path / 'file').write_text('')
  with pytest.raises(OSError, match='cannot write .*/file/run: Not a direct'):
    MetricsWriter(tmp_path / 'file' / 'run', 0, [0])


def run_progress(stream, clock, steps, **kwargs):
  losses = {
    'reconstruction/loss': jnp.array([20.0, 30.0]),
    'generator/loss': [0.5, 0.7],
    'generator/accuracy': [1.0, 1.0],
  }
  with Progress(40, 0, 10, 200, stream=stream, **kwargs) as progress:
    for step in steps:
      clock.now += 2
      progress.update(step, step // 10, summarize(losses))


def test_progress_is_a_line_an_epoch_where_these_are_long(clock):
  stream = io.StringIO()
  run_progress(stream, clock, range(2, 25, 2))
  assert stream.getvalue().splitlines() == [
    'step 10/40, epoch 1/4, 00:30 left, 200 examples/s, reconstruction 25, '
    'generator 0.6',
    'step 20/40, epoch 2/4, 00:20 left, 200 examples/s, reconstruction 25, '
    'generator 0.6',
  ]


def test_progress_is_a_line_every_ten_seconds_where_epochs_are_short(clock):
  stream = io.StringIO()
  with Progress(400, 0, 1, 200, stream=stream) as progress:
    for step in range(1, 401):
      clock.now += 0.25
      progress.update(step, step, {})
  steps = [line.split('/')[0] for line in stream.getvalue().splitlines()]
  assert steps == [f'step {step}' for step in (*range(1, 400, 40), 400)]


def test_progress_within_an_epoch_has_the_losses_of_the_last(clock):
  stream = Terminal()
  with Progress(40, 0, 10, 200, stream=stream) as progress:
    for step, found in ((10, [summarize({'a/loss': [0.5]})]), (15, [])):
      clock.now += 2
      progress.update(step, step // 10, *found)
  last = stream.getvalue().split('\r')[-1]
  assert 'epoch 1/4, 00:10 left, 500 examples/s, a 0.5' in last


def test_progress_of_a_resumed_run(clock):
  stream = io.StringIO()
  with Progress(40, 20, 10, 100, stream=stream) as progress:
    # Before anything is compiled, whose time is not that of a step.
    progress.update(20, 2)
    clock.now += 77
    progress.update(25, 2, {})
    assert not stream.getvalue()
    clock.now += 1
    progress.update(30, 3, {})
  assert stream.getvalue() == (
    'step 30/40, epoch 3/4, 00:02 left, 500 examples/s\n'
  )


def test_progress_on_a_terminal(clock):
  stream = Terminal()
  run_progress(stream, clock, [5, 10, 40])
  last = stream.getvalue().split('\r')[-1]
  assert last.startswith('100%|') and last.endswith('\n')
  assert 'epoch 4/4, 00:00 left, ' in last
  assert 'examples/s, reconstruction 25, generator 0.6' in last


@pytest.mark.parametrize('stream', [io.StringIO(), Terminal()])
def test_progress_of_the_other_processes(stream, clock):
  run_progress(stream, clock, [5, 10, 40], enabled=False)
  assert not stream.getvalue()
