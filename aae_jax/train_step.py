"""The one train step, and how it runs over steps, seeds and devices."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np
import optax

from aae_jax.train_state import SEED_AXES, TrainState, phase_keys
from aae_jax.types import AXIS, Apply, Array, Batch, Metrics, Rngs


def bind(
  networks: Mapping[str, nn.Module],
  params: Mapping[str, Any],
  batch_stats: Mapping[str, Any],
  train: bool,
) -> tuple[Apply, dict[str, Any]]:
  """Makes `apply`, and the dict in which it leaves updated statistics."""
  updated = {}

  def apply(name, *inputs, rng=None, update_stats=False):
    variables = {'params': params[name]}
    if name in batch_stats:
      variables['batch_stats'] = batch_stats[name]
    output, changed = networks[name].apply(
      variables, *inputs, rng=rng, train=train, mutable=['batch_stats']
    )
    if update_stats and name in batch_stats:
      updated[name] = changed['batch_stats']
    return output

  return apply, updated


def apply_phase(
  networks: Mapping[str, nn.Module],
  phase: Any,
  state: TrainState,
  batch: Batch,
  rngs: Rngs,
) -> tuple[TrainState, Metrics]:
  """Runs one phase: the gradient of its loss updates what it trains."""
  hyperparams = state.hyperparams[phase.name]
  trained = {name: state.params[name] for name in phase.trains}

  def loss_fn(trained):
    params = {**state.params, **trained}
    apply, stats = bind(networks, params, state.batch_stats, train=True)
    hyper = {'step': state.step, **hyperparams}
    loss, metrics = phase.loss_fn(apply, batch, rngs, hyper)
    return loss, ({'loss': loss, **metrics}, stats)

  gradients, (metrics, stats) = jax.grad(loss_fn, has_aux=True)(trained)
  gradients, metrics, stats = lax.pmean((gradients, metrics, stats), AXIS)
  updates, opt_state = phase.optimizer.update(
    gradients, state.opt_state[phase.name], trained
  )
  rate = hyperparams['learning_rate']
  updates = jax.tree.map(lambda update: rate * update, updates)
  state = state.replace(
    params={**state.params, **optax.apply_updates(trained, updates)},
    batch_stats={**state.batch_stats, **stats},
    opt_state={**state.opt_state, phase.name: opt_state},
  )
  return state, {f'{phase.name}/{key}': v for key, v in metrics.items()}


def make_train_step(
  system: Any, ema_decay: float = 0.0
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
  """The step of one seed on one device's share of a batch.

  Args:
    system: the system.
    ema_decay: of the averages that evaluation uses, warmed up as
      (1 + step) / (10 + step); 0 for a state without averages.
  """

  def train_step(state, batch):
    metrics = {}
    step_key = jax.random.fold_in(jax.random.fold_in(state.rng, 1), state.step)
    for index, phase in enumerate(system.phases):
      rngs = phase_keys(
        jax.random.fold_in(step_key, index), batch, lax.axis_index(AXIS)
      )
      state, phase_metrics = apply_phase(
        system.networks, phase, state, batch, rngs
      )
      metrics.update(phase_metrics)
    state = state.replace(step=state.step + 1)
    if ema_decay:
      state = state.replace(ema=_average(state, ema_decay))
    return state, metrics

  return train_step


def _average(state: TrainState, ema_decay: float) -> Mapping[str, Any]:
  newest = {'params': state.params, 'batch_stats': state.batch_stats}
  step = state.step.astype(jnp.float32)
  decay = jnp.minimum(ema_decay, (1 + step) / (10 + step))
  return optax.incremental_update(newest, state.ema, 1 - decay)


def replicated(devices: Sequence[jax.Device]) -> NamedSharding:
  """The sharding of what every device holds whole, as `pmap` returns it."""
  return NamedSharding(Mesh(devices, (AXIS,)), PartitionSpec())


def parallelize(
  train_step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]],
  feed: Any,
  num_seeds: int,
  devices: Sequence[jax.Device],
) -> Callable[..., tuple[TrainState, Metrics, Metrics]]:
  """Makes one call of many steps: mapped over seeds and over devices.

  The number of steps is an argument, not a constant of the program, so calls
  of any length run the same machine code: results do not depend on how steps
  are divided into calls.

  Args:
    train_step: of one seed.
    feed: where batches come from, a `datasets.feeding.Feed`.
    num_seeds: independent runs, the leading axis of the state.
    devices: that share every batch.

  Returns:
    `run(state, data, num_steps) -> (state, metrics, diverged)`: metrics [S]
    averaged over the steps, and for each phase's loss the first step [S] at
    which it was not finite, or -1. The state is donated.
  """
  if num_seeds == 1:
    run = _alone(_loop(train_step, feed.order, feed.batch, feed), feed)
  else:
    run = _loop(
      jax.vmap(train_step, (SEED_AXES, 0), (SEED_AXES, 0)),
      jax.vmap(feed.order, (0, feed.SEED_AXES, None)),
      jax.vmap(feed.batch, (feed.SEED_AXES, 0, None, None)),
      feed,
    )
  mapped = jax.pmap(
    run,
    axis_name=AXIS,
    in_axes=(None, None, 0),
    out_axes=None,
    devices=devices,
    donate_argnums=0,
  )
  # pmap wants an argument that it maps: each device gets its own count.
  return lambda state, data, num_steps: mapped(
    state, data, np.full(len(devices), num_steps, np.int32)
  )


def _loop(train_step, new_order, gather, feed):
  """Many steps on one device's share of the batches."""

  def run(state, data, num_steps):
    device = lax.axis_index(AXIS)

    def order_of(step):
      return new_order(state.rng, data, step // feed.steps_per_epoch)

    def body(_, carry):
      state, order, totals, diverged = carry
      order = lax.cond(
        state.step % feed.steps_per_epoch == 0,
        lambda: order_of(state.step),
        lambda: order,
      )
      batch = gather(data, order, state.step, device)
      next_state, metrics = train_step(state, batch)
      totals = jax.tree.map(jnp.add, totals, metrics)
      diverged = _note_divergence(diverged, metrics, state.step)
      return next_state, order, totals, diverged

    order = order_of(state.step)
    batch = gather(data, order, state.step, device)
    _, shapes = jax.eval_shape(train_step, state, batch)
    totals = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    diverged = {
      key: jnp.full(total.shape, -1, jnp.int32)
      for key, total in totals.items()
      if key.endswith('/loss')
    }
    carry = (state, order, totals, diverged)
    state, _, totals, diverged = lax.fori_loop(0, num_steps, body, carry)
    means = jax.tree.map(lambda total: total / num_steps, totals)
    return state, means, diverged

  return run


def _note_divergence(diverged, metrics, step):
  """Keeps the first step at which each loss was not finite."""
  return {
    key: jnp.where((first < 0) & ~jnp.isfinite(metrics[key]), step, first)
    for key, first in diverged.items()
  }


def _alone(run, feed):
  """Takes off a seed axis of one, which costs the CPU a quarter of its speed.

  Outside of the loop this is free, within it would not help.
  """

  def run_alone(state, data, num_steps):
    state = map_seeds(lambda x: x[0], state, SEED_AXES)
    data = map_seeds(lambda x: x[0], data, feed.SEED_AXES)
    state, *reports = run(state, data, num_steps)
    state = map_seeds(lambda x: x[None], state, SEED_AXES)
    return state, *jax.tree.map(lambda x: x[None], reports)

  return run_alone


def map_seeds(function: Callable[[Array], Array], tree: Any, axes: Any) -> Any:
  """Maps the leaves of `tree` that have a seed axis, by a prefix `axes`."""
  return jax.tree.map(
    lambda axis, part: part if axis is None else jax.tree.map(function, part),
    axes,
    tree,
    is_leaf=lambda axis: axis is None,
  )
