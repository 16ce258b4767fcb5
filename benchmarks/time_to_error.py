"""How long a training takes until it errs in no more than so many percent.

  python -m benchmarks.time_to_error [pure] [peer] [any]

It trains on 55,000 images of MNIST, of which 100 have a label, and looks at
the other 5,000, which are for validation, five times an epoch. Each training
has its schedule to the end of its epochs, and is left once it has the last of
its errors. All of these, or those that are named, one after the other, with one
seed:

  pure   configs/mnist_semi_supervised.py, until 10, 6 and 5 %
  peer   the same recipe in PyTorch, eager, on the CPU
  any    configs/mnist_semi_supervised.py:any, until 2 % as well

The seconds are those of training, from its first call on: compilation counts,
looking at validation images and reading the data do not. The draw of the labels
is one and the same. It waits five minutes for an idle machine, and refuses
another.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import time
from typing import Any

import ml_collections

from aae_jax import experiments, measures
from benchmarks import command_line
from benchmarks.provenance import refuse_changed_files
from benchmarks.timing import idle_maker, missing_peer, training_of
from configs import mnist_semi_supervised

LOOKS_PER_EPOCH = 5

GOALS = {
  'pure': (10.0, 6.0, 5.0),
  'peer': (10.0, 6.0, 5.0),
  'any': (10.0, 6.0, 5.0, 2.0),
}
"""The errors in percent that each training is to reach."""


@dataclasses.dataclass(frozen=True)
class Learner:
  """A training that can be looked at.

  Attributes:
    train: makes so many steps, and returns when they are done.
    error: on the validation images, in percent.
  """

  train: Callable[[int], Any]
  error: Callable[[], float]


def build(variant: str) -> tuple[Any, ml_collections.ConfigDict]:
  """The experiment of a variant, and its configuration."""
  config = mnist_semi_supervised.get_config(variant)
  config.update(num_seeds=1)
  config.dataset.num_validation = 5000
  return experiments.build(config), config


@contextlib.contextmanager
def ours(experiment: experiments.Experiment) -> Iterator[Learner]:
  """The program that trains here."""
  dataset, found = experiment.dataset, {}
  evaluate = measures.Evaluator(experiment.system, experiment.schema)

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
  goals: Sequence[float],
  steps_per_epoch: int,
  epochs: int,
  clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
  """Trains until the last goal, or to the end.

  Args:
    learner: that has not made a step.
    goals: errors in percent, from the largest on.
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
    if curve[-1][2] <= goals[-1]:
      break
  first = {
    goal: next((look for look in curve if look[2] <= goal), (None, None, None))
    for goal in goals
  }
  return {
    'epochs': {f'{goal:g}': look[0] for goal, look in first.items()},
    'seconds': {f'{goal:g}': look[1] for goal, look in first.items()},
    'curve': curve,
  }


def measure(name: str) -> dict[str, Any]:
  """What `follow` finds of a training.

  Args:
    name: pure, peer or any.
  """
  experiment, config = build('any' if name == 'any' else 'fast')
  entered = peer(experiment, config) if name == 'peer' else ours(experiment)
  steps = experiment.feed.steps_per_epoch
  with entered as learner:
    return follow(learner, GOALS[name], steps, experiment.spec.epochs)


def main() -> None:
  """Measures, and after each training writes the result and says it."""
  parser = command_line.make_parser('time_to_error', __doc__)
  command_line.add_output(parser, 'time_to_error.json')
  parser.add_argument('trainings', nargs='*', choices=[*GOALS, []])
  options = parser.parse_args()
  refuse_changed_files()
  with command_line.one_line_errors('time_to_error'):
    missing = missing_peer()
    result = {
      'peer_missing': missing,
      **idle_maker(*([] if missing else ['torch'])),
    }
    for name in options.trainings or GOALS:
      if name == 'peer' and missing:
        print(f'without peer: {missing}')
        continue
      result[name] = found = measure(name)
      command_line.write_result(options.output, result)
      for goal, seconds in found['seconds'].items():
        told = 'not reached' if seconds is None else f'{seconds:7.1f} s'
        print(f'{name:6}{goal:>4} %  {told}', flush=True)


if __name__ == '__main__':
  main()
