"""From a configuration to an experiment: the one place that reads configs.

Everything that a user can get wrong is found here, before anything is
compiled or written.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import importlib
import inspect
import math
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from aae_jax import (
  datasets,
  errors,
  networks,
  optimizers,
  posteriors,
  priors,
  systems,
  train_state,
  train_step,
)
from aae_jax.datasets import feeding

NEUTRAL_KEYS = (
  'checkpoint_every_seconds',
  'checkpoints_to_keep',
  'dataset.data_dir',
  'dataset.manual_dir',
  'evaluate_every_epochs',
  'on_divergence',
  'steps_per_call',
)
"""The keys that do not change what a run computes."""


@dataclasses.dataclass(frozen=True)
class Experiment:
  """A configuration made real.

  Attributes:
    config: what it was made of.
    dataset: in memory.
    system: networks, phases with optimizers, model.
    feed: batches of the training split.
    devices: that share every batch.
    labelled: int32 [S, n], the training examples whose labels each seed uses.
  """

  config: ml_collections.ConfigDict
  dataset: datasets.Dataset
  system: systems.System
  feed: feeding.Feed
  devices: tuple[jax.Device, ...]
  labelled: np.ndarray

  @property
  def seeds(self) -> range:
    """The seeds of the independent runs."""
    return _seeds(self.config)

  @property
  def total_steps(self) -> int:
    """Steps in the whole run."""
    return self.config.epochs * self.feed.steps_per_epoch

  def keys(self) -> jax.Array:
    """The typed key of each seed, [S]."""
    return _keys(self.config)

  def data(self) -> feeding.Data:
    """The training split, and each seed's draw of labels, on the devices."""
    image, label = self.dataset.train
    if label is None:
      label = np.zeros(len(image), np.int32)
    is_labelled = np.zeros((len(self.seeds), len(image)), bool)
    np.put_along_axis(is_labelled, self.labelled, True, axis=1)
    data = feeding.Data(image, label, is_labelled, self.labelled)
    return jax.device_put(data, train_step.replicated(self.devices))

  def init(self) -> train_state.TrainState:
    """The state before the first step, on the devices."""
    sharding = train_step.replicated(self.devices)
    return jax.jit(self._create, out_shardings=sharding)(self.keys())

  def abstract_state(self) -> train_state.TrainState:
    """The shapes, types and sharding of the state."""
    sharding = train_step.replicated(self.devices)
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
      jax.eval_shape(self._create, self.keys()),
    )

  def _create(self, keys):
    batch = feeding.example_batch(self.feed, self.dataset.image_shape)
    create = lambda key: train_state.create(
      self.system, key, batch, average=self.config.ema_decay > 0
    )
    return jax.vmap(create, out_axes=train_state.SEED_AXES)(keys)

  def run(self) -> Callable[..., Any]:
    """The compiled call of many steps, see `train_step.parallelize`."""
    step = train_step.make_train_step(self.system, self.config.ema_decay)
    return train_step.parallelize(
      step, self.feed, len(self.seeds), self.devices
    )


def build(config: ml_collections.ConfigDict) -> Experiment:
  """Checks a configuration and builds what it describes.

  Raises:
    InputError: names the first key that is wrong, and what was expected.
  """
  _check_numbers(config)
  find('system', systems.SYSTEMS, config.system)
  dataset = datasets.load(**config.dataset)
  devices = tuple(jax.local_devices())
  feed = _build_feed(config, dataset, len(devices))
  system = build_system(
    config, dataset.image_shape, dataset.num_classes, feed.steps_per_epoch
  )
  _check_clusters(config, system, dataset)
  labelled = _draw_labelled(config, dataset)
  return Experiment(config, dataset, system, feed, devices, labelled)


