"""Early stopping: the weights of each run's best epoch, kept beside its last.

Runs are independent of one another, and so are their best epochs: each ends
with the weights that it would have ended with alone.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aae_jax.train_state import TrainState
from aae_jax.types import Array


class EarlyStopping(NamedTuple):
  """When a training ends before its last epoch.

  Attributes:
    measure: of the validation images after every epoch, a key of
      `measures.NUMBERS`.
    patience: epochs without a better one after which a run is over.
  """

  measure: str
  patience: int


def begin(state: TrainState) -> TrainState:
  """The state of R runs, none of which has a best epoch yet."""
  num_runs = len(state.rng)
  best = {
    # Not the weights themselves, which are donated to the first call.
    'weights': jax.tree.map(jnp.zeros_like, weights(state)),
    'score': jnp.full(num_runs, jnp.inf, jnp.float32),
    'step': jnp.zeros(num_runs, jnp.int32),
  }
  return state.replace(best=best)


def updated(
  state: TrainState, scores: np.ndarray, patience: int
) -> Mapping[str, Any]:
  """What is kept after an epoch.

  Args:
    state: of R runs, with what was kept before.
    scores: of the runs, [R]: less is better, and NaN is never.
    patience: steps after which a run that has no better epoch is over; what it
      has kept stays then, however long others go on.

  Returns:
    `TrainState.best`.
  """
  return _updated(
    state.best, weights(state), state.step, np.float32(scores), patience
  )


def ends(state: TrainState, patience: int) -> np.ndarray:
  """The step at which each run is over unless a better epoch comes, [R]."""
  return np.asarray(state.best['step']) + patience


def best(state: TrainState) -> TrainState:
  """The state with the weights that were kept, in runs that have any."""
  if not state.best:
    return state
  has_any = state.best['step'] > 0
  return state.replace(
    **_chosen(has_any, state.best['weights'], weights(state))
  )


def best_steps(state: TrainState) -> np.ndarray:
  """The steps after which each run had the weights of `best`, int [R]."""
  last = np.full(len(state.rng), int(state.step))
  if not state.best:
    return last
  kept = np.asarray(state.best['step'])
  return np.where(kept > 0, kept, last)


def weights(state: TrainState) -> Mapping[str, Any]:
  """All weights of a state, their averages among them."""
  return {
    name: getattr(state, name) for name in ('params', 'batch_stats', 'ema')
  }


@jax.jit
def _updated(
  kept: Mapping[str, Any],
  now: Mapping[str, Any],
  step: Array,
  scores: Array,
  patience: int,
) -> Mapping[str, Any]:
  is_better = (scores < kept['score']) & (step - kept['step'] <= patience)
  return {
    'weights': _chosen(is_better, now, kept['weights']),
    'score': jnp.where(is_better, scores, kept['score']),
    'step': jnp.where(is_better, step, kept['step']),
  }


def _chosen(is_one: Array, one: Any, other: Any) -> Any:
  """Of each run the arrays [R, ...] of the one or of the other."""
  return jax.tree.map(
    lambda x, y: jnp.where(is_one.reshape(-1, *[1] * (x.ndim - 1)), x, y),
    one,
    other,
  )
