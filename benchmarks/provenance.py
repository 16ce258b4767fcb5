"""Results come from code that can be found again."""

from collections.abc import Mapping
import datetime
import importlib.metadata
from typing import Any

from aae_jax import commit, provenance


def made_by(*packages: str) -> dict[str, Any]:
  """The time, and the commit, versions and hardware of this process.

  Args:
    *packages: whose versions are told beside those of every run.
  """
  process = without_command(provenance.of_process())
  versions = {name: importlib.metadata.version(name) for name in packages}
  return {
    'time': datetime.datetime.now(datetime.UTC).isoformat('T', 'seconds'),
    **process,
    'versions': process['versions'] | versions,
  }


def without_command(process: Mapping[str, Any]) -> dict[str, Any]:
  """A process without its command, which names folders of a machine."""
  return {name: part for name, part in process.items() if name != 'command'}


def code_at(revision: str) -> str | None:
  """The hash of `aae_jax/` at a commit: by it numbers are of the same code.

  That of `configs/` does not count, since results have their configuration, and
  the files say what came out.

  Args:
    revision: the hash of a commit, or HEAD.

  Returns:
    The hash, or None where git does not know the commit.
  """
  return commit.tree(revision, 'aae_jax')


def refuse_changed_files() -> None:
  """Ends the program if the result would name a commit that is not the code.

  Raises:
    SystemExit: in one line, which files have changed.
  """
  files = commit.changed_files()
  if not files:
    return
  more = f' and {len(files) - 3} more' if len(files) > 3 else ''
  raise SystemExit(
    f'changed files would make the result: {", ".join(files[:3])}{more}; '
    'commit them first'
  )
