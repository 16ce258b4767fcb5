"""From a configuration to an experiment: the one place that reads configs.

Everything that a user can get wrong is found here, before anything is
compiled or written.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import importlib
import inspect
import itertools
import json
import math
from typing import Any, NamedTuple

from flax import linen as nn
from flax.traverse_util import flatten_dict
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from aae_jax import (
  datasets,
  errors,
  losses,
  metrics,
  networks,
  optimizers,
  posteriors,
  priors,
  randomness,
  recipes,
  systems,
  train_state,
  train_step,
)
from aae_jax.augmentation import Augmentation
from aae_jax.datasets import feeding
from aae_jax.phases import Phase, augmented

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


class Facts(NamedTuple):
  """What a system has to know of the data.

  Attributes:
    image_shape: (H, W, C).
    num_classes: None without labels.
    num_train: images to train on.
    frequencies: the share of each class among the labelled images, or None
      without labels.
  """

  image_shape: tuple[int, int, int]
  num_classes: int | None
  num_train: int
  frequencies: tuple[float, ...] | None = None


class Setting(NamedTuple):
  """What the runs of one setting of a search train with.

  Attributes:
    values: of the keys of `config.search`; none where nothing is searched.
    hyperparams: {phase: {name: value}}, all rates and weights.
  """

  values: Mapping[str, float]
  hyperparams: Mapping[str, Mapping[str, float]]

  @property
  def name(self) -> str:
    """`generator.y_weight=3.0`; empty where nothing is searched."""
    return metrics.name_setting(self.values)


@dataclasses.dataclass(frozen=True)
class Experiment:
  """A configuration made real.

  Its runs are the settings' in turn, all seeds of each: S times as many as
  settings. A run begins and draws by its seed alone, whatever its setting.

  Attributes:
    config: what it was made of.
    dataset: in memory.
    facts: of the data, that the system was built for.
    system: networks, phases with optimizers, model.
    feed: batches of the training split.
    devices: that share every batch.
    labelled: int32 [S, n], the training examples whose labels each seed uses.
    settings: of the search, a single one where nothing is searched.
  """

  config: ml_collections.ConfigDict
  dataset: datasets.Dataset
  facts: Facts
  system: systems.System
  feed: feeding.Feed
  devices: tuple[jax.Device, ...]
  labelled: np.ndarray
  settings: tuple[Setting, ...]

  @property
  def seeds(self) -> range:
    """The seeds of the independent runs of each setting."""
    return _seeds(self.config)

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

  def at_setting(
    self, index: int, state: train_state.TrainState
  ) -> tuple['Experiment', train_state.TrainState]:
    """A setting as an experiment that has no other, and the state of its runs.

    Args:
      index: of the setting.
      state: of all runs.
    """
    runs = self.places[index]
    state = train_step.map_seeds(
      lambda x: x[runs], state, train_state.SEED_AXES
    )
    return dataclasses.replace(self, settings=(self.settings[index],)), state

  @property
  def total_steps(self) -> int:
    """Steps in the whole run."""
    return self.config.epochs * self.feed.steps_per_epoch

  def keys(self) -> jax.Array:
    """The typed key of each run, [R]."""
    return _keys([*self.seeds] * len(self.settings))

  def data(self) -> feeding.Data:
    """The training split, and each run's draw of labels, on the devices."""
    image, label = self.dataset.train
    if label is None:
      label = np.zeros(len(image), np.int32)
    labelled = np.tile(self.labelled, (len(self.settings), 1))
    is_labelled = np.zeros((len(labelled), len(image)), bool)
    np.put_along_axis(is_labelled, labelled, True, axis=1)
    data = feeding.Data(image, label, is_labelled, labelled)
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

  def _create(self, keys: jax.Array) -> train_state.TrainState:
    batch = feeding.example_batch(self.feed, self.dataset.image_shape)
    create = lambda key: train_state.create(
      self.system, key, batch, average=self.config.ema_decay > 0
    )
    state = jax.vmap(create, out_axes=train_state.SEED_AXES)(keys)
    return state.replace(hyperparams=self._hyperparams())

  def _hyperparams(self) -> dict[str, dict[str, jax.Array]]:
    """Those of every run, [R]."""
    return jax.tree.map(
      lambda *values: jnp.repeat(jnp.float32(values), len(self.seeds)),
      *(setting.hyperparams for setting in self.settings),
    )

  def run(self) -> Callable[..., Any]:
    """The compiled call of many steps, see `train_step.parallelize`."""
    step = train_step.make_train_step(self.system, self.config.ema_decay)
    return train_step.parallelize(step, self.feed, len(self.runs), self.devices)


