"""Tests of aae_jax.addresses."""

import configparser
import importlib.util
import pathlib
import re

import pytest

import aae_jax
from aae_jax import addresses
from aae_jax.errors import InputError

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture
def nothing_installed(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)


@pytest.mark.parametrize(
  'address, extra, package',
  [('gs://bucket/run', 'gcs', 'gcsfs'), ('s3://bucket/run', 's3', 's3fs')],
)
def test_bucket_without_its_package(nothing_installed, address, extra, package):
  del nothing_installed
  with pytest.raises(
    InputError,
    match=re.escape(
      f'{address} needs {package}, which is not installed: '
      f"pip install 'aae_jax[{extra}]'"
    ),
  ):
    aae_jax.load(address)
  parser = configparser.ConfigParser()
  parser.read(ROOT / 'setup.cfg')
  extras = parser['options.extras_require']
  assert re.search(rf'^{package}\b', extras[extra], re.MULTILINE)


def test_bucket_with_its_package(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: name)
  assert str(addresses.folder('gs://bucket/run')) == 'gs://bucket/run'


@pytest.mark.parametrize('address', ['az://a/run', 'gcs://a/run', 's4:///run'])
def test_address_that_nothing_can_read(address):
  with pytest.raises(
    InputError,
    match=f'{address} is no address of a run; expected a local folder, '
    'gs://BUCKET/FOLDER or s3://BUCKET/FOLDER',
  ):
    aae_jax.load(address)


def test_local_folder_needs_no_package(nothing_installed):
  del nothing_installed
  assert addresses.folder('~/run') == pathlib.Path.home() / 'run'
  assert addresses.folder(pathlib.Path('a/run')) == pathlib.Path('a/run')
