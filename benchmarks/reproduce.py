"""Trains the rows of results, and merges the seeds of each.

  python -m benchmarks.reproduce [ROW ...] [--seeds=N] [--config.KEY=VALUE ...]

At the end a row has the seeds 0 to N - 1, or as many as `rows.py` says. Each is
a run of `train.py`, in `runs/benchmarks/ROW/seed_K`, one after the other; on an
accelerator those that are missing are one run, in `seeds_K_L`. After each run
`benchmarks/results/ROW.json` is written anew, with all seeds that there are.

The same command goes on where it was stopped. What is there is taken if it is
of the same `aae_jax/` and of the configuration that the row has now; if not, it
is replaced. The keys are those that change no number, such as
`--config.dataset.manual_dir=DIR`.
"""

from collections.abc import Iterable, Mapping, Sequence
import itertools
import json
import pathlib
import runpy
import shlex
import signal
import subprocess
import sys
from typing import Any

from etils import epath
from flax import traverse_util
import ml_collections

from aae_jax import errors, experiments, measured, recipes, training
from aae_jax.runs import Run
from benchmarks import command_line, merging
from benchmarks.command_line import ROOT
from benchmarks.provenance import code_at, refuse_changed_files
from benchmarks.rows import ROWS, Row


def train_command(
  config: pathlib.Path | str,
  workdir: pathlib.Path,
  overrides: Mapping[str, Any],
) -> list[str]:
  """What Python is to run, in `ROOT`, for a training.

  Args:
    config: the file of the configuration, with a variant if there is one.
    workdir: of the run.
    overrides: keys of the configuration.
  """
  return [
    'train.py',
    f'--config={config}',
    f'--workdir={workdir}',
    *(f'--config.{key}={value}' for key, value in overrides.items()),
  ]


def run(command: Sequence[str]) -> int:
  """Runs Python in `ROOT`; a signal lets it save what it has.

  Args:
    command: the arguments of Python.

  Returns:
    The status that it ends with.
  """
  with subprocess.Popen([sys.executable, *command], cwd=ROOT) as process:
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
      status = process.wait()
    except KeyboardInterrupt:
      # The program has got the signal as well, and saves what it has.
      status = process.wait()
    signal.signal(signal.SIGTERM, before)
  return status


def run_to_end(name: str, command: Sequence[str]) -> None:
  """Runs Python in `ROOT`, for a program that goes on where it was stopped.

  Args:
    name: of the program.
    command: the arguments of Python.

  Raises:
    SystemExit: it has failed, and has said why.
  """
  if status := run(command):
    sys.exit(
      f'{command_line.spell(name)}: status {status} from python '
      f'{shlex.join(command)}\n'
      'What is finished is kept; the same command goes on.'
    )


def has_accelerator() -> bool:
  """Whether JAX finds more than the CPU.

  Asked in another process: one that has asked keeps the memory of a device.
  """
  ask = 'import jax; print(jax.default_backend())'
  answer = subprocess.run(
    [sys.executable, '-c', ask], capture_output=True, text=True, check=True
  )
  return answer.stdout.split()[-1] != 'cpu'


def configure(row: Row, seeds: Sequence[int]) -> ml_collections.ConfigDict:
  """The configuration of a run.

  Args:
    row: whose run.
    seeds: of the run, one after the other.
  """
  name, *variant = row.config.split(':')
  path = ROOT / f'configs/{name}.py'
  config = runpy.run_path(str(path))['get_config'](*variant)
  config.update_from_flattened_dict(_overrides(row, seeds))
  return config


def config_of(row: Row, seeds: Sequence[int]) -> dict[str, Any]:
  """The same as a workdir has it."""
  return json.loads(configure(row, seeds).to_json())


def _argument(config: str) -> str:
  """The value of --config: `FILE` or `FILE:VARIANT` from the name."""
  name, colon, variant = config.partition(':')
  return f'configs/{name}.py{colon}{variant}'


def _overrides(row: Row, seeds: Sequence[int]) -> dict[str, Any]:
  return {**row.overrides, 'seed': seeds[0], 'num_seeds': len(seeds)}


def reproduce(name: str, num_draws: int, neutral: Mapping[str, str]) -> None:
  """Trains the seeds 0 to `num_draws` - 1 of a row, and keeps its results.

  Args:
    name: of the row.
    num_draws: at least 1; seeds that are there beyond them are kept.
    neutral: values of keys that do not change what the run computes.

  Raises:
    InputError: the code or the data has changed while the row was trained.
    SystemExit: a training has failed, and has said why.
  """
  path = ROOT / f'benchmarks/results/{name}.json'
  code = code_at('HEAD')
  runs = _kept(path, ROWS[name], code)
  first = len(runs[0]['seeds']) if runs else 0
  if first >= num_draws:
    print(f'{name}: all {first} seeds are there.', flush=True)
    return
  num_together = num_draws if has_accelerator() else 1
  for start in range(first, num_draws, num_together):
    seeds = range(start, min(start + num_together, num_draws))
    runs = [merging.merge([*runs, _train(name, seeds, neutral, code)])]
    command_line.write_result(path, runs[0])


