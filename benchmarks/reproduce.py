"""Repeats the numbers of the README.

  python benchmarks/reproduce.py [NAME ...] [--config.KEY=VALUE ...]

Each is a run of `train.py`, which goes on where it was stopped; its
`results.json` becomes `benchmarks/results/NAME.json`. The keys are those that
change no number, such as `--config.dataset.manual_dir=DIR`.
"""

import argparse
from collections.abc import Mapping, Sequence
import pathlib
import shutil
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).parent.parent
# Run as a file, this folder and not the one above is on the path.
sys.path.insert(0, str(ROOT))

from aae_jax import errors, experiment  # noqa: E402
from benchmarks.provenance import refuse_changed_files  # noqa: E402

SUBSET = {'dataset.allow_unverified': True}
"""Takes a part of SVHN, from `--config.dataset.manual_dir` or else from
`$AAE_DATA_DIR/svhn_cropped`: no SVHN numbers."""

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


def reproduce(name: str, neutral: Mapping[str, str]) -> None:
  """Runs one of `RUNS` to its end and keeps its results.

  Args:
    name: a key of `RUNS`.
    neutral: values of keys that do not change what the run computes.
  """
  refuse_changed_files()
  config, overrides = RUNS[name]
  workdir = ROOT / 'runs/benchmarks' / name
  file = pathlib.Path(f'configs/{config}.py')
  command = train_command(file, workdir, {**overrides, **neutral})
  subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
  results = ROOT / 'benchmarks/results'
  results.mkdir(exist_ok=True)
  shutil.copyfile(workdir / 'results.json', results / f'{name}.json')


def parse_neutral(arguments: Sequence[str]) -> dict[str, str]:
  """The values by key of arguments `--config.KEY=VALUE`.

  Raises:
    InputError: an argument is something else, or its key is not neutral.
  """
  neutral = {}
  for argument in arguments:
    flag, equals, value = argument.partition('=')
    key = flag.removeprefix('--config.')
    if key == flag or not equals:
      raise errors.InputError(
        f'unknown argument {argument!r}; expected --config.KEY=VALUE.'
      )
    if key not in experiment.NEUTRAL_KEYS:
      raise errors.InputError(
        f'{argument} would give another result; expected one of '
        f'{", ".join(experiment.NEUTRAL_KEYS)}.'
      )
    neutral[key] = value
  return neutral


def main() -> None:
  """Runs what the command line names, or everything."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('names', nargs='*', choices=[*RUNS, []], default=[])
  known, others = parser.parse_known_intermixed_args()
  try:
    neutral = parse_neutral(others)
  except errors.InputError as error:
    sys.exit(f'reproduce.py: {error}')
  for name in known.names or RUNS:
    reproduce(name, neutral)


if __name__ == '__main__':
  main()
