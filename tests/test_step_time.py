"""Tests of benchmarks.step_time and of its peer."""

import ast
import importlib.util
import math

import numpy as np
import pytest

from aae_jax import experiments
from benchmarks import step_time
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
  before._process.communicate()
  path = folder / 'step_time.py'
  assert (tmp_path / 'made').read_text() == f'{path} 3\n{path} 4\n'


def test_checkout_that_ends_is_no_measurement(tmp_path):
  (tmp_path / 'benchmarks').mkdir()
  (tmp_path / 'benchmarks/step_time.py').write_text('input()\nraise SystemExit')
  before = step_time.Checkout(str(tmp_path))
  with pytest.raises(RuntimeError, match='before has ended$'):
    before(1)
  before._process.communicate()
  with pytest.raises(ValueError, match='^before is .*; expected a checkout.$'):
    step_time.Checkout(str(tmp_path / 'no'))


def test_there_is_no_peer_without_pytorch(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  assert step_time.missing_peer() == (
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


def test_medians_and_ratios():
  times = {
    'ours': [2.0, 4.0, 9.0],
    'limit': [2.0, 2.0, 2.0],
    'products': [1.0],
    'products_twice': [2.0],
    'peer': [6.0, 6.0, 30.0],
  }
  found = step_time.summarize(times)
  assert found['milliseconds_per_step']['ours'] == {
    'median': 4.0,
    'minimum': 2.0,
    'maximum': 9.0,
  }
  assert found['ratios'] == {
    'ours_to_limit': 2.0,
    'peer_to_ours': 1.5,
    'before_to_limit': None,
    'products_twice_to_products': 2.0,
  }
