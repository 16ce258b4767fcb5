"""What the estimators make of few labels, and of none, beside scikit-learn.

  python -m benchmarks.estimators

AAEClassifier with 100 labels of the digits, and with a tenth of the labels of
wine and breast cancer, beside LabelSpreading; AAEClusterer with ten clusters of
the digits beside k-means. Every draw has a test part of its own, a fifth of the
digits and three tenths of the others, in the shares of the classes, and labels
of its own. The estimators have their defaults, whose settings were chosen on
validation parts of the training data; the gamma of LabelSpreading is the best
on validation parts, averaged over the draws. Clusters are named by the best
one-to-one assignment to the classes of the test part.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.semi_supervised import LabelSpreading

from aae_jax import estimators
from benchmarks import command_line
from benchmarks.baselines import Baseline, Trial
from benchmarks.provenance import refuse_changed_files

NUM_DRAWS = 5
"""Of labels."""

NUM_SEEDS = 10
"""Of clusterings."""

GAMMAS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 20.0)

Data = tuple[np.ndarray, np.ndarray]
"""Rows [N, ...] and classes [N]."""


def _digits() -> Data:
  digits = load_digits()
  return np.float32(digits.images / 16), digits.target


def _wine() -> Data:
  return load_wine(return_X_y=True)


def _breast_cancer() -> Data:
  return load_breast_cancer(return_X_y=True)


DATA = {
  'digits': (_digits, 0.2, 100),
  'wine': (_wine, 0.3, 0.1),
  'breast_cancer': (_breast_cancer, 0.3, 0.1),
}
"""By name: what loads it, the share to test, and labels or their share."""


def draw(name: str, seed: int, validates: bool = False) -> Trial:
  """A split into training and test rows, and which of the former are labelled.

  Args:
    name: a key of `DATA`.
    seed: of the draw.
    validates: whether a quarter of the training rows takes the place of the
      test part, which nobody then sees.
  """
  load, share, num_labels = DATA[name]
  X, y = load()
  split = lambda X, y, **sizes: train_test_split(
    X, y, stratify=y, random_state=seed, **sizes
  )
  X, judged, y, judged_y = split(X, y, test_size=share)
  if validates:
    X, judged, y, judged_y = split(X, y, test_size=0.25)
  labelled, _ = split(np.arange(len(y)), y, train_size=num_labels)[:2]
  target = np.full(len(y), -1)
  target[labelled] = y[labelled]
  return Trial(X, target, judged, judged_y)


def _label_spreading(gamma: float) -> Any:
  flatten = FunctionTransformer(lambda X: X.reshape(len(X), -1))
  return make_pipeline(flatten, LabelSpreading(gamma=gamma, max_iter=1000))


def _standardized_label_spreading(gamma: float) -> Any:
  return make_pipeline(StandardScaler(), _label_spreading(gamma))


AAE = Baseline(
  lambda random_state: estimators.AAEClassifier(random_state=random_state), {}
)


def clustering_error(cluster: np.ndarray, label: np.ndarray) -> float:
  """The error under the best one-to-one naming of clusters, in %.

  Args:
    cluster: int [N].
    label: int [N].
  """
  size = 1 + max(cluster.max(), label.max())
  counts = np.zeros((size, size), int)
  np.add.at(counts, (cluster, label), 1)
  right = counts[linear_sum_assignment(counts, maximize=True)].sum()
  return 100.0 * (1 - float(right) / len(label))


def measure_classifiers(name: str, num_draws: int) -> dict[str, Any]:
  """The errors of both classifiers of one of `DATA`, by number."""
  is_image = name == 'digits'
  spreading = Baseline(
    _label_spreading if is_image else _standardized_label_spreading,
    {'gamma': GAMMAS},
  )
  validations = [draw(name, k, validates=True) for k in range(num_draws)]
  settings = min(
    spreading.settings(),
    key=lambda settings: np.mean(
      [trial.error(spreading, settings) for trial in validations]
    ),
  )
  trials = [draw(name, k) for k in range(num_draws)]
  key = f'test/{name}/{{}}/classification_error'
  return {
    key.format('aae_classifier'): command_line.summary(
      trial.error(AAE, {'random_state': k}) for k, trial in enumerate(trials)
    ),
    key.format('label_spreading'): {
      'settings': settings,
      **command_line.summary(
        trial.error(spreading, settings) for trial in trials
      ),
    },
  }


def measure_clusterers(num_seeds: int) -> dict[str, Any]:
  """The errors of both clusterers of the digits, by number."""
  key = 'test/digits/{}/clustering_error'
  makers = {
    'aae_clusterer': lambda k: estimators.AAEClusterer(10, random_state=k),
    'k_means': lambda k: make_pipeline(
      FunctionTransformer(lambda X: X.reshape(len(X), -1)),
      KMeans(10, n_init=10, random_state=k),
    ),
  }
  return {
    key.format(name): command_line.summary(_clustered(make, num_seeds))
    for name, make in makers.items()
  }


def _clustered(make: Callable[[int], Any], num_seeds: int) -> Iterator[float]:
  for k in range(num_seeds):
    trial = draw('digits', k)
    found = make(k).fit(trial.image).predict(trial.judged_image)
    yield clustering_error(found, trial.judged_label)


def run(num_draws: int, num_seeds: int) -> dict[str, Any]:
  """Measures all."""
  measured = measure_clusterers(num_seeds)
  for name in DATA:
    measured |= measure_classifiers(name, num_draws)
  return {
    'metrics': measured,
    'seeds': list(range(num_seeds)),
    'label_draws': num_draws,
  }


def main() -> None:
  """Measures, writes the result and says it."""
  parser = command_line.make_parser('estimators', __doc__)
  command_line.add_output(parser, 'estimators.json')
  options = parser.parse_args()
  refuse_changed_files()
  result = command_line.measured(__doc__, lambda: run(NUM_DRAWS, NUM_SEEDS))
  command_line.write_result(options.output, result)
  for name, found in result['metrics'].items():
    print(f'{name:55}{found["mean"]:6.2f} ± {found["std"]:.2f} %')


if __name__ == '__main__':
  main()
