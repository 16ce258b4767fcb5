"""Tests of aae_jax.svm."""

import math
import warnings

import numpy as np
import pytest
from scipy import optimize
from sklearn.datasets import load_digits, make_blobs, make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from aae_jax import svm
from aae_jax.errors import InputError
from aae_jax.svm import TransductiveSVC


@parametrize_with_checks(
  [TransductiveSVC(), TransductiveSVC(kernel='rbf', n_components=50)],
  expected_failed_checks=lambda _: {
    'check_classifiers_classes': (
      'scikit-learn excepts semi-supervised classifiers, in which -1 is no '
      'class, by their names'
    )
  },
)
def test_keeps_the_conventions_of_scikit_learn(estimator, check):
  check(estimator)


def problem(seed, num_unlabelled):
  """Small arguments of the loss, of two classes."""
  rng = np.random.default_rng(seed)
  rows = np.column_stack(
    [rng.normal(size=(5 + num_unlabelled, 3)), np.ones(5 + num_unlabelled)]
  )
  signs = np.array([[1.0, -1.0, -1.0, 1.0, -1.0], [-1.0, 1.0, -1.0, -1.0, 1.0]])
  return rng.normal(size=8), rows[:5], signs, rows[5:], 0.3, 0.7


def expected_loss(
  parameters, labelled, signs, unlabelled, regularization, unlabelled_weight
):
  """By plain loops over the classes and the rows."""
  loss = 0.0
  for of_class, sign in zip(parameters.reshape(2, 4), signs, strict=True):
    *weights, offset = of_class.tolist()
    decision = lambda row, weights=weights, offset=offset: (
      sum(w * x for w, x in zip(weights, row, strict=False)) + offset
    )
    loss += regularization * sum(w * w for w in weights)
    for row, s in zip(labelled, sign, strict=True):
      hinge = math.log(1 + math.exp(20 * (1 - s * decision(row)))) / 20
      loss += hinge / len(labelled)
    for row in unlabelled:
      near = math.exp(-3 * decision(row) ** 2)
      loss += unlabelled_weight * near / len(unlabelled)
  return loss


@pytest.mark.parametrize('num_unlabelled', [0, 1, 4])
@pytest.mark.parametrize('seed', range(3))
def test_loss(seed, num_unlabelled):
  arguments = problem(seed, num_unlabelled)
  loss, _ = svm.loss_and_gradient(*arguments)
  assert loss == pytest.approx(expected_loss(*arguments), rel=1e-12)


@pytest.mark.parametrize('num_unlabelled', [0, 1, 4])
@pytest.mark.parametrize('seed', range(3))
def test_gradient(seed, num_unlabelled):
  parameters, *others = problem(seed, num_unlabelled)

  def loss(parameters):
    return svm.loss_and_gradient(parameters, *others)[0]

  steps = 1e-6 * np.eye(8)
  expected = np.array(
    [
      (loss(parameters + step) - loss(parameters - step)) / 2e-6
      for step in steps
    ]
  )
  if num_unlabelled:
    expected[3::4] = 0  # Of the offsets, which are held.
  _, gradient = svm.loss_and_gradient(parameters, *others)
  np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


def test_loss_far_from_the_border():
  """Where the exponentials are neither finite nor different from 0."""
  row = np.array([[100.0, 1.0]])
  arguments = np.array([1.0, 0.0]), row, np.array([[-1.0]]), row, 0.0, 1.0
  loss, gradient = svm.loss_and_gradient(*arguments)
  assert loss == pytest.approx(101)
  np.testing.assert_allclose(gradient, [100, 0])


@pytest.fixture(scope='module')
def digits():
  x, y = load_digits(return_X_y=True)
  return x / 16, y


def hide(y, num_labels, seed):
  """All labels but `num_labels` of each class become -1."""
  rng = np.random.default_rng(seed)
  places = [rng.permutation(np.flatnonzero(y == c)) for c in np.unique(y)]
  kept = np.concatenate([place[:num_labels] for place in places])
  hidden = np.full_like(y, -1)
  hidden[kept] = y[kept]
  return hidden


