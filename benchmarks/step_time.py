"""How long a step takes, beside the limit of its hardware and a peer.

  python -m benchmarks.step_time

One run measures all programs in turn, so that all of them meet the same
machine:

  ours   the step of configs/mnist_semi_supervised.py, one seed, batch 100
  limit  the matrix products and the optimizer updates of that step alone
  peer   the same algorithm in PyTorch, eager, on the CPU
  before the step of another checkout of this repository, with --before=DIR

The products and the updates of the limit are timed apart as well; and the
products twice over, which takes twice as long if the compiler has removed none.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from typing import Any

from absl import app, flags
import jax
from jax import lax
from jax.extend import core
from jax.interpreters import partial_eval
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from aae_jax import commit, experiments, train_step
from aae_jax.datasets import Dataset, Split, feeding
from aae_jax.train_state import TrainState
from aae_jax.types import AXIS
from benchmarks import command_line
from benchmarks.provenance import made_by, refuse_changed_files
from configs import mnist_semi_supervised

_REPETITIONS = flags.DEFINE_integer(
  'repetitions', 15, 'Calls of each program.', lower_bound=1
)
_STEPS = flags.DEFINE_integer('steps', 50, 'Steps in a call.', lower_bound=1)
_OUTPUT = flags.DEFINE_string(
  'output',
  str(command_line.RESULTS / 'step_time.json'),
  'Where the result goes.',
)

_BEFORE = flags.DEFINE_string(
  'before', None, 'Another checkout, whose step is measured as `before`.'
)

RANDOM_IMAGES = "random images of MNIST's shape, as MNIST was not found"

Program = Callable[[int], None]
"""Makes so many steps, and returns when they are done."""


def build_experiment() -> tuple[
  experiments.Experiment, ml_collections.ConfigDict
]:
  """Builds the experiment that is measured.

  Returns:
    The experiment, on one device, and its configuration.

  Raises:
    ValueError: JAX sees more devices than one.
  """
  if jax.local_device_count() != 1:
    raise ValueError(
      f'JAX sees {jax.local_device_count()} devices; expected one.'
    )
  config = mnist_semi_supervised.get_config()
  config.batch_size = 100
  config.num_seeds = 1
  try:
    return experiments.build(config), config
  except OSError:
    # What a download raises where there is no network.
    dataset = random_images()
  spec = experiments.build_spec(config, dataset.schema)
  labelled = experiments.draw_labelled(spec, dataset, config.num_labels)
  return experiments.assemble(spec, dataset, labelled), config


def random_images() -> Dataset:
  """As many as MNIST has to train on, and of its shape."""
  generator = np.random.default_rng(0)
  image = generator.integers(0, 256, (60_000, 28, 28, 1), np.uint8)
  train = Split(image, np.arange(60_000, dtype=np.int32) % 10)
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


def matrix_products(built: experiments.Experiment) -> list[core.JaxprEqn]:
  """The matrix products of a step, those without use left out, in order."""
  state = _alone(built.abstract_state())
  spec, shape = built.spec, built.schema.image_shape
  batch = feeding.example_batch(
    spec.batch_size, spec.labelled_batch_size, shape
  )
  step = train_step.make_train_step(spec.system, spec.ema_decay)
  jaxpr = jax.make_jaxpr(step, axis_env=[(AXIS, 1)])(state, batch).jaxpr
  jaxpr, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
  return list(_find_products(jaxpr))


def _find_products(jaxpr: core.Jaxpr) -> Iterator[core.JaxprEqn]:
  for equation in jaxpr.eqns:
    if equation.primitive is lax.dot_general_p:
      yield equation
    for inner in core.jaxprs_in_params(equation.params):
      yield from _find_products(inner)


def _alone(state: TrainState) -> TrainState:
  """The state of the one seed, without the axis of the seeds."""
  take = lambda x: jax.eval_shape(lambda x: x[0], x)
  if not isinstance(state.step, jax.ShapeDtypeStruct):
    take = lambda x: x[0]
  return train_step.map_seeds(take, state, train_step.SEED_AXES)


class Products:
  """Runs matrix products and nothing else.

  Products of operands of one shape share them. An element of each product is
  written into the left operand of the next: so the compiler can neither merge
  two products, nor move one out of the loop, nor leave one out, and they run
  one after the other as in a step. A barrier alone would not do: the compiler
  for the CPU takes it away before it removes what nobody uses.
  """

  def __init__(self, products: Sequence[core.JaxprEqn]):
    """Takes the equations of the products."""
    self._products = products

  def init(self) -> dict[str, Any]:
    """Operands by shape, and the element that the next product waits for."""
    avals = {
      v.aval.str_short(): v.aval
      for equation in self._products
      for v in equation.invars
    }
    keys = jax.random.split(jax.random.key(0), len(avals))
    operands = {
      name: 0.01 * jax.random.normal(key, aval.shape, aval.dtype)
      for key, (name, aval) in zip(keys, avals.items(), strict=True)
    }
    return {'operands': operands, 'element': jnp.float32(0)}

  def step(self, carry: dict[str, Any]) -> dict[str, Any]:
    """Computes every product once."""
    operands, element = dict(carry['operands']), carry['element']
    for equation in self._products:
      left, right = (v.aval.str_short() for v in equation.invars)
      first = (0,) * operands[left].ndim
      operands[left] = operands[left].at[first].set(element)
      product = equation.primitive.bind(
        operands[left], operands[right], **equation.params
      )
      # Or the compiler might compute no more than the element.
      element = lax.optimization_barrier(product)[(0,) * product.ndim]
    return {'operands': operands, 'element': element}


class Updates:
  """Runs the optimizers of all phases and nothing else.

  The gradients are fixed arrays times a scalar that changes, a factor which
  the compiler fuses with the optimizer, and which keeps all of it in the loop.
  """

  def __init__(self, built: experiments.Experiment):
    """Takes the phases of an experiment."""
    self._built = built

  def init(self) -> dict[str, Any]:
    """Parameters, states of the optimizers, and rates, at the start."""
    state = _alone(self._built.init())
    return {
      'params': state.params,
      'opt_state': state.opt_state,
      'hyperparams': state.hyperparams,
    }

  def directions(self) -> dict[str, Any]:
    """What the scalar turns into gradients."""
    return _alone(self._built.init()).params

  def step(
    self, carry: dict[str, Any], directions: dict[str, Any], scalar: jax.Array
  ) -> dict[str, Any]:
    """Updates what each phase trains, as `train_step.apply_phase` does."""
    params, opt_state = dict(carry['params']), dict(carry['opt_state'])
    for phase in self._built.system.phases:
      trained = {name: params[name] for name in phase.trains}
      gradients = jax.tree.map(
        lambda x: scalar * x, {name: directions[name] for name in trained}
      )
      updates, opt_state[phase.name] = phase.optimizer.update(
        gradients, opt_state[phase.name], trained
      )
      rate = carry['hyperparams'][phase.name]['learning_rate']
      updates = jax.tree.map(lambda x, rate=rate: rate * x, updates)
      params |= optax.apply_updates(trained, updates)
    return {**carry, 'params': params, 'opt_state': opt_state}


def make_products(products: Products) -> Program:
  """The program of the products alone."""
  return _looped(lambda carry, _: products.step(carry), products.init(), None)


def make_updates(updates: Updates) -> Program:
  """The program of the updates alone."""

  def step(carry, directions):
    scalar = -carry['scalar']
    return {'scalar': scalar, **updates.step(carry, directions, scalar)}

  carry = {'scalar': jnp.float32(1e-3), **updates.init()}
  return _looped(step, carry, updates.directions())


def make_limit(products: Products, updates: Updates) -> Program:
  """The program of both."""

  def step(carry, directions):
    computed = products.step(carry['products'])
    return {
      'products': computed,
      'updates': updates.step(
        carry['updates'], directions, computed['element']
      ),
    }

  carry = {'products': products.init(), 'updates': updates.init()}
  return _looped(step, carry, updates.directions())


def _looped(
  step: Callable[[dict[str, Any], Any], dict[str, Any]],
  carry: dict[str, Any],
  constants: Any,
) -> Program:
  """A loop on the device, whose carry is donated, as of the one that trains."""
  loop = jax.jit(
    lambda carry, constants, num_steps: lax.fori_loop(
      0, num_steps, lambda _, carry: step(carry, constants), carry
    ),
    donate_argnums=0,
  )
  held = {'carry': carry}

  def steps(num_steps):
    held['carry'] = loop(held['carry'], constants, num_steps)
    jax.block_until_ready(held['carry'])

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
      ValueError: the folder is no checkout.
    """
    if not pathlib.Path(folder, 'benchmarks/step_time.py').is_file():
      raise ValueError(f'before is {folder}; expected a checkout.')
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


