"""The exhibits of the gallery: the records of `exhibits.toml`."""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import pathlib
import runpy
import tomllib
from typing import Any

from etils import epath

from aae_jax import figures, measured, runs
from aae_jax.measures import NUMBERS
from aae_jax.pages import Table
from benchmarks import reproduce
from benchmarks.command_line import ROOT

SHORT = {'mnist': 10, 'digits': 200}
"""Epochs, by data set: one of MNIST has 300 steps, one of digits 14."""

PICTURES = {
  **figures.PICTURES,
  'comparison.png': 'codes of four runs in the plane, coloured by class',
}
"""What each shows, for who cannot see it; in the order of the page."""


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a gallery is made, and of what.

  Attributes:
    data: the data set, a key of `SHORT`.
    folder: of the page and the runs; if relative, in `ROOT`.
  """

  data: str
  folder: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Run:
  """A system that is trained.

  Attributes:
    name: of the exhibit.
    title: what it is.
    text: what to look for.
    config: the configuration, without the data set that its name begins with.
    shown: the pictures that are to be seen at once.
    numbers: of `measures.NUMBERS`; the contents show the first.
    epochs: by data set.
    overrides: keys of the configuration.
    paper: what Makhzani et al. (2015) report of the same on MNIST, by number.
  """

  name: str
  title: str
  text: str
  config: str
  shown: Sequence[str]
  numbers: Sequence[str]
  epochs: Mapping[str, int] = dataclasses.field(default_factory=SHORT.copy)
  overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  paper: Mapping[str, str] = dataclasses.field(default_factory=dict)

  @property
  def runs(self) -> Sequence['Run']:
    """What has to be trained for it."""
    return (self,)

  def settings(self, data: str) -> tuple[pathlib.Path, dict[str, Any]]:
    """The file of its configuration, and the keys that differ from it."""
    changes = {'epochs': self.epochs[data], **self.overrides}
    return pathlib.Path(f'configs/{data}_{self.config}.py'), changes

  def workdir(self, place: Place) -> pathlib.Path:
    """Where it is trained."""
    return place.folder / f'{place.data}_{self.name}'

  def command(self, place: Place) -> list[str]:
    """What Python is to run."""
    path, changes = self.settings(place.data)
    return reproduce.train_command(path, self.workdir(place), changes)

  def results(self, place: Place) -> dict[str, Any] | None:
    """Its `results.json`, once it is finished with these settings."""
    run = runs.Run(epath.Path(ROOT / self.workdir(place)))
    if not run.is_finished:
      return None
    results = run.results
    file, changes = self.settings(place.data)
    config = runpy.run_path(str(ROOT / file))['get_config']()
    config.update_from_flattened_dict(changes)
    is_same = results['config'] == json.loads(config.to_json())
    return results if is_same else None

  def is_there(self, place: Place) -> bool:
    """Whether it can be shown."""
    return self.results(place) is not None

  def pictures(self, place: Place) -> tuple[list[pathlib.Path], ...]:
    """Those to be seen at once, and those that are folded away.

    One that could not be drawn is missing.
    """
    folder = ROOT / self.workdir(place) / 'figures'
    drawn = {path.name for path in folder.glob('*.png')}
    others = drawn - {*self.shown}
    order = [*PICTURES, *sorted(others)]
    return (
      [folder / name for name in self.shown if name in drawn],
      [folder / name for name in sorted(others, key=order.index)],
    )

  def key_number(self, place: Place) -> str:
    """The number that the contents show, with its name and unit."""
    number = NUMBERS[self.numbers[0]]
    shown = measured.show(self.results(place), self.numbers[0])
    return f'{number.title} {shown} {number.unit}'.rstrip()

  def table(self, place: Place) -> Table:
    """A row for each number, and for the paper's if it is of the same data."""
    results = self.results(place)
    paper = self.paper if place.data == 'mnist' else {}
    head = ['Test images', 'short\N{NO-BREAK SPACE}run']
    if paper:
      head.append('paper')
    rows = []
    for key in self.numbers:
      row = [_name(key), measured.show(results, key)]
      rows.append(row + ([paper.get(key, '')] if paper else []))
    return Table(head, rows, measured.describe_sample(results))

  def made(self, place: Place) -> str:
    """How long it was trained."""
    results = self.results(place)
    epochs, steps = results['config']['epochs'], results['total_steps']
    duration = measured.describe_duration(results['training_seconds'])
    return f'{epochs} epochs, {steps:,} steps, trained in {duration}.'


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Runs that are shown side by side.

  Attributes:
    name: of the exhibit.
    title: what it is.
    text: what to look for.
    runs: in the order of the panels, two in a row.
    numbers: of `measures.NUMBERS`, a column each.
  """

  name: str
  title: str
  text: str
  runs: Sequence[Run]
  numbers: Sequence[str]

  def _picture(self, place: Place) -> pathlib.Path:
    return place.folder / f'{place.data}_{self.name}' / 'comparison.png'

  def command(self, place: Place) -> list[str]:
    """What Python is to run."""
    return [
      '-m',
      'benchmarks.compare_codes',
      *(str(run.workdir(place)) for run in self.runs),
      '--columns=2',
      f'--output={self._picture(place)}',
    ]

  def is_there(self, place: Place) -> bool:
    """Whether it can be shown, and is of the runs as they are."""
    picture = ROOT / self._picture(place)
    if not (picture.exists() and all(r.is_there(place) for r in self.runs)):
      return False
    drawn = picture.stat().st_mtime
    results = [ROOT / r.workdir(place) / 'results.json' for r in self.runs]
    return all(path.stat().st_mtime <= drawn for path in results)

  def pictures(self, place: Place) -> tuple[list[pathlib.Path], ...]:
    """The one to be seen, and none that is folded away."""
    return [ROOT / self._picture(place)], []

  def key_number(self, place: Place) -> str:
    """None: the contents show no number of several runs."""
    del place
    return ''

  def table(self, place: Place) -> Table:
    """A row for each run."""
    found = {run.title: run.results(place) for run in self.runs}
    return Table(
      ['Test images', *map(_name, self.numbers)],
      [
        [title, *(measured.show(results, key) for key in self.numbers)]
        for title, results in found.items()
      ],
      measured.describe_sample(next(iter(found.values()))),
    )

  def made(self, place: Place) -> str:
    """Of what it was made."""
    del place
    return 'Drawn from the runs above.'


def _name(metric: str) -> str:
  return measured.with_unit(NUMBERS[metric].title, metric)


def read(path: pathlib.Path) -> dict[str, Run | Comparison]:
  """The exhibits of a file by name, in its order.

  Args:
    path: of TOML: a table for each exhibit, with the attributes of `Run` or
      `Comparison` as keys, `runs` being names of exhibits before it.
  """
  exhibits = {}
  for name, record in tomllib.loads(path.read_text()).items():
    record |= {'name': name, 'text': ' '.join(record['text'].split())}
    if 'runs' in record:
      record['runs'] = [exhibits[run] for run in record['runs']]
      exhibits[name] = Comparison(**record)
    else:
      exhibits[name] = Run(**record)
  return exhibits


EXHIBITS = read(pathlib.Path(__file__).with_suffix('.toml'))
"""By name, in the order of the paper."""
