"""An experiment of plain values and data in memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aae_jax import (
  datasets,
  early_stopping,
  errors,
  metrics,
  processes,
  randomness,
  systems,
  train_state,
  train_step,
)
from aae_jax.datasets import Dataset, Schema, Split, feeding
from aae_jax.early_stopping import EarlyStopping
from aae_jax.finishes import Made
from aae_jax.precision import FLOAT32, Precision
from aae_jax.trained import Trained, Weights, averaged, newest, sound_seeds


class Setting(NamedTuple):
  """What the runs of one setting of a search train with.

  Attributes:
    values: of the keys that are searched; none where nothing is searched.
    hyperparams: {phase: {name: value}}, all rates and weights.
  """

  values: Mapping[str, float]
  hyperparams: Mapping[str, Mapping[str, float]]

  @property
  def name(self) -> str:
    """`generator.y_weight=3.0`; empty where nothing is searched."""
    return metrics.name_setting(self.values)


@dataclasses.dataclass(frozen=True)
class Spec:
  """What is trained, and for how long; without any data.

  Its runs are the settings' in turn, all seeds of each: S times as many as
  settings. A run begins and draws by its seed alone, whatever its setting.

  Attributes:
    system: networks, phases with optimizers, model.
    batch_size: over all devices.
    epochs: passes over the training split.
    seeds: of the independent runs of each setting.
    labelled_batch_size: over all devices, of a system that has such batches.
    ema_decay: of the averages that are evaluated, in [0, 1); 0 for none.
    precision: in which the networks compute in training.
    searched: the settings of a search; the weights of the system's phases if
      there are none.
    early_stopping: when the program ends before the last epoch; None for never.
  """

  system: systems.System
  batch_size: int
  epochs: int
  seeds: Sequence[int] = range(1)
  labelled_batch_size: int = 0
  ema_decay: float = 0.0
  precision: Precision = FLOAT32
  searched: tuple[Setting, ...] = ()
  early_stopping: EarlyStopping | None = None

  @property
  def settings(self) -> tuple[Setting, ...]:
    """Those of the search; a single one where nothing is searched."""
    own = {phase.name: phase.hyperparams for phase in self.system.phases}
    return self.searched or (Setting({}, own),)

  def is_over(self, state: train_state.TrainState, num_train: int) -> bool:
    """Whether a training ends with a state: its last step, or an early one.

    Args:
      state: of all runs.
      num_train: images to train on.
    """
    return bool((int(state.step) >= self.ends(state, num_train)).all())

  def ends(self, state: train_state.TrainState, num_train: int) -> np.ndarray:
    """The step at which each run is over, as far as is known, int [R].

    The arguments are those of `is_over`.
    """
    steps_per_epoch = num_train // self.batch_size
    last = np.full(len(self.runs), self.epochs * steps_per_epoch)
    if not self.early_stopping:
      return last
    patience = self.early_stopping.patience * steps_per_epoch
    return np.minimum(last, early_stopping.ends(state, patience))

  def system_at(
    self, state: train_state.TrainState, num_train: int
  ) -> systems.System:
    """The system with a state; before the end, without what a finish gives.

    The arguments are those of `is_over`.
    """
    is_over = self.is_over(state, num_train)
    return self.system if is_over else self.system.unfinished

  @property
  def runs(self) -> list[str]:
    """What each run is called, [R]: `seed 0`, with its setting before it."""
    return [
      ', '.join(filter(None, (setting.name, f'seed {seed}')))
      for setting in self.settings
      for seed in self.seeds
    ]

  @property
  def searches(self) -> bool:
    """Whether there is something to choose."""
    return any(setting.values for setting in self.settings)

  @property
  def places(self) -> list[slice]:
    """Where on the axis of runs the S of each setting are."""
    size = len(self.seeds)
    starts = range(0, size * len(self.settings), size)
    return [slice(start, start + size) for start in starts]

  def keys(self) -> jax.Array:
    """The typed key of each run, [R]."""
    seeds = jnp.asarray([*self.seeds] * len(self.settings))
    return jax.vmap(jax.random.key)(seeds)

  def create(
    self, keys: jax.Array, image_shape: tuple[int, int, int]
  ) -> train_state.TrainState:
    """The state of all runs before the first step, of keys [R]."""
    sizes = self.batch_size, self.labelled_batch_size
    create = _creation(self.system, sizes, image_shape, self.ema_decay > 0)
    state = create(keys)
    hyperparams = jax.tree.map(
      lambda *values: jnp.repeat(jnp.float32(values), len(self.seeds)),
      *(setting.hyperparams for setting in self.settings),
    )
    state = state.replace(hyperparams=hyperparams)
    return early_stopping.begin(state) if self.early_stopping else state

  def abstract_state(
    self, image_shape: tuple[int, int, int], devices: Sequence[jax.Device]
  ) -> train_state.TrainState:
    """The shapes, types and sharding of the state."""
    sharding = processes.own(devices)
    create = functools.partial(self.create, image_shape=image_shape)
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
      jax.eval_shape(create, self.keys()),
    )

  def at_setting(
    self, index: int, state: train_state.TrainState
  ) -> tuple['Spec', train_state.TrainState]:
    """A setting as all that there is, and the state of its runs.

    Args:
      index: of the setting.
      state: of all runs.
    """
    runs = self.places[index]
    state = train_step.map_seeds(
      lambda x: x[runs], state, train_state.SEED_AXES
    )
    return dataclasses.replace(self, searched=(self.settings[index],)), state


@dataclasses.dataclass(frozen=True)
class Experiment:
  """A spec, and what it is trained on; made by `assemble`.

  Attributes:
    spec: what is trained.
    dataset: what it is trained on.
    labelled: int32 [S, n], the training examples whose labels each seed uses.
    devices: that share every batch, of all processes.
  """

  spec: Spec
  dataset: Dataset
  labelled: np.ndarray
  devices: tuple[jax.Device, ...]

  @property
  def system(self) -> systems.System:
    """What is trained."""
    return self.spec.system

  @property
  def schema(self) -> Schema:
    """Of the data."""
    return self.dataset.schema

  @functools.cached_property
  def feed(self) -> feeding.Feed:
    """Batches of the training split."""
    is_streamed = self.dataset.placement.is_streamed
    return (feeding.Streamed if is_streamed else feeding.Resident)(
      self.dataset.train.num_images,
      self.spec.batch_size,
      self.spec.labelled_batch_size,
      len(self.devices),
      self.dataset.scaling,
    )

  @property
  def total_steps(self) -> int:
    """Steps in the whole run."""
    return self.spec.epochs * self.feed.steps_per_epoch

  def at_setting(
    self, index: int, state: train_state.TrainState
  ) -> tuple['Experiment', train_state.TrainState]:
    """A setting as an experiment that has no other, and the state of its runs.

    Args:
      index: of the setting.
      state: of all runs.
    """
    spec, state = self.spec.at_setting(index, state)
    return dataclasses.replace(self, spec=spec), state

  def is_over(self, state: train_state.TrainState) -> bool:
    """Whether a training ends with a state, `Spec.is_over`."""
    return self.spec.is_over(state, self.schema.num_train)

  def at_state(self, state: train_state.TrainState) -> 'Experiment':
    """The same with the system as it is with a state, `Spec.system_at`."""
    return self._with_system(self.spec.system_at(state, self.schema.num_train))

  @property
  def unfinished(self) -> 'Experiment':
    """The same with the system before its finishes."""
    return self._with_system(self.system.unfinished)

  def _with_system(self, system: systems.System) -> 'Experiment':
    spec = dataclasses.replace(self.spec, system=system)
    return dataclasses.replace(self, spec=spec)

  def chunks(self, step: int) -> Iterator[tuple[Any, int]]:
    """The data on the devices from a step on, see `feeding.Feed.chunks`."""
    source = feeding.Source(
      self.dataset.train,
      np.tile(self.labelled, (len(self.spec.settings), 1)),
      self.spec.keys(),
      self.devices,
    )
    return self.feed.chunks(source, step)

  def init(self) -> train_state.TrainState:
    """The state before the first step, on the devices."""
    state = self.spec.create(self.spec.keys(), self.schema.image_shape)
    return jax.device_put(state, processes.own(self.devices))

  def abstract_state(self) -> train_state.TrainState:
    """The shapes, types and sharding of the state."""
    return self.spec.abstract_state(self.schema.image_shape, self.devices)

  def trained(self, weights: Weights) -> Trained:
    """The system with weights of its runs, for images of the data."""
    return Trained(self.system, weights, self.dataset.scaling)

  def finish(self, state: train_state.TrainState) -> train_state.TrainState:
    """The state after the last step, with what the system's finishes make.

    They see the weights that are evaluated; these and the newest get what is
    made, and so do those that early stopping has kept. A run that is not sound
    stays as it is.
    """
    best = state.best
    if best:
      kept = self._finished(early_stopping.best(state))
      best = {**best, 'weights': early_stopping.weights(kept)}
    return self._finished(state).replace(best=best)

  def _finished(self, state: train_state.TrainState) -> train_state.TrainState:
    """The same of the weights of a state alone."""
    keys = self.spec.keys()
    for finish in self.system.finish:
      trained = self.trained(averaged(state))
      for run in np.flatnonzero(sound_seeds(state)):
        key = randomness.named(keys[run], f'finish/{finish.name}')
        made = finish.compute(trained.seed(run), self._known(run), key)
        state = state.replace(
          **_replaced(newest(state), run, made),
          ema=_replaced(state.ema, run, made),
        )
    return jax.device_put(state, processes.own(self.devices))

  def _known(self, run: int) -> Split:
    """The training images, with no labels but those drawn for a run."""
    image, label = self.dataset.train
    known = np.full(len(image), -1, np.int32)
    drawn = self.labelled[run % len(self.spec.seeds)]
    if drawn.size:
      known[drawn] = label[drawn]
    return Split(image, known)

  def run(self) -> Callable[..., Any]:
    """The compiled call of many steps, see `train_step.parallelize`."""
    return _run(
      self.system,
      self.spec.ema_decay,
      self.spec.precision,
      self.feed,
      len(self.spec.runs),
      self.devices,
    )


def assemble(
  spec: Spec,
  dataset: Dataset,
  labelled: np.ndarray | None = None,
  devices: Sequence[jax.Device] | None = None,
) -> Experiment:
  """Makes an experiment of plain values and data in memory.

  Args:
    spec: what is trained.
    dataset: what it is trained on.
    labelled: int32 [S, n], the training examples whose labels each seed uses;
      none if None.
    devices: that share every batch; those of all processes if None.

  Raises:
    InputError: the sizes do not go together.
  """
  devices = tuple(jax.devices() if devices is None else devices)
  if labelled is None:
    labelled = np.zeros((len(spec.seeds), 0), np.int32)
  check_batches(
    spec.batch_size, spec.labelled_batch_size, dataset.schema, len(devices)
  )
  if spec.searches and not dataset.validation.num_images:
    raise errors.InputError(
      'search needs images that choose the best setting, but '
      'dataset.num_validation is 0; expected at least 1, for the test images '
      'choose nothing.'
    )
  if spec.early_stopping and not dataset.validation.num_images:
    raise errors.InputError(
      'early_stopping needs images that tell the best epoch, but '
      'dataset.num_validation is 0; expected at least 1, for the test images '
      'choose nothing.'
    )
  if spec.system.labels == 'all' and (
    dataset.train.labelled.num_images < dataset.train.num_images
  ):
    raise errors.InputError(
      'the system learns from all labels, but some training images of '
      f'{dataset.name} have none.'
    )
  if spec.system.finish and dataset.placement.is_streamed:
    raise errors.InputError(
      'the system ends with what takes all training images at once, and those '
      f'of {dataset.name} are streamed; expected that the devices hold them.'
    )
  needs_labels = spec.system.labels in ('drawn', 'batched')
  if len(labelled) != len(spec.seeds) or (needs_labels and not labelled.size):
    raise errors.InputError(
      f'labelled is of the shape {list(labelled.shape)}; expected the labelled '
      f'examples of each of the {len(spec.seeds)} seeds.'
    )
  return Experiment(spec, dataset, labelled, devices)


def draw_labelled(spec: Spec, dataset: Dataset, num_labels: int) -> np.ndarray:
  """The examples whose labels each seed uses, a draw for each.

  Args:
    spec: what is trained.
    dataset: what it is trained on.
    num_labels: see `datasets.draw_labelled`; unused by a system that does not
      draw labels.

  Returns:
    int32 [S, n].

  Raises:
    InputError: there are no labels, or not that many to draw.
  """
  if spec.system.labels not in ('drawn', 'batched'):
    return np.zeros((len(spec.seeds), 0), np.int32)
  return np.stack(
    [
      datasets.draw_labelled(
        randomness.named(jax.random.key(seed), 'labels'),
        dataset.train.label,
        num_labels,
        dataset.num_classes,
      )
      for seed in spec.seeds
    ]
  )


def check_batches(
  batch_size: int, labelled_batch_size: int, schema: Schema, num_devices: int
) -> None:
  """Refuses batches that the devices or the data cannot fill.

  Args:
    batch_size: over all devices.
    labelled_batch_size: over all devices.
    schema: of the data.
    num_devices: that share every batch.

  Raises:
    InputError: names the size that is wrong.
  """
  sizes = {'batch_size': batch_size, 'labelled_batch_size': labelled_batch_size}
  for name, size in sizes.items():
    if size % num_devices:
      raise errors.InputError(
        f'{name} is {size}; expected a multiple of the {num_devices} devices.'
      )
  if batch_size > schema.num_train:
    raise errors.InputError(
      f'batch_size is {batch_size}; expected at most the {schema.num_train} '
      f'training images of {schema.name}.'
    )


_KEPT = 16
"""Compiled functions that are kept for another experiment of the same sizes."""


@functools.lru_cache(_KEPT)
def _creation(
  system: systems.System,
  sizes: tuple[int, int],
  image_shape: tuple[int, int, int],
  average: bool,
) -> Callable[[jax.Array], train_state.TrainState]:
  """Of keys [R] the state of all runs, with the weights of the system."""

  def create(keys):
    # Made here, so that what is kept holds no tracer of whoever asks first.
    batch = feeding.example_batch(*sizes, image_shape)
    create = lambda key: train_state.create(system, key, batch, average)
    return jax.vmap(create, out_axes=train_state.SEED_AXES)(keys)

  return jax.jit(create)


@functools.lru_cache(_KEPT)
def _run(
  system: systems.System,
  ema_decay: float,
  precision: Precision,
  feed: feeding.Feed,
  num_runs: int,
  devices: tuple[jax.Device, ...],
) -> Callable[..., Any]:
  """See `Experiment.run`."""
  step = train_step.make_train_step(system, ema_decay, precision)
  return train_step.parallelize(step, feed, num_runs, devices)


def _replaced(weights: Weights, run: int, made: Made) -> Weights:
  """Weights [R, ...] with what was made of a run in place of its own."""
  return {
    section: {
      **networks,
      **jax.tree.map(
        lambda old, new: old.at[run].set(new),
        {name: networks[name] for name in made.get(section, {})},
        dict(made.get(section, {})),
      ),
    }
    for section, networks in weights.items()
  }
