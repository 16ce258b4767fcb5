"""What is made of a trained system once, without a gradient."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from aae_jax.types import Function

if TYPE_CHECKING:  # It takes longer to import than JAX.
  from aae_jax.svm import TransductiveSVC

Made = Mapping[str, Mapping[str, Any]]
"""`params` and `batch_stats` by network, those of them that are made."""

Compute = Callable[..., Made]
"""`(trained, split, key) -> Made`, of one run.

  trained  `trained.Trained`, with the weights that are evaluated
  split    `datasets.Split`, the training images; the labels are those that the
           run learns from, and -1 for all others
  key      typed key [], for what is drawn
"""


@dataclasses.dataclass(frozen=True)
class Finish:
  """What follows the last step of a training.

  Attributes:
    name: of the finish.
    run: of a batch, whatever runs the networks that are made: at the beginning,
      on zeros, so that they have weights which what is made replaces.
    compute: makes it.
    gives: the functions of the model that mean nothing before.
  """

  name: str
  run: Function
  compute: Compute
  gives: tuple[str, ...] = ()


def statistics(run: Function, name: str = 'statistics') -> Finish:
  """Statistics of batch normalization over the training images.

  Those that a training leaves are averages over weights that have changed
  since. Miyato et al. (2016) estimate them anew with the last weights.

  Args:
    run: of a batch, the networks that normalize; it is run in training mode.
    name: of the finish.
  """

  def updating(apply, batch, rng):
    return run(functools.partial(apply, update_stats=True), batch, rng)

  def compute(trained, split, key):
    return {'batch_stats': trained.statistics(updating, split.image, key)}

  return Finish(name, run, compute)


def support_vector_machine(
  features: Function,
  make: Callable[..., 'TransductiveSVC'],
  network: str = 'svm',
  name: str = 'svm',
) -> Finish:
  """A transductive support vector machine of the labels.

  Args:
    features: of images, [B, n].
    make: the machine, of a `random_state`.
    network: a `networks.SupportVectorMachine` that gets its weights.
    name: of the finish.
  """

  def run(apply, batch, rng):
    return apply(network, features(apply, batch, rng))

  def compute(trained, split, key):
    (rows,) = trained.run(features, {'image': split.image})
    seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
    machine = make(random_state=seed).fit(rows, split.label)
    return {'params': {network: _weights(machine)}}

  return Finish(name, run, compute, gives=('classify',))


def _weights(machine: 'TransductiveSVC') -> Mapping[str, Any]:
  """As those of `networks.SupportVectorMachine`."""
  kernel, bias = machine.coef_.T, machine.intercept_
  if len(machine.classes_) == 2:
    # One decision, which is of the second class.
    kernel, bias = np.hstack([-kernel, kernel]), np.append(-bias, bias)
  found = {'decision': {'kernel': kernel, 'bias': bias}}
  if machine.kernel == 'rbf':
    features = machine.features_
    found |= {
      'projection': features.random_weights_,
      'phase': features.random_offset_,
    }
  return jax.tree.map(np.float32, found)
