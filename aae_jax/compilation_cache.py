"""Keeps the folder of compiled programs from growing for ever.

JAX's own bound asks for a lock and for a note beside each file; a process that
is killed between the two leaves a folder that JAX warns of ever after.
"""

import contextlib
import os
import pathlib


def prune(folder: pathlib.Path, max_bytes: int) -> None:
  """Removes the files that were not used for longest, until the rest fits.

  Several processes may do so at once: what cannot be removed, for instance
  because another was faster, is left.

  Args:
    folder: which need not exist.
    max_bytes: what all files may take together.
  """
  files = sorted(_files(folder))
  excess = sum(size for _, size, _ in files) - max_bytes
  for _, size, path in files:
    if excess <= 0:
      break
    with contextlib.suppress(OSError):
      path.unlink()
    excess -= size


def _files(folder: pathlib.Path) -> list[tuple[float, int, pathlib.Path]]:
  """(seconds of the last use, bytes, path) of each file."""
  files = []
  for root, _, names in os.walk(folder):
    for path in (pathlib.Path(root, name) for name in names):
      with contextlib.suppress(OSError):
        stat = path.stat()
        # Not every system notes when a file was read.
        last_use = max(stat.st_atime, stat.st_mtime)
        files.append((last_use, stat.st_size, path))
  return files
