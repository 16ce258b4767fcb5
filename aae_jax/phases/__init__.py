"""The phases that systems are made of, each written once.

A phase is what one loss trains with one optimizer. A system is a tuple of
phases; a step runs them in order, each with the newest parameters. The names of
networks and of phases are parameters, so that a system can have two of a kind.
"""

from aae_jax.phases.adversarial import (
  Condition,
  Sees,
  regularization,
  sees_sample,
)
from aae_jax.phases.autoencoding import elbo, reconstruction, separation
from aae_jax.phases.categorical import categorical_adversaries
from aae_jax.phases.denoising import ladder
from aae_jax.phases.generative import (
  InferLabel,
  Terms,
  enumerated,
  semi_supervised_bound,
)
from aae_jax.phases.labels import (
  classification,
  consistency,
  marginal_entropy,
  plain_classification,
)
from aae_jax.phases.phase import Panel, Phase, join, seeing, split, together

__all__ = [
  'Condition',
  'InferLabel',
  'Panel',
  'Phase',
  'Terms',
  'Sees',
  'categorical_adversaries',
  'classification',
  'consistency',
  'elbo',
  'enumerated',
  'join',
  'ladder',
  'marginal_entropy',
  'plain_classification',
  'reconstruction',
  'regularization',
  'seeing',
  'semi_supervised_bound',
  'sees_sample',
  'separation',
  'split',
  'together',
]
