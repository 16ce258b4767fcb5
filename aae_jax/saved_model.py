"""A trained model: loaded to be used, or exported to run without this package.

Neither asks for the data that the model was trained on.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import json
from typing import Any

from etils import epath
import jax
from jax import export as jax_export
import jax.numpy as jnp
import ml_collections
import numpy as np

from aae_jax import (
  addresses,
  errors,
  evaluation,
  metrics,
  randomness,
  train_step,
)
from aae_jax import experiment as experiments
from aae_jax.checkpoints import Checkpoints
from aae_jax.datasets.dataset import Dataset, Split
from aae_jax.datasets.feeding import Feed
from aae_jax.systems import System
from aae_jax.train_state import TrainState
from aae_jax.types import Apply, Array, Batch, Code, Key, Keys

_NEEDS = {
  'encode': ('encode',),
  'decode': ('decode',),
  'reconstruct': ('encode', 'decode'),
  'classify': ('classify',),
  'cluster': ('cluster',),
  'represent': ('encode', 'represent'),
  'sample': ('sample',),
}
"""What a function of a loaded model needs of the `systems.Model`."""

_EXPORTED = {
  'encode': 'encoder',
  'decode': 'decoder',
  'classify': 'classifier',
  'cluster': 'clusterer',
  'represent': 'representer',
}
"""The functions that are exported, and their files."""

_PLATFORMS = ('cpu', 'cuda', 'tpu')


@dataclasses.dataclass(frozen=True)
class Signature:
  """What a model needs to know of the data: `model.json`.

  Attributes:
    dataset: what results call it.
    image_shape: (H, W, C).
    num_classes: None where there are no labels.
    num_train: images in the training split.
    frequencies: the share of each class among the labelled images, or None
      without labels.
    scale: what a uint8 image is divided by.
    digest: of the data, see `Dataset.digest`.
  """

  dataset: str
  image_shape: tuple[int, int, int]
  num_classes: int | None
  num_train: int
  frequencies: tuple[float, ...] | None
  scale: float
  digest: str


class MissingFunctionError(errors.InputError, AttributeError):
  """The system of a model does not have the function."""


def write_signature(
  workdir: epath.PathLike, experiment: experiments.Experiment
) -> None:
  """Writes `model.json`, without which `load` would need the data.

  Raises:
    OSError: it cannot be written.
  """
  dataset = experiment.dataset
  signature = Signature(
    dataset=dataset.name,
    image_shape=dataset.image_shape,
    num_classes=dataset.num_classes,
    num_train=dataset.train.num_images,
    frequencies=experiment.facts.frequencies,
    scale=255.0,
    digest=dataset.digest,
  )
  path = epath.Path(workdir) / 'model.json'
  metrics.write_json(path, dataclasses.asdict(signature))


def read_config(workdir: epath.Path) -> dict[str, Any]:
  """Reads the `config.json` of a run.

  Raises:
    InputError: there is none, or an older version of aae_jax wrote it.
  """
  config = _read_json(workdir, 'config.json')
  if 'objective' in config:
    raise _older(workdir, "config.json has the key 'objective'")
  return config


def read_signature(workdir: epath.Path) -> Signature:
  """Reads the `model.json` of a run.

  Raises:
    InputError: there is none, or an older version of aae_jax wrote it.
  """
  content = _read_json(workdir, 'model.json')
  if 'digest' not in content:
    raise _older(workdir, 'model.json has no digest of the data')
  image_shape = tuple(content.pop('image_shape'))
  return Signature(image_shape=image_shape, **content)


def _read_json(workdir: epath.Path, name: str) -> dict[str, Any]:
  path = workdir / name
  if not path.exists():
    raise errors.InputError(
      f'{workdir} holds no run, for it has no {name}; expected the workdir '
      'of a run.'
    )
  return json.loads(path.read_text())


def _older(workdir: epath.Path, reason: str) -> errors.InputError:
  return errors.InputError(
    f'{workdir} is of an older version of aae_jax ({reason}) and cannot be '
    'gone on with or loaded; train in another workdir.'
  )


def load(workdir: epath.PathLike, seed: int | None = None) -> 'LoadedModel':
  """Loads the model of a run's last checkpoint.

  Where the run kept averages of its weights they are what is loaded. Of a
  search that is the setting that its results name as the best. The data set
  need not be there.

  Args:
    workdir: of the run, local or in a bucket.
    seed: of the run with several, which model; the first sound one if None.

  Raises:
    InputError: workdir holds no checkpoint of a run, the run has no such
      seed or is a search that has not been evaluated, or what reads the bucket
      is not installed.
    ValueError: none of the checkpoints is valid.
  """
  workdir = addresses.folder(workdir)
  config, signature = _read_run(workdir)
  experiment = _without_data(config, signature)
  _check_seed(experiment.seeds, seed, workdir)
  best = _best_setting(workdir, experiment)
  state = _restore(workdir, experiment)
  experiment, state = experiment.at_setting(best, state)
  if seed is None:
    index = int(evaluation.sound_seeds(state).argmax())
  else:
    index = experiment.seeds.index(seed)
  variables = state.ema or {
    'params': state.params,
    'batch_stats': state.batch_stats,
  }
  # Through the host, so that the arrays are committed to no device.
  variables = jax.tree.map(
    lambda x: jnp.asarray(np.asarray(x)[index]), variables
  )
  return LoadedModel(experiment.system, variables, signature)


class LoadedModel:
  """The functions of a trained system: pure, and compiled at first use.

  Which ones there are depends on the system: `functions` names them, and any
  other is an attribute that is missing. They take NumPy or JAX arrays, a batch
  or a single example, and return JAX arrays with or without the batch's axis
  accordingly. They can be called under `jax.jit`, `jax.grad` and `jax.vmap`,
  where shapes are checked and values are not.

  An image is [B, H, W, C] or [H, W, C], C left out where it is 1: uint8, or
  floats in [0, 1]. A label is an integer for all the batch, or [B] of them.
  Whatever else is given raises `errors.InputError`.

  Attributes:
    functions: their names.
    image_shape: (H, W, C).
    num_classes: of the data, or None without labels.
    code_sizes: the size of each part of the decoder's code, by name.
    scale: what uint8 images are divided by.
  """

  def __init__(
    self,
    system: System,
    variables: Mapping[str, Any],
    signature: Signature,
  ):
    """Takes a system, its trained `params` and `batch_stats`, and the data's
    signature."""
    model = system.model
    self.functions = tuple(
      name
      for name, needs in _NEEDS.items()
      if all(getattr(model, need) for need in needs)
    )
    self.image_shape = signature.image_shape
    self.num_classes = signature.num_classes
    self.code_sizes = dict(model.code_sizes)
    self._variables = variables
    self.scale = signature.scale
    self._pure = _PureFunctions(system, signature)
    self._compiled = {
      name: jax.jit(getattr(self._pure, name)) for name in self.functions
    }

  def __getattribute__(self, name: str) -> Any:
    """Hides the methods that the system does not have."""
    if name in _NEEDS and name not in self.functions:
      raise MissingFunctionError(
        f'this model has no function {name!r}; it has '
        f'{", ".join(self.functions)}.'
      )
    return super().__getattribute__(name)

  def encode(self, image: Any) -> Code:
    """The code of an image: {part: [B, size]}, the mean of the posterior."""
    return self._call_on_image('encode', image)

  def decode(self, code: Code | None = None, **parts: Any) -> Array:
    """The image [B, H, W, C] of a code.

    Args:
      code: {part: [B, size] or [size]}, as `encode` returns it.
      **parts: the same by name, `z=...`; these replace those of `code`.
    """
    if code is not None and not isinstance(code, Mapping):
      raise errors.InputError(
        f'code is a {type(code).__name__}; expected a dict of '
        f'{self._expected_code()}, or the parts by name.'
      )
    code, is_single = self._checked_code({**(code or {}), **parts})
    return self._call('decode', is_single, code)

  def reconstruct(self, image: Any, label: Any = None) -> Array:
    """The decoder's image [B, H, W, C] of an image's code.

    Args:
      image: as the class says.
      label: of the image, for a decoder that is told the label.
    """
    image, is_single = self._checked_image(image)
    if not self._decodes_by_label:
      self._refuse_label('reconstruct', label)
    elif label is None:
      raise errors.InputError(
        'the decoder of this model is told the label; expected '
        'reconstruct(image, label).'
      )
    else:
      label = self._checked_label(label, image.shape[0])
    return self._call('reconstruct', is_single, image, label)

  def classify(self, image: Any) -> Array:
    """The probability of each class, [B, num_classes]."""
    return self._call_on_image('classify', image)

  def cluster(self, image: Any) -> Array:
    """The probability of each cluster, [B, num_clusters]."""
    return self._call_on_image('cluster', image)

  def represent(self, image: Any) -> Array:
    """The representation of an image, [B, n]."""
    return self._call_on_image('represent', image)

  def sample(self, n: int, seed: int = 0, label: Any = None) -> Array:
    """Draws images [n, H, W, C].

    The first images of a larger n are those of a smaller one.

    Args:
      n: how many.
      seed: of the draw.
      label: of every image or of each, in a system that samples by label;
        without it the labels are drawn too.
    """
    if n < 1:
      raise errors.InputError(f'n is {n}; expected at least 1.')
    if not self._samples_by_label:
      self._refuse_label('sample', label)
    elif label is not None:
      label = self._checked_label(label, n)
    key, positions = jax.random.key(seed), np.arange(n)
    return self._call('sample', False, key, positions, label)

  @functools.cached_property
  def _decodes_by_label(self) -> bool:
    """Whether the decoder asks for a part that the encoder does not give."""
    image = jax.ShapeDtypeStruct((1, *self.image_shape), jnp.float32)
    code = jax.eval_shape(self._pure.encode, self._variables, image)
    return set(self.code_sizes) != set(code)

  @functools.cached_property
  def _samples_by_label(self) -> bool:
    """Whether the system looks for a label when it samples."""
    keys = jax.eval_shape(jax.random.split, jax.random.key(0))
    try:
      jax.eval_shape(self._pure.sample_batch, self._variables, keys, {})
    except KeyError as error:
      if error.args[0] not in ('label', 'is_labelled'):
        raise
      return True
    return False

  def _call(self, name: str, is_single: bool, *inputs: Any) -> Any:
    outputs = self._compiled[name](self._variables, *inputs)
    return jax.tree.map(lambda x: x[0], outputs) if is_single else outputs

  def _call_on_image(self, name: str, image: Any) -> Any:
    image, is_single = self._checked_image(image)
    return self._call(name, is_single, image)

  def _checked_image(self, image: Any) -> tuple[np.ndarray | Array, bool]:
    """Returns it as a batch, and whether it was a single image."""
    image = _as_array(image)
    shape = image.shape
    if (
      self.image_shape[2] == 1
      and shape[-2:] == self.image_shape[:2]
      and shape[-3:] != self.image_shape
    ):
      image = image[..., None]
    is_right = image.shape[-3:] == self.image_shape and image.ndim <= 4
    if not is_right or not image.size:
      sizes = ', '.join(map(str, self.image_shape))
      raise errors.InputError(
        f'image has the shape {shape}; expected ({sizes}), or (B, {sizes}) '
        'for a batch.'
      )
    _check_range(image)
    is_single = image.ndim == 3
    return (image[None] if is_single else image), is_single

  def _checked_code(self, code: Mapping[str, Any]) -> tuple[Code, bool]:
    """Returns it as a batch, and whether it was a single code."""
    for part in code:
      if part not in self.code_sizes:
        raise errors.unknown('part of the code', part, self.code_sizes)
    code = {part: _as_array(x) for part, x in code.items()}
    leading = {x.shape[:-1] for x in code.values()}
    is_right = (
      code.keys() == self.code_sizes.keys()
      and all(x.shape[-1:] == (self.code_sizes[p],) for p, x in code.items())
      and len(leading) == 1
      and len(min(leading)) < 2
    )
    if not is_right:
      given = ', '.join(f'{part} {x.shape}' for part, x in code.items())
      raise errors.InputError(
        f'the code has {given or "no parts"}; expected '
        f'{self._expected_code()}, of one B or all without it.'
      )
    is_single = leading == {()}
    code = {
      part: jnp.asarray(x[None] if is_single else x, jnp.float32)
      for part, x in code.items()
    }
    return code, is_single

  def _expected_code(self) -> str:
    return ', '.join(
      f'{part} (B, {size})' for part, size in self.code_sizes.items()
    )

  def _checked_label(self, label: Any, size: int) -> Array:
    """Returns labels, [size]."""
    label = _as_array(label)
    if not jnp.issubdtype(label.dtype, jnp.integer) or label.shape not in (
      (),
      (size,),
    ):
      raise errors.InputError(
        f'label is {label.dtype} of the shape {label.shape}; expected an '
        f'integer, or integers of the shape ({size},).'
      )
    if _has_values(label) and not (
      0 <= label.min() and label.max() < self.num_classes
    ):
      raise errors.InputError(
        f'label is from {label.min()} to {label.max()}; expected 0 to '
        f'{self.num_classes - 1}.'
      )
    return jnp.broadcast_to(label, (size,))

  def _refuse_label(self, name: str, label: Any) -> None:
    if label is not None:
      raise errors.InputError(
        f'label is {label}, but {name} takes no label in this model.'
      )


@dataclasses.dataclass(frozen=True)
class _PureFunctions:
  """Functions of a system's variables and of batches, without any check."""

  system: System
  signature: Signature

  def encode(self, variables: Any, image: Array) -> Code:
    model, apply = self.system.model, self._apply(variables)
    return dict(model.encode(apply, self._scaled(image), None))

  def decode(self, variables: Any, code: Code) -> Array:
    return self.system.model.decode(self._apply(variables), code)

  def reconstruct(
    self, variables: Any, image: Array, label: Array | None
  ) -> Array:
    code = self.encode(variables, image)
    for part, size in self.system.model.code_sizes.items():
      if part not in code:
        code[part] = jax.nn.one_hot(label, size)
    return self.decode(variables, code)

  def classify(self, variables: Any, image: Array) -> Array:
    model, apply = self.system.model, self._apply(variables)
    return model.classify(apply, self._scaled(image))

  def cluster(self, variables: Any, image: Array) -> Array:
    model, apply = self.system.model, self._apply(variables)
    return model.cluster(apply, self._scaled(image))

  def represent(self, variables: Any, image: Array) -> Array:
    model, apply = self.system.model, self._apply(variables)
    return model.represent(apply, self.encode(variables, image))

  def sample(
    self, variables: Any, key: Key, positions: Array, label: Array | None
  ) -> Array:
    keys, label_keys = (
      randomness.position_keys(randomness.named(key, name), positions)
      for name in ('sample', 'label')
    )
    is_labelled = jnp.full(positions.shape, label is not None)
    if label is None:
      label = randomness.integers(label_keys, self.signature.num_classes or 1)
    batch = {'label': label, 'is_labelled': is_labelled}
    return self.sample_batch(variables, keys, batch)

  def sample_batch(self, variables: Any, keys: Keys, batch: Batch) -> Array:
    return self.system.model.sample(self._apply(variables), keys, batch)

  def _apply(self, variables: Any) -> Apply:
    return train_step.bind(
      self.system.networks,
      variables['params'],
      variables['batch_stats'],
      train=False,
    )[0]

  def _scaled(self, image: Array) -> Array:
    is_scaled = image.dtype != jnp.uint8
    image = image.astype(jnp.float32)
    return image if is_scaled else image / self.signature.scale


