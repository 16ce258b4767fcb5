"""Tests of aae_jax.losses."""

from hypothesis import given, settings
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


def test_entropy():
  p = np.array([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]], np.float32)
  np.testing.assert_allclose(losses.entropy(p), stats.entropy(p.T), rtol=1e-6)


@pytest.mark.parametrize('logit', [10.0, 90.0, 200.0])
def test_the_gradient_of_the_entropy_of_a_sure_softmax_is_finite(logit):
  logits = jnp.array([logit, 0.0, 0.0])
  gradient = jax.grad(lambda x: losses.entropy(jax.nn.softmax(x)))(logits)
  p = np.exp([0.0, -logit, -logit]) / (1 + 2 * np.exp(-logit))
  slope = p * (np.log(p) + stats.entropy(p))
  np.testing.assert_allclose(gradient, -slope, rtol=1e-4, atol=1e-30)


def perceptron(seed, width=5, classes=3):
  """A network whose softmax has no symmetry."""
  generator = np.random.default_rng(seed)
  first = generator.normal(size=(width, 16)).astype(np.float32)
  second = generator.normal(size=(16, classes)).astype(np.float32)
  return lambda x: jnp.tanh(x @ first) @ second


def divergence_hessian(logits, x):
  """Of KL(p(x) || p(x + r)) at r = 0, [n, n]."""
  p = jax.nn.softmax(logits(x[None])[0])

  def divergence(r):
    q = jax.nn.log_softmax(logits((x + r)[None])[0])
    return jnp.sum(p * (jnp.log(p) - q))

  return np.asarray(jax.hessian(divergence)(jnp.zeros_like(x)))


@settings(max_examples=5)
@given(st.integers(0, 2**31))
def test_most_sensitive_direction_is_a_power_iteration_of_the_hessian(seed):
  logits, generator = perceptron(seed), np.random.default_rng(seed)
  x, start = generator.normal(size=(2, 4, 5)).astype(np.float32)
  logit, direction = losses.most_sensitive_direction(logits, x, start)
  np.testing.assert_allclose(logit, logits(x), rtol=1e-4, atol=1e-5)
  for image, first, found in zip(x, start, direction, strict=True):
    expected = divergence_hessian(logits, image) @ first
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_direction_of_a_difference_is_the_exact_one_where_it_has_digits():
  logits, generator = perceptron(0), np.random.default_rng(0)
  x, start = generator.normal(size=(2, 4, 5)).astype(np.float32)
  logit, exact = losses.most_sensitive_direction(logits, x, start)
  found_logit, found = losses.most_sensitive_direction(logits, x, start, 1e-2)
  np.testing.assert_allclose(found_logit, logit, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose((found * exact).sum(axis=1), 1, atol=0.01)
  # That of Miyato et al. is rounding in float32.
  _, lost = losses.most_sensitive_direction(logits, x, start, 1e-6)
  assert np.min((lost * exact).sum(axis=1)) < 0.9


def test_iterated_it_is_the_leading_eigenvector():
  logits, generator = perceptron(0), np.random.default_rng(0)
  x, direction = generator.normal(size=(2, 3, 5)).astype(np.float32)
  for _ in range(60):
    _, direction = losses.most_sensitive_direction(logits, x, direction)
  for image, found in zip(x, direction, strict=True):
    _, vectors = np.linalg.eigh(divergence_hessian(logits, image))
    assert abs(vectors[:, -1] @ found) > 0.999


def test_most_sensitive_direction_of_certain_outputs():
  """A gradient too small to be squared has a direction; none at all is 0."""
  logits = lambda x: jnp.concatenate([50 + 0 * x, x], axis=-1)
  x, start = jnp.zeros((1, 1)), jnp.ones((1, 1))
  _, direction = losses.most_sensitive_direction(logits, x, start)
  np.testing.assert_allclose(abs(direction), 1)
  flat = lambda x: 0.0 * x @ jnp.ones((1, 3))
  _, direction = losses.most_sensitive_direction(flat, x, start)
  np.testing.assert_array_equal(direction, 0)
