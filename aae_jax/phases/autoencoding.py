"""Phases that make images again."""

from collections.abc import Callable
import functools

import jax.numpy as jnp

from aae_jax import losses
from aae_jax.phases.phase import Phase
from aae_jax.types import Apply, Array, Function


def reconstruction(
  code: Function,
  decode: Function,
  trains: tuple[str, ...] = ('encoder', 'decoder'),
  name: str = 'reconstruction',
) -> Phase:
  """Encoder and decoder minimize half the squared error summed over pixels.

  The target is the clean image. The one phase of its systems that updates the
  statistics of batch normalization.

  Args:
    code: draws the decoder's code of images.
    decode: maps codes to images.
    trains: the networks that both use.
    name: of the phase.
  """

  def loss_fn(apply, batch, rng, hyper):
    del hyper
    apply = functools.partial(apply, update_stats=True)
    keys = rng['image']
    image = decode(apply, {'code': code(apply, batch, keys)}, keys)
    return jnp.mean(losses.squared_error(image, batch['image'])), {}

  return Phase(name, trains, loss_fn)


def elbo(
  terms: Function,
  trains: tuple[str, ...] = ('encoder', 'decoder'),
  name: str = 'elbo',
) -> Phase:
  """Encoder and decoder maximize the evidence lower bound.

  Args:
    terms: of images, (log-likelihood [B], divergence [B]): the two terms of the
      bound, E log p(x|z) and KL(q(z|x) || p(z)).
    trains: the networks that it uses.
    name: of the phase.
  """

  def loss_fn(apply, batch, rng, hyper):
    apply = functools.partial(apply, update_stats=True)
    likelihood, divergence = map(jnp.mean, terms(apply, batch, rng['image']))
    loss = hyper['divergence_weight'] * divergence - likelihood
    metrics = {'log_likelihood': likelihood, 'divergence': divergence}
    return loss, metrics

  hyperparams = {'learning_rate': 1e-3, 'divergence_weight': 1.0}
  return Phase(name, trains, loss_fn, hyperparams)


def separation(
  cluster_heads: Callable[[Apply], Array],
  trains: tuple[str, ...] = ('cluster_heads',),
  name: str = 'separation',
) -> Phase:
  """Cluster heads closer than a threshold are pushed apart (section 7).

  The threshold is a hyperparameter, in units of the representation.

  Args:
    cluster_heads: `apply -> [C, n]`.
    trains: the networks that it uses.
    name: of the phase.
  """

  def loss_fn(apply, batch, rng, hyper):
    del batch, rng
    heads = cluster_heads(apply)
    return losses.separation_penalty(heads, hyper['threshold']), {}

  hyperparams = {'learning_rate': 1e-3, 'threshold': 4.0}
  return Phase(name, trains, loss_fn, hyperparams)
