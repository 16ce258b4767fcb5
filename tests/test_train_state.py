"""Tests of aae_jax.train_state."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from aae_jax import losses, train_state
from aae_jax.phases import Phase

BATCH = tiny.make_batch()
NORMALIZED = {'encoder.batch_norm': True}


@functools.cache
def create(name, seed=0, average=False, **changes):
  system = tiny.build(name, **changes).system
  initialize = jax.jit(
    lambda rng, batch: train_state.create(system, rng, batch, average)
  )
  return system, initialize(jax.random.key(seed), BATCH)


@pytest.mark.parametrize('name', tiny.NAMES)
def test_state_has_the_parts_of_the_system(name):
  system = tiny.build(name).system
  state = jax.eval_shape(
    lambda: train_state.create(system, jax.random.key(0), BATCH, False)
  )
  phases = {phase.name: phase for phase in system.phases}
  assert state.params.keys() == system.networks.keys()
  assert state.opt_state.keys() == state.hyperparams.keys() == phases.keys()
  assert state.step.shape == () and state.step.dtype == np.int32
  # The ladder always normalizes, the others if they are asked to.
  normalized = {'encoder'} if name == 'ladder' else set()
  assert state.batch_stats.keys() == normalized and state.ema == {}
  for phase_name, phase in phases.items():
    hyperparams = state.hyperparams[phase_name]
    assert hyperparams.keys() == phase.hyperparams.keys()
    assert all(value.dtype == np.float32 for value in hyperparams.values())
    # An optimizer's state is that of the networks which its phase trains.
    trained = {network: state.params[network] for network in phase.trains}
    expected = jax.eval_shape(phase.optimizer.init, trained)
    chex.assert_trees_all_equal_shapes_and_dtypes(
      state.opt_state[phase_name], expected
    )


def test_state_begins_with_the_values_of_the_phases():
  system, state = create('semi_supervised_aae', **NORMALIZED)
  assert state.step == 0 and state.rng == jax.random.key(0)
  for phase in system.phases:
    assert state.hyperparams[phase.name] == pytest.approx(
      dict(phase.hyperparams)
    )


def test_networks_have_weights_of_their_own():
  _, state = create('semi_supervised_aae', **NORMALIZED)
  first, second = (
    state.params[f'discriminator_{part}']['trunk']['Layer_1']['Dense_0'][
      'kernel'
    ]
    for part in 'yz'
  )
  assert not np.array_equal(first, second)


def test_a_network_begins_alike_in_every_system():
  _, autoencoder = create('autoencoder')
  _, aae = create('aae')
  for network in ('encoder', 'decoder'):
    chex.assert_trees_all_equal(
      aae.params[network], autoencoder.params[network]
    )


def test_seeds_begin_differently():
  _, first = create('autoencoder')
  _, second = create('autoencoder', seed=1)
  for one, other in zip(
    jax.tree.leaves(first.params),
    jax.tree.leaves(second.params),
    strict=True,
  ):
    # Biases begin at zero.
    assert one.ndim == 1 or not np.array_equal(one, other)


def test_statistics_are_those_of_networks_that_normalize():
  """Those of an encoder's trunk: no discriminator or head has any."""
  _, state = create('semi_supervised_aae', **NORMALIZED)
  assert state.batch_stats.keys() == {'encoder'}
  assert state.batch_stats['encoder'].keys() == {'trunk'}


def test_the_report_begins_empty():
  system, state = create('semi_supervised_aae', **NORMALIZED)
  losses = {f'{phase.name}/loss' for phase in system.phases}
  assert state.report['diverged'].keys() == {*losses, 'weights'}
  assert losses < state.report['sums'].keys()
  assert all(total == 0 for total in state.report['sums'].values())
  assert all(first == -1 for first in state.report['diverged'].values())


def test_a_loss_may_take_means_over_the_devices():
  """Where a system is initialized as where it is trained."""

  def loss_fn(apply, batch, rng, hyper):
    mean = losses.batch_mean(apply('encoder', batch['image'])['z'])
    return jnp.sum(jnp.square(mean)), {}

  base = tiny.build('autoencoder').system
  system = dataclasses.replace(
    base, phases=(*base.phases, Phase('centring', ('encoder',), loss_fn))
  )
  state = jax.eval_shape(
    lambda: train_state.create(system, jax.random.key(0), BATCH, False)
  )
  assert 'centring/loss' in state.report['sums']


def test_averages_begin_as_what_they_average():
  _, state = create('autoencoder', average=True, **NORMALIZED)
  chex.assert_trees_all_equal(
    state.ema, {'params': state.params, 'batch_stats': state.batch_stats}
  )


@pytest.mark.parametrize('num_devices', [2, 4])
def test_phase_keys_follow_the_global_position(num_devices):
  key = jax.random.key(0)
  whole = train_state.phase_keys(key, BATCH)
  size = 8 // num_devices
  share = {name: part[:size] for name, part in BATCH.items()}
  parts = [
    train_state.phase_keys(key, share, device) for device in range(num_devices)
  ]
  assert whole.keys() == {'image', 'labelled_image'}
  for name, keys in tiny.plain(whole).items():
    shares = [tiny.plain(part)[name] for part in parts]
    np.testing.assert_array_equal(np.concatenate(shares), keys)
  data = np.concatenate(list(tiny.plain(whole).values()))
  assert len(np.unique(data, axis=0)) == 16


def test_phase_keys_are_of_the_batch_at_hand():
  keys = train_state.phase_keys(jax.random.key(0), {'image': BATCH['image']})
  assert keys.keys() == {'image'}
