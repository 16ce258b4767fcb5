"""From an encoder's outputs to codes."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from aae_jax import randomness
from aae_jax.types import Apply, Array, Encode, Keys

NUM_DRAWS = 16
"""Draws that the mean of a universal approximator is estimated from."""


class Posterior(NamedTuple):
  """q of one part of the code given the image.

  Attributes:
    head_size: entries of the encoder's output that it wants.
    code: maps that output [B, head_size] and keys [B], or None for the mean,
      to the code [B, size].
    noise_size: entries of noise that the encoder takes beside the image.
  """

  head_size: int
  code: Callable[[Array, Keys | None], Array]
  noise_size: int = 0


def deterministic(size: int) -> Posterior:
  """The code is the encoder's output."""
  return Posterior(size, lambda head, rng: head)


def gaussian(size: int) -> Posterior:
  """N(mean, diag(variance)), both from the encoder (reparameterized)."""

  def code(head, rng):
    mean, log_variance = moments(head)
    if rng is None:
      return mean
    noise = randomness.normal(rng, mean.shape[1:])
    return mean + jnp.exp(0.5 * log_variance) * noise

  return Posterior(2 * size, code)


def universal_approximator(size: int, noise_size: int = 10) -> Posterior:
  """Any distribution: the encoder maps image and noise to the code.

  Makhzani et al. (2015), section 2.
  """
  return Posterior(size, lambda head, rng: head, noise_size)


def categorical(size: int) -> Posterior:
  """Probabilities from logits: a relaxed one-hot vector."""
  return Posterior(size, lambda head, rng: jax.nn.softmax(head))


def moments(head: Array) -> tuple[Array, Array]:
  """Mean and log-variance, each [B, size], of `gaussian`'s [B, 2 size]."""
  mean, log_variance = jnp.split(head, 2, axis=-1)
  return mean, log_variance


def heads(
  apply: Apply, image: Array, rng: Keys | None, noise_size: int = 0
) -> dict[str, Array]:
  """The encoder's outputs by name, [B, .]; with noise if it takes any."""
  if not noise_size:
    return apply('encoder', image, rng=rng)
  noise = randomness.normal(randomness.fold_in(rng, 1), (noise_size,))
  return apply('encoder', image, noise, rng=rng)


def encode(**posteriors: Posterior) -> Encode:
  """An encoder with a posterior for each part of its code."""
  noise_size = sum(part.noise_size for part in posteriors.values())

  def code(outputs, rng):
    keys = None if rng is None else randomness.fold_in(rng, 0)
    return {
      name: posterior.code(outputs[name], keys)
      for name, posterior in posteriors.items()
    }

  def encode(apply, image, rng):
    if rng is not None or not noise_size:
      return code(heads(apply, image, rng, noise_size), rng)
    shape = (NUM_DRAWS, image.shape[0], noise_size)
    draws = [
      code(apply('encoder', image, noise, rng=None), None)
      for noise in jax.random.normal(jax.random.key(0), shape)
    ]
    return jax.tree.map(lambda *parts: sum(parts) / NUM_DRAWS, *draws)

  return encode


def head_sizes(**posteriors: Posterior) -> dict[str, int]:
  """The size of the encoder's output for each part of its code."""
  return {name: part.head_size for name, part in posteriors.items()}


POSTERIORS = {
  'deterministic': deterministic,
  'gaussian': gaussian,
  'universal_approximator': universal_approximator,
}
