"""Tests of aae_jax.datasets."""

import contextlib
import functools
import gzip
import hashlib
import http.server
import os
import pathlib
import threading
import time

from absl import logging
import chex
from etils import epath
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest
import scipy.io
import sklearn.datasets
import tensorflow_datasets as tfds

from aae_jax import datasets
from aae_jax.datasets import builders, preparing

DATA = os.environ.get('AAE_DATA_DIR')
needs_data = pytest.mark.skipif(
  not DATA, reason='AAE_DATA_DIR, a folder with mnist/ and svhn_subset/'
)
MNIST_FILES = builders.Mnist.FILES
SVHN_FILES = builders.SvhnCropped.FILES


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
  """No files but the test's own, and no network."""
  monkeypatch.delenv('AAE_DATA_DIR', raising=False)
  for name in ('http_proxy', 'https_proxy'):
    monkeypatch.setenv(name, 'http://127.0.0.1:9')
  # tfds leaves an empty folder there for each builder that is not prepared.
  monkeypatch.setattr('tempfile.tempdir', str(tmp_path))


@pytest.fixture
def load(tmp_path):
  return functools.partial(datasets.load, data_dir=tmp_path / 'prepared')


@pytest.fixture(scope='session')
def load_digits(tmp_path_factory):
  """Loads digits, prepared once for all the tests that only read."""
  load = functools.partial(
    datasets.load, 'digits', data_dir=tmp_path_factory.mktemp('prepared')
  )
  load()
  return load


def idx(array):
  header = bytes([0, 0, 8, array.ndim])
  return header + np.array(array.shape, '>u4').tobytes() + array.tobytes()


def mnist_files(num_train=6, num_test=4):
  """{name without .gz: IDX bytes} of random images labelled 0, 1, 2, ..."""
  random = np.random.default_rng(num_train)
  contents = []
  for size in (num_train, num_test):
    contents += [
      idx(random.integers(0, 256, (size, 28, 28), np.uint8)),
      idx(np.arange(size, dtype=np.uint8) % 10),
    ]
  names = [name.removesuffix('.gz') for name in MNIST_FILES]
  return dict(zip(names, contents, strict=True))


def write_files(folder, contents):
  folder.mkdir(exist_ok=True)
  for name, data in contents.items():
    (folder / name).write_bytes(data)
  return folder


def write_svhn(folder, num_train=5, num_test=3, **arrays):
  folder.mkdir(exist_ok=True)
  for name, size in zip(SVHN_FILES, (num_train, num_test), strict=True):
    image = np.arange(32 * 32 * 3 * size).reshape(32, 32, 3, size)
    default = {
      'X': image.astype(np.uint8),
      'y': np.arange(10, 10 - size, -1, dtype=np.uint8)[:, np.newaxis],
    }
    scipy.io.savemat(folder / name, default | arrays)
  return folder


def test_digits(load_digits):
  dataset = load_digits()
  source = sklearn.datasets.load_digits()
  assert (dataset.name, dataset.num_classes) == ('digits', 10)
  assert dataset.image_shape == (8, 8, 1)
  chex.assert_shape(dataset.train.image, (1437, 8, 8, 1))
  chex.assert_shape(dataset.test.image, (360, 8, 8, 1))
  assert dataset.train.image.dtype == np.uint8
  assert dataset.train.label.dtype == np.int32
  image = np.concatenate([dataset.train.image, dataset.test.image])
  np.testing.assert_allclose(
    image[..., 0] / 255 * 16, source.images, atol=16 / 255 / 2
  )
  label = np.concatenate([dataset.train.label, dataset.test.label])
  np.testing.assert_array_equal(label, source.target)


def test_digits_are_prepared_once_and_silently(load, capfd, monkeypatch):
  verbosity = logging.get_verbosity()
  first = load('digits')
  monkeypatch.delattr(builders.Digits, '_split_generators')
  second = load('digits')
  chex.assert_trees_all_equal(first.train, second.train)
  assert capfd.readouterr() == ('', '')
  assert logging.get_verbosity() == verbosity


def test_validation_is_the_end_of_the_training_split(load_digits):
  whole = load_digits()
  dataset = load_digits(num_validation=37)
  assert whole.validation.num_images == 0
  assert whole.validation.image.shape == (0, 8, 8, 1)
  chex.assert_trees_all_equal(dataset.train, whole.train.part(0, 1400))
  chex.assert_trees_all_equal(dataset.validation, whole.train.part(1400, 1437))
  chex.assert_trees_all_equal(dataset.test, whole.test)


@pytest.mark.parametrize('num_validation', [-1, 1437])
def test_validation_must_leave_training_images(load_digits, num_validation):
  with pytest.raises(
    ValueError,
    match=(
      f'num_validation={num_validation} must be from 0 to 1436: digits has'
    ),
  ):
    load_digits(num_validation=num_validation)


@pytest.mark.parametrize('compress', [True, False])
def test_mnist_files(load, tmp_path, compress):
  contents = mnist_files()
  folder = write_files(
    tmp_path / 'files',
    {name + '.gz': gzip.compress(data) for name, data in contents.items()}
    if compress
    else contents,
  )
  before = sorted(folder.iterdir())
  dataset = load('mnist', manual_dir=folder, allow_unverified=True)
  image = contents['train-images-idx3-ubyte'][16:]
  assert dataset.train.image.tobytes() == image
  np.testing.assert_array_equal(dataset.train.label, range(6))
  np.testing.assert_array_equal(dataset.test.label, range(4))
  assert dataset.image_shape == (28, 28, 1)
  assert dataset.name.startswith('mnist (unverified: 6 train, 4 test, content ')
  assert sorted(folder.iterdir()) == before


