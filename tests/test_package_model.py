"""Tests of benchmarks.package_model."""

import json

import numpy as np
import pytest

from aae_jax import datasets, measured, metrics, provenance, saved_model
from aae_jax.errors import InputError
from benchmarks import package_model
from tests import test_shipped, tiny

COMMIT = 40 * 'a'


@pytest.fixture
def workdir(tmp_path, monkeypatch):
  """Of a run that says that it was trained."""
  monkeypatch.setattr(datasets, 'load', lambda **_: tiny.DATASET)
  monkeypatch.setattr(provenance, 'of_process', lambda: made_by('package'))
  folder = test_shipped.make_run(tmp_path / 'run')
  write_results(folder)
  return folder


def made_by(word, commit=COMMIT):
  return {
    'command': [
      'python',
      word,
      '--workdir=/home/of/somebody',
      '--config.dataset.data_dir=/data/of/somebody',
      '--config.num_seeds=1',
    ],
    'commit': commit,
    'versions': {'aae_jax': '0', 'jax': '0', 'python': '3'},
    'hardware': {'devices': 1, 'kind': 'cpu', 'platform': 'cpu', 'cpus': 2},
  }


def write_results(folder, commit=COMMIT, step=20):
  config = json.loads((folder / 'config.json').read_text())
  number = {'mean': 5.0, 'std': None, 'per_seed': [5.0]}
  metrics.write_json(
    folder / 'results.json',
    {
      'metrics': {
        f'test/{name}': number
        for name in ('classification_error', 'reconstruction_error')
      },
      'chosen_on': {},
      'step': step,
      'total_steps': 20,
      'seeds': [0],
      'sound_seeds': [0],
      'label_draws': 1,
      'dataset': {'name': 'random', 'train': 44, 'validation': 0, 'test': 13},
      'parameters': {'encoder': 5},
      'training_seconds': 3.0,
      'trained': [made_by('train.py', commit)],
      'evaluated': made_by('train.py', commit),
      'config': config,
    },
  )


def test_a_model_says_where_it_comes_from_and_what_float16_changes(
  workdir, tmp_path
):
  folder = tmp_path / 'model'
  package_model.package(workdir, folder)
  results = json.loads((folder / 'results.json').read_text())
  assert results['trained'][0]['commit'] == COMMIT
  assert [m['command'] for m in measured.makers(results)] == [
    ['python', 'train.py', '--config.num_seeds=1']
  ]
  for path in folder.iterdir():
    assert b'somebody' not in path.read_bytes()
  told, (image, label) = results['shipped'], tiny.DATASET.test
  one, half = (
    np.asarray(saved_model.load(place).classify(image)).argmax(axis=-1)
    for place in (workdir, folder)
  )
  assert told['metrics']['test/classification_error'] == pytest.approx(
    100 * np.mean(half != label)
  )
  assert told['changed_classes'] == 100 * np.mean(one != half)
  assert 'test/classification_error_raw' not in told['metrics']
  card = (folder / 'README.md').read_text()
  share = f'{told["changed_classes"]:.2f}'
  assert f'float16, which gives\n{share} % of the test images another' in card
  assert 'train.py' in card


def test_the_commit_is_that_of_before_anything_is_written(
  workdir, tmp_path, monkeypatch
):
  folder = tmp_path / 'model'
  files = lambda: 'new' if folder.exists() else 'none'
  told = lambda: made_by('package', commit=files())
  monkeypatch.setattr(provenance, 'of_process', told)
  package_model.package(workdir, folder)
  results = json.loads((folder / 'results.json').read_text())
  assert results['shipped']['made_by']['commit'] == 'none'


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'step': 7}, 'holds no finished run; expected one.'),
    (
      {'commit': f'{COMMIT}-dirty'},
      f'was trained at the commit {COMMIT}-dirty; expected one without '
      'changed files.',
    ),
    (
      {'commit': None},
      'was trained at the commit None; expected one without changed files.',
    ),
  ],
)
def test_what_is_no_model_for_others(changes, message, workdir, tmp_path):
  write_results(workdir, **changes)
  with pytest.raises(InputError) as raised:
    package_model.package(workdir, tmp_path / 'model')
  assert str(raised.value) == f'{workdir} {message}'
  assert not (tmp_path / 'model').exists()
