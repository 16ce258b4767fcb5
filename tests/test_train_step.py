"""Tests of aae_jax.train_step."""

import contextlib
import functools
import logging

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from aae_jax import optimizers, processes, train_state, train_step
from aae_jax.datasets import Split, feeding
from aae_jax.phases import Phase
from aae_jax.systems import Model, System
from aae_jax.train_step import Request
from aae_jax.types import AXIS

NAMES = pytest.mark.parametrize('name', tiny.NAMES)
SEEDS = 2


def semi_supervised(num_devices=2, num_seeds=SEEDS, seed=0):
  """The system with the most phases, and with all that is random."""
  return tiny.system(
    'semi_supervised_aae',
    num_devices,
    num_seeds=num_seeds,
    seed=seed,
    optimizer=tiny.SGD,
    ema_decay=0.9,
    **tiny.NOISY,
  )


@functools.cache
def seven_steps():
  """The state after a call of seven steps, two of them of the second epoch."""
  return semi_supervised().train(7)


# What a phase changes.


@NAMES
def test_a_phase_changes_what_it_trains_and_nothing_else(name):
  for phase, before, after, _, _ in tiny.updates(name):
    chex.assert_trees_all_equal_shapes_and_dtypes(after, before)
    for network in before.params:
      old, new = before.params[network], after.params[network]
      if network not in phase.trains:
        chex.assert_trees_all_equal(new, old)
        continue
      changed = [
        not np.array_equal(one, other)
        for one, other in zip(
          jax.tree.leaves(new), jax.tree.leaves(old), strict=True
        )
      ]
      assert any(changed), f'{phase.name} trains {network}'
    for field in ('step', 'hyperparams', 'ema', 'rng'):
      chex.assert_trees_all_equal(
        tiny.plain(getattr(after, field)),
        tiny.plain(getattr(before, field)),
      )


@NAMES
def test_optimizer_state_belongs_to_its_phase(name):
  """Public code shares one between phases."""
  for phase, before, after, _, _ in tiny.updates(name):
    for key, new in after.opt_state.items():
      if key == phase.name:
        with pytest.raises(AssertionError):
          chex.assert_trees_all_equal(new, before.opt_state[key])
      else:
        chex.assert_trees_all_equal(new, before.opt_state[key])


@NAMES
def test_statistics_change_only_where_a_loss_asks(name):
  """That is one phase: the reconstruction, in an adversarial autoencoder."""
  asking = [each.phase.name for each in tiny.updates(name) if each.asked]
  first = 'generator' if name == 'gan' else tiny.updates(name)[0].phase.name
  # Each network of these is normalized in the phase that trains it.
  others = {'catgan': ['generator'], 'm1_m2': ['bound']}.get(name, [])
  assert asking == [first, *others]
  for _, before, after, _, asked in tiny.updates(name):
    for network, old in before.batch_stats.items():
      is_same = all(
        np.array_equal(one, other)
        for one, other in zip(
          jax.tree.leaves(after.batch_stats[network]),
          jax.tree.leaves(old),
          strict=True,
        )
      )
      assert is_same == (network not in asked)


@NAMES
def test_metrics_are_named_by_their_phase(name):
  for phase, _, _, metrics, _ in tiny.updates(name):
    assert f'{phase.name}/loss' in metrics
    assert all(key.startswith(f'{phase.name}/') for key in metrics)
    assert all(np.isfinite(value) for value in metrics.values())


# The step, on systems of a few numbers.


class Number(nn.Module):
  """A network that is a number, whatever it is given."""

  size: tuple[int, ...] = ()

  @nn.compact
  def __call__(self, x, *, rng=None, train=False):
    return self.param('w', nn.initializers.zeros, self.size)


def simple_step(*phases, **options):
  """A compiled step of one device, and the state before it."""
  system = System(
    {name: Number() for phase in phases for name in phase.trains},
    phases,
    Model(),
  )
  batch = {'image': jnp.zeros((2, 1, 1, 1))}
  average = bool(options.get('ema_decay'))
  state = train_state.create(system, jax.random.key(0), batch, average)
  step = train_step.make_train_step(system, **options)
  mapped = jax.vmap(step, None, axis_name=AXIS, axis_size=1)
  compiled = jax.jit(mapped)

  def one_step(state):
    """The state after it, and the step's own metrics."""
    after = jax.tree.map(lambda x: x[0], compiled(state, batch))
    before, sums = state.report['sums'], after.report['sums']
    return after, {name: sums[name] - before[name] for name in sums}

  return one_step, state


