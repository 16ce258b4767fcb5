"""What a loaded data set is."""

import dataclasses
import functools
import hashlib
from typing import NamedTuple

import numpy as np

from aae_jax.datasets import stored
from aae_jax.errors import InputError
from aae_jax.types import Array


class Scaling(NamedTuple):
  """What networks see of an image that is stored as uint8.

  Floats are stored as networks see them.

  Attributes:
    offset: what is taken from each value.
    divisor: what that is divided by. The product with a factor would differ in
      the last digit.
  """

  offset: float = 0.0
  divisor: float = 255.0

  def __call__(self, image: Array) -> Array:
    """To float32; NumPy's arrays to NumPy's."""
    seen = image.astype(np.float32)
    if image.dtype == np.uint8:
      seen = (seen - self.offset) / self.divisor
    return seen

  @property
  def range(self) -> tuple[float, float]:
    """What networks see of 0 and of 255."""
    return tuple((x - self.offset) / self.divisor for x in (0, 255))


class Split(NamedTuple):
  """Images and their labels, in one order.

  Attributes:
    image: uint8 [N, H, W, C], or floats as networks see them; of a file that is
      mapped, they are read when they are asked for, by an index or slice.
    label: int32 [N], -1 for an image without; None where there are no labels.
  """

  image: np.ndarray | stored.Rows
  label: np.ndarray | None

  @property
  def num_images(self) -> int:
    """N; len() would give the number of fields."""
    return len(self.image)

  def part(self, start: int, stop: int) -> 'Split':
    """Returns the images from `start` up to, not including, `stop`."""
    label = None if self.label is None else self.label[start:stop]
    return Split(self.image[start:stop], label)

  @property
  def labelled(self) -> 'Split':
    """The images that have a label, or all where there are no labels."""
    if self.label is None or (self.label >= 0).all():
      return self
    return self.chosen(self.label >= 0)

  def chosen(self, index: np.ndarray) -> 'Split':
    """The images at int [M], or where bool [N] is true."""
    label = None if self.label is None else self.label[index]
    return Split(stored.chosen(self.image, index), label)


class Schema(NamedTuple):
  """What a system, and whoever uses it, has to know of the data.

  Attributes:
    name: what results call it.
    image_shape: (H, W, C).
    num_classes: None where there are no labels.
    num_train: images to train on.
    shares: of each class among those with a label, in sum 1, or None without
      labels.
    digest: of the data, see `Dataset.digest`.
    scaling: of its images.
    class_names: of the classes, in their order; None where they have numbers
      alone.
    num_labelled: those of the images to train on that have a label.
  """

  name: str
  image_shape: tuple[int, int, int]
  num_classes: int | None
  num_train: int
  shares: tuple[float, ...] | None = None
  digest: str = ''
  scaling: Scaling = Scaling()
  class_names: tuple[str, ...] | None = None
  num_labelled: int = 0

  @property
  def classes(self) -> tuple[str, ...]:
    """What the classes are called: their names, or else their numbers."""
    return self.class_names or tuple(map(str, range(self.num_classes or 0)))


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A data set whose images all have one shape.

  Attributes:
    name: what results call it; says so where the files are not the published
      ones.
    train: the images to train on; the only ones that may lack a label.
    validation: the last labelled images of the training split, held out from
      `train`; has length zero where none were asked for.
    test: has length zero where there are no test images.
    num_classes: None where there are no labels.
    scaling: of the images; to [0, 1] unless it says otherwise.
    class_names: of the classes, in their order; None where they have numbers
      alone.
    num_fitted: how many images were scaled or cropped.
    placement: where the images are while a system is trained on them.
  """

  name: str
  train: Split
  validation: Split
  test: Split
  num_classes: int | None
  scaling: Scaling = Scaling()
  class_names: tuple[str, ...] | None = None
  num_fitted: int = 0
  placement: stored.Placement = stored.Placement()

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """(H, W, C)."""
    return self.train.image.shape[1:]

  @functools.cached_property
  def schema(self) -> Schema:
    """What there is to know of it without its images."""
    shares, num_labelled = None, 0
    if self.num_classes:
      label = self.train.labelled.label
      counts = np.bincount(label, minlength=self.num_classes)
      num_labelled = len(label)
      shares = tuple((counts / num_labelled).tolist())
    return Schema(
      self.name,
      self.image_shape,
      self.num_classes,
      self.train.num_images,
      shares,
      self.digest,
      self.scaling,
      self.class_names,
      num_labelled,
    )

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
        for start in range(0, len(array), stored.IMAGES_AT_ONCE):
          some = array[start : start + stored.IMAGES_AT_ONCE]
          found.update(np.ascontiguousarray(some).data)
    return found.hexdigest()

  def hold_out(self, num_validation: int) -> 'Dataset':
    """Moves the last labelled training images to the validation split.

    Args:
      num_validation: how many, 0 or more and fewer than there are.

    Returns:
      The data set with the two new splits.

    Raises:
      InputError: if `num_validation` is out of that range.
    """
    num_images, label = self.train.num_images, self.train.label
    index = np.arange(num_images)
    if label is not None:
      index = index[label >= 0]
    if not 0 <= num_validation < len(index):
      labelled = 'labelled ' if len(index) < num_images else ''
      raise InputError(
        f'num_validation={num_validation} must be from 0 to '
        f'{len(index) - 1}: {self.name} has {len(index)} {labelled}training '
        'images'
      )
    if not num_validation:
      return self
    held_out = np.zeros(num_images, bool)
    held_out[index[len(index) - num_validation :]] = True
    return dataclasses.replace(
      self,
      train=self.train.chosen(~held_out),
      validation=self.train.chosen(held_out),
    )
