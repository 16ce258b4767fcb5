"""scikit-learn's interface: arrays in, arrays out, without workdir or flags.

A fitted estimator holds arrays and parameters alone, so it can be pickled. What
is compiled is made when it is needed, and estimators of one recipe, fitted to
data of one size, share it. All of it runs on one device.
"""

import dataclasses
import functools
import json
import numbers
import pickle
from typing import Any, Self

from etils import epath
import jax
import ml_collections
import numpy as np
from sklearn.base import (
  BaseEstimator,
  ClassifierMixin,
  ClassNamePrefixFeaturesOutMixin,
  ClusterMixin,
  TransformerMixin,
)
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from aae_jax import (
  errors,
  experiments,
  metrics,
  phases,
  recipes,
  rules,
  trained,
  training,
)
from aae_jax.datasets import Dataset, Scaling, Schema, Split
from aae_jax.train_state import TrainState
from aae_jax.types import Batch, Code, Function, Key

_NUM_ROWS = 250
"""At a time. Batches of one size make what is computed for a row independent
of the others, to the last digit, and are compiled once."""

_RADIUS = 1.0
"""Times the root of the number of features: how far a row is moved that keeps
its y, in standard deviations."""


class _Estimator(
  ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
  """What the three have in common."""

  def __init__(
    self,
    latent_size: int = 10,
    hidden_sizes: tuple[int, ...] = (128, 128),
    epochs: int | None = None,
    batch_size: int = 100,
    learning_rate: float = 1e-3,
    random_state: Any = None,
    verbose: bool = False,
  ):
    self.latent_size = latent_size
    self.hidden_sizes = hidden_sizes
    self.epochs = epochs
    self.batch_size = batch_size
    self.learning_rate = learning_rate
    self.random_state = random_state
    self.verbose = verbose

  def transform(self, X: Any) -> np.ndarray:
    """The code of each row: y, where there is one, and the style z beside it.

    Args:
      X: rows as they were fitted.

    Returns:
      float32 [N, number of classes or clusters + latent_size].
    """
    return np.asarray(phases.join(self._encode(X)))

  def inverse_transform(self, X: Any) -> np.ndarray:
    """Decodes codes.

    Args:
      X: codes as `transform` returns them.

    Returns:
      float32, of the shape and in the units that were fitted; images in [0, 1].

    Raises:
      InputError: they are no codes of this estimator.
    """
    check_is_fitted(self)
    sizes = self._trained.model.code_sizes
    code, size = np.asarray(X, np.float32), sum(sizes.values())
    if code.ndim != 2 or code.shape[1] != size:
      raise errors.InputError(
        f'X has the shape {list(code.shape)}; expected codes [N, {size}].'
      )
    sizes = {name: sizes[name] for name in sorted(sizes)}
    return self._decode(phases.split(code, sizes))

  def score_samples(self, X: Any) -> np.ndarray:
    """How like the training data each row is.

    Args:
      X: rows as they were fitted.

    Returns:
      float64 [N]: minus the squared error of the reconstruction, summed over
      pixels in [0, 1] or over standardized features.
    """
    image = self._checked(X)
    found = self._run(self._trained.model.reconstruct, {'image': image})
    error = found - np.float64(Scaling()(image))
    return -np.square(error).reshape(len(error), -1).sum(axis=1)

  def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
    """Draws codes from their prior, and decodes them.

    Args:
      n_samples: how many.
      random_state: of the draw.

    Returns:
      float32 [n_samples, ...], of the shape and in the units that were fitted.
    """
    return self._decode(self._draw(n_samples, random_state))

  def save(self, path: epath.PathLike) -> None:
    """Writes the estimator to a file, as a pickle.

    Raises:
      OSError: it cannot be written.
    """
    epath.Path(path).write_bytes(pickle.dumps(self))

  @classmethod
  def load(cls, path: epath.PathLike) -> Self:
    """Reads what `save` wrote: a pickle, so only from whom you trust.

    Raises:
      InputError: the file holds no estimator of this class.
      OSError: it cannot be read.
    """
    try:
      found = pickle.loads(epath.Path(path).read_bytes())
    except (pickle.UnpicklingError, EOFError):
      found = None
    if not isinstance(found, cls):
      raise errors.InputError(
        f'{path} holds something else; expected what {cls.__name__}.save wrote.'
      )
    return found

  def __sklearn_tags__(self) -> Tags:
    """Images are welcome, and codes are of single precision."""
    tags = super().__sklearn_tags__()
    tags.input_tags.three_d_array = True
    tags.transformer_tags.preserves_dtype = ['float32']
    return tags

  @property
  def _n_features_out(self) -> int:
    return sum(self._trained.model.code_sizes.values())

  @property
  def _trained(self) -> trained.Trained:
    system = _spec(self._config, self._schema).system
    return trained.Trained(system, self._weights, self._schema.scaling)

  _sizes: tuple[str, ...] = ()
  """Parameters of one estimator alone that are at least 1."""

  def _configure(
    self, schema: Schema, epochs: int
  ) -> ml_collections.ConfigDict:
    """What is trained."""
    raise NotImplementedError

  def _recipe(
    self, system: str, schema: Schema, epochs: int, *others: str
  ) -> ml_collections.ConfigDict:
    """What all configurations share; `others` are phases of one alone."""
    config = recipes.start(system, schema.name, tuple(self.hidden_sizes))
    config.encoder.batch_norm, config.ema_decay = True, 0.999
    rates = {
      'reconstruction': self.learning_rate,
      'discriminator': self.learning_rate / 10,
      'generator': self.learning_rate,
      **dict.fromkeys(others, self.learning_rate),
    }
    recipes.adam(config, *rates, **rates)
    config.decoder.output = 'linear' if self._is_of_features else 'sigmoid'
    config.latent_size = self.latent_size
    config.schedule.name = 'linear'
    config.batch_size = self.batch_size
    config.epochs = epochs
    return config

  def _fit(
    self, X: np.ndarray, label: np.ndarray | None, num_classes: int | None
  ) -> None:
    """Trains on checked rows.

    Args:
      X: rows.
      label: int32 [N] from 0 on, -1 without; or None.
      num_classes: of the labels.
    """
    self._learn_units(X)
    dataset, labelled = self._assembled(X, label, num_classes)
    # The shares are of the rows as they were before some were repeated.
    shares = None
    if num_classes:
      counts = np.bincount(label[label >= 0], minlength=num_classes)
      shares = tuple((counts / counts.sum()).tolist())
    schema = dataset.schema._replace(digest='', shares=shares)
    steps = schema.num_train // self.batch_size
    epochs = self.epochs or rules.num_epochs(steps)
    self._config = self._configure(schema, epochs).to_json()
    self._schema = schema
    seed = check_random_state(self.random_state).randint(2**31 - 1)
    spec = dataclasses.replace(_spec(self._config, schema), seeds=(seed,))
    experiment = experiments.assemble(
      spec, dataset, labelled, jax.local_devices()[:1]
    )
    state = self._train(experiment)
    if not trained.sound_seeds(state).all():
      raise errors.DivergenceError(
        f'the weights are not finite; learning_rate is {self.learning_rate}, '
        'expected a smaller one.'
      )
    self._weights = jax.device_get(trained.averaged(state))

  def _train(self, experiment: experiments.Experiment) -> TrainState:
    """The state after the last step."""
    steps_per_epoch = experiment.feed.steps_per_epoch
    with metrics.Progress(
      experiment.total_steps,
      0,
      steps_per_epoch,
      self.batch_size,
      enabled=bool(self.verbose),
    ) as progress:
      for state, _ in training.steps(experiment, experiment.init()):
        step = int(state.step)
        progress.update(step, step // steps_per_epoch, {})
    return state

  def _assembled(
    self, X: np.ndarray, label: np.ndarray | None, num_classes: int | None
  ) -> tuple[Dataset, np.ndarray | None]:
    """The data, and which rows are labelled, [1, n].

    Rows are repeated until whole batches hold all of them.
    """
    index = _filled(np.arange(len(X)), self.batch_size)
    image, labelled = self._images(X)[index], None
    if label is not None:
      labelled = _filled(np.flatnonzero(label >= 0), self.batch_size)[None]
      labelled, label = np.int32(labelled), np.int32(label[index])
    none = Split(image[:0], None if label is None else label[:0])
    split = Split(image, label)
    return Dataset('arrays', split, none, none, num_classes), labelled

  def _checked(self, X: Any) -> np.ndarray:
    """Images [N, H, W, C] as networks are given them, of rows."""
    check_is_fitted(self)
    X = validate_data(self, X, reset=False, allow_nd=True)
    height, width, channels = self._schema.image_shape
    shape = (width,) if self._is_of_features else (height, width, channels)
    given = X.shape[1:] if self._is_of_features else _as_images(X).shape[1:]
    if given != shape:
      raise errors.InputError(
        f'X has the shape {list(X.shape)}; expected [N, '
        f'{", ".join(map(str, shape))}].'
      )
    return self._images(X)

  def _images(self, X: np.ndarray) -> np.ndarray:
    """The same of rows of the right shape."""
    if self._is_of_features:
      standardized = (np.float64(X) - self._mean) / self._scale
      return np.float32(standardized)[:, None, :, None]
    image = _as_images(X)
    if image.dtype == np.uint8:
      return image
    least, most = float(image.min()), float(image.max())
    if image.dtype.kind != 'f' or least < 0 or most > 1:
      raise errors.InputError(
        f'X is {image.dtype} from {least:g} to {most:g}; expected images of '
        'uint8, or floats in [0, 1].'
      )
    return np.float32(image)

  def _learn_units(self, X: np.ndarray) -> None:
    """Takes note of what rows are, and standardizes features."""
    if X.ndim > 4:
      raise errors.InputError(
        f'X has the shape {list(X.shape)}; expected [N, features], or images '
        '[N, H, W] or [N, H, W, C].'
      )
    self._check_parameters()
    self._is_of_features, self._has_no_channels = X.ndim == 2, X.ndim == 3
    if self._is_of_features:
      rows = np.float64(X)
      self._mean, std = rows.mean(axis=0), rows.std(axis=0)
      # What hardly differs is left as it is.
      tiny = 10 * np.finfo(np.float64).eps * np.abs(self._mean)
      self._scale = np.where(std > tiny, std, 1.0)

  def _encode(self, X: Any) -> dict[str, np.ndarray]:
    """The parts of the code of rows, [N, .] each."""
    image = self._checked(X)
    return self._run(self._trained.model.encode, {'image': image})

  def _decode(self, code: Code) -> np.ndarray:
    """Rows of codes, in their shape and units."""
    image = self._run(self._trained.model.decode, {'code': code})
    if self._is_of_features:
      rows = image[:, 0, :, 0] * self._scale + self._mean
      return np.float32(rows)
    return image[..., 0] if self._has_no_channels else image

  def _draw(self, n_samples: int, random_state: Any) -> Code:
    """Codes of the prior."""
    check_is_fitted(self)
    if n_samples < 1:
      raise errors.InputError(f'n_samples is {n_samples}; expected at least 1.')
    seed = check_random_state(random_state).randint(2**31 - 1)
    zeros = np.zeros(n_samples, np.int32)
    batch = {'label': zeros, 'is_labelled': zeros.astype(bool)}
    return self._run(self._trained.model.prior, batch, jax.random.key(seed))

  def _run(
    self, function: Function, rows: Batch, key: Key | None = None
  ) -> Any:
    """Runs a function of the model over rows: [N, ...]."""
    size = len(jax.tree.leaves(rows)[0])
    index = _filled(np.arange(size), _NUM_ROWS)
    rows = jax.tree.map(lambda x: x[index], rows)
    found = self._trained.run(function, rows, key, _NUM_ROWS)
    return jax.tree.map(lambda x: x[0, :size], found)

  def _check_parameters(self) -> None:
    """Refuses what no training can do anything with."""
    for name in ('latent_size', 'batch_size', *self._sizes):
      value = getattr(self, name)
      if not isinstance(value, numbers.Integral) or value < 1:
        raise errors.InputError(f'{name} is {value!r}; expected at least 1.')
    if self.epochs is not None and not self.epochs >= 1:
      raise errors.InputError(
        f'epochs is {self.epochs!r}; expected at least 1, or None.'
      )
    if not 0 < self.learning_rate < np.inf:
      raise errors.InputError(
        f'learning_rate is {self.learning_rate!r}; expected above 0.'
      )
    sizes = self.hidden_sizes
    if not all(isinstance(n, numbers.Integral) and n > 0 for n in sizes):
      raise errors.InputError(
        f'hidden_sizes is {sizes!r}; expected whole numbers above 0, such as '
        '(128, 128).'
      )


class _Sorter(_Estimator):
  """What the two have in common that sort rows, into classes or clusters."""

  def __init__(
    self,
    latent_size: int = 10,
    hidden_sizes: tuple[int, ...] = (128, 128),
    epochs: int | None = None,
    batch_size: int = 100,
    learning_rate: float = 1e-3,
    consistency: float = 1.0,
    random_state: Any = None,
    verbose: bool = False,
  ):
    super().__init__(
      latent_size,
      hidden_sizes,
      epochs,
      batch_size,
      learning_rate,
      random_state,
      verbose,
    )
    self.consistency = consistency

  def predict(self, X: Any) -> np.ndarray:
    """The most probable class or cluster of each row, [N]."""
    return self._name(self.predict_proba(X))

  def predict_proba(self, X: Any) -> np.ndarray:
    """The probability of each, float64 [N, classes or clusters]."""
    return _normalized(self._encode(X)['y'])

  def sample(
    self, n_samples: int = 1, random_state: Any = None
  ) -> tuple[np.ndarray, np.ndarray]:
    """Rows, as `AAETransformer.sample` draws them, and what they are, [N]."""
    code = self._draw(n_samples, random_state)
    return self._decode(code), self._name(code['y'])

  def _name(self, y: np.ndarray) -> np.ndarray:
    """The classes or clusters [N] where y [N, .] is largest."""
    raise NotImplementedError

  def _make_consistent(
    self, config: ml_collections.ConfigDict, schema: Schema, begin: float
  ) -> None:
    """Adds what gives rows that are alike the same y.

    Args:
      config: of a system whose encoder gives y.
      schema: of the data.
      begin: the share of the epochs after which it counts.
    """
    recipes.noisy(config)
    recipes.consistent(config, begin * config.epochs)
    config.prior_y.balanced = True
    config.weights.generator.y_weight = 3.0
    if self._is_of_features:
      _, width, _ = schema.image_shape
      config.encoder.augmentation = recipes.defaults().encoder.augmentation
      config.consistency.radius = _RADIUS * float(np.sqrt(width))
    else:
      shift = rules.shift(schema.image_shape)
      config.encoder.augmentation.update(shift=shift, turn=10.0, scale=0.1)
    config.consistency.consistency_weight = float(self.consistency)
    if not self.consistency:
      config.additions = ('marginal_entropy',)
      config.consistency = recipes.defaults().consistency

  def _check_parameters(self) -> None:
    super()._check_parameters()
    if not 0 <= self.consistency < np.inf:
      raise errors.InputError(
        f'consistency is {self.consistency!r}; expected at least 0.'
      )


class AAEClassifier(ClassifierMixin, _Sorter):
  """Semi-supervised adversarial autoencoder, with consistency of y.

  Few rows need a label: -1 in `y` is a row without, as in scikit-learn, also
  among other labels in an array of objects, and as the text that NumPy makes of
  it in an array of strings. A `y` of -1 and a single class holds the two
  classes of a labelled pair instead.

  `X` is [N, features], which are standardized, or images [N, H, W] or [N, H, W,
  C], uint8 or floats in [0, 1].

  Args:
    latent_size: of the style z, which the decoder sees beside the class.
    hidden_sizes: of the hidden layers of every network.
    epochs: passes over the rows; None for 3,000 steps, but 30 to 200 epochs.
    batch_size: rows in a step; rows are repeated to fill the last batch.
    learning_rate: of Adam, which falls to zero in the second half.
    consistency: the weight of the loss that gives rows that are alike the same
      class; 0 for none.
    random_state: of the initial weights, the order and the noise.
    verbose: whether to show the progress.

  Attributes:
    classes_: of the labels, sorted.
    n_features_in_: the size of the second axis of `X`.
  """

  def fit(self, X: Any, y: Any) -> Self:
    """Learns from all rows, and from the labels that there are.

    Args:
      X: rows, as the class says.
      y: labels [N]; -1 for a row without.

    Raises:
      InputError: a parameter is out of its range, or no row has a label.
    """
    X, y = validate_data(self, X, y, allow_nd=True, ensure_min_samples=2)
    self.classes_, label = _labels(y)
    self._fit(X, label, len(self.classes_))
    return self

  def _name(self, y: np.ndarray) -> np.ndarray:
    return self.classes_[y.argmax(axis=1)]

  def _configure(
    self, schema: Schema, epochs: int
  ) -> ml_collections.ConfigDict:
    config = self._recipe(
      'semi_supervised_aae', schema, epochs, 'classification'
    )
    config.labelled_batch_size = self.batch_size
    # Not before y is mostly right: what it finds is locked in.
    self._make_consistent(config, schema, begin=0.15)
    config.prior_y.frequencies = 'labelled'
    return config


class AAEClusterer(ClusterMixin, _Sorter):
  """Clustering adversarial autoencoder, with consistency of y.

  `X` is [N, features], which are standardized, or images [N, H, W] or [N, H, W,
  C], uint8 or floats in [0, 1].

  Args:
    n_clusters: at most; some may stay empty.
    latent_size: of the style z, which the decoder sees beside the cluster.
    hidden_sizes: of the hidden layers of every network.
    epochs: passes over the rows; None for 3,000 steps, but 30 to 200 epochs.
    batch_size: rows in a step; rows are repeated to fill the last batch.
    learning_rate: of Adam, which falls to zero in the second half.
    consistency: the weight of the loss that gives rows that are alike the same
      cluster; 0 for none.
    random_state: of the initial weights, the order and the noise.
    verbose: whether to show the progress.

  Attributes:
    labels_: the cluster of each row, int64 [N]; 0 is the largest.
    n_features_in_: the size of the second axis of `X`.
  """

  _sizes = ('n_clusters',)

  def __init__(
    self,
    n_clusters: int = 8,
    latent_size: int = 5,
    hidden_sizes: tuple[int, ...] = (128, 128),
    epochs: int | None = None,
    batch_size: int = 100,
    learning_rate: float = 1e-3,
    consistency: float = 1.0,
    random_state: Any = None,
    verbose: bool = False,
  ):
    super().__init__(
      latent_size,
      hidden_sizes,
      epochs,
      batch_size,
      learning_rate,
      consistency,
      random_state,
      verbose,
    )
    self.n_clusters = n_clusters

  def fit(self, X: Any, y: Any = None) -> Self:
    """Learns from all rows.

    Args:
      X: rows, as the class says.
      y: not looked at.

    Raises:
      InputError: a parameter is out of its range.
    """
    X = validate_data(self, X, allow_nd=True, ensure_min_samples=2)
    self._order = np.arange(self.n_clusters)
    self._fit(X, None, None)
    found = self._run(self._trained.model.cluster, {'image': self._images(X)})
    sizes = np.bincount(found.argmax(axis=1), minlength=self.n_clusters)
    self._order = np.argsort(-sizes, kind='stable')
    self.labels_ = found[:, self._order].argmax(axis=1)
    return self

  def _name(self, y: np.ndarray) -> np.ndarray:
    return y.argmax(axis=1)

  def _configure(
    self, schema: Schema, epochs: int
  ) -> ml_collections.ConfigDict:
    config = self._recipe('clustering_aae', schema, epochs)
    recipes.without_labels(config)
    config.optimizer.discriminator.learning_rate = self.learning_rate / 2
    config.num_clusters = self.n_clusters
    self._make_consistent(config, schema, begin=0.0)
    config.marginal_entropy.update(marginal_weight=4.0, conditional_weight=1.0)
    config.weights.generator.y_weight = 0.3
    # A larger one joins classes that are alike.
    if self.consistency and not self._is_of_features:
      config.consistency.radius = 0.7
    return config

  # The largest cluster is the first, which it is not in the networks.

  def _encode(self, X: Any) -> Code:
    code = super()._encode(X)
    return {**code, 'y': code['y'][:, self._order]}

  def _draw(self, n_samples: int, random_state: Any) -> Code:
    code = super()._draw(n_samples, random_state)
    return {**code, 'y': code['y'][:, self._order]}

  def _decode(self, code: Code) -> np.ndarray:
    y = code['y'][:, np.argsort(self._order)]
    return super()._decode({**code, 'y': y})


class AAETransformer(_Estimator):
  """Adversarial autoencoder: codes that follow a Gaussian, and their decoder.

  `X` is [N, features], which are standardized, or images [N, H, W] or [N, H, W,
  C], uint8 or floats in [0, 1].

  Args:
    latent_size: of the code.
    hidden_sizes: of the hidden layers of every network.
    epochs: passes over the rows; None for 3,000 steps, but 30 to 200 epochs.
    batch_size: rows in a step; rows are repeated to fill the last batch.
    learning_rate: of Adam, which falls to zero in the second half.
    random_state: of the initial weights, the order and the noise.
    verbose: whether to show the progress.

  Attributes:
    n_features_in_: the size of the second axis of `X`.
  """

  def fit(self, X: Any, y: Any = None) -> Self:
    """Learns from all rows.

    Args:
      X: rows, as the class says.
      y: not looked at.

    Raises:
      InputError: a parameter is out of its range.
    """
    X = validate_data(self, X, allow_nd=True, ensure_min_samples=2)
    self._fit(X, None, None)
    return self

  def _configure(
    self, schema: Schema, epochs: int
  ) -> ml_collections.ConfigDict:
    return self._recipe('aae', schema, epochs)


@functools.lru_cache(16)
def _spec(config: str, schema: Schema) -> experiments.Spec:
  """Of a configuration as JSON: the same one again, with what is compiled."""
  config = ml_collections.ConfigDict(json.loads(config))
  return experiments.build_spec(config, schema)


def _filled(index: np.ndarray, batch_size: int) -> np.ndarray:
  """An index [N] and some of it again, evenly, up to whole batches."""
  size = len(index)
  extra = -size % batch_size
  return np.concatenate(
    [index, index[np.arange(extra) * size // max(extra, 1)]]
  )


def _as_images(X: np.ndarray) -> np.ndarray:
  """Images [N, H, W] as [N, H, W, 1]."""
  return X[..., None] if X.ndim == 3 else X


def _labels(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The classes, and which of them each row has, int32 [N]; -1 for none."""
  is_text = y.dtype.kind in 'OUS'
  is_known = (y.astype(str) != '-1') if is_text else (y != -1)
  # A classifier of one class needs no training: these are two.
  if len(set(y[is_known].tolist())) == 1:
    is_known[:] = True
  if not is_known.any():
    raise errors.InputError(
      'y has no label; expected some that are not -1, which stands for none.'
    )
  # Of whatever type they are, in an array of objects.
  known = np.asarray(y[is_known].tolist()) if y.dtype == object else y[is_known]
  check_classification_targets(known)
  label = np.full(len(y), -1, np.int32)
  classes, label[is_known] = np.unique(known, return_inverse=True)
  return classes, label


def _normalized(probability: np.ndarray) -> np.ndarray:
  """In sum 1 in double precision."""
  probability = np.float64(probability)
  return probability / probability.sum(axis=1, keepdims=True)