def ascent(name, optimizer, **hyperparams):
  """A phase whose loss falls by one for each one that its number grows."""

  def loss_fn(apply, batch, rng, hyper):
    value = apply(name, batch['image'])
    return -value, {'value': value, **hyper}

  return Phase(name, (name,), loss_fn, hyperparams, optimizer)


def test_phases_see_the_newest_parameters():
  sgd = optimizers.sgd()

  def loss_fn(apply, batch, rng, hyper):
    value = apply('first', batch['image'])
    return apply('second', batch['image']), {'first': value}

  phases = (
    ascent('first', sgd, learning_rate=0.5),
    Phase('second', ('second',), loss_fn, {'learning_rate': 1.0}, sgd),
  )
  step, state = simple_step(*phases)
  state, metrics = step(state)
  assert metrics['first/value'] == 0 and metrics['second/first'] == 0.5
  assert state.params['first']['w'] == 0.5
  assert state.params['second']['w'] == -1


def test_losses_get_step_rates_and_weights():
  step, state = simple_step(
    ascent('number', optimizers.sgd(), learning_rate=0.5, weight=3.0)
  )
  for number in range(3):
    assert state.step == number
    state, metrics = step(state)
    assert metrics['number/step'] == number
    assert metrics['number/weight'] == 3
    assert metrics['number/learning_rate'] == 0.5


@pytest.mark.parametrize('optimizer', [optimizers.sgd(0.9), optimizers.adam()])
def test_learning_rate_scales_the_update(optimizer):
  """It is an array of the state, so a search can map over it."""
  step, state = simple_step(ascent('number', optimizer, learning_rate=1.0))

  def path(rate):
    rate = {'number': {'learning_rate': jnp.float32(rate)}}
    now, values = state.replace(hyperparams=rate), []
    for _ in range(3):
      now, _ = step(now)
      values.append(now.params['number']['w'])
    return np.array(values)

  unit = path(1.0)
  assert unit[0] > 0
  # Powers of two scale without rounding.
  np.testing.assert_array_equal(path(0.25), 0.25 * unit)
  np.testing.assert_allclose(path(0.3), 0.3 * unit, rtol=1e-6)
  np.testing.assert_array_equal(path(0.0), 0)


@pytest.mark.parametrize(
  'schedule, factors',
  [
    (optimizers.constant(4, 2), [1, 1, 1, 1]),
    (optimizers.linear(4, 2), [1, 1, 1, 0.5]),
    (optimizers.cosine(4, 2), 0.5 + 0.5 * np.cos(np.pi * np.arange(4) / 4)),
    (optimizers.steps(4, 2, epochs=(1,)), [1, 1, 0.1, 0.1]),
  ],
)
def test_schedules_are_inside_the_step(schedule, factors):
  """Public code steps the schedule where it has no effect."""
  optimizer = optimizers.scheduled(optimizers.sgd(), schedule)
  step, state = simple_step(ascent('number', optimizer, learning_rate=0.5))
  for total in 0.5 * np.cumsum(factors):
    state, _ = step(state)
    np.testing.assert_allclose(state.params['number']['w'], total, rtol=1e-5)


@pytest.mark.parametrize('decay', [0.3, 0.999])
def test_averages_warm_up(decay):
  step, state = simple_step(
    ascent('number', optimizers.sgd(), learning_rate=1.0), ema_decay=decay
  )
  expected = 0.0
  for number in range(1, 4):
    state, _ = step(state)
    rate = min(decay, (1 + number) / (10 + number))
    expected = rate * expected + (1 - rate) * number
    found = state.ema['params']['number']['w']
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_no_averages_without_a_decay():
  step, state = simple_step(
    ascent('number', optimizers.sgd(), learning_rate=1.0)
  )
  assert step(state)[0].ema == {}


def test_statistics_are_averaged_with_the_weights():
  before = tiny.plain(semi_supervised().init())
  after = tiny.plain(semi_supervised().train(1))
  for key in ('params', 'batch_stats'):
    expected = jax.tree.map(
      lambda old, new: 2 / 11 * old + 9 / 11 * new,
      getattr(before, key),
      getattr(after, key),
    )
    chex.assert_trees_all_close(after.ema[key], expected, rtol=1e-5, atol=1e-7)