def export(workdir: epath.PathLike) -> Sequence[str]:
  """Writes the model that `load` loads as StableHLO, weights included.

  `WORKDIR/export/README.txt` tells what the files take and how to run them.

  Args:
    workdir: of the run, local or in a bucket.

  Returns:
    The paths of the files.

  Raises:
    InputError: workdir holds no checkpoint of a run.
    OSError: the files cannot be written.
  """
  folder = epath.Path(workdir).expanduser() / 'export'
  model = load(workdir)
  exported = {
    f'{_EXPORTED[name]}.stablehlo': _export_function(model, name)
    for name in model.functions
    if name in _EXPORTED
  }
  folder.mkdir(parents=True, exist_ok=True)
  for name, function in exported.items():
    (folder / name).write_bytes(function.serialize())
  (folder / 'README.txt').write_text(_explain(exported, model))
  return [str(folder / name) for name in (*exported, 'README.txt')]


def _export_function(model: LoadedModel, name: str) -> jax_export.Exported:
  (batch_size,) = jax_export.symbolic_shape('b')
  struct = lambda *sizes: jax.ShapeDtypeStruct(
    (batch_size, *sizes), jnp.float32
  )
  if name == 'decode':
    inputs = {part: struct(size) for part, size in model.code_sizes.items()}
  else:
    inputs = struct(*model.image_shape)
  function = functools.partial(getattr(model._pure, name), model._variables)
  return jax_export.export(jax.jit(function), platforms=_PLATFORMS)(inputs)


