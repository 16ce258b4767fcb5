"""The state of a training: arrays only, so that the checkpoint is the state."""

from collections.abc import Mapping
from typing import Any
import zlib

import flax.struct
import jax
import jax.numpy as jnp

from aae_jax import randomness
from aae_jax.systems import System
from aae_jax.types import Array, Batch, Key, Rngs


class TrainState(flax.struct.PyTreeNode):
  """All arrays of a run; every leaf but `step` may have a leading seed axis.

  Attributes:
    step: int32 [], completed steps.
    params: by network.
    batch_stats: by network, of the networks that normalize.
    opt_state: by phase.
    hyperparams: {phase: {name: float32 []}}, the rates and weights.
    ema: averages of `params` and `batch_stats`, or empty.
    rng: typed key [], constant.
  """

  step: Array
  params: Mapping[str, Any]
  batch_stats: Mapping[str, Any]
  opt_state: Mapping[str, Any]
  hyperparams: Mapping[str, Mapping[str, Array]]
  ema: Mapping[str, Any]
  rng: Key


SEED_AXES = TrainState(
  step=None,
  params=0,
  batch_stats=0,
  opt_state=0,
  hyperparams=0,
  ema=0,
  rng=0,
)
"""For `vmap` over seeds, which share `step`."""


def create(system: System, rng: Key, batch: Batch, average: bool) -> TrainState:
  """Initializes a system.

  The losses themselves run once, on `batch`, and each network is initialized
  at its first call: so nobody has to state what its inputs are.

  Args:
    system: whose losses run.
    rng: the key of the seed.
    batch: of any size and content, of the shapes and types of the data's.
    average: whether to keep averages of parameters and statistics.
  """
  variables = {}

  def apply(name, *inputs, rng=None, update_stats=False):
    del update_stats
    key = jax.random.fold_in(init_rng, zlib.crc32(name.encode()) >> 1)
    output, variables[name] = system.networks[name].init_with_output(
      key, *inputs, rng=rng, train=True
    )
    return output

  init_rng = jax.random.fold_in(rng, 0)
  hyperparams = {
    phase.name: {k: jnp.float32(v) for k, v in phase.hyperparams.items()}
    for phase in system.phases
  }
  step = jnp.zeros((), jnp.int32)
  for phase in system.phases:
    hyper = {'step': step, **hyperparams[phase.name]}
    phase.loss_fn(apply, batch, phase_keys(rng, batch), hyper)
  params = {name: v['params'] for name, v in variables.items()}
  batch_stats = {
    name: v['batch_stats']
    for name, v in variables.items()
    if 'batch_stats' in v
  }
  return TrainState(
    step=step,
    params=params,
    batch_stats=batch_stats,
    opt_state={
      phase.name: phase.optimizer.init(
        {name: params[name] for name in phase.trains}
      )
      for phase in system.phases
    },
    hyperparams=hyperparams,
    ema=({'params': params, 'batch_stats': batch_stats} if average else {}),
    rng=rng,
  )


def phase_keys(key: Key, batch: Batch, device: int | Array = 0) -> Rngs:
  """A key for each example of a device's share of the batch."""
  rngs = {}
  for part, name in enumerate(('image', 'labelled_image')):
    if name in batch:
      size = batch[name].shape[0]
      positions = device * size + jnp.arange(size)
      part_key = jax.random.fold_in(key, part)
      rngs[name] = randomness.position_keys(part_key, positions)
  return rngs
