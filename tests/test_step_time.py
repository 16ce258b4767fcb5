"""Tests of benchmarks.step_time and of its peer."""

import ast
import importlib.util
import math

import jax
import numpy as np
import pytest

from aae_jax import errors, experiments
from benchmarks import limit, step_time, timing
from benchmarks.command_line import ROOT
from configs import digits_semi_supervised

STEP_TIME = """
from absl import flags

flags.DEFINE_integer('steps', 50, '')

def build_experiment():
  return [__file__]

def make_ours(path):
  def steps(num_steps):
    print('of no interest')
    with open('made', 'a') as file:
      print(path, num_steps, file=file)
  return steps
"""


@pytest.mark.parametrize('has_init', [True, False], ids=['package', 'older'])
def test_another_checkout_is_measured_by_its_own_code(
  has_init, tmp_path, monkeypatch
):
  monkeypatch.setenv('PYTHONPATH', str(ROOT))
  folder = tmp_path / 'benchmarks'
  folder.mkdir()
  (folder / 'step_time.py').write_text(STEP_TIME)
  if has_init:
    (folder / '__init__.py').touch()
  before = step_time.Checkout(str(tmp_path))
  before(3)
  before(4)
  before.end()
  path = folder / 'step_time.py'
  assert (tmp_path / 'made').read_text() == f'{path} 3\n{path} 4\n'


def test_checkout_that_ends_is_no_measurement(tmp_path):
  (tmp_path / 'benchmarks').mkdir()
  (tmp_path / 'benchmarks/step_time.py').write_text('input()\nraise SystemExit')
  before = step_time.Checkout(str(tmp_path))
  with pytest.raises(RuntimeError, match='before has ended$'):
    before(1)
  before.end()
  with pytest.raises(
    errors.InputError, match='^before is .*; expected a checkout.$'
  ):
    step_time.Checkout(str(tmp_path / 'no'))


def test_there_is_no_peer_without_pytorch(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  assert timing.missing_peer() == (
    'PyTorch is not installed: pip install -e .[benchmarks]'
  )


def test_only_the_peer_imports_pytorch():
  for path in (ROOT / 'benchmarks').rglob('*.py'):
    names = {
      name.name
      for node in ast.walk(ast.parse(path.read_text()))
      if isinstance(node, ast.Import)
      for name in node.names
    }
    assert ('torch' in names) == (path.parts[-2:] == ('peers', 'pytorch.py'))


def test_peer_trains():
  pytest.importorskip('torch')
  from benchmarks.peers import pytorch

  config = digits_semi_supervised.get_config()
  config.batch_size = config.labelled_batch_size = 100
  for network in (config.encoder, config.decoder, config.discriminator):
    network.hidden = (8, 8)
  peer = pytorch.Peer(config, experiments.build(config))
  before = [x.clone() for x in peer._averages]
  peer(20)
  totals = {name: float(total) for name, total in peer._totals.items()}
  assert 'classification/error' in totals and 'discriminator/loss' in totals
  assert all(map(math.isfinite, totals.values()))
  moved = [
    not np.array_equal(a, b)
    for a, b in zip(before, peer._averages, strict=True)
  ]
  assert all(moved)


def test_all_settings_are_told_apart():
  assert len(step_time.SETTINGS) == 20
  assert next(iter(step_time.SETTINGS)) == 'semi_supervised_aae/400/100/1'
  assert step_time.FIRST == next(iter(step_time.SETTINGS.values()))
  assert 'aae/1000/1000/4' in step_time.SETTINGS
  assert {*step_time.TAKEN_APART} < {*step_time.SETTINGS.values()}


def test_what_is_left_out_has_no_matrix_product():
  """Or the products of the limit would be others."""
  images = step_time.random_images(1000)

  def products(**changes):
    config = step_time.configure(step_time.FIRST, **changes)
    built = step_time.assemble(config, images, jax.devices()[:1])
    return [
      [x.aval.str_short() for x in equation.invars]
      for equation in limit.matrix_products(built)
    ]

  whole = products()
  for part, changes in step_time.WITHOUT.items():
    assert products(**changes) == whole, part


def test_nothing_is_timed_on_a_busy_machine(capsys):
  looks = iter([90.0, 50.0, 3.0])
  timing.require_idle(busy=lambda: next(looks))
  assert capsys.readouterr().out == (
    'waiting: the processors are 90 % busy\n'
    'waiting: the processors are 50 % busy\n'
  )
  with pytest.raises(errors.InputError, match='^the processors are 90 % busy'):
    timing.require_idle(patience=-1.0, busy=lambda: 90.0)


def test_a_call_is_filled_beside_what_it_takes_itself(monkeypatch):
  clock = [0.0]
  monkeypatch.setattr(timing.time, 'perf_counter', lambda: clock[0])

  def program(num_steps):
    clock[0] += 3.0 + 0.5 * num_steps

  assert timing.steps_that_fill(program, 10.0) == 14
  assert timing.steps_that_fill(program, 1.0) == 1


def test_calls_take_turns():
  made = []
  programs = {
    name: lambda num_steps, name=name: made.append((name, num_steps))
    for name in 'ab'
  }
  times = timing.measure(programs, 2, {'a': 3, 'b': 4})
  assert made == [('a', 3), ('b', 4)] * 2
  assert {name: len(values) for name, values in times.items()} == {
    'a': 2,
    'b': 2,
  }


def test_medians_and_ratios():
  times = {
    'ours': [2.0, 4.0, 9.0],
    'limit': [2.0, 2.0, 2.0],
    'products': [1.0],
    'products_twice': [2.0],
    'peer': [6.0, 6.0, 30.0],
    'without noise': [3.5],
  }
  found = step_time.summarize(times, step_time.FIRST)
  assert found['milliseconds_per_step']['ours'] == {
    'median': 4.0,
    'minimum': 2.0,
    'maximum': 9.0,
  }
  assert found['ratios'] == {
    'ours_to_limit': 2.0,
    'peer_to_ours': 1.5,
    'compiled_to_ours': None,
    'before_to_limit': None,
    'products_twice_to_products': 2.0,
  }
  assert found['saved_milliseconds'] == {'noise': 0.5}
  assert found['examples_per_second'] == 1e3 * 100 / 4.0


def test_seeds_side_by_side_are_compared_with_as_many_alone():
  times = {'ours': [4.0], 'limit': [1.0], 'peer': [3.0]}
  times |= {'products': [1.0], 'products_twice': [2.0]}
  setting = step_time.SETTINGS['semi_supervised_aae/400/100/4']
  found = step_time.summarize(times, setting)
  assert found['ratios']['ours_to_limit'] == 1.0
  assert found['ratios']['peer_to_ours'] == 3.0
  assert found['examples_per_second'] == 1e3 * 400 / 4.0
