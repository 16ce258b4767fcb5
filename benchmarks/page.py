"""The page of the gallery: `gallery.html`, filled with what there is."""

from collections.abc import Sequence
import datetime
import pathlib
from typing import Any

from etils import epath

from aae_jax import measured, pages
from aae_jax.measured import Results
from benchmarks.exhibits import PICTURES, Comparison, Place, Run

DATA = {'mnist': 'MNIST', 'digits': 'UCI digits'}
"""How the data sets are spelled."""

_TEMPLATES = pages.templates(pathlib.Path(__file__).parent)


def render(exhibits: Sequence[Run | Comparison], place: Place) -> str:
  """The page as HTML, of those of the exhibits that are there.

  Args:
    exhibits: in the order of the page.
    place: where they are.
  """
  there = [exhibit for exhibit in exhibits if exhibit.is_there(place)]
  facts = _facts(there, place)
  if len(there) < len(exhibits):
    facts['Exhibits'] = f'{len(there)} of {len(exhibits)} so far'
  return _TEMPLATES.get_template('gallery.html').render(
    data=DATA[place.data],
    facts=facts,
    exhibits=[_exhibit(exhibit, place) for exhibit in there],
  )


def _facts(there: Sequence[Run | Comparison], place: Place) -> dict[str, str]:
  """The data, and what all runs were made with."""
  runs = {run.name: run for exhibit in there for run in exhibit.runs}
  found = [run.results(place) for run in runs.values()]
  duration = measured.describe_duration(
    sum(results['training_seconds'] for results in found)
  )
  makers = [maker for results in found for maker in measured.makers(results)]
  facts = {
    'Data': [_describe_data(results) for results in found],
    'Hardware': [measured.describe_hardware(m['hardware']) for m in makers],
    'Software': [
      f'jax {maker["versions"]["jax"]}, Python {maker["versions"]["python"]}'
      for maker in makers
    ],
    'Commit': [measured.describe_commit(maker['commit']) for maker in makers],
    'Training': [f'{duration} for {len(found)} runs'],
    'Written': [datetime.date.today().isoformat()],
  }
  return {
    name: '; '.join(dict.fromkeys(values)) for name, values in facts.items()
  }


def _describe_data(results: Results) -> str:
  data = results['dataset']
  train = data['train'] + data['validation']
  name = DATA.get(data['name'], data['name'])
  return f'{name}: {train:,} training and {data["test"]:,} test images'


def _exhibit(exhibit: Run | Comparison, place: Place) -> dict[str, Any]:
  """What the template shows of an exhibit."""
  shown, folded = exhibit.pictures(place)
  return {
    'name': exhibit.name,
    'title': exhibit.title,
    'text': exhibit.text,
    'key_number': exhibit.key_number(place),
    'table': exhibit.table(place),
    'shown': [_picture(path) for path in shown],
    'folded': [_picture(path) for path in folded],
    'made': exhibit.made(place),
    'command': pages.spell(['python', *exhibit.command(place)]),
  }


def _picture(path: pathlib.Path) -> dict[str, Any]:
  shows = PICTURES.get(path.name, path.stem.replace('_', ' '))
  return pages.picture(epath.Path(path), shows)
