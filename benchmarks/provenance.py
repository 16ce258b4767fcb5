"""Results come from code that can be found again."""

from aae_jax import commit

Code = tuple[str | None, ...]
"""The hashes of `aae_jax/` and `configs/`."""


def code_at(revision: str) -> Code:
  """The code of a commit: what a number depends on.

  Args:
    revision: the hash of a commit, or HEAD.

  Returns:
    A hash for each folder; None where git does not know the commit.
  """
  return tuple(commit.tree(revision, name) for name in ('aae_jax', 'configs'))


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
