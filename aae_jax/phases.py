"""The phases that systems are made of, each written once.

A phase is what one loss trains with one optimizer. A system is a tuple of
phases; a step runs them in order, each with the newest parameters. The names of
networks and of phases are parameters, so that a system can have two of a kind.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools

import jax
from jax import lax
import jax.numpy as jnp
import optax

from aae_jax import losses, randomness
from aae_jax.augmentation import Augmentation
from aae_jax.priors import Prior
from aae_jax.types import (
  Apply,
  Array,
  Batch,
  Code,
  Decode,
  Hyper,
  Keys,
  LossFn,
  Metrics,
  Rngs,
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
    noise: the name that its random numbers go by, `name` if None. Phases of one
      such name draw the same.
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
  noise: str | None = None


def together(*phases: Phase) -> Phase:
  """One phase whose loss is the sum of theirs.

  A phase of its own with Adam takes steps of full size however small its
  weight; in one sum the weights of losses count. Name, optimizer and noise are
  those of the first; the losses of the others are metrics by their names.

  Raises:
    ValueError: two of them have a weight of the same name.
  """
  first, *others = phases
  hyperparams = dict(first.hyperparams)
  for phase in others:
    own = phase.hyperparams.keys() - {'learning_rate'}
    if own & hyperparams.keys():
      raise ValueError(f'{sorted(own & hyperparams.keys())} of two phases')
    hyperparams |= {name: phase.hyperparams[name] for name in own}

  def loss_fn(apply, batch, rng, hyper):
    total, metrics = first.loss_fn(apply, batch, rng, hyper)
    for phase in others:
      loss, found = phase.loss_fn(apply, batch, rng, hyper)
      total, metrics = total + loss, {**metrics, **found, phase.name: loss}
    return total, metrics

  trains = dict.fromkeys(name for phase in phases for name in phase.trains)
  return dataclasses.replace(
    first, trains=tuple(trains), loss_fn=loss_fn, hyperparams=hyperparams
  )


def augmented(phase: Phase, augmentation: Augmentation) -> Phase:
  """The phase that sees augmented images in place of those of the data set.

  Whatever its loss does with an image, it does with the same one: what the
  encoder sees, what the decoder should make.
  """

  def loss_fn(apply, batch, rng, hyper):
    images = {name: augmentation(batch[name], rng[name]) for name in rng}
    return phase.loss_fn(apply, {**batch, **images}, rng, hyper)

  return dataclasses.replace(phase, loss_fn=loss_fn)


Draw = Callable[[Apply, Batch, Keys], Code]
"""`(apply, batch, rng) -> {part: [B, size]}`, of a posterior."""

DrawPrior = Callable[[Keys, Batch], Code]
"""`(rng, batch) -> {part: [B, size]}`, of a prior."""

Condition = Callable[[Code, Batch], Array]
"""`(code, batch) -> [B, n]`, what a part of a code is conditional on."""

Sees = Callable[[Code, Code, Batch], Code]
"""`(sample, code, batch) -> {part: [B, n]}`, what discriminators see.

`sample` is of the prior or of the posterior; `code` is the posterior's in both
cases, so that both can be seen beside the same.
"""


def sees_sample(sample: Code, code: Code, batch: Batch) -> Code:
  """The sample and nothing beside it."""
  del code, batch
  return sample


def join(code: Code) -> Array:
  """The parts of a code side by side, in the order of their names."""
  return jnp.concatenate([code[name] for name in sorted(code)], axis=-1)


def reconstruction(
  code: Draw,
  decode: Decode,
  trains: tuple[str, ...] = ('encoder', 'decoder'),
  name: str = 'reconstruction',
) -> Phase:
  """Encoder and decoder minimize half the squared error summed over pixels.

  The target is the clean image. The one phase of its systems that updates the
  statistics of batch normalization.

  Args:
    code: draws the decoder's code of a batch.
    decode: maps it to images.
    trains: the networks that both use.
    name: of the phase.
  """

  def loss_fn(apply, batch, rng, hyper):
    del hyper
    apply = functools.partial(apply, update_stats=True)
    image = decode(apply, code(apply, batch, rng['image']), rng=rng['image'])
    return jnp.mean(losses.squared_error(image, batch['image'])), {}

  return Phase(name, trains, loss_fn)


def elbo(
  terms: Callable[[Apply, Array, Keys], tuple[Array, Array]],
  trains: tuple[str, ...] = ('encoder', 'decoder'),
  name: str = 'elbo',
) -> Phase:
  """Encoder and decoder maximize the evidence lower bound.

  Args:
    terms: `(apply, image, rng) -> (log-likelihood [B], divergence [B])`, the
      two terms of the bound, E log p(x|z) and KL(q(z|x) || p(z)).
    trains: the networks that it uses.
    name: of the phase.
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


