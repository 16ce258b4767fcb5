"""What files of results hold, and how it is told."""

from collections.abc import Mapping, Sequence
from typing import Any

from aae_jax.measures import NUMBERS

Results = Mapping[str, Any]
"""Of a run or a row, as its file has them."""


def makers(results: Results) -> Sequence[Mapping[str, Any]]:
  """The processes that trained; older results are of one, said at the top."""
  return results.get('trained', [results])


def sound_seeds(results: Results) -> Sequence[int]:
  """The seeds that did not diverge; older results do not tell them: all."""
  return results.get('sound_seeds', results['seeds'])


def with_unit(title: str, metric: str) -> str:
  """What is measured, and in which unit, if it has one.

  Args:
    title: of the number.
    metric: a key of `measures.NUMBERS`.
  """
  unit = NUMBERS[metric].unit
  return f'{title}, {unit}' if unit else title


def title(name: str) -> str:
  """What a metric of results is called, with its unit.

  Args:
    name: `test/classification_error`, with `_raw` at its end for the newest
      weights where averages are evaluated.
  """
  newest = ' of the newest weights' if name.endswith('_raw') else ''
  return with_unit(f'{NUMBERS[metric(name)].title}{newest}', metric(name))


def show(results: Results, metric: str) -> str:
  """A number and, over several runs, its standard deviation.

  Args:
    results: of test images.
    metric: a key of `measures.NUMBERS`.
  """
  name = f'test/{metric}'
  return spell(name, results['metrics'][name])


def spell(name: str, found: Mapping[str, Any] | None) -> str:
  """A number as it is shown.

  Args:
    name: of the metric, as results have it.
    found: its mean and its standard deviation; None where there is none.
  """
  if found is None:
    return ''
  # The file has null for what is not finite.
  if found['mean'] is None:
    return 'not finite'
  places = NUMBERS[metric(name)].decimals
  shown = f'{found["mean"]:.{places}f}'.replace('-', '\N{MINUS SIGN}')
  std = found['std']
  return shown if std is None else f'{shown} ± {std:.{places}f}'


def metric(name: str) -> str:
  """`classification_error` of `test/classification_error_raw`."""
  return name.partition('/')[2].removesuffix('_raw')


def describe_sample(results: Results) -> str:
  """How many images, draws and labels the numbers are of."""
  images = f'{results["dataset"]["test"]:,} images'
  labels = results['config'].get('num_labels')
  num_runs = len(sound_seeds(results))
  draw = '' if labels in (None, -1) else f' of {labels:,} labels'
  if num_runs == 1:
    return f'{images}; one {"draw" if draw else "run"}{draw}.'
  return (
    f'{images}; mean ± standard deviation of {num_runs} '
    f'{"draws" if draw else "runs"}{draw}.'
  )


def describe_hardware(hardware: Mapping[str, Any]) -> str:
  """In words what `provenance.of_process` has."""
  devices, cpus = hardware['devices'], hardware['cpus']
  if hardware['platform'] == 'cpu':
    return f'{cpus} CPU cores'
  return f'{devices} × {hardware["kind"]}, {cpus} CPU cores'


def describe_commit(commit: str | None) -> str:
  """The beginning of a commit's hash, and whether it is all of the code."""
  if commit is None:
    return 'unknown'
  changed = ' with changes' if commit.endswith('-dirty') else ''
  return commit[:10] + changed


def describe_duration(seconds: float) -> str:
  """Minutes, if there are any, and seconds."""
  minutes, seconds = divmod(round(seconds), 60)
  return f'{minutes} min {seconds} s' if minutes else f'{seconds} s'
