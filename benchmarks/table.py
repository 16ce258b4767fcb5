"""Writes the first table of the README from the files of results.

  python -m benchmarks.table

It has the lines of `rows.py`. Where rows were evaluated on validation images
while they were trained, it draws their errors over epochs and seconds as well:
`docs/reproduction_curves.png`.
"""

import collections
from collections.abc import Iterable, Iterator, Mapping
import itertools
import json
from typing import Any

from flax import traverse_util
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
import numpy as np

from aae_jax import drawing, errors, measured, recipes
from aae_jax.measured import Results
from benchmarks import command_line
from benchmarks.command_line import ROOT
from benchmarks.rows import METHODS, ROWS

RESULTS = 'benchmarks/results'
PICTURE = 'docs/reproduction_curves.png'

BEGIN = '<!-- From here on by: python -m benchmarks.table -->'
END = '<!-- Up to here by: python -m benchmarks.table -->'

_METHODS = """\
Every method of the paper's table of results, under one protocol: MNIST with
100 labels, test error in %; [what they are, and for whom](docs/methods.md)."""

PARTS = (
  'encoder.network',
  'decoder.network',
  'discriminator_z.',
  'prior_y.',
)
"""What keys begin with that change a part of the paper's systems."""

_AUGMENTATION = 'encoder.augmentation.'
"""So do these, of whose amounts the table does not tell."""


def read() -> dict[str, Results]:
  """The results of the rows of the table, as far as there are any."""
  names = [f'{name}{end}' for name in _names() for end in ('', '_any')]
  names += [method.row for method in METHODS]
  paths = {name: ROOT / RESULTS / f'{name}.json' for name in names}
  return {
    name: json.loads(path.read_text())
    for name, path in paths.items()
    if path.exists()
  }


def _names() -> Iterator[str]:
  return (name for name, row in ROWS.items() if row.lines)


def block(found: Mapping[str, Results]) -> str:
  """What stands in the README, from `BEGIN` to `END`."""
  usual = _usual_hardware(found.values())
  head = ('what', 'paper', 'best public', 'pure recipe', 'any recipe')
  rows = [head, ('---',) * len(head)]
  for name in _names():
    for line in ROWS[name].lines:
      what = measured.with_unit(line.title, line.metric)
      ours = (
        _cell(f'{name}{end}', line.metric, found, usual) for end in ('', '_any')
      )
      rows.append((what, line.paper, line.public, *ours))
  table = '\n'.join(f'| {" | ".join(row)} |' for row in rows)
  parts = [BEGIN, table, *_methods(found, usual)]
  if usual:
    parts.append(f'Minutes are those of a draw, on {usual} unless said.')
  if _curves(found):
    parts.append(f'![Validation error by epochs and by seconds]({PICTURE})')
  return '\n\n'.join([*parts, END])


def _methods(found: Mapping[str, Results], usual: str | None) -> list[str]:
  """The table of the methods that the AAE is compared with."""
  if not METHODS:
    return []
  rows = [('method', 'paper', 'here'), ('---',) * 3]
  for method in METHODS:
    ours = _cell(method.row, 'classification_error', found, usual)
    rows.append((method.title, method.paper, ours))
  return [_METHODS, '\n'.join(f'| {" | ".join(row)} |' for row in rows)]


def _cell(
  name: str, metric: str, found: Mapping[str, Results], usual: str | None
) -> str:
  """What a row has to tell of a line: number, draws, epochs, time, parts."""
  if name not in found:
    return 'not measured yet' if name in ROWS else '-'
  results = found[name]
  number = measured.show(results, metric)
  num_draws = len(results['seeds'])
  told = [f'[{number}]({RESULTS}/{name}.json) ({num_draws})']
  if diverged := num_draws - len(measured.sound_seeds(results)):
    told.append(f'{diverged} diverged')
  minutes = results['training_seconds'] / num_draws / 60
  time = f'{minutes:.{0 if minutes >= 10 else 1}f} min'
  hardware = _hardware(results)
  if hardware != usual:
    time += f' on {hardware}'
  told.append(f'{results["config"]["epochs"]} epochs, {time}')
  if name.endswith('_any'):
    told.append(f'with {", ".join(parts_of(results["config"]))}')
  return '; '.join(told)