def test_svhn_files(load, tmp_path):
  folder = write_svhn(tmp_path / 'files')
  dataset = load('svhn_cropped', manual_dir=folder, allow_unverified=True)
  source = scipy.io.loadmat(folder / SVHN_FILES[0])
  assert dataset.image_shape == (32, 32, 3)
  np.testing.assert_array_equal(dataset.train.image[3], source['X'][:, :, :, 3])
  np.testing.assert_array_equal(dataset.train.label, [0, 9, 8, 7, 6])
  np.testing.assert_array_equal(dataset.test.label, [0, 9, 8])


def test_contents_are_kept_apart(load, tmp_path):
  names = set()
  for size in (6, 7, 6):
    folder = write_files(tmp_path / f'files{size}', mnist_files(size))
    dataset = load('mnist', manual_dir=folder, allow_unverified=True)
    assert dataset.train.num_images == size
    names.add(dataset.name)
  assert len(names) == 2


@pytest.mark.parametrize('prepared', [False, True])
def test_unverified_files_are_refused(load, tmp_path, prepared):
  folder = write_files(tmp_path / 'files', mnist_files())
  if prepared:
    load('mnist', manual_dir=folder, allow_unverified=True)
  with pytest.raises(
    ValueError,
    match=(
      r'train-images-idx3-ubyte.gz is not the published file of mnist: '
      r'expected 47040016 bytes, unpacked, of sha256 ba891046e650\.\.\., found '
      r'4720 of .*set allow_unverified=True'
    ),
  ):
    load('mnist', manual_dir=folder)


def test_published_checksums_come_from_tfds():
  published = builders.SvhnCropped.published()
  assert set(published) == set(SVHN_FILES)
  assert published['train_32x32.mat'].size == 182_040_794
  assert set(published['train_32x32.mat'].sha256) <= set('0123456789abcdef')


def test_files_from_the_data_folder(load, tmp_path, monkeypatch):
  write_files(tmp_path / 'mnist', mnist_files())
  monkeypatch.setenv('AAE_DATA_DIR', str(tmp_path))
  assert load('mnist', allow_unverified=True).train.num_images == 6


def test_manual_dir_must_exist_even_if_prepared(load, tmp_path):
  folder = write_files(tmp_path / 'files', mnist_files())
  load('mnist', manual_dir=folder, allow_unverified=True)
  with pytest.raises(ValueError, match='manual_dir=.*/absent is not a folder'):
    load('mnist', manual_dir=tmp_path / 'absent')
  with pytest.raises(ValueError, match='digits has no use for it'):
    load('digits', manual_dir=tmp_path)


def test_missing_files_are_listed(load, tmp_path):
  contents = mnist_files()
  del contents['t10k-labels-idx1-ubyte']
  folder = write_files(tmp_path / 'files', contents)
  with pytest.raises(
    ValueError,
    match=('files lacks t10k-labels-idx1-ubyte.gz: mnist needs train-images'),
  ):
    load('mnist', manual_dir=folder)


def truncated_gzip(data):
  return gzip.compress(data)[:-20]


@pytest.mark.parametrize(
  ('name', 'change', 'message'),
  [
    (
      'train-images-idx3-ubyte',
      truncated_gzip,
      'train-images-idx3-ubyte is not a whole gzip file',
    ),
    (
      'train-images-idx3-ubyte',
      lambda data: data[:-1],
      r'should have 4720 bytes for the shape \(6, 28, 28\).*found 4719',
    ),
    (
      'train-labels-idx1-ubyte',
      lambda data: data + b'0',
      r'should have 14 bytes for the shape \(6,\).*found 15',
    ),
    (
      't10k-images-idx3-ubyte',
      lambda data: b'<html>' + data,
      'to begin with 00000803, found 3c68746d',
    ),
    ('t10k-labels-idx1-ubyte', lambda data: b'', 'to begin with 00000801'),
    (
      'train-images-idx3-ubyte',
      lambda data: idx(np.zeros((6, 9, 9), 'u1')),
      r'expected uint8 images of shape \(28, 28, 1\), found .* \(6, 9, 9, 1\)',
    ),
    (
      'train-images-idx3-ubyte',
      lambda data: idx(np.zeros((0, 28, 28), 'u1')),
      r'found uint8 \(0, 28, 28, 1\)',
    ),
    (
      'train-labels-idx1-ubyte',
      lambda data: idx(np.zeros(5, 'u1')),
      'train-labels-idx1-ubyte.gz: 6 images, but 5 labels',
    ),
    (
      't10k-labels-idx1-ubyte',
      lambda data: idx(np.full(4, 11, 'u1')),
      't10k-labels-idx1-ubyte.gz: label 11, expected 0 to 9',
    ),
  ],
)
def test_damaged_mnist_files(load, tmp_path, name, change, message):
  contents = mnist_files()
  contents[name] = change(contents[name])
  folder = write_files(tmp_path / 'files', contents)
  with pytest.raises(ValueError, match=message):
    load('mnist', manual_dir=folder, allow_unverified=True)


@pytest.mark.parametrize(
  ('arrays', 'message'),
  [
    ({'X': np.zeros((32, 32, 3, 5))}, 'expected uint8 images .*found float64'),
    ({'X': np.zeros((32, 32, 5), np.uint8)}, r'found uint8 \(5, 32, 32\)'),
    ({'y': np.full((5, 1), 11, np.uint8)}, 'has the label 11: expected 1 to'),
    ({'y': np.zeros((5, 1), np.uint8)}, 'has the label 0: expected 1 to 10'),
    ({'y': np.ones((4, 1), np.uint8)}, '5 images, but 4 labels'),
  ],
)
def test_damaged_svhn_arrays(load, tmp_path, arrays, message):
  folder = write_svhn(tmp_path / 'files', **arrays)
  with pytest.raises(ValueError, match='train_32x32.mat.*' + message):
    load('svhn_cropped', manual_dir=folder, allow_unverified=True)


