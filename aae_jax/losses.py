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


def bernoulli_log_likelihood(mean: Array, target: Array) -> Array:
  """log p of targets in [0, 1] under independent Bernoulli variables.

  For values between 0 and 1 the cross-entropy, as is usual for gray images.

  Args:
    mean: [B, ...] in [0, 1].
    target: [B, ...] in [0, 1].

  Returns:
    [B], in nats.
  """
  # float32 has no number between 1 and 1 - 6e-8.
  mean = jnp.clip(mean, 1e-7, 1 - 1e-7)
  axes = tuple(range(1, mean.ndim))
  return jnp.sum(
    target * jnp.log(mean) + (1 - target) * jnp.log1p(-mean), axis=axes
  )


def gaussian_log_density(
  x: Array, mean: Array = 0.0, log_variance: Array = 0.0
) -> Array:
  """log N(x; mean, diag(exp(log_variance))), summed over the last axis."""
  squared = jnp.square(x - mean) * jnp.exp(-log_variance)
  return -0.5 * jnp.sum(jnp.log(2 * jnp.pi) + log_variance + squared, axis=-1)


def gaussian_divergence(
  mean: Array, log_variance: Array, std: float = 1.0
) -> Array:
  """KL(N(mean, diag(exp(log_variance))) || N(0, std^2 I)).

  Kingma and Welling (2014), appendix B, for any standard deviation.

  Args:
    mean: [B, Z].
    log_variance: [B, Z].
    std: of the prior.

  Returns:
    [B], in nats.
  """
  ratio = (jnp.square(mean) + jnp.exp(log_variance)) / std**2
  log_ratio = log_variance - 2 * jnp.log(std)
  return 0.5 * jnp.sum(ratio - 1 - log_ratio, axis=-1)


def separation_penalty(heads: Array, threshold: float) -> Array:
  """How far the distances of heads fall short of a threshold, summed.

  Args:
    heads: [C, n].
    threshold: Euclidean distance from which on two heads are far enough.

  Returns:
    [], the sum over all pairs.
  """
  first, second = jnp.triu_indices(heads.shape[0], k=1)
  # Heads at one place have no direction to part in, and take the first axis.
  nudge = jnp.eye(1, heads.shape[1]) * 1e-6
  difference = heads[first] - heads[second] + nudge
  # The gradient of the square root is infinite at zero.
  distance = jnp.sqrt(jnp.sum(jnp.square(difference), axis=-1) + 1e-12)
  return jnp.sum(jnp.maximum(threshold - distance, 0.0))
