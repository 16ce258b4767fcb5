"""Kills a training over and over, and looks whether it ends as if it never was.

  python -m benchmarks.kill_and_resume

A run that saves after every call to the devices gets SIGKILL at random moments:
while it starts, restores, steps, and most of all while it saves. The same
command goes on each time. At the end its arrays and results are compared with
those of a run that nobody disturbed.
"""

from collections.abc import Iterator
import json
import multiprocessing
import os
import pathlib
import random
import signal
import sys
import tempfile
import time
from typing import Any

from etils import epath
import jax
import ml_collections

from aae_jax import experiments, training
from aae_jax.runs import Run
from benchmarks import command_line
from benchmarks.provenance import made_by, refuse_changed_files
from configs import digits_autoencoder

PRELOAD = ['aae_jax.training', 'aae_jax.figures', 'aae_jax.pages']
"""What takes long to import, imported once, by the server that forks processes.

Not this module: each process runs it anew, and would warn that it is there.
"""


def make_config(seed: int, epochs: int) -> ml_collections.ConfigDict:
  """An autoencoder on digits, tiny, with all that a state can hold.

  Args:
    seed: of the run.
    epochs: of 14 steps.
  """
  config = digits_autoencoder.get_config()
  for network in (config.encoder, config.decoder):
    network.hidden = (16, 16)
  config.encoder.update(batch_norm=True, noise=0.3, input_noise=0.3)
  config.schedule.name = 'linear'
  config.ema_decay = 0.99
  config.dataset.num_validation = 37
  config.seed = seed
  config.epochs = epochs
  config.evaluate_every_epochs = 1
  return config


def kill_and_resume(
  num_kills: int, workdir: str | os.PathLike, seed: int
) -> dict[str, Any]:
  """Kills a run so often, and compares it with an undisturbed one.

  Args:
    num_kills: of a run that has not ended.
    workdir: a local folder for both runs, their data and compiled code.
    seed: of the runs, and of the moments to kill.

  Returns:
    `kills`; `killed_at_steps`, the latest complete checkpoint at each of them,
    in order, 0 for none; `resumed`, how many parts of the run said that they
    go on from a checkpoint; `identical`, see `is_same`; `seconds` that all of
    it took.

  Raises:
    RuntimeError: a process ended with an error, or the run before the last
      kill.
  """
  started = time.monotonic()
  workdir = pathlib.Path(workdir)
  config = make_config(seed, epochs=max(10, num_kills))
  config.dataset.data_dir = str(workdir / 'data')
  undisturbed, disturbed = workdir / 'undisturbed', workdir / 'disturbed'
  # The first process prepares the data and compiles, for all others.
  _finish(config, undisturbed, workdir)
  config.update(steps_per_call=2, checkpoint_every_seconds=0.0)
  steps = list(_kill(config, disturbed, workdir, num_kills, seed))
  config.update(steps_per_call=-1, checkpoint_every_seconds=60.0)
  _finish(config, disturbed, workdir)
  return {
    'kills': len(steps),
    'killed_at_steps': steps,
    'resumed': (workdir / 'output').read_text().count('Going on from step'),
    'identical': is_same(config, undisturbed, disturbed),
    'seconds': round(time.monotonic() - started, 1),
  }


def _start(
  config: ml_collections.ConfigDict, workdir: pathlib.Path, folder: pathlib.Path
) -> multiprocessing.process.BaseProcess:
  """A process that trains, or goes on where its run was saved."""
  context = multiprocessing.get_context('forkserver')
  context.set_forkserver_preload(PRELOAD)
  process = context.Process(
    target=_train, args=(config.to_json(), str(workdir), str(folder))
  )
  process.start()
  return process


def _train(config: str, workdir: str, folder: str) -> None:
  with open(f'{folder}/output', 'a') as output:
    os.dup2(output.fileno(), sys.stdout.fileno())
    os.dup2(output.fileno(), sys.stderr.fileno())
  jax.config.update('jax_enable_compilation_cache', True)
  jax.config.update('jax_compilation_cache_dir', f'{folder}/compilation')
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  config = ml_collections.ConfigDict(json.loads(config))
  training.train_and_evaluate(config, workdir)