def regularization(
  discriminators: Mapping[str, str],
  prior: DrawPrior,
  posterior: Draw,
  sees: Sees = sees_sample,
  generator: tuple[str, ...] = ('encoder',),
  update_stats: bool = False,
  names: tuple[str, str] = ('discriminator', 'generator'),
) -> tuple[Phase, Phase]:
  """The two phases that make codes follow a prior.

  The discriminators minimize -E log D(prior sample) - E log(1 - D(posterior
  sample)); then the generator minimizes the non-saturating
  -E log D(posterior sample) (Goodfellow et al., 2014, section 3).

  Both judge the same posterior samples: neither phase before them has changed
  the generator, so one pass of it, which the compiler finds, serves both.

  Args:
    discriminators: the discriminator of each part of the code, by name.
    prior: draws a sample [B, size] of each part.
    posterior: draws a code [B, size] of each part.
    sees: what the discriminators see of either.
    generator: the networks that make the posterior samples.
    update_stats: whether the phase of the generator updates its statistics,
      for want of another phase that does.
    names: of the two phases.

  Returns:
    The phase of the discriminators and the generator's. The latter weights the
    parts by its hyperparameters `PART_weight`.
  """

  adversary = _Adversary(discriminators, prior, posterior, sees, update_stats)
  weights = {f'{part}_weight': 1.0 for part in discriminators}
  hyperparams = {'learning_rate': 1e-3, **weights}
  trains, noise = tuple(discriminators.values()), '+'.join(names)
  return (
    Phase(names[0], trains, adversary.discriminator_loss, noise=noise),
    Phase(
      names[1], generator, adversary.generator_loss, hyperparams, noise=noise
    ),
  )


@dataclasses.dataclass(frozen=True)
class _Adversary:
  """The losses of `regularization`, of whose arguments it is made."""

  discriminators: Mapping[str, str]
  prior: DrawPrior
  posterior: Draw
  sees: Sees
  update_stats: bool

  def discriminator_loss(
    self, apply: Apply, batch: Batch, rng: Rngs, hyper: Hyper
  ) -> tuple[Array, Metrics]:
    """The cross-entropy of prior samples as 1 and codes as 0."""
    del hyper
    prior_sample = self.prior(randomness.named(rng['image'], 'prior'), batch)
    code = self._draw(apply, batch, rng)
    positive = self._judge(
      apply, self.sees(prior_sample, code, batch), rng, 'judge_prior'
    )
    negative = self._judge(
      apply, self.sees(code, code, batch), rng, 'judge_posterior'
    )
    total, metrics = 0.0, {}
    for part in self.discriminators:
      total += jnp.mean(_cross_entropy(positive[part], 1.0))
      total += jnp.mean(_cross_entropy(negative[part], 0.0))
      metrics[f'{part}_prior_accuracy'] = jnp.mean(positive[part] > 0)
      metrics[f'{part}_posterior_accuracy'] = jnp.mean(negative[part] < 0)
    return total, metrics

  def generator_loss(
    self, apply: Apply, batch: Batch, rng: Rngs, hyper: Hyper
  ) -> tuple[Array, Metrics]:
    """The weighted cross-entropies of codes as 1."""
    generate = functools.partial(apply, update_stats=self.update_stats)
    code = self._draw(generate, batch, rng)
    logits = self._judge(
      apply, self.sees(code, code, batch), rng, 'judge_generator'
    )
    total, metrics = 0.0, {}
    for part, logit in logits.items():
      metrics[f'{part}_loss'] = jnp.mean(_cross_entropy(logit, 1.0))
      total += hyper[f'{part}_weight'] * metrics[f'{part}_loss']
    return total, metrics

  def _draw(self, apply: Apply, batch: Batch, rng: Rngs) -> Code:
    """The posterior sample, the same in both losses."""
    keys = randomness.named(rng['image'], 'posterior')
    return self.posterior(apply, batch, keys)

  def _judge(
    self, apply: Apply, samples: Code, rng: Rngs, name: str
  ) -> dict[str, Array]:
    """The logits [B] of each part."""
    keys = randomness.named(rng['image'], name)
    return {
      part: apply(network, samples[part], rng=keys)
      for part, network in self.discriminators.items()
    }


def classification(
  logits: Callable[[Apply, Array, Keys], Array],
  trains: tuple[str, ...] = ('encoder',),
  name: str = 'classification',
) -> Phase:
  """The encoder minimizes the cross-entropy of the labelled examples.

  The labelled images run through the encoder together with the unlabelled
  batch, so that batch normalization sees them as it sees any image.

  Args:
    logits: `(apply, image, rng) -> [B, num_classes]`.
    trains: the networks that it uses.
    name: of the phase.
  """

  def labelled_logits(apply, batch, rng):
    size = batch['labelled_image'].shape[0]
    image = jnp.concatenate([batch['labelled_image'], batch['image']])
    keys = jnp.concatenate([rng['labelled_image'], rng['image']])
    return logits(apply, image, keys)[:size]

  return _classification(labelled_logits, trains, name)