def test_damaged_svhn_files(load, tmp_path):
  folder = write_svhn(tmp_path / 'files')
  path = folder / SVHN_FILES[0]
  load_files = functools.partial(
    load, 'svhn_cropped', manual_dir=folder, allow_unverified=True
  )
  path.write_bytes(path.read_bytes()[:1000])
  with pytest.raises(ValueError, match='32x32.mat is not a whole MATLAB file'):
    load_files()
  scipy.io.savemat(path, {'y': np.ones((3, 1))})
  with pytest.raises(ValueError, match=r"32x32.mat lacks the arrays \['X'\]"):
    load_files()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
  def log_message(self, *args):
    del args


@contextlib.contextmanager
def serve(folder, published, monkeypatch):
  """Serves a folder as the place where MNIST is published."""
  server = http.server.ThreadingHTTPServer(
    ('127.0.0.1', 0), functools.partial(QuietHandler, directory=folder)
  )
  thread = threading.Thread(target=server.serve_forever)
  thread.start()
  url_infos = {}
  for name, data in published.items():
    url = f'http://127.0.0.1:{server.server_port}/{name}'
    url_infos[url] = tfds.download.checksums.UrlInfo(
      size=len(data), checksum=hashlib.sha256(data).hexdigest(), filename=name
    )
  monkeypatch.setattr(builders.Mnist, 'url_infos', url_infos)
  monkeypatch.setenv('no_proxy', '127.0.0.1')
  try:
    yield
  finally:
    server.shutdown()
    thread.join()
    server.server_close()


def test_download(load, tmp_path, monkeypatch):
  published = {
    name + '.gz': gzip.compress(data) for name, data in mnist_files().items()
  }
  folder = write_files(tmp_path / 'served', published)
  with serve(folder, published, monkeypatch):
    dataset = load('mnist')
  assert (dataset.name, dataset.train.num_images) == ('mnist', 6)
  chex.assert_trees_all_equal(load('mnist').train, dataset.train)


def test_download_of_other_content_is_refused(load, tmp_path, monkeypatch):
  published = {
    name + '.gz': gzip.compress(data) for name, data in mnist_files().items()
  }
  folder = write_files(tmp_path / 'served', published)
  (folder / MNIST_FILES[0]).write_bytes(b'changed')
  with serve(folder, published, monkeypatch):
    with pytest.raises(OSError, match='mnist cannot be prepared in .*checksum'):
      load('mnist')


@pytest.mark.parametrize('name', ['mnist', 'svhn_cropped'])
def test_offline_says_which_files_to_put_where(load, name):
  start = time.monotonic()
  with pytest.raises(
    OSError,
    match=(
      f'{name} is not prepared yet, and .* cannot be reached. Put '
      rf'.*train.*into a folder, .*manual_dir .*\$AAE_DATA_DIR/{name}'
    ),
  ):
    load(name)
  assert time.monotonic() - start < 10


def test_silent_network_is_given_up(load, monkeypatch):
  given_up = threading.Event()

  def answer_late(*_, **__):
    given_up.wait(20)
    raise OSError

  monkeypatch.setattr(preparing, '_PROBE_SECONDS', 0.1)
  monkeypatch.setattr(preparing.requests, 'head', answer_late)
  with pytest.raises(OSError, match='cannot be reached'):
    load('mnist')
  given_up.set()


def test_broken_server_is_given_up(load, monkeypatch):
  answer = preparing.requests.Response()
  answer.status_code = 503
  monkeypatch.setattr(preparing.requests, 'head', lambda *_, **__: answer)
  with pytest.raises(OSError, match='cannot be reached'):
    load('mnist')


def test_interrupted_preparing_leaves_nothing(load, tmp_path, monkeypatch):
  def interrupted(self, image, label):
    del self
    yield 0, {'image': image[0], 'label': int(label[0])}
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(builders.Digits, '_generate_examples', interrupted)
    with pytest.raises(KeyboardInterrupt):
      load('digits')
  assert not list((tmp_path / 'prepared/digits').iterdir())
  # What a killed process leaves:
  left = tmp_path / 'prepared/digits/incomplete.ABCDEF_1.0.0'
  write_files(left, {'dataset_info.json': b'{'})
  assert load('digits').train.num_images == 1437


def test_two_processes_prepare_at_once(load, monkeypatch):
  generate = builders.Digits._generate_examples

  def generate_late(self, image, label):
    monkeypatch.setattr(builders.Digits, '_generate_examples', generate)
    load('digits')  # The other process begins later and ends first.
    yield from generate(self, image, label)

  monkeypatch.setattr(builders.Digits, '_generate_examples', generate_late)
  assert load('digits').train.num_images == 1437


