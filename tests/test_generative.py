"""Tests of the bounds summed over labels, and of the systems that have them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
import tiny

from aae_jax import (
  errors,
  experiments,
  networks,
  phases,
  posteriors,
  priors,
  randomness,
  train_step,
)
from aae_jax.systems import generative
from aae_jax.types import AXIS

BATCH = tiny.make_batch()
RNGS = tiny.RNGS
NAMES = ('m2', 'adgm', 'sdgm')
GENERATOR = np.random.default_rng(0)
LOGITS = GENERATOR.normal(size=(8, 3)).astype(np.float32)
LIKELIHOOD, DIVERGENCE = GENERATOR.normal(size=(2, 3, 8)).astype(np.float32)
SHARES = np.array([0.5, 0.3, 0.2])


def table_terms(apply, batch, y, found, rng):
  """Terms of a label that are known beforehand."""
  assert found == 'found' and y.shape == (8, 3)
  label = jnp.argmax(y[0])
  return jnp.asarray(LIKELIHOOD)[label], jnp.asarray(DIVERGENCE)[label]


def table_infer(apply, batch, rng):
  return posteriors.Categorical(jnp.asarray(LOGITS)), 'found'


def test_enumerated_is_the_expectation_over_labels():
  prior = priors.categorical(3, SHARES)
  bound = phases.enumerated(table_infer, table_terms, prior)
  likelihood, divergence = bound(None, BATCH, None)
  q = special.softmax(LOGITS.astype(np.float64), axis=1)
  expected = sum(q[:, k] * LIKELIHOOD[k] for k in range(3))
  np.testing.assert_allclose(likelihood, expected, rtol=1e-4)
  expected = sum(
    q[:, k] * (DIVERGENCE[k] + np.log(q[:, k] / SHARES[k])) for k in range(3)
  )
  np.testing.assert_allclose(divergence, expected, rtol=1e-4, atol=1e-5)


def test_weights_are_of_means_over_batches():
  """The cross-entropy's is hidden in that of sums in public code."""
  prior = priors.categorical(3, SHARES)
  phase = phases.semi_supervised_bound(
    table_infer, labelled_or_not, prior, ('encoder',)
  )
  hyper = {'labelled_weight': 0.3, 'classification_weight': 2.5}
  loss, metrics = phase.loss_fn(lambda: None, BATCH, RNGS, hyper)
  label = np.asarray(BATCH['labelled_label'])
  log_q = special.log_softmax(LOGITS.astype(np.float64), axis=1)
  cross_entropy = -log_q[np.arange(8), label].mean()
  labelled = (7.0 + np.log(SHARES[label])).mean()
  q = np.exp(log_q)
  unlabelled = 1.0 - (q * (log_q - np.log(SHARES))).sum(axis=1).mean()
  for name, value in (
    ('cross_entropy', cross_entropy),
    ('labelled', labelled),
    ('unlabelled', unlabelled),
  ):
    np.testing.assert_allclose(metrics[name], value, rtol=1e-4)
  expected = 2.5 * cross_entropy - 0.3 * labelled - unlabelled
  np.testing.assert_allclose(loss, expected, rtol=1e-4)


def labelled_or_not(apply, batch, y, found, rng):
  """A bound of 7 for the labelled images, and of 1 for the others."""
  is_labelled = 'position' not in batch
  return jnp.full(8, 9.0 if is_labelled else 3.0), jnp.full(8, 2.0)


def log_normal(x, mean, log_variance):
  x, mean, log_variance = (
    np.asarray(a, np.float64) for a in (x, mean, log_variance)
  )
  squared = (x - mean) ** 2 * np.exp(-log_variance)
  return -0.5 * (np.log(2 * np.pi) + log_variance + squared).sum(axis=1)


def bernoulli(logit, image):
  logit = np.asarray(logit, np.float64).reshape(8, -1)
  image = np.asarray(image, np.float64).reshape(8, -1)
  return (image * logit - np.logaddexp(0, logit)).sum(axis=1)


def halves(heads):
  return np.split(np.asarray(heads), 2, axis=1)


