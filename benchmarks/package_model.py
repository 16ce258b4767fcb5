"""Writes the model of a run as one that comes with the package.

  python -m benchmarks.package_model WORKDIR NAME

WORKDIR has a finished run of a single seed at a commit without changed files.
aae_jax/models/NAME gets its weights in float16, configuration, results and
model card, without what says where they were on a machine. The results tell
what float16 changes, on the test images.
"""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

from etils import epath
import numpy as np

from aae_jax import (
  addresses,
  datasets,
  errors,
  measured,
  measures,
  metrics,
  pages,
  program,
  saved_model,
  trained,
  training,
)
from aae_jax.datasets import Split
from aae_jax.runs import Run
from aae_jax.trained import Trained
from benchmarks.command_line import ROOT, make_parser, one_line_errors
from benchmarks.provenance import made_by, refuse_changed_files

_PLACES = ('--workdir', '--config.dataset.data_dir')
"""Flags of a command that say where something is on a machine."""


def package(workdir: epath.PathLike, folder: pathlib.Path) -> None:
  """Writes a model.

  Args:
    workdir: of a finished run of one seed.
    folder: to write to.

  Raises:
    InputError: the run is not one whose model can be given to others.
    OSError: something cannot be written.
  """
  run, shipped = Run(addresses.folder(workdir)), Run(epath.Path(folder))
  _check(run)
  # Before anything is written, which would change the files of the commit.
  maker = made_by()
  config = program.completed(run.config)
  dataset = datasets.load(**config.dataset)
  training.check_data(dataset.schema, run)
  saved_model.ship(run.workdir, shipped.workdir)
  results = _cleaned(run.results)
  results['shipped'] = {
    **_compare(run.workdir, shipped.workdir, dataset.test),
    'made_by': maker,
  }
  metrics.write_json(shipped.workdir / 'results.json', results)
  pages.write_card(shipped)


def _check(run: Run) -> None:
  if not run.is_finished:
    raise errors.InputError(
      f'{run.workdir} holds no finished run; expected one.'
    )
  for maker in measured.makers(run.results):
    if not maker['commit'] or maker['commit'].endswith('-dirty'):
      raise errors.InputError(
        f'{run.workdir} was trained at the commit {maker["commit"]}; expected '
        'one without changed files.'
      )


def _cleaned(results: Mapping[str, Any]) -> dict[str, Any]:
  """Results that do not say where anything was on a machine."""
  return {
    **results,
    'config': saved_model.without_places(results['config']),
    'trained': [_without_places(part) for part in results['trained']],
    'evaluated': _without_places(results['evaluated']),
  }


def _without_places(process: Mapping[str, Any]) -> dict[str, Any]:
  words = [
    word
    for word in process['command']
    if not word.startswith(tuple(f'{flag}=' for flag in _PLACES))
  ]
  return {**process, 'command': words}


def _compare(
  workdir: epath.Path, folder: epath.Path, test: Split
) -> dict[str, Any]:
  """What float16 changes: the numbers of images, and how many classes."""
  (run, schema), (half, _) = map(saved_model.restore, (workdir, folder))
  evaluator = measures.Evaluator(half.system, schema)
  found = evaluator.of_weights(half.weights, test)
  told = {
    'weights': 'float16',
    'metrics': {f'test/{name}': float(mean[0]) for name, mean in found.items()},
  }
  if half.model.classify:
    changed = _classes(run, test) != _classes(half, test)
    told['changed_classes'] = 100 * float(np.mean(changed))
  return told


def _classes(run: Trained, split: Split) -> np.ndarray:
  """The most probable class of each image, [N]."""
  return run.run(run.model.classify, trained.rows(split))[0].argmax(axis=-1)


def main(arguments: Sequence[str] | None = None) -> None:
  """Writes a model.

  Raises:
    SystemExit: in one line, why it cannot be.
  """
  parser = make_parser('package_model', __doc__)
  parser.add_argument('workdir', metavar='WORKDIR')
  parser.add_argument('name', metavar='NAME')
  options = parser.parse_args(arguments)
  refuse_changed_files()
  folder = ROOT / 'aae_jax/models' / options.name
  with one_line_errors('package_model'):
    package(options.workdir, folder)
  size = sum(path.stat().st_size for path in folder.iterdir())
  print(f'Wrote {folder.relative_to(ROOT)}, {size / 1e6:.2f} MB.')


if __name__ == '__main__':
  main()
