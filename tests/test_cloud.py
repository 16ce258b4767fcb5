"""Tests of the files of docs/cloud: what they start, as two local processes."""

import os
import pathlib
import shlex
import subprocess
import sys

import pytest
import yaml

from benchmarks.two_processes import free_port
from tests import programs

CLOUD = programs.ROOT / 'docs/cloud'
TINY = (
  '--config.encoder.hidden=(8,)',
  '--config.decoder.hidden=(8,)',
  '--config.epochs=1',
)
FOUND = 'Devices    2 x cpu, in 2 processes; this one is 0'


@pytest.fixture
def environment(tmp_path):
  """Variables of a shell that has the installed command, on one device."""
  commands = tmp_path / 'bin'
  commands.mkdir()
  write_command(
    commands / 'aae',
    f'exec {sys.executable} -c "from aae_jax import command; command.main()"'
    ' "$@"',
  )
  return {
    **os.environ,
    'HOME': str(tmp_path),
    'PATH': f'{commands}:{os.environ["PATH"]}',
    'PYTHONPATH': str(programs.ROOT),
    'XLA_FLAGS': os.environ['XLA_FLAGS'].replace('count=4', 'count=1'),
  }


def write_command(path: pathlib.Path, line: str) -> None:
  path.write_text(f'#!/bin/bash\n{line}\n')
  path.chmod(0o755)


@pytest.mark.whole
def test_tasks_of_skypilot_train_together(environment, tmp_path):
  tasks = [
    yaml.safe_load((CLOUD / f'{name}.yaml').read_text())
    for name in ('gpu', 'tpu')
  ]
  for task in tasks:
    assert task['envs'].keys() == {'NAME', 'WORKDIR'}
    assert "'.[gcs]'" in task['setup']
    assert task['run'] == tasks[0]['run']
  # Each machine is reached by an address of its own; here both are this one.
  nodes = {
    'SKYPILOT_NODE_IPS': 'localhost\nlocalhost',
    'SKYPILOT_NUM_NODES': '2',
    'NAME': 'digits_autoencoder',
    'WORKDIR': str(tmp_path / 'run'),
  }
  run = task['run'].replace('--config.num_seeds=10', shlex.join(TINY))
  started = [
    subprocess.Popen(
      ['bash', '-c', run],
      env={**environment, **nodes, 'SKYPILOT_NODE_RANK': str(rank)},
      cwd=tmp_path,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for rank in range(2)
  ]
  said = [process.communicate(timeout=300)[0] for process in started]
  assert [process.returncode for process in started] == [0, 0], said
  assert FOUND in said[0]
  assert (tmp_path / 'run/results.json').exists()


SRUN = """
for rank in 0 1; do
  SLURM_PROCID=$rank SLURM_LOCALID=$rank "$@" &
  started="$started $!"
done
status=0
for process in $started; do
  wait $process || status=$?
done
exit $status
"""


@pytest.fixture
def slurm(environment, tmp_path):
  """The variables with a Slurm of two processes."""
  write_command(tmp_path / 'bin/srun', SRUN)
  write_command(tmp_path / 'bin/scontrol', 'echo scontrol "$@"')
  job = {
    'SLURM_JOB_ID': str(free_port()),
    'SLURM_STEP_NODELIST': 'localhost',
    'SLURM_NTASKS': '2',
  }
  return {**environment, **job}


def submit(environment, folder, *arguments):
  return subprocess.run(
    ['bash', str(CLOUD / 'slurm.sbatch'), *arguments],
    env=environment,
    cwd=folder,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    timeout=300,
  )


@pytest.mark.whole
def test_a_job_of_slurm_trains_in_processes_that_find_one_another(
  slurm, tmp_path
):
  workdir = f'--workdir={tmp_path / "run"}'
  found = submit(slurm, tmp_path, 'digits_autoencoder', workdir, *TINY)
  assert found.returncode == 0, found.stdout
  assert FOUND in found.stdout
  assert 'scontrol' not in found.stdout


def test_a_job_of_slurm_is_requeued_when_its_time_is_over(slurm, tmp_path):
  write_command(tmp_path / 'bin/aae', 'kill -TERM $$')
  found = submit(slurm, tmp_path, 'digits_autoencoder')
  assert found.returncode == 143
  assert f'scontrol requeue {slurm["SLURM_JOB_ID"]}' in found.stdout
  # Where it fails, it would fail again.
  write_command(tmp_path / 'bin/aae', 'exit 1')
  found = submit(slurm, tmp_path, 'digits_autoencoder')
  assert found.returncode == 1
  assert 'scontrol' not in found.stdout