def measure(
  programs: Mapping[str, Program], repetitions: int, num_steps: int
) -> dict[str, list[float]]:
  """Times calls of the programs in turn, after a call of each to warm up.

  Args:
    programs: by name.
    repetitions: calls of each.
    num_steps: in a call.

  Returns:
    Milliseconds a step, by name, one value a repetition.
  """
  for program in programs.values():
    program(num_steps)
  times = {name: [] for name in programs}
  for _ in range(repetitions):
    for name, program in programs.items():
      start = time.perf_counter()
      program(num_steps)
      seconds = time.perf_counter() - start
      times[name].append(1e3 * seconds / num_steps)
  return times


def make_programs(
  config: ml_collections.ConfigDict, built: experiments.Experiment
) -> dict[str, Program]:
  """All programs, without the peer if PyTorch or the CPU is missing."""
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
  if missing_peer() is None:
    from benchmarks.peers import pytorch

    programs['peer'] = pytorch.Peer(config, built)
  if _BEFORE.value is not None:
    programs['before'] = Checkout(_BEFORE.value)
  return programs


def missing_peer() -> str | None:
  """Why there is no peer, or None."""
  if not _has_torch():
    return 'PyTorch is not installed: pip install -e .[benchmarks]'
  if jax.default_backend() != 'cpu':
    return f'the peer runs on the CPU, ours on {jax.default_backend()}'
  return None