_EXPLANATION = """\
Functions of a trained model as StableHLO; b is any number of examples.
Images are floats in [0, 1]: divide uint8 images by {scale:g}.

{table}

They run on {platforms}, with jax and flatbuffers alone installed:

  import jax.export, numpy, pathlib
  content = pathlib.Path('{file}').read_bytes()
  function = jax.export.deserialize(bytearray(content))
  output = function.call({example})
"""


def _explain(
  exported: Mapping[str, jax_export.Exported], model: LoadedModel
) -> str:
  rows = []
  for name, function in exported.items():
    (inputs,), _ = jax.tree.unflatten(function.in_tree, function.in_avals)
    outputs = jax.tree.unflatten(function.out_tree, function.out_avals)
    rows.append(f'  {name}: {_describe(inputs)} -> {_describe(outputs)}')
    if len(rows) == 1:
      example = _example(inputs)
  return _EXPLANATION.format(
    scale=model.scale,
    table='\n'.join(rows),
    platforms=', '.join(_PLATFORMS),
    file=next(iter(exported)),
    example=example,
  )


def _describe(arrays: Any) -> str:
  if isinstance(arrays, Mapping):
    parts = (f'{part}: {_describe(x)}' for part, x in arrays.items())
    return f'{{{", ".join(parts)}}}'
  return f'{arrays.dtype}[{", ".join(map(str, arrays.shape))}]'


