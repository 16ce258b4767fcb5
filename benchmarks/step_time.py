"""How long a step takes, beside the limit of its hardware and a peer.

  python -m benchmarks.step_time [SYSTEM/UNITS/BATCH/SEEDS ...]

For each setting, or for those that are named, all programs are measured in
turn, so that all of them meet the same machine, in calls of half a second:

  ours      the step of configs/mnist_semi_supervised.py or configs/mnist_aae.py
  limit     the matrix products and the optimizer updates of that step alone,
            of one seed
  peer      the same algorithm in PyTorch, eager, on the CPU, of one seed; there
            is one of the semi-supervised AAE
  compiled  the same by torch.compile
  before    the first setting's step of another checkout, with --before=DIR
  without   the step with a part of it left out, and with all of them; of the
            first setting, and of the same with batches of 1000

The products and the updates of the limit are timed apart as well; and the
products twice over, which takes twice as long if the compiler has removed none.

It waits five minutes for an idle machine, and refuses another.
"""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
from typing import Any

import jax
import ml_collections
import numpy as np

from aae_jax import commit, errors, experiments, train_step
from aae_jax.datasets import Dataset, Split
from benchmarks import command_line
from benchmarks.limit import (
  Products,
  Updates,
  make_limit,
  make_products,
  make_updates,
  matrix_products,
)
from benchmarks.provenance import refuse_changed_files
from benchmarks.timing import (
  Program,
  idle_maker,
  measure,
  missing_peer,
  spread,
  steps_that_fill,
)
from configs import mnist_aae, mnist_semi_supervised

REPETITIONS = 9
"""Calls of each program."""

SECONDS = 0.5
"""That a call fills."""

CONFIGS = {
  'semi_supervised_aae': mnist_semi_supervised.get_config,
  'aae': mnist_aae.get_config,
}


@dataclasses.dataclass(frozen=True)
class Setting:
  """What is measured.

  Attributes:
    system: a key of `CONFIGS`.
    units: of each hidden layer.
    batch_size: of a step.
    num_seeds: that train side by side.
  """

  system: str
  units: int = 400
  batch_size: int = 100
  num_seeds: int = 1

  @property
  def name(self) -> str:
    """`SYSTEM/UNITS/BATCH/SEEDS`."""
    return '/'.join(map(str, dataclasses.astuple(self)))


FIRST = Setting('semi_supervised_aae')

SETTINGS = {
  setting.name: setting
  for system in CONFIGS
  for units, seeds in ((400, (1, 4, 10)), (1000, (1, 4)))
  for batch_size in (100, 1000)
  for num_seeds in seeds
  for setting in [Setting(system, units, batch_size, num_seeds)]
}

TAKEN_APART = (FIRST, dataclasses.replace(FIRST, batch_size=1000))
"""The settings whose step is measured without each of its parts."""

PARTS = {
  'input noise': {'encoder.input_noise': 0.0},
  'batch normalization': {'encoder.batch_norm': False},
  # A leaky rectifier that lets everything through: the compiler removes it.
  'rectifiers': {
    f'{network}.{key}': value
    for network in ('encoder', 'decoder', 'discriminator')
    for key, value in (('activation', 'leaky_relu'), ('slope', 1.0))
  },
  'averages': {'ema_decay': 0.0},
  'balanced prior': {'prior_y.balanced': False},
}
"""The parts of their step that have no matrix product and no update, and the
changes that leave each out."""

WITHOUT = PARTS | {
  'all of these': {
    key: value for changes in PARTS.values() for key, value in changes.items()
  }
}
"""All that is left out of their step in turn."""

RANDOM_IMAGES = "random images of MNIST's shape"


def configure(setting: Setting, **changes: Any) -> ml_collections.ConfigDict:
  """The configuration of a setting.

  Args:
    setting: which one.
    **changes: of its keys.
  """
  config = CONFIGS[setting.system]()
  config.update(batch_size=setting.batch_size, num_seeds=setting.num_seeds)
  for network in (config.encoder, config.decoder, config.discriminator):
    network.hidden = (setting.units, setting.units)
  config.update_from_flattened_dict(changes)
  return config


