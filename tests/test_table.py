"""Tests of benchmarks/table.py and of what benchmarks/rows.py says."""

import json
import re

import numpy as np
import pytest

from aae_jax import errors
from benchmarks import reproduce, table
from benchmarks.rows import METHODS, ROWS, Line, Method, Row

CPU = {'devices': 1, 'kind': 'cpu', 'platform': 'cpu', 'cpus': 2}
GPU = {'devices': 1, 'kind': 'NVIDIA X', 'platform': 'gpu', 'cpus': 16}
ERROR = Line('things: error', 'classification_error', '1.9', '1.7')
DISTANCE = Line('things: distance', 'energy_distance')


def results(mean, std=None, draws=1, seconds=60.0, hardware=CPU, **changes):
  summary = {'mean': mean, 'std': std, 'per_seed': [mean] * draws}
  return {
    'metrics': {
      'test/classification_error': summary,
      'test/energy_distance': summary,
    },
    'seeds': list(range(draws)),
    'training_seconds': seconds * draws,
    'trained': [{'hardware': hardware}],
    'config': {'epochs': 50},
    **changes,
  }


@pytest.fixture
def rows(monkeypatch):
  """A table of a row of two lines and a row of one."""
  found = {
    'a': Row('digits_aae', lines=[ERROR, DISTANCE]),
    'b': Row('digits_aae', lines=[ERROR]),
    'a_any': Row('digits_aae', {'additions': ('consistency',)}),
    'c': Row('digits_aae'),
  }
  monkeypatch.setattr(table, 'ROWS', found)
  monkeypatch.setattr(table, 'METHODS', ())
  return found


def lines_of(found):
  """The cells of the lines of the table."""
  lines = table.block(found).splitlines()
  rows = [line for line in lines if line.startswith('| ')][2:]
  return [row.strip('| ').split(' | ') for row in rows]


def test_every_line_has_the_numbers_of_its_row(rows):
  found = {
    'a': results(4.823, 0.231, 3, 1430.0),
    'b': results(21.0),
    'a_any': results(
      1.5,
      0.25,
      10,
      90.0,
      config={
        'epochs': 20,
        'additions': ['consistency'],
        'encoder': {'augmentation': {'shift': 2.0, 'turn': 15.0}},
        'prior_y': {'balanced': True},
      },
    ),
  }
  assert lines_of(found) == [
    [
      'things: error, %',
      '1.9',
      '1.7',
      '[4.82 ± 0.23](benchmarks/results/a.json) (3); 50 epochs, 24 min',
      '[1.50 ± 0.25](benchmarks/results/a_any.json) (10); 20 epochs, 1.5 min; '
      'with consistency, augmentation, prior_y.balanced=True',
    ],
    [
      'things: distance',
      '-',
      '-',
      '[4.8230 ± 0.2310](benchmarks/results/a.json) (3); 50 epochs, 24 min',
      '[1.5000 ± 0.2500](benchmarks/results/a_any.json) (10); 20 epochs, '
      '1.5 min; with consistency, augmentation, prior_y.balanced=True',
    ],
    [
      'things: error, %',
      '1.9',
      '1.7',
      '[21.00](benchmarks/results/b.json) (1); 50 epochs, 1.0 min',
      '-',
    ],
  ]


def test_row_without_a_file_is_not_measured_yet(rows):
  cells = [line[3:] for line in lines_of({'b': results(21.0)})]
  assert cells[0] == cells[1] == ['not measured yet', 'not measured yet']
  assert cells[2][1] == '-'
  assert 'Minutes' not in table.block({})


def test_hardware_is_said_once(rows):
  found = {
    'a': results(4.0),
    'a_any': results(2.0, hardware=GPU),
    'b': results(3.0, trained=[{'hardware': CPU}, {'hardware': CPU}]),
  }
  block = table.block(found)
  assert block.count('CPU cores unless said') == 1
  assert 'of a draw, on 2 CPU cores unless said.' in block
  assert block.count('1.0 min on 1 × NVIDIA X, 16 CPU cores; with') == 2
  older = results(4.0, hardware=GPU)
  del older['trained']
  block = table.block({'b': older | {'hardware': GPU}})
  assert 'on 1 × NVIDIA X, 16 CPU cores unless said.' in block


def test_methods_have_the_numbers_of_their_rows(rows, monkeypatch):
  methods = (Method('One', 'c', '2.33'), Method('Other', 'd', '-'))
  monkeypatch.setattr(table, 'METHODS', methods)
  rows['d'] = Row('digits_aae')
  metrics = {'test/classification_error': {'mean': 1.25, 'std': 0.5}}
  found = {'c': results(4.0, draws=3, metrics=metrics)}
  assert lines_of(found)[-2:] == [
    [
      'One',
      '2.33',
      '[1.25 ± 0.50](benchmarks/results/c.json) (3); 50 epochs, 1.0 min',
    ],
    ['Other', '-', 'not measured yet'],
  ]


