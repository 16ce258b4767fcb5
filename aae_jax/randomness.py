"""Random numbers with one key an example, folded by name.

The noise of an example depends on the example's position in the global batch
and on the names under which it is drawn, and on nothing else: a run does not
depend on the number of devices, and a part added later moves no other's noise.
A key is either drawn from or named further, never both.
"""

from collections.abc import Callable
from typing import Any
import zlib

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from aae_jax.types import Array, Key, Keys


def named(keys: Key | Keys, name: str) -> Key | Keys:
  """Folds a name into a key [] or into each of the keys [B]."""
  return fold_in(keys, np.uint32(zlib.crc32(name.encode())))


def fold_in(keys: Key | Keys, data: int | Array) -> Key | Keys:
  """Folds the same number into a key [] or into each of the keys [B]."""
  if keys.ndim:
    return jax.vmap(jax.random.fold_in, (0, None))(keys, data)
  return jax.random.fold_in(keys, data)


def position_keys(key: Key, positions: Array) -> Keys:
  """Keys [B] of the examples at `positions` int32 [B] of the global batch."""
  return jax.vmap(jax.random.fold_in, (None, 0))(key, positions)


def per_example(
  sampler: Callable[..., Array], keys: Keys, *arguments: Any, **options: Any
) -> Array:
  """Draws `sampler(key, *arguments, **options)` for each key: [B, ...]."""
  return jax.vmap(lambda key: sampler(key, *arguments, **options))(keys)


def normal(keys: Keys, shape: tuple[int, ...]) -> Array:
  """Standard normal float32 [B, *shape]."""
  return per_example(jax.random.normal, keys, shape)


def uniform(keys: Keys, shape: tuple[int, ...] = ()) -> Array:
  """Uniform on [0, 1), float32 [B, *shape]."""
  return per_example(jax.random.uniform, keys, shape)


def integers(keys: Keys, maximum: int) -> Array:
  """Uniform on 0, ..., maximum - 1, int32 [B]."""
  return per_example(jax.random.randint, keys, (), 0, maximum)


def noise(keys: Keys, shape: tuple[int, ...]) -> Array:
  """Nearly standard normal float32 [B, *shape], for what is blurred anyway.

  The quantiles of the 2^16 midpoints of equally likely intervals, the largest
  of which is 4.3: half the random bits of `normal`, and half its time.
  """
  size = int(np.prod(shape))
  words = per_example(jax.random.bits, keys, (-(-size // 2),))
  halves = lax.bitcast_convert_type(words, jnp.uint16)
  level = halves.reshape(len(halves), -1)[:, :size].astype(jnp.float32)
  quantile = lax.erf_inv((level + 0.5) / 2**15 - 1)
  return (np.sqrt(2).astype(np.float32) * quantile).reshape(-1, *shape)
