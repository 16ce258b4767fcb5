"""The draw of the images whose labels a semi-supervised system may see."""

import jax
import numpy as np

from aae_jax.datasets.dataset import Schema
from aae_jax.errors import InputError


def draw_labelled(
  rng: jax.Array,
  label: np.ndarray | None,
  num_labels: int,
  num_classes: int | None,
) -> np.ndarray:
  """Draws as many images of each class, without replacement.

  Args:
    rng: typed key; another key gives another draw.
    label: int [N], from 0 to num_classes - 1, or -1 for an image without; None
      in a data set without.
    num_labels: how many images to draw in all, a multiple of `num_classes`;
      -1 draws none and takes all that have a label.
    num_classes: number of classes.

  Returns:
    int32 [num_labels]: indexes into `label`, grouped by class in random order;
    for -1 all of them, as they are.

  Raises:
    InputError: if there are no labels, or not that many to draw.
  """
  if label is None or not num_classes:
    raise InputError(f'num_labels={num_labels}, but the data set has no labels')
  if num_labels == -1:
    return np.flatnonzero(label >= 0).astype(np.int32)
  per_class = _images_per_class(label, num_labels, num_classes)
  permutation = np.asarray(jax.random.permutation(rng, len(label)))
  permuted_label = label[permutation]
  return np.concatenate(
    [
      permutation[permuted_label == index][:per_class]
      for index in range(num_classes)
    ]
  ).astype(np.int32)


def frequencies(schema: Schema, num_labels: int) -> tuple[float, ...] | None:
  """The share of each class among the images that `draw_labelled` draws.

  Args:
    schema: of the data.
    num_labels: as of `draw_labelled`.

  Returns:
    As many shares as classes, in sum 1, or None without labels.
  """
  if schema.num_classes is None or num_labels == -1:
    return schema.shares
  return (1 / schema.num_classes,) * schema.num_classes


def _images_per_class(
  label: np.ndarray, num_labels: int, num_classes: int
) -> int:
  """Returns how many images of each class to draw, or says what is wrong."""
  label = label[label >= 0]
  counts = np.bincount(label, minlength=num_classes)
  most = num_classes * counts.min()
  allowed = (
    f'a multiple of the {num_classes} classes from {num_classes} to {most}, '
    f'or -1 for all {len(label)}'
    if most
    else f'-1 for all {len(label)}: class {counts.argmin()} has no image'
  )
  if num_labels <= 0 or num_labels > len(label):
    problem = f'is not from 1 to the {len(label)} labelled images'
  elif num_labels % num_classes:
    problem = 'cannot be shared out equally'
  elif num_labels > most:
    problem = (
      f'needs {num_labels // num_classes} images of each class, and class '
      f'{counts.argmin()} has {counts.min()}'
    )
  else:
    return num_labels // num_classes
  raise InputError(f'num_labels={num_labels} {problem}; it must be {allowed}')
