"""A trained model: loaded to be used, or exported to run without this package.

Neither asks for the data that the model was trained on.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath
import jax
from jax import export as jax_export
import jax.numpy as jnp
import ml_collections
import numpy as np

from aae_jax import (
  catalogue,
  early_stopping,
  errors,
  experiments,
  randomness,
  recipes,
  shipped,
  trained,
)
from aae_jax.datasets import Schema
from aae_jax.runs import Run
from aae_jax.trained import Trained
from aae_jax.types import Array, Batch, Code, Key

_FUNCTIONS = {
  'encode': 'encode',
  'decode': 'decode',
  'reconstruct': 'reconstruct',
  'classify': 'classify',
  'cluster': 'cluster',
  'represent': 'embed',
  'sample': 'sample',
}
"""The functions of a loaded model, and which of a `systems.Model` they are."""

_EXPORTED = {
  'encode': 'encoder',
  'decode': 'decoder',
  'classify': 'classifier',
  'cluster': 'clusterer',
  'represent': 'representer',
}
"""The functions that are exported, and their files."""

_PLATFORMS = ('cpu', 'cuda', 'tpu')


def load(
  workdir: epath.PathLike, seed: int | None = None, which: str = 'best'
) -> 'LoadedModel':
  """Loads the model of a run, or one that comes with the package.

  Of a run it is that of the last checkpoint.

  Where the run kept averages of its weights they are what is loaded. Of a
  search that is the setting that its results name as the best. The data set
  need not be there.

  Args:
    workdir: of the run, local or in a bucket; or a name of
      `catalogue.models`, where there is no folder of that name.
    seed: of the run with several, which model; the first sound one if None.
    which: `best`, of the epoch that early stopping has kept where there is
      one, or `last`.

  Raises:
    InputError: there is no such model, the run has no checkpoint or no such
      seed, or is a search that has not been evaluated, `which` is something
      else, or what reads the bucket is not installed.
    ValueError: none of the checkpoints is valid.
  """
  return LoadedModel(*restore(workdir, seed, which))


def restore(
  workdir: epath.PathLike, seed: int | None = None, which: str = 'best'
) -> tuple[Trained, Schema]:
  """What `load` makes a model of: one run, and the schema of its data.

  The arguments and errors are those of `load`.
  """
  if which not in ('best', 'last'):
    raise errors.InputError(f"which is {which!r}; expected 'best' or 'last'.")
  run = Run(catalogue.workdir(workdir))
  config, schema = ml_collections.ConfigDict(run.config), run.schema
  spec = experiments.build_spec(config, schema)
  if seed is not None and seed not in spec.seeds:
    raise errors.InputError(
      f'seed is {seed}, but the run in {workdir} has the seeds '
      f'{", ".join(map(str, spec.seeds))}.'
    )
  if shipped.is_here(run.workdir):
    return Trained(
      spec.system, shipped.read(run.workdir), schema.scaling
    ), schema
  setting = _best_setting(run, spec)
  device = jax.local_devices()[:1]
  state = run.restore(spec.abstract_state(schema.image_shape, device))
  system = spec.system_at(state, schema.num_train)
  if which == 'best':
    state = early_stopping.best(state)
  _, state = spec.at_setting(setting, state)
  if seed is None:
    index = int(trained.sound_seeds(state).argmax())
  else:
    index = spec.seeds.index(seed)
  weights = trained.averaged(state)
  return Trained(system, weights, schema.scaling).seed(index), schema


class LoadedModel:
  """The functions of a trained system: pure, and compiled at first use.

  Which ones there are depends on the system: `functions` names them, and any
  other raises `errors.InputError`. They take NumPy or JAX arrays, a batch
  or a single example, and return JAX arrays with or without the batch's axis
  accordingly. They can be called under `jax.jit`, `jax.grad` and `jax.vmap`,
  where shapes are checked and values are not.

  An image is [B, H, W, C] or [H, W, C], C left out where it is 1: uint8, or
  floats as networks see it, in [0, 1] unless `scaling` says otherwise. A label
  is an integer for all the batch, or [B] of them. Whatever else is given raises
  `errors.InputError`.

  Attributes:
    functions: their names.
    image_shape: (H, W, C).
    num_classes: of the data, or None without labels.
    class_names: of the classes, in their order; None where they have numbers
      alone.
    code_sizes: the size of each part of the decoder's code, by name.
    scaling: what networks see of uint8 images.
  """

  def __init__(self, run: Trained, schema: Schema):
    """Takes a single run of a system, and the schema of its data."""
    model = run.model
    self.functions = tuple(
      name for name, own in _FUNCTIONS.items() if getattr(model, own)
    )
    self.image_shape = schema.image_shape
    self.num_classes = schema.num_classes
    self.class_names = schema.class_names
    self.code_sizes = dict(model.code_sizes)
    self.scaling = run.scaling
    self._trained = run

  def encode(self, image: Any) -> Code:
    """The code of an image: {part: [B, size]}, the mean of the posterior."""
    return self._of_image('encode', image)

  def decode(self, code: Code | None = None, **parts: Any) -> Array:
    """The image [B, H, W, C] of a code.

    Args:
      code: {part: [B, size] or [size]}, as `encode` returns it.
      **parts: the same by name, `z=...`; these replace those of `code`.
    """
    self._require('decode')
    if code is not None and not isinstance(code, Mapping):
      raise errors.InputError(
        f'code is a {type(code).__name__}; expected a dict of '
        f'{self._expected_code()}, or the parts by name.'
      )
    code, is_single = self._checked_code({**(code or {}), **parts})
    return self._call('decode', {'code': code}, is_single)

  def reconstruct(self, image: Any, label: Any = None) -> Array:
    """The decoder's image [B, H, W, C] of an image's code.

    Args:
      image: as the class says.
      label: of the image, for a decoder that is told the label.
    """
    self._require('reconstruct')
    image, is_single = self._checked_image(image)
    batch = {'image': image}
    if not self._trained.model.told:
      self._refuse_label('reconstruct', label)
    elif label is None:
      raise errors.InputError(
        'the decoder of this model is told the label; expected '
        'reconstruct(image, label).'
      )
    else:
      batch['label'] = self._checked_label(label, image.shape[0])
    return self._call('reconstruct', batch, is_single)

  def classify(self, image: Any) -> Array:
    """The probability of each class, [B, num_classes]."""
    return self._of_image('classify', image)

  def cluster(self, image: Any) -> Array:
    """The probability of each cluster, [B, num_clusters]."""
    return self._of_image('cluster', image)

  def represent(self, image: Any) -> Array:
    """The representation of an image, [B, n]."""
    return self._of_image('represent', image)

  def sample(self, n: int, seed: int = 0, label: Any = None) -> Array:
    """Draws images [n, H, W, C].

    The first images of a larger n are those of a smaller one.

    Args:
      n: how many.
      seed: of the draw.
      label: of every image or of each, in a system that samples by label;
        without it the labels are drawn too.
    """
    self._require('sample')
    if n < 1:
      raise errors.InputError(f'n is {n}; expected at least 1.')
    key, positions = jax.random.key(seed), np.arange(n)
    known = label is not None
    if not self._trained.model.by_label:
      self._refuse_label('sample', label)
    elif known:
      label = self._checked_label(label, n)
    if label is None:
      keys = randomness.position_keys(randomness.named(key, 'label'), positions)
      label = randomness.integers(keys, self.num_classes or 1)
    batch = {'label': label, 'is_labelled': np.full(n, known)}
    key = randomness.named(key, 'sample')
    return self._call('sample', batch, False, key, positions)

  def _of_image(self, name: str, image: Any) -> Any:
    self._require(name)
    image, is_single = self._checked_image(image)
    return self._call(name, {'image': image}, is_single)

  def _call(
    self,
    name: str,
    batch: Batch,
    is_single: bool,
    key: Key | None = None,
    positions: Array | None = None,
  ) -> Any:
    """Without any check."""
    function = getattr(self._trained.model, _FUNCTIONS[name])
    outputs = self._trained.call(function, batch, key, positions)
    # Of the one run, and of the one example.
    place = (0, 0) if is_single else 0
    return jax.tree.map(lambda x: x[place], outputs)

  def _require(self, name: str) -> None:
    if name not in self.functions:
      raise errors.InputError(
        f'this model has no function {name!r}; it has '
        f'{", ".join(self.functions)}.'
      )

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
    _check_range(image, *self.scaling.range)
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


def ship(workdir: epath.PathLike, folder: epath.Path) -> None:
  """Writes the model that `load` loads as a folder that `load` loads.

  Its weights are in float16, see `shipped`.

  Args:
    workdir: of a run of one seed, local or in a bucket.
    folder: made if missing.

  Raises:
    InputError: workdir holds no checkpoint of a run, or several models, a
      weight is too large, or the folder cannot be written.
    OSError: the weights cannot be written.
  """
  run, schema = restore(workdir)
  config = Run(catalogue.workdir(workdir)).config
  spec = experiments.build_spec(ml_collections.ConfigDict(config), schema)
  if len(spec.runs) > 1:
    raise errors.InputError(
      f'{workdir} holds {len(spec.runs)} models ({", ".join(spec.runs)}); '
      'expected one, so that the numbers of the run are those of the model.'
    )
  found = (getattr(run.model, own) for own in _FUNCTIONS.values())
  functions = [function for function in found if function]
  shipped.write(folder, shipped.used(run, functions, schema.image_shape))
  Run(folder).begin(without_places(config), schema)


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
  """A configuration that does not say where the data was on a machine."""
  default = recipes.defaults().dataset
  places = {key: default[key] for key in ('data_dir', 'manual_dir')}
  return {**config, 'dataset': {**config['dataset'], **places}}


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
    reads = 'code'
    inputs = {part: struct(size) for part, size in model.code_sizes.items()}
  else:
    reads, inputs = 'image', struct(*model.image_shape)
  function = jax.jit(lambda inputs: model._call(name, {reads: inputs}, False))
  return jax_export.export(function, platforms=_PLATFORMS)(inputs)


_EXPLANATION = """\
Functions of a trained model as StableHLO; b is any number of examples.
Images are floats in [{low:g}, {high:g}]: of uint8 images,
(image - {offset:g}) / {divisor:g}.

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
  low, high = model.scaling.range
  return _EXPLANATION.format(
    low=low,
    high=high,
    **model.scaling._asdict(),
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


def _best_setting(run: Run, spec: experiments.Spec) -> int:
  """The index of the setting that the results of a search name."""
  if not spec.searches:
    return 0
  results = run.results
  if not results:
    raise errors.InputError(
      f'{run.workdir} holds a search that has not chosen a setting yet; '
      'expected one that has ended or been evaluated.'
    )
  best = results['search']['best']
  return [setting.values for setting in spec.settings].index(best)


def _as_array(x: Any) -> np.ndarray | Array:
  return x if isinstance(x, jax.Array) else np.asarray(x)


def _has_values(x: np.ndarray | Array) -> bool:
  """Whether they are known: not within a transformation of JAX."""
  return not isinstance(x, jax.core.Tracer)


def _check_range(image: np.ndarray | Array, low: float, high: float) -> None:
  if image.dtype == jnp.uint8:
    return
  expected = f'uint8, or floats in [{low:g}, {high:g}]'
  if not jnp.issubdtype(image.dtype, jnp.floating):
    raise errors.InputError(f'image is {image.dtype}; expected {expected}.')
  if _has_values(image):
    least, most = float(image.min()), float(image.max())
    # Written so that NaN is refused as well.
    if not (least >= low and most <= high):
      raise errors.InputError(
        f'image has values from {least:g} to {most:g}; expected {expected}.'
      )