def gain(x, y, partial, **options):
  """Accuracies on the unlabelled rows with them, and of labels alone."""
  known = partial != -1
  machine = TransductiveSVC(kernel='rbf', random_state=0, **options)
  with_all = machine.fit(x, partial).score(x[~known], y[~known])
  alone = machine.fit(x[known], y[known]).score(x[~known], y[~known])
  return with_all, alone


@pytest.mark.parametrize('regularization', [1e-2, 1e-3])
def test_with_labels_alone_it_is_a_linear_machine(digits, regularization):
  x, y = digits
  fitted, others = slice(0, None, 2), slice(1, None, 2)
  peer = LinearSVC(
    loss='hinge',
    C=1 / (2 * len(y[fitted]) * regularization),
    intercept_scaling=10,  # Theirs is regularized, and so hardly.
    max_iter=100_000,
    random_state=0,
  ).fit(x[fitted], y[fitted])
  machine = TransductiveSVC(regularization=regularization)
  machine.fit(x[fitted], y[fitted])
  assert machine.coef_.shape == peer.coef_.shape
  ours, theirs = machine.predict(x[others]), peer.predict(x[others])
  assert np.mean(ours == theirs) >= 0.99
  accuracies = [np.mean(label == y[others]) for label in (ours, theirs)]
  assert accuracies[0] == pytest.approx(accuracies[1], abs=0.005)


def test_two_moons():
  found = []
  for seed in range(6):
    x, y = make_moons(200, noise=0.1, random_state=seed)
    options = {'gamma': 2.0, 'n_components': 100, 'regularization': 1e-3}
    found.append(gain(x, y, hide(y, 2, seed), **options))
  with_all, alone = np.mean(found, axis=0)
  assert with_all > alone + 0.08
  # Once, four labels are enough to find both moons.
  assert np.max(found, axis=0)[0] > 0.99 > np.max(found, axis=0)[1]


def test_unlabelled_digits_help(digits):
  x, y = (part[::2] for part in digits)
  options = {'n_components': 200, 'regularization': 1e-3}
  for seed in (0, 1):
    with_all, alone = gain(x, y, hide(y, 5, seed), **options)
    assert with_all > alone + 0.02


@pytest.fixture
def blobs():
  """Three classes in unequal parts, of 60 rows with and without labels."""
  x, y = make_blobs([10, 20, 30], cluster_std=0.5, random_state=0)
  partial = np.where(np.arange(60) % 3 > 0, -1, y)
  return x, y, partial


@pytest.mark.parametrize('kernel', ['linear', 'rbf'])
def test_unlabelled_rows_are_balanced_as_the_labelled_ones(blobs, kernel):
  x, _, partial = blobs
  machine = TransductiveSVC(kernel=kernel, n_components=50, random_state=0)
  decision = machine.fit(x, partial).decision_function(x[partial == -1])
  shares = np.mean(partial[partial != -1, np.newaxis] == [0, 1, 2], axis=0)
  np.testing.assert_allclose(decision.mean(axis=0), 2 * shares - 1, atol=1e-9)


def test_the_unlabelled_rows_come_in_slowly(blobs, monkeypatch):
  starts, ends, weights = [], [], []

  def minimize(function, start, arguments, **options):
    result = optimize_minimize(function, start, arguments, **options)
    starts.append(start)
    ends.append(result.x)
    weights.append(arguments[-1])
    return result

  optimize_minimize = optimize.minimize
  monkeypatch.setattr(optimize, 'minimize', minimize)
  x, _, partial = blobs
  known = (partial == -1) | (partial > 0)
  TransductiveSVC(unlabelled_weight=2.0).fit(x[known], partial[known])
  assert weights == [0, 2e-6, 2e-4, 0.02, 0.2, 1, 2]
  np.testing.assert_array_equal(starts[1:], ends[:-1])
  assert not starts[0].reshape(-1, 3)[:, :-1].any()


def test_a_class_is_fitted_as_by_itself(blobs):
  """All at once are as one after the other."""
  x, _, partial = blobs
  machine = TransductiveSVC().fit(x, partial)
  for place in range(3):
    own = np.where(partial == -1, -1, partial == place)
    alone = TransductiveSVC().fit(x, own)
    np.testing.assert_allclose(alone.coef_[0], machine.coef_[place], rtol=1e-2)
    np.testing.assert_allclose(
      alone.decision_function(x),
      machine.decision_function(x)[:, place],
      atol=0.02,
    )


