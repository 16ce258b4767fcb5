"""tfds builders of the data sets that need no TensorFlow.

The stock builders of `mnist` and `svhn_cropped` write their images with
TensorFlow. These write plain bytes, read the original files themselves, and
take them also from a folder. They are not registered: under their names tfds
keeps its own builders, from which they have the addresses and checksums.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import gzip
import hashlib
import io
import math
from typing import Any, ClassVar, NamedTuple
import zlib

from etils import epath
import numpy as np
import tensorflow_datasets as tfds

from aae_jax.errors import InputError


class PublishedFile(NamedTuple):
  """A file's published content, uncompressed.

  Attributes:
    size: bytes.
    sha256: hexadecimal digest.
  """

  size: int
  sha256: str


@dataclasses.dataclass(eq=False, kw_only=True)
class ContentConfig(tfds.core.BuilderConfig):
  """Which content to prepare; its name keeps unlike contents apart on disk.

  Attributes:
    verified: whether it is the published content.
    contents: {file name: uncompressed bytes}, or None to download them.
  """

  verified: bool
  contents: Mapping[str, bytes] | None = dataclasses.field(
    default=None, repr=False
  )


class ImageBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Images of one shape with the labels of ten digits, in the files' order."""

  VERSION = tfds.core.Version('1.0.0')
  IMAGE_SHAPE: ClassVar[tuple[int, int, int]]
  HOMEPAGE: ClassVar[str]

  def _info(self) -> tfds.core.DatasetInfo:
    image = tfds.features.Tensor(
      shape=self.IMAGE_SHAPE,
      dtype=np.uint8,
      # Twice as fast to write and to read as a list of integers.
      encoding=tfds.features.Encoding.BYTES,
    )
    return tfds.core.DatasetInfo(
      builder=self,
      description=type(self).__doc__,
      homepage=self.HOMEPAGE,
      features=tfds.features.FeaturesDict(
        {
          'image': image,
          'label': tfds.features.ClassLabel(num_classes=10),
        }
      ),
      disable_shuffling=True,
    )

  def _generate_examples(
    self, image: np.ndarray, label: np.ndarray
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    for index, (one_image, one_label) in enumerate(
      zip(image, label, strict=True)
    ):
      yield index, {'image': one_image, 'label': int(one_label)}


class Digits(ImageBuilder, skip_registration=True):
  """UCI handwritten digits, the part in scikit-learn: 1,797 images."""

  IMAGE_SHAPE = (8, 8, 1)
  HOMEPAGE = 'https://doi.org/10.24432/C50P49'
  NUM_TRAIN = 1437

  def _split_generators(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
    import sklearn.datasets  # A second to import, for preparing alone.

    del dl_manager
    digits = sklearn.datasets.load_digits()
    image = np.round(digits.images[..., np.newaxis] * (255 / 16))
    image = image.astype(np.uint8)
    train, test = slice(self.NUM_TRAIN), slice(self.NUM_TRAIN, None)
    return {
      'train': self._generate_examples(image[train], digits.target[train]),
      'test': self._generate_examples(image[test], digits.target[test]),
    }


class FilesBuilder(ImageBuilder, skip_registration=True):
  """A data set made from files that are published, by download or by hand."""

  FILES: ClassVar[tuple[str, ...]]

  @classmethod
  def published(cls) -> Mapping[str, PublishedFile]:
    """Returns {file name: its published content}."""
    raise NotImplementedError

  @classmethod
  def unpack(cls, name: str, data: bytes) -> bytes:
    """Returns the uncompressed bytes of a file; InputError if damaged."""
    del name
    return data

  @classmethod
  def parse(
    cls, contents: Mapping[str, bytes]
  ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reads what files hold.

    Args:
      contents: {file name: uncompressed bytes}.

    Returns:
      {split: (image, label)}: uint8 [N, H, W, C] and integers [N], 0 to 9.

    Raises:
      InputError: if a file is not of its format; names the file.
    """
    raise NotImplementedError

  @classmethod
  def choose_content(
    cls, folder: epath.Path | None, allow_unverified: bool
  ) -> ContentConfig:
    """Chooses the content to prepare, and checks it.

    Args:
      folder: holds the files; None for the published content, downloaded if it
        is not prepared yet.
      allow_unverified: whether other content will do.

    Returns:
      The config to build with.

    Raises:
      InputError: if files are missing, damaged, or not the published ones.
    """
    published = cls.published()
    if folder is None:
      digests = {name: file.sha256 for name, file in published.items()}
      return ContentConfig(name=_content_name(digests), verified=True)
    contents = cls._read_folder(folder)
    digests = {
      name: hashlib.sha256(data).hexdigest() for name, data in contents.items()
    }
    unverified = [
      name for name in cls.FILES if digests[name] != published[name].sha256
    ]
    if unverified and not allow_unverified:
      name = unverified[0]
      raise InputError(
        f'{folder / name} is not the published file of {cls.name}: expected '
        f'{published[name].size} bytes, unpacked, of sha256 '
        f'{published[name].sha256[:12]}..., found {len(contents[name])} of '
        f'{digests[name][:12]}... To use it all the same, set '
        'allow_unverified=True'
      )
    return ContentConfig(
      name=_content_name(digests), verified=not unverified, contents=contents
    )

  @classmethod
  def _read_folder(cls, folder: epath.Path) -> dict[str, bytes]:
    paths = {}
    for name in cls.FILES:
      candidates = folder / name, folder / name.removesuffix('.gz')
      paths[name] = next((path for path in candidates if path.exists()), None)
    missing = [name for name, path in paths.items() if path is None]
    if missing:
      raise InputError(
        f'{folder} lacks {", ".join(missing)}: {cls.name} needs '
        f'{", ".join(cls.FILES)}'
      )
    return {
      name: cls.unpack(str(path), path.read_bytes())
      for name, path in paths.items()
    }

  @property
  def url_infos(self) -> dict[str, Any]:
    """{address: checksum} of the files, as published."""
    return _published_urls(type(self))

  def _split_generators(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
    contents = self.builder_config.contents or self._download(dl_manager)
    return {
      split: self._generate_examples(image, label)
      for split, (image, label) in self.parse(contents).items()
    }

  def _download(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, bytes]:
    urls = {info.filename: url for url, info in self.url_infos.items()}
    return {
      name: self.unpack(name, path.read_bytes())
      for name, path in dl_manager.download(urls).items()
    }


class Mnist(FilesBuilder, skip_registration=True):
  """MNIST handwritten digits: 60,000 training and 10,000 test images."""

  IMAGE_SHAPE = (28, 28, 1)
  HOMEPAGE = 'http://yann.lecun.com/exdb/mnist/'
  FILES = (
    'train-images-idx3-ubyte.gz',
    'train-labels-idx1-ubyte.gz',
    't10k-images-idx3-ubyte.gz',
    't10k-labels-idx1-ubyte.gz',
  )

  @classmethod
  def published(cls) -> Mapping[str, PublishedFile]:
    """Returns those of the IDX files: unlike gzip wrappers are about."""
    return dict(
      zip(
        cls.FILES,
        (
          PublishedFile(
            47_040_016,
            'ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db',
          ),
          PublishedFile(
            60_008,
            '65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5',
          ),
          PublishedFile(
            7_840_016,
            '0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7',
          ),
          PublishedFile(
            10_008,
            'ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2',
          ),
        ),
        strict=True,
      )
    )

  @classmethod
  def unpack(cls, name: str, data: bytes) -> bytes:
    """Takes gzip and plain files; see the base class."""
    if not data.startswith(b'\x1f\x8b'):  # gzip's mark; IDX begins with 0.
      return data
    try:
      return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
      raise InputError(f'{name} is not a whole gzip file: {error}') from None

  @classmethod
  def parse(
    cls, contents: Mapping[str, bytes]
  ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reads IDX files; see the base class."""
    splits = {}
    for split, names in (('train', cls.FILES[:2]), ('test', cls.FILES[2:])):
      image = parse_idx(names[0], contents[names[0]], num_dimensions=3)
      label = parse_idx(names[1], contents[names[1]], num_dimensions=1)
      image = image[..., np.newaxis]
      _check_examples(' with '.join(names), image, label, cls.IMAGE_SHAPE)
      splits[split] = image, label
    return splits


class SvhnCropped(FilesBuilder, skip_registration=True):
  """SVHN, cropped digits: 73,257 training and 26,032 test images."""

  IMAGE_SHAPE = (32, 32, 3)
  HOMEPAGE = 'http://ufldl.stanford.edu/housenumbers/'
  FILES = ('train_32x32.mat', 'test_32x32.mat')

  @classmethod
  def published(cls) -> Mapping[str, PublishedFile]:
    """Returns what tfds has on record."""
    return {
      info.filename: PublishedFile(int(info.size), info.checksum)
      for info in _published_urls(cls).values()
    }

  @classmethod
  def parse(
    cls, contents: Mapping[str, bytes]
  ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reads MATLAB files; see the base class."""
    splits = {}
    for split, name in zip(('train', 'test'), cls.FILES, strict=True):
      image, label = parse_svhn(name, contents[name])
      _check_examples(name, image, label, cls.IMAGE_SHAPE)
      splits[split] = image, label
    return splits


BUILDERS: dict[str, type[ImageBuilder]] = {
  builder.name: builder for builder in (Digits, Mnist, SvhnCropped)
}


def parse_idx(name: str, data: bytes, num_dimensions: int) -> np.ndarray:
  """Reads an IDX file of unsigned bytes.

  The format is that of http://yann.lecun.com/exdb/mnist/: two zeros, the type
  (8 for unsigned bytes), the number of dimensions, each dimension as a
  big-endian int32, and the values.

  Args:
    name: the file's, for errors.
    data: what it holds, uncompressed.
    num_dimensions: how many it must have.

  Returns:
    uint8, of the shape in the header.

  Raises:
    InputError: if the header is another one, or the size does not fit it.
  """
  magic = bytes([0, 0, 8, num_dimensions])
  header_size = 4 * (1 + num_dimensions)
  if data[:4] != magic or len(data) < header_size:
    raise InputError(
      f'{name} is not an IDX file of unsigned bytes in {num_dimensions} '
      f'dimensions: expected it to begin with {magic.hex()}, found '
      f'{data[:4].hex()}'
    )
  shape = tuple(
    int(size) for size in np.frombuffer(data, '>u4', num_dimensions, 4)
  )
  if len(data) != header_size + math.prod(shape):
    raise InputError(
      f'{name} should have {header_size + math.prod(shape)} bytes for the '
      f'shape {shape} in its header, found {len(data)}'
    )
  return np.frombuffer(data, np.uint8, offset=header_size).reshape(shape)


def parse_svhn(name: str, data: bytes) -> tuple[np.ndarray, np.ndarray]:
  """Reads an SVHN file: `X` [H, W, C, N], `y` [N, 1] with 10 for the digit 0.

  Args:
    name: the file's, for errors.
    data: what it holds.

  Returns:
    The images [N, H, W, C] and the labels [N], 0 to 9.

  Raises:
    InputError: if it is no MATLAB file, lacks an array, or a label is not one
      of 1 to 10.
  """
  import scipy.io  # Longer to import than the rest of this file.

  try:
    arrays = scipy.io.loadmat(io.BytesIO(data))
  except Exception as error:  # Damaged bytes fail anywhere inside scipy.
    raise InputError(f'{name} is not a whole MATLAB file: {error}') from None
  missing = {'X', 'y'} - arrays.keys()
  if missing:
    raise InputError(f'{name} lacks the arrays {sorted(missing)}')
  label = arrays['y'].reshape(-1)
  unknown = label[~np.isin(label, np.arange(1, 11))]
  if unknown.size:
    raise InputError(
      f'{name} has the label {unknown[0]}: expected 1 to 10, 10 for the digit 0'
    )
  return np.moveaxis(arrays['X'], -1, 0), label % 10


def _check_examples(
  name: str, image: np.ndarray, label: np.ndarray, shape: tuple[int, ...]
) -> None:
  """Raises InputError unless image and label are as `parse` promises."""
  if image.dtype != np.uint8 or image.shape[1:] != shape or not len(image):
    raise InputError(
      f'{name}: expected uint8 images of shape {shape}, found {image.dtype} '
      f'{image.shape}'
    )
  if len(image) != len(label):
    raise InputError(f'{name}: {len(image)} images, but {len(label)} labels')
  if label.max() > 9:
    raise InputError(f'{name}: label {label.max()}, expected 0 to 9')


def _content_name(digests: Mapping[str, str]) -> str:
  """Names a content by its files' digests."""
  lines = '\n'.join(f'{name} {digests[name]}' for name in sorted(digests))
  return hashlib.sha256(lines.encode()).hexdigest()[:8]


def _published_urls(builder_class: type[FilesBuilder]) -> dict[str, Any]:
  """Returns {address: checksum} from tfds's own builder of the data set."""
  return {
    url: info
    for url, info in tfds.builder_cls(builder_class.name).url_infos.items()
    if info.filename in builder_class.FILES
  }
