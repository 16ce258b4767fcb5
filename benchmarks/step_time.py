"""How long a step takes, beside the limit of its hardware and a peer.

  python benchmarks/step_time.py

One run measures all programs in turn, so that all of them meet the same
machine:

  ours   the step of configs/mnist_semi_supervised.py, one seed, batch 100
  limit  the matrix products and the optimizer updates of that step alone
  peer   the same algorithm in PyTorch, eager, on the CPU
  before the step of another checkout of this repository, with --before=DIR

The products and the updates of the limit are timed apart as well; and the
products twice over, which takes twice as long if the compiler has removed none.
"""

# `torch`, which annotations name, may be missing.
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from absl import app, flags
from etils import epath
import jax
from jax import lax
from jax.extend import core
from jax.interpreters import partial_eval
import jax.numpy as jnp
import numpy as np
import optax

_ROOT = pathlib.Path(__file__).parent.parent
# Run as a file, this folder and not the one above is on the path.
sys.path.insert(0, str(_ROOT))

from aae_jax import (  # noqa: E402
  commit,
  experiment,
  metrics,
  provenance,
  train_step,
)
from aae_jax.datasets import feeding  # noqa: E402
from aae_jax.train_state import TrainState  # noqa: E402
from aae_jax.types import AXIS  # noqa: E402
from benchmarks.provenance import refuse_changed_files  # noqa: E402
from configs import mnist_semi_supervised  # noqa: E402

try:
  import torch
except ImportError:
  # The extra `benchmarks` is not installed: there is no peer.
  torch = None

_REPETITIONS = flags.DEFINE_integer(
  'repetitions', 15, 'Calls of each program.', lower_bound=1
)
_STEPS = flags.DEFINE_integer('steps', 50, 'Steps in a call.', lower_bound=1)
_OUTPUT = flags.DEFINE_string(
  'output',
  str(_ROOT / 'benchmarks/results/step_time.json'),
  'Where the result goes.',
)

_BEFORE = flags.DEFINE_string(
  'before', None, 'Another checkout, whose step is measured as `before`.'
)

RANDOM_IMAGES = "random images of MNIST's shape, as MNIST was not found"

Program = Callable[[int], None]
"""Makes so many steps, and returns when they are done."""


