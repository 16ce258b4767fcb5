"""Tests of aae_jax.shipped, and of the models that come with the package."""

import json
import os

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aae_jax
from aae_jax import catalogue, runs, saved_model
from aae_jax.errors import InputError
from tests import tiny

MODELS = catalogue.models()


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """A run that nothing has trained, with a network that only trains others."""
  return make_run(tmp_path_factory.mktemp('shipped') / 'run')


def make_run(folder, change=lambda state: state, **changes):
  config = tiny.make_config(
    'semi_supervised_aae',
    **{**tiny.NOISY, 'ema_decay': 0.9, 'prior_y.balanced': True, **changes},
  )
  config.dataset.data_dir = '/a/folder/of/somebody'
  experiment = tiny.assemble(config)
  run = runs.Run(epath.Path(folder))
  run.begin(json.loads(config.to_json()), experiment.schema)
  with run.checkpoints(1) as checkpoints:
    checkpoints.save(0, change(experiment.init()))
  return run.workdir


def test_a_shipped_model_is_the_model_in_float16(workdir, tmp_path):
  saved_model.ship(workdir, tmp_path / 'model')
  assert sorted(path.name for path in (tmp_path / 'model').iterdir()) == [
    'config.json',
    'model.json',
    'weights.npz',
  ]
  one, other = map(saved_model.load, (workdir, tmp_path / 'model'))
  assert one.functions == other.functions
  image = tiny.DATASET.test.image
  for name in ('classify', 'reconstruct'):
    found, expected = (getattr(m, name)(image) for m in (other, one))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=3e-3)
    assert (found != expected).any()
  np.testing.assert_allclose(one.sample(4), other.sample(4), atol=3e-3)
  run, schema = saved_model.restore(tmp_path / 'model')
  assert schema == tiny.DATASET.schema
  whole, _ = saved_model.restore(workdir)
  for section in ('params', 'batch_stats'):
    for name, network in run.weights[section].items():
      jax.tree.map(
        lambda x, y: np.testing.assert_array_equal(x, np.float16(y)),
        network,
        dict(whole.weights[section][name]),
      )


def test_what_only_trains_others_is_left_out(workdir, tmp_path):
  saved_model.ship(workdir, tmp_path)
  run, _ = saved_model.restore(tmp_path)
  assert run.weights['params'].keys() == {'encoder', 'decoder'}
  with np.load(tmp_path / 'weights.npz', allow_pickle=False) as file:
    assert {file[name].dtype for name in file.files} == {np.dtype('float16')}


def test_a_shipped_model_does_not_say_where_its_data_was(workdir, tmp_path):
  saved_model.ship(workdir, tmp_path)
  assert 'somebody' in (workdir / 'config.json').read_text()
  assert 'somebody' not in (tmp_path / 'config.json').read_text()


def test_what_float16_does_not_hold_is_refused(tmp_path):
  def change(state):
    state.ema['params']['encoder']['y']['bias'] *= 0
    state.ema['params']['encoder']['y']['bias'] += 1e5
    return state

  run = make_run(tmp_path / 'run', change)
  with pytest.raises(InputError) as raised:
    saved_model.ship(run, tmp_path / 'model')
  assert str(raised.value) == (
    'params/encoder/y/bias has values that are no finite float16; expected at '
    'most 65504.'
  )
  assert not (tmp_path / 'model').exists()


def test_of_several_models_none_is_shipped(tmp_path):
  run = make_run(tmp_path / 'run', num_seeds=2)
  with pytest.raises(InputError) as raised:
    saved_model.ship(run, tmp_path / 'model')
  assert str(raised.value) == (
    f'{run} holds 2 models (seed 0, seed 1); expected one, so that the numbers '
    'of the run are those of the model.'
  )
  assert not (tmp_path / 'model').exists()


def test_a_damaged_file_is_named(workdir, tmp_path):
  saved_model.ship(workdir, tmp_path)
  path = tmp_path / 'weights.npz'
  path.write_bytes(path.read_bytes()[:1000])
  with pytest.raises(InputError) as raised:
    saved_model.load(tmp_path)
  assert str(raised.value).startswith(f'{path} cannot be read (')
  assert str(raised.value).endswith('; expected an .npz file of arrays.')


def test_a_model_of_neither_folder_nor_package(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(InputError) as raised:
    aae_jax.load('digits_semisupervised')
  assert str(raised.value) == (
    'there is no folder digits_semisupervised; expected the workdir of a '
    f'run, or a model that comes with the package: {", ".join(MODELS)}.'
  )


def test_a_folder_comes_before_a_model_of_its_name(
  workdir, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  name = next(iter(MODELS))
  assert aae_jax.load(name).image_shape != tiny.IMAGE_SHAPE
  saved_model.ship(workdir, epath.Path(name))
  assert aae_jax.load(name).image_shape == tiny.IMAGE_SHAPE


def test_models_are_small():
  files = [p for folder in MODELS.values() for p in folder.iterdir()]
  assert sum(path.stat().st_size for path in files) < 5e6


def results_of(name):
  return json.loads((MODELS[name] / 'results.json').read_text())


@pytest.mark.parametrize('name', MODELS)
def test_models_load_from_any_folder_and_say_where_they_come_from(
  name, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  model = aae_jax.load(name)
  image = model.sample(2)
  assert image.shape == (2, *model.image_shape)
  assert np.isfinite(model.encode(image)['z']).all()
  results = results_of(name)
  for maker in results['trained']:
    assert len(maker['commit']) == 40
  config = json.loads((MODELS[name] / 'config.json').read_text())
  assert results['config'] == config
  assert results['step'] == results['total_steps']
  card = (MODELS[name] / 'README.md').read_text()
  assert card.startswith('---\nlibrary_name: aae_jax\n')
  assert 'in float16' in card
  told = json.dumps(results) + card
  assert 'workdir=' not in told and 'data_dir=' not in told


@pytest.mark.parametrize('name', MODELS)
def test_float16_changes_next_to_nothing(name):
  results = results_of(name)
  assert results['shipped'].get('changed_classes', 0.0) <= 0.3
  for number, value in results['shipped']['metrics'].items():
    expected = results['metrics'][number]['mean']
    assert value == pytest.approx(expected, abs=0.3, rel=0.01), number


@pytest.mark.parametrize(
  'name',
  [
    'digits_semi_supervised',
    pytest.param(
      'mnist_semi_supervised',
      marks=pytest.mark.skipif(
        'AAE_DATA_DIR' not in os.environ,
        reason='AAE_DATA_DIR, a folder with mnist/',
      ),
    ),
  ],
)
def test_a_model_is_as_good_as_its_card_says(name, tmp_path):
  dataset = aae_jax.datasets.load(name.split('_')[0], data_dir=tmp_path)
  image, label = dataset.test
  assert len(image) < dataset.train.num_images
  found = aae_jax.load(name).classify(image).argmax(axis=-1)
  error = 100 * np.mean(found != label)
  results = results_of(name)
  number = 'test/classification_error'
  assert error == pytest.approx(results['shipped']['metrics'][number])
  assert abs(error - results['metrics'][number]['mean']) <= 0.3
