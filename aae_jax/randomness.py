"""Random numbers with one key an example.

The noise of an example depends on the example's position in the global batch
and on nothing else, so a run does not depend on the number of devices.
"""

from collections.abc import Callable

import jax

from aae_jax.types import Array, Key, Keys


def fold_in(keys: Keys, data: int | Array) -> Keys:
  """Folds the same data into each of the keys [B]."""
  return jax.vmap(jax.random.fold_in, (0, None))(keys, data)


def position_keys(key: Key, positions: Array) -> Keys:
  """Keys [B] of the examples at `positions` int32 [B] of the global batch."""
  return jax.vmap(jax.random.fold_in, (None, 0))(key, positions)


def per_example(
  sampler: Callable[..., Array], keys: Keys, *arguments, **options
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