def build(config: ml_collections.ConfigDict) -> Experiment:
  """Checks a configuration and builds what it describes.

  Raises:
    InputError: names the first key that is wrong, and what was expected.
  """
  _check_numbers(config)
  find('system', systems.SYSTEMS, config.system)
  dataset = datasets.load(**config.dataset)
  devices = tuple(jax.local_devices())
  _check_batches(config, dataset, len(devices))
  facts = Facts(
    dataset.image_shape,
    dataset.num_classes,
    dataset.train.num_images,
    datasets.frequencies(
      dataset.train.label, config.num_labels, dataset.num_classes
    ),
  )
  system = build_system(config, facts)
  _check_clusters(config, system, dataset)
  settings = build_settings(config, facts)
  _check_search(settings, dataset)
  labelled = _draw_labelled(config, system, dataset)
  is_batched = system.labels == 'batched'
  feed = feeding.Feed(
    dataset.train.num_images,
    config.batch_size,
    config.labelled_batch_size if is_batched else 0,
    len(devices),
  )
  return Experiment(
    config, dataset, facts, system, feed, devices, labelled, settings
  )


def build_system(
  config: ml_collections.ConfigDict, facts: Facts
) -> systems.System:
  """Builds the system alone, which takes no images.

  Args:
    config: of an experiment.
    facts: of the data that it is for.

  Raises:
    InputError: names the first key that is wrong, and what was expected.
  """
  builder = find('system', systems.SYSTEMS, config.system)
  system = builder(**_arguments(config, facts, builder))
  builders = [builder]
  for name in config.additions:
    addition = find('addition', systems.ADDITIONS, name)
    system = addition(system, **_arguments(config, facts, addition))
    builders.append(addition)
  _check_unused(config, builders, system.labels)
  system = _with_augmentation(config, system)
  return _with_optimizers(config, system, _steps_per_epoch(config, facts))


def build_settings(
  config: ml_collections.ConfigDict, facts: Facts
) -> tuple[Setting, ...]:
  """The product of what is searched; a single setting where nothing is.

  Each trains as the configuration would that has its values in place of the
  search.

  Args:
    config: of an experiment.
    facts: of the data that it is for.

  Raises:
    InputError: names the key or setting that is wrong, and what was expected.
  """
  searched = _searched(config)
  settings = [
    _setting(config, facts, dict(zip(searched, values, strict=True)))
    for values in itertools.product(*searched.values())
  ]
  for one, other in itertools.combinations(settings, 2):
    if _arrays(one) == _arrays(other):
      raise errors.InputError(
        f'search: {one.name} and {other.name} are the same rates and weights; '
        'expected different ones.'
      )
  return tuple(settings)


class Parameter(NamedTuple):
  """What a builder gets under the name of one of its parameters.

  Attributes:
    section: of the configuration, which it is made of.
    make: `(config, facts) -> value`.
  """

  section: str | None
  make: Callable[[ml_collections.ConfigDict, Facts], Any]


