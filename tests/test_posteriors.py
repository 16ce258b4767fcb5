"""Tests of aae_jax.posteriors."""

import jax
import numpy as np
import pytest
from scipy import stats
import tiny

from aae_jax import networks, posteriors, priors, randomness

HEAD = np.random.default_rng(0).normal(size=(4000, 4)).astype('float32')
KEYS = tiny.keys(4000)


def test_deterministic_is_the_head():
  posterior = posteriors.deterministic(4)
  assert posterior.head_size == 4
  q = posterior.distribution(HEAD)
  for code in (q.mean, q.draw(KEYS)):
    np.testing.assert_array_equal(code, HEAD)


def test_categorical_is_the_softmax():
  posterior = posteriors.categorical(4)
  assert posterior.head_size == 4
  exponential = np.exp(HEAD)
  expected = exponential / exponential.sum(axis=1, keepdims=True)
  q = posterior.distribution(HEAD)
  np.testing.assert_array_equal(q.logits, HEAD)
  for code in (q.mean, q.draw(KEYS)):
    np.testing.assert_allclose(code, expected, rtol=1e-5)


def test_gaussian_has_the_moments_of_the_head():
  posterior = posteriors.gaussian(2)
  assert posterior.head_size == 4
  mean, std = HEAD[:, :2], np.exp(HEAD[:, 2:] / 2)
  q = posterior.distribution(HEAD)
  np.testing.assert_array_equal(q.mean, mean)
  noise = (q.draw(KEYS) - mean) / std
  np.testing.assert_allclose(noise.mean(0), 0, atol=0.06)
  np.testing.assert_allclose(np.cov(noise.T), np.eye(2), atol=0.08)


def test_gaussian_has_its_density():
  q = posteriors.gaussian(2).distribution(HEAD)
  z = np.random.default_rng(1).normal(size=(4000, 2)).astype('float32')
  std = np.exp(HEAD[:, 2:] / 2)
  expected = stats.norm.logpdf(z, HEAD[:, :2], std).sum(axis=1)
  np.testing.assert_allclose(q.log_prob(z), expected, rtol=1e-3, atol=1e-4)


def test_gaussian_passes_the_gradient():
  draw = lambda head: posteriors.gaussian(2).distribution(head).draw(KEYS[:1])
  gradient = jax.grad(lambda head: draw(head).sum())(HEAD[:1])
  half_noise = (draw(HEAD[:1]) - HEAD[:1, :2]) / 2
  np.testing.assert_allclose(gradient[:, :2], 1, rtol=1e-6)
  np.testing.assert_allclose(gradient[:, 2:], half_noise, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
  'prior', [priors.gaussian(2, 1.5), priors.gaussian_mixture(2)]
)
def test_divergence_agrees_with_its_estimate(prior):
  """E log q - log p over samples of one q."""
  mean, log_variance = np.array([[0.7, -0.3]]), np.array([[-2.0, -1.0]])
  noise = np.random.default_rng(0).normal(size=(4000, 2))
  z = mean + np.exp(log_variance / 2) * noise
  log_q = stats.norm.logpdf(z, mean, np.exp(log_variance / 2)).sum(-1)
  expected = np.mean(log_q - prior.log_prob(z))
  q = posteriors.Gaussian(mean, log_variance)
  np.testing.assert_allclose(
    np.mean(q.divergence(prior, z)), expected, rtol=0.05
  )


def test_encode_gives_each_part_its_head():
  calls = []

  def apply(name, *inputs, rng):
    calls.append((name, inputs, rng))
    return {'z': HEAD, 'y': 2 * HEAD}

  parts = {'z': posteriors.deterministic(4), 'y': posteriors.categorical(4)}
  assert posteriors.head_sizes(**parts) == {'z': 4, 'y': 4}
  code = posteriors.encode('second_encoder', **parts)(
    apply, {'image': 'image'}, KEYS
  )
  assert calls == [('second_encoder', ('image',), KEYS)]
  np.testing.assert_array_equal(code['z'], HEAD)
  np.testing.assert_allclose(code['y'], jax.nn.softmax(2 * HEAD), rtol=1e-5)
  inferred = posteriors.infer('encoder', **parts)(
    apply, {'image': 'image'}, KEYS
  )
  np.testing.assert_array_equal(inferred['y'].logits, 2 * HEAD)


def noisy_apply(name, image, noise, *, rng):
  """The code is nonlinear in the noise that the encoder gets."""
  assert noise.shape == (len(image), 3)
  return {'z': image[:, :2] + noise[:, :2] ** 2}


UNIVERSAL = posteriors.universal_approximator(2, 3)


def test_universal_approximator_feeds_noise_to_the_encoder():
  encode = posteriors.encode('encoder', z=UNIVERSAL)
  code = encode(noisy_apply, {'image': HEAD}, KEYS)['z'] - HEAD[:, :2]
  # The square of a standard normal: chi-squared.
  np.testing.assert_allclose(code.mean(0), 1, atol=0.1)
  np.testing.assert_allclose(code.var(0), 2, atol=0.3)
  other = encode(noisy_apply, {'image': HEAD}, tiny.keys(4000, 1))['z']
  assert np.abs(other - HEAD[:, :2] - code).mean() > 0.5


def test_mean_of_a_universal_approximator_is_of_its_draws():
  """An estimate of E z = image + 1, by the same noise for every image."""
  encode = posteriors.encode('encoder', z=UNIVERSAL)
  error = (
    np.asarray(encode(noisy_apply, {'image': HEAD}, None)['z']) - HEAD[:, :2]
  )
  np.testing.assert_allclose(
    error, np.broadcast_to(error[0], error.shape), atol=1e-5
  )
  # Its standard deviation is that of a mean of so many draws.
  assert np.abs(error[0] - 1).max() < 3 * np.sqrt(2 / posteriors.NUM_DRAWS)


def test_mean_code_depends_on_its_image_alone():
  """Not on the batch that it is in, nor on the place in it."""
  encode = posteriors.encode('encoder', z=UNIVERSAL)
  whole = np.asarray(encode(noisy_apply, {'image': HEAD[:8]}, None)['z'])
  for index in ([0], [7], [5, 2], [3, 1, 4, 0, 6]):
    part = encode(noisy_apply, {'image': HEAD[index]}, None)['z']
    np.testing.assert_allclose(part, whole[index], rtol=1e-6)


@pytest.mark.parametrize('name', sorted(posteriors.POSTERIORS))
def test_noise_of_a_code_is_not_that_of_the_image(name):
  """The same key in two places makes one noise tell the other."""
  posterior = posteriors.POSTERIORS[name](2)
  used = []

  def apply(network, image, *noise, rng):
    rng = randomness.named(rng, network)
    for path in (('input',), ('trunk', 'Layer_0')):
      used.append(networks.add_noise(np.zeros((500, 16)), rng, 1.0, path))
    used.extend(part.reshape(500, -1) for part in noise)
    return {'z': np.zeros((500, posterior.head_size), np.float32)}

  encode = posteriors.encode('encoder', z=posterior)
  code = encode(apply, {'image': HEAD[:500]}, KEYS[:500])['z']
  if np.any(code):
    used.append(code)
  noises = np.concatenate(used, axis=1)
  correlation = np.corrcoef(noises.T) - np.eye(noises.shape[1])
  assert np.abs(correlation).max() < 0.25
