"""How exactly networks compute in training; evaluation is always exact."""

import contextlib
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from aae_jax import errors


@dataclasses.dataclass(frozen=True)
class Precision:
  """What networks compute in; parameters, statistics and losses are float32.

  Attributes:
    name: a key of `PRECISIONS`.
    dtype: of what goes through a network, and of the weights that it meets.
  """

  name: str
  dtype: jnp.dtype

  def products(self) -> contextlib.AbstractContextManager[None]:
    """Within it matrix products are made; their gradients will be like them."""
    return jax.default_matmul_precision(self.name)

  def round(self, tree: Any) -> Any:
    """Numbers in the type that networks compute in; keys stay as they are."""

    def cast(x):
      x = jnp.asarray(x)
      is_key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
      return x if is_key else x.astype(self.dtype)

    return jax.tree.map(cast, tree)


FLOAT32 = Precision('float32', jnp.dtype('float32'))

PRECISIONS = {
  'float32': FLOAT32,
  # Inputs of matrix products are rounded to 10 bits (on a TPU split in three).
  'tensorfloat32': Precision('tensorfloat32', jnp.dtype('float32')),
  'bfloat16': Precision('bfloat16', jnp.dtype('bfloat16')),
}


def find(name: str | None) -> Precision:
  """The precision of that name, or what suits the devices if None.

  That is float32 on a CPU, where it costs nothing, and tensorfloat32 elsewhere:
  its rounding is far below the noise of a training step.

  Raises:
    InputError: there is none of that name.
  """
  if name is None:
    is_exact = jax.default_backend() == 'cpu'
    name = 'float32' if is_exact else 'tensorfloat32'
  if name not in PRECISIONS:
    raise errors.unknown('precision', name, PRECISIONS)
  return PRECISIONS[name]