PARAMETERS = {
  'encoder': Parameter(
    'encoder', lambda config, facts: functools.partial(_encoder, config)
  ),
  'decoder': Parameter(
    'decoder', lambda config, facts: functools.partial(_decoder, config, facts)
  ),
  'discriminator': Parameter(
    'discriminator',
    lambda config, facts: functools.partial(_discriminator, config),
  ),
  'posterior': Parameter(
    'posterior', lambda config, facts: functools.partial(_posterior, config)
  ),
  'prior': Parameter(
    'prior', lambda config, facts: _prior(config, priors.PRIORS)
  ),
  'dense_prior': Parameter('prior', lambda config, facts: _dense_prior(config)),
  'label_prior': Parameter(
    'prior',
    lambda config, facts: _prior(
      config, priors.LABEL_PRIORS, num_classes=_classes(facts)
    ),
  ),
  'prior_y': Parameter(
    'prior_y', lambda config, facts: functools.partial(_prior_y, config, facts)
  ),
  'sees_label': Parameter(
    'discriminator_z', lambda config, facts: config.discriminator_z.sees_label
  ),
  'latent_size': Parameter(
    'latent_size', lambda config, facts: config.latent_size
  ),
  'num_clusters': Parameter(
    'num_clusters', lambda config, facts: config.num_clusters
  ),
  'num_classes': Parameter(None, lambda config, facts: _classes(facts)),
  'consistency': Parameter(
    'consistency', lambda config, facts: _consistency(config, facts)
  ),
  'marginal_entropy': Parameter(
    'marginal_entropy',
    lambda config, facts: _hyperparams(config, 'marginal_entropy'),
  ),
}
"""What the parameters of systems and additions stand for, by name."""


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
  """What is registered under a name, or the user's own.

  That is 'module:function', or 'module:function(option=value)' where it has
  options.

  Raises:
    InputError: there is neither.
  """
  if ':' not in name:
    if name not in registry:
      raise errors.unknown(section, name, registry)
    return registry[name]
  try:
    call = ast.parse(name.split(':', 1)[1], mode='eval').body
    options = {}
    if isinstance(call, ast.Call):
      options = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
      call = call.func
    module = importlib.import_module(name.split(':', 1)[0])
    found = functools.partial(getattr(module, ast.unparse(call)), **options)
    inspect.signature(found)
  except (ImportError, AttributeError, SyntaxError, TypeError, ValueError) as e:
    raise errors.InputError(
      f'{section} {name!r} cannot be imported ({e}); expected '
      "'module:function', or 'module:function(option=value)'."
    ) from None
  return found if options else found.func


def _check_numbers(config: ml_collections.ConfigDict) -> None:
  for key in ('latent_size', 'batch_size', 'num_seeds', 'checkpoints_to_keep'):
    _require(config, key, lambda value: value >= 1, 'at least 1')
  for key in ('epochs', 'evaluate_every_epochs'):
    _require(config, key, lambda value: value >= 1, 'at least 1')
  for key in ('labelled_batch_size', 'num_clusters'):
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


def _require(
  config: ml_collections.ConfigDict,
  key: str,
  accepts: Callable[[Any], bool],
  expected: str,
) -> None:
  value = functools.reduce(
    lambda part, name: part[name], key.split('.'), config
  )
  if not accepts(value):
    raise errors.InputError(f'{key} is {value}; expected {expected}.')


def _require_amount(config: ml_collections.ConfigDict, key: str) -> None:
  _require(
    config,
    key,
    lambda value: 0 <= value < math.inf,
    'a finite number of at least 0',
  )


def _check_batches(
  config: ml_collections.ConfigDict,
  dataset: datasets.Dataset,
  num_devices: int,
) -> None:
  for key in ('batch_size', 'labelled_batch_size'):
    if config[key] % num_devices:
      raise errors.InputError(
        f'{key} is {config[key]}; expected a multiple of the {num_devices} '
        'devices.'
      )
  if config.batch_size > dataset.train.num_images:
    raise errors.InputError(
      f'batch_size is {config.batch_size}; expected at most the '
      f'{dataset.train.num_images} training images of {dataset.name}.'
    )


def _arguments(
  config: ml_collections.ConfigDict, facts: Facts, builder: Callable[..., Any]
) -> dict[str, Any]:
  """What a builder's parameters stand for, but for those that have a value."""
  found = {}
  for name, parameter in inspect.signature(builder).parameters.items():
    if name in PARAMETERS:
      found[name] = PARAMETERS[name].make(config, facts)
    elif parameter.default is parameter.empty and name != 'system':
      raise errors.unknown(
        f'parameter of {getattr(builder, "__name__", builder)!r}',
        name,
        PARAMETERS,
      )
  return found


def _prior(
  config: ml_collections.ConfigDict,
  registry: Mapping[str, Callable[..., priors.Prior]],
  **given: Any,
) -> priors.Prior:
  """The configuration's prior of z, if `registry` has it."""
  name = config.prior.name
  if name in priors.PRIORS and name not in registry:
    raise errors.InputError(
      f'system {config.system!r} needs a prior with a place for each '
      f'label; prior {name!r} has none. Known: {", ".join(registry)}.'
    )
  return build_part(
    'prior', registry, config.prior, size=config.latent_size, **given
  )


def _dense_prior(config: ml_collections.ConfigDict) -> priors.Prior:
  prior = _prior(config, priors.PRIORS)
  if not prior.log_prob:
    raise errors.InputError(
      f'system {config.system!r} needs the density of its prior; '
      f'prior {config.prior.name!r} can only be sampled.'
    )
  return prior