class ByHand:
  """The bounds of a model of random weights, one label after the other."""

  def __init__(self, name, **changes):
    system = tiny.build(name, **{'prior.name': 'gaussian', **changes}).system
    self.name, self.system = name, system
    self.num_draws = changes.get('num_draws', 1)
    self.state = tiny.random_state(system)

  def apply(self, network, *inputs):
    module = self.system.networks[network]
    params = {'params': self.state.params[network]}
    return module.apply(params, *inputs, rng=None, train=True)

  def draw(self, heads, keys, name, index):
    mean, log_variance = halves(heads)
    shape = (self.num_draws, mean.shape[1])
    noise = np.asarray(randomness.normal(randomness.named(keys, name), shape))
    return mean + np.exp(0.5 * log_variance) * noise[:, index]

  def bound_of_label(self, image, label, keys):
    """log p(x, y, .) - log q(.|x, y) without log p(y), and log q(y|.)."""
    draws = [
      self.bound_of_draw(image, label, keys, index)
      for index in range(self.num_draws)
    ]
    bounds, logits = zip(*draws, strict=True)
    q = special.softmax(np.stack(logits).astype(np.float64), axis=2)
    return np.mean(bounds, axis=0), np.log(q.mean(axis=0))

  def bound_of_draw(self, image, label, keys, index):
    """The same at one draw."""
    y = np.eye(3, dtype=np.float32)[label]
    if self.name == 'm2':
      logit = self.apply('classifier', image)['y']
      heads = self.apply('encoder', image, y)['z']
      z = self.draw(heads, keys, 'z', index)
      output = self.apply('decoder', np.hstack([y, z]))
      mean, log_variance = (x.astype(np.float64) for x in halves(heads))
      bound = bernoulli(output, image) - 0.5 * (
        mean**2 + np.exp(log_variance) - 1 - log_variance
      ).sum(axis=1)
      return bound, logit
    q_a = self.apply('auxiliary_encoder', image)['a']
    a = self.draw(q_a, keys, 'a', index)
    logit = self.apply('classifier', image, a)['y']
    heads = self.apply('encoder', image, np.hstack([a, y]))['z']
    z = self.draw(heads, keys, 'z', index)
    code = np.hstack([y, z])
    if self.name == 'adgm':
      p_a = self.apply('auxiliary_decoder', image, code)['a']
      output = self.apply('decoder', code)
    else:
      p_a = self.apply('auxiliary_decoder', code)['a']
      output = self.apply('decoder', np.hstack([a, code]))
    mean, log_variance = (x.astype(np.float64) for x in halves(heads))
    divergence = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)
    bound = bernoulli(output, image) - divergence.sum(axis=1)
    return bound + log_normal(a, *halves(p_a)) - log_normal(
      a, *halves(q_a)
    ), logit


@pytest.mark.parametrize(
  ('name', 'changes'),
  [
    ('m2', {}),
    ('adgm', {}),
    ('sdgm', {}),
    ('adgm', {'num_draws': 3}),
    ('sdgm', {'num_draws': 2}),
  ],
)
def test_bound_by_brute_force(name, changes):
  """Every term, the label's among them; each network sees what it should."""
  model = ByHand(name, **changes)
  (phase,) = model.system.phases

  def loss():
    apply, _ = train_step.bind(
      model.system.networks, model.state.params, {}, train=True
    )
    return phase.loss_fn(apply, BATCH, RNGS, phase.hyperparams)[1]

  found = jax.vmap(lambda _: loss(), axis_name=AXIS, axis_size=1)(jnp.zeros(1))
  image, keys = BATCH['image'], RNGS['image']
  expected = 0.0
  for label in range(3):
    bound, logit = model.bound_of_label(image, np.full(8, label), keys)
    log_q = special.log_softmax(np.asarray(logit, np.float64), axis=1)[:, label]
    expected += np.exp(log_q) * (bound - np.log(3) - log_q)
  np.testing.assert_allclose(found['unlabelled'][0], expected.mean(), rtol=1e-4)
  bound, logit = model.bound_of_label(
    BATCH['labelled_image'],
    np.asarray(BATCH['labelled_label']),
    RNGS['labelled_image'],
  )
  expected = (bound - np.log(3)).mean()
  np.testing.assert_allclose(found['labelled'][0], expected, rtol=1e-4)


@pytest.mark.parametrize('name', NAMES)
def test_every_network_is_trained(name):
  """q(a|x) too, which public code leaves out."""
  system = tiny.build(name).system
  (phase,) = system.phases
  assert set(phase.trains) == set(system.networks)
  update = tiny.updates(name)[0]
  for network in system.networks:
    before, after = (
      jax.tree.leaves(state.params[network])
      for state in (update.before, update.after)
    )
    changed = [np.any(x != y) for x, y in zip(before, after, strict=True)]
    assert all(changed), network


@pytest.mark.parametrize('name', ['adgm', 'sdgm'])
def test_label_is_a_mean_over_draws_of_the_auxiliary_code(name):
  model = ByHand(name)
  apply, _ = train_step.bind(
    model.system.networks, model.state.params, {}, train=False
  )
  classify = functools.partial(model.system.model.classify, apply)
  found = np.asarray(classify(BATCH, None))
  np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-4)
  mean, log_variance = halves(
    model.apply('auxiliary_encoder', BATCH['image'])['a']
  )
  noise = GENERATOR.normal(size=(2000, 1, mean.shape[1])).astype(np.float32)
  codes = mean + np.exp(0.5 * log_variance) * noise
  q = [model.apply('classifier', BATCH['image'], a)['y'] for a in codes[:400]]
  expected = special.softmax(np.stack(q), axis=2).mean(axis=0)
  np.testing.assert_allclose(found, expected, atol=0.08)
  # Of an image alone, whatever is beside it.
  one = classify({'image': BATCH['image'][:1]}, None)
  np.testing.assert_allclose(one[0], found[0], rtol=1e-4)


