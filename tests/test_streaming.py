"""Tests of data that come to the devices in blocks."""

import contextlib
import dataclasses
import functools
import threading

import chex
from etils import epath
import jax
import numpy as np
from PIL import Image
import pytest
import tiny

from aae_jax import datasets, errors, experiments, training
from aae_jax.datasets import feeding, stored
from aae_jax.train_step import Request

CHANGES = {**tiny.NOISY, 'optimizer': tiny.SGD}
IMAGE_BYTES = 16


@pytest.fixture(autouse=True)
def three_steps(monkeypatch):
  """In a block of one run with labelled batches; an epoch has five."""
  monkeypatch.setattr(feeding, 'BLOCK_BYTES', 3 * 16 * IMAGE_BYTES)


@functools.cache
def build(is_streamed, name='classifier', num_devices=1, num_seeds=1):
  config = tiny.make_config(name, num_seeds=num_seeds, **CHANGES)
  dataset = dataclasses.replace(
    tiny.DATASET, placement=stored.Placement(is_streamed)
  )
  spec = experiments.build_spec(config, dataset.schema)
  labelled = experiments.draw_labelled(spec, dataset, config.num_labels)
  devices = jax.local_devices()[:num_devices]
  return experiments.assemble(spec, dataset, labelled, devices)


def train(experiment, steps_per_call=2**31 - 1, state=None):
  """The states, on the host, after each call."""
  state = experiment.init() if state is None else state
  request = lambda step: Request(steps_per_call)
  return {
    int(state.step): tiny.plain(state)
    for state, _ in training.steps(experiment, state, request)
  }


def feeders():
  return [t for t in threading.enumerate() if t.name.startswith('feed')]


@pytest.mark.parametrize(
  ('name', 'images', 'num_devices'),
  [('classifier', 16, 1), ('autoencoder', 8, 2)],
)
def test_streamed_is_resident_bit_for_bit(
  monkeypatch, name, images, num_devices
):
  """With one seed; four epochs, whose ends are within blocks."""
  monkeypatch.setattr(feeding, 'BLOCK_BYTES', 3 * images * IMAGE_BYTES)
  found, expected = (
    train(build(is_streamed, name, num_devices))
    for is_streamed in (True, False)
  )
  assert list(expected) == [5, 10, 15, 20]
  assert list(found) == [3, 5, 6, 9, 10, 12, 15, 18, 20]
  for step in expected:
    chex.assert_trees_all_equal(found[step], expected[step])
  assert not feeders()


def test_goes_on_in_the_middle_of_an_epoch():
  experiment = build(True)
  with contextlib.closing(
    training.steps(experiment, experiment.init(), lambda step: Request(2))
  ) as calls:
    state = next(state for state, _ in calls if int(state.step) == 8)
  found = train(experiment, 1, state)
  assert min(found) == 9
  chex.assert_trees_all_equal(found[20], train(experiment)[20])


def batches(experiment, num_steps):
  """Of all runs, as the devices see them, joined: [S, steps, ...]."""
  feed, found = experiment.feed, []
  devices = np.arange(len(experiment.devices))
  of_runs = jax.vmap(feed.batch, (feed.SEED_AXES, None, None))
  of_devices = jax.jit(
    jax.vmap(of_runs, (feed.DEVICE_AXES, None, 0), out_axes=1)
  )
  with contextlib.closing(experiment.chunks(0)) as chunks:
    until = 0
    for step in range(num_steps):
      if step == until:
        data, until = next(chunks)
      found.append(tiny.plain(of_devices(data, step, devices)))
  return jax.tree.map(lambda *x: np.stack(x), *found)


def test_orders_are_drawn_where_there_is_no_cpu(monkeypatch):
  """JAX_PLATFORMS=cuda leaves out the CPU."""
  local_devices = jax.local_devices

  def without_cpu(*args, backend=None, **options):
    if backend == 'cpu':
      raise RuntimeError('Unknown backend cpu')
    return local_devices(*args, backend=backend, **options)

  expected = train(build(True))
  monkeypatch.setattr(jax, 'local_devices', without_cpu)
  chex.assert_trees_all_equal(train(build(True)), expected)


def test_seeds_share_the_order_of_the_first():
  """Of the images; labelled ones are each seed's own."""
  found, expected = (
    batches(build(is_streamed, num_devices=2, num_seeds=3), 12)
    for is_streamed in (True, False)
  )
  for name in ('image', 'label'):
    for seed in range(3):
      np.testing.assert_array_equal(
        found[name][:, seed], expected[name][:, 0], name
      )
  for name in ('labelled_image', 'labelled_label', 'position'):
    np.testing.assert_array_equal(found[name], expected[name], name)
  first = (x['is_labelled'][:, 0] for x in (found, expected))
  np.testing.assert_array_equal(*first)
  assert (found['is_labelled'][:, 1] != found['is_labelled'][:, 0]).any()


def test_devices_hold_their_share():
  with contextlib.closing(build(True, num_devices=2).chunks(0)) as chunks:
    block, until = next(chunks)
  assert until == 3
  image = block.common['image']
  assert image.shape == (2, 3, 4, *tiny.IMAGE_SHAPE)
  assert {x.data.shape[0] for x in image.addressable_shards} == {1}


@pytest.mark.parametrize('error', [ZeroDivisionError, KeyboardInterrupt])
def test_thread_ends_with_the_training(error):
  def request(step):
    assert feeders()
    raise error

  experiment = build(True)
  with pytest.raises(error):
    list(training.steps(experiment, experiment.init(), request))
  assert not feeders()


