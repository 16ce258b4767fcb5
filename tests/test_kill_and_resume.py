"""Tests of benchmarks.kill_and_resume."""

import json
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aae_jax import experiments, training
from aae_jax.checkpoints import Checkpoints
from benchmarks import kill_and_resume

CONFIG = kill_and_resume.make_config(seed=0, epochs=2)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('workdir') / 'run'
  training.train_and_evaluate(CONFIG, workdir)
  return workdir


@pytest.fixture
def copy(run, tmp_path):
  return shutil.copytree(run, tmp_path / 'copy')


def change_state(workdir, change):
  """Replaces the last checkpoint's state."""
  folder = workdir / 'checkpoints'
  abstract_state = experiments.build(CONFIG).abstract_state()
  with Checkpoints(folder, 1) as checkpoints:
    state = checkpoints.restore(abstract_state)
    step = checkpoints.latest_step()
  shutil.rmtree(folder)
  with Checkpoints(folder, 1) as checkpoints:
    changed = change(state)
    placed = jax.device_put(changed, jax.tree.map(lambda x: x.sharding, state))
    checkpoints.save(step, placed)


def with_kernel(state, change):
  """The state with other values of one kernel."""
  leaves, structure = jax.tree.flatten(state.params)
  leaves[0] = jnp.asarray(change(np.array(leaves[0])))
  return state.replace(params=jax.tree.unflatten(structure, leaves))


def flip_a_bit(values):
  values.reshape(-1).view(np.uint32)[-1] ^= 1
  return values


def set_first(number):
  def change(values):
    values.reshape(-1)[0] = number
    return values

  return change


def test_equal_ends(run, copy):
  assert kill_and_resume.is_same(CONFIG, run, copy)
  change_state(copy, lambda state: state)
  assert kill_and_resume.is_same(CONFIG, run, copy)


@pytest.mark.parametrize(
  'change',
  [
    lambda state: with_kernel(state, flip_a_bit),
    lambda state: state.replace(step=state.step - 1),
    lambda state: state.replace(rng=jax.vmap(jax.random.key)(jnp.array([7]))),
  ],
  ids=['a bit', 'step', 'key'],
)
def test_states_that_differ(run, copy, change):
  change_state(copy, change)
  assert not kill_and_resume.is_same(CONFIG, run, copy)


def test_zeros_that_differ_in_the_sign(run, copy):
  zero = copy.with_name('zero')
  shutil.copytree(copy, zero)
  change_state(zero, lambda state: with_kernel(state, set_first(0.0)))
  change_state(copy, lambda state: with_kernel(state, set_first(-0.0)))
  assert kill_and_resume.is_same(CONFIG, zero, zero)
  assert not kill_and_resume.is_same(CONFIG, zero, copy)


def change_rows(workdir, change):
  path = workdir / 'metrics.jsonl'
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  path.write_text(''.join(f'{json.dumps(row)}\n' for row in change(rows)))


def later(rows):
  return [row | {'seconds': row['seconds'] + 1} for row in rows]


def other_validation(rows):
  [name, *_] = [key for key in rows[0] if key.startswith('validation/')]
  rows[0][name]['per_seed'][0] += 1e-6
  return rows


@pytest.mark.parametrize(
  'change',
  [lambda rows: rows[1:], lambda rows: [rows[0], *rows], other_validation],
  ids=['missing', 'twice', 'validation'],
)
def test_rows_that_differ(run, copy, change):
  change_rows(copy, later)
  assert kill_and_resume.is_same(CONFIG, run, copy)
  change_rows(copy, change)
  assert not kill_and_resume.is_same(CONFIG, run, copy)


def test_results_that_differ(run, copy):
  path = copy / 'results.json'
  results = json.loads(path.read_text())
  for summary in results['metrics'].values():
    summary['per_seed'][0] += 1e-6
  path.write_text(json.dumps(results))
  assert not kill_and_resume.is_same(CONFIG, run, copy)


def test_ends_before_the_last_step(run, copy):
  path = copy / 'results.json'
  results = json.loads(path.read_text())
  path.write_text(json.dumps(results | {'step': results['step'] - 1}))
  assert not kill_and_resume.is_same(CONFIG, copy, copy)
  assert kill_and_resume.is_same(CONFIG, run, run)


def test_another_run_is_not_identical(tmp_path, monkeypatch):
  def kill(config, *_):
    config.seed = 1
    yield 0

  monkeypatch.setattr(kill_and_resume, '_kill', kill)
  result = kill_and_resume.kill_and_resume(1, tmp_path, seed=0)
  assert not result['identical']
  assert result['resumed'] == 0


class Ended:
  """A process that ends by itself just before the signal comes."""

  def __init__(self, exitcode):
    self.exitcode = exitcode

  def is_alive(self):
    return True

  def join(self, seconds=None):
    pass

  def kill(self):
    pass


@pytest.mark.parametrize('exitcode', [0, 1])
def test_process_that_ended_was_not_killed(tmp_path, monkeypatch, exitcode):
  (tmp_path / 'output').write_text('what went wrong')
  steps = iter(range(100))
  monkeypatch.setattr(kill_and_resume, '_latest_step', lambda _: next(steps))
  monkeypatch.setattr(kill_and_resume, '_start', lambda *_: Ended(exitcode))
  with pytest.raises(
    RuntimeError, match='ended before kill 1: what went wrong'
  ):
    list(kill_and_resume._kill(CONFIG, tmp_path, tmp_path, 1, 0))


def test_no_process_warns_of_the_program_that_started_it():
  """As `runpy` does of a module that was imported before it is run."""
  assert kill_and_resume.__name__ not in kill_and_resume.PRELOAD


@pytest.mark.parametrize('identical', [True, False])
def test_exit_status(tmp_path, monkeypatch, capsys, identical):
  output = tmp_path / 'result.json'
  monkeypatch.setattr(kill_and_resume, 'refuse_changed_files', lambda: None)
  monkeypatch.setattr(
    kill_and_resume, 'kill_and_resume', lambda *_: {'identical': identical}
  )
  monkeypatch.setattr(sys, 'argv', ['', f'--output={output}'])
  if identical:
    kill_and_resume.main()
  else:
    with pytest.raises(SystemExit, match='the killed run ended otherwise'):
      kill_and_resume.main()
  assert json.loads(output.read_text())['identical'] == identical
  capsys.readouterr()
