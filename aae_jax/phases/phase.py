"""What a phase is, and what can be made of phases."""

from collections.abc import Callable, Mapping
import dataclasses
import itertools

import jax.numpy as jnp
import optax

from aae_jax.types import Array, Code, Keys, LossFn


@dataclasses.dataclass(frozen=True)
class Panel:
  """Metrics of a phase that are read together, on one axis.

  Attributes:
    title: what they are.
    unit: of the values.
    curves: the metric of each curve, by its name in the legend.
    factor: from the metrics to the unit.
    equilibrium: where adversaries are at rest, and its name.
    limits: of the values, where they are known.
  """

  title: str
  unit: str
  curves: Mapping[str, str]
  factor: float = 1.0
  equilibrium: tuple[float, str] | None = None
  limits: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Phase:
  """What a loss trains.

  Attributes:
    name: of the phase; its metrics are `name/metric`.
    trains: names of the networks that it updates; no other is changed.
    loss_fn: `(apply, batch, rng, hyper) -> (loss [], metrics)`.
    hyperparams: `learning_rate` and the weights in the loss, by name. They
      live in the state as arrays, and reach the loss as `hyper`.
    optimizer: gives the update for a learning rate of one.
    noise: the name that its random numbers go by, `name` if None. Phases of one
      such name draw the same.
    panels: how its metrics are drawn; the loss alone if None.
  """

  name: str
  trains: tuple[str, ...]
  loss_fn: LossFn
  hyperparams: Mapping[str, float] = dataclasses.field(
    default_factory=lambda: {'learning_rate': 1e-3}
  )
  optimizer: optax.GradientTransformation = dataclasses.field(
    default_factory=lambda: optax.adam(1.0)
  )
  noise: str | None = None
  panels: tuple[Panel, ...] | None = None


def together(*phases: Phase) -> Phase:
  """One phase whose loss is the sum of theirs.

  A phase of its own with Adam takes steps of full size however small its
  weight; in one sum the weights of losses count. Name, optimizer and noise are
  those of the first; the losses of the others are metrics by their names.

  Raises:
    ValueError: two of them have a weight of the same name.
  """
  first, *others = phases
  hyperparams = dict(first.hyperparams)
  for phase in others:
    own = phase.hyperparams.keys() - {'learning_rate'}
    if own & hyperparams.keys():
      raise ValueError(f'{sorted(own & hyperparams.keys())} of two phases')
    hyperparams |= {name: phase.hyperparams[name] for name in own}

  def loss_fn(apply, batch, rng, hyper):
    total, metrics = first.loss_fn(apply, batch, rng, hyper)
    for phase in others:
      loss, found = phase.loss_fn(apply, batch, rng, hyper)
      total, metrics = total + loss, {**metrics, **found, phase.name: loss}
    return total, metrics

  trains = dict.fromkeys(name for phase in phases for name in phase.trains)
  return dataclasses.replace(
    first, trains=tuple(trains), loss_fn=loss_fn, hyperparams=hyperparams
  )


def seeing(make: Callable[[Array, Keys], Array], phase: Phase) -> Phase:
  """The phase that sees made images in place of those of the data set.

  Whatever its loss does with an image, it does with the same one: what the
  encoder sees, what the decoder should make.

  Args:
    make: of images [B, H, W, C] and keys [B] those that are seen.
    phase: as it is without.
  """

  def loss_fn(apply, batch, rng, hyper):
    images = {name: make(batch[name], rng[name]) for name in rng}
    return phase.loss_fn(apply, {**batch, **images}, rng, hyper)

  return dataclasses.replace(phase, loss_fn=loss_fn)


def join(code: Code) -> Array:
  """The parts of a code side by side, in the order of their names."""
  return jnp.concatenate([code[name] for name in sorted(code)], axis=-1)


def split(joined: Array, sizes: Mapping[str, int]) -> Code:
  """The parts of a code that are side by side, [..., n].

  Args:
    joined: the parts, in the order of `sizes`.
    sizes: of the parts, by name.
  """
  ends = itertools.accumulate(sizes.values())
  return {
    name: joined[..., end - size : end]
    for (name, size), end in zip(sizes.items(), ends, strict=True)
  }
