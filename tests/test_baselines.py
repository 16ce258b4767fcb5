"""Tests of benchmarks.baselines."""

import json
import sys
import types

import numpy as np
import pytest

from aae_jax import experiments
from aae_jax.datasets.dataset import Split
from benchmarks import baselines
from configs import digits_semi_supervised


def make_split(size, seed):
  """Three classes of images, each with a bright corner of its own."""
  generator = np.random.default_rng(seed)
  label = np.arange(size, dtype=np.int32) % 3
  image = generator.integers(0, 120, (size, 2, 2, 1))
  image.reshape(size, 4)[np.arange(size), label] += 135
  return Split(image.astype(np.uint8), label)


TRAIN, TEST = make_split(60, 0), make_split(30, 1)
LABELLED = np.array([[0, 1, 2, 57, 58, 59], [3, 4, 5, 6, 7, 8]])


class Recorder:
  """Notes what it is given, and answers with its setting."""

  def __init__(self, calls, answer):
    self._calls, self._answer = calls, answer

  def fit(self, image, target):
    self._calls.append((self._answer, image, target))

  def predict(self, image):
    self._calls.append((self._answer, image))
    return np.full(len(image), self._answer)


def record(sees_unlabelled=True, train=TRAIN, test=TEST):
  calls = []
  baseline = baselines.Baseline(
    lambda answer: Recorder(calls, answer), {'answer': (0, 1)}, sees_unlabelled
  )
  found = baselines.measure(baseline, train, test, LABELLED, num_validation=10)
  return found, calls


def rows(image):
  return {row.tobytes() for row in image}


def test_validation_images_are_kept_back_from_the_fit():
  _, calls = record()
  for (_, fitted, target), (_, judged) in zip(
    calls[:8:2], calls[1:8:2], strict=True
  ):
    assert len(fitted) == 50 and len(judged) == 10
    assert not rows(fitted) & rows(judged)
    # All the labels of the draw are there.
    assert np.sum(target >= 0) == 6


def test_chosen_settings_are_fitted_to_all_training_images():
  _, calls = record()
  # Two settings and two draws, each a fit and a look.
  assert len(calls) == 8 + 4
  for drawn, (answer, fitted, target) in zip(
    LABELLED, calls[8::2], strict=True
  ):
    assert answer == 0
    assert 0 <= fitted.min() and fitted.max() <= 1
    assert len(fitted) == len(TRAIN.image)
    np.testing.assert_array_equal(np.flatnonzero(target >= 0), drawn)
    np.testing.assert_array_equal(target[drawn], TRAIN.label[drawn])


def test_supervised_methods_see_the_labelled_images_alone():
  _, calls = record(sees_unlabelled=False)
  for _, fitted, target in calls[::2]:
    assert len(fitted) == len(target) == 6
    assert target.min() >= 0


def test_nothing_is_chosen_on_test_images():
  """Whatever they are: here each is of the class that was not chosen."""
  others = Split(TEST.image, np.ones_like(TEST.label))
  found, calls = record(test=others)
  assert found['settings'] == {'answer': 0}
  assert found['per_seed'] == [100.0, 100.0]
  looks = [image for _, image in calls[1::2]]
  assert [len(image) for image in looks] == [10] * 4 + [30] * 2


def test_errors_are_percentages():
  found, _ = record()
  assert found['mean'] == pytest.approx(200 / 3)
  assert found['std'] == 0


@pytest.mark.parametrize('name', baselines.BASELINES)
def test_every_method_learns(name):
  baseline = baselines.BASELINES[name]
  settings = {key: values[1:3] for key, values in baseline.choices.items()}
  smaller = baselines.Baseline(
    baseline.make, settings, baseline.sees_unlabelled
  )
  found = baselines.measure(smaller, TRAIN, TEST, LABELLED, num_validation=10)
  assert found['mean'] < 15
  assert found['settings'].keys() == settings.keys()


def test_draws_are_those_of_the_system(tmp_path, monkeypatch, capsys):
  built = []
  build = experiments.build

  def small_build(config):
    built.append(config)
    labelled = np.tile(LABELLED, (5, 1))
    return types.SimpleNamespace(
      spec=build(config).spec,
      labelled=labelled,
      dataset=types.SimpleNamespace(
        name='small', train=make_split(400, 0), test=TEST
      ),
    )

  svc = baselines.Baseline(baselines.SVC, {'C': (1.0,)}, False)
  output = tmp_path / 'results/baselines.json'
  monkeypatch.setattr(baselines, 'BASELINES', {'svc': svc})
  monkeypatch.setattr(baselines, 'refuse_changed_files', lambda: None)
  monkeypatch.setattr(experiments, 'build', small_build)
  monkeypatch.setattr(sys, 'argv', ['', f'--output={output}'])
  baselines.main()
  [config] = built
  expected = digits_semi_supervised.get_config()
  expected.num_seeds = 10
  assert config == expected
  result = json.loads(output.read_text())
  assert result['seeds'] == list(range(10))
  assert (
    len(result['metrics']['test/svc/classification_error']['per_seed']) == 10
  )
  assert 'scikit-learn' in result['versions']
  assert result['protocol'].startswith('On the draws of labels of configs/')
  assert 'svc' in capsys.readouterr().out


def test_image_that_no_label_reaches():
  image = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
  target = np.array([0, 1, -1, -1, -1, -1])
  trial = baselines.Trial(image, target, image[3:], np.array([1, 1, 1]))
  knn = baselines.BASELINES['label_spreading_knn']
  assert trial.error(knn, {'n_neighbors': 2}) == 100.0
