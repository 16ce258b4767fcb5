"""The networks of the ladder (Rasmus et al., 2015).

An encoder whose every layer is normalized, and a decoder that makes each of its
layers again of the layer above and of a noisy version of the same layer.
"""

from collections.abc import Sequence
from typing import NamedTuple

from flax import linen as nn
import flax.struct
import jax
from jax import lax
import jax.numpy as jnp

from aae_jax.networks import add_noise
from aae_jax.types import AXIS, Array, Keys

EPSILON = 1e-10
"""Added to every variance, as in the code of the paper."""

_FAN_IN = nn.initializers.variance_scaling(1.0, 'fan_in', 'normal')


class Moments(NamedTuple):
  """Mean and standard deviation of each unit, [n]."""

  mean: Array
  std: Array

  def normalize(self, x: Array) -> Array:
    """x [B, n] with the mean taken off, over the standard deviation."""
    return ((x - self.mean) / self.std).astype(x.dtype)


def moments(x: Array) -> Moments:
  """Over the global batch: of x [B, n] on every device."""
  x = x.astype(jnp.float32)
  mean = lax.pmean(jnp.mean(x, axis=0), AXIS)
  variance = lax.pmean(jnp.mean(jnp.square(x - mean), axis=0), AXIS)
  return Moments(mean, jnp.sqrt(variance + EPSILON))


class Pass(flax.struct.PyTreeNode):
  """What a pass through the encoder has left.

  Attributes:
    layers: z of the image and of each layer, [B, n]: normalized, before shift
      and activation, with noise if the pass is noisy.
    moments: of what was normalized, of each layer but the image.
    logits: of y, [B, num_classes].
  """

  layers: tuple[Array, ...]
  moments: tuple[Moments, ...]
  logits: Array


class LadderEncoder(nn.Module):
  """A perceptron that is normalized in every layer, the last one too.

  Attributes:
    hidden: the sizes of the hidden layers.
    num_classes: of the last layer.
    input_noise: standard deviation of the noise on the image in a noisy pass.
    noise: of the noise in every layer.
    momentum: the share that the running statistics keep at each update.
  """

  hidden: Sequence[int]
  num_classes: int
  input_noise: float = 0.3
  noise: float = 0.3
  momentum: float = 0.99

  @nn.compact
  def __call__(
    self,
    image: Array,
    *,
    is_noisy: bool = False,
    rng: Keys | None = None,
    train: bool = False,
  ) -> Pass:
    """Maps images [B, H, W, C] in [0, 1]."""

    def with_noise(x, std, name):
      return add_noise(x, rng, std, (name,)) if is_noisy else x

    x = image.reshape(len(image), -1)
    x = with_noise(x, self.input_noise, 'input')
    layers, found = [x], []
    for place, size in enumerate((*self.hidden, self.num_classes)):
      x = nn.Dense(size, use_bias=False, kernel_init=_FAN_IN)(x)
      found.append(self._moments(x, place, train))
      x = with_noise(found[-1].normalize(x), self.noise, f'layer_{place}')
      layers.append(x)
      x = x + self.param(f'shift_{place}', nn.initializers.zeros, (size,))
      if place < len(self.hidden):
        x = nn.relu(x)
    # A scale before an activation that has none of its own would do nothing.
    logits = x * self.param('scale', nn.initializers.ones, (size,))
    return Pass(tuple(layers), tuple(found), logits)

  def _moments(self, x: Array, place: int, train: bool) -> Moments:
    """Those of the batch, which the running ones take in, or the running."""
    variables = [
      self.variable('batch_stats', f'{name}_{place}', initial, x.shape[1])
      for name, initial in (('mean', jnp.zeros), ('std', jnp.ones))
    ]
    if not train:
      return Moments(*(variable.value for variable in variables))
    found = moments(x)
    if not self.is_initializing():
      for variable, value in zip(variables, found, strict=True):
        change = lax.stop_gradient(value) - variable.value
        variable.value += (1 - self.momentum) * change
    return found


class LadderDecoder(nn.Module):
  """Denoises every layer of a noisy pass, from the last one to the image."""

  @nn.compact
  def __call__(
    self, noisy: Pass, *, rng: Keys | None = None, train: bool = False
  ) -> tuple[Array, ...]:
    """Gives the denoised layers [B, n], in the order of `noisy.layers`."""
    del rng, train
    above, found = jax.nn.softmax(noisy.logits), []
    for place, layer in reversed(list(enumerate(noisy.layers))):
      if found:
        size = layer.shape[-1]
        above = nn.Dense(size, use_bias=False, kernel_init=_FAN_IN)(found[-1])
      above = moments(above).normalize(above)
      found.append(_Combinator(name=f'combinator_{place}')(layer, above))
    return tuple(reversed(found))


class _Combinator(nn.Module):
  """The denoised value of a unit, as of a Gaussian that the unit above tells.

  Rasmus et al. (2015), equation 2: linear in the noisy value, with a mean and a
  slope that are each a linear function of the value above plus a sigmoid one.
  """

  @nn.compact
  def __call__(self, noisy: Array, above: Array) -> Array:
    """Of values [B, n]."""

    def function(name):
      height, slope, middle, factor, offset = (
        self.param(
          f'{name}_{part}', nn.initializers.constant(x), above.shape[1:]
        )
        for part, x in (
          ('height', 0.0),
          ('slope', 1.0),
          ('middle', 0.0),
          ('factor', 0.0),
          ('offset', 0.0),
        )
      )
      step = nn.sigmoid(slope * above + middle)
      return height * step + factor * above + offset

    mean = function('mean')
    return (noisy - mean) * function('gain') + mean
