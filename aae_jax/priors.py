"""Distributions that a code is made to follow.

A builder returns a `Prior`. It need only be sampled; the few densities here are
for the variational autoencoder.
"""

from collections.abc import Callable, Sequence
import dataclasses

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from aae_jax import errors, losses, randomness
from aae_jax.types import AXIS, Array, Batch, Keys


@dataclasses.dataclass(frozen=True)
class Prior:
  """A distribution of codes.

  Attributes:
    draw: `(keys [B], batch) -> [B, size]`; a prior that is conditional on the
      label reads `label` and `is_labelled` of the batch.
    log_prob: `z [B, size] -> log p(z) [B]`, in nats.
    std: of N(0, std^2 I), if it is that: what a divergence in closed form
      needs.
    region: `z [B, size] -> int [B]`, the label whose place a code is in; of a
      prior that is conditional on the label.
  """

  draw: Callable[[Keys, Batch], Array]
  log_prob: Callable[[Array], Array] | None = None
  std: float | None = None
  region: Callable[[Array], Array] | None = None


def gaussian(size: int, std: float = 1.0) -> Prior:
  """N(0, std^2 I) in `size` dimensions."""
  _require_positive(std=std)
  return Prior(
    draw=lambda rng, batch: std * randomness.normal(rng, (size,)),
    log_prob=lambda z: losses.gaussian_log_density(z, 0.0, 2 * np.log(std)),
    std=std,
  )


def uniform(size: int) -> Prior:
  """Uniform on [0, 1) in `size` dimensions."""

  def log_prob(z):
    inside = jnp.all((z >= 0) & (z < 1), axis=-1)
    return jnp.where(inside, 0.0, -jnp.inf)

  return Prior(lambda rng, batch: randomness.uniform(rng, (size,)), log_prob)


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
    InputError: `size` is not 2, or a scale is not positive.
  """
  _require_plane('gaussian_mixture', size)
  petals = _Petals(num_modes, radius, radial_std, tangential_std)

  def draw(rng, batch):
    del batch
    mode = randomness.integers(randomness.named(rng, 'mode'), num_modes)
    return petals.draw(randomness.named(rng, 'place'), mode)

  def log_prob(z):
    modes = petals.log_probs(z)
    return jax.nn.logsumexp(modes, axis=-1) - np.log(num_modes)

  return Prior(draw, log_prob)


def label_gaussian_mixture(
  size: int,
  num_classes: int,
  radius: float = 1.4,
  radial_std: float = 0.5,
  tangential_std: float = 0.1,
) -> Prior:
  """`gaussian_mixture` where a labelled example has its label's mode."""
  _require_plane('gaussian_mixture', size)
  petals = _Petals(num_classes, radius, radial_std, tangential_std)

  def draw(rng, batch):
    any_mode = randomness.integers(randomness.named(rng, 'mode'), num_classes)
    mode = jnp.where(batch['is_labelled'], batch['label'], any_mode)
    return petals.draw(randomness.named(rng, 'place'), mode)

  return Prior(draw, region=lambda z: jnp.argmax(petals.log_probs(z), axis=-1))


def swiss_roll(
  size: int, turns: float = 2.0, radius: float = 2.0, noise_std: float = 0.05
) -> Prior:
  """A 2-D spiral from the centre to `radius`, uniform along its length.

  Raises:
    InputError: `size` is not 2, or a scale is not positive.
  """
  _require_plane('swiss_roll', size)
  spiral = _Spiral(turns, radius, noise_std)

  def draw(rng, batch):
    del batch
    along = randomness.uniform(randomness.named(rng, 'along'))
    return spiral.draw(randomness.named(rng, 'place'), along)

  return Prior(draw)


def label_swiss_roll(
  size: int,
  num_classes: int,
  turns: float = 2.0,
  radius: float = 2.0,
  noise_std: float = 0.05,
) -> Prior:
  """`swiss_roll` where a labelled example has its label's stretch of it."""
  _require_plane('swiss_roll', size)
  spiral = _Spiral(turns, radius, noise_std)

  def draw(rng, batch):
    along = randomness.uniform(randomness.named(rng, 'along'))
    stretch = (batch['label'] + along) / num_classes
    along = jnp.where(batch['is_labelled'], stretch, along)
    return spiral.draw(randomness.named(rng, 'place'), along)

  def region(z):
    # A hundred points for each stretch are closer than the noise is wide.
    along = (jnp.arange(100 * num_classes) + 0.5) / (100 * num_classes)
    distance = jnp.square(z[:, None] - spiral.points(along)).sum(axis=-1)
    return jnp.argmin(distance, axis=-1) // 100

  return Prior(draw, region=region)


