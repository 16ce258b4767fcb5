"""The user's own images: an .npz file, a folder, or a .csv of their paths."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import contextlib
import csv
import hashlib
import io
import math
import zipfile

from etils import epath
import numpy as np
from PIL import ExifTags, Image, ImageOps

from aae_jax.datasets import stored
from aae_jax.datasets.dataset import Dataset, Split
from aae_jax.errors import InputError

_TEST = 'test'
_UNLABELLED = 'unlabelled'
_ARRAYS = ('image', 'label', 'test_image', 'test_label')
_COLUMNS = ('path', 'label', 'split')
_SPLITS = ('train', 'test')
_SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.tif', '.tiff')
_MODES = {'1': 'L', 'L': 'L', 'P': 'RGB', 'RGB': 'RGB', 'CMYK': 'RGB'}

ImageSize = tuple[int, int]
"""(H, W)."""


_Entry = tuple[epath.Path, str | None]
"""An image file and the name of its class, None without."""


def is_path(name: str) -> bool:
  """Whether a data set's name is a path: .npz, .csv, from / . ~ or a URL.

  Args:
    name: as the user gave it.
  """
  return (
    name.endswith(('.npz', '.csv'))
    or name.startswith(('/', './', '../', '~'))
    or '://' in name
  )


def read(
  name: str,
  image_size: ImageSize | None,
  data_dir: epath.Path,
  place: stored.Place,
) -> Dataset:
  """Reads the images at a path.

  Image files are PNG, JPEG, WebP or TIFF, grey or RGB, 8 bits; where both are,
  grey ones become RGB. Of a folder or a .csv file the classes are numbered in
  the order of their names.

  Args:
    name: an .npz file (see `read_npz`), a folder of images (see `list_folder`)
      or a .csv file of their paths and labels (see `list_csv`).
    image_size: (H, W) to which image files are scaled, as little as covers it,
      and cropped at the centre; if None all must have one size.
    data_dir: where those that are streamed are written, as they are scaled.
    place: chooses where the images are, by the bytes that they take.

  Returns:
    The data set, without validation images; `name` is the path.

  Raises:
    InputError: if there is nothing, or not what these functions ask for.
  """
  path = epath.Path(name).expanduser()
  if path.is_dir():
    return _of_files(name, *list_folder(path), image_size, data_dir, place)
  if not path.exists():
    raise InputError(
      f'{name}: there is no such .npz file, .csv file or folder of images'
    )
  if path.suffix == '.csv':
    return _of_files(name, *list_csv(path), image_size, data_dir, place)
  if image_size:
    raise InputError(
      f'dataset.image_size is {image_size}, but {name} holds arrays; expected '
      'none, or a folder or .csv file of images'
    )
  train, test = read_npz(path)
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
    placement=place(train.image.nbytes + test.image.nbytes),
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


def list_folder(path: epath.Path) -> tuple[list[_Entry], list[_Entry]]:
  """Finds the images of a folder.

  Args:
    path: holds images, which are then unlabelled, or a subfolder of images for
      each class, called like it. Those in a subfolder `unlabelled` are without
      a label; a subfolder `test` holds test images in the same way. Other and
      hidden files are passed over.

  Returns:
    The training and the test images, of each class in sorted order, the classes
    mixed.

  Raises:
    InputError: if there are no images, both kinds, or an empty class.
  """
  test = path / _TEST
  return _list_split(path, _TEST), _list_split(test) if test.is_dir() else []


def list_csv(path: epath.Path) -> tuple[list[_Entry], list[_Entry]]:
  """Finds the images that a table names.

  Args:
    path: of a .csv file with the columns `path`, from the file's folder on or
      absolute; optionally `label`, the name of a class or empty for an image
      without; and optionally `split`, which is `train` or `test`.

  Returns:
    The training and the test images, in the order of the table.

  Raises:
    InputError: if it is no text of UTF-8, there is no row, a column is missing
      or unknown, a split is another, or there is no such image.
  """
  try:
    # Some spreadsheets begin with a mark of the encoding.
    text = path.read_bytes().decode('utf-8-sig')
  except UnicodeDecodeError as error:
    raise InputError(f'{path} is no text of UTF-8: {error}') from None
  table = csv.DictReader(io.StringIO(text, newline=''))
  columns, rows = table.fieldnames or [], [*table]
  if 'path' not in columns or {*columns} - {*_COLUMNS}:
    raise InputError(
      f'{path} has the columns {", ".join(columns)}: expected path, and '
      'optionally label and split, and no others'
    )
  found = {split: [] for split in _SPLITS}
  for line, row in enumerate(rows, start=2):
    split, entry = _checked_row(path, line, row)
    found[split].append(entry)
  if not found['train']:
    raise InputError(f'{path} names no image to train on')
  return found['train'], found['test']


def list_images(folder: epath.Path) -> list[epath.Path]:
  """The image files in a folder and all within it, in sorted order.

  Hidden files and folders are passed over.
  """
  found = _list_images(folder)
  for child in _folders(folder):
    found += list_images(child)
  return sorted(found)


def read_images(
  paths: Iterable[epath.Path], image_size: ImageSize, channels: int
) -> np.ndarray:
  """Reads image files of any size, scaled and cropped as by `read`.

  Args:
    paths: of N files.
    image_size: (H, W).
    channels: C, 1 for grey, 3 for RGB.

  Returns:
    uint8 [N, H, W, C].

  Raises:
    InputError: an image is damaged, or not of grey or RGB of 8 bits.
  """
  mode = 'RGB' if channels == 3 else 'L'
  images = (_read_image(path).convert(mode) for path in paths)
  return np.stack([_pixels(_fit(image, image_size)) for image in images])


def _checked_row(
  path: epath.Path, line: int, row: Mapping[str, str]
) -> tuple[str, _Entry]:
  """The split and the image that a row of a table names."""
  split = row.get('split') or 'train'
  if split not in _SPLITS:
    raise InputError(
      f'{path}, line {line}: split is {split!r}; expected train or test'
    )
  image = path.parent / (row['path'] or '')
  if not image.is_file():
    raise InputError(f'{path}, line {line}: there is no image {image}')
  return split, (image, row.get('label') or None)


def _folders(path: epath.Path, *without: str) -> list[epath.Path]:
  """Those within a folder, in sorted order; hidden ones are passed over."""
  return sorted(
    child
    for child in path.iterdir()
    if child.is_dir()
    and not child.name.startswith('.')
    and child.name not in without
  )


def _list_split(path: epath.Path, *without: str) -> list[_Entry]:
  """The images of a folder, or of the folders within but for some."""
  files, folders = _list_images(path), _folders(path, *without)
  if files and folders:
    raise InputError(
      f'{path} holds both images and folders: put each image into the folder '
      'of its class, or take the folders away'
    )
  found = {None: files} if files else {}
  for folder in folders:
    images = _list_images(folder)
    if not images:
      raise InputError(f'{folder}, the folder of a class, holds no image')
    found[None if folder.name == _UNLABELLED else folder.name] = images
  if not found:
    raise InputError(f'{path} holds no image and no folders of images')
  unlabelled = [(image, None) for image in found.pop(None, [])]
  return _mixed(found) + unlabelled


def _mixed(images: Mapping[str, Sequence[epath.Path]]) -> list[_Entry]:
  """Images of classes, any part of which has the classes in their shares.

  So has the part that is held out.
  """
  placed = [
    ((place + 0.5) / len(paths), path, name)
    for name, paths in images.items()
    for place, path in enumerate(paths)
  ]
  placed.sort(key=lambda found: found[0])
  return [(path, name) for _, path, name in placed]


def _of_files(
  name: str,
  train: Sequence[_Entry],
  test: Sequence[_Entry],
  image_size: ImageSize | None,
  data_dir: epath.Path,
  place: stored.Place,
) -> Dataset:
  """The data set of the images that are in files."""
  classes = sorted({label for _, label in train} - {None})
  for path, label in test if classes else ():
    if label not in classes:
      raise InputError(
        f'{path}, a test image, is of the class {label!r}; expected one of the '
        f'training images: {", ".join(classes)}'
      )
  paths, labels = zip(*train, *test, strict=True)
  kinds = [_kind(path) for path in paths]
  sizes = [size for _, size in kinds]
  if not image_size:
    _check_sizes(paths, sizes)
  height, width = image_size = image_size or sizes[0]
  channels = 3 if any(mode == 'RGB' for mode, _ in kinds) else 1
  shape = len(paths), height, width, channels
  placement = place(math.prod(shape))
  image, _ = stored.gather(
    lambda start, stop: (
      read_images(paths[start:stop], image_size, channels),
      None,
    ),
    shape,
    _folder(data_dir, paths, shape) if placement.is_streamed else None,
  )
  number = {None: -1, **{label: k for k, label in enumerate(classes)}}
  label = np.array([number[k] for k in labels], np.int32) if classes else None
  whole, size = Split(image, label), len(train)
  return Dataset(
    name=name,
    train=whole.part(0, size),
    validation=whole.part(0, 0),
    test=whole.part(size, len(image)),
    num_classes=len(classes) or None,
    class_names=tuple(classes) or None,
    num_fitted=sum(size != (height, width) for size in sizes),
    placement=placement,
  )


def _folder(
  data_dir: epath.Path, paths: Sequence[epath.Path], shape: tuple[int, ...]
) -> epath.Path:
  """Where images of files are written; of files that change, another."""
  found = hashlib.sha256(f'{shape}'.encode())
  for path in paths:
    stat = path.stat()
    found.update(f'{path.resolve()} {stat.length} {stat.mtime}\n'.encode())
  return data_dir / 'own_images' / found.hexdigest()[:16]


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
    if path.suffix.lower() in _SUFFIXES and not path.name.startswith('.')
  )


def _check_sizes(
  paths: Sequence[epath.Path], sizes: Sequence[ImageSize]
) -> None:
  """Refuses images of several sizes."""
  height, width = sizes[0]
  for path, (h, w) in zip(paths, sizes, strict=True):
    if (h, w) != (height, width):
      raise InputError(
        f'{path} has {h} x {w} pixels, {paths[0]} has {height} x {width}: '
        'all images must have one size, or be scaled and cropped by '
        f'--config.dataset.image_size="({height}, {width})"'
      )


def _fit(image: Image.Image, image_size: ImageSize) -> Image.Image:
  """Scaled by as little as covers the size, and cropped at the centre."""
  height, width = image_size
  if image.size == (width, height):
    return image
  return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)


def _pixels(image: Image.Image) -> np.ndarray:
  """uint8 [H, W, C]."""
  pixels = np.asarray(image)
  return pixels.reshape(*pixels.shape[:2], -1)


def _kind(path: epath.Path) -> tuple[str, ImageSize]:
  """The mode, L or RGB, and the size of an image, by the head of its file."""
  with _opened(path) as image:
    # A camera says by a tag how it was held: from 5 on, on its side.
    is_turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
    return _MODES[image.mode], image.size if is_turned else image.size[::-1]


def _read_image(path: epath.Path) -> Image.Image:
  """Reads an image, upright, of mode L or RGB."""
  with _opened(path) as image:
    return ImageOps.exif_transpose(image).convert(_MODES[image.mode])


@contextlib.contextmanager
def _opened(path: epath.Path) -> Iterator[Image.Image]:
  """An image; InputError if it is damaged, or not of grey or RGB of 8 bits."""
  try:
    with path.open('rb') as file, Image.open(file) as image:
      mode = image.mode
      if mode in _MODES:
        yield image
        return
  except (OSError, SyntaxError, ValueError) as error:
    raise InputError(f'{path} is not a whole image: {error}') from None
  raise InputError(
    f'{path} must be grey or RGB, 8 bits, without transparency: found the mode '
    f'{mode}'
  )
