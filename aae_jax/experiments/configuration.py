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
  phases,
  posteriors,
  precision,
  priors,
  processes,
  recipes,
  rules,
  systems,
)
from aae_jax.augmentation import Augmentation, binarize
from aae_jax.datasets import Schema
from aae_jax.early_stopping import EarlyStopping
from aae_jax.experiments.experiment import (
  Experiment,
  Setting,
  Spec,
  assemble,
  check_batches,
  draw_labelled,
)
from aae_jax.ladder import LadderEncoder
from aae_jax.phases import Phase, seeing
from aae_jax.types import Array, Keys

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


def build(config: ml_collections.ConfigDict) -> Experiment:
  """Checks a configuration and builds what it describes.

  Args:
    config: of an experiment; what it leaves to the data is completed in place.

  Raises:
    InputError: names the first key that is wrong, and what was expected.
  """
  _check_numbers(config)
  find('system', systems.SYSTEMS, config.system)
  free_bytes = processes.least(datasets.free_bytes())
  with processes.first_goes_ahead():
    dataset = datasets.load(**config.dataset, free_bytes=free_bytes)
  rules.complete(config, dataset.schema)
  devices = tuple(jax.devices())
  check_batches(
    config.batch_size, config.labelled_batch_size, dataset.schema, len(devices)
  )
  spec = build_spec(config, dataset.schema)
  _check_clusters(config, spec.system, dataset)
  labelled = draw_labelled(spec, dataset, config.num_labels)
  return assemble(spec, dataset, labelled, devices)


def build_spec(config: ml_collections.ConfigDict, schema: Schema) -> Spec:
  """What is trained; it takes no images.

  Args:
    config: of an experiment.
    schema: of the data that it is for.

  Raises:
    InputError: names the first key that is wrong, and what was expected.
  """
  system = build_system(config, schema)
  is_batched = system.labels == 'batched'
  return Spec(
    system,
    batch_size=config.batch_size,
    epochs=config.epochs,
    seeds=range(config.seed, config.seed + config.num_seeds),
    labelled_batch_size=config.labelled_batch_size if is_batched else 0,
    ema_decay=config.ema_decay,
    precision=precision.find(config.precision),
    searched=build_settings(config, schema),
    early_stopping=_early_stopping(config),
  )


def build_system(
  config: ml_collections.ConfigDict, schema: Schema
) -> systems.System:
  """Builds the system alone, which takes no images.

  Args:
    config: of an experiment.
    schema: of the data that it is for.

  Raises:
    InputError: names the first key that is wrong, and what was expected.
  """
  builder = find('system', systems.SYSTEMS, config.system)
  system = builder(**_arguments(config, schema, builder))
  builders = [builder]
  for name in config.additions:
    addition = find('addition', systems.ADDITIONS, name)
    system = addition(system, **_arguments(config, schema, addition))
    builders.append(addition)
  _check_unused(config, builders, system.labels)
  # Pixels are drawn of images that are augmented.
  if config.get('binarize', False):  # Older workdirs have none.
    system = _seeing(binarize, system)
  system = _with_augmentation(config, system)
  return _with_optimizers(config, system, _steps_per_epoch(config, schema))


def build_settings(
  config: ml_collections.ConfigDict, schema: Schema
) -> tuple[Setting, ...]:
  """The product of what is searched; none where nothing is.

  Each trains as the configuration would that has its values in place of the
  search.

  Args:
    config: of an experiment.
    schema: of the data that it is for.

  Raises:
    InputError: names the key or setting that is wrong, and what was expected.
  """
  searched = _searched(config)
  if not searched:
    return ()
  settings = [
    _setting(config, schema, dict(zip(searched, values, strict=True)))
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
    make: `(config, schema) -> value`.
  """

  section: str | None
  make: Callable[[ml_collections.ConfigDict, Schema], Any]


PARAMETERS = {
  'encoder': Parameter(
    'encoder', lambda config, schema: functools.partial(_encoder, config)
  ),
  'ladder_encoder': Parameter(
    'encoder', lambda config, schema: functools.partial(_ladder_encoder, config)
  ),
  'decoder': Parameter(
    'decoder',
    lambda config, schema: functools.partial(_decoder, config, schema),
  ),
  'discriminator': Parameter(
    'discriminator',
    lambda config, schema: functools.partial(_discriminator, config),
  ),
  'posterior': Parameter(
    'posterior', lambda config, schema: functools.partial(_posterior, config)
  ),
  'prior': Parameter(
    'prior', lambda config, schema: _prior(config, priors.PRIORS)
  ),
  'dense_prior': Parameter(
    'prior', lambda config, schema: _dense_prior(config)
  ),
  'label_prior': Parameter(
    'prior',
    lambda config, schema: _prior(
      config, priors.LABEL_PRIORS, num_classes=_classes(schema)
    ),
  ),
  'prior_y': Parameter(
    'prior_y',
    lambda config, schema: functools.partial(_prior_y, config, schema),
  ),
  'sees_label': Parameter(
    'discriminator_z', lambda config, schema: config.discriminator_z.sees_label
  ),
  'latent_size': Parameter(
    'latent_size', lambda config, schema: config.latent_size
  ),
  'auxiliary_size': Parameter(
    'auxiliary_size', lambda config, schema: config.auxiliary_size
  ),
  'num_draws': Parameter(
    # Older workdirs have none.
    'num_draws',
    lambda config, schema: config.get('num_draws', 1),
  ),
  'num_clusters': Parameter(
    'num_clusters', lambda config, schema: config.num_clusters
  ),
  'svm': Parameter('svm', lambda config, schema: _machine(config)),
  'num_classes': Parameter(None, lambda config, schema: _classes(schema)),
  'consistency': Parameter(
    'consistency', lambda config, schema: _consistency(config, schema)
  ),
  'marginal_entropy': Parameter(
    'marginal_entropy',
    lambda config, schema: _hyperparams(config, 'marginal_entropy'),
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
  for key in ('labelled_batch_size', 'num_clusters', 'auxiliary_size'):
    _require(config, key, lambda value: value >= 1, 'at least 1')
  if 'num_draws' in config:
    _require(config, 'num_draws', lambda value: value >= 1, 'at least 1')
  _require(
    config,
    'seed',
    lambda value: 0 <= value <= 2**31 - config.num_seeds,
    'at least 0, and below 2^31 for every seed',
  )
  _require(
    config,
    'early_stopping.patience',
    lambda value: value >= 1,
    'at least 1',
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
  if not rules.is_open(config, key) and not accepts(value):
    raise errors.InputError(f'{key} is {value}; expected {expected}.')


def _require_amount(config: ml_collections.ConfigDict, key: str) -> None:
  _require(
    config,
    key,
    lambda value: 0 <= value < math.inf,
    'a finite number of at least 0',
  )


def _arguments(
  config: ml_collections.ConfigDict, schema: Schema, builder: Callable[..., Any]
) -> dict[str, Any]:
  """What a builder's parameters stand for, but for those that have a value."""
  found = {}
  for name, parameter in inspect.signature(builder).parameters.items():
    if name in PARAMETERS:
      found[name] = PARAMETERS[name].make(config, schema)
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
  config: ml_collections.ConfigDict, schema: Schema, size: int
) -> priors.Prior:
  frequencies = config.prior_y.frequencies
  if frequencies == 'uniform':
    frequencies = None
  elif frequencies == 'labelled':
    _classes(schema)
    frequencies = datasets.frequencies(schema, config.num_labels)
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


