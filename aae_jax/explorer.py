"""A decoder that follows a finger through the codes, in a page.

The page has the decoder as dense layers, which its JavaScript computes.
"""

import base64
from collections.abc import Mapping, Sequence
import io
import math
from typing import Any, NamedTuple

from flax import linen as nn
import jax
from matplotlib import colors
import numpy as np
from PIL import Image
from scipy import special
from sklearn.decomposition import PCA

from aae_jax import drawing, measures, networks, phases
from aae_jax import trained as trained_lib
from aae_jax.datasets import Scaling, Split
from aae_jax.systems import Model
from aae_jax.trained import Trained
from aae_jax.types import Batch, Function

MAX_POINTS = 2000
"""Whose codes and thumbnails are in the page."""

MAX_VALUES = 4_000_000
"""Of all thumbnails, unless there are fewer than a hundred of them."""

MAX_AXES = 10
"""Of z, the two of the plane among them."""

_COLUMNS = 50
"""Thumbnails in a row of their picture."""

_MARGIN = 1.2
"""How much wider the plane is than where the codes are."""


class Dense(NamedTuple):
  """x to x kernel + bias, where negative values are multiplied by a slope.

  Attributes:
    kernel: [n, m].
    bias: [m].
    slope: 0 of a relu, 1 of a linear layer; None of a softplus.
  """

  kernel: np.ndarray
  bias: np.ndarray
  slope: float | None

  @property
  def rounded(self) -> 'Dense':
    """To float16, as the page has it."""
    kernel, bias = (x.astype(np.float16) for x in (self.kernel, self.bias))
    return Dense(kernel, bias, self.slope)


def run(layers: Sequence[Dense], code: np.ndarray) -> np.ndarray:
  """What the last layer gives for codes [N, n]: [N, m], in float64."""
  x = code
  for kernel, bias, slope in layers:
    x = x @ kernel.astype(np.float64) + bias
    x = np.logaddexp(x, 0) if slope is None else np.where(x > 0, x, slope * x)
  return x


def fold(trained: Trained) -> list[Dense] | None:
  """What decodes a code, y and the others side by side, as layers.

  Batch normalization is in the layer that it follows, and whatever affine map
  is between the code and the decoder in the first one.

  Args:
    trained: a single run.

  Returns:
    The layers, in float64; None where that is not how codes are decoded.
  """
  model, decoder = trained.model, trained.system.networks.get('decoder')
  trunk = getattr(decoder, 'trunk', None)
  if not (model.decode and isinstance(trunk, networks.Perceptron)):
    return None
  layers = _layers(trained, trunk)
  size = sum(model.code_sizes.values())
  code = np.vstack([np.zeros(size), np.eye(size)])
  seen = trained.run(_seen(model), _batch(model, code))[0].astype(np.float64)
  kernel, bias, slope = layers[0]
  layers[0] = Dense(
    (seen[1:] - seen[0]) @ kernel, seen[0] @ kernel + bias, slope
  )
  # What else is done to a code, or by another activation, gives other images.
  code = np.random.default_rng(0).normal(size=(8, size))
  image = trained.run(model.decode, _batch(model, code))[0]
  own = mean(decoder.output, run(layers, code)).reshape(image.shape)
  return layers if np.allclose(own, image, 1e-3, 1e-3) else None


def mean(output: str, x: np.ndarray) -> np.ndarray:
  """The image, as networks see it, of what the last layer gives.

  Args:
    output: of the decoder, a key of `losses.LIKELIHOODS`.
    x: any shape.
  """
  return special.expit(x) if output == 'sigmoid' else x


def _layers(trained: Trained, trunk: networks.Perceptron) -> list[Dense]:
  """Of the decoder, its normalization folded."""
  params, stats = (
    jax.tree.map(
      lambda x: np.asarray(x[0], np.float64),
      trained.weights[kind].get('decoder', {}),
    )
    for kind in ('params', 'batch_stats')
  )
  layers = []
  for place, size in enumerate(trunk.hidden):
    name = f'Layer_{place}'
    own = params['trunk'][name]
    seen = stats.get('trunk', {}).get(name)
    slope = _slope(trunk.layer(size).activation)
    layers.append(_dense(own, seen, slope))
  return [*layers, _dense(params, None, 1.0)]


def _slope(activation: networks.Activation) -> float | None:
  """See `Dense`; not a number for any other activation."""
  if activation is nn.softplus:
    return None
  if activation is nn.relu:
    return 0.0
  return getattr(activation, 'keywords', {}).get('negative_slope', np.nan)


def _dense(
  params: Mapping[str, Any],
  stats: Mapping[str, Any] | None,
  slope: float | None,
) -> Dense:
  """A layer, and the normalization after it where it has statistics."""
  kernel = params['Dense_0']['kernel']
  bias = params['Dense_0'].get('bias', np.zeros(kernel.shape[1]))
  if stats:
    norm, seen = params['BatchNorm_0'], stats['BatchNorm_0']
    factor = norm['scale'] / np.sqrt(seen['var'] + nn.BatchNorm.epsilon)
    kernel = kernel * factor
    bias = (bias - seen['mean']) * factor + norm['bias']
  return Dense(kernel, bias, slope)


def _seen(model: Model) -> Function:
  """What the decoder is given for a code, [B, m]."""

  def seen(apply, batch, rng):
    found = []

    def spy(name, *inputs, **options):
      if name == 'decoder':
        found.append(inputs[0])
      return apply(name, *inputs, **options)

    model.decode(spy, batch, rng)
    return found[0]

  return seen


def _parts(model: Model) -> list[str]:
  """The parts of a code, y before the others."""
  return sorted(model.code_sizes, key=lambda part: part != 'y')


