"""What scikit-learn makes of the 100 labels that a system learns from.

  python -m benchmarks.baselines

On the draws of labels of configs/digits_semi_supervised.py, ten of them, it
measures methods that use the unlabelled training images, and methods that do
not. Nothing is chosen on test images: the settings of a method are those with
the lowest error, averaged over the draws, on validation images, which are
training images kept back from the fit, with labels of their own. With these
settings it is fitted to all training images, and its test error is taken once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import itertools
import json
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

from aae_jax import experiments
from aae_jax.datasets import Scaling, Split
from benchmarks import command_line
from benchmarks.provenance import refuse_changed_files
from configs import digits_semi_supervised

NUM_DRAWS = 10

NUM_VALIDATION = 300
"""Images kept back in each draw: the last that are not labelled."""


@dataclasses.dataclass(frozen=True)
class Baseline:
  """A method and what there is to choose.

  Attributes:
    make: the classifier of some settings.
    choices: of each setting.
    sees_unlabelled: whether it is given unlabelled images, with the label -1.
  """

  make: Callable[..., ClassifierMixin]
  choices: Mapping[str, Sequence[float]]
  sees_unlabelled: bool = True

  def settings(self) -> Iterator[dict[str, float]]:
    """All combinations of the choices."""
    for values in itertools.product(*self.choices.values()):
      yield dict(zip(self.choices, values, strict=True))


def _label_spreading(**settings: Any) -> LabelSpreading:
  return LabelSpreading(max_iter=1000, **settings)


def _logistic_regression(C: float) -> LogisticRegression:
  return LogisticRegression(C=C, max_iter=10_000)


BASELINES = {
  'label_spreading_rbf': Baseline(
    lambda gamma: _label_spreading(kernel='rbf', gamma=gamma),
    {'gamma': (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)},
  ),
  'label_spreading_knn': Baseline(
    lambda n_neighbors: _label_spreading(kernel='knn', n_neighbors=n_neighbors),
    {'n_neighbors': (5, 7, 10, 15, 20, 30, 50)},
  ),
  'self_training': Baseline(
    lambda C, threshold: SelfTrainingClassifier(
      _logistic_regression(C), threshold=threshold
    ),
    {'C': (1.0, 10.0, 100.0), 'threshold': (0.75, 0.9, 0.95)},
  ),
  'logistic_regression': Baseline(
    _logistic_regression, {'C': (0.01, 0.1, 1.0, 10.0, 100.0)}, False
  ),
  'svc': Baseline(
    lambda C, gamma: SVC(C=C, gamma=gamma),
    {'C': (0.3, 1.0, 3.0, 10.0), 'gamma': (0.05, 0.1, 0.2, 0.5)},
    False,
  ),
}
"""By name; images are in [0, 1]."""


@dataclasses.dataclass(frozen=True)
class Trial:
  """What one fit takes, and what it is judged by.

  Attributes:
    image: to fit to, [N, D].
    target: their labels, [N]; -1 where unlabelled.
    judged_image: [M, D].
    judged_label: [M].
  """

  image: np.ndarray
  target: np.ndarray
  judged_image: np.ndarray
  judged_label: np.ndarray

  def error(self, baseline: Baseline, settings: Mapping[str, float]) -> float:
    """Fits, and returns the error on the judged images, in %."""
    fitted = baseline.sees_unlabelled | (self.target >= 0)
    classifier = baseline.make(**settings)
    # LabelSpreading divides by zero where no label reaches an image, and then
    # takes the first class.
    with np.errstate(invalid='ignore'):
      classifier.fit(self.image[fitted], self.target[fitted])
      predicted = classifier.predict(self.judged_image)
    wrong = predicted != self.judged_label
    return 100.0 * float(wrong.mean())


def measure(
  baseline: Baseline,
  train: Split,
  test: Split,
  labelled: np.ndarray,
  num_validation: int = NUM_VALIDATION,
) -> dict[str, Any]:
  """Chooses the settings of a method, then takes its test error.

  Args:
    baseline: the method.
    train: images and labels, of which it sees those that are drawn.
    test: looked at once, with the settings chosen.
    labelled: int [S, n], the training images whose labels a draw shows.
    num_validation: images kept back to choose on.

  Returns:
    `settings`; `validation_error` with them, the mean over the draws, in %;
    and of the test error, in %, `mean`, `std` and `per_seed`.
  """
  image, test_image = _flat(train.image), _flat(test.image)
  validations, tests = [], []
  for drawn in labelled:
    target = np.full(len(image), -1)
    target[drawn] = train.label[drawn]
    kept_back = np.flatnonzero(target < 0)[-num_validation:]
    fitted = np.delete(np.arange(len(image)), kept_back)
    validations.append(
      Trial(
        image[fitted], target[fitted], image[kept_back], train.label[kept_back]
      )
    )
    tests.append(Trial(image, target, test_image, test.label))
  error, settings = min(
    (
      (np.mean([t.error(baseline, settings) for t in validations]), settings)
      for settings in baseline.settings()
    ),
    key=lambda found: found[0],
  )
  per_draw = [trial.error(baseline, settings) for trial in tests]
  return {
    'settings': settings,
    'validation_error': float(error),
    **command_line.summary(per_draw),
  }


def _flat(image: np.ndarray) -> np.ndarray:
  return Scaling()(image).reshape(len(image), -1)


def run() -> dict[str, Any]:
  """Measures all methods."""
  config = digits_semi_supervised.get_config()
  config.num_seeds = NUM_DRAWS
  built = experiments.build(config)
  dataset = built.dataset
  measured = {
    f'test/{name}/classification_error': measure(
      baseline, dataset.train, dataset.test, built.labelled
    )
    for name, baseline in BASELINES.items()
  }
  return {
    'metrics': measured,
    'seeds': list(built.spec.seeds),
    'label_draws': NUM_DRAWS,
    'labels': config.num_labels,
    'dataset': {
      'name': dataset.name,
      'train': dataset.train.num_images,
      'kept_back_to_choose': NUM_VALIDATION,
      'test': dataset.test.num_images,
    },
  }


def main() -> None:
  """Measures, writes the result and says it."""
  parser = command_line.make_parser('baselines', __doc__)
  command_line.add_output(parser, 'digits_100_baselines.json')
  options = parser.parse_args()
  refuse_changed_files()
  result = command_line.measured(__doc__, run)
  command_line.write_result(options.output, result)
  for name, found in result['metrics'].items():
    print(
      f'{name:45}{found["mean"]:6.2f} ± {found["std"]:.2f} %  '
      f'{json.dumps(found["settings"])}'
    )


if __name__ == '__main__':
  main()
