"""Tests of aae_jax.datasets.feeding."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from aae_jax.datasets import Scaling, feeding

LABELLED = np.array([3, 7, 8, 12, 15, 19], np.int32)


def make_data(num_examples=20, labelled=LABELLED):
  """An image's pixels and label tell its index."""
  index = np.arange(num_examples)
  image = np.broadcast_to(index[:, None, None, None], (num_examples, 2, 2, 1))
  return feeding.Data(
    image=jnp.asarray(image, jnp.uint8),
    label=jnp.asarray(1000 + index, jnp.int32),
    is_labelled=jnp.asarray(np.isin(index, labelled)),
    labelled=jnp.asarray(labelled),
  )


@functools.cache
def compile_epoch(feed):
  """The batches of all devices and steps, [steps, devices, ...]."""

  def batches(rng, data, epoch):
    order = feed.order(rng, data, epoch)
    steps = epoch * feed.steps_per_epoch + jnp.arange(feed.steps_per_epoch)
    of_device = jax.vmap(feed.batch, (None, None, None, 0))
    of_step = jax.vmap(of_device, (None, None, 0, None))
    return of_step(data, order, steps, jnp.arange(feed.num_devices))

  return jax.jit(batches)


def epoch_batches(feed, data, epoch=0, seed=0):
  """The global batches of an epoch, [steps, batch, ...]."""
  batches = compile_epoch(feed)(jax.random.key(seed), data, epoch)
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
    index = index_of(epoch_batches(feed, make_data(), epoch)['image'])
    np.testing.assert_array_equal(np.sort(index.ravel()), np.arange(20))


def test_what_does_not_fill_a_batch_waits():
  feed = feeding.Resident(23, 4, 0, 1)
  assert feed.steps_per_epoch == 5
  epochs = [
    index_of(epoch_batches(feed, make_data(23), epoch)['image']).ravel()
    for epoch in range(8)
  ]
  assert all(len(set(index)) == 20 for index in epochs)
  assert set(np.concatenate(epochs)) == set(range(23))


def test_order_is_drawn_for_each_epoch_and_seed():
  feed = feeding.Resident(20, 4, 4, 1)
  for key in ('image', 'labelled_image'):
    orders = [
      tuple(index_of(epoch_batches(feed, make_data(), *draw)[key]).ravel())
      for draw in ((0, 0), (1, 0), (0, 1))
    ]
    assert len({*orders, tuple(range(20))}) == 4
  again = index_of(epoch_batches(feed, make_data(), 0, 1)[key]).ravel()
  assert tuple(again) == orders[-1]


def test_labels_belong_to_their_images():
  """Public code shuffles images and labels apart."""
  batch = epoch_batches(feeding.Resident(20, 4, 8, 2), make_data())
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
  data = make_data(labelled=labelled)
  feed = feeding.Resident(20, 4, labelled_batch_size, 2)
  batch = epoch_batches(feed, data, epoch=1)
  index, counts = np.unique(
    index_of(batch['labelled_image']), return_counts=True
  )
  np.testing.assert_array_equal(index, labelled)
  assert counts.sum() == 5 * labelled_batch_size
  assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize('num_devices', [2, 4])
def test_batches_do_not_depend_on_the_devices(num_devices):
  expected = epoch_batches(feeding.Resident(20, 4, 8, 1), make_data(), 1)
  batch = epoch_batches(feeding.Resident(20, 4, 8, num_devices), make_data(), 1)
  chex.assert_trees_all_equal(batch, expected)


def test_unlabelled_order_does_not_depend_on_the_labelled():
  images = [
    epoch_batches(feeding.Resident(20, 4, size, 1), make_data(labelled=labels))[
      'image'
    ]
    for size, labels in ((0, LABELLED), (4, LABELLED), (8, LABELLED[:2]))
  ]
  np.testing.assert_array_equal(images[0], images[1])
  np.testing.assert_array_equal(images[0], images[2])


def test_images_are_scaled_to_the_unit_interval():
  image = epoch_batches(feeding.Resident(20, 20, 4, 1), make_data())['image']
  np.testing.assert_allclose(
    np.sort(image[0, :, 0, 0, 0]), np.arange(20) / 255, rtol=1e-6
  )


def test_images_are_scaled_as_the_data_says():
  feed = feeding.Resident(20, 20, 4, 1, Scaling(offset=10.0, divisor=2.0))
  batch = epoch_batches(feed, make_data())
  for name, index in (('image', np.arange(20)), ('labelled_image', LABELLED)):
    seen = np.unique(batch[name])
    assert set(seen) <= set((index - 10) / 2)


@pytest.mark.parametrize('labelled_batch_size', [0, 8])
def test_example_batch_is_like_a_real_one(labelled_batch_size):
  feed = feeding.Resident(20, 4, labelled_batch_size, 1)
  data = make_data()

  def first():
    order = feed.order(jax.random.key(0), data, 0)
    return feed.batch(data, order, 0, 0)

  chex.assert_trees_all_equal_shapes_and_dtypes(
    feeding.example_batch(4, labelled_batch_size, (2, 2, 1)),
    jax.eval_shape(first),
  )


def test_labelled_examples_are_training_images_and_balanced():
  """Public code takes some from the test split, and not as many a class."""
  built = tiny.build('semi_supervised_aae', num_seeds=3)
  data = tiny.plain(tiny.data(built))
  train = tiny.DATASET.train
  np.testing.assert_array_equal(data.image, train.image)
  np.testing.assert_array_equal(data.label, train.label)
  assert data.labelled.shape == (3, 6)
  for labelled, is_labelled in zip(
    data.labelled, data.is_labelled, strict=True
  ):
    np.testing.assert_array_equal(np.bincount(train.label[labelled]), [2] * 3)
    np.testing.assert_array_equal(np.flatnonzero(is_labelled), sorted(labelled))
  assert len({tuple(sorted(labelled)) for labelled in data.labelled}) == 3