def test_two_classes_have_one_decision(blobs):
  x, _, partial = blobs
  known = partial != 0
  machine = TransductiveSVC().fit(x[known], partial[known])
  decision = machine.decision_function(x)
  assert decision.shape == (60,) and machine.coef_.shape == (1, 2)
  np.testing.assert_array_equal(
    machine.predict(x), np.where(decision > 0, 2, 1)
  )


def test_labels_may_be_words(blobs):
  """In an array of objects, where -1 can stand beside them."""
  x, _, partial = blobs
  names = np.array(['a', 'b', 'c', -1], object)
  machine = TransductiveSVC().fit(x, names[partial])
  assert machine.classes_.tolist() == ['a', 'b', 'c']
  numbers = TransductiveSVC().fit(x, partial).predict(x)
  np.testing.assert_array_equal(machine.predict(x), names[numbers])


def test_random_state(blobs):
  x, _, partial = blobs

  def decision(seed):
    machine = TransductiveSVC(kernel='rbf', n_components=20, random_state=seed)
    return machine.fit(x, partial).decision_function(x)

  np.testing.assert_array_equal(decision(1), decision(1))
  assert np.abs(decision(1) - decision(2)).max() > 0.01


def test_a_fit_leaves_the_surroundings_alone(blobs):
  x, _, partial = blobs
  first, second = TransductiveSVC(), TransductiveSVC(unlabelled_weight=0.1)
  state = np.random.get_state()[1].copy()
  with warnings.catch_warnings():
    warnings.simplefilter('always')
    filters = list(warnings.filters)
    decision = first.fit(x, partial).decision_function(x)
    second.fit(2 * x, partial)
    assert warnings.filters == filters
  np.testing.assert_array_equal(first.decision_function(x), decision)
  assert first.get_params() == TransductiveSVC().get_params()
  np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_too_few_iterations_are_told(blobs):
  x, _, partial = blobs
  with pytest.warns(ConvergenceWarning, match='all of max_iter = 2 iterations'):
    TransductiveSVC(max_iter=2).fit(x, partial)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    (
      {'kernel': 'rbff'},
      "unknown kernel 'rbff'; known: linear, rbf. Did you mean 'rbf'?",
    ),
    ({'kernel': len}, "unknown kernel '<built-in function len>'"),
    ({'regularization': 0}, 'regularization is 0; expected a finite number'),
    ({'regularization': np.nan}, 'regularization is nan; expected'),
    ({'unlabelled_weight': -1.0}, 'unlabelled_weight is -1.0; expected'),
    ({'unlabelled_weight': np.inf}, 'unlabelled_weight is inf; expected'),
    ({'unlabelled_weight': '1'}, "unlabelled_weight is '1'; expected"),
    ({'max_iter': 0}, 'max_iter is 0; expected a number of at least 1'),
    ({'n_components': 0}, 'n_components is 0; expected a number of at least 1'),
  ],
)
def test_bad_parameters(blobs, options, message):
  x, _, partial = blobs
  machine = TransductiveSVC(
    **options
  )  # Which says nothing, until it is fitted.
  with pytest.raises(InputError) as error:
    machine.fit(x, partial)
  assert message in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('options', [{'gamma': -1.0}, {'gamma': 'sale'}])
def test_bad_parameters_of_the_random_features(blobs, options):
  x, _, partial = blobs
  ((name, value),) = options.items()
  with pytest.raises(ValueError, match=f"'{name}' .* must be .*{value}"):
    TransductiveSVC(kernel='rbf', **options).fit(x, partial)


@pytest.mark.parametrize(
  ('label', 'found'),
  [
    ([-1, -1, -1, -1], 'the 0 labelled rows of 4 are []'),
    ([-1, 3, 3, -1], 'the 2 labelled rows of 4 are [3]'),
  ],
)
def test_labels_of_fewer_than_two_classes(label, found):
  with pytest.raises(InputError) as error:
    TransductiveSVC().fit(np.eye(4), label)
  message = str(error.value)
  assert found in message and 'expected more than one class' in message
  assert '\n' not in message
