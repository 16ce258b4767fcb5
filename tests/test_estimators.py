"""Tests of aae_jax.estimators."""

import inspect
import pickle

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import (
  check_estimator,
  estimator_checks_generator,
)

import aae_jax
from aae_jax import errors, estimators

SMALL = {
  'hidden_sizes': (16,),
  'latent_size': 2,
  'epochs': 100,
  'learning_rate': 0.02,
  'random_state': 0,
}
"""What a test can afford."""

CLASSES = (
  aae_jax.AAEClassifier,
  aae_jax.AAEClusterer,
  aae_jax.AAETransformer,
)


def make(estimator, **changes):
  """Without consistency, whose gradient of a gradient takes long to compile."""
  takes = inspect.signature(estimator).parameters
  small = SMALL | ({'consistency': 0.0} if 'consistency' in takes else {})
  return estimator(**{**small, **changes})


def make_rows():
  """Two classes, far apart, in three features of different units."""
  generator = np.random.default_rng(0)
  label = np.arange(40) % 2
  X = generator.normal(size=(40, 3)) + 6 * label[:, None]
  return X * [1.0, 100.0, 0.01] + [0.0, 5.0, 3.0], label


X, LABEL = make_rows()
FEW = np.where(np.arange(40) < 10, LABEL, -1)


@pytest.fixture(scope='module')
def classifier():
  return make(aae_jax.AAEClassifier).fit(X, FEW)


@pytest.fixture(scope='module')
def clusterer():
  return make(aae_jax.AAEClusterer, n_clusters=2).fit(X)


@pytest.fixture(scope='module')
def transformer():
  return make(aae_jax.AAETransformer).fit(X)


QUICK = {
  'check_estimator_cloneable',
  'check_estimators_unfitted',
  'check_fit1d',
  'check_fit2d_1sample',
  'check_get_params_invariance',
  'check_methods_sample_order_invariance',
  'check_no_attributes_set_in_init',
  'check_parameters_default_constructible',
  'check_set_params',
  'check_valid_tag_types',
}
"""Those that compile little: others have data of sizes of their own."""


def names_of(checks):
  return {getattr(check, 'func', check).__name__ for _, check in checks}


@pytest.mark.parametrize('estimator', CLASSES)
def test_scikit_learn_has_no_complaint(estimator):
  checks = list(estimator_checks_generator(make(estimator)))
  assert names_of(checks) >= QUICK
  for made, check in checks:
    if names_of([(made, check)]) <= QUICK:
      check(made)


@pytest.mark.whole
@pytest.mark.filterwarnings('default')
@pytest.mark.parametrize('estimator', CLASSES)
def test_scikit_learn_has_no_complaint_at_all(estimator):
  check_estimator(make(estimator), on_skip=None)


