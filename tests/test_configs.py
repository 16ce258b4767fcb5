"""Tests of the configurations: each builds, and its system takes a step."""

import ast
import dataclasses
import functools
import json
import pathlib
import runpy
from unittest import mock

import jax
import numpy as np
import pytest
import tiny

from aae_jax import (
  datasets,
  errors,
  experiments,
  recipes,
  train_state,
  train_step,
  trained,
)
from aae_jax.datasets import feeding
from aae_jax.datasets.dataset import Dataset, Split

FOLDER = pathlib.Path(__file__).parent.parent / 'configs'
FILES = {path.stem: path for path in sorted(FOLDER.glob('*.py'))}
DATASETS = {
  'digits': ('digits', (8, 8, 1), 1437),
  'mnist': ('mnist', (28, 28, 1), 60_000),
  'svhn': ('svhn_cropped', (32, 32, 3), 73_257),
}
"""By the first word of a file: the data set, its images, and how many."""

OF_ANY = {
  'clustering': 'clustering_aae',
  'map': 'dimensionality_reduction_aae',
  'semi_supervised': 'semi_supervised_aae',
  'style': 'supervised_aae',
}
"""The files for any images: the system of each; see test_rules.py."""
TUNED = FILES.keys() - OF_ANY

get_configs = {
  name: runpy.run_path(str(path))['get_config'] for name, path in FILES.items()
}
PAPER = {
  'mnist_aae',
  'mnist_label_regularized',
  'mnist_supervised',
  'mnist_semi_supervised',
  'mnist_clustering',
  'mnist_dimensionality_reduction',
  'mnist_dimensionality_reduction_clustering',
}
"""Those that the paper has settings for."""

OWN = {'mnist_catgan', 'mnist_ladder', 'mnist_m2', 'mnist_sdgm', 'mnist_vat'}
"""Those that have the settings of their own authors."""

VARIANTS = [(name,) for name in FILES]
VARIANTS += [(name, 'paper') for name in PAPER | OWN]
VARIANTS += [('map', 'unlabelled')]
VARIANTS.sort()


def make_config(name, *variant):
  return get_configs[name](*variant)


@functools.cache
def make_dataset(name):
  """Random images of the shape of the data set's, and every label."""
  data = 'svhn' if name in OF_ANY else name.split('_')[0]
  dataset, shape, _ = DATASETS[data]
  generator = np.random.default_rng(0)

  def split(size):
    image = generator.integers(0, 256, (size, *shape), np.uint8)
    return Split(image, np.arange(size, dtype=np.int32) % 10)

  return Dataset(dataset, split(1100), split(0), split(0), 10)


def build(config, name, num_devices):
  """The experiment of a configuration, on random images."""
  with mock.patch.object(datasets, 'load', return_value=make_dataset(name)):
    built = experiments.build(config)
  return dataclasses.replace(built, devices=built.devices[:num_devices])


@pytest.mark.parametrize('name', FILES)
def test_first_line_says_what_it_is(name):
  tree = ast.parse(FILES[name].read_text())
  first_line, *_ = ast.get_docstring(tree).splitlines()
  assert first_line.endswith('.') or first_line.endswith(':')
  functions = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
  [public] = [f for f in functions if not f.name.startswith('_')]
  assert public.name == 'get_config' and ast.get_docstring(public)


@pytest.mark.parametrize('name', sorted(TUNED))
def test_name_says_data_and_system(name):
  config = make_config(name)
  data, system = name.split('_', 1)
  dataset, _, num_images = DATASETS[data]
  assert config.dataset.name == dataset
  assert config.system in (system, f'{system}_aae')
  left = num_images - config.dataset.num_validation
  assert left >= max(config.batch_size, config.num_labels)


@pytest.mark.parametrize('name', OF_ANY)
def test_those_for_any_images_are_tried_on_digits(name):
  config = make_config(name)
  assert (config.system, config.dataset.name) == (OF_ANY[name], 'digits')


