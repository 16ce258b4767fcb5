"""Tests of aae_jax.datasets.feeding."""

import contextlib
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from aae_jax import train_step
from aae_jax.datasets import Scaling, Split, feeding

LABELLED = np.array([3, 7, 8, 12, 15, 19], np.int32)


def make_source(num_examples=20, labelled=LABELLED, seed=0):
  """An image's pixels and label tell its index."""
  index = np.arange(num_examples)
  image = np.broadcast_to(index[:, None, None, None], (num_examples, 2, 2, 1))
  return feeding.Source(
    split=Split(image.astype(np.uint8), (1000 + index).astype(np.int32)),
    labelled=labelled[None],
    keys=jax.random.key(seed)[None],
    devices=jax.local_devices()[:1],
  )


def data_of(feed, source, epoch=0):
  """What is on the devices in an epoch, of the one run."""
  with contextlib.closing(
    feed.chunks(source, epoch * feed.steps_per_epoch)
  ) as chunks:
    data, until = next(chunks)
  assert until == (epoch + 1) * feed.steps_per_epoch
  return train_step.map_seeds(lambda x: x[0], data, feed.SEED_AXES)


@functools.cache
def compile_epoch(feed):
  """The batches of all devices and steps, [steps, devices, ...]."""

  def batches(data, epoch):
    steps = epoch * feed.steps_per_epoch + jnp.arange(feed.steps_per_epoch)
    of_device = jax.vmap(feed.batch, (None, None, 0))
    of_step = jax.vmap(of_device, (None, 0, None))
    return of_step(data, steps, jnp.arange(feed.num_devices))

  return jax.jit(batches)


def epoch_batches(feed, source, epoch=0):
  """The global batches of an epoch, [steps, batch, ...]."""
  batches = compile_epoch(feed)(data_of(feed, source, epoch), epoch)
  return jax.tree.map(
    lambda x: np.asarray(x).reshape(x.shape[0], -1, *x.shape[3:]), batches
  )


def index_of(image):
  return np.round(np.asarray(image)[..., 0, 0, 0] * 255).astype(int)


@pytest.mark.parametrize('num_devices', [1, 2, 4])
@pytest.mark.parametrize('labelled_batch_size', [0, 4, 8])
def test_epoch_is_one_pass_over_the_whole_split(
  num_devices, labelled_batch_size
):
  """Public code counts an epoch on the labelled loader, or on a zip's end."""
  feed = feeding.Resident(20, 4, labelled_batch_size, num_devices)
  assert feed.steps_per_epoch == 5
  for epoch in range(2):
    index = index_of(epoch_batches(feed, make_source(), epoch)['image'])
    np.testing.assert_array_equal(np.sort(index.ravel()), np.arange(20))


def test_what_does_not_fill_a_batch_waits():
  feed = feeding.Resident(23, 4, 0, 1)
  assert feed.steps_per_epoch == 5
  epochs = [
    index_of(epoch_batches(feed, make_source(23), epoch)['image']).ravel()
    for epoch in range(8)
  ]
  assert all(len(set(index)) == 20 for index in epochs)
  assert set(np.concatenate(epochs)) == set(range(23))


def test_order_is_drawn_for_each_epoch_and_seed():
  feed = feeding.Resident(20, 4, 4, 1)
  for key in ('image', 'labelled_image'):
    orders = [
      tuple(index_of(epoch_batches(feed, source, epoch)[key]).ravel())
      for source, epoch in (
        (make_source(), 0),
        (make_source(), 1),
        (make_source(seed=1), 0),
      )
    ]
    assert len({*orders, tuple(range(20))}) == 4
  again = index_of(epoch_batches(feed, make_source(seed=1), 0)[key]).ravel()
  assert tuple(again) == orders[-1]


