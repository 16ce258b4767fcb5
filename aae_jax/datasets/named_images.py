"""Images that a user names, read when they are asked for."""

from collections.abc import Callable, Sequence
import dataclasses
from typing import NamedTuple

from etils import epath
import numpy as np

from aae_jax.datasets import own_images
from aae_jax.errors import InputError

Shape = tuple[int, int, int]
"""(H, W, C)."""


class NamedImages(NamedTuple):
  """Images that have been found.

  Attributes:
    names: what each is called, [N].
    of_shape: `(H, W, C) -> rows`, an array uint8 [N, H, W, C], or what stands
      for one where rows are chosen by their places and reads them then. It
      raises InputError where the images cannot have the shape.
  """

  names: Sequence[str]
  of_shape: Callable[[Shape], 'np.ndarray | _Files']


def find_images(addresses: Sequence[str]) -> NamedImages:
  """Finds the images that are named; of files none is read yet, but an .npz.

  Args:
    addresses: image files, and folders, which are looked through with all
      within; or one .npz file, of which the array `image` is taken.

  Raises:
    InputError: there is no such file, a folder holds no image, or the .npz is
      not what it should be.
  """
  paths = [epath.Path(address).expanduser() for address in addresses]
  for path in paths:
    if not path.exists():
      raise InputError(
        f'{path}: there is no such folder, .npz file or image file'
      )
  arrays = [path for path in paths if path.suffix == '.npz']
  if not arrays:
    files = [file for path in paths for file in _files(path)]
    names = [str(file) for file in files]
    return NamedImages(names, lambda shape: _Files(files, shape))
  if len(paths) > 1:
    raise InputError(f'{arrays[0]} is an .npz file; expected no other images')
  return _of_array(*arrays)


def _files(path: epath.Path) -> list[epath.Path]:
  """The image files of a folder and all within it; a file is itself."""
  if not path.is_dir():
    return [path]
  files = own_images.list_images(path)
  if not files:
    raise InputError(f'{path} holds no image, nor do the folders within')
  return files


def _of_array(path: epath.Path) -> NamedImages:
  train, _ = own_images.read_npz(path)

  def of_shape(shape):
    found = train.image.shape[1:]
    if found != shape:
      raise InputError(
        f'{path} has images of shape {found}; expected {shape}, as the model '
        'was trained on'
      )
    return train.image

  return NamedImages(
    [f'{path}[{index}]' for index in range(train.num_images)], of_shape
  )


@dataclasses.dataclass(frozen=True)
class _Files:
  """Stands for the array of their images."""

  paths: Sequence[epath.Path]
  shape: Shape

  def __len__(self) -> int:
    return len(self.paths)

  def __getitem__(self, index: np.ndarray) -> np.ndarray:
    # A batch may be filled up with its last row.
    places, inverse = np.unique(index, return_inverse=True)
    height, width, channels = self.shape
    images = own_images.read_images(
      [self.paths[place] for place in places], (height, width), channels
    )
    return images[inverse]
