"""What a trained system is worth: the numbers of whole samples of images.

`evaluation` averages over examples; a distance of two samples, the names of
clusters or the density of a sampler are no averages. They are computed once, at
the end of a run, and which ones follows from what the `Model` has.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any
import warnings

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
from scipy import optimize
from scipy.spatial import distance
from sklearn import metrics as sklearn_metrics
from sklearn.base import ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aae_jax import randomness
from aae_jax import trained as trained_lib
from aae_jax.datasets import feeding
from aae_jax.datasets.dataset import Dataset, Split
from aae_jax.experiments import Experiment
from aae_jax.systems import Model
from aae_jax.train_state import TrainState
from aae_jax.trained import Trained
from aae_jax.types import Array, Function

BLOCK_SIZE = 500
"""Images whose distances to all samples are in memory at once: 20 MB."""

NUM_SAMPLES = 10_000
"""That a Parzen window is made of, as in Makhzani et al. (2015)."""

NUM_IMPORTANCE_SAMPLES = 50

BOUND_BATCH_SIZE = 100
"""Small: the importance-weighted bound decodes fifty codes of each image."""

MAX_CODES = 5000
"""Of each kind, in an energy distance or to train a probe."""

MAX_NEIGHBOURS = 10_000
"""Training images among which the nearest are looked for."""

MAX_BANDWIDTH_IMAGES = 1000
"""Validation images that choose the bandwidth of a Parzen window."""

BANDWIDTHS = np.logspace(-2, 0, 41)
"""Standard deviations of a pixel: images are in [0, 1]. Each is 12 % wider."""


def analyze(experiment: Experiment, state: TrainState) -> dict[str, np.ndarray]:
  """Computes what the functions of the system's model allow.

  energy_distance: of held-out style codes, drawn from the posterior, to the
    prior; in the unit of z.
  clustering_error, clustering_accuracy: in %; clusters named after validation
    images, and as fits the test images best.
  clustering_nmi, clustering_ari: normalized mutual information and adjusted
    Rand index with the labels, 1 at best.
  empty_clusters: how many no test image is in.
  linear_probe_error, mlp_probe_error: of reading the label from the style of a
    system whose decoder is told the label, in %; chance is best.
  knn_error: of the five nearest training images in the representation of a
    system with cluster heads, in %.
  parzen_log_likelihood: see the function, in nats; with `_fitted_gaussian`, of
    a system without a prior, from a Gaussian fitted to training codes; and with
    `_standard_error`.
  parzen_bandwidth: that it was found with, the standard deviation of a pixel,
    where images are in [0, 1].
  importance_weighted_bound: on the log-likelihood, in nats.

  Args:
    experiment: the system and its data, whose test split has images.
    state: of all seeds; its averaged weights are used where it has any.

  Returns:
    The numbers by name, [S] each. Those of a seed that is not sound are NaN.
  """
  return _measure(
    experiment,
    state,
    _measurements(
      experiment.system.model, experiment.dataset.num_classes is not None
    ),
  )


def validate(
  experiment: Experiment, state: TrainState, name: str
) -> np.ndarray:
  """Computes one number of `analyze` for the validation images.

  They take the place of the test images. What those are for, to name clusters
  and to choose a bandwidth, is left to the last training images.

  Args:
    experiment: the system and its data, whose validation split has images.
    state: of all runs; its averaged weights are used where it has any.
    name: 'clustering_error' or 'parzen_log_likelihood'.

  Returns:
    [R], NaN for a run that is not sound.
  """
  dataset = experiment.dataset
  dataset = dataclasses.replace(
    dataset, test=dataset.validation, validation=dataset.validation.part(0, 0)
  )
  experiment = dataclasses.replace(experiment, dataset=dataset)
  of_name = {'clustering_error': _clustering, 'parzen_log_likelihood': _parzen}
  return _measure(experiment, state, [of_name[name]])[name]


def _measure(
  experiment: Experiment,
  state: TrainState,
  measurements: Sequence[Callable[['_Run'], dict[str, float]]],
) -> dict[str, np.ndarray]:
  """The numbers by name, [R] each."""
  sound = trained_lib.sound_seeds(state)
  trained = Trained(experiment.system, trained_lib.averaged(state))
  found = {}
  keys = experiment.spec.keys()
  for seed in np.flatnonzero(sound):
    run = _Run(
      trained.seed(seed),
      experiment.dataset,
      randomness.named(keys[seed], 'analysis'),
    )
    for measurement in measurements:
      for name, value in measurement(run).items():
        found.setdefault(name, np.full(len(sound), np.nan))
        found[name][seed] = value
  return found


CHOSEN = ('clustering_error', 'parzen_bandwidth')
"""The numbers for which something is chosen on other images than the test's:
the names of the clusters, and the bandwidth."""


def choosing_split(dataset: Dataset) -> tuple[str, Split]:
  """The images that choose, and of which split they are.

  Those for validation, or else a tenth of those that were trained on: a number
  that is chosen on these is not quite that of held-out images.
  """
  if dataset.validation.num_images:
    return 'validation', dataset.validation
  train = dataset.train.labelled
  size = train.num_images
  return 'training', train.part(size - max(1, min(5000, size // 10)), size)


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
  counts = sklearn_metrics.cluster.contingency_matrix(label, cluster)
  matched = optimize.linear_sum_assignment(counts, maximize=True)
  return 100 * counts[matched].sum() / len(label)


def classification_error(
  classifier: ClassifierMixin, train: Split, test: Split
) -> float:
  """The error of a classifier on one sample after fitting it to another.

  Args:
    classifier: of scikit-learn.
    train: codes [N, n] and labels to fit it to.
    test: codes [M, n] and labels.

  Returns:
    In %.
  """
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
    _parzen_block(image[index], sample, bandwidths)
    for index in trained_lib.batches(len(image), BLOCK_SIZE)
  ]
  return np.concatenate(found, axis=1)[:, : len(image)]


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


@dataclasses.dataclass(frozen=True)
class _Run:
  """One seed of a trained system, and its data.

  Attributes:
    trained: the seed alone.
    dataset: its data.
    key: typed key [], of all random numbers of the analysis.
  """

  trained: Trained
  dataset: Dataset
  key: jax.Array

  @property
  def model(self) -> Model:
    """Of the system."""
    return self.trained.model

  def of_images(self, function: Function, split: Split) -> Any:
    """Of each image, at the mean: NumPy [N, ...]."""
    found = self.trained.run(function, trained_lib.rows(split))
    return jax.tree.map(lambda x: x[0], found)

  def drawn(
    self,
    name: str,
    function: Function,
    rows: Any,
    batch_size: int | None = None,
  ) -> Any:
    """What is drawn under a name, for arrays [N, ...]: NumPy [N, ...]."""
    found = self.trained.run(function, rows, self.stream(name), batch_size)
    return jax.tree.map(lambda x: x[0], found)

  def stream(self, name: str) -> jax.Array:
    """The key of what is drawn under a name."""
    return randomness.named(self.key, name)

  def generator(self, name: str) -> np.random.Generator:
    """NumPy's random numbers of what is drawn under a name."""
    key = jax.random.key_data(self.stream(name))
    return np.random.default_rng(np.asarray(key))

  def marginal_batch(self, size: int) -> dict[str, np.ndarray]:
    """What samplers see: labels as often as in the data, and none known.

    A prior that is conditional on the label is then the whole mixture; a
    decoder that is told the label gets one.
    """
    label = np.zeros(size, np.int32)
    if self.dataset.train.label is not None:
      known = self.dataset.train.labelled.label
      label = self.generator('label').choice(known, size)
    return {'label': label, 'is_labelled': np.zeros(size, bool)}

  def parzen(self, name: str, sample: np.ndarray) -> dict[str, float]:
    """The numbers of a Parzen window of sampled images."""
    _, validation = choosing_split(self.dataset)
    images = (
      np.asarray(feeding.scale(split.image))
      for split in (
        _some(validation, MAX_BANDWIDTH_IMAGES),
        self.dataset.test,
      )
    )
    mean, standard_error, bandwidth = parzen_log_likelihood(sample, *images)
    return {
      name: mean,
      f'{name}_standard_error': standard_error,
      'parzen_bandwidth': bandwidth,
    }