def _prior_y(
  config: ml_collections.ConfigDict, facts: Facts, size: int
) -> priors.Prior:
  frequencies = config.prior_y.frequencies
  if frequencies == 'uniform':
    frequencies = None
  elif frequencies == 'labelled':
    _classes(facts)
    frequencies = facts.frequencies
  else:
    try:
      frequencies = [float(share) for share in frequencies.split(',')]
    except ValueError:
      raise errors.InputError(
        f"prior_y.frequencies is {frequencies!r}; expected 'uniform', "
        "'labelled', or a number for each class, such as '0.9,0.1'."
      ) from None
  return priors.categorical(size, frequencies, config.prior_y.balanced)


def _posterior(
  config: ml_collections.ConfigDict, size: int
) -> posteriors.Posterior:
  return build_part(
    'posterior', posteriors.POSTERIORS, config.posterior, size=size
  )


def _consistency(
  config: ml_collections.ConfigDict, facts: Facts
) -> dict[str, float]:
  """The hyperparameters of the phase, which counts steps."""
  found = _hyperparams(config, 'consistency')
  return {**found, 'begin': found['begin'] * _steps_per_epoch(config, facts)}


def _hyperparams(
  config: ml_collections.ConfigDict, section: str
) -> dict[str, float]:
  """The numbers of a section."""
  for key in config[section]:
    _require_amount(config, f'{section}.{key}')
  return dict(config[section])


def _steps_per_epoch(config: ml_collections.ConfigDict, facts: Facts) -> int:
  return facts.num_train // config.batch_size


def _classes(facts: Facts) -> int:
  if facts.num_classes is None:
    raise errors.InputError(
      'the system learns from labels, but the data set has none.'
    )
  return facts.num_classes


def _encoder(
  config: ml_collections.ConfigDict, heads: Mapping[str, int]
) -> nn.Module:
  augmentation, of_target = _augmentation(config)
  return _network(
    networks.Encoder,
    'encoder',
    config,
    networks.TRUNKS,
    heads=heads,
    # With the target's, the phases hand it images that are augmented already.
    augmentation=Augmentation() if of_target else augmentation,
  )


def _augmentation(
  config: ml_collections.ConfigDict,
) -> tuple[Augmentation, bool]:
  """Of the encoder's image, and whether the target is augmented too."""
  options = dict(config.encoder.get('augmentation', {}))
  _check_network('encoder.augmentation', options)
  of_target = options.pop('target', False)
  return Augmentation(**options), of_target


def _decoder(config: ml_collections.ConfigDict, facts: Facts) -> nn.Module:
  return _network(
    networks.Decoder,
    'decoder',
    config,
    networks.decoder_trunks(facts.image_shape),
    image_shape=facts.image_shape,
  )


def _discriminator(config: ml_collections.ConfigDict) -> nn.Module:
  return _network(
    networks.Discriminator, 'discriminator', config, networks.TRUNKS
  )


def _network(
  module: type[nn.Module],
  section: str,
  config: ml_collections.ConfigDict,
  trunks: Mapping[str, Callable[..., nn.Module]],
  **given: Any,
) -> nn.Module:
  """A network: the module's own options, its layers', and its trunk's."""
  options = _given(config[section])
  # What is given was made of the option of that name.
  options = {key: options[key] for key in options.keys() - given.keys()}
  _check_network(section, options)
  options['activation'] = build_part(
    f'{section}.activation',
    networks.ACTIVATIONS,
    {'name': options['activation'], 'slope': options.pop('slope', None)},
  )
  own, layer = _taken(module, options), _taken(networks.Layer, options)
  trunk = build_part(
    section,
    trunks,
    {
      'name': options['network'],
      **{k: options[k] for k in options.keys() - {'network', *own, *layer}},
    },
    layer=functools.partial(networks.Layer, **layer),
    # Fields of every flax module, which no configuration chooses.
    name=None,
    parent=None,
  )
  return module(trunk, **own, **given)


def _taken(
  module: type[nn.Module], options: Mapping[str, Any]
) -> dict[str, Any]:
  """The options that are fields of a module."""
  fields = {field.name for field in dataclasses.fields(module)}
  return {key: value for key, value in options.items() if key in fields}


