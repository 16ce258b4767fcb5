"""Tests of aae_jax.optimizers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aae_jax import errors, optimizers

GRADIENTS = np.random.default_rng(0).normal(size=(5, 3)).astype('float32')


def updates(optimizer, gradients=GRADIENTS):
  """The update of each step, [steps, ...]."""

  def step(state, gradient):
    update, state = optimizer.update(gradient, state)
    return state, update

  initial = optimizer.init(jnp.zeros_like(gradients[0]))
  return np.asarray(jax.lax.scan(step, initial, jnp.asarray(gradients))[1])


def test_sgd_with_momentum():
  momentum, velocity, expected = 0.9, np.zeros(3), []
  for gradient in GRADIENTS:
    velocity = momentum * velocity + gradient
    expected.append(-velocity)
  np.testing.assert_allclose(
    updates(optimizers.sgd(momentum)), expected, rtol=1e-5
  )
  np.testing.assert_array_equal(updates(optimizers.sgd()), -GRADIENTS)


def test_sgd_with_nesterov_momentum():
  velocity, expected = np.zeros(3), []
  for gradient in GRADIENTS:
    velocity = 0.9 * velocity + gradient
    expected.append(-(gradient + 0.9 * velocity))
  np.testing.assert_allclose(
    updates(optimizers.sgd(0.9, nesterov=True)), expected, rtol=1e-5
  )


def test_weight_decay_is_added_to_the_clipped_gradient():
  weights = {'a': np.float32([3.0, 0.0]), 'b': np.float32([1.0])}
  gradient = {'a': np.float32([3.0, 4.0]), 'b': np.float32([12.0])}
  optimizer = optimizers.sgd(weight_decay=0.1, clip_norm=6.5)
  found, _ = optimizer.update(gradient, optimizer.init(weights), weights)
  # The norm of all is 13.
  np.testing.assert_allclose(found['a'], [-1.8, -2.0], rtol=1e-6)
  np.testing.assert_allclose(found['b'], [-6.1], rtol=1e-6)


def test_adam_sees_the_decay():
  """It is that of a prior, not of AdamW."""
  weights, zero = np.ones(3, np.float32), np.zeros(3, np.float32)
  optimizer = optimizers.adam(weight_decay=1e-3)
  found, _ = optimizer.update(zero, optimizer.init(weights), weights)
  np.testing.assert_allclose(found, -np.ones(3), rtol=1e-4)


def test_a_short_gradient_is_not_clipped():
  np.testing.assert_array_equal(
    updates(optimizers.sgd(clip_norm=100.0)), -GRADIENTS
  )


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'weight_decay': -1.0}, '^weight_decay is -1.0; expected a finite number'),
    ({'clip_norm': 0.0}, '^clip_norm is 0.0; expected a number above 0'),
  ],
)
@pytest.mark.parametrize('make', [optimizers.adam, optimizers.sgd])
def test_decay_and_clipping_out_of_range(make, options, message):
  with pytest.raises(errors.InputError, match=message):
    make(**options)


def test_adam():
  b1, b2, eps = 0.5, 0.9, 1e-3
  first, second, expected = np.zeros(3), np.zeros(3), []
  for step, gradient in enumerate(GRADIENTS, 1):
    first = b1 * first + (1 - b1) * gradient
    second = b2 * second + (1 - b2) * gradient**2
    mean, square = first / (1 - b1**step), second / (1 - b2**step)
    expected.append(-mean / (np.sqrt(square) + eps))
  found = updates(optimizers.adam(b1, b2, eps))
  np.testing.assert_allclose(found, expected, rtol=1e-4)
  # The first step is one against the gradient's sign.
  np.testing.assert_allclose(
    updates(optimizers.adam())[0], -np.sign(GRADIENTS[0]), rtol=1e-4
  )


@pytest.mark.parametrize(
  'name, options, expected',
  [
    ('constant', {}, [1, 1, 1, 1, 1, 1, 1, 1]),
    ('linear', {}, [1, 1, 1, 1, 1, 0.75, 0.5, 0.25]),
    ('linear', {'begin': 0.0}, 1 - np.arange(8) / 8),
    ('linear', {'begin': 0.75}, [1, 1, 1, 1, 1, 1, 1, 0.5]),
    ('exponential', {'factor': 0.25}, 0.5 ** np.arange(8)),
    ('cosine', {}, 0.5 + 0.5 * np.cos(np.pi * np.arange(8) / 8)),
    (
      'steps',
      {'epochs': (1, 3), 'factor': 0.1},
      [1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01],
    ),
  ],
)
def test_schedules_scale_the_steps_of_a_run(name, options, expected):
  """Public code steps its schedule outside the loop; here it is in the state.

  Eight steps, four epochs of two.
  """
  schedule = optimizers.SCHEDULES[name](8, 2, **options)
  optimizer = optimizers.scheduled(optimizers.sgd(), schedule)
  found = -updates(optimizer, np.ones(8, np.float32))
  assert found.dtype == np.float32
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_decreasing_schedules_end_at_zero():
  for name in ('linear', 'cosine'):
    schedule = optimizers.SCHEDULES[name](8, 2)
    np.testing.assert_allclose(schedule(8), 0, atol=1e-7)
    np.testing.assert_allclose(schedule(20), 0, atol=1e-7)


def test_steps_are_those_of_the_paper():
  schedule = optimizers.steps(5000 * 600, 600)
  epochs = np.array([0, 49, 51, 999, 1001, 4999])
  np.testing.assert_allclose(
    [schedule(600 * epoch) for epoch in epochs],
    [1, 1, 0.1, 0.1, 0.01, 0.01],
    rtol=1e-5,
  )


@pytest.mark.parametrize(
  ('name', 'options', 'message'),
  [
    ('linear', {'begin': 1.0}, 'schedule.begin is 1.0; expected at least'),
    ('linear', {'begin': -0.1}, 'schedule.begin is -0.1; expected at'),
    ('steps', {'epochs': (0, 3)}, r'schedule.epochs is \(0, 3\); expected'),
    ('steps', {'epochs': (0.5,)}, r'schedule.epochs is \(0.5,\); expected'),
    ('steps', {'factor': 0.0}, 'schedule.factor is 0.0; expected a number'),
  ],
)
def test_schedules_that_make_no_sense_are_refused(name, options, message):
  with pytest.raises(errors.InputError, match=message):
    optimizers.SCHEDULES[name](8, 2, **options)