# Many steps, seeds and devices.


def test_calls_of_any_length_make_the_same_steps():
  """Bit for bit, across the end of an epoch of five steps."""
  assert semi_supervised().experiment.feed.steps_per_epoch == 5
  expected = seven_steps()
  state = semi_supervised().train(2, 1, 4)
  assert state.step == 7
  chex.assert_trees_all_equal(tiny.plain(state), tiny.plain(expected))


def test_sums_of_metrics_are_since_the_epoch_began():
  system = semi_supervised()
  state, sums = None, []
  for _ in range(7):
    state = system.train(1, state=state)
    sums.append(tiny.plain(state.report['sums']))
  assert semi_supervised().experiment.feed.steps_per_epoch == 5
  for key, found in tiny.plain(seven_steps().report['sums']).items():
    np.testing.assert_array_equal(found, sums[6][key])
    # The sixth step is the first of its epoch.
    assert (np.abs(sums[4][key]) >= np.abs(sums[3][key])).all()
  loss = [each['reconstruction/loss'] for each in sums]
  assert (loss[5] < loss[0] * 1.5).all() and (loss[4] > 3 * loss[5]).all()


def test_replicas_are_equal():
  """`out_axes=None` takes the first device's without a look at the others."""
  for leaf in jax.tree.leaves(seven_steps()):
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
    assert len(shards) == 2
    np.testing.assert_array_equal(shards[0], shards[1])


@pytest.mark.parametrize('num_devices', [1, 4])
def test_seeds_and_devices_change_nothing_but_rounding(num_devices):
  """The second seed of two on two devices is that seed alone on 1 or 4."""
  steps = 4
  together = semi_supervised().train(steps)
  expected = train_step.map_seeds(
    lambda x: x[1:], together, train_state.SEED_AXES
  )
  system = semi_supervised(num_devices, num_seeds=1, seed=1)
  state = system.train(steps)
  chex.assert_trees_all_close(
    tiny.plain(state), tiny.plain(expected), rtol=1e-3, atol=1e-5
  )


def test_seeds_differ():
  state = seven_steps()
  first, second = state.report['sums']['reconstruction/loss']
  assert first != second
  assert state.params['encoder']['y']['kernel'].shape[0] == SEEDS


def test_a_call_compiles_once(caplog):
  """For the state as it begins and as a call leaves it, for any length."""
  system = semi_supervised()
  state = system.init()
  system.train(1)
  with jax.log_compiles(), caplog.at_level(logging.WARNING):
    for num_steps in (1, 2, 3):
      state, _ = system.run(state, system.data, Request(num_steps))
    assert 'ompil' not in caplog.text
    jax.jit(lambda x: x + 1)(1.0)
    assert 'ompil' in caplog.text


def test_the_state_is_donated():
  system = semi_supervised()
  state = system.init()
  system.run(state, system.data, Request(1))
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))


def test_rates_are_those_of_a_seed():
  system = semi_supervised()
  state = system.init()
  still = {
    phase: {k: v.at[1].set(0.0) for k, v in values.items()}
    for phase, values in state.hyperparams.items()
  }
  sharding = processes.own(system.experiment.devices)
  still = jax.device_put(still, sharding)
  before = tiny.plain(state.params)
  after = system.train(2, state=state.replace(hyperparams=still))
  after = tiny.plain(after.params)
  kernel = lambda params: params['decoder']['trunk']['Layer_0']['Dense_0'][
    'kernel'
  ]
  assert not np.array_equal(kernel(after)[0], kernel(before)[0])
  chex.assert_trees_all_equal(
    *(jax.tree.map(lambda x: x[1], part) for part in (after, before))
  )


def test_divergence_names_the_first_step_of_its_seed():
  system = semi_supervised()
  state = system.train(2)
  for first in state.report['diverged'].values():
    np.testing.assert_array_equal(first, -1)
  rates = dict(state.hyperparams)
  rate = rates['classification']['learning_rate'].at[1].set(jnp.inf)
  rates['classification'] = {'learning_rate': rate}
  sharding = processes.own(system.experiment.devices)
  state = state.replace(hyperparams=jax.device_put(rates, sharding))
  report = system.train(4, state=state).report
  # The last phase of step 2 spoils the encoder for step 3.
  # The weights are looked at when the call of 4 steps is over.
  np.testing.assert_array_equal(report['diverged'].pop('weights'), [-1, 6])
  for key, first in report['diverged'].items():
    np.testing.assert_array_equal(first, [-1, 3])
    sums = report['sums'][key]
    assert np.isfinite(sums[0]) and not np.isfinite(sums[1])


