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
    objective: Any, ema_decay: float = 0.0
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
  """The step of one seed on one device's share of a batch.

  Args:
    objective: the system.
    ema_decay: of the averages that evaluation uses, warmed up as
      (1 + step) / (10 + step); 0 for a state without averages.
  """

  def train_step(state, batch):
    metrics = {}
    step_key = jax.random.fold_in(
        jax.random.fold_in(state.rng, 1), state.step
    )
    for index, phase in enumerate(objective.phases):
      rngs = phase_keys(
          jax.random.fold_in(step_key, index), batch, lax.axis_index(AXIS)
      )
      state, phase_metrics = apply_phase(
          objective.networks, phase, state, batch, rngs
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
  alone = num_seeds == 1

  def vectorize(function, in_axes, out_axes):
    # A seed axis of one costs a quarter of the speed on the CPU: take it off.
    return function if alone else jax.vmap(function, in_axes, out_axes)

  step_fn = vectorize(train_step, (SEED_AXES, 0), (SEED_AXES, 0))
  order_fn = vectorize(feed.order, (0, feed.SEED_AXES, None), 0)
  batch_fn = vectorize(feed.batch, (feed.SEED_AXES, 0, None, None), 0)

  def run(state, data, num_steps):
    if alone:
      state = map_seeds(lambda x: x[0], state, SEED_AXES)
      data = map_seeds(lambda x: x[0], data, feed.SEED_AXES)

    def new_order(step):
      return order_fn(state.rng, data, step // feed.steps_per_epoch)

    def body(_, carry):
      state, order, totals, diverged = carry
      order = lax.cond(
          state.step % feed.steps_per_epoch == 0,
          lambda: new_order(state.step),
          lambda: order,
      )
      device = lax.axis_index(AXIS)
      batch = batch_fn(data, order, state.step, device)
      next_state, metrics = step_fn(state, batch)
      diverged = {
          key: jnp.where(
              (first < 0) & ~jnp.isfinite(metrics[key]), state.step, first
          )
          for key, first in diverged.items()
      }
      totals = jax.tree.map(jnp.add, totals, metrics)
      return next_state, order, totals, diverged

    order = new_order(state.step)
    batch = batch_fn(data, order, state.step, lax.axis_index(AXIS))
    _, shapes = jax.eval_shape(step_fn, state, batch)
    totals = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    diverged = {
        key: jnp.full(x.shape, -1, jnp.int32)
        for key, x in shapes.items()
        if key.endswith('/loss')
    }
    carry = (state, order, totals, diverged)
    state, _, totals, diverged = lax.fori_loop(0, num_steps, body, carry)
    metrics = jax.tree.map(lambda total: total / num_steps, totals)
    if alone:
      state = map_seeds(lambda x: x[None], state, SEED_AXES)
      metrics, diverged = jax.tree.map(lambda x: x[None], (metrics, diverged))
    return state, metrics, diverged

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


def map_seeds(function: Callable[[Array], Array], tree: Any, axes: Any) -> Any:
  """Maps the leaves of `tree` that have a seed axis, by a prefix `axes`."""
  return jax.tree.map(
      lambda axis, part: part if axis is None else jax.tree.map(function, part),
      axes,
      tree,
      is_leaf=lambda axis: axis is None,
  )
