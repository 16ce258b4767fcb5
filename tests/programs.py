"""Runs train.py and aae as processes, without the seconds of their imports.

A server that has imported what the program needs forks the processes: so a
test costs what the program itself does.
"""

import contextlib
import dataclasses
import importlib
import io
import multiprocessing
import os
import pathlib
import runpy
import signal
import sys
import time

from benchmarks import kill_and_resume

ROOT = pathlib.Path(__file__).parent.parent

COMPILED = 'AAE_TESTS_COMPILED'
"""The variable that names the folder of compiled code that all tests share."""


@dataclasses.dataclass(frozen=True)
class Program:
  """A process of train.py.

  Attributes:
    process: of `multiprocessing`.
    folder: where its output goes.
  """

  process: multiprocessing.Process
  folder: pathlib.Path

  @property
  def out(self) -> str:
    return (self.folder / 'out').read_text()

  @property
  def err(self) -> str:
    return (self.folder / 'err').read_text()

  def wait(self, seconds: float = 300.0) -> int:
    """Returns the exit status; one that is killed has a negative one."""
    self.process.join(seconds)
    if self.process.is_alive():
      self.process.kill()
      raise TimeoutError(f'{self.out}\n{self.err}')
    return self.process.exitcode

  def wait_for(self, text: str, seconds: float = 300.0) -> None:
    """Waits until the text is in what was written to standard error."""
    end = time.monotonic() + seconds
    while text not in self.err:
      if not self.process.is_alive() or time.monotonic() > end:
        raise TimeoutError(f'no {text!r} in:\n{self.out}\n{self.err}')
      time.sleep(0.01)


@contextlib.contextmanager
def starting(folder: pathlib.Path, home: pathlib.Path):
  """Gives what starts programs, and ends those that are left.

  Args:
    folder: for the output of all.
    home: see `start`, whose other arguments are for each.
  """
  started = []

  def start_another(*arguments, **environment):
    own = folder / f'output_{len(started)}'
    started.append(start(own, home, *arguments, **environment))
    return started[-1]

  yield start_another
  for program in started:
    program.process.kill()
    program.process.join()


def start(
  folder: pathlib.Path, home: pathlib.Path, *arguments, **environment
) -> Program:
  """Starts train.py.

  Args:
    folder: for its output.
    home: what takes the place of the user's home, where caches are.
    *arguments: of the command line.
    **environment: variables beside those of this process.
  """
  environment = {**environment, 'HOME': str(home)}
  return _start(_main, folder, environment, arguments)


def command(
  folder: pathlib.Path, home: pathlib.Path, *arguments: str
) -> Program:
  """Starts the command aae; the arguments are as those of `start`."""
  return _start(_command, folder, {'HOME': str(home)}, arguments)


def page(
  folder: pathlib.Path,
  home: pathlib.Path,
  reader: pathlib.Path,
  *words: str,
  **variables: str,
) -> Program:
  """Starts what a page says to type in the folder of its reader, made small.

  Args:
    folder: for its output.
    home: as of `start`.
    reader: the working folder.
    *words: `aae COMMAND ...`.
    **variables: of the environment.
  """
  # One device: what is compiled for four takes four times as long.
  environment = {
    **variables,
    'HOME': str(home),
    'XLA_FLAGS': os.environ['XLA_FLAGS'].replace('count=4', 'count=1'),
  }
  return _start(_page, folder, environment, (str(reader), *words))


def call(
  folder: pathlib.Path, home: pathlib.Path, function: str, *arguments
) -> Program:
  """Starts a process that parses flags and prints what a function returns."""
  return _start(_call, folder, {'HOME': str(home)}, (function, *arguments))


def _start(target, folder, environment, arguments):
  context = multiprocessing.get_context('forkserver')
  context.set_forkserver_preload(kill_and_resume.PRELOAD)
  folder.mkdir(parents=True, exist_ok=True)
  process = context.Process(
    target=target, args=(str(folder), environment, arguments)
  )
  program = Program(process, folder)
  for name in ('out', 'err'):
    (folder / name).touch()
  process.start()
  return program


def _main(folder, environment, arguments):
  _prepare(folder, environment, arguments)
  runpy.run_path('train.py', run_name='__main__')


def _command(folder, environment, arguments):
  _prepare(folder, environment, arguments)
  sys.argv[0] = 'bin/aae'
  importlib.import_module('aae_jax.command').main()


def _page(folder, environment, arguments):
  reader, _, *words = arguments
  _prepare(folder, environment, words)
  os.chdir(reader)
  # As Python does when it starts.
  path = os.environ.get('PYTHONPATH', '').split(os.pathsep)
  sys.path[:0] = filter(None, path)
  importlib.import_module('tests.shortened').shorten()
  importlib.import_module('aae_jax.command').run(words)


def _call(folder, environment, arguments):
  function, *arguments = arguments
  _prepare(folder, environment, arguments)
  # Not before, for it defines flags.
  program = importlib.import_module('aae_jax.program')
  program.parse_flags(sys.argv)
  print(getattr(program, function)())


def _prepare(folder, environment, arguments):
  for stream, name in ((sys.stdout, 'out'), (sys.stderr, 'err')):
    with contextlib.suppress(io.UnsupportedOperation):
      stream.flush()
    with open(f'{folder}/{name}', 'w') as file:
      os.dup2(file.fileno(), stream.fileno())
  # A shell lets its background jobs, and so all of these, ignore SIGINT.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  os.environ.update(environment)
  _share_compiled(pathlib.Path(environment['HOME']))
  os.chdir(ROOT)
  sys.argv = ['train.py', *arguments]


def _share_compiled(home):
  """A program's home has the folder that is everybody's."""
  cache = home / '.cache/aae_jax/compilation'
  cache.parent.mkdir(parents=True, exist_ok=True)
  with contextlib.suppress(FileExistsError):
    cache.symlink_to(os.environ[COMPILED], target_is_directory=True)
