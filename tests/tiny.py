"""Every system made tiny, on random images, without a file."""

import contextlib
import dataclasses
import functools
import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from aae_jax import experiments, recipes, systems, train_state, train_step
from aae_jax.datasets.dataset import Dataset, Split
from aae_jax.datasets.feeding import Data
from aae_jax.train_state import TrainState
from aae_jax.train_step import Request
from aae_jax.types import AXIS

NAMES = sorted(systems.SYSTEMS)
IMAGE_SHAPE = (4, 4, 1)
NUM_CLASSES = 3

NOISY = {
  'encoder.batch_norm': True,
  'encoder.input_noise': 0.3,
  'decoder.batch_norm': True,
  'decoder.noise': 0.3,
}
"""Whatever could make a run depend on the number of devices."""

SGD = {'name': 'sgd', 'learning_rate': 0.05, 'momentum': 0.9}
"""Unlike Adam it tells a wrong scale of the gradients."""


def make_split(num_images: int, seed: int) -> Split:
  generator = np.random.default_rng(seed)
  image = generator.integers(0, 256, (num_images, *IMAGE_SHAPE), np.uint8)
  return Split(image, np.arange(num_images, dtype=np.int32) % NUM_CLASSES)


DATASET = Dataset(
  'random',
  make_split(44, 0),
  make_split(0, 1),
  make_split(13, 2),
  NUM_CLASSES,
)


@dataclasses.dataclass(frozen=True)
class Tiny:
  """A system ready to train."""

  experiment: experiments.Experiment
  run: Any
  data: Data
  initial: TrainState

  def init(self) -> TrainState:
    """A copy of the initial state, which a call may take."""
    return jax.tree.map(
      lambda x: jax.device_put(x, x.sharding, may_alias=False), self.initial
    )

  def train(self, *calls: int, state: TrainState | None = None) -> TrainState:
    """Makes calls of so many steps."""
    state = self.init() if state is None else state
    for num_steps in calls:
      state, _ = self.run(state, self.data, Request(num_steps))
    return state


def make_config(name: str, **changes) -> ml_collections.ConfigDict:
  """The default configuration of a system made tiny; keys may have dots."""
  config = recipes.defaults()
  config.system = name
  config.batch_size = 8
  config.epochs = 4
  parameters = inspect.signature(systems.SYSTEMS[name]).parameters
  for section in ('encoder', 'decoder', 'discriminator'):
    if section in parameters:
      config[section].hidden = (8, 8)
  if 'ladder_encoder' in parameters:
    # Without noise there is nothing to be denoised.
    config.encoder.update(hidden=(8, 8), input_noise=0.3, noise=0.3)
  if {'prior', 'dense_prior', 'label_prior'} & parameters.keys():
    config.prior.name = 'gaussian_mixture'
  if 'num_clusters' in parameters:
    config.num_clusters = 4
  options = changes.pop('optimizer', {})
  config.optimizer = {}
  system = experiments.build_system(config, DATASET.schema)
  if system.labels in ('drawn', 'batched'):
    config.num_labels = 2 * NUM_CLASSES
  if system.labels == 'batched':
    config.labelled_batch_size = 8
  config.optimizer = {
    phase.name: recipes.phase(**dict(options)) for phase in system.phases
  }
  absent = {'encoder', 'decoder', 'discriminator'} - parameters.keys()
  config.update_from_flattened_dict(
    {
      key: value
      for key, value in changes.items()
      # `NOISY` is for all systems, whatever networks they have.
      if key not in NOISY or key.split('.')[0] not in absent
    }
  )
  return config


def build(name: str, num_devices: int = 1, **changes) -> experiments.Experiment:
  """What `make_config` describes, on so many devices."""
  return assemble(make_config(name, **changes), num_devices)


def assemble(
  config: ml_collections.ConfigDict, num_devices: int = 1
) -> experiments.Experiment:
  """What a configuration describes, of random images."""
  spec = experiments.build_spec(config, DATASET.schema)
  labelled = experiments.draw_labelled(spec, DATASET, config.num_labels)
  devices = jax.local_devices()[:num_devices]
  return experiments.assemble(spec, DATASET, labelled, devices)


def system(name: str, num_devices: int = 1, **changes) -> Tiny:
  """A system that trains; the same arguments give the same compiled one."""
  frozen = {
    key: tuple(value.items()) if isinstance(value, dict) else value
    for key, value in changes.items()
  }
  return _system(name, num_devices, **frozen)


@functools.cache
def _system(name, num_devices, **changes):
  built = build(name, num_devices, **changes)
  return Tiny(built, built.run(), data(built), built.init())


def data(experiment: experiments.Experiment) -> Data:
  """The data on the devices, in the order of the first epoch."""
  with contextlib.closing(experiment.chunks(0)) as chunks:
    return next(chunks)[0]


