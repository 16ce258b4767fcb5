"""Where the numbers of a run come from: which processes made them, and how."""

from collections.abc import Mapping
import functools
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
import time
from typing import Any

from etils import epath
import jax

from aae_jax import commit, metrics, processes

_PACKAGES = ('aae_jax', 'jax', 'jaxlib', 'flax', 'optax', 'numpy')


@functools.cache
def of_process() -> dict[str, Any]:
  """The command, commit, versions and hardware of this process.

  As they are at the first call, which is before training: the code that runs is
  the code that was there then.
  """
  devices = jax.devices()
  return {
    'command': command(),
    'commit': commit.describe(),
    'versions': {
      'python': platform.python_version(),
      **{name: importlib.metadata.version(name) for name in _PACKAGES},
    },
    'hardware': {
      'processes': processes.count(),
      'devices': len(devices),
      'kind': devices[0].device_kind,
      'platform': devices[0].platform,
      'cpus': os.cpu_count(),
    },
  }


def command() -> list[str]:
  """The words that started this process, as a shell is told them."""
  program, *arguments = sys.argv
  if program.endswith('.py'):
    return ['python', program, *arguments]
  return [pathlib.Path(program).name, *arguments]


class History:
  """The processes that trained a run: `provenance.json`.

  A process is written down with each checkpoint, so that its share is known up
  to any checkpoint that another one goes on from: what a kill has lost, and
  another process repeats, is not counted.
  """

  def __init__(self, workdir: epath.PathLike, step: int):
    """Takes up what there is until a step; changes no file.

    Args:
      workdir: local or in a bucket.
      step: completed steps of the checkpoint that is gone on from, else 0.
    """
    self._path = epath.Path(workdir) / 'provenance.json'
    self._before = _until(self._path, step)
    self._own = {**of_process(), 'first_step': step, 'saves': []}
    self._start = time.monotonic()

  @property
  def seconds(self) -> float:
    """Wall-clock time of training so far, without pauses and what was lost."""
    return sum(map(_seconds, self._before)) + time.monotonic() - self._start

  @property
  def trained(self) -> list[dict[str, Any]]:
    """The processes that trained, in order, each up to its last save.

    `command`, `commit`, `versions` and `hardware` of each; `first_step`, the
    completed steps that it began with, and `last_step`, those that it saved;
    `seconds` that these took.
    """
    return [
      {name: part for name, part in process.items() if name != 'saves'}
      | {'last_step': process['saves'][-1][0], 'seconds': _seconds(process)}
      for process in self._processes()
    ]

  def save(self, step: int) -> None:
    """Writes down that this process has trained until a step.

    Before the checkpoint is saved, so that none is without.

    Raises:
      OSError: the file cannot be written.
    """
    if step > self._own['first_step']:
      seconds = round(time.monotonic() - self._start, 3)
      self._own['saves'].append([step, seconds])
      metrics.write_json(self._path, self._processes())

  def _processes(self) -> list[dict[str, Any]]:
    return [*self._before, *([self._own] if self._own['saves'] else [])]


def _until(path: epath.Path, step: int) -> list[dict[str, Any]]:
  """The processes of a file without the saves after a step."""
  processes = json.loads(path.read_text()) if path.exists() else []
  for process in processes:
    process['saves'] = [save for save in process['saves'] if save[0] <= step]
  return [process for process in processes if process['saves']]


def _seconds(process: Mapping[str, Any]) -> float:
  return process['saves'][-1][1]
