"""Trains, evaluates and exports a system.

python train.py --config=NAME [--workdir=DIR] [--mode=MODE]
    [--config.KEY=VALUE ...]

NAME is one of those below, from any folder, or the path of a file of your own;
NAME:VARIANT for a variant that it has.

Several processes that train together are started by the same command each, on
Cloud TPU, GKE, Slurm, Open MPI or SkyPilot; elsewhere with
    --coordinator=HOST:PORT --num_processes=N --process_id=0 (to N - 1)
"""

from collections.abc import Callable, Mapping, Sequence
import difflib
import itertools
import pathlib
import runpy
import sys
import traceback
from typing import Any

from absl import app, flags, logging
from etils import epath
from flax import traverse_util
import jax
import ml_collections
from ml_collections import config_flags

from aae_jax import (
  addresses,
  catalogue,
  compilation_cache,
  errors,
  processes,
  recipes,
)
from aae_jax.interruption import Interruption

_MODES = {
  'train': 'train, or go on where a stopped run was saved; then evaluate',
  'evaluate': 'evaluate the last checkpoint and draw its figures again',
  'export': 'write the networks as StableHLO, for use without this package',
}

# Of several processes that train together; `processes.start` reads them.
flags.DEFINE_string('coordinator', None, 'HOST:PORT of process 0.')
flags.DEFINE_integer('num_processes', None, 'How many train together.')
flags.DEFINE_integer('process_id', None, 'Which of them this is, from 0.')

_CONFIG = config_flags.DEFINE_config_file('config')
_WORKDIR = flags.DEFINE_string('workdir', None, 'A folder or a bucket.')
_MODE = flags.DEFINE_string('mode', 'train', ', '.join(_MODES))


def main(argv: Sequence[str] | None = None) -> None:
  """Runs what the command line says.

  An error that a user can mend is shown in one line.

  Args:
    argv: the command line, the program's name first; that of the process if
      None.
  """
  app.run(
    lambda argv: _told(lambda: run(argv)),
    argv=argv,
    flags_parser=lambda argv: _told(lambda: parse_flags(argv)),
  )


def run(argv: list[str]) -> None:
  """Runs the mode, of flags that are parsed.

  Raises:
    InputError: what is left of the command line is not what is expected.
  """
  if len(argv) > 1:
    raise errors.InputError(f'unknown argument {argv[1]!r}; expected flags.')
  if _CONFIG.value is None:
    raise errors.InputError('expected --config=NAME; see --help.')
  if _MODE.value not in _MODES:
    raise errors.unknown('mode', _MODE.value, _MODES)
  workdir = addresses.folder(_WORKDIR.value or default_workdir())
  run_mode(_MODE.value, _CONFIG.value, workdir)


def run_mode(
  mode: str, config: ml_collections.ConfigDict, workdir: epath.Path
) -> None:
  """Trains, evaluates or exports, and keeps what is compiled for next time.

  Args:
    mode: train, evaluate or export.
    config: of the experiment.
    workdir: of its run.
  """
  # What takes long to import, and a mistake on the command line is told before.
  from aae_jax import training

  keep_compiled()
  if mode == 'train':
    with Interruption() as interruption:
      training.train_and_evaluate(config, workdir, interruption)
  elif mode == 'evaluate':
    training.evaluate(config, workdir)
  else:
    training.export(config, workdir)
  processes.stop()


def completed(config: Mapping[str, Any]) -> ml_collections.ConfigDict:
  """The configuration of a workdir, which may lack keys that came since."""
  return ml_collections.ConfigDict({**recipes.defaults().to_dict(), **config})


def keep_compiled() -> None:
  """Has JAX keep what it compiles in the user's cache, and say nothing."""
  logging.set_verbosity(logging.WARNING)
  cache = pathlib.Path('~/.cache/aae_jax/compilation').expanduser()
  compilation_cache.prune(cache, max_bytes=2**30)
  jax.config.update('jax_compilation_cache_dir', str(cache))


def default_workdir() -> str:
  """runs/NAME, with `,key=value` for each key given on the command line."""
  holder = flags.FLAGS['config']
  name = holder.config_filename.rpartition('/')[2].replace('.py', '', 1)
  overrides = [
    f',{key}={value}'.replace('/', '_')
    for key, value in sorted(holder.override_values.items())
  ]
  return f'runs/{name.replace(":", "-")}{"".join(overrides)}'