def _example(arrays: Any) -> str:
  """Python for an input of five examples."""
  if isinstance(arrays, Mapping):
    parts = (f'{part!r}: {_example(x)}' for part, x in arrays.items())
    return f'{{{", ".join(parts)}}}'
  return f"numpy.zeros({(5, *arrays.shape[1:])}, '{arrays.dtype}')"


def _read_run(
  workdir: epath.Path,
) -> tuple[ml_collections.ConfigDict, Signature]:
  if not workdir.is_dir():
    raise errors.InputError(
      f'there is no folder {workdir}; expected the workdir of a run.'
    )
  config = ml_collections.ConfigDict(read_config(workdir))
  return config, read_signature(workdir)


def _without_data(
  config: ml_collections.ConfigDict, signature: Signature
) -> experiments.Experiment:
  """The experiment of a run, on one device and with no images."""
  none = Split(np.zeros((0, *signature.image_shape), np.uint8), None)
  feed = Feed(
    signature.num_train,
    config.batch_size,
    config.labelled_batch_size,
    num_devices=1,
  )
  facts = experiments.Facts(
    signature.image_shape,
    signature.num_classes,
    signature.num_train,
    signature.frequencies,
  )
  system = experiments.build_system(config, facts)
  return experiments.Experiment(
    config=config,
    dataset=Dataset(signature.dataset, none, none, none, signature.num_classes),
    facts=facts,
    system=system,
    feed=feed,
    devices=tuple(jax.local_devices()[:1]),
    labelled=np.zeros((config.num_seeds, 0), np.int32),
    settings=experiments.build_settings(config, facts),
  )


