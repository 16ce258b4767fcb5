"""Loading a data set by name."""

import dataclasses
import difflib
import functools
import importlib.util
import math
import os
import re

from etils import epath
import tensorflow_datasets as tfds

from aae_jax.datasets import own_images, stored
from aae_jax.datasets.builders import BUILDERS, FilesBuilder
from aae_jax.datasets.dataset import Dataset
from aae_jax.datasets.preparing import prepare_and_read
from aae_jax.errors import InputError


def load(
  name: str,
  *,
  data_dir: epath.PathLike,
  manual_dir: epath.PathLike | None = None,
  num_validation: int = 0,
  allow_unverified: bool = False,
  image_size: tuple[int, int] | None = None,
  streaming: bool | None = None,
  free_bytes: float = math.inf,
) -> Dataset:
  """Loads a data set; prepares it first, once, if need be.

  Args:
    name: `digits` (needs no files), `mnist`, `svhn_cropped`; the path of an
      .npz or .csv file or a folder of images, which begins with `/`, `./`,
      `../` or `~` (see `own_images.read`); or, where TensorFlow is installed,
      any tfds data set with `image`s of one shape.
    data_dir: where tfds prepares data sets and downloads files.
    manual_dir: a folder with the original files of the data set, which is only
      read; without it they are taken from `$AAE_DATA_DIR/<name>` if that
      folder exists, else downloaded.
    num_validation: how many training images, the last ones, to hold out.
    allow_unverified: whether to take files that are not the published ones.
      They are prepared apart, and the data set's name tells.
    image_size: (H, W) of the user's own images; see `own_images.read`.
    streaming: whether images are streamed to the devices: they are then in a
      file in `data_dir`, written once, but those of an .npz file, and not in
      memory. None: where they take more than half of `free_bytes`.
    free_bytes: of the memory of each device.

  Returns:
    The data set. Its test split has length zero where there is none.

  Raises:
    InputError: if the name is unknown, or files are missing, damaged, or not
      as published; or there is no room for the images.
    OSError: if files cannot be downloaded, or `data_dir` not written.
  """
  data_dir = epath.Path(data_dir).expanduser()
  folder = _find_folder(name, manual_dir)
  _check_image_size(name, image_size)
  place = functools.partial(
    stored.place, streaming=streaming, free_bytes=free_bytes
  )
  if own_images.is_path(name):
    dataset = own_images.read(name, image_size, data_dir, place)
  elif name in BUILDERS:
    dataset = _load_built_in(name, data_dir, folder, allow_unverified, place)
  else:
    dataset = _load_stock(name, data_dir, folder, place)
  return dataset.hold_out(num_validation)


def _check_image_size(name: str, image_size: tuple[int, int] | None) -> None:
  if image_size is None:
    return
  if len(image_size) != 2 or min(image_size) < 1:
    raise InputError(
      f'dataset.image_size is {image_size}; expected (height, width), both at '
      'least 1'
    )
  if not own_images.is_path(name):
    raise InputError(
      f'dataset.image_size is {image_size}, but {name} has a size of its own'
    )


def _find_folder(
  name: str, manual_dir: epath.PathLike | None
) -> epath.Path | None:
  """Returns the folder that holds the original files, if there is one."""
  if manual_dir:
    folder = epath.Path(manual_dir).expanduser()
    if name == 'digits' or own_images.is_path(name):
      raise InputError(f'manual_dir={folder}, but {name} has no use for it')
    if not folder.is_dir():
      raise InputError(f'manual_dir={folder} is not a folder')
    return folder
  root = os.environ.get('AAE_DATA_DIR')
  if not root or own_images.is_path(name):
    return None
  folder = epath.Path(root).expanduser() / name
  return folder if folder.is_dir() else None


def _load_built_in(
  name: str,
  data_dir: epath.Path,
  folder: epath.Path | None,
  allow_unverified: bool,
  place: stored.Place,
) -> Dataset:
  builder_class = BUILDERS[name]
  if not issubclass(builder_class, FilesBuilder):
    return prepare_and_read(name, builder_class, data_dir, place)
  config = builder_class.choose_content(folder, allow_unverified)
  make_builder = functools.partial(builder_class, config=config)
  dataset = prepare_and_read(name, make_builder, data_dir, place, folder)
  if config.verified:
    return dataset
  return dataclasses.replace(
    dataset,
    name=f'{name} (unverified: {dataset.train.num_images} train, '
    f'{dataset.test.num_images} test, content {config.name})',
  )


def _load_stock(
  name: str,
  data_dir: epath.Path,
  folder: epath.Path | None,
  place: stored.Place,
) -> Dataset:
  """Loads a data set by tfds's own builder, which needs TensorFlow."""
  known = tfds.list_builders(with_community_datasets=False)
  own = ', '.join(BUILDERS)
  if re.split('[/:]', name)[0] not in known:
    close = difflib.get_close_matches(name.lower(), {*BUILDERS, *known})
    hint = f'Did you mean {" or ".join(close)}? ' if close else ''
    raise InputError(
      f'there is no data set {name!r}. {hint}Known are {own}; with '
      'TensorFlow those of tfds; and the path of an .npz or .csv file or a '
      'folder of images, which begins with / ./ ../ or ~'
    )
  if importlib.util.find_spec('tensorflow') is None:
    raise InputError(
      f'{name} needs TensorFlow: pip install aae_jax[tensorflow]. Without it '
      f'there are {own}, .npz and .csv files and folders of images'
    )
  return prepare_and_read(
    name, functools.partial(tfds.builder, name), data_dir, place, folder
  )
