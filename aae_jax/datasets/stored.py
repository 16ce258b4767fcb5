"""Where the images of a data set are: in memory, or in a file that is mapped.

Those of a file are read when they are asked for, so that they may be more than
memory holds.
"""

from collections.abc import Callable, Iterator
import dataclasses
import os
import shutil
from typing import NamedTuple

from etils import epath
import jax
import numpy as np
import psutil

from aae_jax.errors import InputError

IMAGES_AT_ONCE = 1024
"""Read, and held in memory, of those that may be too many to be."""

_SHARE_OF_IMAGES = 0.5
"""Of the free memory of a device; the rest is for what is trained."""

Examples = tuple[np.ndarray, np.ndarray | None]
"""Images uint8 [N, H, W, C], and labels int32 [N] where there are any."""


class Placement(NamedTuple):
  """Where images are while a system is trained on them.

  Attributes:
    is_streamed: whether blocks of them come to the devices in turn; else the
      devices hold them all.
    reason: why, in a few words.
  """

  is_streamed: bool = False
  reason: str = 'they are in memory'


Place = Callable[[int], Placement]
"""Of how many bytes the images take: `place`, the rest of it being known."""


@dataclasses.dataclass(frozen=True)
class Rows:
  """Stands for an array of some images of a file; an index reads those at it.

  Attributes:
    image: all images of the file, [N, H, W, C].
    index: which of them, int [M].
  """

  image: np.memmap
  index: np.ndarray

  @property
  def shape(self) -> tuple[int, ...]:
    """(M, H, W, C)."""
    return len(self.index), *self.image.shape[1:]

  @property
  def dtype(self) -> np.dtype:
    """Of the images."""
    return self.image.dtype

  def __len__(self) -> int:
    """M."""
    return len(self.index)

  def __getitem__(self, key: np.ndarray | slice) -> np.ndarray:
    """Reads those at some of the M places."""
    return self.image[self.index[key]]


def chosen(image: np.ndarray | Rows, index: np.ndarray) -> np.ndarray | Rows:
  """The images at int [M], or where bool [N] is true; of a file none is read.

  Args:
    image: [N, H, W, C].
    index: which.
  """
  if isinstance(image, Rows):
    return Rows(image.image, image.index[index])
  if isinstance(image, np.memmap):
    return Rows(image, np.arange(len(image))[index])
  return image[index]


def free_bytes() -> int:
  """Of the memory of the fullest device of this process."""
  devices = jax.local_devices()
  stats = [device.memory_stats() for device in devices]
  if all(stats):
    return min(x['bytes_limit'] - x['bytes_in_use'] for x in stats)
  return psutil.virtual_memory().available // len(devices)


def place(
  num_bytes: int, streaming: bool | None, free_bytes: float
) -> Placement:
  """Chooses where images are.

  Args:
    num_bytes: that they take.
    streaming: whether they are streamed; if None, they are where they take more
      than half of what is free.
    free_bytes: of the memory of each device.

  Raises:
    InputError: they are not to be streamed, and do not fit.
  """
  sizes = f'{_show(num_bytes)} of images, {_show(free_bytes)} free on a device'
  if streaming is None:
    return Placement(num_bytes > _SHARE_OF_IMAGES * free_bytes, sizes)
  if not streaming and num_bytes > free_bytes:
    raise InputError(f'dataset.streaming is False, expected True: {sizes}')
  return Placement(streaming, f'dataset.streaming is {streaming}')


def gather(
  read: Callable[[int, int], Examples],
  shape: tuple[int, int, int, int],
  folder: epath.Path | None,
) -> Examples:
  """Reads images to memory; or to a file, once, which is mapped.

  Args:
    read: `(start, stop) -> examples`.
    shape: of all images, (N, H, W, C).
    folder: of the file; None for memory.

  Returns:
    All examples, the images in memory or as a `np.memmap`.

  Raises:
    InputError: there is no room for the file, or it is damaged, or not local.
    OSError: the file cannot be written.
  """
  starts = range(0, shape[0], IMAGES_AT_ONCE)
  blocks = (
    read(start, min(start + IMAGES_AT_ONCE, shape[0])) for start in starts
  )
  if folder is None:
    image, label = zip(*blocks, strict=True)
    return np.concatenate(image), _joined(label)
  if '://' in str(folder):
    raise InputError(
      f'images are to be streamed from {folder}; expected a local folder as '
      'dataset.data_dir'
    )
  if not folder.exists():
    _write(blocks, shape, folder)
  return _map(folder, shape)


def _write(
  blocks: Iterator[Examples],
  shape: tuple[int, int, int, int],
  folder: epath.Path,
) -> None:
  """Beside the final folder first, so that a broken run leaves none."""
  part, labels = folder.with_name(f'{folder.name}.{os.getpid()}'), []
  part.mkdir(parents=True)
  try:
    _check_room(int(np.prod(shape)), folder.parent)
    with (part / 'image.npy').open('wb') as file:
      header = {'descr': '|u1', 'fortran_order': False, 'shape': shape}
      np.lib.format.write_array_header_1_0(file, header)
      # Through a map a full disk would end the process.
      for image, label in blocks:
        file.write(np.ascontiguousarray(image).data)
        labels.append(label)
    if labels[0] is not None:
      np.save(part / 'label.npy', _joined(labels))
    if not folder.exists():  # Else another process was faster.
      part.rename(folder)
  finally:
    shutil.rmtree(part, ignore_errors=True)


def _joined(labels: list[np.ndarray | None]) -> np.ndarray | None:
  return None if labels[0] is None else np.concatenate(labels)


def _check_room(num_bytes: int, folder: epath.Path) -> None:
  free = shutil.disk_usage(folder).free
  if num_bytes > free:
    raise InputError(
      f'{_show(num_bytes)} of images are to be streamed, and {_show(free)} are '
      f'free in {folder}; expected room for them there, or on the devices'
    )


def _map(folder: epath.Path, shape: tuple[int, int, int, int]) -> Examples:
  path = folder / 'label.npy'
  try:
    image = np.load(folder / 'image.npy', mmap_mode='r')
    label = np.load(path) if path.exists() else None
  except (EOFError, OSError, ValueError) as error:
    raise InputError(
      f'the images in {folder} cannot be read ({error}). Delete that folder '
      'and run again'
    ) from None
  if image.shape != shape:
    raise InputError(
      f'{folder} holds images of shape {image.shape}, expected {shape}. Delete '
      'that folder and run again'
    )
  return image, label


def _show(num_bytes: float) -> str:
  return f'{num_bytes / 1e6:,.1f} MB'