def test_errors_of_the_thread_are_told():
  experiment = build(True)
  split = experiment.dataset.train._replace(label=np.zeros(3, np.int32))
  dataset = dataclasses.replace(experiment.dataset, train=split)
  with pytest.raises(IndexError):
    next(dataclasses.replace(experiment, dataset=dataset).chunks(0))
  assert not feeders()


@pytest.fixture
def load(tmp_path):
  return functools.partial(datasets.load, data_dir=tmp_path / 'prepared')


def assert_same(streamed, resident):
  assert streamed.placement.is_streamed and not resident.placement.is_streamed
  assert streamed.digest == resident.digest
  for name in ('train', 'validation', 'test'):
    found, expected = getattr(streamed, name), getattr(resident, name)
    assert found.image.shape == expected.image.shape
    np.testing.assert_array_equal(found.image[:], expected.image)
    np.testing.assert_array_equal(found.label, expected.label)


def test_prepared_images_are_mapped(load, monkeypatch):
  streamed = load('digits', streaming=True, num_validation=100)
  assert_same(streamed, load('digits', num_validation=100))
  assert isinstance(streamed.test.image, np.memmap)
  for split in (streamed.train, streamed.validation, streamed.train.labelled):
    assert isinstance(split.image, stored.Rows)
    assert isinstance(split.image.image, np.memmap)
    index = np.array([[5, 3], [5, 0]])
    np.testing.assert_array_equal(split.image[index], split.image[:][index])
  # Written once.
  monkeypatch.setattr(stored, '_write', None)
  load('digits', streaming=True)


def test_own_images_are_mapped_as_they_are_scaled(load, tmp_path):
  folder, generator = tmp_path / 'images', np.random.default_rng(0)
  for index, name in enumerate(['b/1', 'b/2', 'a/1', 'unlabelled/1']):
    path = folder / f'{name}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = generator.integers(0, 256, (6 + index, 7, 3), np.uint8)
    Image.fromarray(pixels).save(path)
  load = functools.partial(load, str(folder), image_size=(4, 5))
  streamed = load(streaming=True, num_validation=1)
  assert_same(streamed, load(num_validation=1))
  assert streamed.num_fitted == 4
  assert isinstance(streamed.train.image.image, np.memmap)
  Image.fromarray(pixels).save(folder / 'a/1.png')
  assert_same(load(streaming=True), load())
  assert len(list((tmp_path / 'prepared/own_images').iterdir())) == 2


def test_broken_writing_leaves_nothing(tmp_path):
  def read(start, stop):
    if start:
      raise ZeroDivisionError
    return np.zeros((stop - start, 1, 1, 1), np.uint8), None

  with pytest.raises(ZeroDivisionError):
    stored.gather(read, (2000, 1, 1, 1), tmp_path / 'streamed')
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ('num_bytes', 'streaming', 'expected'),
  [
    (40e6, None, (False, '40.0 MB of images, 100.0 MB free on a device')),
    (60e6, None, (True, '60.0 MB of images, 100.0 MB free on a device')),
    (60e6, False, (False, 'dataset.streaming is False')),
    (1e6, True, (True, 'dataset.streaming is True')),
  ],
)
def test_choice_by_size(num_bytes, streaming, expected):
  assert stored.place(num_bytes, streaming, 100e6) == expected


def test_choice_is_told():
  for is_streamed, told in ((True, 'streamed: '), (False, 'held by the dev')):
    config = tiny.make_config('classifier', **CHANGES)
    assert told in training.describe(config, build(is_streamed), 'runs/1')


def test_free_memory_is_known():
  assert 1e6 < datasets.free_bytes() < 1e15


def one_line(message):
  return pytest.raises(errors.InputError, match=f'^{message}$')


def test_images_that_do_not_fit(load):
  with one_line(
    'dataset.streaming is False, expected True: 0.1 MB of images, 0.0 MB free '
    'on a device'
  ):
    load('digits', streaming=False, free_bytes=1e4)


def test_images_that_fit_neither_way(load, monkeypatch):
  monkeypatch.setattr(
    'shutil.disk_usage', lambda _: type('Usage', (), {'free': 10})
  )
  with one_line(
    '0.1 MB of images are to be streamed, and 0.0 MB are free in .*/1.0.0; '
    'expected room for them there, or on the devices'
  ):
    load('digits', free_bytes=1e4)


def test_files_are_local():
  with one_line(
    'images are to be streamed from gs://b/x; expected a local folder as '
    'dataset.data_dir'
  ):
    stored.gather(None, (1, 1, 1, 1), epath.Path('gs://b/x'))


def test_damaged_file(load, tmp_path):
  load('digits', streaming=True)
  path = tmp_path / 'prepared/digits/1.0.0/streamed_train/image.npy'
  path.write_bytes(path.read_bytes()[:1000])
  with one_line('the images in .*streamed_train cannot be read .* run again'):
    load('digits', streaming=True)


def test_file_of_other_images(load, tmp_path):
  load('digits', streaming=True)
  folder = tmp_path / 'prepared/digits/1.0.0'
  np.save(folder / 'streamed_test/image.npy', np.zeros((2, 8, 8, 1), np.uint8))
  with one_line(
    r'.*streamed_test holds images of shape \(2, 8, 8, 1\), expected '
    r'\(360, 8, 8, 1\). Delete that folder and run again'
  ):
    load('digits', streaming=True)


def test_devices_must_share_the_batch():
  with one_line('batch_size is 8; expected a multiple of the 3 devices.'):
    build(True, num_devices=3)


def test_system_that_ends_with_all_images():
  with one_line(
    'the system ends with what takes all training images at once, and those of '
    'random are streamed; expected that the devices hold them.'
  ):
    build(True, 'vat')