def cut_in_half(path):
  data = path.read_bytes()
  path.write_bytes(data[: len(data) // 2])


def flip_a_bit(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


@pytest.mark.parametrize(
  ('pattern', 'damage', 'message'),
  [
    ('*train*', cut_in_half, 'prepared data in .*1.0.0 cannot be read'),
    ('*test*', flip_a_bit, 'prepared data in .*1.0.0 cannot be read'),
    ('*test*', os.remove, 'prepared data in .*1.0.0 cannot be read'),
    ('dataset_info*', os.remove, 'prepared data .*cannot be read'),
    ('dataset_info*', cut_in_half, 'tfds cannot open it.*delete .*/digits'),
  ],
)
def test_damaged_prepared_data(load, tmp_path, pattern, damage, message):
  load('digits')
  (path,) = epath.Path(tmp_path / 'prepared/digits/1.0.0').glob(pattern)
  damage(path)
  with pytest.raises(ValueError, match=message):
    load('digits')


def test_data_dir_that_cannot_be_written(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(OSError, match='digits cannot be prepared in .*/file/'):
    datasets.load('digits', data_dir=tmp_path / 'file')


def test_full_disk(load, monkeypatch):
  def fail(*_, **__):
    raise RuntimeError('No space left on device')

  monkeypatch.setattr(builders.Digits, 'download_and_prepare', fail)
  with pytest.raises(OSError, match='cannot be prepared in .*No space left'):
    load('digits')


def test_home_is_expanded(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  datasets.load('digits', data_dir='~/prepared')
  assert (tmp_path / 'prepared/digits/1.0.0').is_dir()


def test_stock_builders_keep_their_names():
  for name in ('mnist', 'svhn_cropped'):
    assert tfds.builder_cls(name).__module__.startswith('tensorflow_datasets')


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    (
      'mnits',
      "there is no data set 'mnits'. Did you mean mnist or .*Known are "
      'digits, mnist, svhn_cropped;',
    ),
    ('MNIST', 'Did you mean mnist'),
    ('qqqqqqq', "no data set 'qqqqqqq'. Known are digits"),
  ],
)
def test_unknown_name(load, name, message):
  with pytest.raises(ValueError, match=message):
    load(name)


@pytest.mark.parametrize('name', ['cifar10', 'emnist/letters', 'cifar10:3.0.2'])
def test_stock_data_sets_need_tensorflow(load, monkeypatch, name):
  monkeypatch.setattr('importlib.util.find_spec', lambda _: None)
  with pytest.raises(
    ValueError,
    match=(
      rf'{name} needs TensorFlow: pip install aae_jax\[tensorflow\]. Without'
    ),
  ):
    load(name)


class StockImages(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Stands for a data set of tfds: shuffled, and without a test split."""

  VERSION = tfds.core.Version('1.0.0')
  SHAPE = (4, 4, 3)

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {'image': tfds.features.Tensor(shape=self.SHAPE, dtype=np.uint8)}
      ),
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {'train': self._generate_examples()}

  def _generate_examples(self):
    for index in range(5):
      yield index, {'image': np.full(self.SHAPE, index, np.uint8)}


@pytest.fixture
def stock(monkeypatch):
  """Makes tfds build `StockImages` for any name, as if it had TensorFlow."""
  monkeypatch.setattr('importlib.util.find_spec', lambda _: True)
  monkeypatch.setattr(
    tfds, 'builder', lambda name, data_dir: StockImages(data_dir=data_dir)
  )


def test_stock_data_set_without_labels_and_test(load, stock):
  dataset = load('cifar10')
  assert sorted(dataset.train.image[:, 0, 0, 0]) == [0, 1, 2, 3, 4]
  assert dataset.train.label is None
  assert dataset.num_classes is None
  assert dataset.test.image.shape == (0, 4, 4, 3)


@pytest.mark.parametrize('shape', [(None, None, 3), (4, 4)])
def test_stock_data_set_of_other_images(load, stock, monkeypatch, shape):
  monkeypatch.setattr(StockImages, 'SHAPE', shape)
  with pytest.raises(ValueError, match='cifar10: expected uint8 images of one'):
    load('cifar10')


def test_stock_data_set_without_images(load, stock, monkeypatch):
  monkeypatch.setattr(
    StockImages,
    '_info',
    lambda self: tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {'text': tfds.features.Scalar(np.int32)}
      ),
    ),
  )
  with pytest.raises(ValueError, match='has no feature `image`, only text'):
    load('cifar10')


GREY = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
LABEL = np.array([0, 1, 2, 1, 0])


def write_npz(folder, **arrays):
  path = folder / 'images.npz'
  np.savez(path, **arrays)
  return str(path)


def test_npz(load, tmp_path):
  path = write_npz(
    tmp_path,
    image=GREY,
    label=LABEL,
    test_image=GREY[:2],
    test_label=LABEL[:2].astype(np.uint8),
  )
  dataset = load(path, num_validation=1)
  assert dataset.name == path
  assert dataset.num_classes == 3
  np.testing.assert_array_equal(dataset.train.image[..., 0], GREY[:4])
  np.testing.assert_array_equal(dataset.validation.image[..., 0], GREY[4:])
  np.testing.assert_array_equal(dataset.test.image[..., 0], GREY[:2])
  np.testing.assert_array_equal(dataset.train.label, LABEL[:4])
  assert dataset.test.label.dtype == np.int32


def test_digest_tells_contents_of_one_name_apart(load, tmp_path):
  image = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
  other = image.copy()
  other[1, 2, 3] += 1
  arrays = {
    'image': image,
    'test_image': image,
    'label': np.array([0, 1]),
    'test_label': np.array([0, 1]),
  }
  contents = [
    arrays,
    {**arrays, 'image': other},
    {**arrays, 'test_image': other},
    {**arrays, 'label': np.array([1, 0])},
    {**arrays, 'test_label': np.array([1, 0])},
    {'image': image, 'test_image': image},
    {**arrays, 'image': image[..., np.newaxis]},
  ]
  digests = [load(write_npz(tmp_path, **c)).digest for c in contents]
  # [N, H, W] and [N, H, W, 1] are one content.
  assert digests[-1] == digests[0]
  assert len({*digests}) == len(digests) - 1
  held_out = load(write_npz(tmp_path, **arrays), num_validation=1)
  assert held_out.digest not in digests


def test_digest_is_of_shapes_and_types():
  image = np.zeros((1, 2, 3, 1), np.uint8)
  splits = [
    datasets.Split(image, np.zeros(1, np.int32)),
    datasets.Split(image.reshape(1, 3, 2, 1), np.zeros(1, np.int32)),
    datasets.Split(image, np.zeros(1, np.float32)),
    datasets.Split(image, None),
  ]
  none = datasets.Split(image[:0], None)
  digests = {
    datasets.Dataset('name', split, none, none, None).digest for split in splits
  }
  assert len(digests) == len(splits)


def test_npz_of_floats_without_labels(load, tmp_path):
  color = np.stack([GREY] * 3, axis=-1)
  path = write_npz(tmp_path, image=(color / 255).astype(np.float32))
  dataset = load(path)
  np.testing.assert_array_equal(dataset.train.image, color)
  assert dataset.train.image.dtype == np.uint8
  assert dataset.train.label is None
  assert dataset.num_classes is None
  assert dataset.test.image.shape == (0, 4, 3, 3)


@pytest.mark.parametrize(
  ('arrays', 'message'),
  [
    ({'x_train': GREY}, r"has the arrays \['x_train'\]: expected image, and"),
    ({'image': GREY, 'labels': LABEL}, r"\['image', 'labels'\]: expected"),
    ({'image': GREY[0]}, r'image must be \[N, H, W\] or .*found \(4, 3\)'),
    ({'image': GREY[:0]}, r'none of them 0, found \(0, 4, 3\)'),
    ({'image': GREY.astype(int)}, 'must be uint8 or floats .*found int64'),
    ({'image': GREY / 59 * 1.5}, 'must be from 0 to 1 .*found 0.0 to 1.5'),
    ({'image': GREY / 59 - 1}, 'found -1.0 to 0.0'),
    ({'image': np.where(GREY, 1, np.nan)}, 'found nan to nan'),
    ({'image': GREY, 'label': LABEL[1:]}, r'shape \(5,\), .*found \(4,\)'),
    ({'image': GREY, 'label': LABEL / 1}, 'label must be integers, found fl'),
    ({'image': GREY, 'label': LABEL + 1}, 'without a gap, .* found 1, 2, 3$'),
    ({'image': GREY, 'label': LABEL - 2}, 'for an image without, found -2, -1'),
    ({'image': GREY, 'label': 0 * LABEL - 1}, 'image without, found -1$'),
    (
      {
        'image': GREY,
        'label': LABEL,
        'test_image': GREY,
        'test_label': LABEL - 1,
      },
      'test_label has -1, which label has not',
    ),
    ({'image': GREY, 'test_label': LABEL}, 'test_label, but no test_image'),
    (
      {'image': GREY, 'label': LABEL, 'test_image': GREY},
      'must have both label and test_label, or neither',
    ),
    (
      {
        'image': GREY,
        'label': LABEL,
        'test_image': GREY,
        'test_label': LABEL + 1,
      },
      'test_label has 3, which label has not',
    ),
    (
      {'image': GREY, 'test_image': GREY[:, 1:]},
      r'images of shape \(3, 3, 1\), image has \(4, 3, 1\)',
    ),
    ({'image': np.array([{}, {}])}, 'is not a whole .npz file: Object arrays'),
  ],
)
def test_wrong_npz(load, tmp_path, arrays, message):
  with pytest.raises(ValueError, match=f'images.npz.*{message}'):
    load(write_npz(tmp_path, **arrays))


@pytest.mark.parametrize(
  'change',
  [
    lambda data: b'',
    lambda data: data[:-30],
    lambda data: b'text' * 9,
    lambda data: data.replace(GREY.tobytes(), GREY.tobytes()[::-1]),
  ],
)
def test_damaged_npz(load, tmp_path, change):
  path = epath.Path(write_npz(tmp_path, image=GREY))
  path.write_bytes(change(path.read_bytes()))
  with pytest.raises(ValueError, match='images.npz is not a whole .npz file'):
    load(str(path))


def test_bare_array_as_npz(load, tmp_path):
  with (tmp_path / 'images.npz').open('wb') as file:
    np.save(file, GREY)
  with pytest.raises(ValueError, match='not a whole .npz file: it is no zip'):
    load(str(tmp_path / 'images.npz'))


@pytest.mark.parametrize('name', ['/absent/folder', './absent', 'absent.npz'])
def test_absent_path(load, name):
  with pytest.raises(ValueError, match=f'{name}: there is no such .npz file'):
    load(name)


def test_path_has_no_use_for_manual_dir(load, tmp_path):
  with pytest.raises(ValueError, match='has no use for it'):
    load(write_npz(tmp_path, image=GREY), manual_dir=tmp_path)


def write_png(path, pixels=GREY[0], mode=None):
  path.parent.mkdir(parents=True, exist_ok=True)
  image = Image.fromarray(pixels)
  (image.convert(mode) if mode else image).save(path)


def test_folder_of_classes(load, tmp_path):
  for index, name in enumerate(['dog/1.png', 'cat/b.PNG', 'cat/a.png']):
    write_png(tmp_path / 'images' / name, GREY[index])
  write_files(tmp_path / 'images/.hidden', {'x.png': b''})
  write_files(tmp_path / 'images/cat', {'notes.txt': b'', '._a.png': b''})
  dataset = load(str(tmp_path / 'images'))
  assert dataset.num_classes == 2
  np.testing.assert_array_equal(dataset.train.label, [0, 1, 0])
  np.testing.assert_array_equal(dataset.train.image[..., 0], GREY[[2, 0, 1]])
  assert dataset.test.image.shape == (0, 4, 3, 1)
  assert dataset.test.label.shape == (0,)


def test_what_is_held_out_of_a_folder_has_all_classes(load, tmp_path):
  for name, count in (('ant', 12), ('bee', 6), ('unlabelled', 4)):
    for index in range(count):
      write_png(tmp_path / f'images/{name}/{index:02}.png')
  dataset = load(str(tmp_path / 'images'), num_validation=6)
  assert np.bincount(dataset.validation.label).tolist() == [4, 2]
  assert np.bincount(dataset.train.label + 1).tolist() == [4, 8, 4]


def test_folder_of_classes_and_of_unlabelled_images(load, tmp_path):
  """Whose name moves no number of a class."""
  for index, name in enumerate(['zebra/1', 'ant/1', 'unlabelled/1']):
    write_png(tmp_path / f'images/{name}.png', GREY[index])
  dataset = load(str(tmp_path / 'images'))
  assert dataset.num_classes == 2
  np.testing.assert_array_equal(dataset.train.label, [0, 1, -1])
  np.testing.assert_array_equal(dataset.train.image[..., 0], GREY[[1, 0, 2]])


GIVEN = np.array([-1, 1, 0, -1, 1])


def test_given_labels(load, tmp_path):
  """-1 is an image without; validation images have labels, whatever remains."""
  dataset = load(write_npz(tmp_path, image=GREY, label=GIVEN), num_validation=1)
  assert dataset.num_classes == 2
  np.testing.assert_array_equal(dataset.train.label, GIVEN[:4])
  np.testing.assert_array_equal(dataset.validation.label, [1])
  np.testing.assert_array_equal(dataset.validation.image[0, ..., 0], GREY[4])
  assert dataset.schema.shares == (0.5, 0.5)
  labelled = dataset.train.labelled
  np.testing.assert_array_equal(labelled.label, [1, 0])
  np.testing.assert_array_equal(labelled.image[..., 0], GREY[1:3])
  with pytest.raises(ValueError, match='0 to 2: .* has 3 labelled training'):
    load(write_npz(tmp_path, image=GREY, label=GIVEN), num_validation=3)


def test_draws_are_made_among_the_given_labels():
  draw = functools.partial(datasets.draw_labelled, jax.random.key(0), GIVEN)
  np.testing.assert_array_equal(draw(-1, 2), [1, 2, 4])
  assert {2} < set(draw(2, 2).tolist()) <= {1, 2, 4}
  with pytest.raises(ValueError, match='or -1 for all 3'):
    draw(4, 2)


@pytest.mark.parametrize('mode', ['RGB', 'P'])
def test_flat_folder_of_colors(load, tmp_path, mode):
  color = np.stack([GREY[0], GREY[1], GREY[2]], axis=-1)
  write_png(tmp_path / 'images/a.png', color, mode)
  dataset = load(str(tmp_path / 'images'))
  expected = np.array(Image.fromarray(color).convert(mode).convert('RGB'))
  np.testing.assert_array_equal(dataset.train.image[0], expected)
  assert dataset.train.label is None


def test_folder_of_black_and_white(load, tmp_path):
  write_png(tmp_path / 'images/a.png', np.eye(4, dtype=bool))
  dataset = load(str(tmp_path / 'images'))
  np.testing.assert_array_equal(dataset.train.image[0, ..., 0], np.eye(4) * 255)


@pytest.mark.parametrize('suffix', ['JPG', 'jpeg', 'webp', 'tif', 'tiff'])
def test_folder_of_other_kinds_of_images(load, tmp_path, suffix):
  write_png(tmp_path / f'images/a.{suffix}', np.full((8, 8), 100, np.uint8))
  dataset = load(str(tmp_path / 'images'))
  assert dataset.image_shape == (8, 8, 3 if suffix == 'webp' else 1)
  np.testing.assert_allclose(dataset.train.image, 100, atol=2)


def test_images_are_scaled_and_cropped_at_the_centre(load, tmp_path):
  """Of a wide one the middle is left, of a small one everything."""
  wide = np.zeros((8, 24), np.uint8)
  wide[:, 8:16] = 200
  write_png(tmp_path / 'images/a.png', wide)
  write_png(tmp_path / 'images/b.png', np.full((2, 2), 90, np.uint8))
  write_png(tmp_path / 'images/c.png', np.arange(16, dtype=np.uint8)[:, None])
  write_png(tmp_path / 'images/d.png', np.eye(4, dtype=np.uint8))
  dataset = load(str(tmp_path / 'images'), image_size=(4, 4))
  image = dataset.train.image[..., 0]
  assert image.shape == (4, 4, 4)
  # But for what edges do to their neighbours.
  np.testing.assert_allclose(image[0, :, 1:3], 200, atol=5)
  np.testing.assert_array_equal(image[1], 90)
  np.testing.assert_array_equal(image[3], np.eye(4))
  assert dataset.num_fitted == 3


def test_images_are_upright_as_the_camera_was_held(load, tmp_path):
  exif = Image.Exif()
  exif[0x0112] = 6  # To be turned by a quarter clockwise.
  (tmp_path / 'images').mkdir()
  Image.fromarray(GREY[0]).save(tmp_path / 'images/a.png', exif=exif)
  dataset = load(str(tmp_path / 'images'))
  np.testing.assert_array_equal(
    dataset.train.image[0, ..., 0], np.rot90(GREY[0], -1)
  )


def test_grey_images_among_colored_ones_are_colored(load, tmp_path):
  color = np.stack([GREY[0], GREY[1], GREY[2]], axis=-1)
  write_png(tmp_path / 'images/a.png')
  write_png(tmp_path / 'images/b.png', color)
  dataset = load(str(tmp_path / 'images'))
  expected = [np.stack([GREY[0]] * 3, axis=-1), color]
  np.testing.assert_array_equal(dataset.train.image, expected)


def test_folder_of_test_images(load, tmp_path):
  names = ['test/ant/1', 'test/zebra/1', 'ant/1', 'unlabelled/1', 'zebra/1']
  for index, name in enumerate(names):
    write_png(tmp_path / f'images/{name}.png', GREY[index])
  dataset = load(str(tmp_path / 'images'))
  assert dataset.schema.class_names == ('ant', 'zebra')
  np.testing.assert_array_equal(dataset.train.label, [0, 1, -1])
  np.testing.assert_array_equal(dataset.test.label, [0, 1])
  np.testing.assert_array_equal(dataset.test.image[..., 0], GREY[:2])
  write_png(tmp_path / 'images/test/bee/1.png')
  with pytest.raises(ValueError, match="'bee'; expected one of .*: ant, zebra"):
    load(str(tmp_path / 'images'))


def test_folder_of_images_with_test_images(load, tmp_path):
  write_png(tmp_path / 'images/a.png', GREY[0])
  write_png(tmp_path / 'images/test/b.png', GREY[1])
  dataset = load(str(tmp_path / 'images'))
  assert dataset.train.label is None
  assert dataset.test.label is None
  np.testing.assert_array_equal(dataset.test.image[0, ..., 0], GREY[1])


def write_csv(tmp_path, *lines):
  for index in range(4):
    write_png(tmp_path / f'images/{index}.png', GREY[index])
  path = tmp_path / 'images.csv'
  path.write_text('\n'.join(lines) + '\n')
  return str(path)


def test_table_of_images(load, tmp_path):
  path = write_csv(
    tmp_path,
    'path,label,split',
    'images/1.png,dog,train',
    'images/0.png,,',
    f'{tmp_path}/images/2.png,cat,',
    'images/3.png,dog,test',
  )
  dataset = load(path)
  assert dataset.class_names == ('cat', 'dog')
  np.testing.assert_array_equal(dataset.train.label, [1, -1, 0])
  np.testing.assert_array_equal(dataset.train.image[..., 0], GREY[[1, 0, 2]])
  np.testing.assert_array_equal(dataset.test.label, [1])
  np.testing.assert_array_equal(dataset.test.image[..., 0], GREY[[3]])


def test_table_of_images_without_labels(load, tmp_path):
  dataset = load(write_csv(tmp_path, 'path', 'images/0.png', 'images/1.png'))
  assert (dataset.num_classes, dataset.class_names) == (None, None)
  np.testing.assert_array_equal(dataset.train.image[..., 0], GREY[:2])


def test_table_of_a_spreadsheet(load, tmp_path):
  path = pathlib.Path(write_csv(tmp_path, 'path', 'images/1.png'))
  path.write_bytes(
    '\ufeff'.encode() + path.read_bytes().replace(b'\n', b'\r\n')
  )
  assert load(str(path)).train.num_images == 1
  path.write_bytes(b'path\n\xff.png\n')
  with pytest.raises(ValueError, match='images.csv is no text of UTF-8'):
    load(str(path))


@pytest.mark.parametrize(
  ('lines', 'message'),
  [
    (['file,label', 'a,b'], 'has the columns file, label: expected path'),
    (['path,labels', 'a,b'], 'has the columns path, labels: expected path'),
    (['path'], 'names no image to train on'),
    (['path', 'images/9.png'], 'line 2: there is no image .*images/9.png'),
    (
      ['path,split', 'images/0.png,train', 'images/1.png,validation'],
      "line 3: split is 'validation'; expected train or test",
    ),
  ],
)
def test_table_that_is_not_one(load, tmp_path, lines, message):
  with pytest.raises(ValueError, match=message):
    load(write_csv(tmp_path, *lines))


@pytest.mark.parametrize(
  ('size', 'message'),
  [
    ((0, 4), r'is \(0, 4\); expected \(height, width\), both at least 1'),
    ((4,), r'is \(4,\); expected \(height, width\), both at least 1'),
    ((4, 4), r'is \(4, 4\), but .*npz holds arrays; expected none'),
  ],
)
def test_image_size_that_is_none(load, tmp_path, size, message):
  with pytest.raises(ValueError, match=f'image_size {message}'):
    load(write_npz(tmp_path, image=GREY), image_size=size)


def test_image_size_of_images_that_have_one(load):
  with pytest.raises(ValueError, match='but digits has a size of its own'):
    load('digits', image_size=(4, 4))


def test_folder_without_images(load, tmp_path):
  folder = write_files(tmp_path / 'images', {'a.gif': b''})
  with pytest.raises(ValueError, match='images holds no image and no folders'):
    load(str(folder))
  (folder / 'class').mkdir()
  with pytest.raises(ValueError, match='images/class, the folder of a class,'):
    load(str(folder))
  write_png(folder / 'a.png')
  with pytest.raises(ValueError, match='images holds both images and folders'):
    load(str(folder))


@pytest.mark.parametrize(
  ('pixels', 'message'),
  [
    (
      GREY[0, 1:],
      'b.png has 3 x 3 pixels, .*a.png has 4 x 3: .*'
      r'dataset.image_size="\(4, 3\)"',
    ),
    (np.stack([GREY[0]] * 4, -1), 'without transparency: found the mode RGBA'),
    (GREY[0].astype(np.uint16), 'b.png must be grey or RGB, 8 bits, .*I;16'),
  ],
)
def test_folder_of_unlike_images(load, tmp_path, pixels, message):
  write_png(tmp_path / 'images/a.png')
  write_png(tmp_path / 'images/b.png', pixels)
  with pytest.raises(ValueError, match=message):
    load(str(tmp_path / 'images'))


@pytest.mark.parametrize('size', [0, 30, 500])
def test_folder_with_a_damaged_image(load, tmp_path, size):
  path = tmp_path / 'images/a.png'
  write_png(path, np.random.default_rng(0).integers(0, 256, (40, 40), 'u1'))
  path.write_bytes(path.read_bytes()[:size])
  with pytest.raises(ValueError, match='a.png is not a whole image'):
    load(str(tmp_path / 'images'))


@pytest.mark.parametrize('num_labels', [10, 50])
def test_draw_is_balanced_and_without_replacement(num_labels):
  label = np.random.default_rng(0).permutation(np.arange(90) % 10)
  index = datasets.draw_labelled(jax.random.key(1), label, num_labels, 10)
  assert index.dtype == np.int32
  assert len(set(index.tolist())) == num_labels
  np.testing.assert_array_equal(
    np.bincount(label[index]), [num_labels // 10] * 10
  )


def test_draw_is_a_function_of_the_key():
  label = np.arange(1000) % 10
  first, again, other = (
    datasets.draw_labelled(jax.random.key(seed), label, 100, 10)
    for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, again)
  assert len(set(first.tolist()) & set(other.tolist())) < 50


def test_draw_reaches_every_image():
  label = np.arange(6) % 2
  drawn = [
    datasets.draw_labelled(jax.random.key(seed), label, 2, 2)
    for seed in range(40)
  ]
  assert set(np.concatenate(drawn).tolist()) == set(range(6))


def test_draw_of_all_labels():
  index = datasets.draw_labelled(jax.random.key(0), np.array([2, 0, 0]), -1, 10)
  np.testing.assert_array_equal(index, [0, 1, 2])
  assert index.dtype == np.int32


@pytest.mark.parametrize(
  ('label', 'num_labels', 'message'),
  [
    (
      [0, 1, 1],
      0,
      'num_labels=0 is not from 1 to the 3 .*multiple of the 2 '
      'classes from 2 to 2, or -1 for all 3',
    ),
    ([0, 1, 1], -2, 'num_labels=-2 is not from 1 to the 3 labelled images'),
    ([0, 1, 1], 4, 'num_labels=4 is not from 1 to the 3 labelled images'),
    ([0, 1, 1], 3, 'num_labels=3 cannot be shared out equally'),
    ([0, 1, 1, 1], 4, 'needs 2 images of each class, and class 0 has 1'),
    ([1, 1, 1], 2, 'it must be -1 for all 3: class 0 has no image'),
  ],
)
def test_impossible_draw(label, num_labels, message):
  with pytest.raises(ValueError, match=message):
    datasets.draw_labelled(
      jax.random.key(0), np.array(label), num_labels, num_classes=2
    )


def test_draw_without_labels():
  with pytest.raises(ValueError, match='num_labels=10, but .* has no labels'):
    datasets.draw_labelled(jax.random.key(0), None, 10, None)


@needs_data
def test_real_mnist(load):
  dataset = load('mnist', manual_dir=epath.Path(DATA) / 'mnist')
  assert dataset.name == 'mnist'
  chex.assert_shape(dataset.train.image, (60000, 28, 28, 1))
  chex.assert_shape(dataset.test.image, (10000, 28, 28, 1))
  with gzip.open(epath.Path(DATA) / 'mnist' / MNIST_FILES[0]) as file:
    assert dataset.train.image.tobytes() == file.read()[16:]
  np.testing.assert_array_equal(dataset.train.label[:5], [5, 0, 4, 1, 9])
  np.testing.assert_array_equal(dataset.test.label[:5], [7, 2, 1, 0, 4])


@needs_data
def test_real_mnist_is_what_a_download_would_give():
  by_hand = builders.Mnist.choose_content(
    epath.Path(DATA) / 'mnist', allow_unverified=False
  )
  download = builders.Mnist.choose_content(None, allow_unverified=False)
  assert by_hand.verified and by_hand.contents
  assert download.contents is None
  assert by_hand.name == download.name


@needs_data
def test_real_svhn(load):
  folder = epath.Path(DATA) / 'svhn_subset'
  with pytest.raises(ValueError, match='expected 182040794 bytes'):
    load('svhn_cropped', manual_dir=folder)
  dataset = load('svhn_cropped', manual_dir=folder, allow_unverified=True)
  assert dataset.name.startswith(
    'svhn_cropped (unverified: 4434 train, 1952 test, content '
  )
  assert dataset.image_shape == (32, 32, 3)
  source = scipy.io.loadmat(folder / SVHN_FILES[1])
  np.testing.assert_array_equal(
    dataset.test.image, source['X'].transpose(3, 0, 1, 2)
  )
  np.testing.assert_array_equal(dataset.test.label, source['y'][:, 0] % 10)


def test_scaling_is_a_division_to_the_last_bit():
  """On the host and in compiled code, whatever each makes of a division."""
  image = np.arange(256, dtype=np.uint8)
  scaling = datasets.Scaling()
  assert scaling(image).dtype == scaling(jnp.asarray(image)).dtype == np.float32
  np.testing.assert_array_equal(scaling(image), np.float32(image) / 255)
  np.testing.assert_array_equal(
    jax.jit(lambda x: scaling(x))(image),
    jax.jit(lambda x: x.astype(jnp.float32) / 255)(image),
  )
  assert (scaling(image) != np.float32(image) * np.float32(1 / 255)).any()


def test_scaling_is_of_what_is_stored_as_bytes():
  scaling = datasets.Scaling(offset=51.0, divisor=102.0)
  np.testing.assert_array_equal(scaling(np.uint8([0, 51, 255])), [-0.5, 0, 2])
  assert scaling.range == (-0.5, 2)
  image = np.float64([-3, 0.25, 51])
  np.testing.assert_array_equal(scaling(image), image)
  assert scaling(image).dtype == np.float32
