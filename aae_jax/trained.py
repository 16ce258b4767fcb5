"""A trained system, run over arrays."""

from collections.abc import Iterable, Iterator, Mapping
import dataclasses
import functools
from typing import Any
import weakref

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from aae_jax import randomness, train_step
from aae_jax.datasets import Scaling, Split
from aae_jax.systems import Model, System
from aae_jax.train_state import TrainState
from aae_jax.types import AXIS, Array, Batch, Function, Key

BATCH_SIZE = 1000

STATISTICS_BATCH_SIZE = 250
"""As Miyato et al. (2016) take them."""

NUM_UPDATES = 1000
"""After which a momentum of 0.99 has left 1 / 23,000 of what was there."""

Weights = Mapping[str, Any]
"""`params` and `batch_stats`, by network."""

_COMPILED = weakref.WeakKeyDictionary()
"""{system: {(function, scaling): compiled}}, as long as there is the system."""


def newest(state: TrainState) -> Weights:
  """The weights after the last step."""
  return {'params': state.params, 'batch_stats': state.batch_stats}


def averaged(state: TrainState) -> Weights:
  """The averages of the weights, or the newest where there are none."""
  return state.ema or newest(state)


def sound_seeds(state: TrainState) -> np.ndarray:
  """Which seeds have finite weights, averages and statistics, bool [S]."""
  return np.asarray(_are_finite((newest(state), state.ema)))


_are_finite = jax.jit(train_step.are_finite)


@dataclasses.dataclass(frozen=True)
class Trained:
  """A system and what it has learnt.

  Attributes:
    system: whose functions can be run.
    weights: of S runs, [S, ...].
    scaling: of images.
  """

  system: System
  weights: Weights
  scaling: Scaling

  @property
  def model(self) -> Model:
    """How the networks are used."""
    return self.system.model

  def seed(self, index: int) -> 'Trained':
    """One run of the S, as the only one."""
    weights = jax.tree.map(lambda x: x[index : index + 1], self.weights)
    # Through the host, so that they are committed to no device.
    weights = jax.device_put(jax.device_get(weights))
    return dataclasses.replace(self, weights=weights)

  def run(
    self,
    function: Function,
    rows: Batch,
    key: Key | None = None,
    batch_size: int | None = None,
  ) -> Any:
    """Runs a function over arrays of any length.

    What is drawn for a row depends on the row's place alone.

    Args:
      function: of the system's model, or made of its functions.
      rows: what it reads, [N, ...] each; images as they are stored, or as
        networks see them.
      key: typed key [], of what is drawn; without it, the mean.
      batch_size: rows at a time; `BATCH_SIZE` if None.

    Returns:
      NumPy arrays [S, N, ...].
    """
    return joined(self.batches(function, rows, key, batch_size))

  def batches(
    self,
    function: Function,
    rows: Batch,
    key: Key | None = None,
    batch_size: int | None = None,
  ) -> Iterator[Any]:
    """The same batch by batch, for `joined`: each when it is asked for."""
    size = len(jax.tree.leaves(rows)[0])
    for index in _batches(size, min(size, batch_size or BATCH_SIZE)):
      batch = jax.tree.map(lambda x, index=index: x[index], rows)
      found = jax.device_get(self.call(function, batch, key, index))
      left = size - index[0]
      yield jax.tree.map(lambda x, left=left: x[:, :left], found)

  def call(
    self,
    function: Function,
    batch: Batch,
    key: Key | None = None,
    positions: Array | None = None,
  ) -> Any:
    """The same of one batch: pure, so it can be mapped and differentiated.

    Args:
      function: of the system's model, or made of its functions.
      batch: what it reads, [B, ...] each.
      key: typed key [], of what is drawn; without it, the mean.
      positions: int32 [B], the places of the rows.

    Returns:
      Arrays [S, B, ...].
    """
    compiled = _COMPILED.setdefault(self.system, {})
    name = function, self.scaling
    if name not in compiled:
      # Without the system, which is to be forgotten some day.
      compiled[name] = jax.jit(
        functools.partial(_call, self.system.networks, *name)
      )
    return compiled[name](self.weights, batch, key, positions)

  def cluster_heads(self) -> np.ndarray | None:
    """The representation of each cluster in the first run, [K, n], if any."""
    if not self.model.cluster_heads:
      return None
    y = np.eye(self.model.code_sizes['y'], dtype=np.float32)
    return self.run(self.model.cluster_heads, {'code': {'y': y}})[0]

  def statistics(self, function: Function, image: Array, key: Key) -> Any:
    """Statistics of batch normalization with the weights at rest.

    Averages over so many batches in training mode that those of before count
    for nothing.

    Args:
      function: of one run; it asks for updates of statistics.
      image: as it is stored, or as networks see it, [N, H, W, C].
      key: typed key [], of the batches and the noise.

    Returns:
      Those of the networks that `function` updates, without the axis of runs.
    """
    update = jax.jit(
      functools.partial(
        _statistics, self.system.networks, function, self.scaling
      )
    )
    weights = jax.tree.map(lambda x: x[0], self.weights)
    return jax.device_get(update(weights, image, key))