def test_two_vectors_side_by_side_are_one():
  """A layer of both has the weights of one of their concatenation."""
  layer = networks.Layer(5)
  x, y = BATCH['image'].reshape(8, -1), LOGITS
  both = layer.init(jax.random.key(0), x, None, False, beside=y)
  one = layer.init(jax.random.key(0), np.hstack([x, y]), None, False)
  for first, second in zip(*map(jax.tree.leaves, (both, one)), strict=True):
    np.testing.assert_array_equal(first, second)
  np.testing.assert_allclose(
    layer.apply(both, x, None, False, beside=y),
    layer.apply(one, np.hstack([x, y]), None, False),
    rtol=1e-4,
    atol=1e-5,
  )


def test_the_image_is_multiplied_once_for_all_labels():
  layer = networks.Layer(5)
  x = BATCH['image'].reshape(8, -1)
  params = layer.init(jax.random.key(0), x, None, False, beside=LOGITS)
  labels = jnp.broadcast_to(jnp.eye(3)[:, None], (3, 8, 3))
  mapped = jax.vmap(lambda y: layer.apply(params, x, None, False, beside=y))
  cost = jax.jit(mapped).lower(labels).compile().cost_analysis()
  multiplied = 2 * 8 * 5 * (16 + 3 * 3)
  assert cost['flops'] < 1.5 * multiplied


class ByImportance:
  """`m2_supervised` of random weights, one label and one draw at a time."""

  def __init__(self, **changes):
    changes = {'prior.name': 'gaussian', **changes}
    self.system = tiny.build('m2_supervised', **changes).system
    self.state = tiny.random_state(self.system)
    self.apply, _ = train_step.bind(
      self.system.networks, self.state.params, {}, train=False
    )

  def log_weight(self, label, noise):
    """log p(x, z|y) - log q(z|x, y), [B], at the noise [B, Z] or [Z]."""
    y, image = np.eye(3, dtype=np.float32)[label], BATCH['image']
    mean, log_variance = halves(self.apply('encoder', image, y)['z'])
    z = mean + np.exp(0.5 * log_variance) * noise
    output = self.apply('decoder', np.hstack([y, z]))
    return (
      bernoulli(output, image)
      + log_normal(z, np.zeros_like(z), np.zeros_like(z))
      - log_normal(z, mean, log_variance)
    )


@pytest.mark.parametrize('shares', [(0.5, 0.3, 0.2), (1 / 3, 1 / 3, 1 / 3)])
def test_label_is_that_of_the_likelihood(shares):
  """Its prior counts too."""
  model = ByImportance(**{'prior_y.frequencies': repr(shares)[1:-1]})
  noise = jax.random.normal(jax.random.key(0), (generative.NUM_DRAWS, 2))
  log_joint = [
    special.logsumexp(
      [model.log_weight(np.full(8, label), n) for n in np.asarray(noise)],
      axis=0,
    )
    + np.log(shares[label])
    for label in range(3)
  ]
  expected = special.softmax(np.stack(log_joint, axis=1), axis=1)
  classify = model.system.model.classify
  found = classify(model.apply, BATCH, None)
  np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-5)
  # By what it draws itself, and never by the label that is there.
  other = {'image': BATCH['image'][:1]}
  np.testing.assert_allclose(
    classify(model.apply, other, RNGS['image'][:1])[0], found[0], rtol=1e-3
  )


def test_likelihoods_that_underflow_are_told_apart():
  """Public code sums them, and exp(-2000) is 0."""
  model = ByImportance()
  batch = {'image': 1000 * BATCH['image']}
  (found,) = [model.system.model.classify(model.apply, batch, None)]
  assert np.isfinite(found).all()
  np.testing.assert_allclose(np.sum(found, axis=1), 1, rtol=1e-5)
  assert len(set(np.argmax(found, axis=1).tolist())) > 1


def test_its_bound_is_that_of_image_and_label():
  model = ByImportance()
  keys, label = RNGS['image'], np.asarray(BATCH['label'])
  found = model.system.model.bound(model.apply, BATCH, keys)
  y = np.eye(3, dtype=np.float32)[label]
  mean, log_variance = halves(model.apply('encoder', BATCH['image'], y)['z'])
  noise = randomness.normal(randomness.named(keys, 'z'), (2,))
  z = mean + np.exp(0.5 * log_variance) * np.asarray(noise)
  output = model.apply('decoder', np.hstack([y, z]))
  divergence = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)
  expected = bernoulli(output, BATCH['image']), divergence.sum(1) + np.log(3)
  for one, other in zip(found, expected, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4)


def test_draws_are_counted_from_one():
  config = tiny.make_config('sdgm', num_draws=0)
  with pytest.raises(
    errors.InputError, match='^num_draws is 0; expected at least 1.$'
  ):
    experiments.build(config)


def test_others_have_no_use_for_draws():
  with pytest.raises(errors.InputError, match='^num_draws is 2, but system'):
    tiny.build('m2', num_draws=2)
