"""What of a configuration follows from the data, where nothing else is given.

A recipe for images that nobody has tuned it for leaves keys to the data, by
`leave`; when the data are known, `complete` gives each the value of its rule.
Of MNIST and digits these are near to what was found best for them.
"""

from collections.abc import Callable
import functools
import math
from typing import Any

import ml_collections
from ml_collections.config_dict import placeholder
import numpy as np

from aae_jax.datasets import Schema

Rule = Callable[[ml_collections.ConfigDict, Schema], Any]
"""`(config, schema) -> value` of a key."""


def leave(config: ml_collections.ConfigDict, *keys: str) -> None:
  """Leaves keys to the data; what the command line gives goes before.

  Args:
    config: in which they become None.
    *keys: of `RULES`, such as 'encoder.hidden'.
  """
  for key in keys:
    part, name = _place(config, key)
    part[name] = placeholder(part.get_type(name))
  config.left_to_data = keys


def complete(config: ml_collections.ConfigDict, schema: Schema) -> None:
  """Gives each key that is left to the data its value, unless it has one.

  Args:
    config: of which nothing else is changed.
    schema: of the data.
  """
  # In the order of the rules, for some look at what others gave.
  for key in RULES:
    if is_open(config, key):
      part, name = _place(config, key)
      part[name] = RULES[key](config, schema)


def is_open(config: ml_collections.ConfigDict, key: str) -> bool:
  """Whether a key is left to the data, and has no value yet."""
  # Older workdirs leave none.
  if key not in config.get('left_to_data', ()):
    return False
  part, name = _place(config, key)
  return part[name] is None


