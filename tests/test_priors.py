"""Tests of aae_jax.priors."""

import functools

import hypothesis
from hypothesis import strategies as st
import jax
import numpy as np
import pytest
from scipy import stats
import tiny

from aae_jax import priors
from aae_jax.errors import InputError
from aae_jax.types import AXIS

NUM_SAMPLES = 4000
KEYS = tiny.keys(NUM_SAMPLES)


@pytest.mark.parametrize(
  'build',
  [
    *priors.PRIORS.values(),
    *(
      functools.partial(build, num_classes=tiny.NUM_CLASSES)
      for build in priors.LABEL_PRIORS.values()
    ),
  ],
)
def test_samples_follow_their_keys(build):
  prior = build(size=2)
  batch = tiny.make_batch()
  rng = tiny.keys(8)
  sample = prior.draw(rng, batch)
  assert sample.shape == (8, 2) and sample.dtype == np.float32
  reversed_batch = {key: value[::-1] for key, value in batch.items()}
  np.testing.assert_array_equal(
    prior.draw(rng[::-1], reversed_batch), sample[::-1]
  )


@hypothesis.given(st.floats(0.1, 20), st.integers(1, 5))
def test_gaussian_has_its_std(std, size):
  """Public code reads a prior's std and samples the standard normal."""
  sample = np.asarray(priors.gaussian(size, std).draw(KEYS, {}))
  np.testing.assert_allclose(sample.mean(0), 0, atol=0.1 * std)
  covariance = np.atleast_2d(np.cov(sample.T))
  np.testing.assert_allclose(
    covariance, std**2 * np.eye(size), atol=0.1 * std**2
  )


def test_uniform_fills_the_unit_cube_evenly():
  prior = priors.uniform(3)
  sample = np.asarray(prior.draw(KEYS, {}))
  for values in sample.T:
    assert stats.kstest(values, 'uniform').pvalue > 1e-3
  correlation = np.corrcoef(sample.T)
  np.testing.assert_allclose(correlation, np.eye(3), atol=0.06)
  assert not prior.log_prob(sample).any()
  outside = np.array([[0.5, 0.5, 1.1], [-0.1, 0.5, 0.5]], np.float32)
  assert np.isneginf(prior.log_prob(outside)).all()


def test_gaussian_is_standard_by_default():
  np.testing.assert_array_equal(
    priors.gaussian(3).draw(KEYS, {}),
    priors.gaussian(3, 1.0).draw(KEYS, {}),
  )


@pytest.mark.parametrize(
  'name, options',
  [
    ('gaussian', {'std': 0}),
    ('gaussian', {'std': -1.5}),
    ('gaussian_mixture', {'num_modes': 0}),
    ('gaussian_mixture', {'radial_std': -0.1}),
    ('gaussian_mixture', {'tangential_std': 0.0}),
    ('swiss_roll', {'turns': 0}),
    ('swiss_roll', {'radius': -2.0}),
  ],
)
def test_scales_must_be_positive(name, options):
  ((key, value),) = options.items()
  with pytest.raises(InputError, match=f'prior.{key} is {value}; expected'):
    priors.PRIORS[name](size=2, **options)


def test_modes_of_the_mixture():
  num_modes, radius, radial_std, tangential_std = 5, 4.0, 0.5, 0.1
  prior = priors.gaussian_mixture(
    2, num_modes, radius, radial_std, tangential_std
  )
  sample = np.asarray(prior.draw(KEYS, {}))
  # The modes are so far apart that an angle tells the mode.
  angle = np.arctan2(sample[:, 1], sample[:, 0])
  mode = np.round(angle * num_modes / (2 * np.pi)).astype(int) % num_modes
  np.testing.assert_allclose(
    np.bincount(mode), NUM_SAMPLES / num_modes, rtol=0.15
  )
  for k in range(num_modes):
    direction = 2 * np.pi * k / num_modes
    cos, sin = np.cos(direction), np.sin(direction)
    local = sample[mode == k] @ np.array([[cos, -sin], [sin, cos]])
    np.testing.assert_allclose(local.mean(0), [radius, 0], atol=0.1)
    np.testing.assert_allclose(
      local.std(0), [radial_std, tangential_std], rtol=0.12
    )
    assert abs(np.corrcoef(local.T)[0, 1]) < 0.15