@pytest.mark.parametrize('part', ['params', 'batch_stats'])
def test_weights_born_infinite_are_found_at_the_end_of_the_call(part):
  """Every loss of the step may be finite, as that of its update."""
  system = semi_supervised()
  state = system.init()
  state, _ = system.run(system.init(), system.data, Request(1))
  np.testing.assert_array_equal(state.report['diverged']['weights'], [-1, -1])
  spoiled = jax.tree.map(lambda x: x.at[1].set(jnp.nan), getattr(state, part))
  sharding = processes.own(system.experiment.devices)
  state = jax.device_put(state.replace(**{part: spoiled}), sharding)
  # No step at all: nothing but the look at the weights.
  state, _ = system.run(state, system.data, Request(0))
  for name, first in state.report['diverged'].items():
    expected = [-1, 1] if name == 'weights' else [-1, -1]
    np.testing.assert_array_equal(first, expected)


@pytest.mark.parametrize('platform', ['cpu', 'cuda', 'tpu'])
def test_between_cpus_a_phase_is_one_message(platform):
  """Accelerators have a compiler that puts them together without a copy."""
  # Without batch normalization, which asks for messages of its own.
  system = tiny.system('aae', num_devices=2)
  call = jax.jit(lambda state, data: system.run(state, data, Request(1)))
  traced = call.trace(system.experiment.abstract_state(), system.data)
  lowered = traced.lower(lowering_platforms=(platform,))
  messages = lowered.as_text().count('"stablehlo.all_reduce"')
  # And one on what is asked for.
  of_cpus = 1 + len(system.experiment.spec.system.phases)
  assert messages == of_cpus if platform == 'cpu' else messages > 2 * of_cpus


@pytest.mark.parametrize('num_devices', [1, 2])
@pytest.mark.parametrize('num_seeds', [1, 2])
def test_every_example_counts_once_an_epoch(num_devices, num_seeds):
  """A network of a number for each image counts how often it was seen."""
  num_examples, batch_size = 12, 4

  def loss_fn(apply, batch, rng, hyper):
    counts = apply('counts', batch['image'])
    index = jnp.round(255 * batch['image'][:, 0, 0, 0]).astype(int)
    return -jnp.mean(counts[index]), {}

  # A step raises the number of each example of the batch by one.
  phase = Phase(
    'counting',
    ('counts',),
    loss_fn,
    {'learning_rate': float(batch_size)},
    optimizers.sgd(),
  )
  system = System({'counts': Number((num_examples,))}, (phase,), Model())
  devices = jax.local_devices()[:num_devices]
  sharding = processes.own(devices)
  index = np.arange(num_examples, dtype=np.uint8)
  feed = feeding.Resident(num_examples, batch_size, 0, num_devices)
  # One for the orders and one for the state, which is donated.
  keys = lambda: jax.random.split(jax.random.key(0), num_seeds)
  source = feeding.Source(
    split=Split(index.reshape(-1, 1, 1, 1), None),
    labelled=np.zeros((num_seeds, 0), np.int32),
    keys=keys(),
    devices=devices,
  )
  create = lambda key: train_state.create(
    system, key, feeding.example_batch(batch_size, 0, (1, 1, 1)), average=False
  )
  state = jax.vmap(create, out_axes=train_state.SEED_AXES)(keys())
  run = train_step.parallelize(
    train_step.make_train_step(system), feed, num_seeds, devices
  )
  state = jax.device_put(state, sharding)
  seen = []
  with contextlib.closing(feed.chunks(source, 0)) as chunks:
    for calls in ((2, 1), (3,), (1, 2)):
      data, _ = next(chunks)
      for num_steps in calls:
        state, _ = run(state, data, Request(num_steps))
        seen.append(np.asarray(state.params['counts']['w']))
  np.testing.assert_array_equal(seen[0].sum(axis=1), 8)
  for whole_epochs, call in enumerate((1, 2, 4), start=1):
    np.testing.assert_array_equal(seen[call], whole_epochs)
  if num_seeds > 1:
    assert not np.array_equal(seen[0][0], seen[0][1])
