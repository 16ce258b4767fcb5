"""Adversarial autoencoders, and what they are compared with, in JAX."""

__version__ = '0.1.0'


def __getattr__(name: str):
  """Imports `load` when it is asked for: it takes longer than all of JAX."""
  if name == 'load':
    from aae_jax import saved_model

    return saved_model.load
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