def _best_setting(
  workdir: epath.Path, experiment: experiments.Experiment
) -> int:
  """The index of the setting that the results of a search name."""
  if not experiment.searches:
    return 0
  path = workdir / 'results.json'
  if not path.exists():
    raise errors.InputError(
      f'{workdir} holds a search that has not chosen a setting yet; expected '
      'one that has ended, or --mode=evaluate first.'
    )
  best = json.loads(path.read_text())['search']['best']
  return [setting.values for setting in experiment.settings].index(best)


def _check_seed(seeds: range, seed: int | None, workdir: epath.Path) -> None:
  if seed is not None and seed not in seeds:
    raise errors.InputError(
      f'seed is {seed}, but the run in {workdir} has the seeds '
      f'{", ".join(map(str, seeds))}.'
    )


def _restore(
  workdir: epath.Path, experiment: experiments.Experiment
) -> TrainState:
  directory = workdir / 'checkpoints'
  state = None
  # To look for checkpoints where there are none would make the directory.
  if directory.exists():
    to_keep = experiment.config.checkpoints_to_keep
    with Checkpoints(directory, to_keep) as checkpoints:
      state = checkpoints.restore(experiment.abstract_state())
  if state is None:
    raise errors.InputError(
      f'{workdir} holds no checkpoint yet; expected the workdir of a run '
      'that has saved one.'
    )
  return state


def _as_array(x: Any) -> np.ndarray | Array:
  return x if isinstance(x, jax.Array) else np.asarray(x)


def _has_values(x: np.ndarray | Array) -> bool:
  """Whether they are known: not within a transformation of JAX."""
  return not isinstance(x, jax.core.Tracer)


def _check_range(image: np.ndarray | Array) -> None:
  if image.dtype == jnp.uint8:
    return
  if not jnp.issubdtype(image.dtype, jnp.floating):
    raise errors.InputError(
      f'image is {image.dtype}; expected uint8, or floats in [0, 1].'
    )
  if _has_values(image):
    low, high = float(image.min()), float(image.max())
    # Written so that NaN is refused as well.
    if not (low >= 0 and high <= 1):
      raise errors.InputError(
        f'image has values from {low:g} to {high:g}; expected uint8, or '
        'floats in [0, 1].'
      )