def _finish(
  config: ml_collections.ConfigDict, workdir: pathlib.Path, folder: pathlib.Path
) -> None:
  process = _start(config, workdir, folder)
  process.join()
  if process.exitcode:
    output = (folder / 'output').read_text()
    raise RuntimeError(f'exit status {process.exitcode}: {output[-2000:]}')


def _kill(
  config: Any,
  workdir: pathlib.Path,
  folder: pathlib.Path,
  num_kills: int,
  seed: int,
) -> Iterator[int]:
  """Yields after each kill the latest complete checkpoint's step, or 0.

  A process lives until its first save, and then up to a quarter of that time;
  every third only for a part of it, which ends it while it starts.
  """
  moments = random.Random(seed)
  longest = 0.0
  for kill in range(num_kills):
    process = _start(config, workdir, folder)
    started, before = time.monotonic(), _latest_step(workdir)
    if kill % 3 == 2:
      process.join(moments.uniform(0.0, longest))
    else:
      while process.is_alive() and _latest_step(workdir) == before:
        process.join(0.005)
      longest = time.monotonic() - started
      process.join(moments.uniform(0.0, longest / 4))
    process.kill()
    process.join()
    # It may have ended, well or not, just before.
    if process.exitcode != -signal.SIGKILL:
      output = (folder / 'output').read_text()
      raise RuntimeError(f'ended before kill {kill + 1}: {output[-2000:]}')
    yield _latest_step(workdir)


def _latest_step(workdir: pathlib.Path) -> int:
  folders = (workdir / 'checkpoints').glob('[0-9]*')
  steps = [int(folder.name) for folder in folders if folder.name.isdigit()]
  return max(steps, default=0)


def is_same(
  config: ml_collections.ConfigDict, one: pathlib.Path, other: pathlib.Path
) -> bool:
  """Whether two runs came to their end, and to the same one, bit for bit.

  Compared are all arrays of the last checkpoint, the results, and the rows of
  metrics, but for the time that they took.

  Args:
    config: of both.
    one: a workdir.
    other: a workdir.
  """
  built = experiments.build(config)
  end, other_end = (_end(built, workdir) for workdir in (one, other))
  return end == other_end and end['steps'] == {built.total_steps}


def _end(
  built: experiments.Experiment, workdir: pathlib.Path
) -> dict[str, Any]:
  """What a run has left, to be compared."""
  run = Run(epath.Path(workdir))
  state = run.restore(built.abstract_state())
  arrays = jax.device_get(state.replace(rng=jax.random.key_data(state.rng)))
  rows, results = run.rows({}), run.results
  return {
    # As bytes, for -0.0 equals 0.0, and NaN nothing.
    'arrays': [
      (jax.tree_util.keystr(path), x.dtype, x.shape, x.tobytes())
      for path, x in jax.tree.leaves_with_path(arrays)
    ],
    'rows': [{k: v for k, v in row.items() if k != 'seconds'} for row in rows],
    'results': results['metrics'],
    'steps': {int(state.step), rows[-1]['step'], results['step']},
  }


def main() -> None:
  """Kills a run and writes what came of it."""
  parser = command_line.make_parser('kill_and_resume', __doc__)
  parser.add_argument('--kills', type=int, default=100)
  parser.add_argument('--seed', type=int, default=0)
  command_line.add_output(parser, 'kill_and_resume.json')
  options = parser.parse_args()
  refuse_changed_files()
  with tempfile.TemporaryDirectory() as workdir:
    result = kill_and_resume(options.kills, workdir, options.seed)
  result |= made_by()
  command_line.write_result(options.output, result)
  print(json.dumps(result, indent=2))
  if not result['identical']:
    raise SystemExit('the killed run ended otherwise than the undisturbed one')


if __name__ == '__main__':
  main()
