"""Tests of several processes, on this machine: two of two devices each."""

import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import aae_jax
from aae_jax import errors, last_words, processes
from aae_jax import program as program_lib
from benchmarks.two_processes import free_port
from tests import programs

CONFIG = (
  '--config=configs/digits_autoencoder.py',
  '--config.encoder.hidden=(8,)',
  '--config.decoder.hidden=(8,)',
  '--config.encoder.batch_norm=False',
  '--config.optimizer.reconstruction.name=sgd',
  '--config.optimizer.reconstruction.learning_rate=0.01',
)
LONG = ('--config.epochs=5000', '--config.steps_per_call=5')


@pytest.fixture(scope='module')
def home(tmp_path_factory):
  return tmp_path_factory.mktemp('home')


@pytest.fixture
def start(tmp_path, home):
  """Starts programs with some devices, and ends those that a test leaves."""
  with programs.starting(tmp_path, home) as start_program:

    def start(devices, *arguments, **environment):
      flags = os.environ['XLA_FLAGS'].replace('count=4', f'count={devices}')
      return start_program(*CONFIG, *arguments, XLA_FLAGS=flags, **environment)

    yield start


@pytest.fixture
def start_two(start):
  """Starts two processes that train together."""

  def start_two(*arguments):
    address = f'--coordinator=localhost:{free_port()}'
    return [
      start(2, address, '--num_processes=2', f'--process_id={i}', *arguments)
      for i in range(2)
    ]

  return start_two


def hear(program, text):
  """Waits for last words, which another process passes on."""
  end = time.monotonic() + 10
  while text not in program.err:
    assert time.monotonic() < end, program.err
    time.sleep(0.01)


def weights_of(workdir):
  model = aae_jax.load(workdir)
  image = np.linspace(0, 1, 64).reshape(8, 8)
  return np.concatenate(
    [np.ravel(model.encode(image)['z']), np.ravel(model.reconstruct(image))]
  )


@pytest.mark.parametrize(
  'streaming', ['False', pytest.param('True', marks=pytest.mark.whole)]
)
def test_two_processes_compute_what_one_does(
  start, start_two, tmp_path, streaming
):
  """In 52 steps, of which the best epoch is kept and loaded.

  Each reads its share where images are streamed.
  """
  paths = [tmp_path / name for name in ('alone', 'together')]
  shared = (
    '--config.epochs=4',
    '--config.dataset.num_validation=97',
    '--config.early_stopping.measure=reconstruction_error',
  )
  alone, together = ((*shared, f'--workdir={path}') for path in paths)
  together = (*together, f'--config.dataset.streaming={streaming}')
  for program in (start(4, *alone), *start_two(*together)):
    assert program.wait() == 0, program.err
  np.testing.assert_allclose(*map(weights_of, paths), rtol=0, atol=1e-5)


@pytest.mark.whole
def test_numbers_of_processes_may_change_and_change_nothing(
  start, start_two, tmp_path
):
  """Of a run that is stopped three times, once by SIGTERM at the second."""
  paths = [tmp_path / name for name in ('alone', 'together')]
  alone, together = (
    ('--config.epochs=100', f'--workdir={path}') for path in paths
  )
  program = start(4, *alone)
  assert program.wait() == 0, program.err
  slow = (*together, '--config.steps_per_call=1')
  for victim, begin in (
    (1, lambda: start_two(*slow)),
    (0, lambda: [start(1, *slow)]),
    (0, lambda: start_two(*slow)),
  ):
    group = begin()
    group[0].wait_for('step ')
    os.kill(group[victim].process.pid, signal.SIGTERM)
    for program in group:
      assert program.wait() == 128 + signal.SIGTERM
      hear(program, 'Stopped by SIGTERM: saved step')
  first, second = start_two(*together)
  assert (first.wait(), second.wait()) == (0, 0), first.err + second.err
  assert 'Going on from step' in first.out
  assert 'Devices    4 x cpu, in 2 processes; this one is 1' in second.out
  # Who else writes and tells would do it twice.
  assert 'Results in' in first.out
  assert 'Results in' not in second.out
  assert 'step' not in second.err
  steps = [
    [json.loads(line)['step'] for line in text.splitlines()]
    for text in ((path / 'metrics.jsonl').read_text() for path in paths)
  ]
  assert steps[0] == steps[1] == list(range(14, 1401, 14))
  # Rounding grows with the steps.
  np.testing.assert_allclose(*map(weights_of, paths), rtol=0, atol=5e-4)
  results = json.loads((paths[1] / 'results.json').read_text())
  counts = [part['hardware']['processes'] for part in results['trained']]
  assert counts == [2, 1, 2, 2]


def test_a_start_of_slurm_is_found(start, tmp_path):
  slurm = {
    'SLURM_JOB_ID': str(free_port()),
    'SLURM_STEP_NODELIST': 'localhost',
    'SLURM_NTASKS': '2',
  }
  started = [
    start(
      1,
      '--config.epochs=1',
      f'--workdir={tmp_path / "run"}',
      SLURM_PROCID=str(i),
      SLURM_LOCALID=str(i),
      **slurm,
    )
    for i in range(2)
  ]
  assert [program.wait() for program in started] == [0, 0], started[0].err
  assert 'Devices    2 x cpu, in 2 processes; this one is 0' in started[0].out