def _kept(
  path: pathlib.Path, row: Row, code: str | None
) -> list[dict[str, Any]]:
  """The results that a row has, if they are of the code as it is now."""
  if not path.exists():
    return []
  results = json.loads(path.read_text())
  expected = config_of(row, range(len(results['seeds'])))
  reason = _difference(
    results['config'], measured.makers(results), expected, code
  )
  if reason:
    print(f'{path.name} will be replaced: {reason}.', flush=True)
    return []
  return [results]


def _difference(
  config: Mapping[str, Any],
  makers: Iterable[Mapping[str, Any]],
  expected: Mapping[str, Any],
  code: str | None,
) -> str | None:
  """Why a run is not what the row is now, or None.

  Args:
    config: of the run.
    makers: the processes that trained it, and measured it.
    expected: what its configuration would be now.
    code: as it is now.
  """
  for maker in makers:
    if code_at(maker['commit']) != code:
      return f'it is of the code at commit {maker["commit"]}'
  flat = [
    traverse_util.flatten_dict(tree, sep='.')
    for tree in (config, expected, json.loads(recipes.defaults().to_json()))
  ]
  return next(iter(training.differences(*flat)), None)


def _train(
  name: str, seeds: Sequence[int], neutral: Mapping[str, str], code: str | None
) -> dict[str, Any]:
  """The results of some seeds, which are trained if they are not there."""
  row = ROWS[name]
  workdir = ROOT / 'runs/benchmarks' / name / _folder(seeds)
  reason = _difference_of_workdir(workdir, config_of(row, seeds), code)
  if reason:
    aside = _aside(workdir)
    workdir.rename(aside)
    print(f'{workdir} is now {aside.name}: {reason}.', flush=True)
  if not Run(epath.Path(workdir)).is_finished:
    _require(code)
    keys = {**_overrides(row, seeds), **neutral}
    command = train_command(_argument(row.config), workdir, keys)
    print(f'\n{name}, {workdir.name}', flush=True)
    run_to_end('reproduce', command)
  return merging.read(workdir)


def _folder(seeds: Sequence[int]) -> str:
  return (
    f'seed_{seeds[0]}' if len(seeds) == 1 else f'seeds_{seeds[0]}_{seeds[-1]}'
  )


def _difference_of_workdir(
  workdir: pathlib.Path, expected: Mapping[str, Any], code: str | None
) -> str | None:
  """Why what a workdir holds, if anything, is not the run of the row."""
  config, history, results = (
    json.loads(path.read_text()) if path.exists() else {}
    for path in (
      workdir / 'config.json',
      workdir / 'provenance.json',
      workdir / 'results.json',
    )
  )
  if not config:
    return None
  makers = [*history, *([results['evaluated']] if results else [])]
  return _difference(config, makers, expected, code)


def _aside(workdir: pathlib.Path) -> pathlib.Path:
  """Where a workdir goes that is replaced: no training is deleted."""
  names = (f'{workdir.name}_old_{n}' for n in itertools.count(1))
  paths = (workdir.with_name(name) for name in names)
  return next(path for path in paths if not path.exists())


def _require(code: str | None) -> None:
  """Raises InputError if the code is not what the first seeds are of."""
  refuse_changed_files()
  if code_at('HEAD') != code:
    raise errors.InputError(
      'another commit of aae_jax/ is checked out than at the start; start the '
      'command again.'
    )


def parse_neutral(arguments: Sequence[str]) -> dict[str, str]:
  """The values by key of arguments `--config.KEY=VALUE`.

  Raises:
    InputError: an argument is something else, or its key is not neutral.
  """
  neutral = {}
  for argument in arguments:
    flag, equals, value = argument.partition('=')
    key = flag.removeprefix('--config.')
    if key == flag or not equals:
      raise errors.InputError(
        f'unknown argument {argument!r}; expected --config.KEY=VALUE.'
      )
    if key not in experiments.NEUTRAL_KEYS:
      raise errors.InputError(
        f'{argument} would give another result; expected one of '
        f'{", ".join(experiments.NEUTRAL_KEYS)}.'
      )
    neutral[key] = value
  return neutral


def main() -> None:
  """Trains the rows that the command line names, or all."""
  parser = command_line.make_parser('reproduce', __doc__)
  command_line.add_names(parser, 'row', ROWS)
  parser.add_argument('--seeds', type=int, help='0 to SEEDS - 1')
  known, others = parser.parse_known_intermixed_args()
  with command_line.one_line_errors('reproduce'):
    if known.seeds is not None and known.seeds < 1:
      raise errors.InputError(f'seeds is {known.seeds}; expected at least 1.')
    neutral = parse_neutral(others)
    refuse_changed_files()
    if code_at('HEAD') is None:
      raise errors.InputError(
        f'{ROOT} is not a clone; expected one, whose commit the results name.'
      )
    for name in known.names or ROWS:
      reproduce(name, known.seeds or ROWS[name].draws, neutral)


if __name__ == '__main__':
  main()
