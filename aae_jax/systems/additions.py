"""What adds phases to a finished system."""

from collections.abc import Mapping
import dataclasses

import numpy as np

from aae_jax import errors, phases
from aae_jax.phases import Phase
from aae_jax.systems.system import MakePhase, MakePrior, System
from aae_jax.types import Function


def classification(system: System, num_classes: int) -> System:
  """y learns the labels of a labelled batch by cross-entropy.

  Raises:
    InputError: the encoder of the system gives no y of so many entries.
  """
  size = _size_of_y(system)
  if size != num_classes or system.labels == 'all':
    raise errors.InputError(
      f"addition 'classification' is for a system whose encoder gives y an "
      f'entry for each of the {num_classes} classes; this one gives {size}.'
    )
  encode = system.model.encode
  return dataclasses.replace(
    _with(system, phases.classification(_logits(system))),
    model=dataclasses.replace(
      system.model,
      classify=lambda apply, batch, rng: encode(apply, batch, rng)['y'],
    ),
    labels='batched',
  )


def consistency(system: System, consistency: MakePhase) -> System:
  """y stays as it is when the image moves a little: `phases.consistency`.

  Args:
    system: whose encoder gives y.
    consistency: makes the phase, of the logits of y.

  Raises:
    InputError: the encoder of the system gives no y.
  """
  _require_y('consistency', system)
  return _with(system, consistency(_logits(system)))


def marginal_entropy(
  system: System, prior_y: MakePrior, marginal_entropy: Mapping[str, float]
) -> System:
  """Every y is used as its prior says: `phases.marginal_entropy`.

  Args:
    system: whose encoder gives y.
    prior_y: of y.
    marginal_entropy: the hyperparameters of the phase.

  Raises:
    InputError: the encoder of the system gives no y, or the prior never does
      some y.
  """
  _require_y('marginal_entropy', system)
  size = _size_of_y(system)
  prior = prior_y(size)
  if not np.isfinite(prior.log_prob(np.eye(size))).all():
    raise errors.InputError(
      "addition 'marginal_entropy' needs a prior of every y; prior_y has one "
      'of frequency 0.'
    )
  phase = phases.marginal_entropy(_logits(system), prior)
  return _with(system, phase, marginal_entropy)


_OF_Y = ('classification', 'consistency', 'marginal_entropy')
"""The phases that are losses of q(y|x) alone."""


def _with(
  system: System, added: Phase, hyperparams: Mapping[str, float] | None = None
) -> System:
  """The system with a loss of q(y|x), in one phase with those that it has."""
  added = dataclasses.replace(
    added, hyperparams={**added.hyperparams, **(hyperparams or {})}
  )
  others = [phase for phase in system.phases if phase.name not in _OF_Y]
  of_y = [phase for phase in system.phases if phase.name in _OF_Y]
  return dataclasses.replace(
    system, phases=(*others, phases.together(*of_y, added))
  )


def _logits(system: System) -> Function:
  """Of y."""
  infer = system.model.infer
  return lambda apply, batch, rng: infer(apply, batch, rng)['y'].logits


def _size_of_y(system: System) -> int:
  """0 if the encoder gives no y."""
  model = system.model
  return model.code_sizes.get('y', 0) if model.infer else 0


def _require_y(name: str, system: System) -> None:
  if not _size_of_y(system) or system.labels == 'all':
    raise errors.InputError(
      f'addition {name!r} is for a system whose encoder gives y; this one '
      'gives none.'
    )
