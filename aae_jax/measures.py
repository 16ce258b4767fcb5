"""The numbers that tell what a trained system is worth, and how they are found.

Some are means over images, and can be followed in a training. Others are of
whole samples: a distance of two, the names of clusters, the density of a
sampler; they are computed once, at the end of a run. `NUMBERS` has them all;
which of them a run gets follows from what its `Model` has.

scikit-learn is imported where it is used: it takes longer than JAX, and no run
needs it to start.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aae_jax import losses, randomness, statistics
from aae_jax import trained as trained_lib
from aae_jax.datasets import Dataset, Schema, Split
from aae_jax.experiments import Experiment
from aae_jax.systems import Model, System
from aae_jax.train_state import TrainState
from aae_jax.trained import Trained
from aae_jax.types import Apply, Array, Batch, Function, Keys

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

Measure = Callable[[Model, Apply, Batch, Keys], Array]
"""Of images and labels: `(model, apply, batch, rng) -> [B]`."""


@dataclasses.dataclass(frozen=True)
class Number:
  """How a number is told and found.

  Attributes:
    title: what it is called.
    unit: of the number, or an empty string.
    decimals: places to show.
    how: a `Measure`, whose mean over images it is; or a function of a `_Run`,
      which gives it among others by name.
    needs: `model -> bool`, whether the model has the functions for it.
    labels: whether the data must have labels.
    is_of_images: whether `how` is a `Measure`.
    chooses: 1 if settings of a search can be compared by it and the least is
      best, -1 if the largest is; else 0.
    is_chosen: whether something is chosen for it on other images than the test
      images.
  """

  title: str
  unit: str
  decimals: int
  how: Callable[..., Any]
  needs: Callable[[Model], Any]
  labels: bool = False
  is_of_images: bool = False
  chooses: int = 0
  is_chosen: bool = False


def allowed(model: Model, labels: bool) -> list[str]:
  """The names of the numbers that a system can have.

  Args:
    model: of the system.
    labels: whether the data has labels.
  """
  return [
    name
    for name, number in NUMBERS.items()
    if number.needs(model) and (labels or not number.labels)
  ]


def choosing(experiment: Experiment) -> list[str]:
  """The numbers of a system on its data by which the best can be told."""
  labels = experiment.dataset.num_classes is not None
  names = allowed(experiment.system.model, labels)
  return [name for name in names if NUMBERS[name].chooses]


class AbandonedError(Exception):
  """An evaluation has not been ended, for nobody waits for it."""


class Evaluator:
  """Measures the states of a system; compiled once."""

  def __init__(self, system: System, schema: Schema):
    """Args: the system, and the schema of the data."""
    self._system, self._scaling = system, schema.scaling
    measures = {
      name: NUMBERS[name].how
      for name in allowed(system.model, schema.num_classes is not None)
      if NUMBERS[name].is_of_images
    }
    self._measure = _all_of(measures, system.model)

  def __call__(
    self,
    state: TrainState,
    split: Split,
    is_wanted: Callable[[], bool] = lambda: True,
  ) -> dict[str, np.ndarray]:
    """The mean of every measure over a split, [S] for each.

    Where the state holds averages they are what is measured, and the newest
    weights as `NAME_raw` beside them. A seed that is not sound has no number:
    all of its are NaN.

    Args:
      state: of all seeds.
      split: to measure on.
      is_wanted: whether to go on, asked after each batch.

    Raises:
      AbandonedError: it was not wanted any more.
    """
    found = self.of_weights(trained_lib.averaged(state), split, is_wanted)
    if state.ema:
      newest = self.of_weights(trained_lib.newest(state), split, is_wanted)
      found |= {f'{name}_raw': mean for name, mean in newest.items()}
    # Without this a seed of NaN would have an error: their argmax is 0.
    sound = trained_lib.sound_seeds(state)
    return {name: np.where(sound, mean, np.nan) for name, mean in found.items()}

  def of_weights(
    self,
    weights: trained_lib.Weights,
    split: Split,
    is_wanted: Callable[[], bool] = lambda: True,
  ) -> dict[str, np.ndarray]:
    """The same of one choice of weights [S, ...], sound or not."""
    # The noise of an image is the same at every evaluation.
    batches = Trained(self._system, weights, self._scaling).batches(
      self._measure, trained_lib.rows(split), jax.random.key(0)
    )
    found = []
    for batch in batches:
      if not is_wanted():
        raise AbandonedError
      found.append(batch)
    return {
      name: values.mean(axis=1, dtype=np.float64)
      for name, values in trained_lib.joined(found).items()
    }


def _all_of(measures: Mapping[str, Measure], model: Model) -> Function:
  """All measures of each example, by name."""
  return lambda apply, batch, rng: {
    name: measure(model, apply, batch, rng)
    for name, measure in measures.items()
  }


def analyze(experiment: Experiment, state: TrainState) -> dict[str, np.ndarray]:
  """Computes the numbers of whole samples, of the test images.

  Args:
    experiment: the system and its data, whose test split has images.
    state: of all seeds; its averaged weights are used where it has any.

  Returns:
    The numbers by name, [S] each. Those of a seed that is not sound are NaN.
  """
  labels = experiment.dataset.num_classes is not None
  found = (NUMBERS[name] for name in allowed(experiment.system.model, labels))
  # One function gives several of them.
  functions = dict.fromkeys(n.how for n in found if not n.is_of_images)
  return _measure(experiment, state, [*functions])


def with_validated(
  experiment: Experiment,
  state: TrainState,
  found: Mapping[str, np.ndarray],
  name: str,
) -> dict[str, np.ndarray]:
  """Adds a number of the validation images, unless it is found already.

  Of whole samples, for which they take the place of the test images. What
  those are for, to name clusters and to choose a bandwidth, is left to the last
  training images.

  Args:
    experiment: the system and its data, whose validation split has images.
    state: of all runs; its averaged weights are used where it has any.
    found: numbers of the validation images, [R] each.
    name: of the number.

  Returns:
    What is found, with `validation/NAME` [R]: NaN for a run that is not sound.
  """
  key = f'validation/{name}'
  if key in found:
    return dict(found)
  dataset = experiment.dataset
  dataset = dataclasses.replace(
    dataset, test=dataset.validation, validation=dataset.validation.part(0, 0)
  )
  experiment = dataclasses.replace(experiment, dataset=dataset)
  return {**found, key: _measure(experiment, state, [NUMBERS[name].how])[name]}


def _measure(
  experiment: Experiment,
  state: TrainState,
  measurements: Sequence[Callable[['_Run'], dict[str, float]]],
) -> dict[str, np.ndarray]:
  """The numbers by name, [R] each."""
  sound = trained_lib.sound_seeds(state)
  trained = experiment.trained(trained_lib.averaged(state))
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


def _classification_error(
  model: Model, apply: Apply, batch: Batch, rng: Keys
) -> Array:
  """100 for each wrongly classified example and 0 for the others, [B]."""
  del rng
  predicted = jnp.argmax(model.classify(apply, batch, None), axis=-1)
  return 100.0 * (predicted != batch['label'])


def _reconstruction_error(
  model: Model, apply: Apply, batch: Batch, rng: Keys
) -> Array:
  """The squared error summed over the pixels of each example, [B].

  A decoder that is told the label is told the true one.
  """
  del rng
  image = model.reconstruct(apply, batch, None)
  return 2 * losses.squared_error(image, batch['image'])


def _log_likelihood(
  model: Model, apply: Apply, batch: Batch, rng: Keys
) -> Array:
  """log p(x|z) at a draw of the posterior, [B], in nats."""
  return model.bound(apply, batch, rng)[0]


def _divergence(model: Model, apply: Apply, batch: Batch, rng: Keys) -> Array:
  """KL(q(z|x) || p(z)) in closed form or at a draw, [B], in nats."""
  return model.bound(apply, batch, rng)[1]


def _elbo(model: Model, apply: Apply, batch: Batch, rng: Keys) -> Array:
  """The evidence lower bound, `log_likelihood` less `divergence`, [B]."""
  likelihood, rate = model.bound(apply, batch, rng)
  return likelihood - rate


def _region_share(model: Model, apply: Apply, batch: Batch, rng: Keys) -> Array:
  """100 for each code in its label's part of the prior, else 0, [B]."""
  del rng
  code = {'code': model.encode(apply, batch, None)}
  return 100.0 * (model.region(apply, code, None) == batch['label'])


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
      self.dataset.scaling(split.image[:])
      for split in (
        some(validation, MAX_BANDWIDTH_IMAGES),
        self.dataset.test,
      )
    )
    mean, standard_error, bandwidth = statistics.parzen_log_likelihood(
      sample, *images
    )
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


