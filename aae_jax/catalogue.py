"""The configurations and trained models that come with the package."""

import ast
import pathlib

from etils import epath

from aae_jax import addresses, errors


def files() -> dict[str, pathlib.Path]:
  """By name; they are in the package once it is installed, else beside it."""
  package = pathlib.Path(__file__).parent
  folder = package / 'configs'
  # What is beside an installed package is another's.
  if not folder.is_dir():
    folder = package.parent / 'configs'
  return {path.stem: path for path in sorted(folder.glob('*.py'))}


def models() -> dict[str, pathlib.Path]:
  """The folders of the trained models, by name."""
  folder = pathlib.Path(__file__).parent / 'models'
  return {path.name: path for path in sorted(folder.glob('*'))}


def workdir(name: epath.PathLike) -> epath.Path:
  """The workdir of a run, or the folder of a trained model of the package.

  Args:
    name: of the model; a folder that is there comes before it.

  Raises:
    InputError: there is neither, or it is in a bucket that cannot be read.
  """
  path, known = addresses.folder(name), models()
  if path.is_dir():
    return path
  if str(name) not in known:
    raise errors.InputError(
      f'there is no folder {path}; expected the workdir of a run, or a model '
      f'that comes with the package: {", ".join(known)}.'
    )
  return epath.Path(known[str(name)])


def lines() -> list[str]:
  """A line for each: its name, and the first line of its docstring."""
  found = files()
  width = max(map(len, found))
  return [f'  {name:{width}}  {_summary(path)}' for name, path in found.items()]


def _summary(path: pathlib.Path) -> str:
  docstring = ast.get_docstring(ast.parse(path.read_text()))
  return docstring.splitlines()[0]
