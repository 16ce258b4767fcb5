"""The results of a row: of runs that were trained at different times."""

from collections.abc import Mapping, Sequence
import json
import pathlib
from typing import Any

from aae_jax import errors, metrics
from benchmarks.provenance import without_command

_SAME = ('chosen_on', 'step', 'total_steps', 'dataset', 'parameters')
"""What all runs of a row have in common, beside the configuration."""

_VALIDATION_ERRORS = (
  'validation/classification_error',
  'validation/clustering_error',
)
"""What a curve is of: the first that there is."""


_PLACES = ('data_dir', 'manual_dir')
"""Of the data on a machine, of which a row says nothing."""


def read(workdir: pathlib.Path) -> dict[str, Any]:
  """The results of a finished run, as those of a row.

  `results.json`, but for `last_epoch` and the folders of the data, and

  - `seconds_per_seed` [S]: seeds that are trained together share the time;
  - `curve` [S]: of each seed [[epoch, seconds, error], ...], on validation
    images; empty without them;
  - `seeds` in each process of `trained` and `evaluated`, which are lists; their
    commands, which name folders, are left out.
  """
  results = json.loads((workdir / 'results.json').read_text())
  seeds = results['seeds']
  del results['last_epoch']
  for place in _PLACES:
    results['config']['dataset'].pop(place, None)
  return results | {
    'seconds_per_seed': [results['training_seconds'] / len(seeds)] * len(seeds),
    'trained': [_maker(seeds, part) for part in results['trained']],
    'evaluated': [_maker(seeds, results['evaluated'])],
    'curve': _curve(workdir / 'metrics.jsonl', len(seeds)),
  }


def _maker(seeds: Sequence[int], process: Mapping[str, Any]) -> dict[str, Any]:
  return {'seeds': seeds, **without_command(process)}


def _curve(path: pathlib.Path, num_seeds: int) -> list[list[list[float]]]:
  curves = [[] for _ in range(num_seeds)]
  for row in map(json.loads, path.read_text().splitlines()):
    error = next((row[key] for key in _VALIDATION_ERRORS if key in row), None)
    if error:
      seconds = round(row['seconds'] / num_seeds, 1)
      for curve, value in zip(curves, error['per_seed'], strict=True):
        curve.append([row['epoch'], seconds, value])
  return curves


def merge(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """The results of all seeds of some runs.

  Args:
    runs: as `read` or `merge` returns them, without a seed in common; of one
      configuration but for `seed` and `num_seeds`.

  Returns:
    The same of all seeds, in their order. Means and spreads are those of the
    sound seeds; a spread is None for fewer than two.

  Raises:
    InputError: the runs have not seen the same data, or are not of the same
      length.
  """
  runs = sorted(runs, key=lambda run: run['seeds'][0])
  first = runs[0]
  for run in runs:
    for key in _SAME:
      if run[key] != first[key]:
        raise errors.InputError(
          f'{key} is {run[key]} of the seeds {_name(run)}, and {first[key]} of '
          f'{_name(first)}; expected runs of one row.'
        )
  joined = {
    key: [item for run in runs for item in run[key]]
    for key in (
      'seeds',
      'sound_seeds',
      'seconds_per_seed',
      'trained',
      'evaluated',
      'curve',
    )
  }
  seeds = joined['seeds']
  return {
    'metrics': _metrics(runs, [s in joined['sound_seeds'] for s in seeds]),
    **{key: first[key] for key in _SAME},
    'label_draws': sum(run['label_draws'] for run in runs),
    'training_seconds': sum(joined['seconds_per_seed']),
    **joined,
    'config': {**first['config'], 'num_seeds': len(seeds)},
  }


def _metrics(
  runs: Sequence[Mapping[str, Any]], sound: Sequence[bool]
) -> metrics.Summaries:
  """The summaries of all seeds; a value that is not finite is None in them."""
  return metrics.summarize(
    {
      name: [v for run in runs for v in run['metrics'][name]['per_seed']]
      for name in runs[0]['metrics']
    },
    sound,
  )


def _name(run: Mapping[str, Any]) -> str:
  return ', '.join(map(str, run['seeds']))
