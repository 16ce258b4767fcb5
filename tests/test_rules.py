"""Tests of aae_jax.rules, and of the recipes that leave keys to the data."""

import json
import pathlib
import runpy
from unittest import mock

import ml_collections
import numpy as np
import pytest

from aae_jax import (
  datasets,
  errors,
  experiments,
  program,
  recipes,
  rules,
  trained,
  training,
)
from aae_jax.datasets import Dataset, Schema, Split
from aae_jax.runs import Run

FOLDER = pathlib.Path(__file__).parent.parent / 'configs'
NAMES = ('clustering', 'map', 'semi_supervised', 'style')
MNIST = Schema('mnist', (28, 28, 1), 10, 60_000, num_labelled=60_000)
DIGITS = Schema('digits', (8, 8, 1), 10, 1437, num_labelled=1437)
PHOTOS = Schema('./photos', (32, 32, 3), 5, 2450, num_labelled=100)


def make_config(name, *variant):
  config = runpy.run_path(str(FOLDER / f'{name}.py'))['get_config'](*variant)
  # As the command line and a workdir have it.
  return ml_collections.ConfigDict(config)


def completed(name, schema, **changes):
  config = make_config(name)
  config.update_from_flattened_dict(changes)
  rules.complete(config, schema)
  return config


@pytest.mark.parametrize(
  'schema, name, tuned',
  [
    (MNIST, 'semi_supervised', ('mnist_semi_supervised', 'any')),
    (DIGITS, 'semi_supervised', ('digits_semi_supervised',)),
    (MNIST, 'clustering', ('mnist_clustering', 'any')),
    (MNIST, 'style', ('mnist_supervised',)),
    (MNIST, 'map', ('mnist_dimensionality_reduction', 'any')),
  ],
)
def test_rules_come_near_to_tuned_recipes(schema, name, tuned):
  """What was found best for two data sets is what the rules are made of."""
  found = completed(name, schema, num_labels=100 if name != 'style' else -1)
  best = make_config(*tuned)
  for network in ('encoder', 'decoder', 'discriminator'):
    assert tuple(found[network].hidden) == tuple(best[network].hidden)
    assert found[network].noise == best[network].noise
    assert found[network].network == 'perceptron'
  assert not found.encoder.standardize and not found.decoder.batch_norm
  for key in ('batch_size', 'labelled_batch_size', 'num_clusters'):
    assert found[key] == best[key], key
  assert found.epochs == (30 if name == 'style' else best.epochs)
  np.testing.assert_allclose(
    found.encoder.augmentation.shift, best.encoder.augmentation.shift, rtol=0.15
  )
  if best.additions:
    assert found.additions == best.additions
    assert found.consistency.radius == best.consistency.radius
    share = best.consistency.begin / best.epochs
    assert abs(found.consistency.begin / found.epochs - share) < 0.06


@pytest.mark.parametrize(
  'shape, channels, decoder',
  [
    ((32, 32, 3), (16, 32, 64), 'perceptron'),
    ((8, 8, 3), (16,), 'perceptron'),
    ((64, 48, 1), (16, 32, 64, 128), 'perceptron'),
    ((128, 128, 3), (16, 32, 64, 128, 256), 'convolutional'),
  ],
  ids=str,
)
def test_photographs_are_seen_by_convolutions(shape, channels, decoder):
  schema = PHOTOS._replace(image_shape=shape)
  config = completed('semi_supervised', schema)
  assert config.encoder.network == 'convolutional'
  assert config.encoder.channels == channels and config.encoder.standardize
  assert config.decoder.network == decoder
  assert config.decoder.batch_norm == (decoder == 'convolutional')
  experiments.build_spec(config, schema)


