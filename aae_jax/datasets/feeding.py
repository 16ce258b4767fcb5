"""Batches of a data set: the devices hold all of it, or some blocks in turn.

Images come to the devices as they are stored, and are scaled within a step.
Whoever trains does not know which way they came.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
import dataclasses
import functools
import itertools
from typing import Any, ClassVar

import flax.struct
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from aae_jax import processes, randomness
from aae_jax.datasets.dataset import Scaling, Split
from aae_jax.types import Array, Batch, Key

BLOCK_BYTES = 2**26
"""Of the images that come to the devices at a time, about."""


@dataclasses.dataclass(frozen=True)
class Source:
  """What batches are made of, as it is on the host.

  Attributes:
    split: to train on, N examples.
    labelled: int32 [S, n], the examples whose labels each run uses.
    keys: typed keys [S], of the runs.
    devices: that share every batch, of all processes.
  """

  split: Split
  labelled: np.ndarray
  keys: Key
  devices: Sequence[jax.Device]

  @functools.cached_property
  def label(self) -> np.ndarray:
    """int32 [N]; 0 without labels."""
    image, label = self.split
    return np.zeros(len(image), np.int32) if label is None else label

  @functools.cached_property
  def is_labelled(self) -> np.ndarray:
    """bool [S, N]."""
    found = np.zeros((len(self.labelled), self.split.num_images), bool)
    np.put_along_axis(found, self.labelled, True, axis=1)
    return found


class Order(flax.struct.PyTreeNode):
  """In which order an epoch visits the examples, int32 [S, N] and [S, n]."""

  unlabelled: Array
  labelled: Array


class Data(flax.struct.PyTreeNode):
  """The training split on the devices; S seeds draw their own labels.

  Attributes:
    image: as it is stored, [N, H, W, C].
    label: int32 [N].
    is_labelled: bool [S, N].
    order: of the epoch.
  """

  image: Array
  label: Array
  is_labelled: Array
  order: Order


class Block(flax.struct.PyTreeNode):
  """The batches of K steps in a row, each device's share on that device.

  Attributes:
    first: int32 [], the first of the steps.
    common: the parts [D, K, B / D, ...] of a batch that all runs see.
    own: the parts [D, S, K, B / D, ...] that each run has of its own.
  """

  first: Array
  common: Batch
  own: Batch


@dataclasses.dataclass(frozen=True)
class Feed:
  """Which examples a step sees, and how they come to the devices.

  An epoch is one pass over the whole training split, in an order drawn anew;
  what does not fill a batch waits for another epoch. The labelled batches
  cycle meanwhile through the labelled examples, in an order of their own.

  Attributes:
    num_examples: N, in the training split.
    batch_size: over all devices.
    labelled_batch_size: over all devices; 0 for none.
    num_devices: that share a batch.
    scaling: of the images.
    SEED_AXES: which parts of the data the runs have of their own, for `vmap`.
    DEVICE_AXES: which parts the devices have of their own, for `pmap`.
  """

  num_examples: int
  batch_size: int
  labelled_batch_size: int
  num_devices: int
  scaling: Scaling = Scaling()

  SEED_AXES: ClassVar[Any]
  DEVICE_AXES: ClassVar[Any]

  @property
  def steps_per_epoch(self) -> int:
    """Full batches in the training split."""
    return self.num_examples // self.batch_size

  def batch(self, data: Any, step: Array, device: Array) -> Batch:
    """A device's share of the batch of a step; within the loop over steps."""
    raise NotImplementedError

  def chunks(self, source: Source, step: int) -> Iterator[tuple[Any, int]]:
    """What is on the devices from a step on; to be closed.

    Yields:
      The data, and the step up to which they serve.
    """
    raise NotImplementedError

  def _positions(self, device: Array) -> Array:
    """The places of a device's share in the batch."""
    size = self.batch_size // self.num_devices
    return device * size + jnp.arange(size)

  def _order(self, keys: Key, source: Source, epoch: int) -> Order:
    """The order of an epoch: a function of keys and epoch alone.

    Args:
      keys: typed keys [R], of the runs that have an order of all examples of
        their own.
      source: of the labelled examples, whose order each run has of its own.
      epoch: from 0 on.
    """
    every = np.arange(self.num_examples, dtype=np.int32)
    every = np.broadcast_to(every, (len(keys), len(every)))
    return Order(
      _permutations(keys, epoch, 'unlabelled', every),
      _permutations(source.keys, epoch, 'labelled', source.labelled),
    )


