"""Preparing a data set with tfds, and reading it to memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import io
import math
import threading
from typing import Any
import urllib.parse

from absl import logging
from etils import epath
import numpy as np
import requests
import tensorflow_datasets as tfds

from aae_jax.datasets import stored
from aae_jax.datasets.dataset import Dataset, Split
from aae_jax.errors import InputError

Builder = tfds.core.DatasetBuilder
_CONNECT_SECONDS = 5
_PROBE_SECONDS = 8
_PREPARING_ERRORS = (
  OSError,
  RuntimeError,  # What array_record makes of a full disk.
  tfds.download.DownloadError,
  tfds.download.download_manager.NonMatchingChecksumError,
)


def prepare_and_read(
  name: str,
  make_builder: Callable[..., Builder],
  data_dir: epath.Path,
  place: stored.Place,
  manual_dir: epath.Path | None = None,
) -> Dataset:
  """Loads a data set that a tfds builder makes, preparing it if need be.

  tfds prepares in a folder beside the final one and renames it at the end, so
  that a broken run leaves nothing that would be believed.

  Args:
    name: what results call it.
    make_builder: makes the builder, given `data_dir`; its images must be uint8
      of one shape. Called again after preparing.
    data_dir: where tfds prepares data sets and downloads files.
    place: chooses where the images are, by the bytes that they take.
    manual_dir: passed on to the builder's download manager.

  Returns:
    The data set, with no validation images.

  Raises:
    InputError: if the images are of another kind, or the prepared data damaged.
    OSError: if a download fails, or the data cannot be written.
  """
  builder = _open(name, make_builder, data_dir)
  _check_features(name, builder.info.features)
  if not builder.data_path.exists():
    _prepare(name, builder, manual_dir)
    builder = _open(name, make_builder, data_dir)
  return _read(name, builder, place)


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
  """Keeps tfds from printing, drawing bars, and warning of what is intended."""
  tfds.disable_progress_bar()
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    logging.set_verbosity(verbosity)


def _open(
  name: str, make_builder: Callable[..., Builder], data_dir: epath.Path
) -> Builder:
  try:
    with _quiet_tfds():
      return make_builder(data_dir=data_dir)
  except Exception as error:  # A description that is damaged, or a bad name.
    raise InputError(
      f'{name}: tfds cannot open it ({_first_line(error)}). If it was '
      f'prepared, delete {data_dir / name} and run again'
    ) from error


def _check_features(name: str, features: tfds.features.FeaturesDict) -> None:
  if 'image' not in features:
    raise InputError(
      f'{name} has no feature `image`, only {", ".join(sorted(features))}'
    )
  image = features['image']
  if None in image.shape or len(image.shape) != 3 or image.np_dtype != np.uint8:
    raise InputError(
      f'{name}: expected uint8 images of one shape (H, W, C), found '
      f'{np.dtype(image.np_dtype)} of {image.shape}'
    )


def _prepare(
  name: str, builder: Builder, manual_dir: epath.Path | None
) -> None:
  if builder.url_infos and manual_dir is None:
    _check_network(name, builder.url_infos)
  folder = builder.data_path
  logging.info('Preparing %s in %s.', name, folder)
  try:
    with _quiet_tfds():
      builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=manual_dir),
        file_format='array_record',
      )
  except _PREPARING_ERRORS as error:
    if folder.exists():  # Another process was faster.
      return
    raise OSError(
      f'{name} cannot be prepared in {folder}: {_first_line(error)}'
    ) from error


def _check_network(name: str, url_infos: Mapping[str, Any]) -> None:
  """Raises OSError if the files to download are out of reach.

  tfds retries for minutes before it says so.
  """
  url = next(iter(url_infos))
  if not _is_reachable(url):
    files = [info.filename or url for url, info in url_infos.items()]
    raise OSError(
      f'{name} is not prepared yet, and {urllib.parse.urlsplit(url).netloc} '
      f'cannot be reached. Put {", ".join(files)} into a folder, and give '
      f'that as manual_dir or put it at $AAE_DATA_DIR/{name}'
    )


def _is_reachable(url: str) -> bool:
  answers = []

  def ask():
    with contextlib.suppress(OSError):
      answer = requests.head(
        url, timeout=_CONNECT_SECONDS, allow_redirects=True
      )
      answers.append(answer.status_code < 500)

  # In a thread, since name resolution has no time limit of its own.
  probe = threading.Thread(target=ask, daemon=True)
  probe.start()
  probe.join(_PROBE_SECONDS)
  return any(answers)


def _read(name: str, builder: Builder, place: stored.Place) -> Dataset:
  with _reading(name, builder):
    sources = {
      split: builder.as_data_source(split)
      for split in ('train', 'test')
      if split == 'train' or split in builder.info.splits
    }
  num_images = sum(len(source) for source in sources.values())
  placement = place(num_images * math.prod(_image_shape(builder)))
  splits = {}
  for split, source in sources.items():
    folder = builder.data_path / f'streamed_{split}'
    splits[split] = _read_split(
      name, builder, source, folder if placement.is_streamed else None
    )
  none = splits['train'].part(0, 0)
  return Dataset(
    name=name,
    train=splits['train'],
    validation=none,
    test=splits.get('test', none),
    num_classes=_count_classes(builder),
    placement=placement,
  )


def _image_shape(builder: Builder) -> tuple[int, int, int]:
  return builder.info.features['image'].shape


def _count_classes(builder: Builder) -> int | None:
  features = builder.info.features
  label = features['label'] if 'label' in features else None
  is_class = isinstance(label, tfds.features.ClassLabel)
  return label.num_classes if is_class else None


def _read_split(
  name: str, builder: Builder, source: Sequence[Any], folder: epath.Path | None
) -> Split:
  has_labels = _count_classes(builder) is not None

  def read(start, stop):
    with _reading(name, builder):
      # Six times faster than one by one.
      examples = source.__getitems__(list(range(start, stop)))
    image = np.stack([example['image'] for example in examples])
    if not has_labels:
      return image, None
    return image, np.array([example['label'] for example in examples], np.int32)

  shape = len(source), *_image_shape(builder)
  return Split(*stored.gather(read, shape, folder))


@contextlib.contextmanager
def _reading(name: str, builder: Builder) -> Iterator[None]:
  """Raises InputError if the prepared data cannot be read."""
  try:
    yield
  except Exception as error:  # Damaged bytes fail in many ways.
    raise InputError(
      f'{name}: the prepared data in {builder.data_path} cannot be read '
      f'({_first_line(error)}). Delete that folder and run again'
    ) from error


def _first_line(error: Exception) -> str:
  return (str(error) or type(error).__name__).splitlines()[0]
