"""Draws the codes of trained runs side by side, as in figure 2 of the paper.

  python -m benchmarks.compare_codes WORKDIR ... [--columns=2] --output=FILE.png

Each panel shows the codes of the held-out images under the first sound seed of
a run, coloured by class, and its energy distance to the prior.
The panels fill row after row; give the runs of one prior after each other, for
the panels of a row have the same axes.
"""

from collections.abc import Sequence
import functools
import json

from etils import epath
from matplotlib.figure import Figure
import numpy as np

import aae_jax
from aae_jax import datasets, drawing, errors, figures, measured
from aae_jax.datasets.dataset import Split
from aae_jax.measured import Results
from aae_jax.runs import Run
from benchmarks import command_line

BATCH_SIZE = 1000

SPELLING = {'aae': 'AAE', 'vae': 'VAE', 'gaussian': 'Gaussian'}
"""Of words that are names."""


def compare(workdirs: Sequence[epath.PathLike], num_columns: int) -> Figure:
  """Draws the codes of finished runs, so many of them in a row.

  Args:
    workdirs: of the runs, local or in a bucket.
    num_columns: at least 1.

  Raises:
    InputError: `num_columns` is below 1, or a workdir holds no finished run, or
      one without 2-D codes of images.
    OSError: a data set cannot be had.
  """
  if num_columns < 1:
    raise errors.InputError(f'columns is {num_columns}; expected at least 1.')
  runs = [(epath.Path(path), _read_results(path)) for path in workdirs]
  panels = [_panel(*run) for run in runs]
  sources = {_held_out(results)[1] for _, results in runs}
  return drawing.draw_comparison(
    [
      panels[start : start + num_columns]
      for start in range(0, len(panels), num_columns)
    ],
    title='Codes, and their energy distance to the prior',
    note=f'{", ".join(sorted(sources))}; codes are the means of the '
    'posteriors, distances those of draws from them',
  )


def _read_results(workdir: epath.PathLike) -> Results:
  results = Run(epath.Path(workdir)).results
  if results is None:
    raise errors.InputError(
      f'{workdir} has no results.json; expected the workdir of a finished run.'
    )
  return results


def _panel(
  workdir: epath.Path, results: Results
) -> tuple[str, np.ndarray, np.ndarray | None, str]:
  """What `draw_comparison` takes of a run."""
  model = aae_jax.load(workdir, _seed(results))
  size = model.code_sizes.get('z') if 'encode' in model.functions else None
  if size != 2:
    found = f'{size}-D codes' if size else 'no codes of images'
    raise errors.InputError(f'{workdir} has {found}; expected 2-D codes.')
  (image, label), _ = _held_out(results)
  code = np.concatenate(
    [
      model.encode(image[start : start + BATCH_SIZE])['z']
      for start in range(0, len(image), BATCH_SIZE)
    ]
  )
  return _name(results), code, label, _measured(results)


def _seed(results: Results) -> int:
  """The seed that is drawn."""
  return measured.sound_seeds(results)[0]


def _held_out(results: Results) -> tuple[Split, str]:
  return _load_held_out(json.dumps(results['config']['dataset']))


@functools.cache
def _load_held_out(options: str) -> tuple[Split, str]:
  """The images to encode and what they are, by the `dataset` of a config."""
  dataset = datasets.load(**json.loads(options))
  split, kind = figures.held_out(dataset)
  split = split.part(0, figures.MAX_POINTS)
  return split, f'{split.num_images:,} {kind} of {dataset.name}'


def _name(results: Results) -> str:
  """The system, and its prior if it has one."""
  config = results['config']
  names = [config['system']]
  if 'test/energy_distance' in results['metrics']:
    names.append(config['prior']['name'])
  return ', '.join(
    ' '.join(SPELLING.get(word, word) for word in name.split('_'))
    for name in names
  )


def _measured(results: Results) -> str:
  """The number of the seed that is drawn."""
  found = results['metrics'].get('test/energy_distance')
  if found is None:
    return 'no prior'
  index = results['seeds'].index(_seed(results))
  return f'energy distance {found["per_seed"][index]:.4f}'


def main() -> None:
  """Writes the picture that the command line asks for."""
  parser = command_line.make_parser('compare_codes', __doc__)
  parser.add_argument('workdirs', nargs='+', metavar='WORKDIR')
  parser.add_argument('--columns', type=int, default=2)
  parser.add_argument('--output', required=True, metavar='FILE.png')
  arguments = parser.parse_args()
  with command_line.one_line_errors('compare_codes'):
    figure = compare(arguments.workdirs, arguments.columns)
    output = epath.Path(arguments.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(drawing.to_png(figure))


if __name__ == '__main__':
  main()
