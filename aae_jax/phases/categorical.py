"""The phases of a classifier and the generator of images that it doubts."""

import dataclasses
import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import optax

from aae_jax import losses, randomness
from aae_jax.phases.phase import Panel, Phase
from aae_jax.types import (
  Apply,
  Array,
  Batch,
  Function,
  Hyper,
  Keys,
  Metrics,
  Rngs,
)


def categorical_adversaries(
  classifier: str,
  generate: Function,
  num_classes: int,
  generator: tuple[str, ...] = ('decoder',),
  names: tuple[str, str] = ('discriminator', 'generator'),
) -> tuple[Phase, Phase]:
  """A classifier that is sure of images, and unsure of generated ones.

  The classifier minimizes the entropy H of y of each image, and maximizes that
  of their mean and that of each generated image; and learns the labels by
  cross-entropy. The generator minimizes the entropy of y of what it makes, and
  maximizes that of the mean (Springenberg, 2016, equations 7 to 9). Means are
  over the global batch.

  Images and generated ones are normalized apart, labelled images with the
  others.

  Args:
    classifier: the network whose output `y` is the logits of an image.
    generate: draws images [B, H, W, C], whatever those of the batch are.
    num_classes: of y.
    generator: the networks that it uses.
    names: of the two phases.
  """

  adversaries = _Adversaries(classifier, generate)
  return (
    Phase(
      names[0],
      (classifier,),
      adversaries.discriminator_loss,
      {'learning_rate': 1e-3, 'classification_weight': 1.0},
      panels=_panels(names[0], num_classes, generated='generated_entropy'),
    ),
    Phase(
      names[1],
      generator,
      adversaries.generator_loss,
      panels=_panels(names[1], num_classes),
    ),
  )


@dataclasses.dataclass(frozen=True)
class _Adversaries:
  """The losses of `categorical_adversaries`, of whose arguments it is made."""

  classifier: str
  generate: Function

  def discriminator_loss(
    self, apply: Apply, batch: Batch, rng: Rngs, hyper: Hyper
  ) -> tuple[Array, Metrics]:
    """The classifier's."""
    size = batch['labelled_image'].shape[0]
    image = jnp.concatenate([batch['labelled_image'], batch['image']])
    keys = jnp.concatenate([rng['labelled_image'], rng['image']])
    updating = functools.partial(apply, update_stats=True)
    logits = self._classify(updating, image, keys)
    marginal, entropy = _entropies(logits[size:])
    made = lax.stop_gradient(self._generate(apply, batch, rng))
    _, generated_entropy = _entropies(self._judge(apply, made, rng))
    cross_entropy = jnp.mean(
      optax.softmax_cross_entropy_with_integer_labels(
        logits[:size], batch['labelled_label']
      )
    )
    loss = hyper['classification_weight'] * cross_entropy
    return loss + entropy - marginal - generated_entropy, {
      'entropy': entropy,
      'marginal_entropy': marginal,
      'generated_entropy': generated_entropy,
      'cross_entropy': cross_entropy,
    }

  def generator_loss(
    self, apply: Apply, batch: Batch, rng: Rngs, hyper: Hyper
  ) -> tuple[Array, Metrics]:
    """The generator's."""
    del hyper
    updating = functools.partial(apply, update_stats=True)
    made = self._generate(updating, batch, rng)
    marginal, entropy = _entropies(self._judge(apply, made, rng))
    metrics = {'entropy': entropy, 'marginal_entropy': marginal}
    return entropy - marginal, metrics

  def _generate(self, apply: Apply, batch: Batch, rng: Rngs) -> Array:
    keys = randomness.named(rng['image'], 'generated')
    return self.generate(apply, batch, keys)

  def _judge(self, apply: Apply, made: Array, rng: Rngs) -> Array:
    return self._classify(apply, made, randomness.named(rng['image'], 'judge'))

  def _classify(self, apply: Apply, image: Array, keys: Keys) -> Array:
    return apply(self.classifier, image, rng=keys)['y']


def _entropies(logits: Array) -> tuple[Array, Array]:
  """Of the mean y over the global batch, and the mean of each; in nats."""
  log_y = jax.nn.log_softmax(logits)
  y = jnp.exp(log_y)
  return losses.entropy(losses.batch_mean(y)), -jnp.mean(jnp.sum(y * log_y, -1))


def _panels(name: str, num_classes: int, **others: str) -> tuple[Panel, Panel]:
  """The loss; and entropies of y, of which the mean's is largest at best."""
  entropies = {'each': 'entropy', 'their mean': 'marginal_entropy', **others}
  equal = np.log(num_classes), f'equal classes, log {num_classes}'
  return (
    Panel(f'{name} loss', 'nats', {'': 'loss'}),
    Panel(f'{name} entropies', 'nats', entropies, equilibrium=equal),
  )