def plain(tree: Any) -> Any:
  """The arrays of a tree as NumPy's, typed keys as their data."""

  def convert(x):
    is_key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(x) if is_key else x)

  return jax.tree.map(convert, tree)


def random_state(system: systems.System) -> TrainState:
  """A state of the right structure, which takes no compilation."""
  state = jax.eval_shape(
    lambda: train_state.create(
      system, jax.random.key(0), make_batch(), average=False
    )
  )
  generator = np.random.default_rng(0)
  normal = lambda x: jnp.asarray(generator.normal(0, 0.3, x.shape), x.dtype)
  zeros = lambda x: jnp.zeros(x.shape, x.dtype)
  return state.replace(
    step=jnp.int32(3),
    params=jax.tree.map(normal, state.params),
    # Variances among them.
    batch_stats=jax.tree.map(lambda x: abs(normal(x)), state.batch_stats),
    opt_state=jax.tree.map(zeros, state.opt_state),
    hyperparams={
      phase.name: {k: jnp.float32(v) for k, v in phase.hyperparams.items()}
      for phase in system.phases
    },
    report=jax.tree.map(zeros, state.report),
    rng=jax.random.key(0),
  )


def split(tree: Any, num_devices: int) -> Any:
  """The shares of the devices, [B, ...] to [D, B / D, ...]."""
  return jax.tree.map(lambda x: x.reshape(num_devices, -1, *x.shape[1:]), tree)


@functools.cache
def losses(name: str) -> Any:
  """Compiles `(state, batch, rngs) -> {phase: loss}`, by four devices.

  It is a vmap that stands for the devices, which compiles faster than pmap.
  """
  system = build(name, **NOISY).system

  def of_device(state, batch, rngs):
    apply, _ = train_step.bind(
      system.networks, state.params, state.batch_stats, train=True
    )
    found = {
      phase.name: phase.loss_fn(
        apply,
        batch,
        rngs,
        {'step': state.step, **state.hyperparams[phase.name]},
      )[0]
      for phase in system.phases
    }
    return jax.lax.pmean(found, AXIS)

  mapped = jax.jit(jax.vmap(of_device, (None, 0, 0), 0, axis_name=AXIS))
  return lambda state, batch, rngs: jax.tree.map(
    lambda x: x[0], mapped(state, split(batch, 4), split(rngs, 4))
  )


class Update(NamedTuple):
  """What a phase did, on one device.

  Attributes:
    phase: of the system.
    before: state.
    after: state.
    metrics: of the phase.
    asked: the networks whose statistics the loss asked to update.
  """

  phase: Any
  before: TrainState
  after: TrainState
  metrics: dict[str, jax.Array]
  asked: set[str]


@functools.cache
def updates(name: str) -> list[Update]:
  """Runs each phase of a system once, on `make_batch` with `RNGS`."""
  system = build(name, **NOISY).system
  asked = {phase.name: set() for phase in system.phases}

  def spied(phase):
    def loss_fn(apply, *rest):
      def spy(name, *inputs, update_stats=False, **options):
        if update_stats:
          asked[phase.name].add(name)
        return apply(name, *inputs, update_stats=update_stats, **options)

      return phase.loss_fn(spy, *rest)

    return dataclasses.replace(phase, loss_fn=loss_fn)

  def run(state):
    results = []
    for phase in system.phases:
      state, metrics = train_step.apply_phase(
        system.networks, spied(phase), state, make_batch(), RNGS
      )
      results.append((state, metrics))
    return results

  mapped = jax.vmap(run, None, axis_name=AXIS, axis_size=1)
  before = random_state(system)
  found = []
  results = jax.tree.map(lambda x: x[0], jax.jit(mapped)(before))
  for phase, (after, metrics) in zip(system.phases, results, strict=True):
    found.append(Update(phase, before, after, metrics, asked[phase.name]))
    before = after
  return found


def make_batch() -> dict[str, jax.Array]:
  """Eight images, the first three labelled, and as many labelled images."""
  image, label = DATASET.train
  return {
    'image': jnp.asarray(image[:8] / 255, jnp.float32),
    'position': jnp.arange(8),
    'label': jnp.asarray(label[:8]),
    'is_labelled': jnp.arange(8) < 3,
    'labelled_image': jnp.asarray(image[8:16] / 255, jnp.float32),
    'labelled_label': jnp.asarray(label[8:16]),
  }


def keys(num_keys: int, seed: int = 0) -> jax.Array:
  """Keys [num_keys], one an example."""
  return jax.random.split(jax.random.key(seed), num_keys)


RNGS = train_state.phase_keys(jax.random.key(1), make_batch())
"""The keys of a phase that sees `make_batch`."""