def _check_network(section: str, options: Mapping[str, Any]) -> None:
  """What no network, or no adversary, can do anything with."""
  if section == 'discriminator' and options.get('batch_norm'):
    raise errors.InputError(
      'discriminator.batch_norm is True; expected False, for an adversary '
      'that normalizes its batches sticks at an accuracy of 50 %.'
    )
  if 'momentum' in options and not options.get('batch_norm'):
    raise errors.InputError(
      f'{section}.momentum is {options["momentum"]}, but there is no use for '
      f'it without {section}.batch_norm.'
    )
  for key, known in (
    ('initializer', networks.INITIALIZERS),
    ('output', losses.LIKELIHOODS),
  ):
    if key in options and options[key] not in known:
      raise errors.unknown(f'{section}.{key}', options[key], known)
  for key, accepts, expected in (
    ('hidden', _are_sizes, 'whole numbers above 0, such as (400, 400)'),
    (
      'channels',
      lambda sizes: sizes and _are_sizes(sizes),
      'whole numbers above 0, such as (32, 64)',
    ),
    ('noise', lambda std: std >= 0, 'at least 0'),
    ('momentum', lambda share: 0 <= share < 1, 'in [0, 1)'),
    ('input_noise', lambda std: std >= 0, 'at least 0'),
    ('input_dropout', lambda share: 0 <= share < 1, 'in [0, 1)'),
    (
      'shift',
      lambda pixels: 0 <= pixels < math.inf,
      'a finite number of at least 0',
    ),
    ('turn', lambda degrees: 0 <= degrees <= 180, 'in [0, 180]'),
    ('scale', lambda share: 0 <= share < 1, 'in [0, 1)'),
  ):
    if key in options and not accepts(options[key]):
      raise errors.InputError(
        f'{section}.{key} is {options[key]}; expected {expected}.'
      )


def _are_sizes(values: Sequence[Any]) -> bool:
  return all(isinstance(size, int) and size > 0 for size in values)


def _check_unused(
  config: ml_collections.ConfigDict,
  builders: Sequence[Callable[..., Any]],
  labels: str,
) -> None:
  """What no builder has a parameter for stands at its default."""
  used = {
    PARAMETERS[name].section
    for builder in builders
    for name in inspect.signature(builder).parameters
    if name in PARAMETERS
  }
  used |= {'num_labels'} if labels in ('drawn', 'batched') else set()
  used |= {'labelled_batch_size'} if labels == 'batched' else set()
  sections = {parameter.section for parameter in PARAMETERS.values()}
  sections |= {'num_labels', 'labelled_batch_size'}
  given, default = (
    # As a workdir has them, with lists in place of tuples.
    flatten_dict(json.loads(tree.to_json()), sep='.')
    for tree in (config, recipes.defaults())
  )
  for key, value in given.items():
    is_unused = key.split('.')[0] in sections - used
    if is_unused and value != default.get(key):
      raise errors.InputError(
        f'{key} is {value}, but system {config.system!r} has no use for it; '
        f'expected {default.get(key)}.'
      )


def _check_clusters(
  config: ml_collections.ConfigDict,
  system: systems.System,
  dataset: datasets.Dataset,
) -> None:
  num_images = dataset.train.num_images
  if system.model.cluster and config.num_clusters > num_images:
    raise errors.InputError(
      f'num_clusters is {config.num_clusters}; expected at most the '
      f'{num_images} training images of {dataset.name}.'
    )


def _draw_labelled(
  config: ml_collections.ConfigDict,
  system: systems.System,
  dataset: datasets.Dataset,
) -> np.ndarray:
  """The examples whose labels each seed uses, int32 [S, n]."""
  if system.labels not in ('drawn', 'batched'):
    return np.zeros((config.num_seeds, 0), np.int32)
  return np.stack(
    [
      datasets.draw_labelled(
        randomness.named(key, 'labels'),
        dataset.train.label,
        config.num_labels,
        dataset.num_classes,
      )
      for key in _keys(_seeds(config))
    ]
  )


def _seeds(config: ml_collections.ConfigDict) -> range:
  return range(config.seed, config.seed + config.num_seeds)


def _keys(seeds: Sequence[int]) -> jax.Array:
  return jax.vmap(jax.random.key)(jnp.asarray(seeds))


