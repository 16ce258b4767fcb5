"""Trains a short form of every system and shows them all on one page.

  python -m benchmarks.gallery [--data=mnist|digits] [NAME ...]

Each exhibit is a command of its own, which goes on where it was stopped. After
each of them `runs/gallery/index.html` is written anew, with all that are there:
a page that needs no other file. Without --data it is of MNIST, or of digits
where MNIST is neither at hand nor to be downloaded.
"""

import pathlib

from aae_jax import datasets, recipes
from benchmarks import command_line, page, reproduce
from benchmarks.command_line import ROOT
from benchmarks.exhibits import EXHIBITS, Comparison, Place, Run

FOLDER = pathlib.Path('runs/gallery')
"""Of the page and of the runs, in the root of the repository."""


def choose_data() -> str:
  """MNIST where it is at hand or can be downloaded, otherwise digits."""
  try:
    datasets.load('mnist', data_dir=recipes.defaults().dataset.data_dir)
  except OSError as error:
    print(f'The gallery is of digits, for there is no MNIST: {error}')
    return 'digits'
  return 'mnist'


def make(exhibit: Run | Comparison, place: Place) -> None:
  """Runs what the exhibit needs and is not there yet.

  Raises:
    SystemExit: a program failed, and has said why.
  """
  for part in (*exhibit.runs, exhibit):
    if not part.is_there(place):
      print(f'\n{part.title}', flush=True)
      reproduce.run_to_end('gallery', part.command(place))


def write_page(place: Place) -> pathlib.Path:
  """Writes `index.html`, of the exhibits that are there; returns its path."""
  path = ROOT / place.folder / 'index.html'
  path.write_text(page.render([*EXHIBITS.values()], place))
  return path


def main() -> None:
  """Makes what the command line names, or everything."""
  parser = command_line.make_parser('gallery', __doc__)
  parser.add_argument('--data', choices=page.DATA)
  command_line.add_names(parser, 'exhibit', EXHIBITS)
  arguments = parser.parse_args()
  with command_line.one_line_errors('gallery'):
    place = Place(arguments.data or choose_data(), FOLDER)
    for name, exhibit in EXHIBITS.items():
      if name in (arguments.names or EXHIBITS):
        make(exhibit, place)
        path = write_page(place)
  print(f'\n{path.resolve().as_uri()}')


if __name__ == '__main__':
  main()
