"""Tests of aae_jax.compilation_cache."""

import os
import pathlib

import pytest

from aae_jax import compilation_cache
from tests import programs

ONE_MIB = 2**20


def write(path, size, accessed, modified=0):
  """Writes a file without content, whose times are in seconds."""
  path.parent.mkdir(parents=True, exist_ok=True)
  path.touch()
  os.truncate(path, size)
  os.utime(path, (accessed, modified))
  return path


@pytest.fixture
def cache(tmp_path):
  """Three files of 1 MiB; the second was read last, the first never again."""
  write(tmp_path / 'a', ONE_MIB, accessed=1)
  write(tmp_path / 'b', ONE_MIB, accessed=5, modified=2)
  # Where the system notes no access, writing counts.
  write(tmp_path / 'folder/c', ONE_MIB, accessed=0, modified=3)
  return tmp_path


def names(folder):
  return sorted(path.name for path in folder.rglob('*') if path.is_file())


@pytest.mark.parametrize(
  'max_bytes, left',
  [
    (3 * ONE_MIB, ['a', 'b', 'c']),
    (3 * ONE_MIB - 1, ['b', 'c']),
    (2 * ONE_MIB, ['b', 'c']),
    (ONE_MIB, ['b']),
    (ONE_MIB - 1, []),
  ],
)
def test_the_longest_unused_go(cache, max_bytes, left):
  compilation_cache.prune(cache, max_bytes)
  assert names(cache) == left


def test_no_cache_yet(tmp_path):
  compilation_cache.prune(tmp_path / 'absent', 0)
  assert not (tmp_path / 'absent').exists()


def test_another_process_was_faster(cache, monkeypatch):
  unlink = pathlib.Path.unlink

  def unlink_twice(path):
    unlink(path)
    unlink(path)

  monkeypatch.setattr(pathlib.Path, 'unlink', unlink_twice)
  (cache / 'dangling').symlink_to(cache / 'nowhere')
  compilation_cache.prune(cache, ONE_MIB)
  assert names(cache) == ['b']


def test_the_program_starts_with_at_most_a_gibibyte(tmp_path):
  cache = tmp_path / 'home/.cache/aae_jax/compilation'
  old = write(cache / 'old', 2**30, accessed=1)
  new = write(cache / 'new', 1, accessed=2)
  program = programs.start(
    tmp_path / 'output',
    tmp_path / 'home',
    '--config=configs/digits_autoencoder.py',
    '--config.epochs=0',
  )
  assert program.wait() == 1
  assert 'epochs is 0' in program.err
  assert new.exists() and not old.exists()
