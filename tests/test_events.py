"""Tests of aae_jax.events, against an implementation of the format."""

import math
import struct

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from aae_jax import events


def parse(record):
  """The event of a record, whose checksums are verified."""
  size = struct.unpack('<Q', record[:8])[0]
  content = record[12 : 12 + size]
  assert record[8:12] == struct.pack('<I', masked_crc32c(record[:8]))
  assert record[12 + size :] == struct.pack('<I', masked_crc32c(content))
  return Event.FromString(content)


def test_file_begins_with_its_version():
  event = Event(wall_time=1.5e9, file_version='brain.Event:2')
  assert parse(events.version(1.5e9)) == event


@pytest.mark.parametrize('step', [1, 127, 128, 2**31])
def test_part_of_a_run_begins(step):
  assert parse(events.session_start(2.25, step)) == Event(
    wall_time=2.25, step=step, session_log=SessionLog(status=SessionLog.START)
  )


def test_scalars():
  numbers = {'a/loss': 0.5, 'a/loss/seed_0': -1e-3, 'größe': 1 / 3, 'b': 0.0}
  event = parse(events.scalars(7.0, 300, numbers | {'x' * 200: 1.0}))
  assert (event.wall_time, event.step) == (7.0, 300)
  found = {v.tag: v.simple_value for v in event.summary.value}
  assert found == pytest.approx(numbers | {'x' * 200: 1.0}, rel=1e-7)


def test_scalars_that_are_not_finite():
  numbers = {'nan': math.nan, 'inf': -math.inf, 'too large': 1e39}
  nan, inf, large = parse(events.scalars(1.0, 0, numbers)).summary.value
  assert math.isnan(nan.simple_value)
  assert inf.simple_value == -math.inf
  assert large.simple_value == math.inf


def test_no_scalars():
  event = parse(events.scalars(1.0, 0, {}))
  assert event.HasField('summary') and not event.summary.value