def categorical(
  size: int,
  frequencies: Sequence[float] | None = None,
  balanced: bool = False,
) -> Prior:
  """A one-hot vector of `size` entries.

  Args:
    size: how many there are.
    frequencies: of the entries, in sum 1; equal if None.
    balanced: whether every batch of a training has each entry as often as its
      frequency says, to within one, in place of independent draws. Outside of
      a training, where a batch has no `position`, draws are independent.

  Raises:
    InputError: the frequencies are none, or not so many.
  """
  if frequencies is None:
    frequencies = np.full(size, 1 / size)
  _check_frequencies(frequencies, size)
  share = np.asarray(frequencies, np.float32)
  # The last bound is left out, so that rounding adds no entry.
  bounds = np.cumsum(frequencies, dtype=np.float64)[:-1].astype(np.float32)

  def draw(rng, batch):
    level = randomness.uniform(rng)
    if balanced and 'position' in batch:
      # Stratified: one draw from each of equally likely intervals.
      batch_size = len(level) * lax.axis_size(AXIS)
      level = (batch['position'] + level) / batch_size
    index = jnp.searchsorted(bounds, level, side='right', method='compare_all')
    return jax.nn.one_hot(index, size)

  # Of a mixture of labels, the mean of theirs.
  log_prob = lambda y: jnp.sum(jax.scipy.special.xlogy(y, share), axis=-1)
  return Prior(draw, log_prob)


@dataclasses.dataclass(frozen=True)
class _Petals:
  """2-D Gaussians on a circle."""

  num_modes: int
  radius: float
  radial_std: float
  tangential_std: float

  def __post_init__(self) -> None:
    _require_positive(
      num_modes=self.num_modes,
      radial_std=self.radial_std,
      tangential_std=self.tangential_std,
    )

  def draw(self, rng: Keys, mode: Array) -> Array:
    """A point of each example's mode, [B, 2]."""
    noise = randomness.normal(rng, (2,))
    angle = 2 * jnp.pi * mode / self.num_modes
    along = self.radius + self.radial_std * noise[:, 0]
    across = self.tangential_std * noise[:, 1]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack(
      [along * cos - across * sin, along * sin + across * cos], axis=-1
    )

  def log_probs(self, z: Array) -> Array:
    """The log-density of each mode, [B, num_modes]."""
    angle = 2 * jnp.pi * jnp.arange(self.num_modes) / self.num_modes
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    along = z[:, :1] * cos + z[:, 1:] * sin
    across = z[:, 1:] * cos - z[:, :1] * sin
    return losses.gaussian_log_density(
      jnp.stack([along - self.radius, across], axis=-1),
      0.0,
      2 * jnp.log(jnp.array([self.radial_std, self.tangential_std])),
    )


@dataclasses.dataclass(frozen=True)
class _Spiral:
  """An Archimedean spiral from the centre, with noise."""

  turns: float
  radius: float
  noise_std: float

  def __post_init__(self) -> None:
    _require_positive(turns=self.turns, radius=self.radius)

  def points(self, along: Array) -> Array:
    """Points at the share `along` [B] of its length, [B, 2].

    The length grows with the square of the angle.
    """
    share = jnp.sqrt(along)
    angle = 2 * jnp.pi * self.turns * share
    direction = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
    return self.radius * share[:, None] * direction

  def draw(self, rng: Keys, along: Array) -> Array:
    """Points beside those of `points`, [B, 2]."""
    noise = randomness.normal(rng, (2,))
    return self.points(along) + self.noise_std * noise


def _require_plane(name: str, size: int) -> None:
  if size != 2:
    raise errors.InputError(
      f'prior {name!r} lies in the plane, but latent_size is {size}; '
      'expected latent_size=2.'
    )


def _require_positive(**values: float) -> None:
  for name, value in values.items():
    if value <= 0:
      raise errors.InputError(
        f'prior.{name} is {value}; expected a number above 0.'
      )


def _check_frequencies(frequencies: Sequence[float], size: int) -> None:
  values = np.asarray(frequencies, np.float64)
  is_right = (
    values.shape == (size,)
    and np.all(values >= 0)
    and np.isclose(values.sum(), 1, atol=1e-3)
  )
  if not is_right:
    raise errors.InputError(
      f'prior_y.frequencies is {tuple(frequencies)}; expected {size} numbers '
      'of at least 0 that sum to 1.'
    )


PRIORS = {
  'gaussian': gaussian,
  'uniform': uniform,
  'gaussian_mixture': gaussian_mixture,
  'swiss_roll': swiss_roll,
  'categorical': categorical,
}
LABEL_PRIORS = {
  'gaussian_mixture': label_gaussian_mixture,
  'swiss_roll': label_swiss_roll,
}
