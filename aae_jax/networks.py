"""Encoder, decoder and discriminator as flax modules.

Every module takes `rng`, keys [B], for its noise, and `train`: whether to add
noise and to normalize with the batch's own statistics.
"""

from collections.abc import Mapping, Sequence
import math

from flax import linen as nn
import jax.numpy as jnp

from aae_jax import randomness
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
  def __call__(self, x: Array, rng: Keys | None, train: bool) -> Array:
    """Maps [B, ...], flattened, to [B, hidden[-1]]."""
    x = x.reshape(x.shape[0], -1)
    for layer, size in enumerate(self.hidden):
      x = nn.Dense(
          size,
          # The normalization would subtract a bias at once.
          use_bias=not self.batch_norm,
          kernel_init=INITIALIZERS[self.initializer],
      )(x)
      if self.batch_norm:
        x = nn.BatchNorm(not train, momentum=0.99, axis_name=AXIS)(x)
      if train:
        x = add_noise(x, rng, self.noise, layer)
      x = ACTIVATIONS[self.activation](x)
    return x


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

    `noise` [B, size] is a universal approximator's: the first layer sees it
    beside the image.
    """
    x = image
    if train:
      x = drop_out(x, rng, self.input_dropout)
      x = add_noise(x, rng, self.input_noise, -1)
    if noise is not None:
      x = jnp.concatenate([x.reshape(x.shape[0], -1), noise], axis=-1)
    x = self.trunk(x, rng, train)
    kernel_init = INITIALIZERS[self.trunk.initializer]
    return {
        name: nn.Dense(size, kernel_init=kernel_init, name=name)(x)
        for name, size in self.heads.items()
    }


class Decoder(nn.Module):
  """p(x|z): the mean of an image given its code.

  Attributes:
    trunk: the hidden layers.
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
    x = nn.Dense(
        math.prod(self.image_shape),
        kernel_init=INITIALIZERS[self.trunk.initializer],
    )(x)
    return OUTPUTS[self.output](x).reshape(-1, *self.image_shape)


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