def build_experiment(
  setting: Setting = FIRST, **changes: Any
) -> tuple[experiments.Experiment, ml_collections.ConfigDict]:
  """Builds the experiment that is measured.

  Args:
    setting: which one.
    **changes: of keys of its configuration.

  Returns:
    The experiment, on one device, and its configuration.

  Raises:
    InputError: JAX sees more devices than one.
  """
  if jax.local_device_count() != 1:
    raise errors.InputError(
      f'JAX sees {jax.local_device_count()} devices; expected one.'
    )
  config = configure(setting, **changes)
  try:
    return experiments.build(config), config
  except OSError:
    # What a download raises where there is no network.
    return assemble(config, random_images()), config


def assemble(
  config: ml_collections.ConfigDict,
  dataset: Dataset,
  devices: Sequence[jax.Device] | None = None,
) -> experiments.Experiment:
  """What a configuration describes, of other data than it names.

  Args:
    config: of the experiment.
    dataset: what it is trained on.
    devices: that share every batch; all that there are if None.
  """
  spec = experiments.build_spec(config, dataset.schema)
  labelled = experiments.draw_labelled(spec, dataset, config.num_labels)
  return experiments.assemble(spec, dataset, labelled, devices)


def random_images(number: int = 60_000) -> Dataset:
  """Images of MNIST's shape to train on, as many as it has unless said."""
  generator = np.random.default_rng(0)
  image = generator.integers(0, 256, (number, 28, 28, 1), np.uint8)
  train = Split(image, np.arange(number, dtype=np.int32) % 10)
  none = train.part(0, 0)
  return Dataset(RANDOM_IMAGES, train, none, none, num_classes=10)


def make_ours(built: experiments.Experiment) -> Program:
  """The program that trains."""
  run, (data, _) = built.run(), next(built.chunks(0))
  carry = {'state': built.init()}

  def steps(num_steps):
    request = train_step.Request(num_steps)
    carry['state'], _ = run(carry['state'], data, request)
    jax.block_until_ready(carry['state'])

  return steps


class Checkout:
  """The step of another checkout, in a process of its own.

  It waits while others are measured.
  """

  _PROGRAM = """
import sys
from absl import flags
from benchmarks import step_time
flags.FLAGS(['step_time.py'])
steps = step_time.make_ours(step_time.build_experiment()[0])
for line in sys.stdin:
  steps(int(line))
  print('done', flush=True)
"""

  def __init__(self, folder: str):
    """Starts the process.

    Raises:
      InputError: the folder is no checkout.
    """
    if not pathlib.Path(folder, 'benchmarks/step_time.py').is_file():
      raise errors.InputError(f'before is {folder}; expected a checkout.')
    self._process = subprocess.Popen(
      [sys.executable, '-c', self._PROGRAM],
      cwd=folder,
      # Should this checkout be on the path, it would measure itself.
      env=os.environ | {'PYTHONPATH': os.path.abspath(folder)},
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )

  def __call__(self, num_steps: int) -> None:
    """Makes so many steps, and returns when they are done."""
    print(num_steps, file=self._process.stdin, flush=True)
    while (line := self._process.stdout.readline()).strip() != 'done':
      if not line:
        raise RuntimeError('the checkout that is measured as before has ended')

  def end(self) -> None:
    """Ends the process."""
    self._process.communicate()


