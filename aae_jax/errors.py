"""The error that a user can mend."""

from collections.abc import Iterable
import difflib


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
