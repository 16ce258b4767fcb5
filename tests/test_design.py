"""Tests that the code keeps to its design."""

import ast
import pathlib

import pytest

import aae_jax

PACKAGE = pathlib.Path(aae_jax.__file__).parent
TABLE = (
  'types',
  'errors',
  'addresses',
  'catalogue',
  'commit',
  'compilation_cache',
  'last_words',
  'processes',
  'randomness',
  'losses',
  'svm',
  'priors',
  'posteriors',
  'precision',
  'augmentation',
  'networks',
  'ladder',
  'phases',
  'finishes',
  'systems',
  'optimizers',
  'train_state',
  'early_stopping',
  'train_step',
  'datasets',
  'checkpoints',
  'events',
  'metrics',
  'provenance',
  'runs',
  'trained',
  'shipped',
  'statistics',
  'interruption',
  'recipes',
  'rules',
  'experiments',
  'measures',
  'measured',
  'search',
  'drawing',
  'curves',
  'figures',
  'explorer',
  'pages',
  'saved_model',
  'predictions',
  'training',
  'estimators',
  'program',
  'command',
  '__init__',
)
"""A module may import those before it."""

TREES = {
  path.relative_to(PACKAGE): ast.parse(path.read_text())
  for path in sorted(PACKAGE.rglob('*.py'))
}
FILES = pytest.mark.parametrize('path', TREES, ids=str)


def module_of(path):
  """The row of the table that a file belongs to."""
  return path.parts[0].removesuffix('.py')


def imports_of(tree):
  """The full names of what a file imports."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, 'imports name the package'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def definitions(tree, *kinds):
  return [node for node in ast.walk(tree) if isinstance(node, kinds)]


@FILES
def test_imports_point_up_the_table(path):
  module = module_of(path)
  own = [name for name in imports_of(TREES[path]) if name.startswith('aae_jax')]
  imported = {name.split('.')[1] for name in own} - {'__version__'}
  assert module in TABLE, f'{module} is not in the table of modules'
  above = set(TABLE[: TABLE.index(module)])
  # The files of a folder import one another.
  if len(path.parts) > 1:
    above.add(module)
  assert imported <= above


def test_the_train_step_knows_no_system():
  imported = set(imports_of(TREES[pathlib.Path('train_step.py')]))
  assert 'aae_jax.systems' not in imported
  assert not any(name.startswith('aae_jax.systems.') for name in imported)


@FILES
def test_configurations_end_at_the_experiment(path):
  reads = any('ml_collections' in name for name in imports_of(TREES[path]))
  first = TABLE.index('recipes')
  assert not reads or TABLE.index(module_of(path)) >= first


@FILES
def test_one_module_maps_over_devices(path):
  """Whoever calls, names or imports `pmap`."""
  names = {
    getattr(node, 'attr', None) or getattr(node, 'id', None)
    for node in ast.walk(TREES[path])
  } | {name.split('.')[-1] for name in imports_of(TREES[path])}
  mapped = {'pmap', 'shard_map', 'pjit'} & names
  assert mapped == ({'pmap'} if str(path) == 'train_step.py' else set())


@FILES
def test_functions_are_short(path):
  kinds = ast.FunctionDef, ast.AsyncFunctionDef
  lengths = {
    node.name: node.end_lineno - node.lineno + 1
    for node in definitions(TREES[path], *kinds)
  }
  assert {name: n for name, n in lengths.items() if n > 60} == {}


@FILES
def test_everything_public_is_documented(path):
  tree = TREES[path]
  assert ast.get_docstring(tree)
  public = [
    node
    for scope in [tree, *definitions(tree, ast.ClassDef)]
    if not getattr(scope, 'name', '').startswith('_')
    for node in scope.body
    if isinstance(node, ast.FunctionDef | ast.ClassDef)
    and not node.name.startswith('_')
  ]
  assert [n.name for n in public if not ast.get_docstring(n)] == []


def outer_functions(scope):
  """The functions and methods that are not within another function."""
  for node in ast.iter_child_nodes(scope):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      yield node, isinstance(scope, ast.ClassDef)
    else:
      yield from outer_functions(node)


def untyped(function, is_method):
  """The names of the parameters, and `return`, that have no annotation."""
  of = function.args
  parameters = [*of.posonlyargs, *of.args, of.vararg, *of.kwonlyargs, of.kwarg]
  decorators = {getattr(node, 'id', '') for node in function.decorator_list}
  if is_method and 'staticmethod' not in decorators:
    parameters = parameters[1:]  # Without `self` or `cls`.
  for parameter in parameters:
    if parameter and not parameter.annotation:
      yield parameter.arg
  if not function.returns and function.name != '__init__':
    yield 'return'


@FILES
def test_everything_is_typed(path):
  """But functions within functions, which are formulas."""
  found = {
    f'{function.name}: {name}'
    for function, is_method in outer_functions(TREES[path])
    for name in untyped(function, is_method)
  }
  assert found == set()


@FILES
def test_tensorflow_stays_out(path):
  roots = {name.split('.')[0] for name in imports_of(TREES[path])}
  assert 'tensorflow' not in roots


def test_nothing_is_called_utils():
  assert not [path for path in TREES if 'util' in path.stem]
