"""Encoder, decoder and discriminator as flax modules, and their trunks.

Every module takes `rng`, keys [B], for its noise, and `train`: whether to add
noise and to normalize with the batch's own statistics.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import math

from flax import linen as nn
import jax.numpy as jnp

from aae_jax import errors, randomness
from aae_jax.types import AXIS, Array, Keys

ACTIVATIONS = {'relu': nn.relu, 'leaky_relu': nn.leaky_relu}
INITIALIZERS = {
  'he': nn.initializers.he_normal(),
  'normal': nn.initializers.normal(0.01),
}
OUTPUTS = {'sigmoid': nn.sigmoid, 'linear': lambda x: x}


class Perceptron(nn.Module):
  """Fully connected hidden layers.

  Attributes:
    hidden: the sizes of the layers.
    activation: a key of `ACTIVATIONS`.
    initializer: of the weights, a key of `INITIALIZERS`.
    batch_norm: whether to normalize before the activation.
    noise: standard deviation of Gaussian noise before the activation.
  """

  hidden: Sequence[int]
  activation: str = 'relu'
  initializer: str = 'he'
  batch_norm: bool = False
  noise: float = 0.0

  @nn.compact
  def __call__(
    self,
    x: Array,
    rng: Keys | None,
    train: bool,
    beside: Array | None = None,
  ) -> Array:
    """Maps [B, ...], flattened, with `beside` [B, n] to [B, hidden[-1]]."""
    return _dense_layers(self, x, rng, train, beside)


class Convolutional(nn.Module):
  """Strided convolutions, which halve an image, and dense layers after them.

  Attributes:
    hidden: the sizes of the dense layers.
    channels: of the convolutions.
    activation: and what follows, as of `Perceptron`; for all layers.
  """

  hidden: Sequence[int]
  channels: Sequence[int] = (32, 64, 128)
  activation: str = 'relu'
  initializer: str = 'he'
  batch_norm: bool = False
  noise: float = 0.0

  @nn.compact
  def __call__(
    self,
    x: Array,
    rng: Keys | None,
    train: bool,
    beside: Array | None = None,
  ) -> Array:
    """Maps images [B, H, W, C] to [B, hidden[-1]].

    The dense layers see `beside` [B, n] too.

    Raises:
      InputError: x are no images.
    """
    if x.ndim != 4:
      raise errors.InputError(
        "network 'convolutional' sees images [B, H, W, C], but its input has "
        f"the shape {list(x.shape)}; expected 'perceptron' for it."
      )
    for place, size in enumerate(self.channels):
      x = _dense(self, size)(_neighbourhoods(x, stride=2))
      x = _activate(self, x, rng, train, place)
    return _dense_layers(self, x, rng, train, beside, len(self.channels))


class Deconvolutional(nn.Module):
  """Dense layers, and convolutions after them that each double the grid.

  Attributes:
    image_shape: [H, W, C], of any size.
    hidden: the sizes of the dense layers.
    channels: of the grids from the largest, half as large as the image, to the
      smallest: those of the `Convolutional` that it is the mirror of.
    activation: and what follows, as of `Perceptron`; for all layers.
  """

  image_shape: tuple[int, int, int]
  hidden: Sequence[int]
  channels: Sequence[int] = (32, 64, 128)
  activation: str = 'relu'
  initializer: str = 'he'
  batch_norm: bool = False
  noise: float = 0.0

  @nn.compact
  def __call__(self, x: Array, rng: Keys | None, train: bool) -> Array:
    """Maps codes [B, Z] to what each cell of the largest grid sees.

    That is its neighbourhood [B, H / 2, W / 2, 9 channels[0]], rounded up: a
    linear map of it completes the last convolution.
    """
    x = _dense_layers(self, x, rng, train)[:, None, None]
    for place in reversed(range(len(self.channels))):
      height, width = (
        -(-side // 2 ** (place + 1)) for side in self.image_shape[:2]
      )
      shape = (height, width, self.channels[place])
      x = _tiles(functools.partial(_dense, self), x, shape)
      x = _activate(self, x, rng, train, len(self.hidden) + place)
      x = _neighbourhoods(x, stride=1)
    return x


TRUNKS = {'perceptron': Perceptron, 'convolutional': Convolutional}
"""Of encoders and discriminators."""


def decoder_trunks(
  image_shape: tuple[int, int, int],
) -> Mapping[str, Callable[..., nn.Module]]:
  """The trunks of a decoder of images [H, W, C]."""
  return {
    'perceptron': Perceptron,
    'convolutional': functools.partial(Deconvolutional, image_shape),
  }


class Encoder(nn.Module):
  """q(z|x): a trunk with a linear head for each part of the code.

  Attributes:
    trunk: the hidden layers.
    heads: the size of each output by its name.
    input_noise: standard deviation of Gaussian noise on the image.
    input_dropout: the share of the image's values that are set to zero.
  """

  trunk: nn.Module
  heads: Mapping[str, int]
  input_noise: float = 0.0
  input_dropout: float = 0.0

  @nn.compact
  def __call__(
    self,
    image: Array,
    noise: Array | None = None,
    *,
    rng: Keys | None = None,
    train: bool = False,
  ) -> dict[str, Array]:
    """Maps images [B, H, W, C] in [0, 1] to {head: [B, size]}.

    `noise` [B, size] is a universal approximator's: the first dense layer sees
    it beside the image.
    """
    x = image
    if train:
      x = drop_out(x, rng, self.input_dropout)
      x = add_noise(x, rng, self.input_noise, -1)
    x = self.trunk(x, rng, train, noise)
    kernel_init = INITIALIZERS[self.trunk.initializer]
    return {
      name: nn.Dense(size, kernel_init=kernel_init, name=name)(x)
      for name, size in self.heads.items()
    }


class Decoder(nn.Module):
  """p(x|z): the mean of an image given its code.

  Attributes:
    trunk: the hidden layers, which end in a vector or a grid of them; each
      vector gives a tile of the image.
    image_shape: [H, W, C].
    output: `sigmoid` for images in [0, 1], or `linear`.
  """

  trunk: nn.Module
  image_shape: tuple[int, int, int]
  output: str = 'sigmoid'

  @nn.compact
  def __call__(
    self, code: Array, *, rng: Keys | None = None, train: bool = False
  ) -> Array:
    """Maps codes [B, Z] to images [B, H, W, C]."""
    x = self.trunk(code, rng, train)
    if x.ndim == 2:
      x = x[:, None, None]
    dense = functools.partial(
      nn.Dense, kernel_init=INITIALIZERS[self.trunk.initializer]
    )
    return OUTPUTS[self.output](_tiles(dense, x, self.image_shape))


class Discriminator(nn.Module):
  """Tells the samples of a prior from codes (or images from generated ones)."""

  trunk: nn.Module

  @nn.compact
  def __call__(
    self, sample: Array, *, rng: Keys | None = None, train: bool = False
  ) -> Array:
    """Maps samples [B, ...] to logits [B], positive for the prior."""
    x = self.trunk(sample, rng, train)
    kernel_init = INITIALIZERS[self.trunk.initializer]
    return nn.Dense(1, kernel_init=kernel_init)(x)[:, 0]


class ClusterHeads(nn.Module):
  """W_C: where in the representation the clusters lie.

  Attributes:
    num_clusters: C.
    size: n, of the representation.
  """

  num_clusters: int
  size: int

  @nn.compact
  def __call__(
    self, y: Array, *, rng: Keys | None = None, train: bool = False
  ) -> Array:
    """Maps y [B, C] to W_C y, [B, n]."""
    del rng, train
    heads = self.param(
      'heads', nn.initializers.normal(1.0), (self.num_clusters, self.size)
    )
    return y @ heads


def _dense(trunk, size):
  return nn.Dense(
    size,
    # The normalization would subtract a bias at once.
    use_bias=not trunk.batch_norm,
    kernel_init=INITIALIZERS[trunk.initializer],
  )


def _activate(trunk, x, rng, train, place):
  if trunk.batch_norm:
    x = nn.BatchNorm(not train, momentum=0.99, axis_name=AXIS)(x)
  if train:
    x = add_noise(x, rng, trunk.noise, place)
  return ACTIVATIONS[trunk.activation](x)


def _dense_layers(trunk, x, rng, train, beside=None, place=0):
  """The layers `hidden` of a trunk, of which the first has that `place`."""
  x = x.reshape(x.shape[0], -1)
  if beside is not None:
    x = jnp.concatenate([x, beside], axis=-1)
  for layer, size in enumerate(trunk.hidden):
    x = _dense(trunk, size)(x)
    x = _activate(trunk, x, rng, train, place + layer)
  return x


def _neighbourhoods(x, stride):
  """What a convolution of size 3 sees: [B, H / stride, W / stride, 9 C].

  A dense layer on it makes the convolution, with the padding 'SAME'. XLA's own
  takes forty times as long on the CPU within a loop, which a training is.
  """
  _, height, width, _ = x.shape
  x = jnp.pad(
    x, ((0, 0), _padding(height, stride), _padding(width, stride), (0, 0))
  )
  shifted = [
    x[:, i : i + height : stride, j : j + width : stride]
    for i in range(3)
    for j in range(3)
  ]
  return jnp.concatenate(shifted, axis=-1)


def _padding(side, stride):
  """Zeros before and after a side."""
  total = 2 - (side - 1) % stride
  return total // 2, total - total // 2


def _tiles(dense, x, shape):
  """Makes of each cell of a grid [B, h, w, n] a tile of [B, *shape].

  A transposed convolution whose tiles do not overlap; what they have too much
  at the lower and right edges is cut off.
  """
  _, rows, columns, _ = x.shape
  height, width, channels = shape
  tile = (-(-height // rows), -(-width // columns), channels)
  x = dense(math.prod(tile))(x)
  x = x.reshape(-1, rows, columns, *tile).swapaxes(2, 3)
  x = x.reshape(-1, rows * tile[0], columns * tile[1], channels)
  return x[:, :height, :width]


def drop_out(x: Array, rng: Keys, share: float) -> Array:
  """Sets a share of the values to zero and scales the others up."""
  if not share:
    return x
  keep = randomness.uniform(rng, x.shape[1:]) >= share
  return jnp.where(keep, x / (1 - share), 0.0)


def add_noise(x: Array, rng: Keys, std: float, place: int) -> Array:
  """Adds Gaussian noise; `place` tells apart the places of one network."""
  if not std:
    return x
  # Places count from -1, the input; phases and posteriors fold in 0 and 1.
  keys = randomness.fold_in(rng, place + 3)
  return x + std * randomness.normal(keys, x.shape[1:])
