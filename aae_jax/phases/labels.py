"""Phases whose losses are of q(y|x) alone."""

from collections.abc import Callable
import functools

import jax
from jax import lax
import jax.numpy as jnp
import optax

from aae_jax import losses, randomness
from aae_jax.phases.phase import Phase
from aae_jax.priors import Prior
from aae_jax.types import Apply, Array, Batch, Function, Rngs


def classification(
  logits: Function,
  trains: tuple[str, ...] = ('encoder',),
  name: str = 'classification',
  update_stats: bool = False,
) -> Phase:
  """The encoder minimizes the cross-entropy of the labelled examples.

  The labelled images run through the encoder together with the unlabelled
  batch, so that batch normalization sees them as it sees any image.

  Args:
    logits: of images, [B, num_classes].
    trains: the networks that it uses.
    name: of the phase.
    update_stats: whether it updates the statistics of batch normalization, for
      want of another phase that does.
  """

  def labelled_logits(apply, batch, rng):
    apply = functools.partial(apply, update_stats=update_stats)
    size = batch['labelled_image'].shape[0]
    image = jnp.concatenate([batch['labelled_image'], batch['image']])
    keys = jnp.concatenate([rng['labelled_image'], rng['image']])
    return logits(apply, {'image': image}, keys)[:size]

  return _classification(labelled_logits, trains, name)


def plain_classification(
  logits: Function,
  trains: tuple[str, ...] = ('encoder',),
  name: str = 'classification',
) -> Phase:
  """The same of an encoder that never sees an unlabelled image.

  The one phase of its system, so it updates the statistics of batch
  normalization.

  Args:
    logits: of images, [B, num_classes].
    trains: the networks that it uses.
    name: of the phase.
  """

  def labelled_logits(apply, batch, rng):
    apply = functools.partial(apply, update_stats=True)
    labelled = {'image': batch['labelled_image']}
    return logits(apply, labelled, rng['labelled_image'])

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
  logits: Function,
  trains: tuple[str, ...] = ('encoder',),
  name: str = 'consistency',
  difference: float | None = None,
  **hyperparams: float,
) -> Phase:
  """y stays as it is when the image moves where it would change most.

  Virtual adversarial training (Miyato et al., 2016): KL(q(y|x) || q(y|x + r)),
  where r has the length `radius` (Euclidean, in units of pixel values) and the
  direction of `losses.most_sensitive_direction`. Both follow from q(y|x) of the
  trained system, as it stands, to which the noisy encoder of the moved image is
  drawn; no gradient goes through them.

  From the step `begin` on: what q(y|x) says early is locked in.

  Args:
    logits: of images, [B, num_classes].
    trains: the networks that it uses.
    name: of the phase.
    difference: see `losses.most_sensitive_direction`.
    **hyperparams: in place of those of the phase.
  """

  def loss_fn(apply, batch, rng, hyper):
    image, keys = batch['image'], rng['image']
    as_it_stands = functools.partial(apply, train=False)
    logit, direction = lax.stop_gradient(
      losses.most_sensitive_direction(
        lambda image: logits(as_it_stands, {'image': image}, keys),
        image,
        randomness.normal(randomness.named(keys, 'direction'), image.shape[1:]),
        difference,
      )
    )
    moved = {'image': image + hyper['radius'] * direction}
    moved = logits(apply, moved, keys)
    divergence = jnp.mean(
      optax.kl_divergence(jax.nn.log_softmax(moved), jax.nn.softmax(logit))
    )
    has_begun = hyper['step'] >= hyper['begin']
    weight = jnp.where(has_begun, hyper['consistency_weight'], 0.0)
    return weight * divergence, {'consistency_divergence': divergence}

  own = {
    'learning_rate': 1e-3,
    'consistency_weight': 1.0,
    'radius': 2.0,
    'begin': 0.0,
  }
  return Phase(name, trains, loss_fn, {**own, **hyperparams})


def marginal_entropy(
  logits: Function,
  prior: Prior,
  trains: tuple[str, ...] = ('encoder',),
  name: str = 'marginal_entropy',
) -> Phase:
  """Every y is used as often as its prior says, and each image has one.

  The divergence of the batch's mean y from its prior, which for a uniform prior
  is what its entropy lacks; and the entropy of each y (Krause et al., 2010).
  The former keeps classes and clusters from dying or merging.

  Args:
    logits: of images, [B, size].
    prior: of y, with a density.
    trains: the networks that it uses.
    name: of the phase.
  """

  def loss_fn(apply, batch, rng, hyper):
    y = jax.nn.softmax(logits(apply, batch, rng['image']))
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
