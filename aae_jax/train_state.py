"""The state of a training: arrays only, so that the checkpoint is the state."""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from aae_jax import randomness
from aae_jax.systems import System
from aae_jax.types import AXIS, Array, Batch, Key, Metrics, Rngs


class TrainState(flax.struct.PyTreeNode):
  """All arrays of a run; every leaf but `step` may have a leading seed axis.

  Attributes:
    step: int32 [], completed steps.
    params: by network.
    batch_stats: by network, of the networks that normalize.
    opt_state: by phase.
    hyperparams: {phase: {name: float32 []}}, the rates and weights.
    ema: averages of `params` and `batch_stats`, or empty.
    report: {'sums': {metric: float32 []}, 'diverged': {loss: int32 []}}: of the
      metrics since the epoch began, and for each phase's loss the first step of
      the run at which it was not finite, or -1; and so for the `weights`, which
      are looked at after each call. In the state, so that rows and findings
      survive an interruption.
    rng: typed key [], constant.
    best: what early stopping keeps, see `early_stopping.begin`; or empty.
  """

  step: Array
  params: Mapping[str, Any]
  batch_stats: Mapping[str, Any]
  opt_state: Mapping[str, Any]
  hyperparams: Mapping[str, Mapping[str, Array]]
  ema: Mapping[str, Any]
  report: Mapping[str, Mapping[str, Array]]
  rng: Key
  best: Mapping[str, Any] = flax.struct.field(default_factory=dict)


SEED_AXES = TrainState(
  step=None,
  params=0,
  batch_stats=0,
  opt_state=0,
  hyperparams=0,
  ema=0,
  report=0,
  rng=0,
  best=0,
)
"""For `vmap` over seeds, which share `step`."""


def create(system: System, rng: Key, batch: Batch, average: bool) -> TrainState:
  """Initializes a system.

  The losses themselves run once, on `batch`, as on one device, and so do the
  finishes; each network is initialized when it is called: so nobody has to
  state what its inputs are.

  Args:
    system: whose phases run.
    rng: the key of the seed.
    batch: of any size and content, of the shapes and types of the data's.
    average: whether to keep averages of parameters and statistics.
  """
  hyperparams = {
    phase.name: {k: jnp.float32(v) for k, v in phase.hyperparams.items()}
    for phase in system.phases
  }
  step = jnp.zeros((), jnp.int32)
  on_one_device = jax.vmap(
    lambda _: _run_losses(system, rng, batch, hyperparams, step),
    axis_name=AXIS,
    axis_size=1,
  )
  variables, metrics = jax.tree.map(lambda x: x[0], on_one_device(step[None]))
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
    ema={'params': params, 'batch_stats': batch_stats} if average else {},
    report={
      'sums': {name: jnp.zeros((), jnp.float32) for name in metrics},
      'diverged': {
        name: jnp.full((), -1, jnp.int32)
        for name in (*(f'{p.name}/loss' for p in system.phases), 'weights')
      },
    },
    rng=rng,
  )


def _run_losses(
  system: System, rng: Key, batch: Batch, hyperparams: Any, step: Array
) -> tuple[dict[str, Any], Metrics]:
  """The variables of all networks, and the metrics by their names."""
  variables, metrics = {}, {}

  def apply(name, *inputs, rng=None, train=None, update_stats=False, **options):
    del train, update_stats
    network = system.networks[name]
    noise = None if rng is None else randomness.named(rng, name)
    options |= {'rng': noise, 'train': True}
    if name not in variables:
      key = randomness.named(init_rng, name)
      output, variables[name] = network.init_with_output(
        key, *inputs, **options
      )
    else:
      # A loss may call it again from within a map, whose tracers are its own.
      output, _ = network.apply(
        variables[name], *inputs, mutable=['batch_stats'], **options
      )
    return output

  init_rng = randomness.named(rng, 'init')
  rngs = phase_keys(randomness.named(init_rng, 'noise'), batch)
  for phase in system.phases:
    hyper = {'step': step, **hyperparams[phase.name]}
    loss, found = phase.loss_fn(apply, batch, rngs, hyper)
    metrics |= {
      f'{phase.name}/{key}': x for key, x in {'loss': loss, **found}.items()
    }
  for finish in system.finish:
    finish.run(apply, batch, rngs['image'])
  return variables, metrics


def phase_keys(key: Key, batch: Batch, device: int | Array = 0) -> Rngs:
  """A key for each example of a device's share of the batch."""
  rngs = {}
  for name in ('image', 'labelled_image'):
    if name in batch:
      size = batch[name].shape[0]
      positions = device * size + jnp.arange(size)
      part_key = randomness.named(key, name)
      rngs[name] = randomness.position_keys(part_key, positions)
  return rngs