def chosen(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """What the keys have that are left to the data."""
  places = {key: _place(config, key) for key in config.left_to_data}
  return {key: part[name] for key, (part, name) in places.items()}


def num_epochs(
  steps_per_epoch: int, least: int = 30, num_steps: int = 3000
) -> int:
  """Passes over the data: so many steps, but `least` to 200 passes.

  Args:
    steps_per_epoch: at least 1.
    least: up to 200.
    num_steps: in all.
  """
  return int(np.clip(num_steps // steps_per_epoch, least, 200))


def shift(image_shape: tuple[int, int, int]) -> float:
  """How far an image [H, W, C] is shifted and stays what it is, in pixels."""
  height, width, _ = image_shape
  return 0.08 * min(height, width)


def _place(
  config: ml_collections.ConfigDict, key: str
) -> tuple[ml_collections.ConfigDict, str]:
  """The part of a configuration that has a key, and its name there."""
  *sections, name = key.split('.')
  for section in sections:
    config = config[section]
  return config, name


def _is_plain(schema: Schema) -> bool:
  """Whether a perceptron is enough: of grey images that are small."""
  height, width, channels = schema.image_shape
  return channels == 1 and height * width <= 1024


def _network(config: ml_collections.ConfigDict, schema: Schema) -> str:
  del config
  return 'perceptron' if _is_plain(schema) else 'convolutional'


def _decoder_network(config: ml_collections.ConfigDict, schema: Schema) -> str:
  """A perceptron, which an explorer shows, until its last layer is huge."""
  del config
  is_small = math.prod(schema.image_shape) <= 64 * 64 * 3
  return 'perceptron' if is_small else 'convolutional'


def _channels(
  network: str, config: ml_collections.ConfigDict, schema: Schema
) -> tuple[int, ...] | None:
  """Twice as many after each halving, down to a grid of about 4 x 4."""
  if config[network].network == 'perceptron':
    return None
  height, width, _ = schema.image_shape
  halvings = round(math.log2(min(height, width) / 4))
  return tuple(16 * 2**place for place in range(max(1, min(halvings, 5))))


def _of_perceptron(schema: Schema) -> tuple[int, ...]:
  height, width, _ = schema.image_shape
  return (128, 128) if height * width <= 256 else (400, 400)


def _hidden(
  network: str, config: ml_collections.ConfigDict, schema: Schema
) -> tuple[int, ...]:
  """Convolutions leave little to do for dense layers."""
  if config[network].network == 'convolutional':
    return (128,)
  return _of_perceptron(schema)


def _discriminator_hidden(
  config: ml_collections.ConfigDict, schema: Schema
) -> tuple[int, ...]:
  """Of codes, which are small whatever the images are."""
  del config
  return _of_perceptron(schema) if _is_plain(schema) else (128, 128)


def _batch_size(config: ml_collections.ConfigDict, schema: Schema) -> int:
  del config
  return 200 if schema.num_train >= 20_000 else min(100, schema.num_train)


def _labelled_batch_size(
  config: ml_collections.ConfigDict, schema: Schema
) -> int:
  """Half of a large batch where labels are few: they are seen often enough."""
  size, num_labels = config.batch_size, config.num_labels
  if num_labels == -1:
    num_labels = schema.num_labelled
  return size if num_labels >= size else min(size, 100)


def _epochs(config: ml_collections.ConfigDict, schema: Schema) -> int:
  """To find clusters takes longer, and so does a step of convolutions."""
  least = 30 if _learns_labels(config) else 50
  num_steps = 3000 if _is_plain(schema) else 1000
  # A batch that is too large is refused later.
  steps_per_epoch = max(1, schema.num_train // config.batch_size)
  return num_epochs(steps_per_epoch, least, num_steps)


def _radius(config: ml_collections.ConfigDict, schema: Schema) -> float:
  """2 of an image of 28 x 28, and as much a pixel of a larger one."""
  del config
  return 2.0 * math.sqrt(max(1.0, math.prod(schema.image_shape) / 784))


def _begin(config: ml_collections.ConfigDict, schema: Schema) -> float:
  """Not before y is mostly right, for consistency locks in what it finds."""
  if not _learns_labels(config):
    return 0.0
  return (0.2 if _is_plain(schema) else 0.5) * config.epochs


def _learns_labels(config: ml_collections.ConfigDict) -> bool:
  return 'clustering' not in config.system


RULES: dict[str, Rule] = {
  'encoder.network': _network,
  'encoder.channels': functools.partial(_channels, 'encoder'),
  'encoder.hidden': functools.partial(_hidden, 'encoder'),
  # Photographs differ in light and colours more than in what they are of.
  'encoder.standardize': lambda config, schema: not _is_plain(schema),
  'encoder.input_noise': lambda config, schema: (
    0.3 if _is_plain(schema) else 0.1
  ),
  'encoder.noise': lambda config, schema: 0.3 if _is_plain(schema) else 0.1,
  'encoder.augmentation.shift': lambda config, schema: shift(
    schema.image_shape
  ),
  'encoder.augmentation.colour': lambda config, schema: (
    1.0 if schema.image_shape[2] == 3 else 0.0
  ),
  'discriminator.hidden': _discriminator_hidden,
  'decoder.network': _decoder_network,
  'decoder.channels': functools.partial(_channels, 'decoder'),
  'decoder.hidden': functools.partial(_hidden, 'decoder'),
  'decoder.batch_norm': lambda config, schema: (
    config.decoder.network == 'convolutional'
  ),
  'num_clusters': lambda config, schema: 3 * (schema.num_classes or 8),
  'batch_size': _batch_size,
  'labelled_batch_size': _labelled_batch_size,
  'epochs': _epochs,
  # What is normalized bears a larger one, and needs it to get anywhere.
  'optimizer.classification.learning_rate': lambda config, schema: (
    1e-3 if _is_plain(schema) else 3e-3
  ),
  'consistency.radius': _radius,
  'consistency.begin': _begin,
}
"""By the key, in the order in which they are asked."""

OF_IMAGES = (
  'encoder.network',
  'encoder.channels',
  'encoder.hidden',
  'encoder.standardize',
  'encoder.input_noise',
  'encoder.noise',
  'decoder.network',
  'decoder.channels',
  'decoder.hidden',
  'decoder.batch_norm',
  'discriminator.hidden',
  'batch_size',
  'epochs',
)
"""For any system with an encoder and a decoder."""

OF_Y = (
  'encoder.augmentation.shift',
  'encoder.augmentation.colour',
  'consistency.radius',
  'consistency.begin',
)
"""For one whose y is consistent: after `recipes.consistent`."""

OF_LABELS = ('labelled_batch_size', 'optimizer.classification.learning_rate')
"""For one that has few labels."""
