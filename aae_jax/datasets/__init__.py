"""Data sets: prepared through tfds, loaded to memory, their labels drawn."""

from aae_jax.datasets.dataset import Dataset, Scaling, Schema, Split
from aae_jax.datasets.labels import draw_labelled, frequencies
from aae_jax.datasets.loading import load
from aae_jax.datasets.named_images import NamedImages, find_images
from aae_jax.datasets.stored import Placement, free_bytes

__all__ = [
  'Dataset',
  'NamedImages',
  'Placement',
  'Scaling',
  'Schema',
  'Split',
  'draw_labelled',
  'find_images',
  'free_bytes',
  'frequencies',
  'load',
]