def _energy_distance(run: _Run) -> dict[str, float]:
  test = trained_lib.rows(some(run.dataset.test, MAX_CODES))
  code = run.drawn('draw', run.model.encode, test)
  batch = run.marginal_batch(len(test['image']))
  prior = run.drawn('prior', run.model.prior, batch)
  return {'energy_distance': statistics.energy_distance(code['z'], prior['z'])}


def _clustering(run: _Run) -> dict[str, float]:
  from sklearn import metrics

  probabilities = run.of_images(run.model.cluster, run.dataset.test)
  cluster, label = probabilities.argmax(axis=1), run.dataset.test.label
  num_clusters = probabilities.shape[1]
  numbers = {'empty_clusters': num_clusters - len(np.unique(cluster))}
  if label is None:
    return numbers
  _, validation = choosing_split(run.dataset)
  names = statistics.name_clusters(
    run.of_images(run.model.cluster, validation), validation.label
  )
  return numbers | {
    'clustering_error': 100 * np.mean(names[cluster] != label),
    'clustering_accuracy': statistics.clustering_accuracy(cluster, label),
    'clustering_nmi': metrics.normalized_mutual_info_score(label, cluster),
    'clustering_ari': metrics.adjusted_rand_score(label, cluster),
  }


def _probes(run: _Run) -> dict[str, float]:
  """How well the style tells the label, which only the decoder should know."""
  from sklearn.linear_model import LogisticRegression
  from sklearn.neural_network import MLPClassifier
  from sklearn.pipeline import make_pipeline
  from sklearn.preprocessing import StandardScaler

  train = some(run.dataset.train.labelled, MAX_CODES)
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
    name: statistics.classification_error(
      make_pipeline(StandardScaler(), probe), train, test
    )
    for name, probe in probes.items()
  }


