"""The page of the gallery: `gallery.html`, filled with what there is."""

import base64
from collections.abc import Sequence
import datetime
import pathlib
import shlex
from typing import Any

import jinja2
from PIL import Image

from aae_jax import drawing
from benchmarks import measured
from benchmarks.exhibits import PICTURES, Comparison, Place, Run
from benchmarks.measured import Results

DATA = {'mnist': 'MNIST', 'digits': 'UCI digits'}
"""How the data sets are spelled."""

PIXELS_PER_PIXEL = 96 / drawing.DPI
"""Of a page, which has 96 an inch, for one of a figure."""

MAX_HEIGHT = 800
"""Pixels of a page, so that a picture can be seen at a glance."""

_TEMPLATES = jinja2.Environment(
  loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
  autoescape=True,
  undefined=jinja2.StrictUndefined,
  trim_blocks=True,
  keep_trailing_newline=True,
)


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
    'command': _spell(exhibit.command(place)),
  }


def _picture(path: pathlib.Path) -> dict[str, Any]:
  """What is in a PNG file, and the size that it was drawn for."""
  with Image.open(path) as picture:
    scale = min(PIXELS_PER_PIXEL, MAX_HEIGHT / picture.height)
    width, height = (round(scale * size) for size in picture.size)
  return {
    'width': width,
    'height': height,
    'shows': PICTURES.get(path.name, path.stem.replace('_', ' ')),
    'content': base64.b64encode(path.read_bytes()).decode(),
  }


def _spell(command: Sequence[str]) -> str:
  """What a shell is told, the program and each argument in a line."""
  words = [shlex.quote(word) for word in command]
  start = 2 if words[0] == '-m' else 1
  return ' \\\n    '.join(
    [' '.join(['python', *words[:start]]), *words[start:]]
  )