def test_labels_belong_to_their_images():
  """Public code shuffles images and labels apart."""
  batch = epoch_batches(feeding.Resident(20, 4, 8, 2), make_source())
  index = index_of(batch['image'])
  np.testing.assert_array_equal(batch['label'], 1000 + index)
  np.testing.assert_array_equal(batch['is_labelled'], np.isin(index, LABELLED))
  labelled_index = index_of(batch['labelled_image'])
  np.testing.assert_array_equal(batch['labelled_label'], 1000 + labelled_index)


@pytest.mark.parametrize('num_labelled', [1, 3, 6])
@pytest.mark.parametrize('labelled_batch_size', [4, 8])
def test_labelled_batches_cycle_evenly(num_labelled, labelled_batch_size):
  """Through exactly what was drawn, however few they are."""
  labelled = LABELLED[:num_labelled]
  source = make_source(labelled=labelled)
  feed = feeding.Resident(20, 4, labelled_batch_size, 2)
  batch = epoch_batches(feed, source, epoch=1)
  index, counts = np.unique(
    index_of(batch['labelled_image']), return_counts=True
  )
  np.testing.assert_array_equal(index, labelled)
  assert counts.sum() == 5 * labelled_batch_size
  assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize('num_devices', [2, 4])
def test_batches_do_not_depend_on_the_devices(num_devices):
  expected = epoch_batches(feeding.Resident(20, 4, 8, 1), make_source(), 1)
  batch = epoch_batches(
    feeding.Resident(20, 4, 8, num_devices), make_source(), 1
  )
  chex.assert_trees_all_equal(batch, expected)


def test_unlabelled_order_does_not_depend_on_the_labelled():
  images = [
    epoch_batches(
      feeding.Resident(20, 4, size, 1), make_source(labelled=labels)
    )['image']
    for size, labels in ((0, LABELLED), (4, LABELLED), (8, LABELLED[:2]))
  ]
  np.testing.assert_array_equal(images[0], images[1])
  np.testing.assert_array_equal(images[0], images[2])


def test_images_are_scaled_to_the_unit_interval():
  image = epoch_batches(feeding.Resident(20, 20, 4, 1), make_source())['image']
  np.testing.assert_allclose(
    np.sort(image[0, :, 0, 0, 0]), np.arange(20) / 255, rtol=1e-6
  )


def test_images_are_scaled_as_the_data_says():
  feed = feeding.Resident(20, 20, 4, 1, Scaling(offset=10.0, divisor=2.0))
  batch = epoch_batches(feed, make_source())
  for name, index in (('image', np.arange(20)), ('labelled_image', LABELLED)):
    seen = np.unique(batch[name])
    assert set(seen) <= set((index - 10) / 2)


@pytest.mark.parametrize('labelled_batch_size', [0, 8])
def test_example_batch_is_like_a_real_one(labelled_batch_size):
  feed = feeding.Resident(20, 4, labelled_batch_size, 1)
  data = data_of(feed, make_source())

  chex.assert_trees_all_equal_shapes_and_dtypes(
    feeding.example_batch(4, labelled_batch_size, (2, 2, 1)),
    jax.eval_shape(lambda: feed.batch(data, 0, 0)),
  )


def test_labelled_examples_are_training_images_and_balanced():
  """Public code takes some from the test split, and not as many a class."""
  built = tiny.build('semi_supervised_aae', num_seeds=3)
  data = tiny.plain(tiny.data(built))
  train = tiny.DATASET.train
  np.testing.assert_array_equal(data.image, train.image)
  np.testing.assert_array_equal(data.label, train.label)
  drawn = data.order.labelled
  assert drawn.shape == (3, 6)
  for labelled, is_labelled in zip(drawn, data.is_labelled, strict=True):
    np.testing.assert_array_equal(np.bincount(train.label[labelled]), [2] * 3)
    np.testing.assert_array_equal(np.flatnonzero(is_labelled), sorted(labelled))
  assert len({tuple(sorted(labelled)) for labelled in drawn}) == 3