class Resident(Feed):
  """Each device holds all images, and the host does nothing between steps."""

  SEED_AXES = Data(image=None, label=None, is_labelled=0, order=0)
  DEVICE_AXES = None

  def batch(self, data: Data, step: Array, device: Array) -> Batch:
    """Gathered by index."""
    step = step % self.steps_per_epoch
    size = self.batch_size // self.num_devices
    start = step * self.batch_size + device * size
    index = lax.dynamic_slice(data.order.unlabelled, (start,), (size,))
    batch = {
      'image': self.scaling(data.image[index]),
      'position': self._positions(device),
      'label': data.label[index],
      'is_labelled': data.is_labelled[index],
    }
    if self.labelled_batch_size:
      size = self.labelled_batch_size // self.num_devices
      start = step * self.labelled_batch_size + device * size
      position = (start + jnp.arange(size)) % data.order.labelled.shape[0]
      index = data.order.labelled[position]
      batch['labelled_image'] = self.scaling(data.image[index])
      batch['labelled_label'] = data.label[index]
    return batch

  def chunks(self, source: Source, step: int) -> Iterator[tuple[Data, int]]:
    """The training split, in the order of one epoch after the other."""
    own = processes.own(source.devices)
    stays = jax.device_put(
      (source.split.image, source.label, source.is_labelled), own
    )
    for epoch in itertools.count(step // self.steps_per_epoch):
      order = self._order(source.keys, source, epoch)
      until = (epoch + 1) * self.steps_per_epoch
      yield Data(*stays, jax.device_put(order, own)), until


class Streamed(Feed):
  """A thread brings blocks of images to the devices while these compute.

  The orders are those of `Resident`; but several runs share the images, and so
  the first one's order of them.
  """

  SEED_AXES = Block(first=None, common=None, own=0)
  DEVICE_AXES = Block(first=None, common=0, own=0)

  def batch(self, data: Block, step: Array, device: Array) -> Batch:
    """Taken from the block."""
    batch = {
      name: lax.dynamic_index_in_dim(x, step - data.first, keepdims=False)
      for name, x in {**data.common, **data.own}.items()
    }
    for name in {'image', 'labelled_image'} & batch.keys():
      batch[name] = self.scaling(batch[name])
    return {**batch, 'position': self._positions(device)}

  def chunks(self, source: Source, step: int) -> Iterator[tuple[Block, int]]:
    """Blocks, each in turn; the next one is on its way meanwhile."""
    image, runs = source.split.image, len(source.labelled)
    images = self.batch_size + runs * self.labelled_batch_size
    step_bytes = images * image.dtype.itemsize * int(np.prod(image.shape[1:]))
    num_steps = min(self.steps_per_epoch, max(1, BLOCK_BYTES // step_bytes))
    # Of the epochs that meet in a block.
    draw = functools.lru_cache(2)(functools.partial(self._draw, source))
    read = functools.partial(self._read, source, draw)
    with futures.ThreadPoolExecutor(1, 'feed') as thread:
      ahead = thread.submit(read, range(step, step + num_steps))
      while True:
        data, step = ahead.result(), step + num_steps
        ahead = thread.submit(read, range(step, step + num_steps))
        yield data, step

  def _draw(self, source: Source, epoch: int) -> Order:
    """The order of an epoch, of the first run and of all; NumPy's."""
    # The devices would keep the thread waiting for the steps they are at.
    with jax.default_device(_host()):
      return jax.device_get(self._order(source.keys[:1], source, epoch))

  def _read(
    self,
    source: Source,
    draw: Callable[[int], Order],
    steps: Sequence[int],
  ) -> Block:
    """The block of some steps, on the devices of this process."""
    image, label = source.split.image, source.label
    index = self._shared_out(source, self._unlabelled(draw, steps))
    common = {'image': image[index], 'label': label[index]}
    own = {'is_labelled': np.moveaxis(source.is_labelled[:, index], 0, 1)}
    if self.labelled_batch_size:
      index = self._shared_out(source, self._labelled(draw, steps))
      own |= {'labelled_image': image[index], 'labelled_label': label[index]}
    return Block(
      jax.device_put(np.int32(steps[0]), processes.own(source.devices)),
      *jax.device_put((common, own), processes.shares(source.devices)),
    )

  def _unlabelled(
    self, draw: Callable[[int], Order], steps: Sequence[int]
  ) -> np.ndarray:
    """Indexes of the examples of some steps, [K, B]."""
    size, found = self.batch_size, []
    for epoch, step in (divmod(step, self.steps_per_epoch) for step in steps):
      [order] = draw(epoch).unlabelled
      found.append(order[step * size : (step + 1) * size])
    return np.stack(found)

  def _labelled(
    self, draw: Callable[[int], Order], steps: Sequence[int]
  ) -> np.ndarray:
    """Indexes of the labelled examples of some steps, [S, K, B]."""
    size, found = self.labelled_batch_size, []
    for epoch, step in (divmod(step, self.steps_per_epoch) for step in steps):
      order = draw(epoch).labelled
      position = np.arange(step * size, (step + 1) * size) % order.shape[1]
      found.append(order[:, position])
    return np.stack(found, axis=1)

  def _shared_out(self, source: Source, index: np.ndarray) -> np.ndarray:
    """[..., B] to [D, ..., B / devices], of the D devices of this process."""
    index = index.reshape(*index.shape[:-1], self.num_devices, -1)
    places = processes.own_places(source.devices)
    return np.moveaxis(index, -2, 0)[places]


def _host() -> jax.Device | None:
  """The CPU as a device, unless `JAX_PLATFORMS` leaves it out."""
  try:
    return jax.local_devices(backend='cpu')[0]
  except RuntimeError:
    return None


@functools.partial(jax.jit, static_argnums=2)
def _permutations(keys: Key, epoch: Array, name: str, examples: Array) -> Array:
  """Each run's examples in its order of an epoch, [R, n]."""

  def permuted(key, examples):
    key = randomness.fold_in(randomness.named(key, 'order'), epoch)
    return jax.random.permutation(randomness.named(key, name), examples)

  return jax.vmap(permuted)(keys, examples)


def example_batch(
  size: int, labelled_size: int, image_shape: tuple[int, int, int]
) -> Batch:
  """A batch of zeros, of the shapes and types of the real ones.

  Args:
    size: of the batch.
    labelled_size: of the labelled one; 0 for none.
    image_shape: (H, W, C).
  """
  batch = {
    'image': jnp.zeros((size, *image_shape)),
    'position': jnp.arange(size),
    'label': jnp.zeros(size, jnp.int32),
    'is_labelled': jnp.zeros(size, bool),
  }
  if labelled_size:
    batch['labelled_image'] = jnp.zeros((labelled_size, *image_shape))
    batch['labelled_label'] = jnp.zeros(labelled_size, jnp.int32)
  return batch
