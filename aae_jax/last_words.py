"""Passes on the standard error of a process, but for a page of XLA's.

A program of its own, see `processes`; it imports nothing of the package.
"""

from collections.abc import Iterator
import os
import re
import sys

_NOTES = re.compile(rb'\s*[IWE]\d{4} .*coordination_service')
"""What leads up to the end."""

_END = b'Terminating process because the JAX distributed service'

_NEVER_MET = b'RegisterTask'
"""What was asked for, in the lines after it."""


def main() -> None:
  """Reads standard input to its end, and writes to standard output.

  The command line has the name of whose words they are.
  """
  lines = _lines(sys.stdin.fileno())
  for line in lines:
    if _END in line:
      rest = line + b''.join(lines)
      text = (
        'the processes have not found each other; expected one for each '
        '--process_id, with the same --coordinator and --num_processes.'
        if _NEVER_MET in rest
        else 'another process has died or hangs, so this one ends; the same '
        'commands go on from the last checkpoint.'
      )
      line = f'\n{sys.argv[1]}: {text}\n'.encode()
    elif _NOTES.match(line):
      continue
    os.write(sys.stdout.fileno(), line)


def _lines(source: int) -> Iterator[bytes]:
  """With what ends each: a line feed, or the carriage return of progress."""
  rest = b''
  while chunk := os.read(source, 2**16):
    *lines, rest = re.split(rb'(?<=[\r\n])', rest + chunk)
    yield from lines
  yield rest


if __name__ == '__main__':
  main()