def plain_classification(
  logits: Callable[[Apply, Array, Keys], Array],
  trains: tuple[str, ...] = ('encoder',),
  name: str = 'classification',
) -> Phase:
  """The same of an encoder that never sees an unlabelled image.

  The one phase of its system, so it updates the statistics of batch
  normalization.

  Args:
    logits: `(apply, image, rng) -> [B, num_classes]`.
    trains: the networks that it uses.
    name: of the phase.
  """

  def labelled_logits(apply, batch, rng):
    apply = functools.partial(apply, update_stats=True)
    return logits(apply, batch['labelled_image'], rng['labelled_image'])

  return _classification(labelled_logits, trains, name)


def _classification(
  labelled_logits: Callable[[Apply, Batch, Rngs], Array],
  trains: tuple[str, ...],
  name: str,
) -> Phase:
  """The phase, given the logits [L, num_classes] of the labelled batch."""

  def loss_fn(apply, batch, rng, hyper):
    del hyper
    logit = labelled_logits(apply, batch, rng)
    label = batch['labelled_label']
    loss = optax.softmax_cross_entropy_with_integer_labels(logit, label)
    error = jnp.argmax(logit, axis=-1) != label
    return jnp.mean(loss), {'error': 100 * jnp.mean(error)}

  return Phase(name, trains, loss_fn)


def consistency(
  logits: Callable[[Apply, Array, Keys], Array],
  trains: tuple[str, ...] = ('encoder',),
  name: str = 'consistency',
) -> Phase:
  """y stays as it is when the image moves where it would change most.

  Virtual adversarial training (Miyato et al., 2016): KL(q(y|x) || q(y|x + r)),
  where r has the length `radius` (Euclidean, in units of pixel values) and the
  direction of `losses.most_sensitive_direction`. Noise is the same in all
  passes, and no gradient goes through q(y|x) or r.

  From the step `begin` on: what q(y|x) says early is locked in.

  Args:
    logits: `(apply, image, rng) -> [B, num_classes]`.
    trains: the networks that it uses.
    name: of the phase.
  """

  def loss_fn(apply, batch, rng, hyper):
    image, keys = batch['image'], rng['image']
    of_image = lambda image: logits(apply, image, keys)
    start = randomness.normal(
      randomness.named(keys, 'direction'), image.shape[1:]
    )
    logit, direction = losses.most_sensitive_direction(of_image, image, start)
    moved = of_image(image + hyper['radius'] * lax.stop_gradient(direction))
    divergence = jnp.mean(
      optax.kl_divergence(
        jax.nn.log_softmax(moved), lax.stop_gradient(jax.nn.softmax(logit))
      )
    )
    has_begun = hyper['step'] >= hyper['begin']
    weight = jnp.where(has_begun, hyper['consistency_weight'], 0.0)
    return weight * divergence, {'consistency_divergence': divergence}

  hyperparams = {
    'learning_rate': 1e-3,
    'consistency_weight': 1.0,
    'radius': 2.0,
    'begin': 0.0,
  }
  return Phase(name, trains, loss_fn, hyperparams)


def marginal_entropy(
  logits: Callable[[Apply, Array, Keys], Array],
  prior: Prior,
  trains: tuple[str, ...] = ('encoder',),
  name: str = 'marginal_entropy',
) -> Phase:
  """Every y is used as often as its prior says, and each image has one.

  The divergence of the batch's mean y from its prior, which for a uniform prior
  is what its entropy lacks; and the entropy of each y (Krause et al., 2010).
  The former keeps classes and clusters from dying or merging.

  Args:
    logits: `(apply, image, rng) -> [B, size]`.
    prior: of y, with a density.
    trains: the networks that it uses.
    name: of the phase.
  """

  def loss_fn(apply, batch, rng, hyper):
    y = jax.nn.softmax(logits(apply, batch['image'], rng['image']))
    marginal = losses.batch_mean(y)
    divergence = -losses.entropy(marginal) - prior.log_prob(marginal)
    conditional = jnp.mean(losses.entropy(y))
    loss = (
      hyper['marginal_weight'] * divergence
      + hyper['conditional_weight'] * conditional
    )
    metrics = {
      'marginal_divergence': divergence,
      'conditional_entropy': conditional,
    }
    return loss, metrics

  hyperparams = {
    'learning_rate': 1e-3,
    'marginal_weight': 1.0,
    'conditional_weight': 0.0,
  }
  return Phase(name, trains, loss_fn, hyperparams)


def _cross_entropy(logit: Array, target: float) -> Array:
  return optax.sigmoid_binary_cross_entropy(logit, jnp.full_like(logit, target))