def test_few_labels_are_enough(classifier):
  np.testing.assert_array_equal(classifier.classes_, [0, 1])
  assert classifier.score(X, LABEL) == 1.0
  probability = classifier.predict_proba(X)
  assert probability.dtype == np.float64
  np.testing.assert_allclose(probability.sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize(
  'y',
  [
    np.where(FEW < 0, -1, np.array(['cat', 'dog'], object)[FEW]),
    np.where(FEW < 0, '-1', np.array(['cat', 'dog'])[FEW]),
  ],
  ids=['objects', 'strings'],
)
def test_classes_may_be_texts(classifier, y):
  texts = make(aae_jax.AAEClassifier).fit(X, y)
  found = texts.predict(X)
  np.testing.assert_array_equal(found, np.array(['cat', 'dog'])[LABEL])
  np.testing.assert_array_equal(
    texts.predict_proba(X), classifier.predict_proba(X)
  )


def test_a_labelled_pair_has_no_unlabelled_rows():
  classes, label = estimators._labels(np.array([-1, 1, 1, -1]))
  np.testing.assert_array_equal(classes, [-1, 1])
  np.testing.assert_array_equal(label, [0, 1, 1, 0])


def test_clusters_are_the_classes_and_the_largest_is_first(clusterer):
  found = clusterer.labels_
  assert len(set(zip(found, LABEL, strict=True))) == 2
  np.testing.assert_array_equal(clusterer.predict(X), found)
  assert np.all(np.diff(np.bincount(found)) <= 0)


def test_clusters_go_by_size_in_codes_as_well(clusterer):
  other = pickle.loads(pickle.dumps(clusterer))
  other._order = clusterer._order[::-1]
  np.testing.assert_array_equal(other.predict(X), 1 - clusterer.predict(X))
  code = other.transform(X)
  np.testing.assert_array_equal(code[:, 1::-1], clusterer.transform(X)[:, :2])
  np.testing.assert_array_equal(
    other.inverse_transform(code),
    clusterer.inverse_transform(clusterer.transform(X)),
  )


@pytest.mark.parametrize('name', ['classifier', 'clusterer', 'transformer'])
def test_codes_decode_to_rows_in_their_units(name, request):
  estimator = request.getfixturevalue(name)
  code = estimator.transform(X)
  assert code.shape == (40, 2 if name == 'transformer' else 4)
  error = (estimator.inverse_transform(code) - X) / X.std(axis=0)
  assert np.square(error).mean() < 0.5
  np.testing.assert_allclose(
    estimator.score_samples(X), -np.square(error).sum(axis=1), rtol=1e-3
  )
  far = estimator.score_samples(X + 50 * X.std(axis=0))
  assert far.max() < 5 * estimator.score_samples(X).mean()
  assert len(estimator.get_feature_names_out()) == code.shape[1]


def test_samples_have_the_class_that_they_were_made_for(classifier):
  drawn, y = classifier.sample(30, random_state=1)
  assert drawn.shape == (30, 3) and set(y) == {0, 1}
  assert (classifier.predict(drawn) == y).mean() > 0.7
  again, _ = classifier.sample(30, random_state=1)
  np.testing.assert_array_equal(drawn, again)


def test_samples_have_the_cluster_that_they_were_made_for(clusterer):
  code = clusterer._draw(30, 1)
  drawn, y = clusterer.sample(30, random_state=1)
  np.testing.assert_array_equal(y, code['y'].argmax(axis=1))
  np.testing.assert_array_equal(drawn, clusterer._decode(code))


def test_transformer_samples_rows(transformer):
  assert transformer.sample(3, random_state=0).shape == (3, 3)


@pytest.mark.parametrize('name', ['classifier', 'clusterer', 'transformer'])
def test_saved_estimator_is_the_same(name, request, tmp_path):
  estimator = request.getfixturevalue(name)
  estimator.save(tmp_path / 'model')
  again = type(estimator).load(tmp_path / 'model')
  assert again.get_params() == estimator.get_params()
  np.testing.assert_array_equal(again.transform(X), estimator.transform(X))


def test_what_is_no_estimator_is_refused(transformer, tmp_path):
  (tmp_path / 'other').write_text('none')
  transformer.save(tmp_path / 'model')
  for path in ('other', 'model'):
    with pytest.raises(errors.InputError, match=f'{path} holds something else'):
      aae_jax.AAEClassifier.load(tmp_path / path)


def test_images(capsys):
  generator = np.random.default_rng(0)
  images = generator.integers(0, 256, (40, 4, 4), np.uint8)
  estimator = make(aae_jax.AAETransformer, verbose=True).fit(images)
  assert 'step 100/100' in capsys.readouterr().err
  code = estimator.transform(images)
  assert estimator.inverse_transform(code).shape == (40, 4, 4)
  np.testing.assert_allclose(
    estimator.transform(np.float32(images / 255)), code, atol=1e-5
  )
  for wrong in (images.astype(int), images / 1.0):
    with pytest.raises(errors.InputError, match=r'uint8, or floats in \[0, 1'):
      estimator.transform(wrong)
  with pytest.raises(errors.InputError, match=r'expected \[N, 4, 4, 1\]'):
    estimator.transform(images[:, :, :3])


def test_in_a_pipeline_with_a_cross_validation_and_a_search(classifier):
  del classifier
  pipeline = make_pipeline(MinMaxScaler(), make(aae_jax.AAEClassifier))
  scores = cross_val_score(pipeline, X, FEW_BUT_OF_BOTH, cv=2, scoring=known)
  assert scores.min() > 0.9
  search = GridSearchCV(
    make(aae_jax.AAEClassifier), {'random_state': [0, 1]}, cv=2, scoring=known
  )
  assert search.fit(X, FEW_BUT_OF_BOTH).best_score_ > 0.9


FEW_BUT_OF_BOTH = np.where(np.arange(40) % 20 < 10, LABEL, -1)
"""In both halves."""


def known(estimator, X, y):
  """The accuracy where there is a label."""
  return estimator.score(X[y >= 0], y[y >= 0])


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'latent_size': 0}, 'latent_size is 0; expected at least 1'),
    ({'batch_size': 1.5}, 'batch_size is 1.5; expected at least 1'),
    ({'n_clusters': 0}, 'n_clusters is 0; expected at least 1'),
    ({'epochs': 0}, 'epochs is 0; expected at least 1, or None'),
    ({'learning_rate': 0.0}, 'learning_rate is 0.0; expected above 0'),
    ({'consistency': -1.0}, 'consistency is -1.0; expected at least 0'),
    ({'hidden_sizes': (8, 0)}, r'hidden_sizes is \(8, 0\); expected whole'),
  ],
)
def test_parameters_out_of_range_are_refused(changes, message):
  with pytest.raises(errors.InputError, match=message):
    make(aae_jax.AAEClusterer, **changes).fit(X)


def test_what_cannot_be_learnt_from_is_refused():
  with pytest.raises(errors.InputError, match='y has no label'):
    make(aae_jax.AAEClassifier).fit(X, np.full(40, -1))
  with pytest.raises(errors.InputError, match=r'expected \[N, features\], or'):
    make(aae_jax.AAETransformer).fit(np.zeros((4, 2, 2, 1, 1)))


def test_requests_of_a_fitted_one_are_checked(transformer):
  with pytest.raises(errors.InputError, match=r'expected codes \[N, 2\]'):
    transformer.inverse_transform(X)
  with pytest.raises(errors.InputError, match='n_samples is 0; expected at'):
    transformer.sample(0)


def test_diverged_weights_are_told():
  with pytest.raises(errors.DivergenceError, match='learning_rate is 1e'):
    make(aae_jax.AAETransformer, learning_rate=1e30).fit(X)


def test_rows_are_repeated_evenly():
  for size in (1, 7, 10, 11, 39):
    found = estimators._filled(np.arange(size), 10)
    times = np.bincount(found)
    assert len(found) % 10 == 0 and len(times) == size
    assert times.max() - times.min() <= 1
    np.testing.assert_array_equal(found[:size], np.arange(size))
