"""The one train step, and how it runs over steps, seeds and devices."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from flax import linen as nn
import jax
from jax import flatten_util, lax
import jax.numpy as jnp
import numpy as np
import optax

from aae_jax import processes, randomness
from aae_jax.precision import FLOAT32, Precision
from aae_jax.train_state import SEED_AXES, TrainState, phase_keys
from aae_jax.types import AXIS, Apply, Array, Batch, Metrics, Rngs


def bind(
  networks: Mapping[str, nn.Module],
  params: Mapping[str, Any],
  batch_stats: Mapping[str, Any],
  train: bool,
  precision: Precision = FLOAT32,
) -> tuple[Apply, dict[str, Any]]:
  """Makes `apply`, and the dict in which it leaves updated statistics.

  Args:
    networks: flax modules by name.
    params: of each network.
    batch_stats: of the networks that have any.
    train: what suits where a call does not say.
    precision: in which the networks compute; what they give is float32.
  """
  updated, default = {}, train

  def apply(name, *inputs, rng=None, train=None, update_stats=False, **options):
    variables = {'params': precision.round(params[name])}
    if name in batch_stats:
      variables['batch_stats'] = batch_stats[name]
    with precision.products():
      output, changed = networks[name].apply(
        variables,
        *precision.round(inputs),
        # Each network has noise of its own.
        rng=None if rng is None else randomness.named(rng, name),
        train=default if train is None else train,
        mutable=['batch_stats'],
        **options,
      )
    if update_stats and name in batch_stats:
      updated[name] = changed['batch_stats']
    return FLOAT32.round(output)

  return apply, updated


def apply_phase(
  networks: Mapping[str, nn.Module],
  phase: Any,
  state: TrainState,
  batch: Batch,
  rngs: Rngs,
  precision: Precision = FLOAT32,
) -> tuple[TrainState, Metrics]:
  """Runs one phase: the gradient of its loss updates what it trains."""
  hyperparams = state.hyperparams[phase.name]
  trained = {name: state.params[name] for name in phase.trains}

  def loss_fn(trained):
    params = {**state.params, **trained}
    apply, stats = bind(
      networks, params, state.batch_stats, train=True, precision=precision
    )
    hyper = {'step': state.step, **hyperparams}
    loss, metrics = phase.loss_fn(apply, batch, rngs, hyper)
    return loss, ({'loss': loss, **metrics}, stats)

  gradients, (metrics, stats) = jax.grad(loss_fn, has_aux=True)(trained)
  gradients, metrics, stats = _mean_of_devices((gradients, metrics, stats))
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


def _mean_of_devices(tree: Any) -> Any:
  """The mean over the devices, and between CPUs all leaves in one message.

  XLA puts messages together on accelerators, where a copy would cost more than
  it saves. Between CPUs it does not, and two processes would wait longer for
  the messages than a step takes.
  """
  if lax.axis_size(AXIS) == 1:
    return tree

  def in_one_message(tree):
    leaves, separate = flatten_util.ravel_pytree(tree)
    return separate(lax.pmean(leaves, AXIS))

  return lax.platform_dependent(
    tree, cpu=in_one_message, default=lambda tree: lax.pmean(tree, AXIS)
  )


def make_train_step(
  system: Any, ema_decay: float = 0.0, precision: Precision = FLOAT32
) -> Callable[[TrainState, Batch], TrainState]:
  """The step of one seed on one device's share of a batch.

  Args:
    system: the system.
    ema_decay: of the averages that evaluation uses, warmed up as
      (1 + step) / (10 + step); 0 for a state without averages.
    precision: in which the networks compute.
  """

  def train_step(state, batch):
    metrics = {}
    step_key = randomness.fold_in(
      randomness.named(state.rng, 'train'), state.step
    )
    for phase in system.phases:
      phase_key = randomness.named(step_key, phase.noise or phase.name)
      rngs = phase_keys(phase_key, batch, lax.axis_index(AXIS))
      state, phase_metrics = apply_phase(
        system.networks, phase, state, batch, rngs, precision
      )
      metrics |= phase_metrics
    state = state.replace(report=_reported(state, metrics), step=state.step + 1)
    if ema_decay:
      state = state.replace(ema=_average(state, ema_decay))
    return state

  return train_step


def _reported(state: TrainState, metrics: Metrics) -> Mapping[str, Any]:
  """The report with a step's metrics."""
  diverged = {
    name: _first(first, metrics.get(name, 0.0), state.step)
    for name, first in state.report['diverged'].items()
  }
  sums = jax.tree.map(jnp.add, state.report['sums'], metrics)
  return {'sums': sums, 'diverged': diverged}


def _first(first: Array, value: Array, step: Array) -> Array:
  """The first step at which the value was not finite, or -1."""
  return jnp.where((first < 0) & ~jnp.isfinite(value), step, first)


def _average(state: TrainState, ema_decay: float) -> Mapping[str, Any]:
  newest = {'params': state.params, 'batch_stats': state.batch_stats}
  step = state.step.astype(jnp.float32)
  decay = jnp.minimum(ema_decay, (1 + step) / (10 + step))
  return optax.incremental_update(newest, state.ema, 1 - decay)