def _batch(model: Model, code: np.ndarray) -> Batch:
  """Codes [N, n] whose parts are side by side, as a model reads them."""
  sizes = {part: model.code_sizes[part] for part in _parts(model)}
  return {'code': phases.split(code.astype(np.float32), sizes)}


def describe(
  trained: Trained, split: Split, classes: Sequence[str]
) -> dict[str, Any] | None:
  """What the page is filled with.

  Args:
    trained: a single run.
    split: images to show it on.
    classes: of the data, what they are called; none without labels.

  Returns:
    Plain values; None where there is nothing to explore: no code beside y, or
    one that is not decoded by a perceptron to a grey or a colour image.
  """
  model = trained.model
  is_there = {*model.code_sizes} - {'y'} and (model.encode or model.prior)
  layers = fold(trained)
  if not (is_there and layers and split.image.shape[3] in (1, 3)):
    return None
  y_size = model.code_sizes.get('y', 0)
  if model.cluster_heads:
    # In the place of z is the representation, which it is where y is 0.
    layers[0] = layers[0]._replace(kernel=layers[0].kernel[y_size:])
    y_size = 0
  fitting = MAX_VALUES // math.prod(split.image.shape[1:])
  split = measures.some(split, min(MAX_POINTS, max(100, fitting)))
  code, label = _points(trained, split, len(classes))
  is_label = 0 < y_size == len(classes) and not model.cluster
  output = trained.system.networks['decoder'].output
  return {
    **_carried(layers),
    **_plane(code[:, y_size:], trained.cluster_heads()),
    'image_shape': split.image.shape[1:],
    'is_logit': output == 'sigmoid',
    **trained.scaling._asdict(),
    'y_size': y_size,
    'entries': list(classes) if is_label else [str(k) for k in range(y_size)],
    'is_inferred': bool(is_label and model.classify and not model.told),
    'codes': _text(code),
    'labels': label.tolist(),
    'classes': list(classes),
    'colours': [
      colors.to_hex(colour) for colour in drawing.label_colours(len(classes))
    ],
    'columns': _COLUMNS,
    'thumbnails': _thumbnails(split.image[:], trained.scaling)
    # Samples of the prior are of no image.
    if model.encode
    else '',
  }


def _points(
  trained: Trained, split: Split, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
  """Codes [N, n] of the images, or of the prior without an encoder; labels."""
  model, size = trained.model, split.num_images
  unknown = np.full(size, -1)
  if model.encode:
    label = unknown if split.label is None else split.label
    function = model.embed if model.cluster_heads else model.code
    found = trained.run(function, trained_lib.rows(split))
  else:
    rows = trained_lib.rows_by_label(size, num_classes)
    label = rows['label'] if model.by_label else unknown
    found = trained.run(model.prior, rows, jax.random.key(0))
  if isinstance(found, Mapping):
    found = np.concatenate([found[part] for part in _parts(model)], axis=-1)
  return found[0], label


def _plane(z: np.ndarray, heads: np.ndarray | None) -> dict[str, Any]:
  """Axes of z, and how far they are shown.

  They are its own where there are two at most, else the principal ones.
  """
  if z.shape[1] <= 2:
    middle, axes = np.zeros(z.shape[1]), np.eye(z.shape[1])
  else:
    fitted = PCA(min(MAX_AXES, *z.shape)).fit(z)
    middle, axes = fitted.mean_, fitted.components_
  place = lambda points: (points - middle) @ axes.T
  ends = np.percentile(place(z), [0.5, 99.5], axis=0)
  heads = place(np.zeros((0, z.shape[1])) if heads is None else heads)
  low, high = (f(np.vstack([ends, heads]), axis=0) for f in (np.min, np.max))
  # Codes may all be one.
  centre, half = (low + high) / 2, _MARGIN * (high - low) / 2 + 1e-3
  return {
    'mean': middle.tolist(),
    'axes': axes.tolist(),
    'ranges': np.stack([centre - half, centre + half], axis=1).tolist(),
    'centre': [*centre.tolist(), 0.0][:2],
    'half': float(half[:2].max()),
    'heads': heads[:, :2].tolist(),
  }


def _carried(layers: Sequence[Dense]) -> dict[str, Any]:
  """The weights as text, and what they are."""
  rounded = [layer.rounded for layer in layers]
  parts = [part.ravel() for layer in rounded for part in layer[:2]]
  return {
    'weights': _text(np.concatenate(parts)),
    'layers': [
      {
        'inputs': len(kernel),
        'outputs': len(bias),
        'slope': slope,
      }
      for kernel, bias, slope in rounded
    ],
  }


def _text(x: np.ndarray) -> str:
  """Little-endian float16 in base64."""
  return base64.b64encode(x.astype('<f2').tobytes()).decode()


def _thumbnails(image: np.ndarray, scaling: Scaling) -> str:
  """Images [N, H, W, C] beside one another, as the address of a PNG."""
  if image.dtype != np.uint8:
    image = image * scaling.divisor + scaling.offset
    image = np.clip(np.round(image), 0, 255).astype(np.uint8)
  size, height, width, channels = image.shape
  # Ink, as figures have it.
  image = 255 - image if channels == 1 else image
  num_rows = -(-size // _COLUMNS)
  cells = np.zeros((num_rows * _COLUMNS, height, width, channels), np.uint8)
  cells[:size] = image
  cells = cells.reshape(num_rows, _COLUMNS, height, width, channels)
  whole = cells.swapaxes(1, 2).reshape(num_rows * height, -1, channels)
  content = io.BytesIO()
  Image.fromarray(whole.squeeze(axis=2) if channels == 1 else whole).save(
    content, 'png'
  )
  address = base64.b64encode(content.getvalue()).decode()
  return f'data:image/png;base64,{address}'
