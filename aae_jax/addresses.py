"""Where a run lives: a folder on a disk, or in a bucket."""

import importlib.util

from etils import epath

from aae_jax import errors

_BUCKETS = {'gs': ('gcs', 'gcsfs'), 's3': ('s3', 's3fs')}
"""By scheme: the extra to install, and the package of it that is imported."""


def folder(address: epath.PathLike) -> epath.Path:
  """The path of a folder, with `~` expanded; nothing is read yet.

  Args:
    address: local, `gs://BUCKET/FOLDER` or `s3://BUCKET/FOLDER`.

  Raises:
    InputError: the address is of another kind, or what reads it is not
      installed.
  """
  scheme, separator, _ = str(address).partition('://')
  if separator and scheme not in _BUCKETS:
    raise errors.InputError(
      f'{address} is no address of a run; expected a local folder, '
      'gs://BUCKET/FOLDER or s3://BUCKET/FOLDER.'
    )
  if separator:
    extra, package = _BUCKETS[scheme]
    if importlib.util.find_spec(package) is None:
      raise errors.InputError(
        f'{address} needs {package}, which is not installed: '
        f"pip install 'aae_jax[{extra}]'"
      )
  return epath.Path(address).expanduser()
