"""Tests of aae_jax.measures: numbers of whole samples."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
import tiny

from aae_jax import (
  experiments,
  measures,
  randomness,
  statistics,
  systems,
  trained,
)
from aae_jax.datasets.dataset import Dataset, Split


def normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape)


class Shift:
  """A network that adds its only parameter."""

  def apply(self, variables, x, *, rng, train, mutable):
    assert not train and rng is None and mutable
    return x + variables['params'], {}


def shift(apply, x):
  return apply('encoder', x)


def make_dataset(train, test, validation=None, num_classes=None):
  """Of images of one row of pixels: (values in [0, 1] [N, n], label)."""

  def split(value, label=None):
    image = np.round(255 * np.asarray(value)).astype(np.uint8)
    label = None if label is None else np.asarray(label, np.int32)
    return Split(image[:, None, :, None], label)

  train, test = split(*train), split(*test)
  validation = split(*validation) if validation else train.part(0, 0)
  return Dataset('made up', train, validation, test, num_classes)


PIXELS = make_dataset(
  (np.linspace(0, 1, 40)[:, None],), (np.linspace(0, 1, 20)[:, None],)
)


def analyze(
  dataset, shifts=(0.0,), ema=None, code_sizes=(('z', 1),), **functions
):
  """The numbers of seeds whose encoders add `shifts`, and give z alone."""
  told = tuple(dict(code_sizes).keys() - {'z'})
  model = systems.Model(dict(code_sizes), told, **functions)
  system = systems.System({'encoder': Shift()}, (), model)
  spec = experiments.Spec(
    system, batch_size=1, epochs=1, seeds=range(len(shifts))
  )
  experiment = experiments.assemble(spec, dataset, devices=jax.devices()[:1])
  weights = lambda values: {
    'params': {'encoder': jnp.asarray(values, jnp.float32)},
    'batch_stats': {},
  }
  state = types.SimpleNamespace(
    **weights(shifts), ema=weights(ema) if ema else {}
  )
  return measures.analyze(experiment, state)


def encode_pixels(apply, batch, keys):
  del keys
  return {'z': shift(apply, batch['image'][:, 0, :, 0])}


def encode_zero(apply, batch, keys):
  return {'z': 0 * encode_pixels(apply, batch, keys)['z'] + shift(apply, 0.0)}


def prior_zero(apply, batch, keys):
  """At 0 where the label is not known, as it should be; far off elsewhere."""
  assert batch['label'].shape == keys.shape
  return {'z': 1e6 * batch['is_labelled'][:, None].astype(float)}


def test_numbers_are_of_each_seed():
  found = analyze(PIXELS, (1.0, 0.5, 3.0), encode=encode_zero, prior=prior_zero)
  assert found.keys() == {'energy_distance'}
  np.testing.assert_allclose(found['energy_distance'], [2.0, 1.0, 6.0])


def test_averaged_weights_count():
  found = analyze(
    PIXELS, (1.0,), ema=(4.0,), encode=encode_zero, prior=prior_zero
  )
  np.testing.assert_allclose(found['energy_distance'], [8.0])


def test_a_seed_that_diverged_has_no_numbers():
  """Nor does it keep the others from theirs: scikit-learn refuses NaN."""
  label = np.arange(20) % 2
  found = analyze(
    styles(label[:, None], label),
    (np.nan, 1.0, np.inf),
    encode=encode_pixels,
    represent=lambda apply, batch, keys: batch['code']['z'],
    cluster_heads=lambda apply, batch, keys: jnp.zeros((2, 1)),
  )
  np.testing.assert_allclose(found['knn_error'], [np.nan, 0, np.nan])


def test_a_model_of_other_functions_has_no_numbers():
  assert (
    analyze(PIXELS, classify=lambda apply, batch, keys: batch['image']) == {}
  )


def test_energy_distance_is_of_independent_draws(monkeypatch):
  """The posterior, not its mean, should follow the prior."""
  seen = []
  monkeypatch.setattr(
    statistics, 'energy_distance', lambda *samples: seen.extend(samples) or 0.0
  )
  draw = lambda keys: {'z': randomness.normal(keys, (2,))}
  analyze(
    make_dataset((np.zeros((5, 1)),), (np.zeros((300, 1)),)),
    encode=lambda apply, batch, keys: draw(keys),
    prior=lambda apply, batch, keys: draw(keys),
  )
  for sample in seen:
    assert sample.shape == (300, 2)
    assert stats.kstest(sample.ravel(), 'norm').pvalue > 0.01
  assert np.unique(seen).size == 2 * 300 * 2


CLUSTERS = {
  # Image i is in the cluster of its brightest pixel.
  'cluster': lambda apply, batch, keys: batch['image'][:, 0, :, 0],
}


def test_clusters_are_named_without_test_labels():
  eye = np.eye(3)
  validation = (np.array([0.9 * eye[0], eye[0], eye[1]]), [1, 2, 0])
  dataset = make_dataset(
    train=(eye, [0, 0, 0]),
    test=(eye[[0, 0, 1, 1, 1]], [2, 2, 1, 1, 2]),
    validation=validation,
    num_classes=3,
  )
  found = analyze(dataset, **CLUSTERS)
  # Cluster 0 is called 2 and cluster 1 is called 0.
  np.testing.assert_allclose(found['clustering_error'], [60.0])
  np.testing.assert_allclose(found['clustering_accuracy'], [80.0])
  assert found['empty_clusters'] == [1]


def test_perfect_clusters():
  label = np.arange(12) % 3
  split = np.eye(4)[label], label
  found = analyze(make_dataset(split, split, split, 3), **CLUSTERS)
  wanted = {
    'clustering_error': 0,
    'clustering_accuracy': 100,
    'clustering_nmi': 1,
    'clustering_ari': 1,
    'empty_clusters': 1,
  }
  assert {name: value.item() for name, value in found.items()} == (
    pytest.approx(wanted)
  )


def test_without_validation_the_last_training_images_name_clusters():
  label = np.arange(20) % 2
  value = np.eye(2)[label]
  # Only the last tenth, two images, is named as the test images are.
  train = value, np.where(np.arange(20) < 18, 1 - label, label)
  found = analyze(make_dataset(train, (value, label), None, 2), **CLUSTERS)
  np.testing.assert_allclose(found['clustering_error'], [0])


def test_images_without_a_label_name_no_cluster():
  """Nor do they train a probe: their label is -1."""
  label = np.arange(40) % 2
  value = np.eye(2)[label]
  given = np.where(np.arange(40) < 36, label, -1)
  dataset = make_dataset((value, given), (value, label), None, 2)
  found = analyze(dataset, **CLUSTERS)
  np.testing.assert_allclose(found['clustering_error'], [0])
  dataset = make_dataset((value[:, :1], given), (value[:, :1], label), None, 2)
  found = probe(dataset, {'y': 2, 'z': 1})
  assert found['linear_probe_error'] == 0


def test_clusters_without_labels_are_only_counted():
  dataset = make_dataset((np.eye(3),), (np.eye(3)[:1],))
  found = analyze(dataset, **CLUSTERS)
  assert {name: value.tolist() for name, value in found.items()} == {
    'empty_clusters': [2]
  }


def styles(code, label):
  """Data of which the first pixels are the code and so are known."""
  train, test = np.split(np.arange(len(label)), 2)
  return make_dataset(
    (code[train], label[train]),
    (code[test], label[test]),
    num_classes=len(np.unique(label)),
  )


def probe(dataset, code_sizes):
  return analyze(dataset, code_sizes=code_sizes, encode=encode_pixels)


PROBES = 'linear_probe_error', 'mlp_probe_error'


def test_probes_of_an_independent_style_find_chance():
  generator = np.random.default_rng(0)
  label = generator.integers(4, size=2000)
  dataset = styles(generator.uniform(size=(2000, 3)), label)
  found = probe(dataset, {'y': 4, 'z': 3})
  assert found.keys() == set(PROBES)
  for name in PROBES:
    np.testing.assert_allclose(found[name], 75, atol=6)


def test_probes_find_what_the_style_tells():
  """The linear probe a coordinate, and the other one a product of two too."""
  generator = np.random.default_rng(0)
  code = generator.uniform(size=(4000, 2))
  high = code > 0.5
  sizes = {'y': 2, 'z': 2}
  found = probe(styles(code, high[:, 0].astype(int)), sizes)
  assert max(found[name] for name in PROBES) < 5
  found = probe(styles(code, (high[:, 0] ^ high[:, 1]).astype(int)), sizes)
  assert found['linear_probe_error'] > 40
  assert found['mlp_probe_error'] < 20


@pytest.mark.parametrize(
  'code_sizes, label',
  [
    # The encoder gives all of the code.
    ({'z': 1}, [0, 1, 0, 1]),
    # There is nothing to tell.
    ({'y': 1, 'z': 1}, [0, 0, 0, 0]),
  ],
)
def test_no_probe_where_none_makes_sense(code_sizes, label):
  dataset = styles(np.linspace(0, 1, 4)[:, None], np.array(label))
  assert probe(dataset, code_sizes) == {}


def test_neighbours_are_of_the_representation():
  generator = np.random.default_rng(0)
  label = np.arange(60) % 3
  # Pixel 0 tells the label, the other one is louder.
  code = np.stack([label / 10, generator.uniform(size=60)], axis=-1)
  functions = {
    'encode': encode_pixels,
    'cluster_heads': lambda apply, batch, keys: jnp.zeros((3, 1)),
  }
  dataset = styles(code, label)
  found = analyze(
    dataset,
    represent=lambda apply, batch, keys: batch['code']['z'][:, :1],
    **functions,
  )
  np.testing.assert_allclose(found.pop('knn_error'), 0)
  assert not found
  found = analyze(
    dataset,
    represent=lambda apply, batch, keys: batch['code']['z'][:, 1:],
    **functions,
  )
  assert found['knn_error'] > 30


def test_few_training_images_are_neighbours_too():
  label = np.array([0, 0, 0, 1])
  found = analyze(
    styles(label[:, None] / 2, label),
    encode=encode_pixels,
    represent=lambda apply, batch, keys: batch['code']['z'],
    cluster_heads=lambda apply, batch, keys: jnp.zeros((2, 1)),
  )
  np.testing.assert_allclose(found['knn_error'], 50)


GREY = make_dataset(
  *((0.5 + 0.1 * normal(2000, 1, seed=seed).clip(-5, 5),) for seed in (1, 2))
)
"""One pixel, N(0.5, 0.1^2) but for rounding to 8 bits."""

ENTROPY = stats.norm(scale=0.1).entropy()


def assert_parzen(found, name, wanted):
  assert found.keys() == {name, f'{name}_standard_error', 'parzen_bandwidth'}
  np.testing.assert_allclose(found[name], wanted, atol=0.06)
  standard_error = found[f'{name}_standard_error']
  np.testing.assert_allclose(standard_error, np.sqrt(0.5 / 2000), rtol=0.2)


def test_parzen_of_a_sampler():
  def prior(apply, batch, keys):
    assert batch['label'].shape == keys.shape
    return {'z': randomness.normal(keys, (1, 1, 1))}

  sampler = {
    'prior': prior,
    'decode': lambda apply, batch, keys: shift(
      apply, 0.5 + 0.1 * batch['code']['z']
    ),
  }
  found = analyze(GREY, **sampler)
  assert_parzen(found, 'parzen_log_likelihood', -ENTROPY)
  off = analyze(GREY, (0.2,), **sampler)
  assert off['parzen_log_likelihood'] < found['parzen_log_likelihood'] - 0.5


def test_parzen_of_an_autoencoder_is_of_a_gaussian_fitted_to_its_codes():
  decode = lambda apply, batch, keys: (batch['code']['z'] - 2)[:, None, :, None]
  found = analyze(GREY, (2.0,), encode=encode_pixels, decode=decode)
  assert_parzen(found, 'parzen_log_likelihood_fitted_gaussian', -ENTROPY)


def test_images_that_choose_are_for_validation_or_were_trained_on():
  train = (np.linspace(0, 1, 40)[:, None],)
  test = (np.zeros((9, 1)),)
  name, split = measures.choosing_split(make_dataset(train, test))
  assert name == 'training'
  np.testing.assert_array_equal(split.image, PIXELS.train.image[-4:])
  with_validation = make_dataset(train, test, (np.full((3, 1), 0.5),))
  name, split = measures.choosing_split(with_validation)
  assert name == 'validation'
  assert split is with_validation.validation


def make_grey(*stds):
  """One pixel, N(0.5, std^2): training, test and validation images."""
  train, test, *validation = (
    (0.5 + std * normal(2000, 1, seed=seed).clip(-4, 4),)
    for seed, std in enumerate(stds)
  )
  return make_dataset(train, test, *validation)


@pytest.mark.parametrize(
  ('stds', 'wanted'),
  [
    # Samples are 0.5 for certain, so the best bandwidth is the std of images.
    ((0.1, 0.02, 0.05), 0.05),
    # The last tenth of the training images without validation images.
    ((0.1, 0.02), 0.1),
  ],
)
def test_the_bandwidth_is_not_chosen_on_test_images(stds, wanted):
  functions = {
    'prior': lambda apply, batch, keys: {
      'z': jnp.full((*keys.shape, 1, 1, 1), 0.5)
    },
    'decode': lambda apply, batch, keys: batch['code']['z'],
  }
  found = analyze(make_grey(*stds), **functions)
  np.testing.assert_allclose(found['parzen_bandwidth'], wanted, rtol=0.13)
  # And it is the one that the likelihood is found with.
  test = stats.norm(0.5, found['parzen_bandwidth']).logpdf(
    make_grey(*stds).test.image.ravel() / 255
  )
  np.testing.assert_allclose(
    found['parzen_log_likelihood'], test.mean(), rtol=1e-3
  )


def test_the_gaussian_is_fitted_to_codes_of_training_images(monkeypatch):
  seen = []

  def sample(code, num_samples, generator):
    seen.append(code)
    return np.zeros((num_samples, 1), np.float32)

  monkeypatch.setattr(statistics, 'sample_fitted_gaussian', sample)
  dataset = make_grey(0.1, 0.02, 0.05)
  analyze(
    dataset,
    encode=encode_pixels,
    decode=lambda apply, batch, keys: batch['code']['z'][:, None, :, None],
  )
  [code] = seen
  np.testing.assert_allclose(code, dataset.train.image[:, 0, :, 0] / 255)


def test_neighbours_are_training_images():
  """Their labels are those of the test images shifted by one."""
  label = np.arange(30) % 3
  value = label[:, None] / 2
  shifted = value, (label + 1) % 3
  dataset = make_dataset(shifted, (value, label), (value, label), 3)
  found = analyze(
    dataset,
    encode=encode_pixels,
    represent=lambda apply, batch, keys: batch['code']['z'],
    cluster_heads=lambda apply, batch, keys: jnp.zeros((3, 1)),
  )
  np.testing.assert_allclose(found['knn_error'], [100])


def test_samplers_see_labels_as_often_as_the_training_images_have_them():
  """A sampler that is told the label paints it: 0 dark, 1 bright."""
  label = np.array([0, 0, 0, 1] * 50)
  split = label[:, None] * 1.0, label
  seen = []

  def prior(apply, batch, keys):
    jax.debug.callback(lambda x: seen.extend(x.tolist()), batch['label'])
    return {'z': 1.0 * batch['label'][:, None, None, None]}

  analyze(
    make_dataset(split, split, num_classes=2),
    prior=prior,
    decode=lambda apply, batch, keys: batch['code']['z'],
  )
  jax.effects_barrier()
  assert len(seen) == measures.NUM_SAMPLES
  np.testing.assert_allclose(np.mean(seen), 0.25, atol=0.02)


def make_log_weight(width):
  """p(z) = N(0, 1) and p(x|z) = N(z, 1); q is `width` too wide."""
  log_density = lambda x, mean, std: (
    -0.5 * jnp.square((x - mean) / std) - jnp.log(std * jnp.sqrt(2 * jnp.pi))
  )

  def log_weight(apply, batch, keys):
    del apply
    x = batch['image'][:, 0, 0, 0]
    mean, std = x / 2, width * np.sqrt(0.5)
    z = mean + std * randomness.normal(keys, ())
    joint = log_density(x, z, 1.0) + log_density(z, 0.0, 1.0)
    return joint - log_density(z, mean, std)

  return log_weight


def find_bound(width):
  found = analyze(PIXELS, log_weight=make_log_weight(width))
  return found['importance_weighted_bound'].item()


def test_importance_weighted_bound_of_a_linear_model(monkeypatch):
  """It is exact for the true posterior; else it grows with K to the truth."""
  value = PIXELS.test.image[:, 0, 0, 0] / 255
  exact = stats.norm(scale=np.sqrt(2)).logpdf(value).mean()
  np.testing.assert_allclose(find_bound(1.0), exact, rtol=1e-5)
  bounds = []
  for num_samples in (1, 5, 50, 2000):
    monkeypatch.setattr(measures, 'NUM_IMPORTANCE_SAMPLES', num_samples)
    bounds.append(find_bound(3.0))
  assert bounds == sorted(bounds)
  # With one sample it is the evidence lower bound: less by KL(q || p(z|x)).
  divergence = 0.5 * (9 - 1 - np.log(9))
  np.testing.assert_allclose(bounds[0], exact - divergence, atol=2.5)
  np.testing.assert_allclose(bounds[-1], exact, atol=0.02)
  assert find_bound(3.0) == bounds[-1]


class Constant:
  """A network that returns its parameters, whatever its input."""

  def apply(self, variables, x, *, rng, train, mutable):
    repeat = lambda value: jnp.broadcast_to(value, (len(x), *value.shape))
    return jax.tree.map(repeat, variables['params']), {}


@pytest.mark.parametrize('std', [1.0, 2.0])
@pytest.mark.parametrize('q_std', [1.0, 1.3])
def test_importance_weighted_bound_of_the_vae(std, q_std, monkeypatch):
  """A decoder that does not look at z: its likelihood is p(x).

  The mean of p(z) / q(z) over q is 1, so that the bound tends to p(x); the
  sign of a density, or one that is left out, changes it by nats.
  """
  monkeypatch.setattr(measures, 'NUM_SAMPLES', 100)
  monkeypatch.setattr(measures, 'NUM_IMPORTANCE_SAMPLES', 2000)
  changes = {'prior.name': 'gaussian', 'prior.std': std}
  built = tiny.build('vae', **changes)
  log_variance = 2 * np.log(q_std * std)
  params = {
    'encoder': {'z': jnp.array([[0.2, -0.1, log_variance, log_variance]])},
    'decoder': jnp.full((1, *tiny.IMAGE_SHAPE), np.log(0.25 / 0.75)),
  }
  system = dataclasses.replace(
    built.system, networks=dict.fromkeys(params, Constant())
  )
  found = measures.analyze(
    dataclasses.replace(
      built, spec=dataclasses.replace(built.spec, system=system)
    ),
    types.SimpleNamespace(params=params, batch_stats={}, ema={}),
  )
  pixel = tiny.DATASET.test.image / 255
  likelihood = pixel * np.log(0.25) + (1 - pixel) * np.log(0.75)
  np.testing.assert_allclose(
    found['importance_weighted_bound'],
    likelihood.sum(axis=(1, 2, 3)).mean(),
    atol=0.05,
  )


PARZEN = {
  'parzen_bandwidth',
  'parzen_log_likelihood',
  'parzen_log_likelihood_standard_error',
}
MATCHED = {'energy_distance', *PARZEN}
CLUSTERED = {
  'clustering_error',
  'clustering_accuracy',
  'clustering_nmi',
  'clustering_ari',
  'empty_clusters',
}
NUMBERS = {
  'autoencoder': {
    'parzen_bandwidth',
    'parzen_log_likelihood_fitted_gaussian',
    'parzen_log_likelihood_fitted_gaussian_standard_error',
  },
  'vae': {*MATCHED, 'importance_weighted_bound'},
  'gan': PARZEN,
  'aae': MATCHED,
  'label_regularized_aae': MATCHED,
  'supervised_aae': {*MATCHED, *PROBES},
  'semi_supervised_aae': MATCHED,
  'clustering_aae': MATCHED | CLUSTERED,
  'dimensionality_reduction_aae': {*MATCHED, 'knn_error'},
  'dimensionality_reduction_clustering_aae': {
    *MATCHED,
    *CLUSTERED,
    'knn_error',
  },
}


def analyze_system(name, num_seeds, **changes):
  built = tiny.build(name, num_seeds=num_seeds, **changes)
  state = tiny.random_state(built.system)
  # The first seed of one is the last one of two.
  first = built.spec.seeds[0]
  seeds = lambda tree: jax.tree.map(
    lambda x: jnp.stack([(1 + first + i) * x for i in range(num_seeds)]), tree
  )
  return measures.analyze(
    built,
    types.SimpleNamespace(
      params=seeds(state.params),
      batch_stats=seeds(state.batch_stats),
      ema={},
    ),
  )


@pytest.mark.parametrize('name', NUMBERS)
def test_numbers_follow_from_the_model(name, monkeypatch):
  monkeypatch.setattr(measures, 'NUM_SAMPLES', 100)
  found = analyze_system(name, 2)
  assert found.keys() == NUMBERS[name]
  for value in found.values():
    assert value.shape == (2,)
    assert np.isfinite(value).all()


def test_every_system_was_looked_at():
  # Tests of what they learn look at the others.
  others = {'classifier', 'vat', 'ladder', 'catgan'}
  others |= {'m1_tsvm', 'm2', 'm2_supervised', 'm1_m2', 'adgm', 'sdgm'}
  assert NUMBERS.keys() >= set(tiny.NAMES) - others


@pytest.mark.parametrize('batch_size', [100, 7])
def test_a_seed_alone_has_the_numbers_that_it_has_among_others(
  batch_size, monkeypatch
):
  """Whatever the size of the batches, too."""
  monkeypatch.setattr(measures, 'NUM_SAMPLES', 100)
  both = analyze_system('supervised_aae', 2)
  monkeypatch.setattr(trained, 'BATCH_SIZE', batch_size)
  alone = analyze_system('supervised_aae', 1, seed=1)
  for name, value in both.items():
    np.testing.assert_allclose(alone[name], value[1:], rtol=1e-4)
    assert 'error' in name or value[0] != value[1]
