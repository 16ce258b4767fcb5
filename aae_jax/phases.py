"""The phases that systems are made of, each written once.

A phase is what one loss trains with one optimizer. A system is a tuple of
phases; a step runs them in order, each with the newest parameters.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools

import jax.numpy as jnp
import optax

from aae_jax import losses, randomness
from aae_jax.types import (
  Apply,
  Array,
  Batch,
  Code,
  Decode,
  Keys,
  LossFn,
)


@dataclasses.dataclass(frozen=True)
class Phase:
  """What a loss trains.

  Attributes:
    name: of the phase; its metrics are `name/metric`.
    trains: names of the networks that it updates; no other is changed.
    loss_fn: `(apply, batch, rng, hyper) -> (loss [], metrics)`.
    hyperparams: `learning_rate` and the weights in the loss, by name. They
      live in the state as arrays, and reach the loss as `hyper`.
    optimizer: gives the update for a learning rate of one.
  """

  name: str
  trains: tuple[str, ...]
  loss_fn: LossFn
  hyperparams: Mapping[str, float] = dataclasses.field(
    default_factory=lambda: {'learning_rate': 1e-3}
  )
  optimizer: optax.GradientTransformation = dataclasses.field(
    default_factory=lambda: optax.adam(1.0)
  )


def join(code: Code) -> Array:
  """The parts of a code side by side, in the order of their names."""
  return jnp.concatenate([code[name] for name in sorted(code)], axis=-1)


def reconstruction(
  code: Callable[[Apply, Batch, Keys], Code],
  decode: Decode,
  trains: tuple[str, ...] = ('encoder', 'decoder'),
) -> Phase:
  """Encoder and decoder minimize half the squared error summed over pixels.

  The target is the clean image. The one phase of its systems that updates the
  statistics of batch normalization.

  Args:
    code: draws the decoder's code of a batch.
    decode: maps it to images.
    trains: the networks that both use.
  """

  def loss_fn(apply, batch, rng, hyper):
    del hyper
    apply = functools.partial(apply, update_stats=True)
    image = decode(apply, code(apply, batch, rng['image']), rng=rng['image'])
    return jnp.mean(losses.squared_error(image, batch['image'])), {}

  return Phase('reconstruction', trains, loss_fn)


def elbo(
  terms: Callable[[Apply, Array, Keys], tuple[Array, Array]],
) -> Phase:
  """Encoder and decoder maximize the evidence lower bound.

  Args:
    terms: `(apply, image, rng) -> (log-likelihood [B], divergence [B])`, the
      two terms of the bound, E log p(x|z) and KL(q(z|x) || p(z)).
  """

  def loss_fn(apply, batch, rng, hyper):
    apply = functools.partial(apply, update_stats=True)
    likelihood, divergence = map(
      jnp.mean, terms(apply, batch['image'], rng['image'])
    )
    loss = hyper['divergence_weight'] * divergence - likelihood
    metrics = {'log_likelihood': likelihood, 'divergence': divergence}
    return loss, metrics

  hyperparams = {'learning_rate': 1e-3, 'divergence_weight': 1.0}
  return Phase('elbo', ('encoder', 'decoder'), loss_fn, hyperparams)


def separation(cluster_heads: Callable[[Apply], Array]) -> Phase:
  """Cluster heads closer than a threshold are pushed apart (section 7).

  The threshold is a hyperparameter, in units of the representation.
  """

  def loss_fn(apply, batch, rng, hyper):
    del batch, rng
    heads = cluster_heads(apply)
    return losses.separation_penalty(heads, hyper['threshold']), {}

  hyperparams = {'learning_rate': 1e-3, 'threshold': 4.0}
  return Phase('separation', ('cluster_heads',), loss_fn, hyperparams)


def regularization(
  discriminators: Mapping[str, str],
  prior: Callable[[Keys, Batch], Code],
  posterior: Callable[[Apply, Batch, Keys], Code],
  generator: tuple[str, ...] = ('encoder',),
  update_stats: bool = False,
) -> tuple[Phase, Phase]:
  """The two phases that make codes follow a prior.

  The discriminators minimize -E log D(prior sample) - E log(1 - D(posterior
  sample)); then the generator minimizes the non-saturating
  -E log D(posterior sample) (Goodfellow et al., 2014, section 3).

  Args:
    discriminators: the discriminator of each part of the code, by name.
    prior: draws a sample [B, size] of each part.
    posterior: draws a code [B, size] of each part.
    generator: the networks that make the posterior samples.
    update_stats: whether the phase of the generator updates its statistics,
      for want of another phase that does.

  Returns:
    The phases `discriminator` and `generator`. The latter weights the parts by
    its hyperparameters `PART_weight`.
  """

  def discriminator_loss(apply, batch, rng, hyper):
    del hyper
    prior_sample = prior(randomness.fold_in(rng['image'], 0), batch)
    posterior_rng = randomness.fold_in(rng['image'], 1)
    posterior_sample = posterior(apply, batch, posterior_rng)
    total, metrics = 0.0, {}
    for part, name in discriminators.items():
      positive = apply(name, prior_sample[part], rng=rng['image'])
      negative = apply(name, posterior_sample[part], rng=rng['image'])
      total += jnp.mean(_cross_entropy(positive, 1.0))
      total += jnp.mean(_cross_entropy(negative, 0.0))
      metrics[f'{part}_prior_accuracy'] = jnp.mean(positive > 0)
      metrics[f'{part}_posterior_accuracy'] = jnp.mean(negative < 0)
    return total, metrics

  def generator_loss(apply, batch, rng, hyper):
    apply = functools.partial(apply, update_stats=update_stats)
    posterior_sample = posterior(apply, batch, rng['image'])
    total, metrics = 0.0, {}
    for part, name in discriminators.items():
      logit = apply(name, posterior_sample[part], rng=rng['image'])
      metrics[f'{part}_loss'] = jnp.mean(_cross_entropy(logit, 1.0))
      total += hyper[f'{part}_weight'] * metrics[f'{part}_loss']
    return total, metrics

  weights = {f'{part}_weight': 1.0 for part in discriminators}
  hyperparams = {'learning_rate': 1e-3, **weights}
  names = tuple(discriminators.values())
  return (
    Phase('discriminator', names, discriminator_loss),
    Phase('generator', generator, generator_loss, hyperparams),
  )


def classification(logits: Callable[[Apply, Array, Keys], Array]) -> Phase:
  """The encoder minimizes the cross-entropy of the labelled examples.

  The labelled images run through the encoder together with the unlabelled
  batch, so that batch normalization sees them as it sees any image.

  Args:
    logits: `(apply, image, rng) -> [B, num_classes]`.
  """

  def labelled_logits(apply, batch, rng):
    size = batch['labelled_image'].shape[0]
    image = jnp.concatenate([batch['labelled_image'], batch['image']])
    keys = jnp.concatenate([rng['labelled_image'], rng['image']])
    return logits(apply, image, keys)[:size]

  return _classification(labelled_logits)


def plain_classification(
  logits: Callable[[Apply, Array, Keys], Array],
) -> Phase:
  """The same of an encoder that never sees an unlabelled image.

  The one phase of its system, so it updates the statistics of batch
  normalization.

  Args:
    logits: `(apply, image, rng) -> [B, num_classes]`.
  """

  def labelled_logits(apply, batch, rng):
    apply = functools.partial(apply, update_stats=True)
    return logits(apply, batch['labelled_image'], rng['labelled_image'])

  return _classification(labelled_logits)


def _classification(labelled_logits):
  """The phase, given `(apply, batch, rng) -> [L, num_classes]`."""

  def loss_fn(apply, batch, rng, hyper):
    del hyper
    logit = labelled_logits(apply, batch, rng)
    label = batch['labelled_label']
    loss = optax.softmax_cross_entropy_with_integer_labels(logit, label)
    error = jnp.argmax(logit, axis=-1) != label
    return jnp.mean(loss), {'error': 100 * jnp.mean(error)}

  return Phase('classification', ('encoder',), loss_fn)


def _cross_entropy(logit: Array, target: float) -> Array:
  return optax.sigmoid_binary_cross_entropy(logit, jnp.full_like(logit, target))
