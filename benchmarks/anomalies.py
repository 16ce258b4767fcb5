"""How well images that are unlike the training images are found.

  python -m benchmarks.anomalies

Each digit in turn is the one that nobody has seen: a detector learns from the
training images of the nine others, without labels, and scores a test part with
all ten, a fifth of the digits in the shares of the classes. Its number is the
share of the pairs of an unseen digit and another one of which it finds the
former stranger, in %: 50 by chance. All have their defaults; the components of
PCA are as many as the entries of the code of AAETransformer, and its score is
the error of the reconstruction as well.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import LocalOutlierFactor

from aae_jax import estimators
from benchmarks import command_line
from benchmarks.estimators import DATA
from benchmarks.provenance import refuse_changed_files

Detector = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Of images to learn from [N, H, W] and others [M, H, W]: how like the former
each of the latter is, [M]."""

NUM_CLASSES = 10
"""Each of them unseen once."""


def _autoencoder(known: np.ndarray, other: np.ndarray) -> np.ndarray:
  fitted = estimators.AAETransformer(random_state=0).fit(known)
  return fitted.score_samples(other)


def _components(known: np.ndarray, other: np.ndarray) -> np.ndarray:
  size = estimators.AAETransformer().latent_size
  fitted = PCA(size, random_state=0).fit(_flat(known))
  again = fitted.inverse_transform(fitted.transform(_flat(other)))
  return -np.square(again - _flat(other)).sum(axis=1)


def _neighbours(known: np.ndarray, other: np.ndarray) -> np.ndarray:
  fitted = LocalOutlierFactor(novelty=True).fit(_flat(known))
  return fitted.score_samples(_flat(other))


def _forest(known: np.ndarray, other: np.ndarray) -> np.ndarray:
  fitted = IsolationForest(random_state=0).fit(_flat(known))
  return fitted.score_samples(_flat(other))


def _flat(image: np.ndarray) -> np.ndarray:
  return image.reshape(len(image), -1)


DETECTORS = {
  'aae_transformer': _autoencoder,
  'local_outlier_factor': _neighbours,
  'pca': _components,
  'isolation_forest': _forest,
}


def pairs_told_apart(detector: Detector) -> Iterator[float]:
  """The share in % for each digit that is unseen."""
  load, share, _ = DATA['digits']
  image, digit = load()
  image, other, digit, other_digit = train_test_split(
    image, digit, test_size=share, stratify=digit, random_state=0
  )
  for unseen in range(NUM_CLASSES):
    score = detector(image[digit != unseen], other)
    yield 100 * float(roc_auc_score(other_digit == unseen, -score))


def run() -> dict[str, Any]:
  """Measures all."""
  measured = {
    f'test/digits/{name}/pairs_told_apart': command_line.summary(
      pairs_told_apart(detector)
    )
    for name, detector in DETECTORS.items()
  }
  return {
    'metrics': measured,
    'unseen': list(range(NUM_CLASSES)),
  }


def main() -> None:
  """Measures, writes the result and says it."""
  parser = command_line.make_parser('anomalies', __doc__)
  command_line.add_output(parser, 'anomalies.json')
  options = parser.parse_args()
  refuse_changed_files()
  result = command_line.measured(__doc__, run)
  command_line.write_result(options.output, result)
  for name, found in result['metrics'].items():
    print(f'{name:45}{found["mean"]:6.2f} ± {found["std"]:.2f} %')


if __name__ == '__main__':
  main()
