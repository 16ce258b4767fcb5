"""Batches of a data set that the devices hold whole.

The images are put on the devices once, as they are stored. Within a step a
batch is gathered by index and scaled, so the host does nothing between steps.
"""

import dataclasses
from typing import ClassVar

import flax.struct
import jax
from jax import lax
import jax.numpy as jnp

from aae_jax import randomness
from aae_jax.datasets.dataset import Scaling
from aae_jax.types import Array, Batch, Key


class Data(flax.struct.PyTreeNode):
  """The training split on the devices; S seeds draw their own labels.

  Attributes:
    image: as it is stored, [N, H, W, C].
    label: int32 [N].
    is_labelled: bool [S, N].
    labelled: int32 [S, n], indexes of the labelled examples.
  """

  image: Array
  label: Array
  is_labelled: Array
  labelled: Array


class Order(flax.struct.PyTreeNode):
  """In which order an epoch visits the examples, int32 [N] and [n]."""

  unlabelled: Array
  labelled: Array


@dataclasses.dataclass(frozen=True)
class Feed:
  """Which examples a step sees.

  An epoch is one pass over the whole training split, in an order drawn anew;
  what does not fill a batch waits for another epoch. The labelled batches
  cycle meanwhile through the labelled examples, in an order of their own.

  Attributes:
    num_examples: N, in the training split.
    batch_size: over all devices.
    labelled_batch_size: over all devices; 0 for none.
    num_devices: that share a batch.
    scaling: of the images.
  """

  num_examples: int
  batch_size: int
  labelled_batch_size: int
  num_devices: int
  scaling: Scaling = Scaling()

  SEED_AXES: ClassVar[Data] = Data(
    image=None, label=None, is_labelled=0, labelled=0
  )

  @property
  def steps_per_epoch(self) -> int:
    """Full batches in the training split."""
    return self.num_examples // self.batch_size

  def order(self, rng: Key, data: Data, epoch: Array) -> Order:
    """The order of an epoch: a function of key and epoch alone."""
    key = randomness.fold_in(randomness.named(rng, 'order'), epoch)
    unlabelled = jax.random.permutation(
      randomness.named(key, 'unlabelled'), self.num_examples
    )
    labelled = jax.random.permutation(
      randomness.named(key, 'labelled'), data.labelled
    )
    return Order(unlabelled, labelled)

  def batch(
    self, data: Data, order: Order, step: Array, device: Array
  ) -> Batch:
    """A device's share of the batch of a step."""
    step = step % self.steps_per_epoch
    size = self.batch_size // self.num_devices
    start = step * self.batch_size + device * size
    index = lax.dynamic_slice(order.unlabelled, (start,), (size,))
    batch = {
      'image': self.scaling(data.image[index]),
      'position': device * size + jnp.arange(size),
      'label': data.label[index],
      'is_labelled': data.is_labelled[index],
    }
    if self.labelled_batch_size:
      size = self.labelled_batch_size // self.num_devices
      start = step * self.labelled_batch_size + device * size
      position = (start + jnp.arange(size)) % order.labelled.shape[0]
      index = order.labelled[position]
      batch['labelled_image'] = self.scaling(data.image[index])
      batch['labelled_label'] = data.label[index]
    return batch


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
