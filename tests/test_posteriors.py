"""Tests of aae_jax.posteriors."""

import jax
import numpy as np
import pytest
import tiny

from aae_jax import networks, posteriors

HEAD = np.random.default_rng(0).normal(size=(4000, 4)).astype('float32')
KEYS = tiny.keys(4000)


def test_deterministic_is_the_head():
  posterior = posteriors.deterministic(4)
  assert posterior.head_size == 4
  for rng in (None, KEYS):
    np.testing.assert_array_equal(posterior.code(HEAD, rng), HEAD)


def test_categorical_is_the_softmax():
  posterior = posteriors.categorical(4)
  assert posterior.head_size == 4
  exponential = np.exp(HEAD)
  expected = exponential / exponential.sum(axis=1, keepdims=True)
  for rng in (None, KEYS):
    np.testing.assert_allclose(posterior.code(HEAD, rng), expected, rtol=1e-5)


def test_gaussian_has_the_moments_of_the_head():
  posterior = posteriors.gaussian(2)
  assert posterior.head_size == 4
  mean, std = HEAD[:, :2], np.exp(HEAD[:, 2:] / 2)
  np.testing.assert_array_equal(posterior.code(HEAD, None), mean)
  noise = (posterior.code(HEAD, KEYS) - mean) / std
  np.testing.assert_allclose(noise.mean(0), 0, atol=0.06)
  np.testing.assert_allclose(np.cov(noise.T), np.eye(2), atol=0.08)


def test_gaussian_passes_the_gradient():
  gradient = jax.grad(
    lambda head: posteriors.gaussian(2).code(head, KEYS[:1]).sum()
  )(HEAD[:1])
  code = posteriors.gaussian(2).code(HEAD[:1], KEYS[:1])
  half_noise = (code - HEAD[:1, :2]) / 2
  np.testing.assert_allclose(gradient[:, :2], 1, rtol=1e-6)
  np.testing.assert_allclose(gradient[:, 2:], half_noise, rtol=1e-4, atol=1e-6)


def test_encode_gives_each_part_its_head():
  calls = []

  def apply(name, *inputs, rng):
    calls.append((name, inputs, rng))
    return {'z': HEAD, 'y': 2 * HEAD}

  parts = {'z': posteriors.deterministic(4), 'y': posteriors.categorical(4)}
  assert posteriors.head_sizes(**parts) == {'z': 4, 'y': 4}
  code = posteriors.encode(**parts)(apply, 'image', KEYS)
  assert calls == [('encoder', ('image',), KEYS)]
  np.testing.assert_array_equal(code['z'], HEAD)
  np.testing.assert_allclose(code['y'], jax.nn.softmax(2 * HEAD), rtol=1e-5)


def noisy_apply(name, image, noise, *, rng):
  """The code is nonlinear in the noise that the encoder gets."""
  assert noise.shape == (4000, 3)
  return {'z': image[:, :2] + noise[:, :2] ** 2}


def test_universal_approximator_feeds_noise_to_the_encoder():
  encode = posteriors.encode(z=posteriors.universal_approximator(2, 3))
  code = encode(noisy_apply, HEAD, KEYS)['z'] - HEAD[:, :2]
  # The square of a standard normal: chi-squared.
  np.testing.assert_allclose(code.mean(0), 1, atol=0.1)
  np.testing.assert_allclose(code.var(0), 2, atol=0.3)
  other = encode(noisy_apply, HEAD, tiny.keys(4000, 1))['z']
  assert np.abs(other - HEAD[:, :2] - code).mean() > 0.5


def test_universal_approximator_averages_without_keys():
  encode = posteriors.encode(z=posteriors.universal_approximator(2, 3))
  first, second = (
    np.asarray(encode(noisy_apply, HEAD, None)['z']) for _ in range(2)
  )
  np.testing.assert_array_equal(first, second)
  code = first - HEAD[:, :2]
  np.testing.assert_allclose(code.mean(0), 1, atol=0.05)
  np.testing.assert_allclose(code.var(0), 2 / posteriors.NUM_DRAWS, rtol=0.2)


@pytest.mark.parametrize('name', sorted(posteriors.POSTERIORS))
def test_noise_of_a_code_is_not_that_of_the_image(name):
  """The same key in two places makes one noise tell the other."""
  posterior = posteriors.POSTERIORS[name](2)
  used = []

  def apply(network, image, *noise, rng):
    used.append(networks.add_noise(np.zeros((500, 16)), rng, 1.0, -1))
    used.append(networks.add_noise(np.zeros((500, 16)), rng, 1.0, 0))
    used.extend(part.reshape(500, -1) for part in noise)
    return {'z': np.zeros((500, posterior.head_size), np.float32)}

  code = posteriors.encode(z=posterior)(apply, HEAD[:500], KEYS[:500])['z']
  if np.any(code):
    used.append(code)
  noises = np.concatenate(used, axis=1)
  correlation = np.corrcoef(noises.T) - np.eye(noises.shape[1])
  assert np.abs(correlation).max() < 0.25
