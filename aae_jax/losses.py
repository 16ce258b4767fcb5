"""Losses of each example, in nats: those that optax lacks."""

import jax.numpy as jnp

from aae_jax.types import Array


def squared_error(prediction: Array, target: Array) -> Array:
  """Half the squared error, summed over all axes but the first.

  The negative log-likelihood of a Gaussian of unit variance, up to a constant.
  The sum, not the mean, is what the learning rates of Makhzani et al. (2015)
  go with.

  Args:
    prediction: [B, ...].
    target: [B, ...].

  Returns:
    [B], in nats.
  """
  axes = tuple(range(1, prediction.ndim))
  return 0.5 * jnp.sum(jnp.square(prediction - target), axis=axes)
