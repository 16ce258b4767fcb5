"""What a step takes in two processes, beside one with as many devices.

  python -m benchmarks.two_processes

It trains configs/mnist_semi_supervised.py, one seed, batch 1000, on random
images of MNIST's shape and on this machine's CPUs: one process that has two
devices, and two of one device each, in turn. Each time all start anew, warm up,
and make calls of so many steps. It waits five minutes for an idle machine, and
refuses another.
"""

import json
import os
import socket
import subprocess
import sys
import time

from aae_jax import processes
from benchmarks import command_line, step_time
from benchmarks.command_line import ROOT
from benchmarks.provenance import refuse_changed_files
from benchmarks.step_time import FIRST, Setting
from benchmarks.timing import idle_maker, spread, training_of

BATCH_SIZE = 1000

NUM_DEVICES = 2
"""Of all processes."""

ROUNDS = 3
"""How often all start anew."""

CALLS = 5
"""Of each round."""

STEPS = 5
"""Of each call."""

_CHILD = """
import sys
from benchmarks import two_processes
two_processes.train(*sys.argv[1:])
"""


def train(coordinator: str, num_processes: str, process_id: str) -> None:
  """What a process does; the first prints milliseconds a step, one a call.

  Args:
    coordinator: `HOST:PORT` of the first process.
    num_processes: how many there are.
    process_id: which one this is, from 0.
  """
  if num_processes != '1':
    processes.start(coordinator, int(num_processes), int(process_id))
  setting = Setting(FIRST.system, batch_size=BATCH_SIZE)
  built = step_time.assemble(
    step_time.configure(setting), step_time.random_images()
  )
  times = []
  with training_of(built) as steps:
    steps(STEPS)
    for _ in range(CALLS):
      start = time.perf_counter()
      steps(STEPS)
      times.append(1e3 * (time.perf_counter() - start) / STEPS)
  if processes.is_first():
    print(json.dumps(times), flush=True)
  processes.stop()


def free_port() -> int:
  """One of this machine on which nothing listens."""
  with socket.socket() as found:
    found.bind(('localhost', 0))
    return found.getsockname()[1]


def run(num_processes: int) -> list[float]:
  """Milliseconds a step, one value a call.

  Args:
    num_processes: that share the devices.

  Raises:
    RuntimeError: a process has failed.
  """
  address = f'localhost:{free_port()}'
  devices = NUM_DEVICES // num_processes
  flag = f'--xla_force_host_platform_device_count={devices}'
  environment = {
    'PYTHONPATH': str(ROOT),
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': flag,
  }
  started = [
    subprocess.Popen(
      [sys.executable, '-c', _CHILD, address, str(num_processes), str(place)],
      env=os.environ | environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for place in range(num_processes)
  ]
  said = [process.communicate() for process in started]
  for process, (_, errors) in zip(started, said, strict=True):
    if process.returncode:
      raise RuntimeError(errors)
  return json.loads(said[0][0].splitlines()[-1])


def main() -> None:
  """Measures, writes the result and says it."""
  parser = command_line.make_parser('two_processes', __doc__)
  command_line.add_output(parser, 'two_processes.json')
  options = parser.parse_args()
  refuse_changed_files()
  with command_line.one_line_errors('two_processes'):
    maker = idle_maker()
    times = {'one_process': [], 'two_processes': []}
    for _ in range(ROUNDS):
      for number, name in enumerate(times, start=1):
        times[name] += run(number)
  found = {name: spread(values) for name, values in times.items()}
  medians = [of_one['median'] for of_one in found.values()]
  ratio = medians[1] / medians[0]
  result = {
    'milliseconds_per_step': found,
    'two_processes_to_one': ratio,
    'batch_size': BATCH_SIZE,
    **maker,
  }
  command_line.write_result(options.output, result)
  for name, value in zip(found, medians, strict=True):
    print(f'{name:16}{value:8.2f} ms a step')
  print(f'{ratio:.3f} of the time of a step')


if __name__ == '__main__':
  main()
