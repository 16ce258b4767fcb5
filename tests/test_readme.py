"""The README's examples run as they stand."""

import json
import pathlib
import re
import sys

import numpy as np
import pytest

from aae_jax import training
from benchmarks import table
from configs import digits_autoencoder, digits_semi_supervised

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text()
EXAMPLES = re.findall(r'```python\n(.*?)```', README, re.DOTALL)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Where the README's reader works, with the demo trained for an epoch."""
  folder = tmp_path_factory.mktemp('reader')
  config = digits_semi_supervised.get_config()
  config.epochs, config.num_seeds = 1, 2
  config.batch_size = config.labelled_batch_size = 100
  for network in (config.encoder, config.decoder, config.discriminator):
    network.hidden = (8, 8)
  training.train_and_evaluate(config, folder / 'runs/digits_semi_supervised')
  return folder


@pytest.fixture(scope='module')
def names(folder):
  """What the first two examples define, run one after the other."""
  names = {}
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(folder)
    for example in EXAMPLES[:2]:
      exec(example, names)
  return names


def test_own_images_are_written_as_the_readme_says(names, folder):
  del names
  with np.load(folder / 'images.npz') as arrays:
    assert arrays['image'].shape == (1797, 8, 8)
    assert 0.5 < arrays['image'].max() <= 1


def test_trained_model_does_what_the_readme_says(names):
  assert names['code']['y'].shape == (5, 10)
  assert names['code']['z'].shape == (5, 10)
  assert names['again'].shape == (5, 8, 8, 1)
  assert names['new'].shape == (16, 8, 8, 1)


def test_own_system_trains_on_own_images(names, folder, monkeypatch):
  del names
  (folder / 'my_system.py').write_text(EXAMPLES[2])
  monkeypatch.chdir(folder)
  monkeypatch.syspath_prepend(str(folder))
  config = digits_autoencoder.get_config()
  config.system = 'my_system:moment_matching'
  config.dataset.name = './images.npz'
  config.epochs = 1
  config.encoder.hidden = config.decoder.hidden = (8, 8)
  training.train_and_evaluate(config, folder / 'runs/own')
  rows = (folder / 'runs/own/metrics.jsonl').read_text().splitlines()
  assert 'matching/loss' in json.loads(rows[-1])
  del sys.modules['my_system']


def test_the_loop_in_python(names, folder, monkeypatch, capsys):
  del names
  monkeypatch.chdir(folder)
  exec(EXAMPLES[3], {})
  *steps, shape = capsys.readouterr().out.splitlines()
  assert [line.split()[0] for line in steps] == ['17', '34', '51']
  assert shape == '(1, 1797, 2)'


def test_estimator_learns_from_few_labels(folder, monkeypatch, capsys):
  monkeypatch.chdir(folder)
  (example,) = [e for e in EXAMPLES if 'AAEClassifier' in e]
  # Its own settings take half a minute.
  small = 'AAEClassifier(hidden_sizes=(32,), epochs=2, consistency=0, '
  names = {}
  exec(example.replace('AAEClassifier(', small), names)
  assert 0 <= float(capsys.readouterr().out) <= 1
  assert names['new'].shape == (10, 8, 8)
  assert (folder / 'classifier.pkl').exists()


def test_own_system_is_as_short_as_promised():
  body = EXAMPLES[2].split('def moment_matching')[1].strip().splitlines()
  assert len([line for line in body if line]) <= 15


METRICS = {
  # Longer names first, which begin as others do.
  '`AAEClassifier`, digits': 'digits/aae_classifier/classification_error',
  'LabelSpreading, digits': 'digits/label_spreading/classification_error',
  '`AAEClassifier`, wine': 'wine/aae_classifier/classification_error',
  'LabelSpreading, wine': 'wine/label_spreading/classification_error',
  '`AAEClassifier`, cancer': (
    'breast_cancer/aae_classifier/classification_error'
  ),
  'LabelSpreading, cancer': (
    'breast_cancer/label_spreading/classification_error'
  ),
  '`AAEClusterer`, digits': 'digits/aae_clusterer/clustering_error',
  'k-means, digits': 'digits/k_means/clustering_error',
  'LabelSpreading': 'label_spreading_rbf/classification_error',
  'classification error': 'classification_error',
  'clustering error': 'clustering_error',
  'energy distance': 'energy_distance',
  'Parzen log-likelihood': 'parzen_log_likelihood',
  'Gaussian fitted to codes': 'parzen_log_likelihood_fitted_gaussian',
  'region of their label': 'region_share',
  'linear probe': 'linear_probe_error',
  'MLP probe': 'mlp_probe_error',
  'reconstruction error': 'reconstruction_error',
}
"""What the README calls a number; the last of these before it counts."""

NUMBER = re.compile(
  r'\[([\d.]+)(?: ± ([\d.]+))?\]\(benchmarks/results/(\w+\.json)\) \((\d+)\)'
)


METHODS = README.index('| method |')
"""Where the table of methods begins, whose title says what its numbers are."""


def test_numbers_are_those_of_the_results():
  matches = list(NUMBER.finditer(README))
  assert len(matches) == README.count('](benchmarks/results/') > 10
  for match in matches:
    mean, std, file, num_runs = match.groups()
    before = README[: match.start()]
    kind = max(METRICS, key=before.rfind)
    if METHODS < match.start() < README.index(table.END):
      kind = 'classification error'
    else:
      assert before.count('\n', before.rfind(kind)) < 2, f'what is {mean}?'
    results = json.loads((ROOT / 'benchmarks/results' / file).read_text())
    found = results['metrics'][f'test/{METRICS[kind]}']
    digits = len(mean.partition('.')[2])
    assert mean == f'{found["mean"]:.{digits}f}'
    assert (std is None) == (len(found['per_seed']) == 1)
    assert std is None or std == f'{found["std"]:.{digits}f}'
    assert int(num_runs) == len(found['per_seed'])
    # Baselines take no steps.
    assert results.get('step') == results.get('total_steps')


def test_first_table_is_what_its_program_makes():
  assert table.written(README, table.block(table.read())) == README
  first = README.index('\n| ')
  assert README.index(table.BEGIN) < first < README.index(table.END)


def test_pictures_are_there():
  pictures = re.findall(r'(?:\]\(|src=")(docs/\w+\.png)', README)
  assert len(pictures) > 5
  assert {ROOT / picture for picture in pictures} == {
    *(ROOT / 'docs').glob('*.png')
  }


def test_pages_are_there():
  pages = re.findall(r'\]\((docs/\w+\.(?:html|md))\)', README)
  assert pages[0] == 'docs/explorer.html'
  assert all((ROOT / page).exists() for page in pages)


def test_every_configuration_that_is_named_exists():
  named = re.findall(r'`((?:configs/)?\w+\.py)(?::\w+)?`', README)
  named += re.findall(r'--config=(configs/\w+\.py)', README)
  files = {path.name for path in (ROOT / 'configs').iterdir()}
  known = files | {'train_step.py', 'recipes.py'}
  assert {pathlib.Path(name).name for name in named} <= known
