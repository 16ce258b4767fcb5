"""Adversarial autoencoders, and what they are compared with, in JAX."""

from collections.abc import Callable
from typing import Any

__version__ = '0.1.0'


def __getattr__(name: str) -> Callable[..., Any]:
  """Imports `load` when it is asked for: it takes longer than all of JAX."""
  if name == 'load':
    from aae_jax import saved_model

    return saved_model.load
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
