"""Tests of aae_jax.losses."""

from hypothesis import given
from hypothesis import strategies as st
import jax
import numpy as np
from scipy import stats
from scipy.spatial import distance

from aae_jax import losses


@given(
  st.lists(st.integers(1, 4), min_size=2, max_size=4), st.integers(0, 2**32)
)
def test_squared_error_is_half_the_sum_over_an_example(shape, seed):
  """Public code takes the mean over pixels: a gradient 392 times too small."""
  generator = np.random.default_rng(seed)
  prediction, target = generator.normal(size=(2, *shape))
  expected = [
    sum(0.5 * (p - t) ** 2 for p, t in zip(a.flat, b.flat, strict=True))
    for a, b in zip(prediction, target, strict=True)
  ]
  found = losses.squared_error(prediction, target)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_squared_error_has_the_difference_for_gradient():
  generator = np.random.default_rng(0)
  prediction, target = generator.normal(size=(2, 3, 28, 28, 1))
  gradient = jax.grad(lambda x: losses.squared_error(x, target).sum())(
    prediction
  )
  np.testing.assert_allclose(gradient, prediction - target, atol=1e-6)


def test_bernoulli_log_likelihood():
  generator = np.random.default_rng(0)
  mean, target = generator.uniform(0.01, 0.99, (2, 3, 4, 4, 1))
  expected = target * np.log(mean) + (1 - target) * np.log(1 - mean)
  np.testing.assert_allclose(
    losses.bernoulli_log_likelihood(mean, target),
    expected.sum(axis=(1, 2, 3)),
    rtol=1e-5,
  )
  binary = (target > 0.5).astype(np.float32)
  np.testing.assert_allclose(
    losses.bernoulli_log_likelihood(mean, binary),
    stats.bernoulli.logpmf(binary, mean).sum(axis=(1, 2, 3)),
    rtol=1e-5,
  )


def test_bernoulli_log_likelihood_is_finite_at_certainty():
  certain = np.array([[0.0, 1.0]], np.float32)
  value, gradient = jax.value_and_grad(
    lambda x: losses.bernoulli_log_likelihood(x, 1 - certain).sum()
  )(certain)
  assert -40 < value < -30 and np.isfinite(gradient).all()


def test_gaussian_log_density():
  generator = np.random.default_rng(0)
  x, mean, log_variance = generator.normal(size=(3, 5, 2))
  std = np.exp(log_variance / 2)
  np.testing.assert_allclose(
    losses.gaussian_log_density(x, mean, log_variance),
    stats.norm.logpdf(x, mean, std).sum(-1),
    rtol=1e-4,
  )
  np.testing.assert_allclose(
    losses.gaussian_log_density(x), stats.norm.logpdf(x).sum(-1), rtol=1e-5
  )


@given(st.floats(0.2, 5), st.integers(0, 2**32))
def test_gaussian_divergence_is_its_definition(std, seed):
  generator = np.random.default_rng(seed)
  mean, log_variance = generator.normal(size=(2, 4, 1))
  # The integral of q (log q - log p) over each example's one dimension.
  scale = np.exp(log_variance / 2)
  x = mean + scale * np.linspace(-10, 10, 4001)
  log_q, log_p = stats.norm.logpdf(x, mean, scale), stats.norm.logpdf(x, 0, std)
  expected = np.trapezoid(np.exp(log_q) * (log_q - log_p), x, axis=1)
  np.testing.assert_allclose(
    losses.gaussian_divergence(mean, log_variance, std),
    expected,
    rtol=1e-3,
    atol=1e-5,
  )


def test_gaussian_divergence_adds_the_dimensions():
  generator = np.random.default_rng(0)
  mean, log_variance = generator.normal(size=(2, 4, 3))
  parts = [
    losses.gaussian_divergence(mean[:, [i]], log_variance[:, [i]], 2.0)
    for i in range(3)
  ]
  np.testing.assert_allclose(
    losses.gaussian_divergence(mean, log_variance, 2.0), sum(parts), rtol=1e-5
  )


def test_separation_penalty():
  heads = np.random.default_rng(0).normal(size=(6, 3))
  expected = sum(
    max(1.5 - np.linalg.norm(heads[i] - heads[j]), 0)
    for i in range(6)
    for j in range(i)
  )
  assert 0 < expected
  np.testing.assert_allclose(
    losses.separation_penalty(heads, 1.5), expected, rtol=1e-4
  )


def test_separation_penalty_parts_equal_heads():
  heads = np.ones((3, 2), np.float32)
  gradient = jax.jit(jax.grad(losses.separation_penalty))
  for _ in range(100):
    heads -= 0.1 * gradient(heads, 1.0)
  assert distance.pdist(heads).min() > 0.9
