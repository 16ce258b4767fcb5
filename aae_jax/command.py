"""The installed command `aae`: what each of its words does.

Each imports what it needs when it runs, so that help and mistakes are told
before what takes seconds to import.
"""

import argparse
from collections.abc import Callable, Sequence
import functools
import sys
from typing import NamedTuple, NoReturn

from etils import epath

from aae_jax import __version__, addresses, catalogue, errors

_TRAIN = """\
aae train NAME [--workdir=DIR] [--config.KEY=VALUE ...]

Trains, or goes on where a stopped run was saved; then evaluates. NAME is one of
those below, or the path of a file of your own; NAME:VARIANT for a variant that
it has.

Examples:
  aae train digits_semi_supervised
  aae train mnist_aae --config.prior.name=swiss_roll --workdir=runs/roll
  aae train mnist_semi_supervised:any --config.num_seeds=3

Several processes that train together are started by the same command each, on
Cloud TPU, GKE, Slurm, Open MPI or SkyPilot; elsewhere with
    --coordinator=HOST:PORT --num_processes=N --process_id=0 (to N - 1)
"""


class _Command(NamedTuple):
  """What a word does.

  Attributes:
    summary: a line.
    run: takes what follows the word.
    examples: lines.
  """

  summary: str
  run: Callable[[list[str]], None]
  examples: tuple[str, ...] = ()


def main() -> None:
  """Runs the command line; what a user can mend is told in one line."""
  errors.told(lambda: run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> None:
  """Runs a command.

  Args:
    arguments: the command and what follows it; none to be shown the commands.

  Raises:
    InputError: there is no such command, or something is not what it expects.
  """
  word, *rest = arguments or ['--help']
  if word in ('--help', '-h'):
    print(usage())
  elif word == '--version':
    print(__version__)
  elif word in COMMANDS:
    COMMANDS[word].run(rest)
  else:
    raise errors.unknown('command', word, COMMANDS)


def usage() -> str:
  """What `aae --help` shows."""
  rows = ['aae COMMAND ...', '']
  rows += ['Adversarial autoencoders, and what they are compared with.']
  rows += ['', 'Commands:']
  rows += [f'  {word:10}{found.summary}' for word, found in COMMANDS.items()]
  rows += ['', '`aae COMMAND --help` has examples of each. To begin with:']
  rows += ['  aae train digits_semi_supervised']
  return '\n'.join(rows)


def _train(arguments: list[str]) -> None:
  is_help = bool({'--help', '-h'} & set(arguments))
  name, *flags = arguments or ['']
  if not is_help and name[:1] in ('', '-'):
    raise errors.InputError(
      'expected aae train NAME, then flags; aae list has the names.'
    )
  from aae_jax import program

  if is_help:
    print('\n'.join([_TRAIN, program.what_can_be_trained()]))
  else:
    program.main([sys.argv[0], f'--config={name}', *flags])


def _list(arguments: list[str]) -> None:
  _Parser('list').parse_args(arguments)
  models = ', '.join(catalogue.models())
  lines = ['', f'Trained already, for predict and encode: {models}.']
  print('\n'.join([*catalogue.lines(), *lines]))


def _run_mode(mode: str, arguments: list[str]) -> None:
  """As `train.py --mode`, with the configuration that the workdir holds."""
  parser = _Parser(mode)
  parser.add_workdir()
  workdir = addresses.folder(parser.parse_args(arguments).workdir)
  from aae_jax import program, runs

  config = program.completed(runs.Run(workdir).config)
  program.run_mode(mode, config, workdir)


def _write_of_images(word: str, arguments: list[str]) -> None:
  parser = _Parser(word)
  parser.add_workdir()
  parser.add_argument(
    'images',
    metavar='IMAGES',
    nargs='+',
    help='image files, folders of them, or an .npz file with the array image',
  )
  parser.add_argument(
    '-o',
    dest='output',
    metavar='FILE',
    required=True,
    help='to write; one that is there is replaced',
  )
  options = parser.parse_args(arguments)
  output = _to_be_written(options.output)
  from aae_jax import datasets, runs

  images = datasets.find_images(options.images)
  # Whether there is a run is told before what takes long to import.
  workdir = catalogue.workdir(options.workdir)
  runs.Run(workdir).schema  # noqa: B018
  from aae_jax import predictions, program

  program.keep_compiled()
  getattr(predictions, word)(workdir, images, output)


def _to_be_written(name: str) -> epath.Path:
  """The path of a file to write.

  Raises:
    InputError: it is a folder, or in none.
  """
  output = addresses.folder(name)
  if output.is_dir() or not output.parent.is_dir():
    raise errors.InputError(
      f'cannot write {name}; expected a file in a folder that is there.'
    )
  return output


def _report(arguments: list[str]) -> None:
  parser = _Parser('report')
  parser.add_argument(
    'workdirs', metavar='WORKDIR', nargs='+', help='of runs that have ended'
  )
  parser.add_argument(
    '-o',
    dest='output',
    metavar='FILE',
    default='report.html',
    help='to write; report.html unless given',
  )
  options = parser.parse_args(arguments)
  output = _to_be_written(options.output)
  from aae_jax import pages

  print(f'Wrote {pages.report(options.workdirs, output)}.')


class _Parser(argparse.ArgumentParser):
  """Of what follows a command; its errors are `InputError`s."""

  def __init__(self, word: str):
    """Takes the command."""
    super().__init__(
      prog=f'aae {word}',
      description=COMMANDS[word].summary,
      epilog='\n  '.join(['examples:', *COMMANDS[word].examples]),
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
    )

  def add_workdir(self) -> None:
    """Adds the workdir of a run."""
    self.add_argument(
      'workdir',
      metavar='WORKDIR',
      help='of a run, such as runs/digits_semi_supervised; or in a bucket',
    )

  def error(self, message: str) -> NoReturn:
    """Raises an error that is told in one line."""
    raise errors.InputError(f'{message}; see {self.prog} --help.')


COMMANDS = {
  'train': _Command('Train, or go on where a stopped run was saved.', _train),
  'evaluate': _Command(
    'Evaluate the last checkpoint of a run, and draw its figures again.',
    functools.partial(_run_mode, 'evaluate'),
    ('aae evaluate runs/digits_semi_supervised',),
  ),
  'report': _Command(
    'Write a page that shows runs side by side.',
    _report,
    (
      'aae report runs/digits_aae runs/digits_vae',
      'aae report runs/* -o all.html',
    ),
  ),
  'export': _Command(
    'Write the networks of a run as StableHLO, for use without this package.',
    functools.partial(_run_mode, 'export'),
    ('aae export runs/digits_semi_supervised',),
  ),
  'predict': _Command(
    'Write class, cluster and reconstruction error of images, as CSV.',
    functools.partial(_write_of_images, 'predict'),
    (
      'aae predict runs/NAME photos -o predictions.csv',
      'aae predict runs/NAME 1.png 2.png -o predictions.csv',
      'aae predict runs/NAME images.npz -o predictions.csv',
      'aae predict digits_semi_supervised photos -o predictions.csv',
    ),
  ),
  'encode': _Command(
    'Write the codes of images, as an .npz file.',
    functools.partial(_write_of_images, 'encode'),
    (
      'aae encode runs/NAME photos -o codes.npz',
      'aae encode runs/NAME images.npz -o codes.npz',
    ),
  ),
  'list': _Command(
    'List what can be trained, and what is.', _list, ('aae list',)
  ),
}
"""By the word that is typed."""
