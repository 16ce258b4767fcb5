"""What the programs that time share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import importlib.util
import os
import statistics
import time
from typing import Any

import jax
import psutil

from aae_jax import errors, experiments, training
from aae_jax.train_state import TrainState
from aae_jax.train_step import Request
from benchmarks.provenance import made_by

Program = Callable[[int], object]
"""Makes so many steps, and returns when they are done."""

BUSY_PERCENT = 10.0
"""Of all processors: with more, something else runs."""


def require_idle(
  patience: float = 300.0,
  busy: Callable[[], float] = lambda: psutil.cpu_percent(interval=5.0),
) -> None:
  """Waits until nothing else runs.

  Args:
    patience: the seconds to wait at most.
    busy: looks for some seconds, and tells how busy the processors were, in
      percent.

  Raises:
    InputError: the machine is still busy.
  """
  end = time.monotonic() + patience
  while (found := busy()) > BUSY_PERCENT:
    if time.monotonic() > end:
      raise errors.InputError(
        f'the processors are {found:.0f} % busy after {patience:.0f} seconds '
        f'of waiting; expected at most {BUSY_PERCENT:.0f}, or nothing that is '
        'timed holds.'
      )
    print(f'waiting: the processors are {found:.0f} % busy', flush=True)


def idle_maker(*packages: str) -> dict[str, Any]:
  """Waits for an idle machine; what makes a result on it, and its load.

  Args:
    *packages: whose versions are told beside those of every run.

  Raises:
    InputError: the machine is still busy.
  """
  require_idle()
  return {'load_average_at_start': os.getloadavg(), **made_by(*packages)}


def measure(
  programs: Mapping[str, Program], repetitions: int, steps: Mapping[str, int]
) -> dict[str, list[float]]:
  """Times calls of the programs in turn.

  Args:
    programs: by name, warmed up.
    repetitions: calls of each.
    steps: of each, in a call.

  Returns:
    Milliseconds a step, by name, one value a repetition.
  """
  times = {name: [] for name in programs}
  for _ in range(repetitions):
    for name, program in programs.items():
      seconds = _seconds(program, steps[name])
      times[name].append(1e3 * seconds / steps[name])
  return times


def spread(values: Sequence[float]) -> dict[str, float]:
  """The median of what was measured, the least and the largest."""
  return {
    'median': statistics.median(values),
    'minimum': min(values),
    'maximum': max(values),
  }


def steps_that_fill(program: Program, seconds: float) -> int:
  """How many steps take so long, at least one, after a call to warm up.

  What a call takes beside its steps is known from a short one and a longer
  one.
  """
  program(2)
  short, long = (_seconds(program, number) for number in (2, 12))
  # A step may take less than what the two calls differ by chance.
  step = max((long - short) / 10, 0.1 * long / 12)
  return max(1, round((seconds - (short - 2 * step)) / step))


def _seconds(program: Program, num_steps: int) -> float:
  start = time.perf_counter()
  program(num_steps)
  return time.perf_counter() - start


@contextlib.contextmanager
def training_of(
  experiment: experiments.Experiment,
) -> Iterator[Callable[[int], TrainState]]:
  """The program that trains: it makes so many steps, and gives the state."""
  asked = {'num_steps': 0}
  request = lambda step: Request(asked['num_steps'])
  calls = training.steps(experiment, experiment.init(), request)

  def steps(num_steps):
    while num_steps:
      asked['num_steps'] = num_steps
      state, agreed = next(calls)
      num_steps -= agreed.num_steps
    return jax.block_until_ready(state)

  with contextlib.closing(calls):
    yield steps


def missing_peer() -> str | None:
  """Why nothing can be measured beside PyTorch, or None."""
  if importlib.util.find_spec('torch') is None:
    return 'PyTorch is not installed: pip install -e .[benchmarks]'
  if jax.default_backend() != 'cpu':
    return f'the peer runs on the CPU, ours on {jax.default_backend()}'
  return None