@pytest.mark.parametrize(
  'variant', VARIANTS, ids=lambda variant: '-'.join(variant)
)
def test_step_fits_the_state(variant):
  """All shapes and types at the full size, on all devices; nothing runs."""
  name = variant[0]
  devices = len(jax.local_devices())
  built = build(make_config(*variant), name, devices)
  step = train_step.make_train_step(built.system, built.spec.ema_decay)
  state = built.abstract_state()
  one_seed = train_step.map_seeds(
    lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype),
    state,
    train_state.SEED_AXES,
  )
  batch = feeding.example_batch(
    built.feed.batch_size // devices,
    built.feed.labelled_batch_size // devices,
    built.dataset.image_shape,
  )
  after = jax.eval_shape(
    jax.shard_map(
      step,
      mesh=jax.sharding.Mesh(built.devices[:1], (train_step.AXIS,)),
      in_specs=jax.sharding.PartitionSpec(),
      out_specs=jax.sharding.PartitionSpec(),
      check_vma=False,
    ),
    one_seed,
    batch,
  )
  describe = lambda x: (x.shape, x.dtype)
  assert jax.tree.map(describe, after) == jax.tree.map(describe, one_seed)
  for phase in built.system.phases:
    assert after.report['sums'][f'{phase.name}/loss'].shape == ()


@pytest.mark.parametrize(
  'variant',
  [
    ('mnist_dimensionality_reduction', 'paper'),
    pytest.param(('svhn_semi_supervised',), marks=pytest.mark.whole),
  ],
  ids=lambda variant: '-'.join(variant),
)
def test_two_steps_of_a_small_one_are_finite(variant):
  config = make_config(*variant)
  for section in (config.encoder, config.decoder, config.discriminator):
    section.hidden = (8,)
    if section.channels:
      section.channels = (2,) * len(section.channels)
  config.batch_size = config.labelled_batch_size = 4
  config.num_seeds = 1
  built = build(config, variant[0], num_devices=1)
  state, _ = built.run()(built.init(), tiny.data(built), train_step.Request(2))
  assert int(state.step) == 2 and trained.sound_seeds(state).all()
  for name, value in state.report['sums'].items():
    assert np.isfinite(value).all(), name


def test_fast_variant_is_the_default_one():
  for name in FILES:
    assert make_config(name, 'fast').to_json() == make_config(name).to_json()


@pytest.mark.parametrize(
  'name, known',
  [
    ('digits_aae', 'fast'),
    ('mnist_aae', 'fast, paper'),
    ('mnist_semi_supervised', 'fast, paper, any'),
    ('map', 'fast, unlabelled'),
  ],
)
def test_unknown_variant(name, known):
  with pytest.raises(
    errors.InputError, match=f"^unknown variant 'papre'; known: {known}.$"
  ):
    make_config(name, 'papre')


@pytest.mark.parametrize('name', sorted(FILES.keys() - PAPER - OWN))
def test_systems_without_settings_of_the_paper_say_so(name):
  with pytest.raises(errors.InputError, match='^the paper has no settings for'):
    make_config(name, 'paper')


def rates(config):
  return {
    name: (options.learning_rate, options.momentum)
    for name, options in config.optimizer.items()
  }


@pytest.mark.parametrize('name', sorted(PAPER))
def test_settings_of_the_paper(name):
  """Appendix A of the paper; 1.3 of its section on clustering."""
  config = make_config(name, 'paper')
  is_clustering = name == 'mnist_clustering'
  sizes = (3000, 3000) if is_clustering else (1000, 1000)
  for section in (config.encoder, config.decoder, config.discriminator):
    assert section.hidden == sizes
    assert section.initializer == 'normal'
    assert not section.get('batch_norm') and not section.noise
  assert config.encoder.input_noise == (0.0 if is_clustering else 0.3)
  assert config.encoder.input_dropout == (0.2 if is_clustering else 0.0)
  expected = {
    'reconstruction': (0.01, 0.9),
    'discriminator': (0.1, 0.1),
    'generator': (0.1, 0.1),
    'classification': (0.1, 0.9),
    'separation': (0.01, 0.9),
  }
  found = rates(config)
  assert found == {phase: expected[phase] for phase in found}
  assert set(found) == set(make_config(name).optimizer)
  assert {options.name for options in config.optimizer.values()} == {'sgd'}
  assert config.weights.generator.y_weight is None
  assert config.prior.std is None
  assert not config.discriminator_z.sees_label
  cuts = (50,) if is_clustering else (50, 1000)
  schedule = config.schedule
  assert (schedule.name, schedule.factor) == ('steps', 0.1)
  assert tuple(schedule.epochs) == cuts
  assert config.epochs == (1500 if is_clustering else 5000)
  assert (config.batch_size, config.ema_decay) == (100, 0.0)


