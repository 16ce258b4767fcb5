"""Which setting of a search is the best.

Validation images tell; the test images are for the setting that is chosen.
"""

from collections.abc import Mapping, Sequence
import math

import numpy as np

from aae_jax import analysis, errors
from aae_jax.experiments import Experiment
from aae_jax.metrics import Summaries
from aae_jax.train_state import TrainState

_SIGNS = {
  'classification_error': 1,
  'clustering_error': 1,
  'elbo': -1,
  'parzen_log_likelihood': -1,
  'reconstruction_error': 1,
}
"""1 where the least is the best, else -1."""


def measure(experiment: Experiment) -> str:
  """What settings are compared by: the first that there is of a few numbers.

  The classification error, the clustering error, the evidence lower bound, the
  likelihood under a Parzen window of samples; and last the reconstruction
  error, which is least where nothing shapes the codes.

  Raises:
    InputError: there is none.
  """
  model = experiment.system.model
  labels = experiment.dataset.num_classes is not None
  allowed = {
    'classification_error': model.classify and labels,
    'clustering_error': model.cluster and labels,
    'elbo': model.bound,
    'parzen_log_likelihood': model.sample,
    'reconstruction_error': model.encode and model.decode,
  }
  for name, yes in allowed.items():
    if yes:
      return name
  raise errors.InputError(
    'search cannot tell which setting of this system is the best; expected a '
    f' system that has one of {", ".join(allowed)}.'
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
  name = measure(experiment)
  key = f'validation/{name}'
  if key in found:
    return dict(found)
  return {**found, key: analysis.validate(experiment, state, name)}


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
    return diverged, _SIGNS[name] * summary['mean']

  return min(range(len(summaries)), key=rank)
