"""From an encoder's outputs to codes.

A posterior maps an encoder's head and keys [B], or None for its mean, to a
part of the code.
"""

from collections.abc import Callable

import jax

from aae_jax.types import Array, Encode, Keys

Posterior = Callable[[Array, Keys | None], Array]


def deterministic(head: Array, rng: Keys | None) -> Array:
  """The code is the encoder's output, [B, size]."""
  del rng
  return head


def categorical(head: Array, rng: Keys | None) -> Array:
  """Probabilities [B, size] from logits: a relaxed one-hot vector."""
  del rng
  return jax.nn.softmax(head)


def encode(**posteriors: Posterior) -> Encode:
  """An encoder with a posterior for each part of its code."""

  def encode(apply, image, rng):
    heads = apply('encoder', image, rng=rng)
    return {
        name: posterior(heads[name], rng)
        for name, posterior in posteriors.items()
    }

  return encode
