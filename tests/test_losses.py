"""Tests of aae_jax.losses."""

from hypothesis import given
from hypothesis import strategies as st
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats
from scipy.spatial import distance

from aae_jax import losses
from aae_jax.types import AXIS


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
  logit = special.logit(mean).astype(np.float32)
  expected = target * np.log(mean) + (1 - target) * np.log(1 - mean)
  np.testing.assert_allclose(
    losses.bernoulli_log_likelihood(logit, np.float32(target)),
    expected.sum(axis=(1, 2, 3)),
    rtol=1e-5,
  )
  binary = (target > 0.5).astype(np.float32)
  np.testing.assert_allclose(
    losses.bernoulli_log_likelihood(logit, binary),
    stats.bernoulli.logpmf(binary, mean).sum(axis=(1, 2, 3)),
    rtol=1e-5,
  )


def test_bernoulli_log_likelihood_has_a_gradient_at_certainty():
  """Of a mean that rounds to 1 there is none any more."""
  logit = np.array([[-40.0, 40.0]], np.float32)
  value, gradient = jax.value_and_grad(
    lambda x: losses.bernoulli_log_likelihood(x, np.array([[1, 0]])).sum()
  )(logit)
  np.testing.assert_allclose(value, -80, rtol=1e-6)
  np.testing.assert_allclose(gradient, [[1, -1]], rtol=1e-6)


def test_gaussian_log_likelihood():
  generator = np.random.default_rng(0)
  mean, target = generator.normal(size=(2, 3, 4, 4, 1))
  np.testing.assert_allclose(
    losses.gaussian_log_likelihood(mean, target),
    stats.norm.logpdf(target, mean).sum(axis=(1, 2, 3)),
    rtol=1e-5,
  )


def test_likelihoods_have_the_mean_that_they_say():
  """Where a likelihood of one pixel is highest, there is its mean."""
  output = np.linspace(-3, 3, 601, dtype=np.float32).reshape(-1, 1)
  for likelihood in losses.LIKELIHOODS.values():
    target = np.full_like(output, 0.7)
    best = np.argmax(likelihood.log_prob(output, target))
    np.testing.assert_allclose(likelihood.mean(output[best]), 0.7, atol=0.01)


@pytest.mark.parametrize('num_devices', [1, 2, 4])
def test_batch_mean_is_of_the_global_batch(num_devices):
  """And so is its gradient, after the mean over the devices."""
  x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)

  def of_device(weight, x):
    loss = lambda weight: jnp.square(losses.batch_mean(weight * x)).sum()
    return lax.pmean(jax.value_and_grad(loss)(weight), AXIS)

  value, gradient = jax.vmap(of_device, (None, 0), axis_name=AXIS)(
    2.0, x.reshape(num_devices, -1, 3)
  )
  expected = (x.mean(0, dtype=np.float64) ** 2).sum()
  np.testing.assert_allclose(value, 4 * expected, rtol=1e-5)
  np.testing.assert_allclose(gradient, 4 * expected, rtol=1e-5)


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
