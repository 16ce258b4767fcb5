"""The bound of generative models with a label that is not always known."""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from aae_jax import losses
from aae_jax.phases.phase import Phase
from aae_jax.posteriors import Categorical
from aae_jax.priors import Prior
from aae_jax.types import Apply, Array, Batch, Function, Keys

InferLabel = Callable[[Apply, Batch, Keys | None], tuple[Categorical, Any]]
"""q(y|x) of images, and what it was found from: draws that terms need too."""

Terms = Callable[[Apply, Batch, Array, Any, Keys], tuple[Array, Array]]
"""Of images [B, ...] and one-hot labels [B, K], and what `InferLabel` found
them from: E log p(x|y, .) [B], and the divergence [B] of all other codes."""


def enumerated(infer: InferLabel, terms: Terms, prior: Prior) -> Function:
  """The terms of the bound of images whose label is not known.

  Its expectation over q(y|x) is a sum over all labels (Kingma et al., 2014,
  equation 7): `(apply, batch, rng) -> (likelihood [B], divergence [B])`, where
  the divergence has in it that of q(y|x) from the prior.

  Args:
    infer: q(y|x).
    terms: given the label.
    prior: of the label, with a density.
  """

  def bound(apply, batch, rng):
    q, found = infer(apply, batch, rng)
    size = q.logits.shape[-1]
    each = lambda label: terms(
      apply, batch, jnp.broadcast_to(label, q.logits.shape), found, rng
    )
    likelihood, divergence = jax.vmap(each)(jnp.eye(size))
    of_label = -losses.entropy(q.mean) - prior.log_prob(q.mean)
    return (
      jnp.sum(q.mean * likelihood.T, axis=-1),
      jnp.sum(q.mean * divergence.T, axis=-1) + of_label,
    )

  return bound


def semi_supervised_bound(
  infer: InferLabel,
  terms: Terms,
  prior: Prior,
  trains: tuple[str, ...],
  name: str = 'bound',
) -> Phase:
  """Maximizes the bound of images with and without a label.

  And of the former log q(y|x), without which y comes to mean something else
  (Kingma et al., 2014, equation 9). All three are means over their batches, so
  the weights are what they seem. Batch normalization goes by label where labels
  are summed over, so its statistics are those of the images with a label.

  Args:
    infer: q(y|x).
    terms: given the label.
    prior: of the label, with a density.
    trains: the networks that they use.
    name: of the phase.
  """
  unlabelled_terms = enumerated(infer, terms, prior)

  def loss_fn(apply, batch, rng, hyper):
    labelled = {'image': batch['labelled_image']}
    label, keys = batch['labelled_label'], rng['labelled_image']
    updating = functools.partial(apply, update_stats=True)
    q, found = infer(updating, labelled, keys)
    y = jax.nn.one_hot(label, q.logits.shape[-1])
    of_labelled = _bound(*terms(updating, labelled, y, found, keys))
    of_labelled += jnp.mean(prior.log_prob(y))
    unlabelled = _bound(*unlabelled_terms(apply, batch, rng['image']))
    cross_entropy = jnp.mean(
      optax.softmax_cross_entropy_with_integer_labels(q.logits, label)
    )
    loss = (
      hyper['classification_weight'] * cross_entropy
      - hyper['labelled_weight'] * of_labelled
      - unlabelled
    )
    return loss, {
      'labelled': of_labelled,
      'unlabelled': unlabelled,
      'cross_entropy': cross_entropy,
      'error': 100 * jnp.mean(jnp.argmax(q.logits, axis=-1) != label),
    }

  hyperparams = {
    'learning_rate': 1e-3,
    'labelled_weight': 1.0,
    'classification_weight': 1.0,
  }
  return Phase(name, trains, loss_fn, hyperparams)


def _bound(likelihood: Array, divergence: Array) -> Array:
  return jnp.mean(likelihood - divergence)
