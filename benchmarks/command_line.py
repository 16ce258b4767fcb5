"""What the programs share: how they are called, and how they end."""

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
import contextlib
import os
import pathlib
import sys
import textwrap
import time
from typing import Any

from etils import epath

from aae_jax import errors, metrics
from benchmarks.provenance import made_by

ROOT = pathlib.Path(__file__).parent.parent
"""Of the repository."""

RESULTS = ROOT / 'benchmarks/results'


def spell(name: str) -> str:
  """What starts a program of this folder, in `ROOT`."""
  return f'python -m benchmarks.{name}'


def make_parser(name: str, text: str) -> argparse.ArgumentParser:
  """The parser of a program's arguments, without any yet.

  Args:
    name: of the program.
    text: its docstring, which --help shows as it stands.
  """
  return argparse.ArgumentParser(
    prog=spell(name),
    description=text,
    formatter_class=argparse.RawTextHelpFormatter,
  )


def add_output(parser: argparse.ArgumentParser, file: str) -> None:
  """Adds `--output`, where the result goes, unless said a file of `RESULTS`."""
  parser.add_argument('--output', default=RESULTS / file, metavar='FILE')


def add_names(
  parser: argparse.ArgumentParser, argument: str, known: Iterable[str]
) -> None:
  """Adds the names of what a program is to do, which does all without one.

  Args:
    parser: of the program.
    argument: what one of them is called.
    known: all names, which --help lists.
  """
  known = list(known)

  def name(value: str) -> str:
    if value not in known:
      raise argparse.ArgumentTypeError(errors.unknown(argument, value, known))
    return value

  parser.add_argument(
    'names',
    nargs='*',
    type=name,
    default=[],
    metavar=argument.upper(),
    help=textwrap.fill(f'all unless said: {", ".join(known)}', 56),
  )


@contextlib.contextmanager
def one_line_errors(name: str) -> Iterator[None]:
  """Ends a program with one line for what its user can mend.

  Raises:
    SystemExit: an InputError or OSError was raised within.
  """
  try:
    yield
  except (errors.InputError, OSError) as error:
    sys.exit(f'{spell(name)}: {error}')


def summary(values: Iterable[float]) -> dict[str, Any]:
  """Mean, standard deviation and value of each draw."""
  values = list(values)
  sound = [True] * len(values)
  return metrics.summarize({'error': values}, sound)['error']


def measured(
  program: str, measure: Callable[[], Mapping[str, Any]]
) -> dict[str, Any]:
  """What a program measures beside scikit-learn, and where it comes from.

  Args:
    program: its docstring, which says how from its third paragraph on.
    measure: what to do.
  """
  maker, started = made_by('scikit-learn'), time.monotonic()
  return {
    **measure(),
    'protocol': ' '.join(program.split('\n\n', 2)[2].split()),
    'seconds': round(time.monotonic() - started, 1),
    **maker,
  }


def write_result(path: str | os.PathLike, result: Mapping[str, Any]) -> None:
  """Writes a file of results, and the folder that it is in.

  Raises:
    OSError: the file cannot be written.
  """
  path = epath.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  metrics.write_json(path, result)
