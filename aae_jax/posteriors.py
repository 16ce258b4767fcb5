"""From an encoder's outputs to distributions of codes."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from aae_jax import losses, randomness
from aae_jax.priors import Prior
from aae_jax.types import Array, Function, Keys

NUM_DRAWS = 16
"""Draws that the mean of a universal approximator is estimated from."""


class Distribution(Protocol):
  """q(code|image) of a batch; not every one has a density.

  Attributes:
    mean: [B, size].
  """

  mean: Array

  def draw(self, rng: Keys) -> Array:
    """A code of each example, [B, size]."""


class Deterministic(NamedTuple):
  """All of its mass at one place."""

  mean: Array

  def draw(self, rng: Keys) -> Array:
    """The place, [B, size]."""
    del rng
    return self.mean


class Gaussian(NamedTuple):
  """N(mean, diag(exp(log_variance))), both [B, size]."""

  mean: Array
  log_variance: Array

  def at(self, noise: Array) -> Array:
    """The code, [B, size], of standard normal noise, [B, size] or [size]."""
    return self.mean + jnp.exp(0.5 * self.log_variance) * noise

  def draw(self, rng: Keys) -> Array:
    """[B, size], with a gradient (reparameterized)."""
    return self.at(randomness.normal(rng, self.mean.shape[1:]))

  def log_prob(self, z: Array) -> Array:
    """log q(z), [B] in nats."""
    return losses.gaussian_log_density(z, self.mean, self.log_variance)

  def divergence(self, prior: Prior, z: Array) -> Array:
    """KL(q || prior), [B] in nats.

    Args:
      prior: in closed form if it is a Gaussian; any other has to have a
        density.
      z: [B, size] drawn from q, at which it is estimated otherwise.
    """
    if prior.std is not None:
      return losses.gaussian_divergence(self.mean, self.log_variance, prior.std)
    return self.log_prob(z) - prior.log_prob(z)


class Categorical(NamedTuple):
  """Probabilities of labels; what is drawn is the relaxed one-hot vector."""

  logits: Array

  @property
  def mean(self) -> Array:
    """The probabilities, [B, size]."""
    return jax.nn.softmax(self.logits)

  def draw(self, rng: Keys) -> Array:
    """The probabilities, [B, size]."""
    del rng
    return self.mean


class Posterior(NamedTuple):
  """q of one part of the code given the image.

  Attributes:
    head_size: entries of the encoder's output that it wants.
    distribution: makes it of that output [B, head_size].
    noise_size: entries of noise that the encoder takes beside the image.
  """

  head_size: int
  distribution: Callable[[Array], Distribution]
  noise_size: int = 0


def deterministic(size: int) -> Posterior:
  """The code is the encoder's output."""
  return Posterior(size, Deterministic)


def gaussian(size: int) -> Posterior:
  """N(mean, diag(variance)), both from the encoder."""
  return Posterior(
    2 * size, lambda head: Gaussian(*jnp.split(head, 2, axis=-1))
  )


def universal_approximator(size: int, noise_size: int = 10) -> Posterior:
  """Any distribution: the encoder maps image and noise to the code.

  Makhzani et al. (2015), section 2.
  """
  return Posterior(size, Deterministic, noise_size)


def categorical(size: int) -> Posterior:
  """Probabilities from logits."""
  return Posterior(size, Categorical)


POSTERIORS = {
  'deterministic': deterministic,
  'gaussian': gaussian,
  'universal_approximator': universal_approximator,
}


def head_sizes(**posteriors: Posterior) -> dict[str, int]:
  """The size of the encoder's output for each part of its code."""
  return {name: part.head_size for name, part in posteriors.items()}


def infer(network: str, **posteriors: Posterior) -> Function:
  """`(apply, batch, rng) -> {part: Distribution}` of images, by an encoder.

  That of a universal approximator is given its noise.

  Args:
    network: the encoder's name.
    **posteriors: of each part of the code.
  """
  noise_size = _noise_size(posteriors)

  def infer(apply, batch, rng):
    beside = ()
    if noise_size:
      noise_rng = randomness.named(rng, 'universal_approximator')
      beside = (randomness.normal(noise_rng, (noise_size,)),)
    outputs = apply(network, batch['image'], *beside, rng=rng)
    return _distributions(posteriors, outputs)

  return infer


def encode(network: str, **posteriors: Posterior) -> Function:
  """`(apply, batch, rng) -> {part: [B, size]}` of images, by an encoder.

  Without keys, the mean; a universal approximator's is that of `NUM_DRAWS`
  draws, the same noise for every image.

  Args:
    network: the encoder's name.
    **posteriors: of each part of the code.
  """
  infer_once, noise_size = infer(network, **posteriors), _noise_size(posteriors)

  def mean(apply, image, *beside):
    outputs = apply(network, image, *beside, rng=None)
    found = _distributions(posteriors, outputs)
    return {name: part.mean for name, part in found.items()}

  def encode(apply, batch, rng):
    if rng is not None:
      return {
        name: part.draw(randomness.named(rng, name))
        for name, part in infer_once(apply, batch, rng).items()
      }
    image = batch['image']
    if not noise_size:
      return mean(apply, image)
    draws = jax.random.normal(jax.random.key(0), (NUM_DRAWS, noise_size))
    codes = [
      mean(apply, image, jnp.broadcast_to(noise, (len(image), noise_size)))
      for noise in draws
    ]
    return jax.tree.map(lambda *parts: sum(parts) / NUM_DRAWS, *codes)

  return encode


def _noise_size(posteriors: Mapping[str, Posterior]) -> int:
  return sum(part.noise_size for part in posteriors.values())


def _distributions(
  posteriors: Mapping[str, Posterior], outputs: Mapping[str, Array]
) -> dict[str, Distribution]:
  return {
    name: part.distribution(outputs[name]) for name, part in posteriors.items()
  }
