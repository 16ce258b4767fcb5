"""What a trained model is worth: exact numbers over a whole split."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from aae_jax import losses, trained
from aae_jax.datasets.dataset import Split
from aae_jax.systems import Model, System
from aae_jax.train_state import TrainState
from aae_jax.types import Apply, Array, Batch, Function, Keys

Measure = Callable[[Model, Apply, Batch, Keys], Array]
"""Of examples, images and labels: `(model, apply, batch, rng) -> [B]`."""


def classification_error(
  model: Model, apply: Apply, batch: Batch, rng: Keys
) -> Array:
  """100 for each wrongly classified example and 0 for the others, [B]."""
  del rng
  predicted = jnp.argmax(model.classify(apply, batch, None), axis=-1)
  return 100.0 * (predicted != batch['label'])


def reconstruction_error(
  model: Model, apply: Apply, batch: Batch, rng: Keys
) -> Array:
  """The squared error summed over the pixels of each example, [B].

  A decoder that is told the label is told the true one.
  """
  del rng
  image = model.reconstruct(apply, batch, None)
  return 2 * losses.squared_error(image, batch['image'])


def log_likelihood(
  model: Model, apply: Apply, batch: Batch, rng: Keys
) -> Array:
  """log p(x|z) at a draw of the posterior, [B], in nats."""
  return model.bound(apply, batch, rng)[0]


def divergence(model: Model, apply: Apply, batch: Batch, rng: Keys) -> Array:
  """KL(q(z|x) || p(z)) in closed form or at a draw, [B], in nats."""
  return model.bound(apply, batch, rng)[1]


def elbo(model: Model, apply: Apply, batch: Batch, rng: Keys) -> Array:
  """The evidence lower bound, `log_likelihood` less `divergence`, [B]."""
  likelihood, rate = model.bound(apply, batch, rng)
  return likelihood - rate


def region_share(model: Model, apply: Apply, batch: Batch, rng: Keys) -> Array:
  """100 for each code in its label's part of the prior, else 0, [B]."""
  del rng
  code = {'code': model.encode(apply, batch, None)}
  return 100.0 * (model.region(apply, code, None) == batch['label'])


def measures(model: Model, labels: bool) -> Mapping[str, Measure]:
  """The measures of an example that the functions of a model allow."""
  allowed = {
    classification_error: model.classify and labels,
    reconstruction_error: model.reconstruct,
    elbo: model.bound,
    log_likelihood: model.bound,
    divergence: model.bound,
    region_share: model.encode and model.region and labels,
  }
  return {measure.__name__: measure for measure, yes in allowed.items() if yes}


class Evaluator:
  """Measures the states of a system; compiled once."""

  def __init__(self, system: System, labels: bool):
    """Args: the system, and whether the data has labels."""
    self._system = system
    self._measure = _all_of(measures(system.model, labels), system.model)

  def __call__(self, state: TrainState, split: Split) -> dict[str, np.ndarray]:
    """The mean of every measure over a split, [S] for each.

    Where the state holds averages they are what is measured, and the newest
    weights as `NAME_raw` beside them. A seed that is not sound has no number:
    all of its are NaN.
    """
    found = self._mean(trained.averaged(state), split)
    if state.ema:
      newest = self._mean(trained.newest(state), split)
      found |= {f'{name}_raw': mean for name, mean in newest.items()}
    # Without this a seed of NaN would have an error: their argmax is 0.
    sound = trained.sound_seeds(state)
    return {name: np.where(sound, mean, np.nan) for name, mean in found.items()}

  def _mean(
    self, weights: trained.Weights, split: Split
  ) -> dict[str, np.ndarray]:
    # The noise of an image is the same at every evaluation.
    found = trained.Trained(self._system, weights).run(
      self._measure, trained.rows(split), jax.random.key(0)
    )
    return {
      name: values.mean(axis=1, dtype=np.float64)
      for name, values in found.items()
    }


def _all_of(measures: Mapping[str, Measure], model: Model) -> Function:
  """All measures of each example, by name."""
  return lambda apply, batch, rng: {
    name: measure(model, apply, batch, rng)
    for name, measure in measures.items()
  }