COMPARED = (
  'adgm',
  'catgan',
  'ladder',
  'm1_m2',
  'm1_tsvm',
  'm2',
  'm2_supervised',
  'mnist_classifier',
  'sdgm',
  'vat',
)
"""Methods with recipes of their own."""

NOISY = {
  'classifier',
  'clustering',
  'dimensionality_reduction',
  'dimensionality_reduction_clustering',
  'semi_supervised',
}


@pytest.mark.parametrize('name', sorted(TUNED))
def test_recipes_that_numbers_were_measured_with(name):
  """What drifts in a shared recipe moves every number of the README."""
  data, system = name.split('_', 1)
  config = make_config(name)
  if name.endswith(COMPARED) or name == 'mnist_semi_supervised':
    return
  for phase, options in config.optimizer.items():
    is_adversary = phase in ('discriminator', 'generator')
    assert options.name == 'adam'
    assert options.b1 == (0.5 if is_adversary else None)
  if data == 'svhn':
    return
  is_noisy = system in NOISY
  assert config.ema_decay == (0.999 if is_noisy else 0.0)
  if is_noisy:
    encoder = config.encoder
    assert encoder.batch_norm
    assert (encoder.input_noise, encoder.noise) == (0.3, 0.3)
  if is_noisy and system != 'classifier':
    assert config.weights.generator.y_weight == 3.0
  if 'clustering' in system:
    assert config.discriminator.noise == 0.5
    assert config.optimizer.discriminator.learning_rate == 5e-4
  elif system in NOISY - {'classifier'} or system in (
    'aae',
    'label_regularized',
  ):
    assert config.optimizer.discriminator.learning_rate == 1e-4
  assert config.batch_size == (200 if data == 'mnist' else 100)


def test_recipe_of_the_semi_supervised_aae_on_mnist():
  config = make_config('mnist_semi_supervised')
  for phase in ('discriminator', 'generator'):
    options = config.optimizer[phase]
    assert (options.name, options.learning_rate) == ('adam', 1e-3)
    assert options.b1 == 0.9
  encoder = config.encoder
  assert encoder.batch_norm
  assert (encoder.input_noise, encoder.noise) == (0.3, 0.0)
  assert config.weights.generator.y_weight == 1.0
  assert config.prior_y.balanced
  assert (config.batch_size, config.epochs) == (100, 60)
  assert not config.additions


def test_no_other_key_is_neutral():
  """A run may go on with another value of these, and of these alone."""
  assert set(experiments.NEUTRAL_KEYS) == {
    'checkpoint_every_seconds',
    'checkpoints_to_keep',
    'dataset.data_dir',
    'dataset.manual_dir',
    'evaluate_every_epochs',
    'on_divergence',
    'steps_per_call',
  }


def test_neutral_keys_are_keys():
  config = json.loads(recipes.defaults().to_json())
  for key in experiments.NEUTRAL_KEYS:
    section = config
    for part in key.split('.'):
      section = section[part]


def test_configurations_do_not_share_their_parts():
  config = recipes.defaults()
  config.encoder.hidden = (1,)
  config.optimizer.reconstruction.learning_rate = 5.0
  assert config.decoder.hidden != (1,)
  assert recipes.defaults().optimizer.reconstruction.learning_rate != 5.0
