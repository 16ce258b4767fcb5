"""Losses and log-likelihoods of each example, in nats: what optax lacks."""

from collections.abc import Callable
from typing import NamedTuple

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import optax

from aae_jax.types import AXIS, Array


def batch_mean(x: Array) -> Array:
  """The mean over the global batch: of [B, ...] on every device, [...].

  For what a loss does with a mean that is no mean of losses; such a loss is
  then the same on all devices.
  """
  return lax.pmean(jnp.mean(x, axis=0), AXIS)


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
  return 0.5 * _sum(jnp.square(prediction - target))


def bernoulli_log_likelihood(logit: Array, target: Array) -> Array:
  """log p of targets in [0, 1] under independent Bernoulli variables.

  For values between 0 and 1 the negative cross-entropy, as is usual for gray
  images. On logits, so that no gradient is lost where the mean rounds to 0 or
  1.

  Args:
    logit: of the mean, [B, ...].
    target: [B, ...] in [0, 1].

  Returns:
    [B], in nats.
  """
  return -_sum(optax.sigmoid_binary_cross_entropy(logit, target))


def gaussian_log_likelihood(mean: Array, target: Array) -> Array:
  """log p of targets under Gaussians of unit variance, [B] in nats.

  Args:
    mean: [B, ...].
    target: [B, ...].
  """
  constant = 0.5 * np.log(2 * np.pi) * mean[0].size
  return -squared_error(mean, target) - constant


class Likelihood(NamedTuple):
  """p(x|z) given what a decoder puts out.

  Attributes:
    mean: `output [B, ...] -> [B, ...]`, the mean of an image.
    log_prob: `(output [B, ...], image [B, ...]) -> [B]`, in nats.
  """

  mean: Callable[[Array], Array]
  log_prob: Callable[[Array, Array], Array]


LIKELIHOODS = {
  'sigmoid': Likelihood(nn.sigmoid, bernoulli_log_likelihood),
  'linear': Likelihood(lambda output: output, gaussian_log_likelihood),
}
"""By the name of a decoder's output."""


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


def entropy(probability: Array) -> Array:
  """Of distributions [..., n], [...] in nats."""
  # Its slope is infinite at 0, where a softmax has none: NaN in a gradient.
  bounded = jnp.maximum(probability, jnp.finfo(probability.dtype).tiny)
  return -jnp.sum(probability * jnp.log(bounded), axis=-1)


def most_sensitive_direction(
  logits: Callable[[Array], Array],
  x: Array,
  start: Array,
  difference: float | None = None,
) -> tuple[Array, Array]:
  """In which direction the softmax of logits changes fastest with each input.

  One step of power iteration on the Hessian of KL(p(x) || p(x + r)) at r = 0,
  the dominant eigenvector of which it is (Miyato et al., 2016, section 3.3).
  That is the Fisher matrix J' (diag(p) - p p') J, so the step can be exact. The
  gradient of the divergence at a small r, which Miyato et al. take, is zero but
  for the difference from r = 0, which in float32 has few digits, or none.

  Args:
    logits: [B, ...] to [B, n].
    x: [B, ...].
    start: [B, ...], random.
    difference: the length of r, in the direction of `start`, at which the
      gradient is taken; the exact step if None.

  Returns:
    The logits of x, and the direction [B, ...], of length 1; or 0 where nothing
    changes the softmax.
  """
  if difference is not None:
    logit = logits(x)
    p = jax.nn.softmax(logit)

    def divergence(move):
      moved = jax.nn.log_softmax(logits(x + move))
      return jnp.sum(optax.kl_divergence(moved, p))

    return logit, _unit(jax.grad(divergence)(difference * _unit(start)))
  logit, forward = jax.linearize(logits, x)
  backward = jax.linear_transpose(forward, x)
  p = jax.nn.softmax(logit)
  change = p * forward(start)
  change -= p * jnp.sum(change, axis=-1, keepdims=True)
  return logit, _unit(backward(change)[0])


def _unit(x: Array) -> Array:
  """x [B, ...] over its length; 0 stays 0."""
  axes = tuple(range(1, x.ndim))
  # First by the largest entry, whose square may be too small for a float32.
  largest = jnp.max(jnp.abs(x), axis=axes, keepdims=True)
  x = x / jnp.where(largest > 0, largest, 1.0)
  length = jnp.sqrt(jnp.sum(jnp.square(x), axis=axes, keepdims=True))
  # At least 1, unless it is 0.
  return x / jnp.maximum(length, 1.0)


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


def _sum(x: jax.Array) -> jax.Array:
  """Over all axes but the first."""
  return jnp.sum(x, axis=tuple(range(1, x.ndim)))
