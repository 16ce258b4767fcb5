"""Tests of aae_jax.precision."""

import chex
import jax
from jax import lax
from jax.extend import core
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from aae_jax import errors, precision, train_step
from aae_jax.precision import FLOAT32, PRECISIONS
from aae_jax.trained import newest
from aae_jax.types import AXIS

BFLOAT16 = PRECISIONS['bfloat16']


def products(jaxpr):
  """The equations of all matrix products."""
  for equation in jaxpr.eqns:
    if equation.primitive is lax.dot_general_p:
      yield equation
    for inner in core.jaxprs_in_params(equation.params):
      yield from products(inner)


def one_step(system, state, chosen):
  """The state after a step."""
  step = train_step.make_train_step(system, precision=chosen)
  mapped = jax.vmap(step, None, axis_name=AXIS, axis_size=1)
  after = jax.jit(mapped)(state, tiny.make_batch())
  return jax.tree.map(lambda x: x[0], after)


def step_products(name, chosen):
  """Those of a step of a system."""
  system = tiny.build(name, **tiny.NOISY).system
  step = train_step.make_train_step(system, precision=chosen)
  jaxpr = jax.make_jaxpr(step, axis_env=[(AXIS, 1)])(
    tiny.random_state(system), tiny.make_batch()
  )
  return list(products(jaxpr.jaxpr))


@pytest.mark.parametrize('name', tiny.NAMES)
def test_bfloat16_reaches_every_network(name):
  """A float32 array anywhere in a network would make it float32 from there."""
  kinds = {
    operand.aval.dtype
    for equation in step_products(name, BFLOAT16)
    for operand in equation.invars
  }
  assert kinds == {jnp.dtype('bfloat16')}


@pytest.mark.parametrize(
  ('name', 'expected'),
  [
    ('float32', lax.Precision.HIGHEST),
    ('tensorfloat32', lax.Precision.HIGH),
  ],
)
def test_products_and_their_gradients_are_as_exact_as_said(name, expected):
  found = step_products('semi_supervised_aae', PRECISIONS[name])
  assert len(found) > 20
  for equation in found:
    assert equation.params['precision'] == (expected, expected)
    assert {x.aval.dtype for x in equation.invars} == {jnp.dtype('float32')}


@pytest.mark.parametrize(
  'name',
  [
    'semi_supervised_aae',
    pytest.param('ladder', marks=pytest.mark.whole),
    pytest.param('catgan', marks=pytest.mark.whole),
  ],
)
def test_bfloat16_leaves_the_state_in_float32_and_rounds_its_updates(name):
  system = tiny.build(name, optimizer=tiny.SGD, **tiny.NOISY).system
  state = tiny.random_state(system)
  exact = one_step(system, state, FLOAT32)
  rounded = one_step(system, state, BFLOAT16)
  chex.assert_trees_all_equal_shapes_and_dtypes(rounded, state)
  updates = [
    np.concatenate(
      [
        np.ravel(new - old)
        for new, old in zip(
          jax.tree.leaves(after.params),
          jax.tree.leaves(state.params),
          strict=True,
        )
      ]
    )
    for after in (exact, rounded)
  ]
  difference = np.linalg.norm(updates[1] - updates[0])
  assert 0 < difference < 0.05 * np.linalg.norm(updates[0])
  for after, before in zip(
    jax.tree.leaves(rounded.batch_stats),
    jax.tree.leaves(exact.batch_stats),
    strict=True,
  ):
    np.testing.assert_allclose(after, before, atol=0.02, rtol=0.02)


def test_evaluation_is_exact_whatever_the_training():
  experiment = tiny.build('autoencoder', precision='bfloat16')
  assert experiment.spec.precision == BFLOAT16
  state = experiment.init()
  trained = experiment.trained(newest(state))
  jaxpr = jax.make_jaxpr(
    lambda image: trained.call(trained.model.encode, {'image': image})
  )(tiny.make_batch()['image'])
  found = list(products(jaxpr.jaxpr))
  assert found
  for equation in found:
    assert equation.params['precision'] == (lax.Precision.HIGHEST,) * 2
    assert {x.aval.dtype for x in equation.invars} == {jnp.dtype('float32')}


def test_what_suits_the_devices(monkeypatch):
  assert precision.find(None) == FLOAT32
  assert tiny.build('autoencoder').spec.precision == FLOAT32
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert precision.find(None) == PRECISIONS['tensorfloat32']
  assert precision.find('float32') == FLOAT32


def test_an_unknown_precision_is_refused():
  message = "unknown precision 'float16'; known: bfloat16, float32, tensorfl"
  with pytest.raises(errors.InputError, match=message):
    tiny.build('autoencoder', precision='float16')


def test_bfloat16_learns():
  """A few epochs make the reconstructions better, as float32 does."""
  losses = {}
  for name in ('float32', 'bfloat16'):
    system = tiny.system('autoencoder', precision=name)
    steps = system.experiment.feed.steps_per_epoch
    losses[name] = [
      float(state.report['sums']['reconstruction/loss'][0]) / steps
      for state in (system.train(steps), system.train(40 * steps))
    ]
  (first, last), (_, rounded) = losses['float32'], losses['bfloat16']
  assert last < 0.95 * first
  assert rounded == pytest.approx(last, rel=0.02)
