"""Tests of aae_jax.randomness."""

import jax
import numpy as np
import pytest
from scipy import stats

from aae_jax import randomness


def position_keys(*positions, seed=0):
  return randomness.position_keys(jax.random.key(seed), np.array(positions))


@pytest.mark.parametrize(
  'draw',
  [
    lambda keys: randomness.normal(keys, (3,)),
    lambda keys: randomness.uniform(keys, (3,)),
    lambda keys: randomness.integers(keys, 1000),
    lambda keys: randomness.noise(keys, (3,)),
    lambda keys: jax.random.key_data(randomness.fold_in(keys, 7)),
    lambda keys: jax.random.key_data(randomness.named(keys, 'encoder')),
  ],
)
def test_noise_follows_the_position(draw):
  together = np.asarray(draw(position_keys(0, 1, 2, 3)))
  # In another order, and by a device that has only the last two.
  shuffled = np.asarray(draw(position_keys(2, 0, 3, 1)))
  np.testing.assert_array_equal(shuffled, together[[2, 0, 3, 1]])
  np.testing.assert_array_equal(draw(position_keys(2, 3)), together[2:])
  assert len(np.unique(together, axis=0)) == 4


def test_folding_tells_data_and_keys_apart():
  keys = position_keys(0, 1)
  data = [
    jax.random.key_data(part)
    for part in (
      keys,
      position_keys(0, 1, seed=1),
      randomness.fold_in(keys, 0),
      randomness.fold_in(keys, 1),
    )
  ]
  assert len(np.unique(np.concatenate(data), axis=0)) == 8


def test_names_tell_keys_apart():
  """Of a batch's keys and of a single one."""
  names = ('encoder', 'decoder', 'discriminator_y', 'discriminator_z', '')
  keys = position_keys(0, 1)
  data = [jax.random.key_data(keys)]
  data += [jax.random.key_data(randomness.named(keys, n)) for n in names]
  assert len(np.unique(np.concatenate(data), axis=0)) == 2 * 6
  for index, key in enumerate(keys):
    np.testing.assert_array_equal(
      jax.random.key_data(randomness.named(key, 'encoder')), data[1][index]
    )


@pytest.mark.parametrize('draw', [randomness.normal, randomness.noise])
def test_normal_is_standard(draw):
  sample = np.asarray(draw(position_keys(*range(2000)), (2,)))
  assert sample.shape == (2000, 2) and sample.dtype == np.float32
  np.testing.assert_allclose(sample.mean(0), 0, atol=0.08)
  np.testing.assert_allclose(np.cov(sample.T), np.eye(2), atol=0.1)


def test_noise_is_normal_to_its_resolution():
  """Moments, tails, and no correlation of what shares a word of bits."""
  keys = position_keys(*range(200))
  sample = np.asarray(randomness.noise(keys, (5, 201)), np.float64)
  assert sample.shape == (200, 5, 201)
  flat = sample.ravel()
  assert stats.kstest(flat, 'norm').pvalue > 0.01
  np.testing.assert_allclose(stats.kurtosis(flat), 0, atol=0.05)
  assert 4.0 < np.abs(flat).max() < 4.4
  # What is looked up is what other platforms compute.
  level = np.arange(2**16, dtype=np.uint16)
  np.testing.assert_allclose(
    randomness._quantile(level), randomness._QUANTILES, atol=5e-5
  )
  pairs = sample.reshape(200, -1)[:, :1004].reshape(-1, 2)
  assert abs(np.corrcoef(pairs.T)[0, 1]) < 0.01


def test_uniform_fills_the_unit_interval():
  sample = np.sort(randomness.uniform(position_keys(*range(2000))))
  assert sample.shape == (2000,) and sample[0] >= 0 and sample[-1] < 1
  np.testing.assert_allclose(sample, np.linspace(0, 1, 2000), atol=0.05)


def test_integers_are_equally_likely():
  sample = randomness.integers(position_keys(*range(3000)), 3)
  np.testing.assert_allclose(np.bincount(sample), 1000, atol=100)


def test_per_example_passes_arguments_and_options():
  keys = position_keys(0, 1)
  sample = randomness.per_example(
    jax.random.uniform, keys, (5,), minval=3.0, maxval=4.0
  )
  assert sample.shape == (2, 5)
  assert 3 <= sample.min() and sample.max() < 4
