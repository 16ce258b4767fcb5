"""Tests of aae_jax.statistics."""

import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression

from aae_jax import statistics
from aae_jax.datasets import Split


def normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape)


def test_energy_distance_is_that_of_all_pairs():
  first, second = normal(7, 3), normal(5, 3, seed=1) + 1
  mean = lambda pairs: np.mean([np.linalg.norm(x - y) for x, y in pairs])
  wanted = 2 * mean(itertools.product(first, second))
  wanted -= mean(itertools.permutations(first, 2))
  wanted -= mean(itertools.permutations(second, 2))
  found = statistics.energy_distance(first, second)
  np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_energy_distance_of_equal_distributions_is_zero_on_average():
  """The biased estimate would have the mean 2 E|X - X'| / 10 = 0.23."""
  pairs = normal(400, 2, 10, 1)
  found = [statistics.energy_distance(*pair) for pair in pairs]
  assert abs(np.mean(found)) < 3 * stats.sem(found) < 0.05


def test_energy_distance_of_normals_with_different_means():
  first, second = normal(2, 4000, 1)
  # Of N(0, 1) and N(d, 1), from the mean of a folded normal of variance 2.
  difference = 1.5
  folded = stats.foldnorm(difference / np.sqrt(2), scale=np.sqrt(2)).mean()
  wanted = 2 * folded - 4 / np.sqrt(np.pi)
  found = statistics.energy_distance(first, second + difference)
  np.testing.assert_allclose(found, wanted, rtol=0.05)


def test_clusters_are_named_after_the_surest_image():
  probabilities = np.array(
    [
      [0.6, 0.3, 0.1],
      [0.7, 0.1, 0.2],
      [0.1, 0.8, 0.1],
      # No image is in cluster 2; this one comes nearest.
      [0.5, 0.1, 0.4],
    ]
  )
  names = statistics.name_clusters(probabilities, np.array([5, 6, 7, 8]))
  assert names.tolist() == [6, 7, 8]


def test_equally_sure_images_vote_for_the_name():
  probabilities = np.array([1.0, 1.0, 1.0, 0.9, 0.9, 0.9])[:, None]
  label = np.array([2, 7, 7, 2, 2, 2])
  assert statistics.name_clusters(probabilities, label).tolist() == [7]


@pytest.mark.parametrize('num_clusters, num_labels', [(4, 4), (5, 3), (2, 4)])
def test_accuracy_is_that_of_the_best_naming(num_clusters, num_labels):
  generator = np.random.default_rng(0)
  label = generator.integers(num_labels, size=40)
  cluster = generator.integers(num_clusters, size=40)
  # Names beyond the labels are those of clusters that are left over.
  size = max(num_clusters, num_labels)
  wanted = max(
    np.mean(np.array(names)[cluster] == label)
    for names in itertools.permutations(range(size))
  )
  found = statistics.clustering_accuracy(cluster, label)
  np.testing.assert_allclose(found, 100 * wanted)


def test_accuracy_does_not_depend_on_numbers():
  cluster, label = np.array([7, 7, 3, 5]), np.array([0, 0, 1, 2])
  assert statistics.clustering_accuracy(cluster, label) == 100


def test_a_classifier_is_fitted_to_one_split_and_tested_on_the_other():
  code = np.array([[0.0], [1.0], [2.0], [3.0]])
  train = Split(code, np.array([0, 0, 1, 1]))
  test = Split(code, np.array([0, 1, 1, 1]))
  find = lambda *splits: statistics.classification_error(
    LogisticRegression(C=100), *splits
  )
  assert find(train, train) == 0
  assert find(train, test) == 25


def test_a_probe_that_stops_early_does_not_warn():
  code, label = normal(50, 20), np.arange(50) % 5
  split = Split(code, label)
  probe = LogisticRegression(max_iter=1)
  assert 0 <= statistics.classification_error(probe, split, split) <= 100


def windows(image, sample, bandwidth):
  """The log-density by SciPy, one pair at a time, [N]."""
  kernel = stats.norm(scale=bandwidth)
  density = [[np.prod(kernel.pdf(x - s)) for s in sample] for x in image]
  return np.log(np.mean(density, axis=1))


@pytest.mark.parametrize('block_size', [1, 3, 5, 8])
def test_parzen_density_is_the_mean_of_gaussians(block_size, monkeypatch):
  monkeypatch.setattr(statistics, 'BLOCK_SIZE', block_size)
  image, sample = normal(5, 2, 3), normal(4, 2, 3, seed=1)
  bandwidths = np.array([0.5, 1.0, 2.0])
  found = statistics.parzen_log_densities(image, sample, bandwidths)
  wanted = [windows(image, sample, bandwidth) for bandwidth in bandwidths]
  np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_parzen_density_far_from_all_samples_does_not_underflow():
  found = statistics.parzen_log_densities(
    np.full((1, 784), 1.0), np.zeros((2, 784)), np.array([0.1])
  )
  wanted = 784 * stats.norm(scale=0.1).logpdf(1.0)
  np.testing.assert_allclose(found, [[wanted]], rtol=1e-5)


def test_parzen_likelihood_of_a_normal_is_its_negative_entropy():
  sample, validation, test = np.split(0.2 * normal(6000, 2), [4000, 5000])
  mean, standard_error, _ = statistics.parzen_log_likelihood(
    sample, validation, test
  )
  entropy = 2 * stats.norm(scale=0.2).entropy()
  np.testing.assert_allclose(mean, -entropy, atol=3 * standard_error)


def test_the_bandwidth_is_chosen_on_validation_images():
  sample, validation = 0.1 * normal(2, 20, 2)
  test = 0.5 * normal(20, 2, seed=1)
  likelihood = [
    np.mean(windows(validation, sample, bandwidth))
    for bandwidth in statistics.BANDWIDTHS
  ]
  best = statistics.BANDWIDTHS[np.argmax(likelihood)]
  assert statistics.BANDWIDTHS[0] < best < statistics.BANDWIDTHS[-1]
  wanted = windows(test, sample, best)
  mean, standard_error, bandwidth = statistics.parzen_log_likelihood(
    sample, validation, test
  )
  assert bandwidth == best
  np.testing.assert_allclose(mean, wanted.mean(), rtol=1e-4)
  np.testing.assert_allclose(standard_error, stats.sem(wanted), rtol=1e-4)


@pytest.mark.parametrize('shape', [[[2.0, 0.5], [0.5, 1.0]], [[1.0, 1.0]] * 2])
def test_a_fitted_gaussian_has_the_moments_of_the_codes(shape):
  """Also where the codes lie on a line."""
  code = normal(50, 2) @ np.array(shape) + [3.0, -1.0]
  generator = np.random.default_rng(0)
  drawn = statistics.sample_fitted_gaussian(code, 100_000, generator)
  np.testing.assert_allclose(drawn.mean(axis=0), code.mean(axis=0), atol=0.05)
  np.testing.assert_allclose(
    np.cov(drawn.T), np.cov(code.T, bias=True), rtol=0.05
  )


def test_a_gaussian_fits_codes_of_one_dimension():
  drawn = statistics.sample_fitted_gaussian(
    np.array([[1.0], [3.0]]), 10_000, np.random.default_rng(0)
  )
  assert drawn.shape == (10_000, 1)
  np.testing.assert_allclose([drawn.mean(), drawn.std()], [2, 1], atol=0.05)
