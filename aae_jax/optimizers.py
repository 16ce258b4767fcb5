"""Optimizers and schedules by name.

An optimizer here gives the update for a learning rate of one: the rate itself
lives in the train state, where a search can map over it.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import optax

from aae_jax import errors


def adam(
  b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
  """Adam (Kingma and Ba, 2015)."""
  return optax.adam(1.0, b1, b2, eps)


def sgd(
  momentum: float = 0.0, nesterov: bool = False
) -> optax.GradientTransformation:
  """Stochastic gradient descent with momentum."""
  return optax.sgd(1.0, momentum, nesterov)


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
  if not factor > 0:
    raise errors.InputError(
      f'schedule.factor is {factor}; expected a number above 0.'
    )
  return optax.piecewise_constant_schedule(
    1.0, {epoch * steps_per_epoch: factor for epoch in epochs}
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
  'steps': steps,
}