def _has_torch() -> bool:
  """Whether the extra `benchmarks` is installed."""
  return importlib.util.find_spec('torch') is not None


def summarize(times: Mapping[str, Sequence[float]]) -> dict[str, Any]:
  """Medians and spreads in ms a step, and the ratios of the medians."""
  median = {name: statistics.median(values) for name, values in times.items()}
  peer, before = median.get('peer'), median.get('before')
  return {
    'milliseconds_per_step': {
      name: {
        'median': median[name],
        'minimum': min(values),
        'maximum': max(values),
      }
      for name, values in times.items()
    },
    'ratios': {
      'ours_to_limit': median['ours'] / median['limit'],
      'peer_to_ours': peer and peer / median['ours'],
      'before_to_limit': before and before / median['limit'],
      'products_twice_to_products': (
        median['products_twice'] / median['products']
      ),
    },
  }


def main(argv: Sequence[str]) -> None:
  """Measures, writes the result and says it."""
  if len(argv) > 1:
    raise app.UsageError(f'unknown argument {argv[1]!r}; expected flags.')
  refuse_changed_files()
  load = os.getloadavg()
  built, config = build_experiment()
  programs = make_programs(config, built)
  times = measure(programs, _REPETITIONS.value, _STEPS.value)
  result = {
    **summarize(times),
    'peer_missing': missing_peer(),
    'before': _BEFORE.value and commit.describe(pathlib.Path(_BEFORE.value)),
    'dataset': built.dataset.name,
    'repetitions': _REPETITIONS.value,
    'steps_per_repetition': _STEPS.value,
    'load_average_at_start': load,
    **made_by(*(['torch'] if _has_torch() else [])),
    'config': json.loads(config.to_json()),
  }
  command_line.write_result(_OUTPUT.value, result)
  for name, value in summarize(times)['milliseconds_per_step'].items():
    print(f'{name:16}{value["median"]:8.2f} ms')
  for name, value in result['ratios'].items():
    print(f'{name:28}', 'not measured' if value is None else f'{value:.3f}')


if __name__ == '__main__':
  app.run(main)
