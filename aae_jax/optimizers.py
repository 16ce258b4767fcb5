"""Optimizers and schedules by name.

An optimizer here gives the update for a learning rate of one: the rate itself
lives in the train state, where a search can map over it.
"""

from collections.abc import Sequence
import math

import jax.numpy as jnp
import optax

from aae_jax import errors


def adam(
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
  weight_decay: float = 0.0,
  clip_norm: float = math.inf,
) -> optax.GradientTransformation:
  """Adam (Kingma and Ba, 2015), of gradients as `_changed` says."""
  return _changed(optax.adam(1.0, b1, b2, eps), weight_decay, clip_norm)


def sgd(
  momentum: float = 0.0,
  nesterov: bool = False,
  weight_decay: float = 0.0,
  clip_norm: float = math.inf,
) -> optax.GradientTransformation:
  """Stochastic gradient descent with momentum, of gradients like those."""
  return _changed(optax.sgd(1.0, momentum, nesterov), weight_decay, clip_norm)


def _changed(
  optimizer: optax.GradientTransformation,
  weight_decay: float,
  clip_norm: float,
) -> optax.GradientTransformation:
  """An optimizer that sees gradients clipped, with decay added to them.

  Args:
    optimizer: of the changed gradients.
    weight_decay: times the weights is added, the gradient of a Gaussian prior
      of variance 1 / (weight_decay * number of training examples).
    clip_norm: the largest Euclidean norm of the gradient of all that a phase
      trains; a longer one is shortened to it.

  Raises:
    InputError: either is out of its range.
  """
  if not 0 <= weight_decay < math.inf:
    raise errors.InputError(
      f'weight_decay is {weight_decay}; expected a finite number of at least 0.'
    )
  if not clip_norm > 0:
    raise errors.InputError(
      f'clip_norm is {clip_norm}; expected a number above 0.'
    )
  if weight_decay:
    decay = optax.add_decayed_weights(weight_decay)
    optimizer = optax.chain(decay, optimizer)
  if clip_norm < math.inf:
    optimizer = optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)
  return optimizer


def constant(total_steps: int, steps_per_epoch: int) -> optax.Schedule:
  """The rate as it is."""
  del total_steps, steps_per_epoch
  return optax.constant_schedule(1.0)


def linear(
  total_steps: int, steps_per_epoch: int, begin: float = 0.5
) -> optax.Schedule:
  """Constant, then straight to zero from the fraction `begin` of the run.

  Raises:
    InputError: `begin` is no fraction below 1.
  """
  del steps_per_epoch
  if not 0 <= begin < 1:
    raise errors.InputError(
      f'schedule.begin is {begin}; expected at least 0 and below 1, the '
      'fraction of the run after which the rate falls.'
    )
  first = int(begin * total_steps)
  return optax.linear_schedule(1.0, 0.0, total_steps - first, first)


def cosine(total_steps: int, steps_per_epoch: int) -> optax.Schedule:
  """Half a cosine from the whole rate to zero."""
  del steps_per_epoch
  return optax.cosine_decay_schedule(1.0, total_steps)


def exponential(
  total_steps: int, steps_per_epoch: int, factor: float = 0.9
) -> optax.Schedule:
  """Multiplied by `factor` in the course of every epoch.

  Raises:
    InputError: the factor is not positive.
  """
  del total_steps
  _require_factor(factor)
  return optax.exponential_decay(1.0, steps_per_epoch, factor)


def steps(
  total_steps: int,
  steps_per_epoch: int,
  epochs: Sequence[int] = (50, 1000),
  factor: float = 0.1,
) -> optax.Schedule:
  """Multiplied by `factor` after each of the given `epochs`.

  Raises:
    InputError: an epoch is none, or the factor is not positive.
  """
  del total_steps
  if not all(isinstance(epoch, int) and epoch > 0 for epoch in epochs):
    raise errors.InputError(
      f'schedule.epochs is {epochs}; expected whole numbers above 0, such as '
      '(50, 1000).'
    )
  _require_factor(factor)
  return optax.piecewise_constant_schedule(
    1.0, {epoch * steps_per_epoch: factor for epoch in epochs}
  )


def _require_factor(factor: float) -> None:
  if not factor > 0:
    raise errors.InputError(
      f'schedule.factor is {factor}; expected a number above 0.'
    )


def scheduled(
  optimizer: optax.GradientTransformation, schedule: optax.Schedule
) -> optax.GradientTransformation:
  """An optimizer whose updates are scaled by a schedule of the step."""
  return optax.chain(
    optimizer,
    optax.scale_by_schedule(lambda step: jnp.float32(schedule(step))),
  )


OPTIMIZERS = {'adam': adam, 'sgd': sgd}
SCHEDULES = {
  'constant': constant,
  'linear': linear,
  'cosine': cosine,
  'exponential': exponential,
  'steps': steps,
}
