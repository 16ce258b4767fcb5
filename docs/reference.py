"""Writes docs/reference.md from the docstrings.

python -m docs.reference
"""

from collections.abc import Callable, Iterator
import inspect
import pathlib
import pkgutil
import re
import textwrap
from typing import Any

PAGE = pathlib.Path(__file__).with_suffix('.md')

_TOP = """\
# Reference

By `python -m docs.reference`, from the docstrings. In shapes B is the size of
a batch, N a number of rows, S the number of seeds; H, W and C are height, width
and channels."""

SECTIONS = {
  'A trained model': (
    'aae_jax.load',
    'aae_jax.saved_model.LoadedModel',
    'aae_jax.errors.InputError',
  ),
  'Estimators': (
    'aae_jax.AAEClassifier',
    'aae_jax.AAEClusterer',
    'aae_jax.AAETransformer',
  ),
  'The loop': (
    'aae_jax.datasets.load',
    'aae_jax.experiments.Spec',
    'aae_jax.experiments.assemble',
    'aae_jax.training.steps',
    'aae_jax.trained.Trained',
    'aae_jax.trained.Trained.run',
    'aae_jax.trained.averaged',
    'aae_jax.trained.rows',
  ),
  'Parts of a system': (
    'aae_jax.systems.System',
    'aae_jax.systems.Model',
    'aae_jax.phases.Phase',
    'aae_jax.finishes.Finish',
    'aae_jax.priors.Prior',
    'aae_jax.posteriors.Posterior',
    'aae_jax.networks.Perceptron',
    'aae_jax.networks.Encoder',
    'aae_jax.networks.Decoder',
  ),
}
"""The names that the pages of docs use, by what for."""

_WITH_METHODS = ('A trained model', 'Estimators')
"""Sections that tell of the methods of their classes too."""

_NOT_CALLED = ('LoadedModel', 'InputError', 'Trained')
"""Whom a reader is given."""

_LISTS = ('Args', 'Attributes', 'Raises')
"""Parts of a docstring that are lists."""


def page() -> str:
  """The page that the docstrings give now."""
  parts, told = [_TOP], {}
  for title, names in SECTIONS.items():
    parts.append(f'## {title}')
    for name in names:
      parts += _of_name(name)
      if title in _WITH_METHODS:
        parts += _methods(name, told)
  return '\n\n'.join(parts) + '\n'


def _of_name(name: str) -> Iterator[str]:
  found, short = pkgutil.resolve_name(name), name.rpartition('.')[2]
  yield f'### {name.removeprefix("aae_jax.")}'
  yield f'`{name}{"" if short in _NOT_CALLED else _signature(found)}`'
  yield from _described(found)


def _methods(name: str, told: dict[Any, str]) -> Iterator[str]:
  """Of a class and its bases in this package.

  Args:
    name: of the class.
    told: the classes where methods are told of already, to which it adds.
  """
  short, others = name.rpartition('.')[2], []
  for method, function in _public(pkgutil.resolve_name(name)):
    if function in told:
      others.append(f'`{method}`')
      first = told[function]
    else:
      told[function] = short
      yield f'#### {short}.{method}'
      yield f'`{method}{_signature(function)}`'
      yield from _described(function)
  if others:
    yield f'{", ".join(others)}: as those of [{first}](#{first.lower()}).'


def _public(found: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
  """Methods by name, in the order in which they are defined."""
  for base in getattr(found, '__mro__', ()):
    for name, member in vars(base).items():
      function = getattr(member, '__func__', member)
      if (
        not name.startswith('_')
        and inspect.isfunction(function)
        and function.__module__.startswith('aae_jax')
        and inspect.getattr_static(found, name) is member
      ):
        yield name, function


def _signature(function: Callable[..., Any]) -> str:
  """With names and defaults: of types the docstring tells what matters."""
  found = inspect.signature(function).parameters
  hidden = {'self', 'cls'}
  if 'parent' in found:  # flax gives both to every network.
    hidden |= {'parent', 'name'}
  shown = [
    parameter.replace(
      annotation=inspect.Parameter.empty, default=_default(parameter.default)
    )
    for name, parameter in found.items()
    if name not in hidden
  ]
  return str(inspect.Signature(shown))


class _Shown(str):
  """A default that is shown as it is."""

  __repr__ = str.__str__


def _default(value: Any) -> Any:
  """One that is shown by an address in memory, a function, is left out."""
  is_told = value is inspect.Parameter.empty or repr(value)[0] != '<'
  return value if is_told else _Shown('...')


def _described(found: Any) -> Iterator[str]:
  """The docstring in Markdown."""
  body, *sections = re.split(
    r'^([A-Z][a-z]+):\n(?= )', inspect.getdoc(found), flags=re.MULTILINE
  )
  yield body.strip()
  for title, part in zip(sections[::2], sections[1::2], strict=True):
    part = textwrap.dedent(part).strip()
    if title in _LISTS:
      yield f'{title.replace("Args", "Arguments")}:'
      yield _list(part)
    else:
      yield f'{title}: {part}'


def _list(text: str) -> str:
  """Entries `name: text`, whose further lines are indented."""
  entries = (entry.partition(':') for entry in re.split(r'\n(?=\S)', text))
  return '\n'.join(
    f'- `{name}`: {" ".join(told.split())}' for name, _, told in entries
  )


def main() -> None:
  """Writes the page."""
  PAGE.write_text(page())


if __name__ == '__main__':
  main()
