"""What it costs to stream images that the devices could hold.

  python -m benchmarks.feed

It trains configs/mnist_semi_supervised.py, one seed, batch 100, on images in a
file that is mapped, and on the same images held by the device, in turn, so that
both meet the same machine. The blocks of the feed alone are timed as well,
until they are on the device. It waits five minutes for an idle machine, and
refuses another.
"""

import contextlib
import dataclasses
import statistics
import time
from typing import Any

import jax

from aae_jax import datasets, experiments
from benchmarks import command_line
from benchmarks.provenance import refuse_changed_files
from benchmarks.timing import (
  idle_maker,
  measure,
  steps_that_fill,
  training_of,
)
from configs import mnist_semi_supervised

REPETITIONS = 15
"""Calls of each program."""

SECONDS = 0.5
"""That a call fills."""

NUM_BLOCKS = 15
"""Of the feed alone."""


def build_experiments(name: str) -> dict[str, experiments.Experiment]:
  """The same training on images that are streamed, and that are held."""
  config = mnist_semi_supervised.get_config()
  config.update(batch_size=100, num_seeds=1)
  config.dataset.update(name=name, streaming=True)
  streamed = experiments.build(config)
  # What is measured must not end before the measurement does.
  streamed = dataclasses.replace(
    streamed, spec=dataclasses.replace(streamed.spec, epochs=10**6)
  )
  dataset = dataclasses.replace(
    streamed.dataset, placement=datasets.Placement()
  )
  resident = dataclasses.replace(streamed, dataset=dataset)
  return {'streamed': streamed, 'resident': resident}


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


def measure_feed(name: str) -> dict[str, Any]:
  """What the feed does, alone and behind a training.

  Args:
    name: of the data set.
  """
  built = build_experiments(name)
  rates = images_per_second(built['streamed'], NUM_BLOCKS)
  with contextlib.ExitStack() as stack:
    programs = {
      name: stack.enter_context(training_of(experiment))
      for name, experiment in built.items()
    }
    # As many of both.
    number = steps_that_fill(programs['resident'], SECONDS)
    programs['streamed'](number)
    steps = dict.fromkeys(programs, number)
    times = measure(programs, REPETITIONS, steps)
  median = {name: statistics.median(values) for name, values in times.items()}
  return {
    'images_per_second': statistics.median(rates),
    'milliseconds_per_step': median,
    'streamed_to_resident': median['streamed'] / median['resident'],
    'dataset': built['streamed'].dataset.name,
    'repetitions': REPETITIONS,
    'steps_per_repetition': number,
  }


def main() -> None:
  """Measures, writes the result and says it."""
  parser = command_line.make_parser('feed', __doc__)
  parser.add_argument('--dataset', default='mnist', help='which images')
  command_line.add_output(parser, 'feed.json')
  options = parser.parse_args()
  refuse_changed_files()
  with command_line.one_line_errors('feed'):
    maker = idle_maker()
    found = measure_feed(options.dataset)
  command_line.write_result(options.output, {**found, **maker})
  print(f'{found["images_per_second"]:,.0f} images a second of the feed alone')
  print(f'{found["streamed_to_resident"]:.3f} of the time of a step')


if __name__ == '__main__':
  main()
