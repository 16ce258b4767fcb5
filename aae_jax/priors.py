"""Distributions that a code is made to follow: they need only be sampled.

A builder returns a `Prior`: a function of keys [B] and of the batch that
returns samples [B, size].
"""

import jax
import jax.numpy as jnp

from aae_jax import randomness
from aae_jax.types import Prior


def gaussian(size: int, std: float = 1.0) -> Prior:
  """N(0, std^2 I) in `size` dimensions."""
  if std <= 0:
    raise ValueError(f'prior.std is {std}; expected a number above 0.')

  def sample(rng, batch):
    del batch
    return std * randomness.normal(rng, (size,))

  return sample


def gaussian_mixture(
    size: int,
    num_modes: int = 10,
    radius: float = 1.4,
    radial_std: float = 0.5,
    tangential_std: float = 0.1,
) -> Prior:
  """A mixture of equally likely 2-D Gaussians, set like petals on a circle.

  Mode k is centred at `radius` in the direction 2 pi k / num_modes; its
  standard deviation is `radial_std` in that direction and `tangential_std`
  across.

  Raises:
    ValueError: if `size` is not 2.
  """
  _require_plane('gaussian_mixture', size)

  def sample(rng, batch):
    del batch
    mode = randomness.integers(randomness.fold_in(rng, 0), num_modes)
    noise = randomness.normal(randomness.fold_in(rng, 1), (2,))
    angle = 2 * jnp.pi * mode / num_modes
    along = radius + radial_std * noise[:, 0]
    across = tangential_std * noise[:, 1]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack(
        [along * cos - across * sin, along * sin + across * cos], axis=-1
    )

  return sample


def swiss_roll(
    size: int, turns: float = 2.0, radius: float = 2.0, noise_std: float = 0.05
) -> Prior:
  """A 2-D spiral from the centre to `radius`, uniform along its length.

  The arc of an Archimedean spiral grows with the square of the angle, so the
  angle is the square root of a uniform variable.

  Raises:
    ValueError: if `size` is not 2.
  """
  _require_plane('swiss_roll', size)

  def sample(rng, batch):
    del batch
    along = randomness.uniform(randomness.fold_in(rng, 0))
    noise = randomness.normal(randomness.fold_in(rng, 1), (2,))
    fraction = jnp.sqrt(along)
    angle = 2 * jnp.pi * turns * fraction
    spiral = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
    return radius * fraction[:, None] * spiral + noise_std * noise

  return sample


def categorical(size: int) -> Prior:
  """A one-hot vector of `size` equally likely entries."""

  def sample(rng, batch):
    del batch
    return jax.nn.one_hot(randomness.integers(rng, size), size)

  return sample


def _require_plane(name: str, size: int) -> None:
  if size != 2:
    raise ValueError(
        f'prior {name!r} lies in the plane, but latent_size is {size}; '
        'expected latent_size=2.'
    )


PRIORS = {
    'gaussian': gaussian,
    'gaussian_mixture': gaussian_mixture,
    'swiss_roll': swiss_roll,
    'categorical': categorical,
}
