"""Tests of the targets of the Makefile, without running them."""

import configparser
import os
import re
import subprocess

from tests.programs import ROOT


def commands_of(target):
  # The tests may themselves be run by make, which would say so here.
  outside = {k: v for k, v in os.environ.items() if 'MAKE' not in k}
  outside.pop('MFLAGS', None)
  ended = subprocess.run(
    ['make', '--dry-run', '--always-make', target, 'PYTHON312=other'],
    cwd=ROOT,
    env=outside,
    check=True,
    capture_output=True,
    text=True,
  )
  return ended.stdout.splitlines()


def test_check_runs_the_tests_on_another_python_too():
  commands = commands_of('check')
  tests = commands_of('test')
  assert commands[: len(tests)] == tests
  assert commands[len(tests) :] == [
    'other -m venv .venv312',
    ".venv312/bin/pip install --quiet --editable '.[test]'",
    'touch .venv312/installed',
    '.venv312/bin/python -m pytest -q -n 2 --dist loadfile '
    '-m "whole or not whole"',
  ]


def test_extras_are_found_by_every_pip():
  """That of Python 3.11 looks for `a_b` among names where it is `a-b`."""
  declared = configparser.ConfigParser()
  declared.read(ROOT / 'setup.cfg')
  extras = set(declared['options.extras_require'])
  assert not [name for name in extras if not re.fullmatch('[a-z0-9]+', name)]
  for target in ('test', 'check', 'tpu_plan'):
    installed = re.findall(r"'\.\[(.*?)\]'", '\n'.join(commands_of(target)))
    assert installed and extras.issuperset(installed)
