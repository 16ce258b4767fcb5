"""How long a training takes to start, and what memory it takes.

  python -m benchmarks.start

Each is a process of its own, of one seed, from the command on:

  cold    until the first step is done; nothing has been compiled before
  warm    the same once more
  refused until a wrong value is told, which ends the program
  memory  what a training of one epoch has in memory at most, on the host

The data are prepared. It waits five minutes for an idle machine, and refuses
another.
"""

from collections.abc import Mapping, Sequence
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import command_line
from benchmarks.command_line import ROOT
from benchmarks.provenance import refuse_changed_files
from benchmarks.timing import idle_maker

CONFIGS = ('digits_semi_supervised', 'mnist_semi_supervised')

REPETITIONS = 3
"""Of each; the median counts."""

FIRST_STEP = """
import runpy, sys
from aae_jax import training

def steps(*args):
  for state, agreed in made(*args):
    if agreed.num_steps:
      print('the first step is done', flush=True)
      raise SystemExit
    yield state, agreed

made, training.steps = training.steps, steps
runpy.run_path('train.py', run_name='__main__')
"""
"""A training that ends when its first call of steps is back."""


def run(
  code: Sequence[str], home: pathlib.Path, *arguments: str
) -> tuple[float, float, int]:
  """Runs Python in `ROOT`.

  Args:
    code: what makes it a training, such as ['train.py'].
    home: what takes the place of the user's, where caches are.
    *arguments: of the training.

  Returns:
    Seconds, the MiB that it had in memory at most, and the exit status.

  Raises:
    RuntimeError: it has failed, by another way than a wrong value.
  """
  with tempfile.TemporaryDirectory() as folder:
    start = time.perf_counter()
    process = subprocess.Popen(
      [sys.executable, *code, *arguments, f'--workdir={folder}/run'],
      cwd=ROOT,
      env=os.environ | {'HOME': str(home), 'PYTHONPATH': str(ROOT)},
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    with process.stdout:
      said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
  process.returncode = os.waitstatus_to_exitcode(status)
  if process.returncode and 'expected' not in said.splitlines()[-1]:
    raise RuntimeError(said)
  return seconds, used.ru_maxrss / 1024, process.returncode


def measure(config: str, home: pathlib.Path) -> Mapping[str, Any]:
  """The numbers of a configuration, of the file `configs/CONFIG.py`.

  Args:
    config: its name.
    home: an empty folder for caches.
  """
  flags = [f'--config=configs/{config}.py', '--config.num_seeds=1']
  found = {'cold': [], 'warm': [], 'refused': []}
  # Prepares the data.
  _, memory, _ = run(['train.py'], home, *flags, '--config.epochs=1')
  for _ in range(REPETITIONS):
    shutil.rmtree(home / '.cache/aae_jax/compilation')
    for name in ('cold', 'warm'):
      found[name].append(run(['-c', FIRST_STEP], home, *flags)[0])
    wrong = run(['train.py'], home, *flags, '--config.batch_size=0')
    found['refused'].append(wrong[0])
  seconds = {name: statistics.median(values) for name, values in found.items()}
  return {'seconds': seconds, 'memory_mebibytes': memory}


def main() -> None:
  """Measures, writes the result and says it."""
  parser = command_line.make_parser('start', __doc__)
  command_line.add_output(parser, 'start.json')
  options = parser.parse_args()
  refuse_changed_files()
  with command_line.one_line_errors('start'):
    maker = idle_maker()
    found = {}
    for config in CONFIGS:
      with tempfile.TemporaryDirectory() as home:
        found[config] = measure(config, pathlib.Path(home))
  result = {'trainings': found, 'repetitions': REPETITIONS, **maker}
  command_line.write_result(options.output, result)
  for config, of_one in found.items():
    told = [f'{name} {s:.1f} s' for name, s in of_one['seconds'].items()]
    memory = of_one['memory_mebibytes']
    print(f'{config}: {", ".join(told)}; {memory:,.0f} MiB')


if __name__ == '__main__':
  main()
