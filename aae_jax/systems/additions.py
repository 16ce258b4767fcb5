"""What adds phases to a finished system."""

import dataclasses

from aae_jax import errors, phases
from aae_jax.systems.system import System


def classification(system: System, num_classes: int) -> System:
  """y learns the labels of a labelled batch by cross-entropy.

  Raises:
    InputError: the encoder of the system gives no y of so many entries.
  """
  model = system.model
  size = model.code_sizes.get('y', 0) if model.infer else 0
  if size != num_classes or system.labels == 'all':
    raise errors.InputError(
      f"addition 'classification' is for a system whose encoder gives y an "
      f'entry for each of the {num_classes} classes; this one gives {size}.'
    )
  logits = lambda apply, image, rng: model.infer(apply, image, rng)['y'].logits
  return dataclasses.replace(
    system,
    phases=(*system.phases, phases.classification(logits)),
    model=dataclasses.replace(
      model, classify=lambda apply, image: model.encode(apply, image, None)['y']
    ),
    labels='batched',
  )