def joined(parts: Iterable[Any]) -> Any:
  """NumPy arrays [S, N, ...] of those of the batches."""
  return jax.tree.map(lambda *found: np.concatenate(found, axis=1), *parts)


def rows(split: Split) -> dict[str, np.ndarray]:
  """The images [N, H, W, C] and labels [N] of a split; 0 without labels."""
  image, label = split
  if label is None:
    label = np.zeros(len(image), np.int32)
  return {'image': image, 'label': label}


def rows_by_label(size: int, num_classes: int) -> dict[str, np.ndarray]:
  """Labels [N] to draw by, each equally often; unknown ones of no class."""
  label = np.arange(size, dtype=np.int32) % (num_classes or 1)
  return {'label': label, 'is_labelled': np.full(size, bool(num_classes))}


def _call(
  networks: Mapping[str, nn.Module],
  function: Function,
  scaling: Scaling,
  weights: Weights,
  batch: Batch,
  key: Key | None,
  positions: Array | None,
) -> Any:
  """Of all runs [S, B, ...]."""
  if 'image' in batch:
    batch = {**batch, 'image': scaling(batch['image'])}
  rng = None if key is None else randomness.position_keys(key, positions)

  def of_one(weights):
    apply, _ = train_step.bind(networks, **weights, train=False)
    return function(apply, batch, rng)

  # One is run as one, for the axis costs the CPU a quarter of its speed.
  if len(jax.tree.leaves(weights)[0]) == 1:
    found = of_one(jax.tree.map(lambda x: x[0], weights))
    return jax.tree.map(lambda x: x[None], found)
  return jax.vmap(of_one)(weights)


def _statistics(
  networks: Mapping[str, nn.Module],
  function: Function,
  scaling: Scaling,
  weights: Weights,
  image: Array,
  key: Key,
) -> Any:
  """See `Trained.statistics`; the weights are without an axis of runs."""
  size = min(len(image), STATISTICS_BATCH_SIZE)

  def update(step, batch_stats):
    step_key = randomness.fold_in(key, step)
    index = jax.random.randint(
      randomness.named(step_key, 'examples'), (size,), 0, len(image)
    )
    batch = {'image': scaling(image[index])}
    rng = randomness.position_keys(
      randomness.named(step_key, 'noise'), jnp.arange(size)
    )
    apply, updated = train_step.bind(
      networks, weights['params'], batch_stats, train=True
    )
    function(apply, batch, rng)
    return {**batch_stats, **updated}

  run = lambda stats: lax.fori_loop(0, NUM_UPDATES, update, stats)
  # As on one device.
  on_one_device = jax.vmap(run, axis_name=AXIS, axis_size=1, in_axes=None)
  found = on_one_device(weights['batch_stats'])
  return jax.tree.map(lambda x: x[0], found)


def _batches(size: int, batch_size: int) -> Iterator[np.ndarray]:
  """Indexes of batches of one shape; the last one repeats the last row."""
  for start in range(0, size, batch_size):
    index = np.arange(start, start + batch_size, dtype=np.int32)
    yield np.minimum(index, size - 1)
