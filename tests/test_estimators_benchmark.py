"""Tests of benchmarks.estimators."""

import json
import sys

import numpy as np
import pytest

from benchmarks import estimators


@pytest.mark.parametrize(
  'name, num_rows, num_labels',
  [('digits', 1437, 100), ('wine', 124, 12), ('breast_cancer', 398, 39)],
)
def test_draws_are_what_the_docstring_says(name, num_rows, num_labels):
  trial = estimators.draw(name, 0)
  assert len(trial.image) == num_rows
  assert np.sum(trial.target >= 0) == num_labels
  # Every class has labels.
  assert set(trial.target) == {-1, *trial.judged_label}


def test_nothing_is_chosen_on_test_rows():
  rows = lambda image: {row.tobytes() for row in image}
  test = rows(estimators.draw('wine', 3).judged_image)
  chosen_on = estimators.draw('wine', 3, validates=True)
  assert not rows(chosen_on.image) & test
  assert not rows(chosen_on.judged_image) & test
  assert not rows(chosen_on.image) & rows(chosen_on.judged_image)


def test_clusters_are_named_one_to_one():
  label = np.array([0, 0, 0, 1, 1, 2])
  assert estimators.clustering_error((label + 1) % 3, label) == 0.0
  # Two clusters of one class: one of them is wrong.
  found = estimators.clustering_error(np.array([0, 0, 3, 1, 1, 2]), label)
  assert found == pytest.approx(100 / 6)


class Constant:
  """Stands for the estimators, which take long."""

  def __init__(self, *_, random_state):
    assert random_state in (0, 1)

  def fit(self, X, y=None):
    del X, y
    return self

  def predict(self, X):
    return np.zeros(len(X), int)


def test_program_writes_all_numbers(monkeypatch, tmp_path):
  monkeypatch.setattr(estimators.estimators, 'AAEClassifier', Constant)
  monkeypatch.setattr(estimators.estimators, 'AAEClusterer', Constant)
  monkeypatch.setattr(estimators, 'refuse_changed_files', lambda: None)
  monkeypatch.setattr(estimators, 'NUM_DRAWS', 2)
  monkeypatch.setattr(estimators, 'NUM_SEEDS', 2)
  monkeypatch.setattr(estimators, 'GAMMAS', (0.25, 1.0))
  output = tmp_path / 'found.json'
  monkeypatch.setattr(sys, 'argv', ['estimators', f'--output={output}'])
  estimators.main()
  found = json.loads(output.read_text())
  numbers = found['metrics']
  assert len(numbers) == 8
  assert numbers['test/wine/aae_classifier/classification_error'][
    'mean'
  ] == pytest.approx(66.7, abs=0.1)
  assert numbers['test/digits/k_means/clustering_error']['mean'] < 30
  assert found['label_draws'] == 2 and 'scikit-learn' in found['versions']