def build_system(
  config: ml_collections.ConfigDict,
  image_shape: tuple[int, int, int],
  num_classes: int | None,
  steps_per_epoch: int,
) -> systems.System:
  """Builds the system alone, which takes no data.

  Args:
    config: whose `system` is a known one.
    image_shape: [H, W, C].
    num_classes: of the data, or None without labels.
    steps_per_epoch: for schedules.

  Raises:
    InputError: names the first key that is wrong, and what was expected.
  """
  builder = find('system', systems.SYSTEMS, config.system)
  system = builder(_build_parts(config, image_shape, num_classes))
  _check_presence(config, system)
  _check_unused(config, system.model)
  return _with_optimizers(config, system, steps_per_epoch)


def build_part(
  section: str,
  registry: Mapping[str, Callable[..., Any]],
  options: Mapping[str, Any],
  **given: Any,
) -> Any:
  """Calls what `options` names with the options that are not None.

  Args:
    section: of the configuration, for messages.
    registry: what can be built, by name.
    options: `name`, and parameters of what it names.
    **given: parameters that the configuration does not choose.

  Raises:
    InputError: the name is unknown, or does not take one of the options.
  """
  options = _given(options)
  name = options.pop('name')
  builder = find(section, registry, name)
  takes = set(inspect.signature(builder).parameters) - set(given)
  for key in options:
    if key not in takes:
      raise errors.InputError(
        f'{section}.{key}={options[key]} is given, but {section} {name!r} '
        f'takes {", ".join(sorted(takes)) or "no options"}.'
      )
  return builder(**given, **options)


def find(
  section: str, registry: Mapping[str, Callable[..., Any]], name: str
) -> Callable[..., Any]:
  """What is registered under a name, or the user's own 'module:function'.

  Raises:
    InputError: there is neither.
  """
  if ':' not in name:
    if name not in registry:
      raise errors.unknown(section, name, registry)
    return registry[name]
  module, function = name.split(':', 1)
  try:
    found = getattr(importlib.import_module(module), function)
    inspect.signature(found)
  except (ImportError, AttributeError, TypeError, ValueError) as error:
    raise errors.InputError(
      f'{section} {name!r} cannot be imported ({error}); expected '
      "'module:function'."
    ) from None
  return found


def _check_numbers(config):
  for key in ('latent_size', 'batch_size', 'num_seeds', 'checkpoints_to_keep'):
    _require(config, key, lambda value: value >= 1, 'at least 1')
  for key in ('epochs', 'evaluate_every_epochs'):
    _require(config, key, lambda value: value >= 1, 'at least 1')
  for key in ('labelled_batch_size', 'num_clusters'):
    if key in config:
      _require(config, key, lambda value: value >= 1, 'at least 1')
  _require(
    config,
    'seed',
    lambda value: 0 <= value <= 2**31 - config.num_seeds,
    'at least 0, and below 2^31 for every seed',
  )
  _require(config, 'ema_decay', lambda value: 0 <= value < 1, 'in [0, 1)')
  _require(
    config,
    'steps_per_call',
    lambda value: value >= 1 or value == -1,
    'at least 1, or -1 for a whole epoch',
  )
  _require(
    config,
    'on_divergence',
    lambda value: value in ('stop', 'continue'),
    'stop or continue',
  )


def _require(config, key, accepts, expected):
  if not accepts(config[key]):
    raise errors.InputError(f'{key} is {config[key]}; expected {expected}.')


def _build_feed(config, dataset, num_devices):
  num_examples = dataset.train.num_images
  labelled_batch_size = config.get('labelled_batch_size', 0)
  for key in ('batch_size', 'labelled_batch_size'):
    if config.get(key, 0) % num_devices:
      raise errors.InputError(
        f'{key} is {config[key]}; expected a multiple of the {num_devices} '
        'devices.'
      )
  if config.batch_size > num_examples:
    raise errors.InputError(
      f'batch_size is {config.batch_size}; expected at most the '
      f'{num_examples} training images of {dataset.name}.'
    )
  return feeding.Feed(
    num_examples, config.batch_size, labelled_batch_size, num_devices
  )


