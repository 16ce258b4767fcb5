"""Counts the lines of code of every module, at one commit or several.

  python -m benchmarks.code_lines [COMMIT ...]

A line counts if it has code: no blank one, no comment, no docstring.
"""

import argparse
import ast
import collections
from collections.abc import Iterator
import io
import subprocess
import sys
import tokenize

from benchmarks.command_line import ROOT

_NO_CODE = {
  tokenize.COMMENT,
  tokenize.DEDENT,
  tokenize.ENCODING,
  tokenize.ENDMARKER,
  tokenize.INDENT,
  tokenize.NEWLINE,
  tokenize.NL,
}


def count(source: str) -> int:
  """The lines of Python that have code."""
  lines = set()
  for token in tokenize.generate_tokens(io.StringIO(source).readline):
    if token.type not in _NO_CODE:
      lines.update(range(token.start[0], token.end[0] + 1))
  return len(lines - set(_docstring_lines(ast.parse(source))))


def _docstring_lines(tree: ast.AST) -> Iterator[int]:
  """Of modules, classes, functions, and of what is assigned."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
      if isinstance(node.value.value, str):
        yield from range(node.lineno, node.end_lineno + 1)


def modules(commit: str) -> dict[str, int]:
  """The lines of code by module of `aae_jax`, and of what is beside it."""
  listed = _git('ls-tree', '-r', '--name-only', commit).splitlines()
  found = collections.Counter()
  for path in listed:
    if path.endswith('.py') and not path.startswith('tests/'):
      found[_module(path)] += count(_git('show', f'{commit}:{path}'))
  return found


def _module(path: str) -> str:
  """`aae_jax/losses`, `aae_jax/phases`, `benchmarks`."""
  first, *rest = path.removesuffix('.py').split('/')
  return f'{first}/{rest[0]}' if first == 'aae_jax' else first


def _git(*arguments: str) -> str:
  answer = subprocess.run(
    ['git', *arguments], cwd=ROOT, capture_output=True, text=True
  )
  if answer.returncode:
    sys.exit(f'python -m benchmarks.code_lines: {answer.stderr.strip()}')
  return answer.stdout


def main() -> None:
  """Prints a table: a row a module, a column a commit."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('commits', nargs='*', default=['HEAD'])
  commits = parser.parse_args().commits
  counts = [modules(commit) for commit in commits]
  names = sorted(set().union(*counts))
  rows = [('module', *commits)]
  rows += [(name, *(count[name] for count in counts)) for name in names]
  rows.append(('all', *(sum(count.values()) for count in counts)))
  for name, *cells in rows:
    print(f'{name:28}' + ''.join(f'{cell!s:>12}' for cell in cells))


if __name__ == '__main__':
  main()