def _importance_weighted_bound(model: Model) -> Function:
  """log 1/K sum_k p(x, z_k) / q(z_k|x), [B] (Burda et al., 2016)."""

  def bound(apply, batch, rng):
    # Under vmap the encoder, which does not depend on the draw, runs once.
    log_weights = jax.vmap(
      lambda draw: model.log_weight(apply, batch, randomness.fold_in(rng, draw))
    )(jnp.arange(NUM_IMPORTANCE_SAMPLES))
    total = jax.nn.logsumexp(log_weights, axis=0)
    return total - jnp.log(NUM_IMPORTANCE_SAMPLES)

  return bound


def _measurements(
  model: Model, labels: bool
) -> list[Callable[[_Run], dict[str, float]]]:
  """The measurements of a seed that the functions of a model allow."""
  parts = model.code_sizes.keys()
  allowed = {
    _energy_distance: model.encode and model.prior and 'z' in parts,
    _clustering: model.cluster,
    _probes: model.encode and model.told and labels,
    _neighbours: model.cluster_heads and labels,
    _parzen: model.sample,
    _parzen_of_fitted_gaussian: (
      model.encode and model.decode and not model.prior and parts == {'z'}
    ),
    _bound: model.log_weight,
  }
  return [measurement for measurement, yes in allowed.items() if yes]