def make_programs(
  config: ml_collections.ConfigDict, built: experiments.Experiment
) -> dict[str, Program]:
  """All programs of a setting, without the peer if it is missing."""
  equations = matrix_products(built)
  products, updates = Products(equations), Updates(built)
  twice = [equation for equation in equations for _ in range(2)]
  programs = {
    'ours': make_ours(built),
    'limit': make_limit(products, updates),
    'products': make_products(products),
    'products_twice': make_products(Products(twice)),
    'updates': make_updates(updates),
  }
  if config.system == FIRST.system and missing_peer() is None:
    from benchmarks.peers import pytorch

    programs['peer'] = pytorch.Peer(config, built)
    programs['compiled'] = pytorch.Peer(config, built, is_compiled=True)
  return programs


def make_without(setting: Setting) -> dict[str, Program]:
  """The step of a setting without each of its parts."""
  return {
    f'without {part}': make_ours(build_experiment(setting, **changes)[0])
    for part, changes in WITHOUT.items()
  }


def summarize(
  times: Mapping[str, Sequence[float]], setting: Setting
) -> dict[str, Any]:
  """Medians and spreads in ms a step, and the ratios of the medians.

  Args:
    times: in ms a step, by program.
    setting: what was measured. Where several seeds train side by side, they are
      compared with as many times what the others take, which train one.
  """
  median = {name: statistics.median(values) for name, values in times.items()}
  seeds, ours = setting.num_seeds, median['ours']

  def to_ours(name):
    return seeds * median[name] / ours if name in median else None

  before = median.get('before')
  return {
    **dataclasses.asdict(setting),
    'milliseconds_per_step': {
      name: spread(values) for name, values in times.items()
    },
    'examples_per_second': 1e3 * seeds * setting.batch_size / ours,
    'ratios': {
      'ours_to_limit': ours / (seeds * median['limit']),
      'peer_to_ours': to_ours('peer'),
      'compiled_to_ours': to_ours('compiled'),
      'before_to_limit': before and before / median['limit'],
      'products_twice_to_products': (
        median['products_twice'] / median['products']
      ),
    },
    'saved_milliseconds': {
      name.removeprefix('without '): ours - value
      for name, value in median.items()
      if name.startswith('without ')
    },
  }


def measure_setting(setting: Setting, before: str | None) -> dict[str, Any]:
  """What `summarize` finds of a setting.

  Args:
    setting: which one.
    before: the folder of another checkout, if there is one.
  """
  built, config = build_experiment(setting)
  programs = make_programs(config, built)
  with contextlib.ExitStack() as stack:
    if setting in TAKEN_APART:
      programs |= make_without(setting)
    if setting == FIRST and before is not None:
      checkout = Checkout(before)
      stack.callback(checkout.end)
      programs['before'] = checkout
    steps = {
      name: steps_that_fill(program, SECONDS)
      for name, program in programs.items()
    }
    times = measure(programs, REPETITIONS, steps)
  return {
    **summarize(times, setting),
    'dataset': built.dataset.name,
    'config': json.loads(config.to_json()),
  }


def main() -> None:
  """Measures, writes the result after each setting and says it."""
  parser = command_line.make_parser('step_time', __doc__)
  command_line.add_names(parser, 'setting', SETTINGS)
  parser.add_argument('--before', metavar='DIR', help='another checkout')
  command_line.add_output(parser, 'step_time.json')
  options = parser.parse_args()
  refuse_changed_files()
  with command_line.one_line_errors('step_time'):
    result = {
      'settings': {},
      'peer_missing': missing_peer(),
      'before': options.before
      and commit.describe(pathlib.Path(options.before)),
      'repetitions': REPETITIONS,
      **idle_maker(*([] if missing_peer() else ['torch'])),
    }
    for name in options.names or SETTINGS:
      found = measure_setting(SETTINGS[name], options.before)
      result['settings'][name] = found
      command_line.write_result(options.output, result)
      print(f'\n{name}')
      for program, value in found['milliseconds_per_step'].items():
        print(f'  {program:28}{value["median"]:9.2f} ms')
      for ratio, value in found['ratios'].items():
        if value is not None:
          print(f'  {ratio:28}{value:9.3f}', flush=True)


if __name__ == '__main__':
  main()
