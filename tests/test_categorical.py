"""Tests of the phases of CatGAN."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special
import tiny

from aae_jax import phases, train_step
from aae_jax.types import AXIS

BATCH = tiny.make_batch()
RNGS = tiny.RNGS
GENERATOR = np.random.default_rng(0)
OF_IMAGES, OF_MADE = 4 * GENERATOR.normal(size=(2, 16, 3)).astype(np.float32)


def entropy(y):
  return -special.xlogy(y, y).sum(axis=-1)


def run(phase, apply, hyper=()):
  """The loss and the metrics, as on one device."""
  found = jax.vmap(
    lambda _: phase.loss_fn(apply, BATCH, RNGS, dict(hyper)),
    axis_name=AXIS,
    axis_size=1,
  )(jnp.zeros(1))
  return jax.tree.map(lambda x: float(x[0]), found)


def make():
  generate = lambda apply, batch, rng: jnp.full((8, 4, 4, 1), 0.5)
  return phases.categorical_adversaries('encoder', generate, 3)


def apply(name, inputs, *, rng, update_stats=False):
  """Known logits; generated images are of one half."""
  if len(inputs) == 16:
    return {'y': jnp.asarray(OF_IMAGES)}
  np.testing.assert_allclose(inputs, 0.5)
  return {'y': jnp.asarray(OF_MADE[:8])}


def test_classifier_is_sure_of_images_and_unsure_of_generated_ones():
  """Entropies are of probabilities: public code takes the log of logits."""
  phase, _ = make()
  assert phase.trains == ('encoder',)
  loss, metrics = run(phase, apply, {'classification_weight': 0.7})
  log_y = special.log_softmax(OF_IMAGES.astype(np.float64), axis=1)
  label = np.asarray(BATCH['labelled_label'])
  expected = {
    'entropy': entropy(np.exp(log_y[8:])).mean(),
    'marginal_entropy': entropy(np.exp(log_y[8:]).mean(axis=0)),
    'generated_entropy': entropy(special.softmax(OF_MADE[:8], axis=1)).mean(),
    'cross_entropy': -log_y[np.arange(8), label].mean(),
  }
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-4)
  np.testing.assert_allclose(
    loss,
    expected['entropy']
    - expected['marginal_entropy']
    - expected['generated_entropy']
    + 0.7 * expected['cross_entropy'],
    rtol=1e-4,
  )


def test_generator_makes_images_of_every_class():
  _, phase = make()
  assert phase.trains == ('decoder',)
  loss, _ = run(phase, apply)
  y = special.softmax(OF_MADE[:8].astype(np.float64), axis=1)
  expected = entropy(y).mean() - entropy(y.mean(axis=0))
  np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_logits_of_any_size_have_a_loss():
  phase, _ = make()
  huge = lambda name, inputs, **options: {
    'y': jnp.asarray([[200.0, -200.0, 0.0]] * len(inputs))
  }
  loss, _ = run(phase, huge, {'classification_weight': 1.0})
  assert np.isfinite(loss)


def test_statistics_are_of_images_and_of_what_the_generator_makes():
  """Real and generated images are normalized apart."""
  options = {'encoder.batch_norm': True, 'decoder.batch_norm': True}
  system = tiny.build('catgan', **options).system
  state = tiny.random_state(system)
  asked = []

  def recording(apply):
    def call(name, inputs, update_stats=False, **options):
      if update_stats:
        asked.append((name, len(inputs)))
      return apply(name, inputs, update_stats=update_stats, **options)

    return call

  for phase in system.phases:
    bound, _ = train_step.bind(
      system.networks, state.params, state.batch_stats, train=True
    )
    run(phase, recording(bound), phase.hyperparams)
  # The labelled images with the others, and never a generated one.
  assert asked == [('encoder', 16), ('decoder', 8)]
