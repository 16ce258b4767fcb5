"""What a trained model is worth: exact numbers over a whole split."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aae_jax import losses, randomness, train_step
from aae_jax.datasets import feeding
from aae_jax.datasets.dataset import Split
from aae_jax.systems import Model, System
from aae_jax.train_state import TrainState
from aae_jax.types import Apply, Array, Keys

BATCH_SIZE = 1000

Measure = Callable[[Model, Apply, Array, Array, Keys], Array]
"""Of examples: `(model, apply, image, label, keys [B]) -> [B]`."""


def classification_error(
  model: Model, apply: Apply, image: Array, label: Array, keys: Keys
) -> Array:
  """100 for each wrongly classified example and 0 for the others, [B]."""
  del keys
  predicted = jnp.argmax(model.classify(apply, image), axis=-1)
  return 100.0 * (predicted != label)


def reconstruction_error(
  model: Model, apply: Apply, image: Array, label: Array, keys: Keys
) -> Array:
  """The squared error summed over the pixels of each example, [B].

  A decoder that is told the label is told the true one.
  """
  del keys
  code = model.encode(apply, image, None)
  told = {
    name: jax.nn.one_hot(label, size)
    for name, size in model.code_sizes.items()
    if name not in code
  }
  return 2 * losses.squared_error(model.decode(apply, {**code, **told}), image)


def log_likelihood(
  model: Model, apply: Apply, image: Array, label: Array, keys: Keys
) -> Array:
  """log p(x|z) at a draw of the posterior, [B], in nats."""
  del label
  return model.bound(apply, image, keys)[0]


def divergence(
  model: Model, apply: Apply, image: Array, label: Array, keys: Keys
) -> Array:
  """KL(q(z|x) || p(z)) in closed form or at a draw, [B], in nats."""
  del label
  return model.bound(apply, image, keys)[1]


def elbo(
  model: Model, apply: Apply, image: Array, label: Array, keys: Keys
) -> Array:
  """The evidence lower bound, `log_likelihood` less `divergence`, [B]."""
  del label
  likelihood, rate = model.bound(apply, image, keys)
  return likelihood - rate


def region_share(
  model: Model, apply: Apply, image: Array, label: Array, keys: Keys
) -> Array:
  """100 for each code in its label's part of the prior, else 0, [B]."""
  del keys
  code = model.encode(apply, image, None)
  return 100.0 * (model.region(code['z']) == label)


def measures(model: Model, labels: bool) -> Mapping[str, Measure]:
  """The measures of an example that the functions of a model allow."""
  allowed = {
    classification_error: model.classify and labels,
    reconstruction_error: model.encode and model.decode,
    elbo: model.bound,
    log_likelihood: model.bound,
    divergence: model.bound,
    region_share: model.encode and model.region and labels,
  }
  return {measure.__name__: measure for measure, yes in allowed.items() if yes}


def sound_seeds(state: TrainState) -> np.ndarray:
  """Which seeds have finite weights, averages and statistics, bool [S]."""
  weights = state.params, state.batch_stats, state.ema
  return np.asarray(_are_finite(weights))


_are_finite = jax.jit(train_step.are_finite)


class Evaluator:
  """Measures the states of a system; compiled once."""

  def __init__(self, system: System, labels: bool):
    """Args: the system, and whether the data has labels."""
    self._system = system
    self._measures = measures(system.model, labels)
    self._sums = jax.jit(jax.vmap(self._sum, (0, 0, None, None, None, None)))

  def _sum(
    self,
    params: Mapping[str, Any],
    batch_stats: Mapping[str, Any],
    image: Array,
    label: Array,
    positions: Array,
    mask: Array,
  ) -> dict[str, Array]:
    apply, _ = train_step.bind(
      self._system.networks, params, batch_stats, train=False
    )
    # The noise of an image is the same at every evaluation.
    keys = randomness.position_keys(jax.random.key(0), positions)
    example = feeding.scale(image), label, keys
    return {
      name: jnp.sum(measure(self._system.model, apply, *example) * mask)
      for name, measure in self._measures.items()
    }

  def __call__(self, state: TrainState, split: Split) -> dict[str, np.ndarray]:
    """The mean of every measure over a split, [S] for each.

    Where the state holds averages they are what is measured, and the newest
    weights as `NAME_raw` beside them. A seed that is not sound has no number:
    all of its are NaN.
    """
    found = self._mean(state.params, state.batch_stats, split)
    if state.ema:
      newest = {f'{name}_raw': mean for name, mean in found.items()}
      averages = state.ema['params'], state.ema['batch_stats']
      found = self._mean(*averages, split) | newest
    # Without this a seed of NaN would have an error: their argmax is 0.
    sound = sound_seeds(state)
    return {name: np.where(sound, mean, np.nan) for name, mean in found.items()}

  def _mean(
    self,
    params: Mapping[str, Any],
    batch_stats: Mapping[str, Any],
    split: Split,
  ) -> dict[str, np.ndarray]:
    size = len(split.image)
    label = np.zeros(size, np.int32) if split.label is None else split.label
    totals = dict.fromkeys(self._measures, 0.0)
    for start in range(0, size, BATCH_SIZE):
      image, labels = (
        part[start : start + BATCH_SIZE] for part in (split.image, label)
      )
      # Every batch has one shape; the mask leaves out what fills the last.
      padding = min(BATCH_SIZE, size) - len(image)
      mask = np.pad(np.ones(len(image), np.float32), (0, padding))
      image = np.pad(image, [(0, padding)] + [(0, 0)] * (image.ndim - 1))
      labels = np.pad(labels, (0, padding))
      positions = start + np.arange(len(image), dtype=np.int32)
      sums = self._sums(params, batch_stats, image, labels, positions, mask)
      for name, total in sums.items():
        totals[name] += np.asarray(total, np.float64)
    return {name: total / size for name, total in totals.items()}
