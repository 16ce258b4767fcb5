"""Repeats the numbers of the README.

  python benchmarks/reproduce.py [NAME ...]

Each is a run of `train.py`, which goes on where it was stopped; its
`results.json` becomes `benchmarks/results/NAME.json`.
"""

import argparse
from collections.abc import Mapping
import pathlib
import shutil
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).parent.parent
# Run as a file, this folder and not the one above is on the path.
sys.path.insert(0, str(ROOT))

from benchmarks.provenance import refuse_changed_files  # noqa: E402

SUBSET = {'dataset.allow_unverified': True}
"""Takes a part of SVHN from `$AAE_DATA_DIR/svhn_cropped`: no SVHN numbers."""

RUNS = {
  'digits_100': ('digits_semi_supervised', {}),
  'mnist_100': ('mnist_semi_supervised', {'num_seeds': 3}),
  'mnist_aae_gaussian': ('mnist_aae', {}),
  'mnist_aae_gaussian_mixture': (
    'mnist_aae',
    {'prior.name': 'gaussian_mixture'},
  ),
  'mnist_vae_gaussian': ('mnist_vae', {}),
  'mnist_vae_gaussian_mixture': (
    'mnist_vae',
    {'prior.name': 'gaussian_mixture'},
  ),
  'mnist_autoencoder': ('mnist_autoencoder', {}),
  'mnist_autoencoder_8d': ('mnist_autoencoder', {'latent_size': 8}),
  'mnist_aae_8d': ('mnist_aae', {'latent_size': 8, 'prior.std': 5.0}),
  'mnist_gan': ('mnist_gan', {}),
  'mnist_label_regularized': ('mnist_label_regularized', {}),
  'mnist_supervised': ('mnist_supervised', {}),
  'mnist_clustering_30': ('mnist_clustering', {}),
  'mnist_clustering_16': ('mnist_clustering', {'num_clusters': 16}),
  'mnist_dimensionality_reduction': ('mnist_dimensionality_reduction', {}),
  'mnist_dimensionality_reduction_clustering': (
    'mnist_dimensionality_reduction_clustering',
    {},
  ),
  'svhn_subset_classifier': ('svhn_classifier', SUBSET),
  'svhn_subset_semi_supervised': ('svhn_semi_supervised', SUBSET),
  'svhn_subset_supervised': ('svhn_supervised', SUBSET),
}
"""The configuration and the overridden keys of each number."""


def train_command(
  config: pathlib.Path, workdir: pathlib.Path, overrides: Mapping[str, Any]
) -> list[str]:
  """What Python is to run, in `ROOT`, for a training.

  Args:
    config: the file of the configuration.
    workdir: of the run.
    overrides: keys of the configuration.
  """
  return [
    'train.py',
    f'--config={config}',
    f'--workdir={workdir}',
    *(f'--config.{key}={value}' for key, value in overrides.items()),
  ]


def reproduce(name: str) -> None:
  """Runs one of `RUNS` to its end and keeps its results."""
  refuse_changed_files()
  config, overrides = RUNS[name]
  workdir = ROOT / 'runs/benchmarks' / name
  file = pathlib.Path(f'configs/{config}.py')
  command = train_command(file, workdir, overrides)
  subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
  results = ROOT / 'benchmarks/results'
  results.mkdir(exist_ok=True)
  shutil.copyfile(workdir / 'results.json', results / f'{name}.json')


def main() -> None:
  """Runs what the command line names, or everything."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('names', nargs='*', choices=[*RUNS, []], default=[])
  for name in parser.parse_args().names or RUNS:
    reproduce(name)


if __name__ == '__main__':
  main()
