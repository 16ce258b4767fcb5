"""Data sets: prepared through tfds, loaded to memory, their labels drawn."""

from aae_jax.datasets.dataset import Dataset, Scaling, Schema, Split
from aae_jax.datasets.labels import draw_labelled, frequencies
from aae_jax.datasets.loading import load

__all__ = [
  'Dataset',
  'Scaling',
  'Schema',
  'Split',
  'draw_labelled',
  'frequencies',
  'load',
]