def test_sizes_follow_from_how_many_images_and_labels_there_are():
  found = [
    completed(
      'semi_supervised',
      PHOTOS._replace(num_train=num_train, num_labelled=num_labelled),
    )
    for num_train, num_labelled in ((40, 40), (2450, 30), (200_000, 200_000))
  ]
  assert [config.batch_size for config in found] == [40, 100, 200]
  assert [config.labelled_batch_size for config in found] == [40, 100, 200]
  assert [config.epochs for config in found] == [200, 41, 30]


def test_epochs_are_so_many_steps_within_limits():
  assert [rules.num_epochs(n) for n in (1, 15, 60, 1000)] == [200, 200, 50, 30]
  assert rules.num_epochs(1000, least=50) == 50


def test_what_is_given_goes_before():
  given = {'epochs': 7, 'encoder.hidden': (5,), 'consistency.radius': 0.5}
  config = completed('semi_supervised', PHOTOS, **given)
  assert rules.chosen(config).items() >= given.items()
  # What others follow from is what was given.
  assert config.consistency.begin == 0.5 * 7


def test_a_batch_that_is_too_large_is_told(tmp_path):
  config = make_config('semi_supervised')
  config.batch_size = 5000
  config.dataset.data_dir = str(tmp_path)
  with pytest.raises(errors.InputError, match='^batch_size is 5000; expected'):
    experiments.build(config)


@pytest.mark.parametrize('name', NAMES)
def test_no_key_is_left_open(name):
  for schema in (MNIST, PHOTOS):
    config = completed(name, schema)
    still = {k for k, value in rules.chosen(config).items() if value is None}
    is_plain = config.encoder.network == 'perceptron'
    expected = {'decoder.channels'} | (
      {'encoder.channels'} if is_plain else set()
    )
    assert still == expected
    again = ml_collections.ConfigDict(config)
    rules.complete(again, DIGITS)
    # What is complete stays as it is, whatever the data.
    assert again.to_json() == config.to_json()


def test_what_is_not_left_to_the_data_stays():
  config = recipes.defaults()
  rules.complete(config, PHOTOS)
  assert config.to_json() == recipes.defaults().to_json()


def test_a_workdir_has_plain_values_and_the_same_command_goes_on(tmp_path):
  config = completed('semi_supervised', PHOTOS)
  Run(tmp_path).begin(json.loads(config.to_json()), PHOTOS)
  assert Run(tmp_path).config['epochs'] == 41
  again = make_config('semi_supervised')
  training.check_config(again, Run(tmp_path))
  assert again.to_json() == config.to_json()
  of_workdir = program.completed(Run(tmp_path).config)
  training.check_config(of_workdir, Run(tmp_path))
  other = make_config('semi_supervised')
  other.epochs = 3
  with pytest.raises(errors.InputError, match='epochs is 3, in the workdir 41'):
    training.check_config(other, Run(tmp_path))


def make_unequal():
  """300 images of a bright bar in one of three places; 4 of each labelled."""
  generator = np.random.default_rng(0)
  label = np.repeat(np.arange(3, dtype=np.int32), (210, 60, 30))
  image = generator.uniform(0, 0.4, (300, 8, 8, 1)).astype(np.float32)
  for row, place in zip(image, label, strict=True):
    row[2 * place + 1] += 0.6
  known = np.full(300, -1, np.int32)
  for place in range(3):
    known[np.flatnonzero(label == place)[:4]] = place
  none = Split(image[:0], known[:0])
  return Dataset('bars', Split(image, known), none, none, 3), label


def test_classes_of_unequal_size_with_as_many_labels_of_each():
  dataset, label = make_unequal()
  config = make_config('semi_supervised')
  config.encoder.hidden = config.decoder.hidden = (32,)
  config.discriminator.hidden = (8,)
  config.epochs = 60
  with mock.patch.object(datasets, 'load', return_value=dataset):
    built = experiments.build(config)
  *_, (state, _) = training.steps(built, built.init())
  model = built.trained(trained.averaged(state))
  y = model.run(built.system.model.classify, trained.rows(dataset.train))
  assert np.mean(y[0].argmax(axis=1) != label) < 0.005
