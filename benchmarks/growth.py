"""How the time of a step grows with what is trained.

  python -m benchmarks.growth

The first setting of `benchmarks.step_time`, on random images of MNIST's shape,
with more or less of one thing at a time: units of a hidden layer, images of a
batch, seeds, and images to train on. Those of one thing are measured in turn,
each beside its limit: the matrix products and updates of that step alone, as
often as there are seeds.

It writes the result and draws it. It waits five minutes for an idle machine,
and refuses another.
"""

from collections.abc import Mapping
import statistics
from typing import Any

from matplotlib.figure import Figure

from aae_jax import drawing, experiments
from benchmarks import command_line, step_time
from benchmarks.command_line import ROOT
from benchmarks.limit import Products, Updates, make_limit, matrix_products
from benchmarks.provenance import refuse_changed_files
from benchmarks.step_time import FIRST, Setting
from benchmarks.table import log_axes
from benchmarks.timing import Program, idle_maker, measure, steps_that_fill

REPETITIONS = 5
"""Calls of each program."""

SECONDS = 0.5
"""That a call fills."""

PICTURE = 'docs/growth.png'

SIZES = {
  'units': (100, 200, 400, 800, 1600),
  'batch': (50, 100, 200, 400, 800),
  'seeds': (1, 2, 4, 8, 16),
  'images': (1_000, 10_000, 100_000, 1_000_000),
}
"""What there is more or less of, and how much."""

TITLES = {
  'units': 'units of a hidden layer',
  'batch': 'images of a batch',
  'seeds': 'seeds that train together',
  'images': 'images to train on',
}


def build(thing: str, size: int) -> experiments.Experiment:
  """The first setting, with another size of one thing.

  Args:
    thing: a key of `SIZES`.
    size: how much of it there is.
  """
  sizes = {
    'units': FIRST.units,
    'batch': FIRST.batch_size,
    'seeds': FIRST.num_seeds,
    'images': 60_000,
    thing: size,
  }
  images = step_time.random_images(sizes.pop('images'))
  config = step_time.configure(Setting(FIRST.system, *sizes.values()))
  return step_time.assemble(config, images)


def make_programs(thing: str, size: int) -> dict[str, Program]:
  """Ours, and its limit of one seed; the arguments are those of `build`."""
  built = build(thing, size)
  return {
    'ours': step_time.make_ours(built),
    'limit': make_limit(Products(matrix_products(built)), Updates(built)),
  }


def measure_growth(thing: str) -> dict[str, dict[str, float]]:
  """Milliseconds of a step by size, of ours and of the limit.

  Args:
    thing: a key of `SIZES`.
  """
  programs = {
    (size, name): program
    for size in SIZES[thing]
    for name, program in make_programs(thing, size).items()
  }
  steps = {
    key: steps_that_fill(program, SECONDS) for key, program in programs.items()
  }
  times = measure(programs, REPETITIONS, steps)
  found = {str(size): {} for size in SIZES[thing]}
  for (size, name), values in times.items():
    seeds = size if (thing, name) == ('seeds', 'limit') else 1
    found[str(size)][name] = seeds * statistics.median(values)
  return found


def draw(growth: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Figure:
  """A panel for each thing, the time of a step over its size.

  Args:
    growth: what `measure_growth` finds, by thing.
  """
  figure = Figure(figsize=(10, 3), dpi=drawing.DPI, layout='constrained')
  panels = figure.subplots(1, len(growth), sharey=True)
  for axes, (thing, found) in zip(panels, growth.items(), strict=True):
    for name, style, colour in zip(
      ('ours', 'limit'), ('o-', 's--'), drawing.COLOURS, strict=False
    ):
      values = [of_one[name] for of_one in found.values()]
      sizes = [int(size) for size in found]
      axes.plot(sizes, values, style, color=colour, label=name, markersize=4)
    log_axes(axes, TITLES[thing])
    axes.set_xticks(sizes, [f'{size:,}' for size in sizes])
  panels[0].set_ylabel('milliseconds of a step')
  panels[0].legend(frameon=False)
  return figure


def main() -> None:
  """Measures and says it, writes the result and draws it."""
  parser = command_line.make_parser('growth', __doc__)
  command_line.add_output(parser, 'growth.json')
  options = parser.parse_args()
  refuse_changed_files()
  with command_line.one_line_errors('growth'):
    result: dict[str, Any] = {'repetitions': REPETITIONS, **idle_maker()}
    result['milliseconds_per_step'] = growth = {}
    for thing in SIZES:
      growth[thing] = measure_growth(thing)
      for size, of_one in growth[thing].items():
        told = [f'{name} {value:8.2f} ms' for name, value in of_one.items()]
        print(f'{size:>8} {TITLES[thing]:26}{"  ".join(told)}', flush=True)
  command_line.write_result(options.output, result)
  (ROOT / PICTURE).write_bytes(drawing.to_png(draw(growth)))


if __name__ == '__main__':
  main()
