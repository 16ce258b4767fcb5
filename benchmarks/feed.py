"""What it costs to stream images that the devices could hold.

  python -m benchmarks.feed

It trains configs/mnist_semi_supervised.py, one seed, batch 100, on images in a
file that is mapped, and on the same images held by the device, in turn, so that
both meet the same machine. The blocks of the feed alone are timed as well,
until they are on the device.
"""

from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
import os
import statistics
import time
from typing import Any

from absl import app, flags
import jax

from aae_jax import datasets, experiments, training
from aae_jax.train_step import Request
from benchmarks import command_line
from benchmarks.provenance import made_by, refuse_changed_files
from benchmarks.step_time import measure
from configs import mnist_semi_supervised

_REPETITIONS = flags.DEFINE_integer(
  'repetitions', 15, 'Calls of each program.', lower_bound=1
)
_STEPS = flags.DEFINE_integer('steps', 50, 'Steps in a call.', lower_bound=1)
_BLOCKS = flags.DEFINE_integer(
  'blocks', 15, 'Blocks of the feed alone.', lower_bound=1
)
_DATASET = flags.DEFINE_string('dataset', 'mnist', 'Which images.')
_OUTPUT = flags.DEFINE_string(
  'output', str(command_line.RESULTS / 'feed.json'), 'Where the result goes.'
)


def build_experiments() -> dict[str, experiments.Experiment]:
  """The same training on images that are streamed, and that are held."""
  config = mnist_semi_supervised.get_config()
  config.update(batch_size=100, num_seeds=1)
  config.dataset.update(name=_DATASET.value, streaming=True)
  streamed = experiments.build(config)
  dataset = dataclasses.replace(
    streamed.dataset, placement=datasets.Placement()
  )
  resident = dataclasses.replace(streamed, dataset=dataset)
  return {'streamed': streamed, 'resident': resident}


@contextlib.contextmanager
def training_of(experiment: experiments.Experiment) -> Iterator[Any]:
  """The program that trains: it makes so many steps."""
  spec = dataclasses.replace(experiment.spec, epochs=10**6)
  experiment = dataclasses.replace(experiment, spec=spec)
  asked = {'num_steps': 0}
  request = lambda step: Request(asked['num_steps'])
  calls = training.steps(experiment, experiment.init(), request)

  def steps(num_steps):
    while num_steps:
      asked['num_steps'] = num_steps
      _, agreed = next(calls)
      num_steps -= agreed.num_steps

  with contextlib.closing(calls):
    yield steps


def images_per_second(
  experiment: experiments.Experiment, num_blocks: int
) -> list[float]:
  """Of the feed alone, one value a block."""
  spec, found = experiment.spec, []
  images = spec.batch_size + spec.labelled_batch_size
  with contextlib.closing(experiment.chunks(0)) as chunks:
    # The first one compiles the draw of an order.
    _, first = next(chunks)
    for _ in range(num_blocks):
      start = time.perf_counter()
      data, until = next(chunks)
      jax.block_until_ready(data)
      seconds = time.perf_counter() - start
      found.append(images * (until - first) / seconds)
      first = until
  return found


def main(argv: Sequence[str]) -> None:
  """Measures, writes the result and says it."""
  if len(argv) > 1:
    raise app.UsageError(f'unknown argument {argv[1]!r}; expected flags.')
  refuse_changed_files()
  load = os.getloadavg()
  built = build_experiments()
  rates = images_per_second(built['streamed'], _BLOCKS.value)
  with contextlib.ExitStack() as stack:
    programs = {
      name: stack.enter_context(training_of(experiment))
      for name, experiment in built.items()
    }
    times = measure(programs, _REPETITIONS.value, _STEPS.value)
  median = {name: statistics.median(values) for name, values in times.items()}
  result = {
    'images_per_second': statistics.median(rates),
    'milliseconds_per_step': median,
    'streamed_to_resident': median['streamed'] / median['resident'],
    'dataset': built['streamed'].dataset.name,
    'repetitions': _REPETITIONS.value,
    'steps_per_repetition': _STEPS.value,
    'load_average_at_start': load,
    **made_by(),
  }
  command_line.write_result(_OUTPUT.value, result)
  print(f'{result["images_per_second"]:,.0f} images a second of the feed alone')
  print(f'{result["streamed_to_resident"]:.3f} of the time of a step')


if __name__ == '__main__':
  app.run(main)
