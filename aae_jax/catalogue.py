"""The configurations that come with the package."""

import ast
import pathlib


def files() -> dict[str, pathlib.Path]:
  """By name; they are in the package once it is installed, else beside it."""
  package = pathlib.Path(__file__).parent
  folder = package / 'configs'
  # What is beside an installed package is another's.
  if not folder.is_dir():
    folder = package.parent / 'configs'
  return {path.stem: path for path in sorted(folder.glob('*.py'))}


def lines() -> list[str]:
  """A line for each: its name, and the first line of its docstring."""
  found = files()
  width = max(map(len, found))
  return [f'  {name:{width}}  {_summary(path)}' for name, path in found.items()]


def _summary(path: pathlib.Path) -> str:
  docstring = ast.get_docstring(ast.parse(path.read_text()))
  return docstring.splitlines()[0]
