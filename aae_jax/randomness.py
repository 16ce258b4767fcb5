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
from jax.extend.random import threefry_2x32
import jax.numpy as jnp
import numpy as np
from scipy import special

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

  One of the 2^16 quantiles in the middle of equally likely intervals, the
  largest of which is 4.3. A quarter of the blocks of random bits of `normal`,
  and on the CPU looked up, where that is cheaper than to compute it.
  """
  size = int(np.prod(shape))
  level = _halfwords(keys, size).reshape(-1, *shape)
  return lax.platform_dependent(
    level, cpu=lambda level: jnp.asarray(_QUANTILES)[level], default=_quantile
  )


def _halfwords(keys: Keys, size: int) -> Array:
  """Uniform uint16 [B, size], four of each block of Threefry."""
  counts = jnp.arange(-(-size // 2), dtype=jnp.uint32)
  words = jax.vmap(threefry_2x32, (0, None))(jax.random.key_data(keys), counts)
  halves = lax.bitcast_convert_type(words, jnp.uint16)
  return halves.reshape(len(halves), -1)[:, :size]


def _quantile(level: Array) -> Array:
  """Of the standard normal distribution, of uint16."""
  middle = (level.astype(jnp.float32) + 0.5) / 2**15 - 1
  return np.float32(np.sqrt(2)) * lax.erf_inv(middle)


_QUANTILES = special.ndtri((np.arange(2**16) + 0.5) / 2**16).astype(np.float32)