def _energy_distance(run: _Run) -> dict[str, float]:
  test = trained_lib.rows(_some(run.dataset.test, MAX_CODES))
  code = run.drawn('draw', run.model.encode, test)
  batch = run.marginal_batch(len(test['image']))
  prior = run.drawn('prior', run.model.prior, batch)
  return {'energy_distance': energy_distance(code['z'], prior['z'])}


def _clustering(run: _Run) -> dict[str, float]:
  probabilities = run.of_images(run.model.cluster, run.dataset.test)
  cluster, label = probabilities.argmax(axis=1), run.dataset.test.label
  num_clusters = probabilities.shape[1]
  numbers = {'empty_clusters': num_clusters - len(np.unique(cluster))}
  if label is None:
    return numbers
  _, validation = choosing_split(run.dataset)
  names = name_clusters(
    run.of_images(run.model.cluster, validation), validation.label
  )
  return numbers | {
    'clustering_error': 100 * np.mean(names[cluster] != label),
    'clustering_accuracy': clustering_accuracy(cluster, label),
    'clustering_nmi': sklearn_metrics.normalized_mutual_info_score(
      label, cluster
    ),
    'clustering_ari': sklearn_metrics.adjusted_rand_score(label, cluster),
  }


def _probes(run: _Run) -> dict[str, float]:
  """How well the style tells the label, which only the decoder should know."""
  train = _some(run.dataset.train.labelled, MAX_CODES)
  # A classifier needs two classes.
  if len(np.unique(train.label)) < 2:
    return {}
  train, test = (
    Split(run.of_images(run.model.encode, split)['z'], split.label)
    for split in (train, run.dataset.test)
  )
  probes = {
    'linear_probe_error': LogisticRegression(max_iter=1000),
    'mlp_probe_error': MLPClassifier(max_iter=50, random_state=0),
  }
  return {
    name: classification_error(
      make_pipeline(StandardScaler(), probe), train, test
    )
    for name, probe in probes.items()
  }


def _neighbours(run: _Run) -> dict[str, float]:
  train = _some(run.dataset.train.labelled, MAX_NEIGHBOURS)
  train, test = (
    Split(run.of_images(run.model.embed, split), split.label)
    for split in (train, run.dataset.test)
  )
  classifier = KNeighborsClassifier(min(5, train.num_images))
  return {'knn_error': classification_error(classifier, train, test)}


def _parzen(run: _Run) -> dict[str, float]:
  batch = run.marginal_batch(NUM_SAMPLES)
  sample = run.drawn('sample', run.model.sample, batch)
  return run.parzen('parzen_log_likelihood', sample)


def _parzen_of_fitted_gaussian(run: _Run) -> dict[str, float]:
  train = _some(run.dataset.train, MAX_NEIGHBOURS)
  code = sample_fitted_gaussian(
    run.of_images(run.model.encode, train)['z'],
    NUM_SAMPLES,
    run.generator('fitted_gaussian'),
  )
  sample = run.drawn('decode', run.model.decode, {'code': {'z': code}})
  return run.parzen('parzen_log_likelihood_fitted_gaussian', sample)


def _bound(run: _Run) -> dict[str, float]:
  bound = run.drawn(
    'bound',
    _importance_weighted_bound(run.model),
    trained_lib.rows(run.dataset.test),
    BOUND_BATCH_SIZE,
  )
  return {'importance_weighted_bound': bound.mean(dtype=np.float64)}


def _some(split: Split, most: int) -> Split:
  """So many images at most, always the same ones, of all parts of a split."""
  if split.num_images <= most:
    return split
  index = np.random.default_rng(0).permutation(split.num_images)[:most]
  return split.chosen(index)
