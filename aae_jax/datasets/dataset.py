"""What a loaded data set is."""

import dataclasses
import functools
import hashlib
from typing import NamedTuple

import numpy as np

from aae_jax.errors import InputError


class Split(NamedTuple):
  """Images in memory and their labels, in one order.

  Attributes:
    image: uint8 [N, H, W, C].
    label: int32 [N], or None where there are no labels.
  """

  image: np.ndarray
  label: np.ndarray | None

  @property
  def num_images(self) -> int:
    """N; len() would give the number of fields."""
    return len(self.image)

  def part(self, start: int, stop: int) -> 'Split':
    """Returns the images from `start` up to, not including, `stop`."""
    label = None if self.label is None else self.label[start:stop]
    return Split(self.image[start:stop], label)


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A data set whose images all have one shape.

  Attributes:
    name: what results call it; says so where the files are not the published
      ones.
    train: the images to train on.
    validation: the last images of the training split, held out from `train`;
      has length zero where none were asked for.
    test: has length zero where there are no test images.
    num_classes: None where there are no labels.
  """

  name: str
  train: Split
  validation: Split
  test: Split
  num_classes: int | None

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """(H, W, C)."""
    return self.train.image.shape[1:]

  @functools.cached_property
  def digest(self) -> str:
    """Hexadecimal sha256 of the arrays of all splits, their shapes and types.

    Two data sets of one name may be of other content: this tells them apart.
    """
    found = hashlib.sha256()
    for name in ('train', 'validation', 'test'):
      for part, array in getattr(self, name)._asdict().items():
        found.update(f'{name}.{part} '.encode())
        if array is None:
          continue
        found.update(f'{array.dtype} {array.shape}'.encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()

  def hold_out(self, num_validation: int) -> 'Dataset':
    """Moves the last training images to the validation split.

    Args:
      num_validation: how many, 0 or more and fewer than there are.

    Returns:
      The data set with the two new splits.

    Raises:
      InputError: if `num_validation` is out of that range.
    """
    num_images = self.train.num_images
    if not 0 <= num_validation < num_images:
      raise InputError(
        f'num_validation={num_validation} must be from 0 to '
        f'{num_images - 1}: {self.name} has {num_images} training images'
      )
    num_train = num_images - num_validation
    return dataclasses.replace(
      self,
      train=self.train.part(0, num_train),
      validation=self.train.part(num_train, num_images),
    )
