"""Which code runs: the commit, and what has changed since."""

import pathlib
import subprocess

_ROOT = pathlib.Path(__file__).parent.parent

_NO_CODE = (':(exclude)benchmarks/results', ':(exclude)docs')
"""What benchmarks write, one after the other, and no result depends on."""


def describe(root: pathlib.Path = _ROOT) -> str | None:
  """The commit of the code.

  Args:
    root: the folder of the code.

  Returns:
    The hash, followed by `-dirty` if there are `changed_files`, or None where
    git does not know the code.
  """
  if not _git(root, 'ls-files', 'aae_jax'):
    return None
  [head] = _git(root, 'rev-parse', 'HEAD')
  return f'{head}-dirty' if changed_files(root) else head


def changed_files(root: pathlib.Path = _ROOT) -> list[str]:
  """The files of the code that are not as in the commit, below `root`.

  Results and pictures do not count, nor do new files that are neither in the
  package nor among the configurations.
  """
  changed = _git(
    root, 'diff', 'HEAD', '--name-only', '--relative', '--', '.', *_NO_CODE
  )
  new = ('ls-files', '--others', '--exclude-standard', 'aae_jax', 'configs')
  return changed + _git(root, *new)


def tree(commit: str, folder: str, root: pathlib.Path = _ROOT) -> str | None:
  """The hash of what a folder holds at a commit.

  Args:
    commit: its hash, or a name of it such as HEAD.
    folder: in `root`.
    root: the folder of the code.

  Returns:
    The hash, or None where git does not know the commit or the folder.
  """
  name = f'{commit}:./{folder}'
  found = _git(root, 'rev-parse', '--verify', '--quiet', name)
  return found[0] if found else None


def _git(root: pathlib.Path, *arguments: str) -> list[str]:
  """The lines that git prints: none without git, or outside a repository."""
  try:
    ended = subprocess.run(
      ['git', *arguments], cwd=root, capture_output=True, text=True, check=False
    )
  except OSError:
    return []
  return ended.stdout.splitlines()