def test_swiss_roll_is_uniform_along_its_length():
  turns, radius = 2.0, 3.0
  prior = priors.swiss_roll(2, turns, radius, noise_std=0.0)
  sample = np.asarray(prior.draw(KEYS, {}))
  distance = np.linalg.norm(sample, axis=-1)
  angle = 2 * np.pi * turns * distance / radius
  spiral = distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
  np.testing.assert_allclose(sample, spiral, atol=1e-4)
  # Equal fractions of the samples have equal lengths of a fine polygon.
  grid = np.linspace(0, 1, 20001)
  curve = radius * grid * np.exp(2j * np.pi * turns * grid)
  length = np.append(0, np.cumsum(np.abs(np.diff(curve))))
  along = np.interp(np.sort(distance) / radius, grid, length / length[-1])
  uniform = np.linspace(0, 1, NUM_SAMPLES)
  np.testing.assert_allclose(along, uniform, atol=0.04)


def test_swiss_roll_adds_noise():
  without = priors.swiss_roll(2, noise_std=0.0).draw(KEYS, {})
  noisy = priors.swiss_roll(2, noise_std=0.3).draw(KEYS, {})
  noise = np.asarray(noisy - without)
  np.testing.assert_allclose(np.cov(noise.T), 0.09 * np.eye(2), atol=0.01)


def test_categorical_is_one_hot_and_balanced():
  sample = np.asarray(priors.categorical(4).draw(KEYS, {}))
  assert set(np.unique(sample)) == {0, 1}
  np.testing.assert_array_equal(sample.sum(1), 1)
  np.testing.assert_allclose(sample.mean(0), 0.25, atol=0.03)


@pytest.mark.parametrize('name', ['gaussian_mixture', 'swiss_roll'])
def test_plane_priors_refuse_another_size(name):
  message = f'{name}.* latent_size is 3; expected'
  with pytest.raises(InputError, match=message):
    priors.PRIORS[name](size=3)
  with pytest.raises(InputError, match=message):
    priors.LABEL_PRIORS[name](size=3, num_classes=2)


def mixture_density(z, num_modes, radius, radial_std, tangential_std):
  """The density by SciPy, with a covariance for each mode."""
  total = 0
  for k in range(num_modes):
    direction = 2 * np.pi * k / num_modes
    cos, sin = np.cos(direction), np.sin(direction)
    rotation = np.array([[cos, -sin], [sin, cos]])
    variance = np.diag([radial_std**2, tangential_std**2])
    total += stats.multivariate_normal.pdf(
      z, radius * rotation[:, 0], rotation @ variance @ rotation.T
    )
  return total / num_modes


def test_densities():
  z = np.random.default_rng(0).normal(scale=2, size=(50, 2))
  np.testing.assert_allclose(
    priors.gaussian(2, 2.5).log_prob(z),
    stats.norm.logpdf(z, 0, 2.5).sum(-1),
    rtol=1e-4,
  )
  options = (7, 1.4, 0.5, 0.2)
  np.testing.assert_allclose(
    priors.gaussian_mixture(2, *options).log_prob(z),
    np.log(mixture_density(z, *options)),
    rtol=1e-3,
  )


def test_only_the_gaussian_states_its_std():
  """From which a divergence in closed form follows."""
  assert priors.gaussian(2, 1.5).std == 1.5
  assert priors.gaussian_mixture(2).std is None


NINE_TO_ONE = (0.9, 0.1)


