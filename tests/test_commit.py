"""Tests of aae_jax.commit and benchmarks.provenance."""

import pathlib
import subprocess
import sys

import pytest

from aae_jax import commit
from benchmarks import (
  baselines,
  feed,
  growth,
  kill_and_resume,
  provenance,
  reproduce,
  start,
  step_time,
  time_to_error,
  tpu_plan,
  two_processes,
)

ROOT = pathlib.Path(__file__).parent.parent
FILES = ('aae_jax/a.py', 'train.py', 'benchmarks/results/a.json', 'docs/a.png')


def git(folder, *arguments):
  identity = ('-c', 'user.name=name', '-c', 'user.email=address')
  return subprocess.run(
    ['git', *identity, *arguments],
    cwd=folder,
    check=True,
    capture_output=True,
    text=True,
  ).stdout.strip()


def write(folder, name, text='changed'):
  path = folder / name
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text)


@pytest.fixture
def repository(tmp_path):
  """A copy of the code, all of it committed."""
  git(tmp_path, 'init')
  for name in FILES:
    write(tmp_path, name, 'committed')
  write(tmp_path, '.gitignore', '__pycache__/\n')
  git(tmp_path, 'add', '.')
  git(tmp_path, 'commit', '-m', 'all')
  return tmp_path


def test_all_is_committed(repository):
  assert commit.changed_files(repository) == []
  assert commit.describe(repository) == git(repository, 'rev-parse', 'HEAD')


@pytest.mark.parametrize('name', ['aae_jax/a.py', 'train.py'])
@pytest.mark.parametrize('change', ['changed', 'staged', 'removed'])
def test_code_that_changed(repository, name, change):
  write(repository, name)
  if change == 'staged':
    git(repository, 'add', '.')
  if change == 'removed':
    (repository / name).unlink()
  assert commit.changed_files(repository) == [name]
  head = git(repository, 'rev-parse', 'HEAD')
  assert commit.describe(repository) == f'{head}-dirty'


@pytest.mark.parametrize('name', ['aae_jax/new/b.py', 'configs/new.py'])
def test_code_that_git_does_not_know(repository, name):
  write(repository, name)
  assert commit.changed_files(repository) == [name]


@pytest.mark.parametrize(
  'name',
  [
    'benchmarks/results/a.json',
    'benchmarks/results/new.json',
    'docs/a.png',
    'notes.txt',
    'aae_jax/__pycache__/a.pyc',
  ],
)
def test_what_no_result_depends_on(repository, name):
  write(repository, name)
  assert commit.changed_files(repository) == []
  assert not commit.describe(repository).endswith('-dirty')


def test_only_the_code_counts_in_a_repository_of_others(repository):
  write(repository, 'code/aae_jax/a.py', 'committed')
  git(repository, 'add', '.')
  git(repository, 'commit', '-m', 'code')
  write(repository, 'train.py')
  assert commit.changed_files(repository / 'code') == []
  write(repository, 'code/aae_jax/a.py')
  assert commit.changed_files(repository / 'code') == ['aae_jax/a.py']


def test_tree_is_that_of_the_files_at_a_commit(repository):
  first = git(repository, 'rev-parse', 'HEAD')
  tree = commit.tree(first, 'aae_jax', repository)
  assert tree == git(repository, 'rev-parse', 'HEAD:aae_jax')
  write(repository, 'aae_jax/a.py')
  git(repository, 'commit', '-am', 'changed')
  assert commit.tree('HEAD', 'aae_jax', repository) != tree
  assert commit.tree(first, 'aae_jax', repository) == tree
  write(repository, 'train.py')
  git(repository, 'commit', '-am', 'another file')
  assert commit.tree('HEAD~1', 'docs', repository) == commit.tree(
    'HEAD', 'docs', repository
  )


def test_tree_below_the_repository_of_others(repository):
  write(repository, 'code/aae_jax/a.py')
  git(repository, 'add', '.')
  git(repository, 'commit', '-m', 'code')
  expected = git(repository, 'rev-parse', 'HEAD:code/aae_jax')
  assert commit.tree('HEAD', 'aae_jax', repository / 'code') == expected


def test_tree_that_git_does_not_know(repository, tmp_path_factory):
  head = git(repository, 'rev-parse', 'HEAD')
  for name in ('0' * 40, f'{head}-dirty', 'None'):
    assert commit.tree(name, 'aae_jax', repository) is None
  assert commit.tree('HEAD', 'configs', repository) is None
  elsewhere = tmp_path_factory.mktemp('elsewhere')
  assert commit.tree('HEAD', 'aae_jax', elsewhere) is None


def test_code_is_that_of_the_package():
  assert provenance.code_at('HEAD') == git(ROOT, 'rev-parse', 'HEAD:aae_jax')
  assert provenance.code_at('0' * 40) is None


def test_code_that_is_in_no_repository(tmp_path):
  assert commit.describe(tmp_path) is None
  assert commit.changed_files(tmp_path) == []


def test_code_that_git_does_not_keep(repository, monkeypatch):
  site_packages = repository / 'site-packages'
  write(site_packages, 'aae_jax/a.py')
  assert commit.describe(site_packages) is None
  monkeypatch.setenv('PATH', '')
  assert commit.describe(repository) is None
  assert commit.changed_files(repository) == []


@pytest.mark.parametrize(
  'files, shown',
  [
    (['train.py'], 'train.py'),
    (list('abcde'), 'a, b, c and 2 more'),
  ],
)
def test_benchmarks_refuse_changed_files(monkeypatch, files, shown):
  monkeypatch.setattr(commit, 'changed_files', lambda: files)
  with pytest.raises(
    SystemExit,
    match=f'^changed files would make the result: {shown}; commit them first$',
  ):
    provenance.refuse_changed_files()


def test_benchmarks_run_from_a_commit(monkeypatch):
  monkeypatch.setattr(commit, 'changed_files', lambda: [])
  provenance.refuse_changed_files()


@pytest.mark.parametrize(
  'main',
  [
    baselines.main,
    feed.main,
    growth.main,
    kill_and_resume.main,
    reproduce.main,
    start.main,
    step_time.main,
    time_to_error.main,
    tpu_plan.main,
    two_processes.main,
  ],
  ids=lambda main: main.__module__,
)
def test_every_benchmark_refuses_before_it_measures(main, monkeypatch):
  monkeypatch.setattr(commit, 'changed_files', lambda: ['train.py'])
  monkeypatch.setattr(sys, 'argv', ['benchmark.py'])
  # Should it not refuse, it ends all the same.
  for module, name in (
    (baselines, 'run'),
    (kill_and_resume, 'kill_and_resume'),
    (subprocess, 'run'),
    (feed, 'idle_maker'),
    (growth, 'idle_maker'),
    (start, 'idle_maker'),
    (step_time, 'idle_maker'),
    (time_to_error, 'idle_maker'),
    (tpu_plan, 'compile_call'),
    (two_processes, 'idle_maker'),
  ):
    monkeypatch.setattr(module, name, None)
  with pytest.raises(SystemExit, match='^changed files would make the result'):
    main()
