"""How long each method takes until it errs in no more than so many percent.

  python -m benchmarks.time_to_error [TRAINING ...]

The rows of the README's table of methods, with the settings that they have
there, and `peer`, which is the recipe of `mnist_100` in eager PyTorch. Each
trains on 55,000 images of MNIST, of which 100 have a label, the same for all;
the other 5,000, which are for validation, are looked at five times an epoch. A
training is left once it errs in no more than 2 %, or after five minutes. All
trainings, or those that are named, are one after the other.

The seconds are those of training, from its first call on: compilation counts,
looking at validation images and reading the data do not. After each training
the result is written and drawn. It waits five minutes for an idle machine, and
refuses another.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import time
from typing import Any

from matplotlib.figure import Figure
import ml_collections

from aae_jax import drawing, experiments, measures
from benchmarks import command_line
from benchmarks.command_line import ROOT
from benchmarks.provenance import refuse_changed_files
from benchmarks.reproduce import configure
from benchmarks.rows import METHODS, ROWS
from benchmarks.table import line_style, log_axes
from benchmarks.timing import idle_maker, missing_peer, training_of

PICTURE = 'docs/time_to_error.png'

PEER = 'peer'
PEER_ROW = 'mnist_100'
"""Whose recipe the peer has."""

TITLES = {
  method.row: method.title
  for method in METHODS
  # Its machine is fitted once the last step is done.
  if method.row != 'mnist_100_m1_tsvm'
} | {PEER: 'AAE in PyTorch'}
"""Of the trainings, by name."""

GOALS = (10.0, 6.0, 5.0, 2.0)
"""Errors in percent, from the largest on."""

SECONDS = 300.0
"""After which a training is left."""

LOOKS_PER_EPOCH = 5


@dataclasses.dataclass(frozen=True)
class Learner:
  """A training that can be looked at.

  Attributes:
    train: makes so many steps, and returns when they are done.
    error: on the validation images, in percent.
  """

  train: Callable[[int], Any]
  error: Callable[[], float]


def build(
  name: str,
) -> tuple[experiments.Experiment, ml_collections.ConfigDict]:
  """The experiment of a training, a key of `TITLES`, and its configuration."""
  config = configure(ROWS[PEER_ROW if name == PEER else name], [0])
  config.dataset.num_validation = 5000
  return experiments.build(config), config


@contextlib.contextmanager
def ours(experiment: experiments.Experiment) -> Iterator[Learner]:
  """The program that trains here."""
  dataset, found = experiment.dataset, {}
  evaluate = measures.Evaluator(experiment.system.unfinished, experiment.schema)

  def error():
    numbers = evaluate(found['state'], dataset.validation)
    return float(numbers['classification_error'][0])

  with training_of(experiment) as steps:
    yield Learner(lambda num_steps: found.update(state=steps(num_steps)), error)


@contextlib.contextmanager
def peer(
  experiment: experiments.Experiment, config: ml_collections.ConfigDict
) -> Iterator[Learner]:
  """The same in PyTorch."""
  from benchmarks.peers import pytorch

  made = pytorch.Peer(config, experiment)
  yield Learner(made, lambda: made.error(experiment.dataset.validation))


def follow(
  learner: Learner,
  steps_per_epoch: int,
  epochs: int,
  clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
  """Trains until the last goal, or until it has had its seconds or epochs.

  Args:
    learner: that has not made a step.
    steps_per_epoch: of its data.
    epochs: after which it ends.
    clock: in seconds.

  Returns:
    `seconds` and `epochs` by goal, None where it was not reached; and the
    `curve`, [epochs, seconds, error] at each look.
  """
  bounds = [
    round(steps_per_epoch * look / LOOKS_PER_EPOCH)
    for look in range(epochs * LOOKS_PER_EPOCH + 1)
  ]
  curve, seconds = [], 0.0
  for before, until in zip(bounds, bounds[1:], strict=False):
    start = clock()
    learner.train(until - before)
    seconds += clock() - start
    curve.append((until / steps_per_epoch, seconds, learner.error()))
    if curve[-1][2] <= GOALS[-1] or seconds >= SECONDS:
      break
  first = {
    goal: next((look for look in curve if look[2] <= goal), (None, None, None))
    for goal in GOALS
  }
  return {
    'epochs': {f'{goal:g}': look[0] for goal, look in first.items()},
    'seconds': {f'{goal:g}': look[1] for goal, look in first.items()},
    'curve': curve,
  }


def measure(name: str) -> dict[str, Any]:
  """What `follow` finds of a training.

  Args:
    name: a key of `TITLES`.
  """
  experiment, config = build(name)
  entered = peer(experiment, config) if name == PEER else ours(experiment)
  steps = experiment.feed.steps_per_epoch
  with entered as learner:
    return follow(learner, steps, experiment.spec.epochs)


def draw(trainings: Mapping[str, Mapping[str, Any]]) -> Figure:
  """Draws the error of each training over its seconds.

  Args:
    trainings: what `follow` finds of them, by name.
  """
  figure = Figure(figsize=(8, 4.5), dpi=drawing.DPI, layout='constrained')
  axes = figure.subplots()
  for name, title in TITLES.items():
    if name in trainings:
      _, seconds, error = zip(*trainings[name]['curve'], strict=True)
      style = line_style(name, TITLES)
      axes.plot(seconds, error, label=title, markevery=0.1, **style)
  log_axes(axes, 'seconds of training')
  axes.set_ylabel('validation error, %')
  figure.legend(loc='outside right center', frameon=False)
  return figure


def main() -> None:
  """Measures; after each training writes the result, draws it and says it."""
  parser = command_line.make_parser('time_to_error', __doc__)
  command_line.add_output(parser, 'time_to_error.json')
  command_line.add_names(parser, 'training', TITLES)
  options = parser.parse_args()
  refuse_changed_files()
  with command_line.one_line_errors('time_to_error'):
    missing = missing_peer()
    trainings = {}
    result = {
      'peer_missing': missing,
      'trainings': trainings,
      **idle_maker(*([] if missing else ['torch'])),
    }
    for name in options.names or TITLES:
      if name == PEER and missing:
        print(f'without {PEER}: {missing}')
        continue
      trainings[name] = found = measure(name)
      command_line.write_result(options.output, result)
      (ROOT / PICTURE).write_bytes(drawing.to_png(draw(trainings)))
      for goal, seconds in found['seconds'].items():
        told = 'not reached' if seconds is None else f'{seconds:7.1f} s'
        print(f'{name:18}{goal:>4} %  {told}', flush=True)


if __name__ == '__main__':
  main()