def _machine(config: ml_collections.ConfigDict) -> systems.MakeMachine:
  # It takes longer to import than JAX, and one system has one.
  from aae_jax.svm import TransductiveSVC

  options = _given(config.svm)
  TransductiveSVC(**options).check_parameters()
  return functools.partial(TransductiveSVC, **options)


def _consistency(
  config: ml_collections.ConfigDict, schema: Schema
) -> systems.MakePhase:
  """Makes the phase, which counts steps."""
  options = _hyperparams(config, 'consistency')
  options['begin'] *= _steps_per_epoch(config, schema)
  return functools.partial(phases.consistency, **options)


def _hyperparams(
  config: ml_collections.ConfigDict, section: str
) -> dict[str, float]:
  """The numbers of a section."""
  options = _given(config[section])
  for key in options:
    _require_amount(config, f'{section}.{key}')
  return options


def _steps_per_epoch(config: ml_collections.ConfigDict, schema: Schema) -> int:
  return schema.num_train // config.batch_size


def _classes(schema: Schema) -> int:
  if schema.num_classes is None:
    raise errors.InputError(
      'the system learns from labels, but the data set has none.'
    )
  return schema.num_classes


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


def _ladder_encoder(
  config: ml_collections.ConfigDict, heads: Mapping[str, int]
) -> LadderEncoder:
  options = _given(config.encoder)
  _check_network('encoder', {**options, 'batch_norm': True})
  own = _taken(LadderEncoder, options)
  given, default = (
    flatten_dict(tree.encoder.to_dict(), sep='.')
    for tree in (config, recipes.defaults())
  )
  for key, value in given.items():
    if key not in own and value != default[key]:
      raise errors.InputError(
        f'encoder.{key} is {value}, but system {config.system!r} has no use '
        f'for it; expected {default[key]}.'
      )
  return LadderEncoder(num_classes=heads['y'], **own)


def _augmentation(
  config: ml_collections.ConfigDict,
) -> tuple[Augmentation, bool]:
  """Of the encoder's image, and whether the target is augmented too."""
  options = dict(config.encoder.get('augmentation', {}))
  _check_network('encoder.augmentation', options)
  of_target = options.pop('target', False)
  return Augmentation(**options), of_target


def _decoder(config: ml_collections.ConfigDict, schema: Schema) -> nn.Module:
  return _network(
    networks.Decoder,
    'decoder',
    config,
    networks.decoder_trunks(schema.image_shape),
    image_shape=schema.image_shape,
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
    ('colour', lambda share: 0 <= share <= 1, 'in [0, 1]'),
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


def _early_stopping(
  config: ml_collections.ConfigDict,
) -> EarlyStopping | None:
  options = config.get('early_stopping', {})  # Older workdirs have none.
  if options.get('measure') is None:
    default = recipes.defaults().early_stopping.patience
    if options.get('patience', default) != default:
      raise errors.InputError(
        f'early_stopping.patience is {options.patience}, but there is no use '
        'for it without early_stopping.measure.'
      )
    return None
  return EarlyStopping(**options)


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
  config: ml_collections.ConfigDict, schema: Schema, values: Mapping[str, float]
) -> Setting:
  config = config.copy_and_resolve_references()
  try:
    with config.unlocked(), config.ignore_type():
      for key, value in values.items():
        _put(config, *key.split('.'), value)
    system = build_system(config, schema)
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
  return _seeing(augmentation, system)


def _seeing(
  make: Callable[[Array, Keys], Array], system: systems.System
) -> systems.System:
  """The system whose phases see made images."""
  phases = tuple(seeing(make, phase) for phase in system.phases)
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