def parse_flags(argv: list[str]) -> list[str]:
  """Parses the command line.

  Raises:
    InputError: a flag, a key, a value or the file is not what is expected.
  """
  if {'--help', '-h', '--helpfull'} & set(argv):
    print(usage())
    sys.exit(0)
  try:
    argv = _with_config_path(argv)
    _start(argv)
    return flags.FLAGS(argv)
  except (flags.Error, KeyError, AttributeError, TypeError) as error:
    message = str(error.args[0]).strip()
    if 'Traceback' in message:  # The configuration's own error ends it.
      message = message.splitlines()[-1].rpartition('InputError: ')[2]
    elif isinstance(error, (KeyError, AttributeError)):
      message = _unknown_key(argv)
    raise errors.InputError(' '.join(message.split())) from None


def usage() -> str:
  """What `--help` shows: modes, configurations and keys."""
  rows = [__doc__, 'Modes:']
  rows += [f'  {name:10}{text}' for name, text in _MODES.items()]
  return '\n'.join([*rows, '', what_can_be_trained()])


def what_can_be_trained() -> str:
  """The part of `--help` that tells of configurations and keys."""
  rows = ['Configurations:', *catalogue.lines()]
  rows += ['', 'Keys and their defaults (a configuration may set others;']
  rows += ['what is None is left to the part that takes it):']
  rows += [
    f'  {key} = {value!r}' for key, value in _flat(recipes.defaults()).items()
  ]
  rows += ['', 'The workdir is runs/NAME and the keys given, unless --workdir.']
  return '\n'.join(rows)


def _flat(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """The values of a configuration by the names of their flags."""
  return traverse_util.flatten_dict({'config': config.to_dict()}, sep='.')


def _start(argv: list[str]) -> None:
  """Finds the other processes; a configuration may touch a device."""
  for name in ('num_processes', 'process_id'):
    value = _argument(argv, name)
    if value is not None:
      flags.FLAGS[name].parse(value)
  processes.start(
    _argument(argv, 'coordinator'),
    flags.FLAGS['num_processes'].value,
    flags.FLAGS['process_id'].value,
  )


def _argument(argv: list[str], name: str) -> str | None:
  """What --NAME is, or None without it; before flags are parsed."""
  for argument, following in zip(argv, [*argv[1:], ''], strict=True):
    flag, _, value = argument.partition('=')
    if flag in (f'-{name}', f'--{name}'):
      return value or following
  return None


def _with_config_path(argv: list[str]) -> list[str]:
  """The command line with the path of a configuration that it names.

  Raises:
    InputError: there is no such configuration.
  """
  argument = _argument(argv, 'config')
  if argument is None:
    return argv
  name, *variant = argument.split(':', 1)
  files = catalogue.files()
  if name in files:
    path = ':'.join([str(files[name]), *variant])
    return [
      path
      if flag in ('-config', '--config')
      else f'--config={path}'
      if part in (f'-config={argument}', f'--config={argument}')
      else part
      for flag, part in itertools.pairwise(['', *argv])
    ]
  if not pathlib.Path(name).is_file():
    raise errors.unknown('configuration', name, files)
  return argv


def _unknown_key(argv: list[str]) -> str:
  """The message for the first key that the configuration does not have."""
  path, *variant = _argument(argv, 'config').split(':', 1)
  known = _flat(runpy.run_path(path)['get_config'](*variant))
  given = [
    argument.lstrip('-').partition('=')[0]
    for argument in argv
    if argument.lstrip('-').startswith('config.')
  ]
  key = next(key for key in given if key not in known)
  [close] = difflib.get_close_matches(key, known, 1, cutoff=0.0)
  return f'unknown key {key!r}. Did you mean {close!r}? See --help for all.'


def _told(entry: Callable[[], Any]) -> Any:
  """As `errors.told`; whatever it is, no other process waits for this one."""
  try:
    return errors.told(entry)
  except SystemExit as leaving:
    processes.end(leaving.code)
  except Exception as error:
    if processes.count() == 1:
      raise
    if isinstance(error, jax.errors.JaxRuntimeError):
      processes.wait_for_last_words()
    traceback.print_exc()
    processes.end(1)
