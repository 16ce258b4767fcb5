"""Encoder, decoder, discriminator and others as flax modules.

Every trunk is made of one `Layer`. Every module takes `rng`, keys [B], for its
noise, and `train`: whether to add noise and to normalize with the batch's own
statistics. The noise of a module goes by its path, so no two share theirs.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import math

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from aae_jax import errors, losses, randomness
from aae_jax.augmentation import Augmentation
from aae_jax.types import AXIS, Array, Keys

Activation = Callable[[Array], Array]


def relu() -> Activation:
  """max(x, 0)."""
  return nn.relu


def softplus() -> Activation:
  """log(1 + exp(x))."""
  return nn.softplus


def leaky_relu(slope: float = 0.01) -> Activation:
  """x above 0, and `slope` x below."""
  return functools.partial(nn.leaky_relu, negative_slope=slope)


ACTIVATIONS = {
  'relu': relu,
  'leaky_relu': leaky_relu,
  'softplus': softplus,
}
INITIALIZERS = {
  'he': nn.initializers.he_normal(),
  'normal': nn.initializers.normal(0.01),
}


class Layer(nn.Module):
  """A dense layer, normalization, noise and an activation.

  Attributes:
    size: of the output.
    activation: of each unit.
    initializer: of the weights, a key of `INITIALIZERS`.
    batch_norm: whether to normalize.
    momentum: the share that the running statistics keep at each update.
    noise: standard deviation of Gaussian noise before the activation.
  """

  size: int
  activation: Activation = nn.relu
  initializer: str = 'he'
  batch_norm: bool = False
  momentum: float = 0.99
  noise: float = 0.0

  @nn.compact
  def __call__(
    self,
    x: Array,
    rng: Keys | None,
    train: bool,
    arrange: Callable[[Array], Array] = lambda x: x,
    beside: Array | None = None,
  ) -> Array:
    """Maps [B, ..., n] to [B, ..., size], or to what `arrange` makes of it.

    That is done before the normalization, over whose last axis it goes. What is
    `beside` x, [B, m], is seen with it.
    """
    inputs = (x,) if beside is None else (x, beside)
    make = nn.Dense if beside is None else _DenseOfTwo
    dense = make(
      self.size,
      # The normalization would subtract a bias at once.
      use_bias=not self.batch_norm,
      kernel_init=INITIALIZERS[self.initializer],
      name='Dense_0',
    )
    x = arrange(dense(*inputs))
    if self.batch_norm:
      x = nn.BatchNorm(not train, momentum=self.momentum, axis_name=AXIS)(x)
    if train:
      x = add_noise(x, rng, self.noise, self.path)
    return self.activation(x)


class _DenseOfTwo(nn.Module):
  """`nn.Dense` of two vectors side by side, each of which is multiplied alone.

  What is mapped over one of them multiplies the other only once.
  """

  size: int
  use_bias: bool
  kernel_init: nn.initializers.Initializer

  @nn.compact
  def __call__(self, x: Array, beside: Array) -> Array:
    """Maps [B, n] and [B, m] to [B, size]."""
    n = x.shape[-1]
    shape = (n + beside.shape[-1], self.size)
    kernel = self.param('kernel', self.kernel_init, shape)
    y = x @ kernel[:n] + beside @ kernel[n:]
    if self.use_bias:
      y += self.param('bias', nn.initializers.zeros, (self.size,))
    return y


MakeLayer = Callable[[int], Layer]
"""A layer of a given size; `functools.partial(Layer, ...)`."""


class Perceptron(nn.Module):
  """Fully connected hidden layers.

  Attributes:
    hidden: the sizes of the layers.
    layer: makes each of them.
  """

  hidden: Sequence[int]
  layer: MakeLayer = Layer

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
    layer: makes each of both kinds.
  """

  hidden: Sequence[int]
  channels: Sequence[int] = (32, 64, 128)
  layer: MakeLayer = Layer

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
    for size in self.channels:
      x = self.layer(size)(_neighbourhoods(x, stride=2), rng, train)
    return _dense_layers(self, x, rng, train, beside)


