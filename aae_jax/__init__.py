"""Adversarial autoencoders, and what they are compared with, in JAX."""

from collections.abc import Callable
from typing import Any

__version__ = '0.1.0'


_ESTIMATORS = ('AAEClassifier', 'AAEClusterer', 'AAETransformer')


def __getattr__(name: str) -> Callable[..., Any]:
  """Imports these when they are asked for: it takes longer than all of JAX."""
  if name == 'load':
    from aae_jax import saved_model

    return saved_model.load
  if name in _ESTIMATORS:
    from aae_jax import estimators

    return getattr(estimators, name)
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
