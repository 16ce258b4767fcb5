"""TensorBoard's files of events: records of protocol buffers, as bytes.

The few messages that a run writes are put together by hand: every package that
has them brings a framework with it, and some import PyTorch.
"""

from collections.abc import Mapping
import struct

import numpy as np


def version(wall_time: float) -> bytes:
  """The record that every file begins with.

  Args:
    wall_time: in seconds since 1970, as of all records.
  """
  return _record(wall_time, 0, _text(3, 'brain.Event:2'))


def session_start(wall_time: float, step: int) -> bytes:
  """The record of a part of a run: what was there from `step` on is hidden."""
  session_log = _field(1, 0, b'\x01')
  return _record(wall_time, step, _message(7, session_log))


def scalars(wall_time: float, step: int, numbers: Mapping[str, float]) -> bytes:
  """The record of a step's numbers, by tag."""
  values = (
    _message(1, _text(1, tag) + _field(2, 5, _float32(number)))
    for tag, number in numbers.items()
  )
  return _record(wall_time, step, _message(5, b''.join(values)))


def _record(wall_time: float, step: int, content: bytes) -> bytes:
  """An event, framed by its length and checksums."""
  wall_time_and_step = (
    _field(1, 1, struct.pack('<d', wall_time)),
    _field(2, 0, _varint(step)),
  )
  event = b''.join((*wall_time_and_step, content))
  size = struct.pack('<Q', len(event))
  return size + _checksum(size) + event + _checksum(event)


def _field(number: int, wire_type: int, content: bytes) -> bytes:
  return _varint(number << 3 | wire_type) + content


def _message(number: int, content: bytes) -> bytes:
  return _field(number, 2, _varint(len(content)) + content)


def _text(number: int, text: str) -> bytes:
  return _message(number, text.encode())


def _varint(value: int) -> bytes:
  """Seven bits a byte, the lowest first; the eighth says that more follow."""
  groups = []
  while value > 0x7F:
    groups.append(value & 0x7F | 0x80)
    value >>= 7
  return bytes((*groups, value))


def _float32(number: float) -> bytes:
  with np.errstate(over='ignore'):
    return np.asarray(number, '<f4').tobytes()


def _crc32c_table() -> list[int]:
  """What each byte does to the checksum (Castagnoli's polynomial)."""
  table = list(range(256))
  for _ in range(8):
    table = [x >> 1 ^ 0x82F63B78 * (x & 1) for x in table]
  return table


_TABLE = _crc32c_table()


def _checksum(content: bytes) -> bytes:
  """CRC-32C, masked as the format of records asks for."""
  crc = 0xFFFFFFFF
  for byte in content:
    crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
  crc ^= 0xFFFFFFFF
  masked = (crc >> 15 | crc << 17) + 0xA282EAD8
  return struct.pack('<I', masked & 0xFFFFFFFF)
