"""What is trained, on which data: of plain values, or of a configuration."""

from aae_jax.experiments.configuration import (
  NEUTRAL_KEYS,
  PARAMETERS,
  build,
  build_part,
  build_settings,
  build_spec,
  build_system,
  find,
)
from aae_jax.experiments.experiment import (
  Experiment,
  Setting,
  Spec,
  assemble,
  draw_labelled,
)

__all__ = [
  'NEUTRAL_KEYS',
  'PARAMETERS',
  'Experiment',
  'Setting',
  'Spec',
  'assemble',
  'build',
  'build_part',
  'build_settings',
  'build_spec',
  'build_system',
  'draw_labelled',
  'find',
]