def parts_of(config: Mapping[str, Any]) -> list[str]:
  """What a recipe has beyond the defaults: additions, and options of parts.

  Args:
    config: of the results.
  """
  default = _flat(json.loads(recipes.defaults().to_json()))
  changed = {
    key: value
    for key, value in _flat(config).items()
    if value != default.get(key)
  }
  is_augmented = any(key.startswith(_AUGMENTATION) for key in changed)
  return [
    *config.get('additions', []),
    *(['augmentation'] if is_augmented else []),
    *(f'{key}={changed[key]}' for key in changed if key.startswith(PARTS)),
  ]


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
  return traverse_util.flatten_dict(config, sep='.')


def _hardware(results: Results) -> str:
  """What a row was trained on."""
  told = (
    measured.describe_hardware(process['hardware'])
    for process in measured.makers(results)
  )
  return ' and '.join(dict.fromkeys(told))


def _usual_hardware(results: Iterable[Results]) -> str | None:
  counts = collections.Counter(map(_hardware, results))
  return counts.most_common(1)[0][0] if counts else None


def written(readme: str, new: str) -> str:
  """The README with another block.

  Raises:
    InputError: it has no place for it.
  """
  before, begin, others = readme.partition(BEGIN)
  _, end, after = others.partition(END)
  if not (begin and end):
    raise errors.InputError(f'README.md has no lines {BEGIN} and {END}.')
  return f'{before}{new}{after}'


def _curves(found: Mapping[str, Results]) -> dict[str, np.ndarray]:
  """Of each row that has any: epoch, seconds, mean, least and largest error."""
  curves = {}
  for name, results in found.items():
    points = collections.defaultdict(list)
    for epoch, seconds, error in itertools.chain(*results.get('curve', [])):
      if error is not None:
        points[epoch].append((seconds, error))
    if points:
      curves[name] = np.array(
        [_point(epoch, np.array(points[epoch])) for epoch in sorted(points)]
      )
  return curves


def _point(epoch: int, seen: np.ndarray) -> list[float]:
  """Args: the epoch, and seconds and error of each seed, [S, 2]."""
  seconds, error = seen.T
  return [epoch, seconds.mean(), error.mean(), error.min(), error.max()]


def draw(found: Mapping[str, Results]) -> Figure | None:
  """Draws the error of every row that has curves; None without any."""
  curves = _curves(found)
  if not curves:
    return None
  figure = Figure(figsize=(9, 4), dpi=drawing.DPI, layout='constrained')
  panels = figure.subplots(1, 2, sharey=True)
  for axes, column, label in zip(
    panels, (0, 1), ('epochs', 'seconds of training'), strict=True
  ):
    for name, curve in curves.items():
      style = line_style(name, curves)
      axes.plot(curve[:, column], curve[:, 2], label=name, **style)
      axes.fill_between(
        curve[:, column], *curve[:, 3:].T, alpha=0.15, color=style['color']
      )
    log_axes(axes, label)
  panels[0].set_ylabel('validation error, %')
  figure.suptitle('Means and ranges of the draws', fontsize='medium')
  lines, names = panels[0].get_legend_handles_labels()
  figure.legend(lines, names, loc='outside right center', frameon=False)
  return figure


def line_style(name: str, names: Iterable[str]) -> dict[str, Any]:
  """One of colour and marker for both recipes of a row; the pure is dashed."""
  pure = name.removesuffix('_any')
  rows = list(dict.fromkeys(name.removesuffix('_any') for name in names))
  marker, colour = divmod(rows.index(pure), len(drawing.COLOURS))
  return {
    'linestyle': '--' if name == pure else '-',
    'color': drawing.COLOURS[colour],
    'marker': 'osD'[marker],
    'markersize': 3,
  }


def log_axes(axes: Axes, label: str) -> None:
  """Makes both axes logarithmic; `label` is that of the horizontal one."""
  axes.set(xscale='log', yscale='log', xlabel=label)
  for axis in (axes.xaxis, axes.yaxis):
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter('{x:g}')
    axis.set_minor_locator(NullLocator())
  axes.tick_params(labelsize='small')
  axes.grid(alpha=0.3)
  axes.spines[['top', 'right']].set_visible(False)


def main() -> None:
  """Writes and prints the table, and draws the curves."""
  found = read()
  new = block(found)
  readme = ROOT / 'README.md'
  with command_line.one_line_errors('table'):
    readme.write_text(written(readme.read_text(), new))
  print(new)
  figure = draw(found)
  if figure:
    (ROOT / PICTURE).write_bytes(drawing.to_png(figure))
  else:
    (ROOT / PICTURE).unlink(missing_ok=True)


if __name__ == '__main__':
  main()
