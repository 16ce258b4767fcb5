"""Phases that make codes follow a prior."""

from collections.abc import Callable, Collection, Mapping
import dataclasses
import functools
import math

import jax.numpy as jnp
import optax

from aae_jax import randomness
from aae_jax.phases.phase import Panel, Phase
from aae_jax.types import (
  Apply,
  Array,
  Batch,
  Code,
  Function,
  Hyper,
  Metrics,
  Rngs,
)

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


def regularization(
  discriminators: Mapping[str, str],
  prior: Function,
  posterior: Function,
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
  discriminator = Phase(
    names[0],
    trains,
    adversary.discriminator_loss,
    noise=noise,
    panels=_discriminator_panels(names[0], discriminators),
  )
  return discriminator, Phase(
    names[1],
    generator,
    adversary.generator_loss,
    hyperparams,
    noise=noise,
    panels=(_generator_panel(names[1], discriminators),),
  )


def _discriminator_panels(
  name: str, parts: Collection[str]
) -> tuple[Panel, ...]:
  """Where no sample tells its origin a discriminator is right by chance.

  Each of its two cross-entropies is then log 2.
  """
  terms = 2 * len(parts)
  loss = Panel(
    f'{name} loss',
    'nats',
    {'': 'loss'},
    equilibrium=(terms * math.log(2), f'equilibrium, {terms} log 2'),
  )
  return loss, *(
    Panel(
      f'{name} accuracy on {part}',
      '%',
      {
        'prior samples': f'{part}_prior_accuracy',
        'posterior samples': f'{part}_posterior_accuracy',
      },
      factor=100,
      equilibrium=(50, 'equilibrium, 50 %'),
      limits=(0, 100),
    )
    for part in parts
  )


def _generator_panel(name: str, parts: Collection[str]) -> Panel:
  """The same of the one cross-entropy of each part."""
  return Panel(
    f'{name} loss',
    'nats',
    {f'on {part}': f'{part}_loss' for part in parts},
    equilibrium=(math.log(2), 'equilibrium, log 2'),
  )


@dataclasses.dataclass(frozen=True)
class _Adversary:
  """The losses of `regularization`, of whose arguments it is made."""

  discriminators: Mapping[str, str]
  prior: Function
  posterior: Function
  sees: Sees
  update_stats: bool

  def discriminator_loss(
    self, apply: Apply, batch: Batch, rng: Rngs, hyper: Hyper
  ) -> tuple[Array, Metrics]:
    """The cross-entropy of prior samples as 1 and codes as 0."""
    del hyper
    prior_sample = self.prior(
      apply, batch, randomness.named(rng['image'], 'prior')
    )
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


def _cross_entropy(logit: Array, target: float) -> Array:
  return optax.sigmoid_binary_cross_entropy(logit, jnp.full_like(logit, target))
