"""Trains and evaluates a system.

  python train.py --config=configs/NAME.py [--workdir=DIR] [--config.key=value]
"""

import pathlib
import sys

from absl import app
from absl import flags
from absl import logging
import jax
from ml_collections import config_flags

from aae_jax import errors
from aae_jax import training

_CONFIG = config_flags.DEFINE_config_file(
    'config', help_string='The experiment, a file of configs/.'
)
_WORKDIR = flags.DEFINE_string(
    'workdir',
    None,
    'Where results go and a stopped run goes on; a folder or a bucket. '
    'Default: runs/NAME and the overridden keys.',
)
_MODE = flags.DEFINE_enum(
    'mode', 'train', training.MODES, 'Train, or evaluate the last checkpoint.'
)


def default_workdir() -> str:
  """runs/NAME, with `,key=value` for each key given on the command line."""
  holder = flags.FLAGS['config']
  name = pathlib.Path(holder.config_filename).stem
  overrides = [
      f',{key}={str(value).replace("/", "_")}'
      for key, value in sorted(holder.override_values.items())
  ]
  return f'runs/{name}{"".join(overrides)}'


def main(argv: list[str]) -> None:
  """Runs the mode; errors that a user can mend are shown without traceback."""
  if len(argv) > 1:
    _leave(f'unknown argument {argv[1]!r}; expected flags only.')
  if _CONFIG.value is None:
    _leave('expected --config=configs/NAME.py.')
  logging.set_verbosity(logging.WARNING)
  jax.config.update('jax_compilation_cache_dir', _compilation_cache())
  modes = {'train': training.train_and_evaluate, 'evaluate': training.evaluate}
  try:
    modes[_MODE.value](_CONFIG.value, _WORKDIR.value or default_workdir())
  except (errors.InputError, errors.DivergenceError, OSError) as error:
    _leave(str(error))


def _compilation_cache() -> str:
  return str(pathlib.Path('~/.cache/aae_jax/compilation').expanduser())


def _leave(message: str) -> None:
  print(f'train.py: {message}', file=sys.stderr)
  sys.exit(1)


def _parse_flags(argv: list[str]) -> list[str]:
  """Parses flags; a config that cannot be read is said in one line."""
  try:
    return flags.FLAGS(argv)
  except flags.Error as error:
    _leave(str(error))
  except (OSError, KeyError, AttributeError, TypeError, ValueError) as error:
    _leave(str(error).splitlines()[0])


if __name__ == '__main__':
  app.run(main, flags_parser=_parse_flags)