def test_who_dies_or_hangs_ends_the_others(start_two, tmp_path):
  """Within the time that is stated, and with one line."""
  runs = [
    (victim, number, start_two(*LONG, f'--workdir={tmp_path / f"run_{i}"}'))
    for i, (victim, number) in enumerate(
      [(0, signal.SIGKILL), (1, signal.SIGKILL), (1, signal.SIGSTOP)]
    )
  ]
  for victim, number, pair in runs:
    pair[0].wait_for('step ')
    os.kill(pair[victim].process.pid, number)
  ends = time.monotonic() + 2 * processes.SECONDS_OF_SILENCE
  for victim, _, pair in runs:
    survivor = pair[1 - victim]
    assert survivor.wait(ends - time.monotonic()) != 0
    hear(
      survivor,
      '\ntrain.py: another process has died or hangs, so this one ends; the '
      'same commands go on from the last checkpoint.\n',
    )
    assert 'stack trace' not in survivor.err
    assert 'Traceback' not in survivor.err


def test_processes_of_two_configurations_do_not_start(start, tmp_path):
  address = f'--coordinator=localhost:{free_port()}'
  pair = [
    start(
      2,
      address,
      '--num_processes=2',
      f'--process_id={i}',
      f'--config.epochs={i + 1}',
      f'--workdir={tmp_path / "run"}',
    )
    for i in range(2)
  ]
  assert [program.wait() for program in pair] == [1, 1]
  for program in pair:
    hear(
      program,
      'train.py: process 1 has another configuration than process 0; expected '
      'the same for all.\n',
    )
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
  'arguments, message',
  [
    (('host:1', 2, None), 'process_id None; expected all three or none'),
    (('host', 2, 0), "coordinator is 'host'; expected HOST:PORT"),
    (('host:port', 2, 0), "coordinator is 'host:port'; expected HOST:PORT"),
    (('host:99999', 2, 0), 'expected HOST:PORT of process 0'),
    (('host:1', 2, 2), 'process_id is 2 of num_processes 2'),
    (('host:1', 2, -1), 'process_id is -1 of num_processes 2'),
  ],
)
def test_what_does_not_name_the_processes(arguments, message):
  with pytest.raises(errors.InputError, match=message):
    processes.start(*arguments)


def test_nodes_of_skypilot():
  nodes = {
    'SKYPILOT_NODE_IPS': '10.0.0.4\n10.0.0.5',
    'SKYPILOT_NUM_NODES': '2',
    'SKYPILOT_NODE_RANK': '1',
  }
  assert processes._of_skypilot(nodes) == ('10.0.0.4:8476', 2, 1)
  alone = {**nodes, 'SKYPILOT_NUM_NODES': '1'}
  assert processes._of_skypilot(alone) == (None, None, None)
  assert processes._of_skypilot({}) == (None, None, None)


PAGE = """\
E1126 11:39:01.179 10 coordination_service.cc:1549] Use error polling
F1126 11:39:01.180 11 client.h:80] Terminating process because the JAX \
distributed service detected fatal errors. UNAVAILABLE
RPC: /xla.coordination.CoordinationService/{request}
*** Check failure stack trace: ***
    @     0x7f6505440634  absl::lts_20260107::log_internal
"""


@pytest.mark.parametrize(
  'said, heard',
  [
    ('a line\n\rstep 1\rstep 2', 'a line\n\rstep 1\rstep 2'),
    (
      'a line\n' + PAGE.format(request='Heartbeat'),
      'a line\n\ntrain.py: another process has died or hangs, so this one ends;'
      ' the same commands go on from the last checkpoint.\n',
    ),
    (
      PAGE.format(request='RegisterTask'),
      '\ntrain.py: the processes have not found each other; expected one for '
      'each --process_id, with the same --coordinator and --num_processes.\n',
    ),
  ],
)
def test_last_words_are_one_line(said, heard):
  found = subprocess.run(
    [sys.executable, '-I', '-S', last_words.__file__, 'train.py'],
    input=said.encode(),
    capture_output=True,
    check=True,
  )
  assert found.stdout.decode() == heard


@pytest.mark.parametrize(
  'error, is_waited_for',
  [(jax.errors.JaxRuntimeError('reset by peer'), True), (KeyError('a'), False)],
)
def test_a_message_that_fails_is_not_told_before_a_death(
  error, is_waited_for, monkeypatch, capsys
):
  """JAX ends this process while it waits, if another one has died."""
  monkeypatch.setattr(processes, 'count', lambda: 2)

  def wait():
    assert not capsys.readouterr().err
    waited.append(True)

  def end(status):
    raise SystemExit(status)

  waited = []
  monkeypatch.setattr(processes, 'wait_for_last_words', wait)
  monkeypatch.setattr(processes, 'end', end)

  def entry():
    raise error

  with pytest.raises(SystemExit, match='1'):
    program_lib._told(entry)
  assert bool(waited) == is_waited_for
  assert 'Traceback' in capsys.readouterr().err
