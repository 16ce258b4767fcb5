"""Numbers of arrays: of samples, clusters and codes, whatever made them.

SciPy and scikit-learn are imported where they are used, as in `measures`.
"""

from typing import TYPE_CHECKING
import warnings

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from aae_jax.datasets import Split
from aae_jax.types import Array

if TYPE_CHECKING:
  from sklearn.base import ClassifierMixin

BLOCK_SIZE = 500
"""Images whose distances to all samples are in memory at once: 20 MB."""


BANDWIDTHS = np.logspace(-2, 0, 41)
"""Standard deviations of a pixel: images are in [0, 1]. Each is 12 % wider."""


def energy_distance(first: np.ndarray, second: np.ndarray) -> float:
  """How far the distributions of two samples are from each other.

  2 E|X - Y| - E|X - X'| - E|Y - Y'| with Euclidean norms (Szekely and Rizzo,
  2013), where each expectation is a mean over all pairs of different points:
  the estimate is unbiased, so it may be slightly below the least value, 0.

  Args:
    first: [N, Z], N at least 2.
    second: [M, Z], M at least 2.

  Returns:
    In the unit of the points.
  """
  from scipy.spatial import distance

  between = distance.cdist(first, second).mean()
  within = distance.pdist(first).mean() + distance.pdist(second).mean()
  return 2 * between - within


def name_clusters(probabilities: np.ndarray, label: np.ndarray) -> np.ndarray:
  """Gives each cluster the label of the images that are surest to be in it.

  Makhzani et al. (2015), section 6: the label of the validation image with the
  highest q(y = i | x). Dozens reach it where q is 1 to the last digit of a
  float; of those the most frequent label is taken.

  Args:
    probabilities: q(y | x) [N, C] of validation images.
    label: int [N].

  Returns:
    int [C], the label of each cluster.
  """
  surest = probabilities == probabilities.max(axis=0)
  return np.array([np.bincount(label[among]).argmax() for among in surest.T])


def clustering_accuracy(cluster: np.ndarray, label: np.ndarray) -> float:
  """The share that the best one-to-one naming of clusters gets right.

  Found by the Hungarian method (Kuhn, 1955). Where there are more clusters than
  labels, or fewer, those left over count as wrong.

  Args:
    cluster: int [N].
    label: int [N].

  Returns:
    In %.
  """
  from scipy import optimize
  from sklearn.metrics import cluster as of_clusters

  counts = of_clusters.contingency_matrix(label, cluster)
  matched = optimize.linear_sum_assignment(counts, maximize=True)
  return 100 * counts[matched].sum() / len(label)


def classification_error(
  classifier: 'ClassifierMixin', train: Split, test: Split
) -> float:
  """The error of a classifier on one sample after fitting it to another.

  Args:
    classifier: of scikit-learn.
    train: codes [N, n] and labels to fit it to.
    test: codes [M, n] and labels.

  Returns:
    In %.
  """
  from sklearn.exceptions import ConvergenceWarning

  with warnings.catch_warnings():
    # The number of iterations is a part of what the probe is.
    warnings.simplefilter('ignore', ConvergenceWarning)
    classifier.fit(*train)
  return 100 * (1 - classifier.score(*test))


def parzen_log_densities(
  image: np.ndarray, sample: np.ndarray, bandwidths: np.ndarray
) -> np.ndarray:
  """The log-density of images under Gaussian windows around samples.

  log 1/M sum_m N(x; s_m, h^2 I) (Parzen, 1962), in blocks of images.

  Args:
    image: float [N, ...].
    sample: float [M, ...], of the same shape.
    bandwidths: standard deviations h [H] of a pixel.

  Returns:
    float32 [H, N], in nats.
  """
  image = image.reshape(len(image), -1)
  sample = jnp.asarray(sample.reshape(len(sample), -1))
  found = [
    _parzen_block(image[start : start + BLOCK_SIZE], sample, bandwidths)
    for start in range(0, len(image), BLOCK_SIZE)
  ]
  return np.concatenate(found, axis=1)


@jax.jit
def _parzen_block(
  image: np.ndarray, sample: Array, bandwidths: np.ndarray
) -> Array:
  # Accelerators round the factors of a product unless told not to.
  products = jnp.matmul(image, sample.T, precision=lax.Precision.HIGHEST)
  squares = (jnp.sum(jnp.square(x), axis=1) for x in (image, sample))
  square, sample_square = squares
  distances = square[:, None] + sample_square - 2 * products
  num_samples, size = sample.shape

  def log_density(bandwidth):
    variance = jnp.square(bandwidth)
    kernels = jax.nn.logsumexp(-distances / (2 * variance), axis=1)
    normalizer = 0.5 * size * jnp.log(2 * jnp.pi * variance)
    return kernels - jnp.log(num_samples) - normalizer

  return lax.map(log_density, bandwidths)


def parzen_log_likelihood(
  sample: np.ndarray, validation: np.ndarray, test: np.ndarray
) -> tuple[float, float, float]:
  """The mean log-likelihood of images under a Parzen window of samples.

  Goodfellow et al. (2014), section 5: the bandwidth is the one of `BANDWIDTHS`
  that makes the validation images most likely.

  Args:
    sample: float [M, ...].
    validation: float [V, ...], to choose the bandwidth.
    test: float [N, ...], N at least 2.

  Returns:
    The mean over the test images and its standard error, in nats; and the
    bandwidth, the standard deviation of a pixel.
  """
  likelihood = parzen_log_densities(validation, sample, BANDWIDTHS)
  best = likelihood.mean(axis=1).argmax()
  found = parzen_log_densities(test, sample, BANDWIDTHS[best : best + 1])[0]
  found = found.astype(np.float64)
  standard_error = found.std(ddof=1) / np.sqrt(len(found))
  return found.mean(), standard_error, BANDWIDTHS[best]


def sample_fitted_gaussian(
  code: np.ndarray, num_samples: int, generator: np.random.Generator
) -> np.ndarray:
  """Draws from the Gaussian that has the mean and the covariance of codes.

  Args:
    code: [N, Z].
    num_samples: M.
    generator: of random numbers.

  Returns:
    float32 [M, Z].
  """
  covariance = np.atleast_2d(np.cov(code, rowvar=False, bias=True))
  drawn = generator.multivariate_normal(
    code.mean(axis=0), covariance, num_samples
  )
  return drawn.astype(np.float32)
