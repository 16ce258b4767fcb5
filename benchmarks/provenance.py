"""Results come from code that can be found again."""

from aae_jax import commit


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
