"""Trained models as folders of a few files, such as come with the package.

`config.json` and `model.json` are those of a workdir, `weights.npz` has the
networks that the model uses in float16: arrays by `params/NETWORK/...`, and
nothing that is run when it is read. `results.json` and `README.md` say where
the model comes from and what it is worth.
"""

from collections.abc import Sequence
import io
from typing import Any

from etils import epath
from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from aae_jax import errors, metrics, randomness, train_step
from aae_jax.trained import Trained, Weights
from aae_jax.types import Function

_FILE = 'weights.npz'

_DTYPE = np.float16


def is_here(folder: epath.Path) -> bool:
  """Whether a folder has the weights of a model, and so needs no checkpoint."""
  return (folder / _FILE).exists()


def read(folder: epath.Path) -> Weights:
  """The weights of a model as one run's: float32 [1, ...].

  Raises:
    InputError: the file is damaged.
  """
  path = folder / _FILE
  try:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
      flat = {name: np.float32(file[name])[None] for name in file.files}
  except Exception as error:  # A damaged file can raise anything.
    raise errors.InputError(
      f'{path} cannot be read ({error}); expected an .npz file of arrays.'
    ) from None
  return traverse_util.unflatten_dict(flat, sep='/')


def write(folder: epath.Path, weights: Weights) -> None:
  """Writes the weights of a model in float16.

  Args:
    folder: made if missing.
    weights: of one run, [1, ...].

  Raises:
    InputError: a weight is too large for float16, or not finite.
    OSError: the file cannot be written.
  """
  flat = traverse_util.flatten_dict(dict(weights), sep='/')
  with np.errstate(over='ignore'):
    arrays = {name: np.asarray(x)[0].astype(_DTYPE) for name, x in flat.items()}
  for name, array in arrays.items():
    if not np.isfinite(array).all():
      raise errors.InputError(
        f'{name} has values that are no finite {array.dtype}; expected at '
        f'most {np.finfo(_DTYPE).max:g}.'
      )
  folder.mkdir(parents=True, exist_ok=True)
  with metrics.whole(folder / _FILE, 'wb') as file:
    np.savez_compressed(file, **arrays)


def used(
  run: Trained,
  functions: Sequence[Function],
  image_shape: tuple[int, int, int],
) -> Weights:
  """The weights of the networks that functions of a model call.

  What only trains the others, such as an adversary, is none of them.

  Args:
    run: a single one.
    functions: of its model.
    image_shape: (H, W, C).
  """
  names, sizes = set(), run.model.code_sizes
  of_one = jax.tree.map(lambda x: x[0], dict(run.weights))
  bound, _ = train_step.bind(run.system.networks, **of_one, train=False)

  def apply(name: str, *inputs: Any, **options: Any) -> Any:
    names.add(name)
    return bound(name, *inputs, **options)

  batch = {
    'image': jnp.zeros((1, *image_shape)),
    'label': jnp.zeros(1, jnp.int32),
    'is_labelled': jnp.zeros(1, bool),
    'code': {part: jnp.zeros((1, size)) for part, size in sizes.items()},
  }
  rng = randomness.position_keys(jax.random.key(0), np.arange(1))
  for function in functions:
    jax.eval_shape(lambda function=function: function(apply, batch, rng))
  return {
    section: {name: of for name, of in networks.items() if name in names}
    for section, networks in run.weights.items()
  }
