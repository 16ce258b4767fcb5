"""Tests of the files of results: each is of the configuration that there is."""

import json
import pathlib

from flax import traverse_util
import numpy as np
import pytest

from aae_jax import experiments, recipes, training
from aae_jax.datasets import Dataset, Split
from benchmarks import reproduce
from benchmarks.rows import ROWS

RESULTS = pathlib.Path(__file__).parent.parent / 'benchmarks/results'


def read(name):
  return json.loads((RESULTS / f'{name}.json').read_text())


def commits(results):
  """Of all the processes that trained."""
  if 'trained' in results:
    return {process['commit'] for process in results['trained']}
  return {results['commit']}


def flat(tree):
  """As it comes back from a file: no tuples."""
  tree = json.loads(json.dumps(tree))
  return traverse_util.flatten_dict(tree, sep='.')


@pytest.mark.parametrize('name', ROWS)
def test_config_is_what_the_command_builds_today(name):
  """On the keys that the file has; the others stand at their defaults."""
  if not (RESULTS / f'{name}.json').exists():
    pytest.skip('not measured yet')
  results = read(name)
  seeds = results['seeds']
  assert seeds == list(range(len(seeds)))
  now = flat(reproduce.config_of(ROWS[name], seeds))
  defaults = flat(json.loads(recipes.defaults().to_json()))
  assert training.differences(flat(results['config']), now, defaults) == []


@pytest.mark.parametrize('path', sorted(RESULTS.glob('*.json')), ids=str)
def test_results_are_of_code_that_can_be_found_again(path):
  results = json.loads(path.read_text())
  for commit in commits(results):
    assert len(commit) == 40 and int(commit, 16)
  assert '-dirty' not in path.read_text()


def test_every_file_is_of_a_row_or_of_another_program():
  others = {
    'anomalies',
    'digits_100_baselines',
    'estimators',
    'feed',
    'growth',
    'kill_and_resume',
    'start',
    'step_parts',
    'step_time',
    'time_to_error',
    'tpu_plan',
    'two_processes',
  }
  assert {path.stem for path in RESULTS.glob('*.json')} <= {*ROWS, *others}


def test_rows_of_the_paper_have_its_settings():
  """A standard deviation of 5 in 8-D is what 324 nats were measured with."""
  assert ROWS['parzen'].config == 'mnist_aae'
  assert ROWS['parzen'].overrides == {
    'latent_size': 8,
    'prior.std': 5.0,
    'dataset.num_validation': 5000,
  }
  assert ROWS['mnist_autoencoder_8d'].overrides == {'latent_size': 8}
  for name, row in ROWS.items():
    config = reproduce.config_of(row, range(row.draws))
    if name.startswith(('clustering', '2d_unsupervised', 'parzen', 'gan')):
      assert config['dataset']['num_validation'] == 5000
    else:
      assert config['dataset']['num_validation'] == 0
    is_mixture = name.endswith('gaussian_mixture')
    assert (row.overrides.get('prior.name') == 'gaussian_mixture') == is_mixture


@pytest.mark.parametrize(
  'name, facts',
  [
    ('mnist_100', {'num_labels': 100}),
    ('mnist_1000', {'num_labels': 1000}),
    ('mnist_all', {'num_labels': -1}),
    ('clustering_30', {'num_clusters': 30}),
    ('clustering_16', {'num_clusters': 16}),
    ('2d_100', {'num_labels': 100, 'latent_size': 2}),
    ('2d_1000', {'num_labels': 1000, 'latent_size': 2}),
    ('2d_unsupervised', {'num_clusters': 20, 'latent_size': 2}),
    ('10d_100', {'num_labels': 100, 'latent_size': 10}),
    ('supervised', {'latent_size': 15}),
    ('svhn_part', {'num_labels': 1000}),
    ('svhn_part_classifier', {'num_labels': 1000}),
    ('svhn_part_vat', {'num_labels': 1000}),
  ],
)
def test_row_is_what_its_line_says(name, facts):
  config = reproduce.config_of(ROWS[name], [0])
  assert {key: config[key] for key in facts} == facts


@pytest.mark.parametrize('name', ROWS)
def test_configuration_of_a_row_is_accepted(name):
  config = reproduce.configure(ROWS[name], [0])
  shape = {'digits': (8, 8, 1), 'mnist': (28, 28, 1)}.get(
    config.dataset.name, (32, 32, 3)
  )
  label = np.arange(10, dtype=np.int32)
  images = Split(np.zeros((10, *shape), np.uint8), label)
  dataset = Dataset('', images, images, images, num_classes=10)
  assert experiments.build_spec(config, dataset.schema).epochs == config.epochs


@pytest.mark.parametrize(
  'part, keys',
  [
    ('consistency', {'additions', 'consistency'}),
    ('marginal_entropy', {'additions', 'marginal_entropy'}),
    ('augmentation', {'encoder'}),
    ('autoencoder', {'system', 'decoder', 'discriminator', 'optimizer'}),
  ],
)
def test_ablation_goes_without_its_part_alone(part, keys):
  whole = reproduce.config_of(ROWS['ablation'], range(3))
  without = reproduce.config_of(ROWS[f'ablation_{part}'], range(3))
  assert whole['epochs'] == without['epochs'] == 20
  assert keys <= {key for key in whole if whole[key] != without[key]}
  if part == 'autoencoder':
    assert whole['encoder'] == without['encoder']
    assert whole['consistency'] == without['consistency']
    assert whole['marginal_entropy'] == without['marginal_entropy']
  else:
    assert keys == {key for key in whole if whole[key] != without[key]}


@pytest.mark.parametrize(
  'name, other',
  [
    ('svhn_part', 'svhn_part_classifier'),
    ('svhn_part_any', 'svhn_part_classifier_any'),
    ('svhn_part_vat', 'svhn_part_classifier'),
  ],
)
def test_pair_on_the_part_of_svhn_has_the_same_draws_and_encoder(name, other):
  pair = ROWS[name], ROWS[other]
  assert [row.draws for row in pair] == [5, 5]
  configs = [reproduce.config_of(row, [0]) for row in pair]
  assert configs[0]['encoder'] == configs[1]['encoder']