def _searched(
  config: ml_collections.ConfigDict,
) -> dict[str, tuple[float, ...]]:
  """The values of what is searched, by `PHASE.NAME`."""
  sections = config.get('search', {})  # Older workdirs have none.
  found = {
    f'{section}.{name}': values
    for section in sorted(sections)
    for name, values in sorted(_given(sections[section]).items())
  }
  for key, values in found.items():
    if not (values and all(isinstance(value, int | float) for value in values)):
      raise errors.InputError(
        f'search.{key} is {values}; expected numbers, such as (1.0, 3.0).'
      )
  return {key: tuple(map(float, values)) for key, values in found.items()}


def _setting(
  config: ml_collections.ConfigDict, facts: Facts, values: Mapping[str, float]
) -> Setting:
  config = config.copy_and_resolve_references()
  try:
    with config.unlocked(), config.ignore_type():
      for key, value in values.items():
        _put(config, *key.split('.'), value)
    system = build_system(config, facts)
  except errors.InputError as error:
    name = metrics.name_setting(values)
    raise errors.InputError(f'search, {name}: {error}') from None
  hyperparams = {phase.name: phase.hyperparams for phase in system.phases}
  return Setting(values, hyperparams)


def _put(
  config: ml_collections.ConfigDict, section: str, name: str, value: float
) -> None:
  """Puts a value where the configuration has what a search goes over."""
  if name == 'learning_rate':
    if section not in config.optimizer:
      raise errors.unknown('phase in optimizer', section, config.optimizer)
    config.optimizer[section].learning_rate = value
  elif section in systems.ADDITIONS and section in config:
    if name not in config[section]:
      raise errors.unknown(f'key in {section}', name, config[section])
    config[section][name] = value
  else:
    config.weights.update({section: {name: value}})


def _arrays(setting: Setting) -> list[np.float32]:
  """The rates and weights as runs have them."""
  return [np.float32(value) for value in jax.tree.leaves(setting.hyperparams)]


def _check_search(
  settings: Sequence[Setting], dataset: datasets.Dataset
) -> None:
  if settings[0].values and not dataset.validation.num_images:
    raise errors.InputError(
      'search needs images that choose the best setting, but '
      'dataset.num_validation is 0; expected at least 1, for the test images '
      'choose nothing.'
    )


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
  """The options that are not left to what takes them."""
  return {key: value for key, value in options.items() if value is not None}


def _with_augmentation(
  config: ml_collections.ConfigDict, system: systems.System
) -> systems.System:
  """The system whose phases see augmented images, if the target is one."""
  augmentation, of_target = _augmentation(config)
  if not of_target:
    return system
  if not system.model.decode:
    raise errors.InputError(
      f'encoder.augmentation.target is True, but system {config.system!r} has '
      'no target; expected False.'
    )
  phases = tuple(augmented(phase, augmentation) for phase in system.phases)
  return dataclasses.replace(system, phases=phases)


def _with_optimizers(
  config: ml_collections.ConfigDict,
  system: systems.System,
  steps_per_epoch: int,
) -> systems.System:
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


def _with_optimizer(
  config: ml_collections.ConfigDict, schedule: optax.Schedule, phase: Phase
) -> Phase:
  weights = _given(config.weights.get(phase.name, {}))
  for key in weights:
    if key not in phase.hyperparams or key == 'learning_rate':
      raise errors.unknown(
        f'weight of phase {phase.name!r}',
        key,
        set(phase.hyperparams) - {'learning_rate'},
      )
    _require_amount(config, f'weights.{phase.name}.{key}')
  optimizer, rate = phase.optimizer, phase.hyperparams['learning_rate']
  if phase.name in config.optimizer:
    _require_amount(config, f'optimizer.{phase.name}.learning_rate')
    optimizer, rate = _optimizer(phase.name, config.optimizer[phase.name])
  return dataclasses.replace(
    phase,
    optimizer=optimizers.scheduled(optimizer, schedule),
    hyperparams={**phase.hyperparams, **weights, 'learning_rate': rate},
  )


def _optimizer(
  phase_name: str, options: Mapping[str, Any]
) -> tuple[optax.GradientTransformation, float]:
  """The optimizer of a phase, and its learning rate."""
  options = dict(options)
  learning_rate = options.pop('learning_rate')
  section = f'optimizer.{phase_name}'
  return build_part(section, optimizers.OPTIMIZERS, options), learning_rate
