"""The user's own images: an .npz file, or a folder of PNGs."""

from collections.abc import Sequence
import io
import zipfile

from etils import epath
import numpy as np
from PIL import Image

from aae_jax.datasets.dataset import Dataset, Split
from aae_jax.errors import InputError

_UNLABELLED = 'unlabelled'
_ARRAYS = ('image', 'label', 'test_image', 'test_label')
_MODES = {'1': 'L', 'L': 'L', 'P': 'RGB', 'RGB': 'RGB'}


def is_path(name: str) -> bool:
  """Whether a data set's name is a path: an .npz file or from / . ~ or a URL.

  Args:
    name: as the user gave it.
  """
  return (
    name.endswith('.npz')
    or name.startswith(('/', './', '../', '~'))
    or '://' in name
  )


def read(name: str) -> Dataset:
  """Reads the images at a path.

  Args:
    name: an .npz file (see `read_npz`) or a folder of PNGs (`read_folder`).

  Returns:
    The data set, without validation images; `name` is the path.

  Raises:
    InputError: if there is nothing, or not what the two functions ask for.
  """
  path = epath.Path(name).expanduser()
  if path.is_dir():
    train, test = read_folder(path)
  elif path.exists():
    train, test = read_npz(path)
  else:
    raise InputError(f'{name}: there is no such .npz file or folder of PNGs')
  num_classes = (
    None
    if train.label is None
    else _count_classes(path, train.label, test.label)
  )
  return Dataset(
    name=name,
    train=train,
    validation=train.part(0, 0),
    test=test,
    num_classes=num_classes,
  )


def read_npz(path: epath.Path) -> tuple[Split, Split]:
  """Reads the arrays of an .npz file.

  Args:
    path: holds `image` (uint8, or floats from 0 to 1; [N, H, W] or
      [N, H, W, C]) and optionally `label` (integers [N], -1 for an image
      without), `test_image` and `test_label`.

  Returns:
    The training and the test images; the latter of length zero if the file has
    none.

  Raises:
    InputError: if it is no .npz file, or an array is missing, unknown, or not
      of this kind.
  """
  arrays = _load_arrays(path)
  image = _to_uint8(path, 'image', arrays['image'])
  label = _to_label(path, 'label', arrays.get('label'), len(image))
  train = Split(image, label)
  if 'test_image' not in arrays:
    if 'test_label' in arrays:
      raise InputError(f'{path} has test_label, but no test_image')
    return train, train.part(0, 0)
  test_image = _to_uint8(path, 'test_image', arrays['test_image'])
  test_label = _to_label(
    path, 'test_label', arrays.get('test_label'), len(test_image)
  )
  if test_image.shape[1:] != image.shape[1:]:
    raise InputError(
      f'{path}: test_image has images of shape {test_image.shape[1:]}, image '
      f'has {image.shape[1:]}'
    )
  if (label is None) != (test_label is None):
    raise InputError(f'{path} must have both label and test_label, or neither')
  return train, Split(test_image, test_label)


def read_folder(path: epath.Path) -> tuple[Split, Split]:
  """Reads a folder of PNGs, grey or RGB, 8 bits, all of one shape.

  Args:
    path: holds PNGs, which are then unlabelled, or subfolders of them, each a
      class, numbered in sorted order, but for one called `unlabelled`. Other
      and hidden files are passed over.

  Returns:
    The images in sorted order, and a test split of length zero.

  Raises:
    InputError: if there are no PNGs, both kinds, an empty class, or an image
      is damaged, of another kind or of another shape than the first.
  """
  files = _list_images(path)
  folders = sorted(
    child
    for child in path.iterdir()
    if child.is_dir() and not child.name.startswith('.')
  )
  if files and folders:
    raise InputError(
      f'{path} holds both PNGs and folders: put each PNG into the folder of '
      'its class, or take the folders away'
    )
  # Last, where it moves no number of a class.
  folders.sort(key=lambda folder: folder.name == _UNLABELLED)
  classes = [_list_images(folder) for folder in folders]
  for folder, images in zip(folders, classes, strict=True):
    if not images:
      raise InputError(f'{folder}, the folder of a class, holds no PNG')
  if not (files or classes):
    raise InputError(f'{path} holds no PNG and no folders of PNGs')
  number = np.arange(len(classes), dtype=np.int32)
  number[[folder.name == _UNLABELLED for folder in folders]] = -1
  label = np.repeat(number, [len(images) for images in classes])
  image = _read_images(files + [file for images in classes for file in images])
  train = Split(image, label if classes else None)
  return train, train.part(0, 0)


def list_images(folder: epath.Path) -> list[epath.Path]:
  """The PNGs in a folder and all within it, in sorted order.

  Hidden files and folders are passed over.
  """
  found = _list_images(folder)
  for child in folder.iterdir():
    if child.is_dir() and not child.name.startswith('.'):
      found += list_images(child)
  return sorted(found)