def _neighbours(run: _Run) -> dict[str, float]:
  from sklearn.neighbors import KNeighborsClassifier

  train = some(run.dataset.train.labelled, MAX_NEIGHBOURS)
  train, test = (
    Split(run.of_images(run.model.embed, split), split.label)
    for split in (train, run.dataset.test)
  )
  classifier = KNeighborsClassifier(min(5, train.num_images))
  return {'knn_error': statistics.classification_error(classifier, train, test)}


def _parzen(run: _Run) -> dict[str, float]:
  batch = run.marginal_batch(NUM_SAMPLES)
  sample = run.drawn('sample', run.model.sample, batch)
  return run.parzen('parzen_log_likelihood', sample)


def _parzen_of_fitted_gaussian(run: _Run) -> dict[str, float]:
  train = some(run.dataset.train, MAX_NEIGHBOURS)
  code = statistics.sample_fitted_gaussian(
    run.of_images(run.model.encode, train)['z'],
    NUM_SAMPLES,
    run.generator('fitted_gaussian'),
  )
  sample = run.drawn('decode', run.model.decode, {'code': {'z': code}})
  return run.parzen('parzen_log_likelihood_fitted_gaussian', sample)


def _has_codes_alone(model: Model) -> bool:
  """Whether nothing shapes the codes of a decoder."""
  has_both = bool(model.encode and model.decode)
  return has_both and not model.prior and model.code_sizes.keys() == {'z'}


def _bound(run: _Run) -> dict[str, float]:
  bound = run.drawn(
    'bound',
    _importance_weighted_bound(run.model),
    trained_lib.rows(run.dataset.test),
    BOUND_BATCH_SIZE,
  )
  return {'importance_weighted_bound': bound.mean(dtype=np.float64)}