def _build_parts(config, image_shape, num_classes):
  return systems.Parts(
    encoder=lambda heads: _network(
      networks.Encoder, 'encoder', config, networks.TRUNKS, heads=heads
    ),
    decoder=lambda: _network(
      networks.Decoder,
      'decoder',
      config,
      networks.decoder_trunks(image_shape),
      image_shape=image_shape,
    ),
    discriminator=lambda: _network(
      networks.Discriminator, 'discriminator', config, networks.TRUNKS
    ),
    latent_size=config.latent_size,
    posterior=lambda size: build_part(
      'posterior', posteriors.POSTERIORS, config.posterior, size=size
    ),
    prior=lambda: _prior(config, priors.PRIORS),
    dense_prior=lambda: _prior(config, priors.PRIORS, dense=True),
    label_prior=lambda: _prior(
      config, priors.LABEL_PRIORS, num_classes=_classes(num_classes)
    ),
    num_classes=lambda: _classes(num_classes),
    num_clusters=lambda: _needed(config, 'num_clusters'),
  )


def _prior(config, registry, dense=False, **given):
  """The configuration's prior, if `registry` has it."""
  name = config.prior.name
  if name in priors.PRIORS and name not in registry:
    raise errors.InputError(
      f'system {config.system!r} needs a prior with a place for each '
      f'label; prior {name!r} has none. Known: {", ".join(registry)}.'
    )
  prior = build_part(
    'prior', registry, config.prior, size=config.latent_size, **given
  )
  if dense and not prior.density:
    raise errors.InputError(
      f'system {config.system!r} needs the density of its prior; '
      f'prior {name!r} can only be sampled.'
    )
  return prior


def _classes(num_classes):
  if num_classes is None:
    raise errors.InputError(
      'the system learns from labels, but the data set has none.'
    )
  return num_classes


def _needed(config, key):
  if key not in config:
    raise errors.InputError(
      f'system {config.system!r} needs {key}; expected it in the configuration.'
    )
  return config[key]


def _network(module, section, config, trunks, **given):
  """A network: the module's own options, and its trunk's."""
  options = _given(config[section])
  for key, known in (
    ('activation', networks.ACTIVATIONS),
    ('initializer', networks.INITIALIZERS),
    ('output', networks.OUTPUTS),
  ):
    if key in options and options[key] not in known:
      raise errors.unknown(f'{section}.{key}', options[key], known)
  _check_network(section, options)
  fields = {field.name for field in dataclasses.fields(module)}
  own = {key: options.pop(key) for key in list(options) if key in fields}
  options['name'] = options.pop('network')
  # Fields of every flax module, which no configuration chooses.
  trunk = build_part(section, trunks, options, name=None, parent=None)
  return module(trunk, **own, **given)


def _check_network(section, options):
  """What no network, or no adversary, can do anything with."""
  if section == 'discriminator' and options.get('batch_norm'):
    raise errors.InputError(
      'discriminator.batch_norm is True; expected False, for an adversary '
      'that normalizes its batches sticks at an accuracy of 50 %.'
    )
  for key, accepts, expected in (
    ('hidden', _are_sizes, 'whole numbers above 0, such as (400, 400)'),
    (
      'channels',
      lambda sizes: sizes and _are_sizes(sizes),
      'whole numbers above 0, such as (32, 64)',
    ),
    ('noise', lambda std: std >= 0, 'at least 0'),
    ('input_noise', lambda std: std >= 0, 'at least 0'),
    ('input_dropout', lambda share: 0 <= share < 1, 'in [0, 1)'),
  ):
    if key in options and not accepts(options[key]):
      raise errors.InputError(
        f'{section}.{key} is {options[key]}; expected {expected}.'
      )


def _are_sizes(values):
  return all(isinstance(size, int) and size > 0 for size in values)


