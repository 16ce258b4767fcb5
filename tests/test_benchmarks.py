"""Tests that the benchmarks are one package, with one way to run it."""

import ast
import pathlib
import re

import pytest

from aae_jax import errors
from benchmarks import code_lines, command_line

ROOT = command_line.ROOT
FOLDER = ROOT / 'benchmarks'
PROGRAMS = (
  'anomalies',
  'baselines',
  'code_lines',
  'compare_codes',
  'estimators',
  'feed',
  'gallery',
  'growth',
  'kill_and_resume',
  'package_model',
  'reproduce',
  'start',
  'step_time',
  'table',
  'time_to_error',
  'tpu_plan',
  'two_processes',
)
SOURCES = {
  str(path.relative_to(ROOT)): path.read_text()
  for path in sorted(FOLDER.rglob('*.py'))
}
TEXTS = [
  ROOT / 'Makefile',
  ROOT / 'README.md',
  FOLDER / 'README.md',
  *sorted((ROOT / 'docs').glob('*.md')),
  *sorted((ROOT / 'configs').glob('*.py')),
]


@pytest.mark.parametrize('name', SOURCES)
def test_modules_are_found_without_help(name):
  """The folder above is on the path, as `python -m` puts it there."""
  assert 'sys.path' not in SOURCES[name]
  assert 'noqa' not in SOURCES[name]


def test_programs_are_those_that_there_are():
  programs = [n for n, text in SOURCES.items() if "__name__ == '__main" in text]
  assert programs == [f'benchmarks/{name}.py' for name in PROGRAMS]


@pytest.mark.parametrize('name', PROGRAMS)
def test_docstring_begins_with_the_command(name):
  docstring = ast.get_docstring(ast.parse(SOURCES[f'benchmarks/{name}.py']))
  paragraph = docstring.split('\n\n')[1]
  assert paragraph.strip().startswith(command_line.spell(name))


@pytest.mark.parametrize(
  'text',
  [*SOURCES.values(), *(path.read_text() for path in TEXTS)],
  ids=[*SOURCES, *(str(path.relative_to(ROOT)) for path in TEXTS)],
)
def test_commands_name_modules(text):
  assert 'python benchmarks/' not in text
  for name in re.findall(r'-m benchmarks\.(\w+)', text):
    assert name in {*PROGRAMS, 'NAME'}


@pytest.mark.parametrize('name', SOURCES)
def test_functions_are_short(name):
  lengths = {
    node.name: node.end_lineno - node.lineno + 1
    for node in ast.walk(ast.parse(SOURCES[name]))
    if isinstance(node, ast.FunctionDef)
  }
  longest = 30 if name.endswith(('gallery.py', 'page.py')) else 60
  assert {n: size for n, size in lengths.items() if size > longest} == {}


def test_help_names_the_command():
  parser = command_line.make_parser('table', 'First line.\n\n  an example\n')
  assert parser.format_help().startswith('usage: python -m benchmarks.table ')
  assert 'First line.\n\n  an example\n' in parser.format_help()


def test_names_are_those_that_are_known(capsys):
  parser = command_line.make_parser('reproduce', '')
  command_line.add_names(parser, 'row', ['mnist_100', 'gan'])
  assert parser.parse_args([]).names == []
  assert parser.parse_args(['gan', 'mnist_100']).names == ['gan', 'mnist_100']
  with pytest.raises(SystemExit):
    parser.parse_args(['gan', 'gans'])
  assert capsys.readouterr().err == (
    'usage: python -m benchmarks.reproduce [-h] [ROW ...]\n'
    'python -m benchmarks.reproduce: error: argument ROW: '
    "unknown row 'gans'; known: gan, mnist_100. Did you mean 'gan'?\n"
  )
  assert 'all unless said: mnist_100, gan' in parser.format_help()


def test_results_have_their_place_unless_said():
  parser = command_line.make_parser('table', '')
  command_line.add_output(parser, 'a.json')
  assert parser.parse_args([]).output == ROOT / 'benchmarks/results/a.json'
  assert parser.parse_args(['--output=b.json']).output == 'b.json'


@pytest.mark.parametrize('kind', [errors.InputError, OSError])
def test_what_a_user_can_mend_is_one_line(kind):
  with pytest.raises(
    SystemExit, match='^python -m benchmarks.table: what was wrong$'
  ):
    with command_line.one_line_errors('table'):
      raise kind('what was wrong')


def test_other_errors_are_not_hidden():
  with pytest.raises(ZeroDivisionError), command_line.one_line_errors('table'):
    raise ZeroDivisionError


def test_results_get_their_folder(tmp_path):
  path = tmp_path / 'new' / 'result.json'
  command_line.write_result(path, {'error': 1.5, 'lost': float('nan')})
  assert path.read_text() == '{\n  "error": 1.5,\n  "lost": null\n}\n'
  command_line.write_result(pathlib.Path(path), {})
  assert path.read_text() == '{}\n'


SOURCE = '''"""A module."""

import os  # A comment.

# Another.
TEXT = """Two
lines."""
"""What it is."""


class Kind:
  """Has nothing."""

  def method(self):
    """Says so."""
    return (
      1,
    )
'''


def test_lines_of_code_are_counted():
  assert code_lines.count(SOURCE) == 1 + 2 + 1 + 4


def test_lines_are_those_of_the_modules_at_a_commit():
  found = code_lines.modules('HEAD')
  assert found['aae_jax/phases'] > found['aae_jax/losses'] > 20
  assert 'tests' not in found and found['benchmarks']