def test_draws_that_diverged_are_told(rows):
  found = {'b': results(4.0, 1.0, draws=3, sound_seeds=[0, 2])}
  assert '(3); 1 diverged; 50 epochs' in table.block(found)
  found = {'b': results(4.0, 1.0, draws=3, sound_seeds=[0, 1, 2])}
  assert 'diverged' not in table.block(found)


def test_parts_are_additions_and_options():
  changed = Row(
    'mnist_semi_supervised',
    {
      'discriminator_z.sees_label': True,
      'prior_y.balanced': True,
      'encoder.network': 'convolutional',
      'latent_size': 7,
    },
  )
  assert table.parts_of(reproduce.config_of(changed, [0])) == [
    'prior_y.balanced=True',
    'encoder.network=convolutional',
    'discriminator_z.sees_label=True',
  ]
  config = {'additions': ['consistency', 'marginal_entropy']}
  assert table.parts_of(config) == config['additions']


@pytest.mark.parametrize('name', [name for name in ROWS if ROWS[name].lines])
def test_pure_recipes_are_pure(name):
  """Sampling is free, and SVHN's networks are convolutional in the paper."""
  parts = table.parts_of(reproduce.config_of(ROWS[name], [0]))
  assert all(
    part.startswith('prior_y.')
    or (name.startswith('svhn') and part.endswith('network=convolutional'))
    for part in parts
  )


def test_every_other_recipe_stands_beside_a_pure_one():
  for name, row in ROWS.items():
    pure = name.removesuffix('_any')
    if name != pure:
      is_method = pure in {method.row for method in METHODS}
      assert (ROWS[pure].lines or is_method) and not row.lines
      assert table.parts_of(reproduce.config_of(row, [0]))


CURVES = [
  [[1, 10.0, 20.0], [2, 20.0, 8.0]],
  [[1, 12.0, 30.0], [2, 22.0, 6.0]],
  [[1, 14.0, 40.0], [2, 24.0, None]],
]


def test_picture_is_of_means_and_ranges(rows):
  found = {
    'a': results(4.0, curve=CURVES),
    'a_any': results(4.0, curve=[[[5, 50.0, 3.0]]]),
    'b': results(3.0, curve=[[]]),
  }
  figure = table.draw(found)
  by_epoch, by_seconds = figure.axes
  for axes, column in ((by_epoch, [1, 2]), (by_seconds, [12.0, 21.0])):
    line, other = axes.get_lines()
    np.testing.assert_allclose(line.get_xdata(), column)
    np.testing.assert_allclose(line.get_ydata(), [30.0, 7.0])
    assert (line.get_label(), other.get_label()) == ('a', 'a_any')
    band = axes.collections[0].get_paths()[0].vertices
    assert {(column[0], 20.0), (column[1], 8.0)} <= set(map(tuple, band))
  assert figure.legends[0].get_texts()[0].get_text() == 'a'


@pytest.fixture
def root(rows, monkeypatch, tmp_path):
  """A repository with a result and a picture of before."""
  monkeypatch.setattr(table, 'ROOT', tmp_path)
  (tmp_path / 'docs').mkdir()
  (tmp_path / table.PICTURE).touch()
  (tmp_path / table.RESULTS).mkdir(parents=True)
  path = tmp_path / table.RESULTS / 'b.json'
  path.write_text(json.dumps(results(3.0, curve=CURVES)))
  readme = f'before\n\n{table.BEGIN}\nold\n{table.END}\n\nafter\n'
  (tmp_path / 'README.md').write_text(readme)
  return tmp_path


def test_readme_is_written_between_the_marks(root, capsys):
  table.main()
  readme = (root / 'README.md').read_text()
  block = table.block(table.read())
  assert readme == f'before\n\n{block}\n\nafter\n'
  assert capsys.readouterr().out == f'{block}\n'
  assert '[3.00](benchmarks/results/b.json)' in readme
  table.main()
  assert (root / 'README.md').read_text() == readme


def test_picture_is_there_if_there_are_curves(root):
  table.main()
  assert f']({table.PICTURE})' in (root / 'README.md').read_text()
  assert (root / table.PICTURE).read_bytes().startswith(b'\x89PNG')
  path = root / table.RESULTS / 'b.json'
  path.write_text(json.dumps(results(3.0)))
  table.main()
  assert table.PICTURE not in (root / 'README.md').read_text()
  assert not (root / table.PICTURE).exists()


def test_readme_without_marks_is_left_alone(root):
  (root / 'README.md').write_text('before')
  with pytest.raises(errors.InputError, match=re.escape(table.BEGIN)):
    table.written('before', 'new')
  with pytest.raises(
    SystemExit, match='^python -m benchmarks.table: README.md has no'
  ):
    table.main()
  assert (root / 'README.md').read_text() == 'before'
