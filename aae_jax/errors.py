"""The errors that a user can mend, and how they are told."""

from collections.abc import Callable, Iterable
import difflib
import os
import pathlib
import signal
import sys
from typing import Any


class InputError(ValueError):
  """Input, files or surroundings are not what the program needs.

  The program shows the message alone, without a traceback: it names the value
  and what was expected.
  """


class DivergenceError(RuntimeError):
  """A loss is not finite."""


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
  """The error for a name that is not among the known ones.

  Args:
    what: the kind of thing, for instance 'prior'.
    name: as the user gave it.
    known: all names there are.
  """
  known = sorted(known)
  close = difflib.get_close_matches(name, known, 1)
  hint = f' Did you mean {close[0]!r}?' if close else ''
  return InputError(
    f'unknown {what} {name!r}; known: {", ".join(known)}.{hint}'
  )


def told(entry: Callable[[], Any]) -> Any:
  """Calls `entry`, and shows what a user can mend as one line.

  Raises:
    SystemExit: with status 1 after such an error, or when nobody reads what is
      written, and 130 after Ctrl-C.
  """
  try:
    found = entry()
    sys.stdout.flush()
    return found
  except BrokenPipeError:
    # Whoever read has gone, as `head` does; what is left to write goes nowhere.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)
  except (InputError, DivergenceError, OSError) as error:
    print(f'{pathlib.Path(sys.argv[0]).name}: {error}', file=sys.stderr)
    sys.exit(1)
  except KeyboardInterrupt:
    print(
      '\nStopped by SIGINT: what was there before stays; the same command '
      'begins anew.',
      file=sys.stderr,
    )
    sys.exit(128 + signal.SIGINT)
