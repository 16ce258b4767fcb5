"""The systems: networks, phases and a model each.

A builder's parameters are what its system needs; a configuration's sections
give them by name (`experiments.PARAMETERS`), and what no parameter names is no
option of the system. Nothing below this module knows which system is running.
"""

from aae_jax.systems.additions import (
  classification,
  consistency,
  marginal_entropy,
)
from aae_jax.systems.classifiers import (
  catgan,
  classifier,
  ladder,
  m1_tsvm,
  vat,
)
from aae_jax.systems.generative import adgm, m1_m2, m2, m2_supervised, sdgm
from aae_jax.systems.one_code import (
  aae,
  autoencoder,
  gan,
  label_regularized_aae,
  supervised_aae,
  vae,
)
from aae_jax.systems.system import MakeMachine, MakePhase, Model, System
from aae_jax.systems.two_codes import (
  clustering_aae,
  dimensionality_reduction_aae,
  dimensionality_reduction_clustering_aae,
  semi_supervised_aae,
)

_BUILDERS = (
  autoencoder,
  vae,
  m1_tsvm,
  m2,
  m2_supervised,
  m1_m2,
  adgm,
  sdgm,
  gan,
  classifier,
  vat,
  ladder,
  catgan,
  aae,
  label_regularized_aae,
  supervised_aae,
  semi_supervised_aae,
  clustering_aae,
  dimensionality_reduction_aae,
  dimensionality_reduction_clustering_aae,
)
SYSTEMS = {builder.__name__: builder for builder in _BUILDERS}
ADDITIONS = {
  addition.__name__: addition
  for addition in (classification, consistency, marginal_entropy)
}

__all__ = [
  'ADDITIONS',
  'SYSTEMS',
  'MakeMachine',
  'MakePhase',
  'Model',
  'System',
  *SYSTEMS,
  *ADDITIONS,
]
