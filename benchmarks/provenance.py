"""Results come from code that can be found again."""

from aae_jax import commit


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