def _check_presence(config, system):
  """A configuration has what few systems need exactly if its system does."""
  wants = {
    'num_labels': system.draws_labels,
    'labelled_batch_size': system.labelled_batch,
    'num_clusters': system.model.cluster is not None,
  }
  for key, wanted in wants.items():
    if wanted:
      _needed(config, key)
    elif key in config:
      raise errors.InputError(
        f'{key} is {config[key]}, but system {config.system!r} has no '
        'use for it; expected a configuration without it.'
      )


def _check_unused(config, model):
  """Every configuration has these sections; not every system uses them."""
  adversarial = model.encode and model.prior and not model.bound
  sections = (
    ('prior', 'gaussian', model.prior),
    ('posterior', 'deterministic', adversarial),
  )
  for section, name, used in sections:
    unchanged = {'name': name}
    for key, value in config[section].items():
      if not used and value != unchanged.get(key):
        raise errors.InputError(
          f'{section}.{key} is {value}, but system {config.system!r} '
          f'has no use for it; expected {unchanged.get(key)}.'
        )


def _check_clusters(config, system, dataset):
  num_images = dataset.train.num_images
  if system.model.cluster and config.num_clusters > num_images:
    raise errors.InputError(
      f'num_clusters is {config.num_clusters}; expected at most the '
      f'{num_images} training images of {dataset.name}.'
    )


def _draw_labelled(config, dataset):
  if 'num_labels' not in config:
    return np.zeros((config.num_seeds, 0), np.int32)
  return np.stack(
    [
      datasets.draw_labelled(
        jax.random.fold_in(key, 3),
        dataset.train.label,
        config.num_labels,
        dataset.num_classes,
      )
      for key in _keys(config)
    ]
  )


def _seeds(config):
  return range(config.seed, config.seed + config.num_seeds)


def _keys(config):
  return jax.vmap(jax.random.key)(jnp.asarray(_seeds(config)))


def _given(options):
  """The options that are not left to what takes them."""
  return {key: value for key, value in options.items() if value is not None}


def _with_optimizers(config, system, steps_per_epoch):
  """Gives every phase the optimizer and the weights of the configuration."""
  names = [phase.name for phase in system.phases]
  for section in ('optimizer', 'weights'):
    for name, options in config[section].items():
      if _given(options) and name not in names:
        raise errors.unknown(f'phase in {section}', name, names)
  schedule = build_part(
    'schedule',
    optimizers.SCHEDULES,
    config.schedule,
    total_steps=config.epochs * steps_per_epoch,
    steps_per_epoch=steps_per_epoch,
  )
  configured = functools.partial(_with_optimizer, config, schedule)
  phases = tuple(configured(phase) for phase in system.phases)
  return dataclasses.replace(system, phases=phases)


def _with_optimizer(config, schedule, phase):
  weights = _given(config.weights.get(phase.name, {}))
  for key in weights:
    if key not in phase.hyperparams or key == 'learning_rate':
      raise errors.unknown(
        f'weight of phase {phase.name!r}',
        key,
        set(phase.hyperparams) - {'learning_rate'},
      )
    if not 0 <= weights[key] < math.inf:
      raise errors.InputError(
        f'weights.{phase.name}.{key} is {weights[key]}; expected a finite '
        'number of at least 0.'
      )
  optimizer, rate = phase.optimizer, phase.hyperparams['learning_rate']
  if phase.name in config.optimizer:
    optimizer, rate = _optimizer(phase.name, config.optimizer[phase.name])
  return dataclasses.replace(
    phase,
    optimizer=optimizers.scheduled(optimizer, schedule),
    hyperparams={**phase.hyperparams, **weights, 'learning_rate': rate},
  )


def _optimizer(phase_name, options):
  """The optimizer of a phase, and its learning rate."""
  options = dict(options)
  learning_rate = options.pop('learning_rate')
  if not 0 <= learning_rate < math.inf:
    raise errors.InputError(
      f'optimizer.{phase_name}.learning_rate is {learning_rate}; expected '
      'a finite number of at least 0.'
    )
  section = f'optimizer.{phase_name}'
  return build_part(section, optimizers.OPTIMIZERS, options), learning_rate
