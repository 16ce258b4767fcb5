"""Tests of benchmarks/compare_codes.py."""

import json
import shutil
import sys

import numpy as np
from PIL import Image
import pytest

import aae_jax
from aae_jax import errors, figures, measures, recipes, training
from benchmarks import compare_codes
from configs import digits_aae, digits_autoencoder, digits_gan

pytestmark = pytest.mark.whole


def train(config, workdir, **changes):
  """A run of one epoch of a tiny system, without figures of its own."""
  config.epochs = 1
  for network in (config.encoder, config.decoder):
    if network.hidden != recipes.defaults().encoder.hidden:
      network.hidden = (8, 8)
  config.update(changes)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(measures, 'NUM_SAMPLES', 100)
    patch.setattr(figures, 'write_figures', lambda *arguments: [])
    training.train_and_evaluate(config, workdir)
  return workdir


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('runs')


@pytest.fixture(scope='module')
def aae(folder):
  return train(digits_aae.get_config(), folder / 'aae', num_seeds=2)


@pytest.fixture(scope='module')
def autoencoder(folder):
  return train(digits_autoencoder.get_config(), folder / 'autoencoder')


def without(workdir, name, tmp_path):
  """A copy of a workdir that lacks a file or a folder."""
  copied = tmp_path / workdir.name
  shutil.copytree(workdir, copied, ignore=shutil.ignore_patterns(name))
  return copied


def call(monkeypatch, *arguments):
  monkeypatch.setattr(sys, 'argv', ['compare_codes.py', *map(str, arguments)])
  compare_codes.main()


def test_panels_are_the_codes_of_the_test_images(aae, autoencoder):
  figure = compare_codes.compare([aae, autoencoder, aae], num_columns=2)
  first, second, third = figure.axes
  assert first.get_title() == third.get_title() == 'AAE, Gaussian'
  assert second.get_title() == 'autoencoder'
  dataset = aae_jax.datasets.load(
    'digits', data_dir=recipes.defaults().dataset.data_dir
  )
  code = aae_jax.load(aae).encode(dataset.test.image)['z']
  np.testing.assert_allclose(
    first.collections[0].get_offsets(), code, rtol=1e-4, atol=1e-5
  )
  legend = [text.get_text() for text in second.get_legend().get_texts()]
  assert legend == [str(label) for label in range(10)]
  assert figure.texts[1].get_text().startswith('360 test images of digits;')


def test_number_is_that_of_the_seed_that_is_drawn(aae, autoencoder):
  figure = compare_codes.compare([aae, autoencoder], num_columns=2)
  notes = [axes.texts[-1].get_text() for axes in figure.axes]
  results = json.loads((aae / 'results.json').read_text())
  distance, other = results['metrics']['test/energy_distance']['per_seed']
  assert f'{distance:.4f}' != f'{other:.4f}'
  assert notes == [f'energy distance {distance:.4f}', 'no prior']


def test_first_sound_seed_is_drawn():
  results = {
    'seeds': [4, 5],
    'sound_seeds': [5],
    'metrics': {'test/energy_distance': {'per_seed': [None, 0.25]}},
  }
  assert compare_codes._seed(results) == 5
  assert compare_codes._measured(results) == 'energy distance 0.2500'


def test_picture_is_written(aae, tmp_path, monkeypatch):
  path = tmp_path / 'new' / 'codes.png'
  call(monkeypatch, aae, aae, '--columns=1', f'--output={path}')
  with Image.open(path) as picture:
    assert picture.height > 1.5 * picture.width


@pytest.mark.parametrize(
  ('missing', 'message'),
  [
    ('results.json', 'has no results.json; expected the workdir of a '),
    ('checkpoints', 'holds no checkpoint yet; expected the workdir of a '),
  ],
)
def test_run_that_is_not_finished(missing, message, aae, tmp_path):
  workdir = without(aae, missing, tmp_path)
  with pytest.raises(errors.InputError, match=f'^{workdir} {message}'):
    compare_codes.compare([workdir], num_columns=1)


@pytest.mark.parametrize(
  ('get_config', 'found'),
  [
    (digits_aae.get_config, '3-D codes'),
    (digits_gan.get_config, 'no codes of images'),
  ],
)
def test_codes_that_cannot_be_drawn(get_config, found, tmp_path):
  workdir = train(get_config(), tmp_path, latent_size=3)
  with pytest.raises(
    errors.InputError, match=f'^{workdir} has {found}; expected 2-D codes.$'
  ):
    compare_codes.compare([workdir], num_columns=1)


def test_errors_are_one_line(tmp_path, monkeypatch):
  with pytest.raises(SystemExit) as stopped:
    call(monkeypatch, tmp_path, f'--output={tmp_path / "codes.png"}')
  message = str(stopped.value)
  start = f'python -m benchmarks.compare_codes: {tmp_path} has no results'
  assert message.startswith(start)
  assert '\n' not in message


def test_columns_below_one(tmp_path):
  with pytest.raises(errors.InputError, match='columns is 0; expected at lea'):
    compare_codes.compare([tmp_path], num_columns=0)
