"""Images shifted, turned and scaled at random, or drawn pixel by pixel."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from aae_jax import randomness
from aae_jax.types import Array, Keys


def binarize(image: Array, rng: Keys) -> Array:
  """Draws each pixel: 1 with its value as the probability, else 0.

  Args:
    image: [B, H, W, C] in [0, 1].
    rng: keys [B].

  Returns:
    [B, H, W, C].
  """
  level = randomness.uniform(randomness.named(rng, 'pixels'), image.shape[1:])
  return jnp.where(level < image, 1.0, 0.0)


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """How far images are changed; each amount is uniform, from minus to plus it.

  Attributes:
    shift: in pixels, down and to the right, at least 0.
    turn: in degrees, in [0, 180].
    scale: what is added to the factor 1, in [0, 1).
    colour: what is added to each entry of the identity matrix that maps the
      channels, about their means, in [0, 1].
  """

  shift: float = 0.0
  turn: float = 0.0
  scale: float = 0.0
  colour: float = 0.0

  def __call__(self, image: Array, rng: Keys) -> Array:
    """Changes each image [B, H, W, C] by its own key: [B, H, W, C]."""
    if self == Augmentation():
      return image
    if self.colour:
      image = mix(image, self.colour, randomness.named(rng, 'colour'))
    if self == Augmentation(colour=self.colour):
      return image
    keys = randomness.named(rng, 'augmentation')
    down, right, turn, scale = 2 * randomness.uniform(keys, (4,)).T - 1
    return warp(
      image,
      shift=self.shift * jnp.stack([down, right], axis=-1),
      turn=jnp.deg2rad(self.turn) * turn,
      factor=1 + self.scale * scale,
    )


def mix(image: Array, amount: float, rng: Keys) -> Array:
  """Maps channels by a matrix of each image's own; their means stay.

  Light, contrast, saturation and hue are changed in one.

  Args:
    image: [B, H, W, C].
    amount: by which the matrix differs from the identity, at most.
    rng: keys [B].

  Returns:
    [B, H, W, C].
  """
  channels = image.shape[-1]
  level = 2 * randomness.uniform(rng, (channels, channels)) - 1
  matrix = jnp.eye(channels) + amount * level
  mean = jnp.mean(image, axis=(1, 2), keepdims=True)
  return mean + jnp.einsum('bhwc,bcd->bhwd', image - mean, matrix)


def warp(image: Array, shift: Array, turn: Array, factor: Array) -> Array:
  """Scales and turns images about their middle, and then shifts them.

  Bilinear between pixels, 0 outside of the image; linear in the image, through
  which there is a gradient.

  Args:
    image: [B, H, W, C].
    shift: [B, 2], in pixels, down and to the right.
    turn: [B], in radians, anticlockwise.
    factor: [B], above 0; what is above 1 makes larger.

  Returns:
    [B, H, W, C].
  """

  def warp_one(image, shift, turn, factor):
    height, width, _ = image.shape
    down, right = (height - 1) / 2, (width - 1) / 2
    # Where each pixel comes from: all is undone, in reverse order.
    y, x = jnp.indices((height, width))
    y, x = y - shift[0] - down, x - shift[1] - right
    cos, sin = jnp.cos(turn) / factor, jnp.sin(turn) / factor
    source = [cos * y + sin * x + down, cos * x - sin * y + right]
    interpolate = functools.partial(
      map_coordinates, coordinates=source, order=1, mode='constant'
    )
    return jax.vmap(interpolate, -1, -1)(image)

  return jax.vmap(warp_one)(image, shift, turn, factor)
