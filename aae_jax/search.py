"""Which setting of a search is the best.

Validation images tell; the test images are for the setting that is chosen.
"""

from collections.abc import Mapping, Sequence
import math

import numpy as np

from aae_jax import errors, measures
from aae_jax.experiments import Experiment
from aae_jax.metrics import Summaries
from aae_jax.train_state import TrainState


def measure(experiment: Experiment) -> str:
  """What settings are compared by: the first that there is of a few numbers.

  Those of `measures.NUMBERS` that say so.

  Raises:
    InputError: there is none.
  """
  names = measures.choosing(experiment)
  if names:
    return names[0]
  known = [name for name, number in measures.NUMBERS.items() if number.chooses]
  raise errors.InputError(
    'search cannot tell which setting of this system is the best; expected a '
    f'system that has one of {", ".join(known)}.'
  )


def validate(
  experiment: Experiment, state: TrainState, found: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Adds to a search what the settings are compared by, if it is not found yet.

  Args:
    experiment: of a search, or not.
    state: of all runs.
    found: numbers of the validation images, [R] each.
  """
  if not experiment.spec.searches:
    return dict(found)
  return measures.with_validated(experiment, state, found, measure(experiment))


def best(experiment: Experiment, summaries: Sequence[Summaries]) -> int:
  """The index of the best setting, by the mean over its seeds.

  One of whose seeds more have diverged than of another's is not.

  Args:
    experiment: of a search, or else its one setting is the best.
    summaries: of each setting's numbers of the validation images.
  """
  if not experiment.spec.searches:
    return 0
  name = measure(experiment)

  def rank(index):
    summary = summaries[index][f'validation/{name}']
    diverged = sum(not math.isfinite(value) for value in summary['per_seed'])
    return diverged, measures.NUMBERS[name].chooses * summary['mean']

  return min(range(len(summaries)), key=rank)
