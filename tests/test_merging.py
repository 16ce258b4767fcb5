"""Tests of benchmarks/merging.py."""

import json
import math

import pytest

from aae_jax import errors, metrics
from benchmarks import merging


def write(workdir, seeds, values, sound=None, validation=(), **changes):
  """A finished run of 20 steps and 2 epochs, as train.py leaves it."""
  sound = seeds if sound is None else sound
  are_sound = [seed in sound for seed in seeds]
  results = {
    'metrics': metrics.summarize({'test/error': values}, are_sound),
    'chosen_on': {},
    'last_epoch': {'epoch': 2},
    'step': 20,
    'total_steps': 20,
    'seeds': seeds,
    'sound_seeds': sound,
    'label_draws': len(seeds),
    'dataset': {'name': 'digits', 'train': 1437},
    'parameters': {'encoder': 5},
    'training_seconds': 30.0,
    'trained': [
      {'commit': 'a', 'first_step': 0, 'last_step': 10, 'seconds': 18.0},
      {'commit': 'b', 'first_step': 10, 'last_step': 20, 'seconds': 12.0},
    ],
    'evaluated': {'commit': 'b'},
    'config': {
      'epochs': 2,
      'seed': seeds[0],
      'num_seeds': len(seeds),
      'dataset': {'name': 'digits', 'data_dir': '/home/a', 'manual_dir': '/b'},
    },
    **changes,
  }
  rows = [
    {'epoch': epoch, 'seconds': 14.4 * epoch, 'loss': {'mean': 1.0}}
    | metrics.summarize(found, are_sound)
    for epoch, found in enumerate(validation, 1)
  ]
  workdir.mkdir()
  metrics.write_json(workdir / 'results.json', results)
  (workdir / 'metrics.jsonl').write_text(
    ''.join(f'{json.dumps(row)}\n' for row in rows)
  )
  return merging.read(workdir)


@pytest.fixture
def three(tmp_path):
  """Seed 2 alone, then seeds 0 and 1 of one run."""
  return [
    write(tmp_path / 'b', [2], [6.0]),
    write(tmp_path / 'a', [0, 1], [3.0, 4.5]),
  ]


def test_rows_say_nothing_of_the_folders_of_a_machine(three):
  for run in (*three, merging.merge(three)):
    assert run['config']['dataset'] == {'name': 'digits'}


def test_seeds_are_in_order_and_summarized_together(three):
  merged = merging.merge(three)
  assert merged['seeds'] == merged['sound_seeds'] == [0, 1, 2]
  assert merged['metrics'] == {
    'test/error': {'mean': 4.5, 'std': 1.5, 'per_seed': [3.0, 4.5, 6.0]}
  }
  assert merged['label_draws'] == 3
  assert merged['config'] == {
    'epochs': 2,
    'seed': 0,
    'num_seeds': 3,
    'dataset': {'name': 'digits'},
  }
  assert (merged['step'], merged['total_steps']) == (20, 20)
  assert 'last_epoch' not in merged


def test_time_is_told_by_seed_and_in_sum(three):
  merged = merging.merge(three)
  assert merged['seconds_per_seed'] == [15.0, 15.0, 30.0]
  assert merged['training_seconds'] == 60.0


def test_processes_say_of_which_seeds_they_are(three):
  merged = merging.merge(three)
  told = [(part['seeds'], part['commit']) for part in merged['trained']]
  assert told == [([0, 1], 'a'), ([0, 1], 'b'), ([2], 'a'), ([2], 'b')]
  assert merged['evaluated'] == [
    {'seeds': [0, 1], 'commit': 'b'},
    {'seeds': [2], 'commit': 'b'},
  ]


def test_merging_at_once_is_merging_one_by_one(three, tmp_path):
  three += [write(tmp_path / 'c', [3], [1.0])]
  expected = merging.merge(three)
  some = json.loads(json.dumps(merging.merge(three[:2])))
  assert merging.merge([some, three[2]]) == expected
  assert merging.merge([expected]) == expected


def test_one_seed_has_no_spread(tmp_path):
  merged = merging.merge([write(tmp_path / 'a', [0], [3.0])])
  assert merged['metrics']['test/error'] == {
    'mean': 3.0,
    'std': None,
    'per_seed': [3.0],
  }


def test_seed_that_diverged_has_no_value(tmp_path):
  runs = [
    write(tmp_path / 'a', [0, 1], [3.0, math.nan], sound=[0]),
    write(tmp_path / 'b', [2], [5.0]),
  ]
  merged = merging.merge(runs)
  summary = merged['metrics']['test/error']
  assert merged['sound_seeds'] == [0, 2]
  assert (summary['mean'], summary['std']) == (4.0, math.sqrt(2))
  assert math.isnan(summary['per_seed'][1])


@pytest.mark.parametrize('kind', ['classification', 'clustering'])
def test_curve_has_epochs_seconds_and_errors(tmp_path, kind):
  name = f'validation/{kind}_error'
  runs = [
    write(
      tmp_path / 'a',
      [0, 1],
      [3.0, 4.0],
      validation=[{}, {name: [9.0, 8.0], 'validation/elbo': [0.0, 0.0]}],
    ),
    write(tmp_path / 'b', [2], [5.0], validation=[{name: [7.0]}]),
    write(tmp_path / 'c', [3], [5.0], validation=[{}]),
  ]
  assert merging.merge(runs)['curve'] == [
    [[2, 14.4, 9.0]],
    [[2, 14.4, 8.0]],
    [[1, 14.4, 7.0]],
    [],
  ]


@pytest.mark.parametrize(
  'changes, message',
  [
    (
      {'dataset': {'name': 'digits', 'train': 1437, 'test': 3}},
      "dataset is {'name': 'digits', 'train': 1437, 'test': 3} of the seeds 2, "
      "and {'name': 'digits', 'train': 1437} of 0, 1; expected runs of one row",
    ),
    ({'total_steps': 30}, 'total_steps is 30 of the seeds 2, and 20 of 0, 1'),
  ],
)
def test_runs_of_other_data_are_refused(tmp_path, changes, message):
  runs = [
    write(tmp_path / 'a', [0, 1], [3.0, 4.0]),
    write(tmp_path / 'b', [2], [5.0], **changes),
  ]
  with pytest.raises(errors.InputError) as raised:
    merging.merge(runs)
  assert str(raised.value).startswith(message)