class Deconvolutional(nn.Module):
  """Dense layers, and convolutions after them that each double the grid.

  Attributes:
    image_shape: [H, W, C], of any size.
    hidden: the sizes of the dense layers.
    channels: of the grids from the largest, half as large as the image, to the
      smallest: those of the `Convolutional` that it is the mirror of.
    layer: makes each of both kinds.
  """

  image_shape: tuple[int, int, int]
  hidden: Sequence[int]
  channels: Sequence[int] = (32, 64, 128)
  layer: MakeLayer = Layer

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
      size, arrange = _tiles(x.shape, shape)
      x = self.layer(size)(x, rng, train, arrange)
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
    initializer: of the heads' weights.
    augmentation: of the image, before the noise.
    standardize: whether each channel of each image is given the mean 0 and the
      variance 1, whatever its light and its colours.
    input_noise: standard deviation of Gaussian noise on the image.
    input_dropout: the share of the image's values that are set to zero.
    batch_norm_heads: whether to normalize the heads.
  """

  trunk: nn.Module
  heads: Mapping[str, int]
  initializer: str = 'he'
  augmentation: Augmentation = Augmentation()
  standardize: bool = False
  input_noise: float = 0.0
  input_dropout: float = 0.0
  batch_norm_heads: bool = False

  @nn.compact
  def __call__(
    self,
    image: Array,
    beside: Array | None = None,
    *,
    rng: Keys | None = None,
    train: bool = False,
  ) -> dict[str, Array]:
    """Maps images [B, H, W, C] in [0, 1] to {head: [B, size]}.

    The first dense layer sees `beside` [B, n] too: the noise of a universal
    approximator, a label, whatever the code is conditional on.
    """
    x = self.augmentation(image, rng) if train else image
    x = standardized(x) if self.standardize else x
    if train:
      x = drop_out(x, rng, self.input_dropout)
      x = add_noise(x, rng, self.input_noise, ('input',))
    x = self.trunk(x, rng, train, beside)
    kernel_init = INITIALIZERS[self.initializer]
    heads = {
      name: nn.Dense(size, kernel_init=kernel_init, name=name)(x)
      for name, size in self.heads.items()
    }
    if self.batch_norm_heads:
      normalize = functools.partial(nn.BatchNorm, not train, axis_name=AXIS)
      heads = {name: normalize()(head) for name, head in heads.items()}
    return heads


class Decoder(nn.Module):
  """p(x|z): an image's distribution given its code.

  Attributes:
    trunk: the hidden layers, which end in a vector or a grid of them; each
      vector gives a tile of the image.
    image_shape: [H, W, C].
    initializer: of the last layer's weights.
    output: what the output is of, a key of `losses.LIKELIHOODS`: `sigmoid`, the
      logits of Bernoulli variables; or `linear`, the means of Gaussians.
  """

  trunk: nn.Module
  image_shape: tuple[int, int, int]
  initializer: str = 'he'
  output: str = 'sigmoid'

  @nn.compact
  def __call__(
    self, code: Array, *, rng: Keys | None = None, train: bool = False
  ) -> Array:
    """Maps codes [B, Z] to the parameters of images [B, H, W, C]."""
    x = self.trunk(code, rng, train)
    if x.ndim == 2:
      x = x[:, None, None]
    size, arrange = _tiles(x.shape, self.image_shape)
    dense = nn.Dense(size, kernel_init=INITIALIZERS[self.initializer])
    return arrange(dense(x))

  @property
  def likelihood(self) -> losses.Likelihood:
    """What the output is of."""
    return losses.LIKELIHOODS[self.output]


class Discriminator(nn.Module):
  """Tells the samples of a prior from codes (or images from generated ones).

  Attributes:
    trunk: the hidden layers.
    initializer: of the last layer's weights.
  """

  trunk: nn.Module
  initializer: str = 'he'

  @nn.compact
  def __call__(
    self, sample: Array, *, rng: Keys | None = None, train: bool = False
  ) -> Array:
    """Maps samples [B, ...] to logits [B], positive for the prior."""
    x = self.trunk(sample, rng, train)
    kernel_init = INITIALIZERS[self.initializer]
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


class SupportVectorMachine(nn.Module):
  """The decisions of `svm.TransductiveSVC`, which makes the weights.

  Attributes:
    num_classes: K.
    num_features: F, random Fourier features of the kernel exp(-gamma |x - y|^2)
      (Rahimi and Recht, 2007); 0 for the linear kernel.
  """

  num_classes: int
  num_features: int = 0

  @nn.compact
  def __call__(
    self, x: Array, *, rng: Keys | None = None, train: bool = False
  ) -> Array:
    """Maps [B, n] to [B, K], the largest of which is that of the class."""
    del rng, train
    # Nothing is decided before the machine is made.
    zeros = nn.initializers.zeros
    if self.num_features:
      size = self.num_features
      projection = self.param('projection', zeros, (x.shape[-1], size))
      phase = self.param('phase', zeros, (size,))
      x = np.sqrt(2 / size) * jnp.cos(x @ projection + phase)
    return nn.Dense(self.num_classes, kernel_init=zeros, name='decision')(x)


def _dense_layers(
  trunk: nn.Module,
  x: Array,
  rng: Keys | None,
  train: bool,
  beside: Array | None = None,
) -> Array:
  """The layers `hidden` of a trunk."""
  x = x.reshape(x.shape[0], -1)
  for size in trunk.hidden:
    x = trunk.layer(size)(x, rng, train, beside=beside)
    beside = None
  # Without a layer, whoever comes next sees both.
  return x if beside is None else jnp.concatenate([x, beside], axis=-1)


def _neighbourhoods(x: Array, stride: int) -> Array:
  """What a convolution of size 3 sees: [B, H / stride, W / stride, 9 C].

  A dense layer on it makes the convolution, with the padding 'SAME'. XLA's own
  takes forty times as long on the CPU within a loop, which a training is.
  """
  _, height, width, _ = x.shape
  sides = _padding(height, stride), _padding(width, stride)
  x = jnp.pad(x, ((0, 0), *sides, (0, 0)))
  shifted = [
    x[:, i : i + height : stride, j : j + width : stride]
    for i in range(3)
    for j in range(3)
  ]
  return jnp.concatenate(shifted, axis=-1)


def _padding(side: int, stride: int) -> tuple[int, int]:
  """Zeros before and after a side."""
  total = 2 - (side - 1) % stride
  return total // 2, total - total // 2


def _tiles(
  grid: tuple[int, ...], shape: tuple[int, int, int]
) -> tuple[int, Callable[[Array], Array]]:
  """What makes of each cell of a grid [B, h, w, n] a tile of [B, *shape].

  A transposed convolution whose tiles do not overlap; what they have too much
  at the lower and right edges is cut off.

  Returns:
    The size of the dense layer that goes over the cells, and what arranges its
    output.
  """
  _, rows, columns, _ = grid
  height, width, channels = shape
  tile = (-(-height // rows), -(-width // columns), channels)

  def arrange(x):
    x = x.reshape(-1, rows, columns, *tile).swapaxes(2, 3)
    x = x.reshape(-1, rows * tile[0], columns * tile[1], channels)
    return x[:, :height, :width]

  return math.prod(tile), arrange


def standardized(image: Array) -> Array:
  """Images [B, H, W, C], each channel of mean 0 and variance 1.

  One that is hardly more than one value stays near 0.
  """
  return jax.nn.standardize(image, axis=(1, 2), epsilon=1e-3)


def drop_out(x: Array, rng: Keys, share: float) -> Array:
  """Sets a share of the values to zero and scales the others up."""
  if not share:
    return x
  keys = randomness.named(rng, 'dropout')
  keep = randomness.uniform(keys, x.shape[1:]) >= share
  return jnp.where(keep, x / (1 - share), 0.0)


def add_noise(x: Array, rng: Keys, std: float, path: tuple[str, ...]) -> Array:
  """Adds Gaussian noise, which goes by the path of the place in its network."""
  if not std:
    return x
  keys = randomness.named(rng, '/'.join(path))
  noise = std * randomness.noise(keys, x.shape[1:])
  return x + noise.astype(jnp.result_type(x))