def read_images(
  paths: Sequence[epath.Path], image_size: tuple[int, int], channels: int
) -> np.ndarray:
  """Reads PNGs.

  Args:
    paths: of N files.
    image_size: (H, W) of the images.
    channels: C, 1 for grey, 3 for RGB.

  Returns:
    uint8 [N, H, W, C].

  Raises:
    InputError: an image is damaged, or of another kind or size.
  """
  images = _read_images(paths)
  expected = (*image_size, channels)
  if images.shape[1:] != expected:
    raise InputError(
      f'{paths[0]} has the shape {images.shape[1:]}; expected {expected}'
    )
  return images


def _load_arrays(path: epath.Path) -> dict[str, np.ndarray]:
  data = io.BytesIO(path.read_bytes())
  if not zipfile.is_zipfile(data):
    raise InputError(f'{path} is not a whole .npz file: it is no zip archive')
  try:
    with np.load(data, allow_pickle=False) as arrays:
      unknown = sorted(set(arrays.files) - set(_ARRAYS))
      found = {name: arrays[name] for name in arrays.files if name in _ARRAYS}
  except (EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
    raise InputError(f'{path} is not a whole .npz file: {error}') from None
  if unknown or 'image' not in found:
    raise InputError(
      f'{path} has the arrays {sorted([*found, *unknown])}: expected image, '
      'and optionally label, test_image and test_label, and no others'
    )
  return found


def _to_uint8(path: epath.Path, name: str, image: np.ndarray) -> np.ndarray:
  """Checks images and returns them as uint8 [N, H, W, C]."""
  if image.ndim not in (3, 4) or not image.size:
    raise InputError(
      f'{path}: {name} must be [N, H, W] or [N, H, W, C], none of them 0, '
      f'found {image.shape}'
    )
  if image.ndim == 3:
    image = image[..., np.newaxis]
  if image.dtype == np.uint8:
    return image
  if not np.issubdtype(image.dtype, np.floating):
    raise InputError(
      f'{path}: {name} must be uint8 or floats from 0 to 1, found {image.dtype}'
    )
  low, high = image.min(), image.max()
  if not (low >= 0 and high <= 1):  # Also false for NaN.
    raise InputError(
      f'{path}: {name} must be from 0 to 1 where it is of floats, found '
      f'{low} to {high}'
    )
  return np.round(image * 255).astype(np.uint8)


def _to_label(
  path: epath.Path, name: str, label: np.ndarray | None, num_images: int
) -> np.ndarray | None:
  """Checks labels and returns them as int32 [N]."""
  if label is None:
    return None
  if not np.issubdtype(label.dtype, np.integer):
    raise InputError(f'{path}: {name} must be integers, found {label.dtype}')
  if label.shape != (num_images,):
    raise InputError(
      f'{path}: {name} must have the shape ({num_images},), one for each '
      f'image, found {label.shape}'
    )
  return label.astype(np.int32)


def _count_classes(
  path: epath.Path, label: np.ndarray, test_label: np.ndarray
) -> int:
  """Returns how many classes there are, numbered from 0 without a gap."""
  classes = np.unique(label[label != -1])
  if not (classes.size and np.array_equal(classes, np.arange(len(classes)))):
    raise InputError(
      f'{path}: the labels must number the classes 0, 1, 2, ... without a '
      f'gap, or be -1 for an image without, found {_shorten(np.unique(label))}'
    )
  unknown = np.setdiff1d(test_label, classes)
  if unknown.size:
    raise InputError(
      f'{path}: test_label has {_shorten(unknown)}, which label has not'
    )
  return len(classes)


def _shorten(values: np.ndarray) -> str:
  shown = ', '.join(str(value) for value in values[:10])
  return shown + (', ...' if len(values) > 10 else '')


def _list_images(folder: epath.Path) -> list[epath.Path]:
  return sorted(
    path
    for path in folder.iterdir()
    if path.suffix.lower() == '.png' and not path.name.startswith('.')
  )


def _read_images(paths: Sequence[epath.Path]) -> np.ndarray:
  """Reads images of one shape to uint8 [N, H, W, C]."""
  first = _read_image(paths[0])
  images = np.empty((len(paths), *first.shape), np.uint8)
  for index, path in enumerate(paths):
    image = _read_image(path)
    if image.shape != first.shape:
      raise InputError(
        f'{path} has the shape {image.shape}, but {paths[0]} has '
        f'{first.shape}: all images must have one'
      )
    images[index] = image
  return images


def _read_image(path: epath.Path) -> np.ndarray:
  """Reads a PNG to uint8 [H, W, C]; C is 1 for grey, else 3."""
  try:
    with path.open('rb') as file, Image.open(file) as image:
      mode = image.mode
      pixels = np.array(image.convert(_MODES.get(mode)))
  except (OSError, SyntaxError, ValueError) as error:
    raise InputError(f'{path} is not a whole PNG: {error}') from None
  if mode not in _MODES:
    raise InputError(
      f'{path} must be grey or RGB, 8 bits, without transparency: found '
      f'the mode {mode}'
    )
  return pixels.reshape(*pixels.shape[:2], -1)