def build_experiment() -> tuple[experiment.Experiment, str]:
  """Builds the experiment that is measured, and says on which images.

  Returns:
    The experiment, on one device, and the name of its data set.

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
    built = experiment.build(config)
    return built, built.dataset.name
  except OSError:
    # What a download raises where there is no network.
    with _random_images() as path:
      config.dataset.name = path
      return experiment.build(config), RANDOM_IMAGES


@contextlib.contextmanager
def _random_images() -> Iterator[str]:
  generator = np.random.default_rng(0)
  with tempfile.TemporaryDirectory() as folder:
    path = f'{folder}/random.npz'
    image = generator.integers(0, 256, (60_000, 28, 28, 1), np.uint8)
    np.savez(path, image=image, label=np.arange(60_000) % 10)
    yield path


def make_ours(built: experiment.Experiment) -> Program:
  """The program that trains."""
  run, data = built.run(), built.data()
  carry = {'state': built.init()}

  def steps(num_steps):
    carry['state'], _ = run(carry['state'], data, num_steps)
    jax.block_until_ready(carry['state'])

  return steps


def matrix_products(built: experiment.Experiment) -> list[core.JaxprEqn]:
  """The matrix products of a step, those without use left out, in order."""
  state = _alone(built.abstract_state())
  batch = feeding.example_batch(built.feed, built.dataset.image_shape)
  step = train_step.make_train_step(built.system, built.config.ema_decay)
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

  def __init__(self, built: experiment.Experiment):
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
sys.path.insert(0, '.')
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


class Peer:
  """The same algorithm in PyTorch, eager, on the CPU.

  Networks, batches, noise, losses, optimizers, schedule, averages and metrics
  are those of the configuration. The data lie in memory as in ours, Adam is the
  fused one, and no gradient is computed that a phase does not use. The initial
  weights are PyTorch's own, which makes no difference to the time.
  """

  def __init__(self, built: experiment.Experiment):
    """Puts the data in place; builds networks and optimizers."""
    self._config, self._feed = built.config, built.feed
    images = built.dataset.train.image
    self._image = torch.from_numpy(images.reshape(len(images), -1).copy())
    self._label = torch.from_numpy(built.dataset.train.label.astype(np.int64))
    self._labelled = torch.from_numpy(built.labelled[0].astype(np.int64))
    self._build_networks(built.dataset.num_classes)
    self._build_optimizers(built.total_steps)
    norms = self._encoder['norms']
    self._newest = [
      *(x for net in self._networks for x in net.parameters()),
      *(x for norm in norms for x in (norm.running_mean, norm.running_var)),
    ]
    self._averages = [x.detach().clone() for x in self._newest]
    self._totals, self._step = {}, 0

  def __call__(self, num_steps: int) -> None:
    """Makes so many steps; nothing is left running."""
    for _ in range(num_steps):
      self._make_step()

  def _build_networks(self, num_classes: int) -> None:
    config, pixels = self._config, self._image.shape[1]
    hidden = config.encoder.hidden
    linear, modules = torch.nn.Linear, torch.nn.ModuleList
    sizes = {'y': num_classes, 'z': config.latent_size}
    self._encoder = torch.nn.ModuleDict(
      {
        'dense': modules(
          linear(n, m, bias=False)
          for n, m in zip((pixels, *hidden), hidden, strict=False)
        ),
        'norms': modules(
          torch.nn.BatchNorm1d(m, momentum=0.01) for m in hidden
        ),
        'heads': torch.nn.ModuleDict(
          {part: linear(hidden[-1], size) for part, size in sizes.items()}
        ),
      }
    )
    self._decoder = torch.nn.Sequential(
      *_perceptron(sum(sizes.values()), config.decoder.hidden, pixels),
      torch.nn.Sigmoid(),
    )
    self._discriminators = torch.nn.ModuleDict(
      {
        part: torch.nn.Sequential(
          *_perceptron(size, config.discriminator.hidden, 1)
        )
        for part, size in sizes.items()
      }
    )
    self._networks = (self._encoder, self._decoder, self._discriminators)

  def _build_optimizers(self, total_steps: int) -> None:
    encoder, decoder, discriminators = self._networks
    self._trained = {
      'reconstruction': (encoder, decoder),
      'discriminator': (discriminators,),
      'generator': (encoder,),
      'classification': (encoder,),
    }
    first = int(0.5 * total_steps)
    decay = lambda step: min(1.0, (total_steps - step) / (total_steps - first))
    self._optimizers, self._schedules = {}, {}
    for phase, trained in self._trained.items():
      options = self._config.optimizer[phase]
      optimizer = torch.optim.Adam(
        [x for net in trained for x in net.parameters()],
        options.learning_rate,
        (options.b1 or 0.9, 0.999),
        fused=True,
      )
      self._optimizers[phase] = optimizer
      self._schedules[phase] = torch.optim.lr_scheduler.LambdaLR(
        optimizer, decay
      )

  def _make_step(self) -> None:
    image, labelled_image, label = self._next_batch()
    self._run_phase('reconstruction', self._reconstruct, image)
    self._run_phase('discriminator', self._discriminate, image)
    self._run_phase('generator', self._generate, image)
    self._run_phase(
      'classification', self._classify, image, labelled_image, label
    )
    decay = min(self._config.ema_decay, (2 + self._step) / (11 + self._step))
    with torch.no_grad():
      torch._foreach_lerp_(self._averages, self._newest, 1 - decay)
    self._step += 1

  def _next_batch(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    step, feed = self._step % self._feed.steps_per_epoch, self._feed
    if not step:
      self._order = torch.randperm(feed.num_examples)
      self._labelled = self._labelled[torch.randperm(len(self._labelled))]
    index = self._order[step * feed.batch_size :][: feed.batch_size]
    size = feed.labelled_batch_size
    position = (step * size + torch.arange(size)) % len(self._labelled)
    labelled = self._labelled[position]
    scale = lambda image: image.float().div_(255)
    return (
      scale(self._image[index]),
      scale(self._image[labelled]),
      self._label[labelled],
    )

  def _run_phase(
    self,
    phase: str,
    loss_fn: Callable[..., tuple[torch.Tensor, dict[str, torch.Tensor]]],
    *batch: torch.Tensor,
  ) -> None:
    for network in self._networks:
      network.requires_grad_(network in self._trained[phase])
    loss, metrics = loss_fn(*batch)
    loss.backward()
    self._optimizers[phase].step()
    self._optimizers[phase].zero_grad(set_to_none=True)
    self._schedules[phase].step()
    for name, value in {'loss': loss.detach(), **metrics}.items():
      total = self._totals.setdefault(f'{phase}/{name}', torch.zeros(()))
      total.add_(value)

  def _encode(
    self,
    image: torch.Tensor,
    parts: Sequence[str] = ('y', 'z'),
    update_stats: bool = False,
  ) -> dict[str, torch.Tensor]:
    options = self._config.encoder
    x = torch.add(image, torch.randn_like(image), alpha=options.input_noise)
    for dense, norm in zip(
      self._encoder['dense'], self._encoder['norms'], strict=True
    ):
      stats = (norm.running_mean, norm.running_var)
      x = torch.nn.functional.batch_norm(
        dense(x),
        *(stats if update_stats else (None, None)),
        norm.weight,
        norm.bias,
        training=True,
        momentum=norm.momentum,
      )
      x = torch.add(x, torch.randn_like(x), alpha=options.noise).relu_()
    return {part: self._encoder['heads'][part](x) for part in parts}

  def _codes(
    self, image: torch.Tensor, **options: Any
  ) -> dict[str, torch.Tensor]:
    heads = self._encode(image, **options)
    return {'y': heads['y'].softmax(dim=1), 'z': heads['z']}

  def _reconstruct(
    self, image: torch.Tensor
  ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    codes = self._codes(image, update_stats=True)
    output = self._decoder(torch.cat([codes['y'], codes['z']], dim=1))
    return 0.5 * (output - image).square().sum(dim=1).mean(), {}

  def _discriminate(
    self, image: torch.Tensor
  ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    with torch.no_grad():
      codes = self._codes(image)
    size, num_classes = codes['y'].shape
    label = torch.randint(num_classes, (size,))
    prior = {
      'y': torch.nn.functional.one_hot(label, num_classes).float(),
      'z': torch.randn_like(codes['z']),
    }
    loss, metrics = 0.0, {}
    for part, discriminator in self._discriminators.items():
      positive = discriminator(prior[part])
      negative = discriminator(codes[part])
      loss += _cross_entropy(positive, 1.0) + _cross_entropy(negative, 0.0)
      metrics[f'{part}_prior_accuracy'] = (positive > 0).float().mean()
      metrics[f'{part}_posterior_accuracy'] = (negative < 0).float().mean()
    return loss, metrics

  def _generate(
    self, image: torch.Tensor
  ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    codes, loss, metrics = self._codes(image), 0.0, {}
    weights = self._config.weights.generator
    for part, discriminator in self._discriminators.items():
      part_loss = _cross_entropy(discriminator(codes[part]), 1.0)
      weight = weights[f'{part}_weight']
      loss += part_loss if weight is None else weight * part_loss
      metrics[f'{part}_loss'] = part_loss.detach()
    return loss, metrics

  def _classify(
    self, image: torch.Tensor, labelled_image: torch.Tensor, label: torch.Tensor
  ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    both = torch.cat([labelled_image, image])
    logit = self._encode(both, parts=('y',))['y'][: len(label)]
    error = (logit.argmax(dim=1) != label).float().mean()
    loss = torch.nn.functional.cross_entropy(logit, label)
    return loss, {'error': 100 * error}


def _perceptron(
  size: int, hidden: Sequence[int], outputs: int
) -> Iterator[torch.nn.Module]:
  for width in hidden:
    yield torch.nn.Linear(size, width)
    yield torch.nn.ReLU(inplace=True)
    size = width
  yield torch.nn.Linear(size, outputs)


def _cross_entropy(logit: torch.Tensor, target: float) -> torch.Tensor:
  return torch.nn.functional.binary_cross_entropy_with_logits(
    logit, torch.full_like(logit, target)
  )


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


def make_programs(built: experiment.Experiment) -> dict[str, Program]:
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
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    programs['peer'] = Peer(built)
  if _BEFORE.value is not None:
    programs['before'] = Checkout(_BEFORE.value)
  return programs


def missing_peer() -> str | None:
  """Why there is no peer, or None."""
  if torch is None:
    return 'PyTorch is not installed: pip install -e .[benchmarks]'
  if jax.default_backend() != 'cpu':
    return f'the peer runs on the CPU, ours on {jax.default_backend()}'
  return None


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
  built, dataset = build_experiment()
  times = measure(make_programs(built), _REPETITIONS.value, _STEPS.value)
  made_by = provenance.of_process()
  if torch is not None:
    made_by['versions']['torch'] = torch.__version__
  result = {
    **summarize(times),
    'peer_missing': missing_peer(),
    'before': _BEFORE.value and commit.describe(pathlib.Path(_BEFORE.value)),
    'dataset': dataset,
    'repetitions': _REPETITIONS.value,
    'steps_per_repetition': _STEPS.value,
    'time': datetime.datetime.now(datetime.UTC).isoformat('T', 'seconds'),
    'load_average_at_start': load,
    **made_by,
    'config': json.loads(built.config.to_json()),
  }
  output = epath.Path(_OUTPUT.value)
  output.parent.mkdir(parents=True, exist_ok=True)
  metrics.write_json(output, result)
  for name, value in summarize(times)['milliseconds_per_step'].items():
    print(f'{name:16}{value["median"]:8.2f} ms')
  for name, value in result['ratios'].items():
    print(f'{name:28}', 'not measured' if value is None else f'{value:.3f}')


if __name__ == '__main__':
  app.run(main)