def some(split: Split, most: int) -> Split:
  """So many images at most, always the same ones, of all parts of a split."""
  if split.num_images <= most:
    return split
  index = np.random.default_rng(0).permutation(split.num_images)[:most]
  return split.chosen(index)


_CLUSTERS = {'how': _clustering, 'needs': lambda model: model.cluster}
_BOUND = {'needs': lambda model: model.bound, 'is_of_images': True}
_PARZEN = {'how': _parzen, 'needs': lambda model: model.sample}
_FITTED = {'how': _parzen_of_fitted_gaussian, 'needs': _has_codes_alone}
_PROBES = {
  'how': _probes,
  'needs': lambda model: model.encode and model.told,
  'labels': True,
}

NUMBERS = {
  'classification_error': Number(
    'Classification error',
    '%',
    2,
    _classification_error,
    lambda model: model.classify,
    labels=True,
    is_of_images=True,
    chooses=1,
  ),
  # Clusters are named after validation images.
  'clustering_error': Number(
    'Clustering error',
    '%',
    2,
    **_CLUSTERS,
    labels=True,
    chooses=1,
    is_chosen=True,
  ),
  # As fits the test images best.
  'clustering_accuracy': Number(
    'Accuracy under the best naming', '%', 2, **_CLUSTERS, labels=True
  ),
  'clustering_nmi': Number(
    'Normalized mutual information', '', 3, **_CLUSTERS, labels=True
  ),
  'clustering_ari': Number(
    'Adjusted Rand index', '', 3, **_CLUSTERS, labels=True
  ),
  # That no test image is in.
  'empty_clusters': Number('Empty clusters', '', 0, **_CLUSTERS),
  'elbo': Number(
    'Evidence lower bound', 'nats', 1, _elbo, **_BOUND, chooses=-1
  ),
  'log_likelihood': Number(
    'Log-likelihood given the code', 'nats', 1, _log_likelihood, **_BOUND
  ),
  'divergence': Number(
    'Divergence from the prior', 'nats', 1, _divergence, **_BOUND
  ),
  'importance_weighted_bound': Number(
    'Importance-weighted bound',
    'nats',
    1,
    _bound,
    lambda model: model.log_weight,
  ),
  'parzen_log_likelihood': Number(
    'Parzen log-likelihood', 'nats', 1, **_PARZEN, chooses=-1
  ),
  'parzen_log_likelihood_standard_error': Number(
    'Its standard error', 'nats', 1, **_PARZEN
  ),
  # Of a system without a prior.
  'parzen_log_likelihood_fitted_gaussian': Number(
    'Parzen log-likelihood of a fitted Gaussian', 'nats', 1, **_FITTED
  ),
  'parzen_log_likelihood_fitted_gaussian_standard_error': Number(
    'Its standard error', 'nats', 1, **_FITTED
  ),
  # The standard deviation of a pixel; images are in [0, 1].
  'parzen_bandwidth': Number(
    'Bandwidth of the Parzen window', '', 3, **_PARZEN, is_chosen=True
  ),
  'reconstruction_error': Number(
    'Squared error, summed over pixels',
    '',
    2,
    _reconstruction_error,
    lambda model: model.reconstruct,
    is_of_images=True,
    # The last that chooses: it is least where nothing shapes the codes.
    chooses=1,
  ),
  'region_share': Number(
    'Codes in the place of their label',
    '%',
    1,
    _region_share,
    lambda model: model.encode and model.region,
    labels=True,
    is_of_images=True,
  ),
  # Of held-out style codes to the prior, in the unit of z.
  'energy_distance': Number(
    'Energy distance to the prior',
    '',
    4,
    _energy_distance,
    lambda model: model.encode and model.prior and 'z' in model.code_sizes,
  ),
  # Of reading the label from a style beside it; chance is best.
  'linear_probe_error': Number('Error of a linear probe', '%', 1, **_PROBES),
  'mlp_probe_error': Number('Error of a nonlinear probe', '%', 1, **_PROBES),
  # Of training images, in a representation that has cluster heads.
  'knn_error': Number(
    'Error of five nearest neighbours',
    '%',
    2,
    _neighbours,
    lambda model: model.cluster_heads,
    labels=True,
  ),
}
"""By name. The first that there is with `chooses` compares settings."""
