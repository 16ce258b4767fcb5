"""Tests of benchmarks.anomalies."""

import json
import sys

import numpy as np
import pytest

from benchmarks import anomalies


def test_a_detector_never_sees_what_is_unseen():
  seen = []

  def detector(known, other):
    seen.append((len(known), len(other)))
    return np.zeros(len(other))

  # All alike: chance.
  assert list(anomalies.pairs_told_apart(detector)) == [50.0] * 10
  assert all(size < 1437 and others == 360 for size, others in seen)
  # Each training image is left out once.
  assert sum(1437 - size for size, _ in seen) == 1437


def test_who_knows_finds_all(monkeypatch):
  image = np.arange(100, dtype=np.float32).repeat(4).reshape(100, 2, 2)
  monkeypatch.setitem(
    anomalies.DATA, 'digits', (lambda: (image, np.arange(100) % 10), 0.2, 0)
  )

  def detector(known, other):
    (unseen,) = {*range(10)} - {*(known[:, 0, 0] % 10).astype(int)}
    return np.float32(other[:, 0, 0] % 10 != unseen)

  assert list(anomalies.pairs_told_apart(detector)) == [100.0] * 10


class Mean:
  """Stands for the estimator, which takes long."""

  latent_size = 10

  def __init__(self, *, random_state=None):
    assert random_state in (None, 0)

  def fit(self, X):
    self.mean = X.mean(axis=0)
    return self

  def score_samples(self, X):
    return -np.square(X - self.mean).sum(axis=(1, 2))


def test_program_writes_all_numbers(monkeypatch, tmp_path):
  monkeypatch.setattr(anomalies.estimators, 'AAETransformer', Mean)
  monkeypatch.setattr(anomalies, 'refuse_changed_files', lambda: None)
  output = tmp_path / 'found.json'
  monkeypatch.setattr(sys, 'argv', ['anomalies', f'--output={output}'])
  anomalies.main()
  found = json.loads(output.read_text())
  numbers = found['metrics']
  assert len(numbers) == 4 and found['unseen'] == list(range(10))
  for name in ('local_outlier_factor', 'pca', 'isolation_forest'):
    number = numbers[f'test/digits/{name}/pairs_told_apart']
    assert len(number['per_seed']) == 10
    assert 60 < number['mean'] < 99
  assert numbers['test/digits/aae_transformer/pairs_told_apart'][
    'mean'
  ] == pytest.approx(60, abs=20)