class Request(NamedTuple):
  """What is asked of a call; several processes agree on it within the call.

  Attributes:
    num_steps: the least that any process asks for.
    save: whether to save the state after it, if any process wants to.
    leave: the number of a signal to end with after it, of any process; or 0.
  """

  num_steps: int
  save: bool = False
  leave: int = 0


def parallelize(
  train_step: Callable[[TrainState, Batch], TrainState],
  feed: Any,
  num_seeds: int,
  devices: Sequence[jax.Device],
) -> Callable[..., tuple[TrainState, Request]]:
  """Makes one call of many steps: mapped over seeds and over devices.

  The number of steps is an argument, not a constant of the program, so calls
  of any length run the same machine code: results do not depend on how steps
  are divided into calls.

  Args:
    train_step: of one seed.
    feed: where batches come from, a `datasets.feeding.Feed`.
    num_seeds: independent runs, the leading axis of the state.
    devices: that share every batch, of all processes.

  Returns:
    `run(state, data, request) -> (state, agreed)`: the state, whose `report`
    has the metrics and which is donated; and the `Request` that was met.
  """
  if num_seeds == 1:
    run = _alone(_loop(train_step, feed.batch, feed), feed)
  else:
    run = _loop(
      jax.vmap(train_step, (SEED_AXES, 0), SEED_AXES),
      jax.vmap(feed.batch, (feed.SEED_AXES, None, None)),
      feed,
    )

  def meet(state, data, request):
    agreed = _agree(request)
    return _with_soundness(run(state, data, agreed.num_steps)), agreed

  mapped = jax.pmap(
    meet,
    axis_name=AXIS,
    in_axes=(None, feed.DEVICE_AXES, 0),
    out_axes=None,
    devices=devices,
    donate_argnums=0,
  )
  own = processes.own(devices).num_devices
  # Mapped, for every process has its own.
  return lambda state, data, request: mapped(
    state,
    data,
    jax.tree.map(lambda x: np.full(own, x, np.int32), request),
  )


def _loop(
  train_step: Callable[..., TrainState],
  gather: Callable[..., Batch],
  feed: Any,
) -> Callable[..., TrainState]:
  """Many steps on one device's share of the batches."""

  def run(state, data, num_steps):
    device = lax.axis_index(AXIS)

    def body(_, state):
      is_first = state.step % feed.steps_per_epoch == 0
      state = _with_sums_since(state, is_first)
      return train_step(state, gather(data, state.step, device))

    return lax.fori_loop(0, num_steps, body, state)

  return run


def _with_sums_since(state: TrainState, is_first: Array) -> TrainState:
  """The state whose sums begin anew with the first step of an epoch."""
  sums = jax.tree.map(
    lambda total: jnp.where(is_first, 0.0, total), state.report['sums']
  )
  return state.replace(report={**state.report, 'sums': sums})


def _agree(request: Request) -> Request:
  """What all devices are asked for, by one collective.

  Several that do not depend on each other may meet in XLA's runtime on the CPU,
  which then ends the process.
  """
  num_steps, save, leave = request
  most = lax.pmax(jnp.stack([-num_steps, save, leave]), AXIS)
  return Request(-most[0], most[1], most[2])


def _with_soundness(state: TrainState) -> TrainState:
  """The state that tells whether its weights and statistics are finite."""
  is_sound = are_finite((state.params, state.batch_stats))
  value = jnp.where(is_sound, 0.0, jnp.nan)
  diverged = state.report['diverged']
  first = _first(diverged['weights'], value, state.step)
  report = {**state.report, 'diverged': {**diverged, 'weights': first}}
  return state.replace(report=report)


def are_finite(tree: Any) -> Array:
  """Whether all arrays [S, ...] of a tree are, bool [S]."""
  finite = [
    jnp.all(jnp.isfinite(x), axis=tuple(range(1, x.ndim)))
    for x in jax.tree.leaves(tree)
  ]
  return jnp.all(jnp.stack(finite), axis=0)


def _alone(
  run: Callable[..., TrainState], feed: Any
) -> Callable[..., TrainState]:
  """Takes off a seed axis of one, which costs the CPU a quarter of its speed.

  Outside of the loop this is free, within it would not help.
  """

  def run_alone(state, data, num_steps):
    state = map_seeds(lambda x: x[0], state, SEED_AXES)
    data = map_seeds(lambda x: x[0], data, feed.SEED_AXES)
    state = run(state, data, num_steps)
    return map_seeds(lambda x: x[None], state, SEED_AXES)

  return run_alone


def map_seeds(function: Callable[[Array], Array], tree: Any, axes: Any) -> Any:
  """Maps the leaves of `tree` that have a seed axis, by a prefix `axes`."""
  return jax.tree.map(
    lambda axis, part: part if axis is None else jax.tree.map(function, part),
    axes,
    tree,
    is_leaf=lambda axis: axis is None,
  )