def test_categorical_has_its_frequencies():
  """Own data is rarely uniform."""
  sample = np.asarray(priors.categorical(2, NINE_TO_ONE).draw(KEYS, {}))
  np.testing.assert_allclose(sample.mean(0), NINE_TO_ONE, atol=0.02)


@pytest.mark.parametrize(
  'frequencies', [(0.9, 0.1, 0.1), (1.1, -0.1), (0.5, 0.4), (0.9, float('nan'))]
)
def test_frequencies_must_be_some(frequencies):
  with pytest.raises(InputError, match=r'prior_y.frequencies is .*expected 2'):
    priors.categorical(2, frequencies)


def draw_on_devices(prior, batch_size, num_devices):
  """A training's batch, a share on each device; [batch_size, entries]."""
  keys = tiny.keys(batch_size).reshape(num_devices, -1)
  positions = np.arange(batch_size).reshape(num_devices, -1)
  sample = jax.vmap(
    lambda rng, position: prior.draw(rng, {'position': position}),
    axis_name=AXIS,
  )(keys, positions)
  return np.asarray(sample).reshape(batch_size, -1)


@pytest.mark.parametrize('num_devices', [1, 2, 4])
def test_balanced_batches_have_each_entry_equally_often(num_devices):
  prior = priors.categorical(5, balanced=True)
  sample = draw_on_devices(prior, 40, num_devices)
  np.testing.assert_array_equal(sample.sum(0), 8)
  prior = priors.categorical(2, NINE_TO_ONE, balanced=True)
  sample = draw_on_devices(prior, 40, num_devices)
  np.testing.assert_array_equal(sample.sum(0), [36, 4])


@hypothesis.given(st.integers(1, 7), st.integers(2, 9))
def test_balanced_batches_differ_by_one_where_they_do_not_divide(rows, size):
  sample = draw_on_devices(priors.categorical(size, balanced=True), 2 * rows, 2)
  assert np.abs(sample.sum(0) - 2 * rows / size).max() < 2


def test_balanced_is_independent_outside_of_a_training():
  prior = priors.categorical(5, balanced=True)
  np.testing.assert_array_equal(
    prior.draw(KEYS, {}), priors.categorical(5).draw(KEYS, {})
  )


def label_batch(num_classes):
  """All labels, of examples of which the latter half are unlabelled."""
  return {
    'label': np.arange(NUM_SAMPLES) % num_classes,
    'is_labelled': np.arange(NUM_SAMPLES) < NUM_SAMPLES // 2,
  }


@pytest.mark.parametrize('name', sorted(priors.LABEL_PRIORS))
def test_label_priors_give_each_label_its_place(name):
  """Public code reads the label flag and does not use it."""
  batch = label_batch(5)
  prior = priors.LABEL_PRIORS[name](size=2, num_classes=5)
  z = prior.draw(KEYS, batch)
  right = np.asarray(prior.region(z)) == batch['label']
  labelled = batch['is_labelled']
  assert right[labelled].mean() > 0.9
  # What is unlabelled falls anywhere.
  np.testing.assert_allclose(right[~labelled].mean(), 0.2, atol=0.05)
  counts = np.bincount(prior.region(z[~labelled]), minlength=5)
  np.testing.assert_allclose(counts, labelled.sum() / 5, rtol=0.25)


def test_unlabelled_examples_have_the_whole_prior():
  """With the same keys it is the prior that knows of no labels."""
  batch = label_batch(5) | {'is_labelled': np.zeros(NUM_SAMPLES, bool)}
  options = {'gaussian_mixture': {'num_modes': 5}, 'swiss_roll': {}}
  for name, given in options.items():
    np.testing.assert_allclose(
      priors.LABEL_PRIORS[name](size=2, num_classes=5).draw(KEYS, batch),
      priors.PRIORS[name](size=2, **given).draw(KEYS, {}),
      atol=1e-5,
    )
