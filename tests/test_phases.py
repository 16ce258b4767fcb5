"""Tests of aae_jax.phases."""

import functools

import jax
import numpy as np
import pytest
from scipy import stats
import tiny

from aae_jax import losses, phases, priors, randomness
from aae_jax.types import AXIS

BATCH = tiny.make_batch()
RNGS = {'image': tiny.keys(8), 'labelled_image': tiny.keys(8, 1)}
GENERATOR = np.random.default_rng(0)


def normal(*shape):
  return GENERATOR.normal(size=shape).astype('float32')


LOGITS = 3 * normal(16, 3)


def log_sigmoid(x):
  return -np.log1p(np.exp(-np.asarray(x, np.float64)))


def run(phase, apply, **hyper):
  return phase.loss_fn(apply, BATCH, RNGS, hyper)


def no_network(name):
  raise AssertionError(f'{name} is run')


def data_of(*keys):
  """How many different keys there are among several batches of them."""
  data = np.concatenate([jax.random.key_data(part) for part in keys])
  return len(np.unique(data, axis=0))


def test_join_takes_the_parts_in_the_order_of_their_names():
  y, z = normal(2, 4, 3)
  for code in ({'y': y, 'z': z}, {'z': z, 'y': y}):
    np.testing.assert_allclose(
      phases.join(code), np.concatenate([y, z], axis=1), rtol=1e-6
    )


def test_reconstruction_compares_with_the_clean_image():
  """Half the squared error, summed over pixels, averaged over the batch."""
  noisy = BATCH['image'] + 0.1 * normal(8, 4, 4, 1)
  calls = []

  def apply(name, *inputs, rng=None, update_stats=False):
    calls.append((name, update_stats))
    return {'z': noisy} if name == 'encoder' else 0.5 * inputs[0]

  phase = phases.reconstruction(
    lambda apply, batch, rng: apply('encoder', batch['image'], rng=rng),
    lambda apply, batch, rng: apply('decoder', batch['code']['z'], rng=rng),
  )
  loss, _ = run(phase, apply)
  error = 0.5 * np.asarray(noisy) - np.asarray(BATCH['image'])
  np.testing.assert_allclose(loss, 0.5 * (error**2).sum() / 8, rtol=1e-5)
  assert phase.trains == ('encoder', 'decoder')
  # The one phase that updates the statistics of batch normalization.
  assert calls == [('encoder', True), ('decoder', True)]


@pytest.fixture
def adversaries():
  """The phases of two known discriminators, and what these were given."""
  prior_sample = {'y': normal(8, 3), 'z': normal(8, 2)}
  posterior_sample = {'y': normal(8, 3), 'z': normal(8, 2)}
  seen = []

  def apply(name, sample, rng=None, update_stats=False):
    assert not update_stats
    seen.append((name, sample))
    scale = {'discriminator_y': 2.0, 'discriminator_z': -3.0}[name]
    return scale * sample.sum(axis=-1) + 0.5

  pair = phases.regularization(
    {'y': 'discriminator_y', 'z': 'discriminator_z'},
    lambda apply, batch, rng: prior_sample,
    lambda apply, batch, rng: posterior_sample,
  )
  logit = {
    (kind, part): {'y': 2.0, 'z': -3.0}[part] * sample[part].sum(1) + 0.5
    for kind, sample in (
      ('prior', prior_sample),
      ('posterior', posterior_sample),
    )
    for part in 'yz'
  }
  return pair, apply, seen, logit, prior_sample, posterior_sample


def test_discriminators_minimize_the_cross_entropy(adversaries):
  (phase, _), apply, _, logit, _, _ = adversaries
  loss, metrics = run(phase, apply)
  expected = sum(
    -log_sigmoid(logit['prior', part]).mean()
    - log_sigmoid(-logit['posterior', part]).mean()
    for part in 'yz'
  )
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  assert phase.trains == ('discriminator_y', 'discriminator_z')
  for part in 'yz':
    np.testing.assert_allclose(
      metrics[f'{part}_prior_accuracy'], (logit['prior', part] > 0).mean()
    )
    np.testing.assert_allclose(
      metrics[f'{part}_posterior_accuracy'],
      (logit['posterior', part] < 0).mean(),
    )


def test_generator_minimizes_the_non_saturating_loss(adversaries):
  (_, phase), apply, seen, logit, _, _ = adversaries
  loss, metrics = run(phase, apply, y_weight=3.0, z_weight=0.5)
  part_loss = {
    part: -log_sigmoid(logit['posterior', part]).mean() for part in 'yz'
  }
  expected = 3.0 * part_loss['y'] + 0.5 * part_loss['z']
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  for part in 'yz':
    np.testing.assert_allclose(
      metrics[f'{part}_loss'], part_loss[part], rtol=1e-5
    )
  assert phase.trains == ('encoder',)
  assert phase.hyperparams.keys() == {'learning_rate', 'y_weight', 'z_weight'}
  assert phase.hyperparams['y_weight'] == phase.hyperparams['z_weight'] == 1
  # The generator's loss looks at no prior sample.
  assert [name for name, _ in seen] == ['discriminator_y', 'discriminator_z']


def test_discriminators_see_samples_without_noise(adversaries):
  """Public code adds the image's noise to the discriminator's input."""
  (phase, _), apply, seen, _, prior_sample, posterior_sample = adversaries
  run(phase, apply)
  for name, sample in seen:
    part = name[-1]
    assert any(sample is s[part] for s in (prior_sample, posterior_sample))
  assert len(seen) == 4


def test_every_pass_of_an_adversary_has_noise_of_its_own():
  """But the posterior sample, which is one in both phases."""
  used, posterior_keys = [], []
  sample = {'z': normal(8, 1)}
  pair = phases.regularization(
    {'z': 'discriminator'},
    lambda apply, batch, rng: used.append(rng) or sample,
    lambda apply, batch, rng: posterior_keys.append(rng) or sample,
  )
  judge = lambda name, sample, rng: used.append(rng) or sample[:, 0]
  for phase in pair:
    run(phase, judge, z_weight=1.0)
  # The prior, two samples judged by the one phase, one by the other.
  assert len(used) == 4
  assert data_of(*used, posterior_keys[0]) == 5 * 8
  assert data_of(*posterior_keys) == 8
  assert pair[0].noise == pair[1].noise


def test_names_of_phases_are_parameters():
  """So that a system can have two adversarial pairs."""
  sample = {'z': normal(8, 1)}
  pairs = [
    phases.regularization(
      {'z': f'discriminator_{k}'},
      lambda apply, batch, rng: sample,
      lambda apply, batch, rng: sample,
      generator=(f'encoder_{k}',),
      names=(f'discriminator_{k}', f'generator_{k}'),
    )
    for k in range(2)
  ]
  found = [phase for pair in pairs for phase in pair]
  assert [phase.name for phase in found] == [
    'discriminator_0',
    'generator_0',
    'discriminator_1',
    'generator_1',
  ]
  assert [phase.trains for phase in found] == [
    ('discriminator_0',),
    ('encoder_0',),
    ('discriminator_1',),
    ('encoder_1',),
  ]
  assert pairs[0][0].noise != pairs[1][0].noise
  others = (
    phases.reconstruction(None, None, ('a',), 'one'),
    phases.elbo(None, ('a',), 'one'),
    phases.separation(None, ('a',), 'one'),
    phases.classification(None, ('a',), 'one'),
    phases.plain_classification(None, ('a',), 'one'),
  )
  assert all((p.name, p.trains) == ('one', ('a',)) for p in others)


def test_discriminators_may_see_a_condition_beside_both_samples():
  """The posterior's y beside either, so that z is judged given y."""
  prior_sample = {'y': normal(8, 3), 'z': normal(8, 1)}
  posterior_sample = {'y': normal(8, 3), 'z': normal(8, 1)}
  seen = []
  pair = phases.regularization(
    {'z': 'discriminator'},
    lambda apply, batch, rng: prior_sample,
    lambda apply, batch, rng: posterior_sample,
    sees=lambda sample, code, batch: {
      'z': np.concatenate([sample['z'], code['y']], axis=1)
    },
  )
  for phase in pair:
    run(
      phase,
      lambda name, sample, rng: seen.append(sample) or sample[:, 0],
      z_weight=1.0,
    )
  for sample, z in zip(
    seen, (prior_sample, posterior_sample, posterior_sample), strict=True
  ):
    expected = np.concatenate([z['z'], posterior_sample['y']], axis=1)
    np.testing.assert_array_equal(sample, expected)


def test_classification_is_the_cross_entropy_of_logits():
  """Public code takes the softmax of a softmax."""
  phase = phases.classification(lambda apply, batch, rng: LOGITS)
  loss, metrics = run(phase, no_network)
  logit = LOGITS[:8].astype(np.float64)
  log_probability = logit - np.log(np.exp(logit).sum(1, keepdims=True))
  label = np.asarray(BATCH['labelled_label'])
  expected = -log_probability[np.arange(8), label].mean()
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  error = 100 * (logit.argmax(1) != label).mean()
  assert 0 < error < 100
  np.testing.assert_allclose(metrics['error'], error)
  assert phase.trains == ('encoder',)


def test_classification_runs_both_batches_with_their_keys():
  seen = {}

  def logits(apply, batch, rng):
    seen.update(image=batch['image'], rng=rng)
    return LOGITS

  run(phases.classification(logits), no_network)
  for key, array in seen.items():
    parts = RNGS if key == 'rng' else BATCH
    assert (array[:8] == parts['labelled_image']).all()
    assert (array[8:] == parts['image']).all()


@pytest.mark.parametrize('update_stats', [False, True])
def test_classification_updates_statistics_if_it_is_to(update_stats):
  asked = []

  def logits(apply, batch, rng):
    asked.append(apply())
    return LOGITS

  phase = phases.classification(logits, update_stats=update_stats)
  run(phase, lambda update_stats: update_stats)
  assert asked == [update_stats]


def test_elbo_weights_the_divergence():
  likelihood, divergence = normal(2, 8)
  stats = []

  def terms(apply, batch, rng):
    assert batch is BATCH and rng is RNGS['image']
    stats.append(apply('decoder'))
    return likelihood, divergence

  phase = phases.elbo(terms)
  loss, metrics = run(
    phase,
    lambda name, update_stats=False: update_stats,
    divergence_weight=0.3,
  )
  expected = 0.3 * divergence.mean() - likelihood.mean()
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  np.testing.assert_allclose(
    metrics['divergence'], divergence.mean(), rtol=1e-5
  )
  np.testing.assert_allclose(
    metrics['log_likelihood'], likelihood.mean(), rtol=1e-5
  )
  assert phase.hyperparams['divergence_weight'] == 1 and stats == [True]


def test_separation_takes_its_threshold():
  heads = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]], np.float32)
  phase = phases.separation(lambda apply: apply('cluster_heads'))
  # The distances are 5, 1 and the square root of 18.
  loss, _ = run(phase, lambda name: heads, threshold=4.5)
  np.testing.assert_allclose(loss, 3.5 + 4.5 - np.sqrt(18), rtol=1e-5)
  assert phase.trains == ('cluster_heads',)


def test_plain_classification_sees_labelled_images_alone():
  seen = {}

  def logits(apply, batch, rng):
    seen.update(image=batch['image'], rng=rng, stats=apply())
    return LOGITS[:8]

  phase = phases.plain_classification(logits)
  loss, _ = run(phase, lambda update_stats=False: update_stats)
  both = phases.classification(lambda apply, batch, rng: LOGITS)
  np.testing.assert_array_equal(loss, run(both, no_network)[0])
  assert seen['stats'] and seen['image'] is BATCH['labelled_image']
  assert seen['rng'] is RNGS['labelled_image']


WEIGHTS = normal(16, 3)


def linear(apply, batch, rng):
  """Logits that have noise, as an encoder's, in training alone."""
  image = batch['image']
  noise = randomness.normal(randomness.named(rng, 'noise'), (3,))
  return image.reshape(len(image), -1) @ WEIGHTS + apply() * noise


def is_noisy(train=True):
  """In place of `apply`."""
  return float(train)


def log_softmax(x):
  x = np.asarray(x, np.float64)
  return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def test_consistency_moves_images_by_the_radius():
  """From the trained system's y without noise to the noisy one's."""
  seen = []

  def logits(apply, batch, rng):
    assert rng is RNGS['image']
    seen.append((batch['image'], apply()))
    return linear(apply, batch, rng)

  phase = phases.consistency(logits)
  hyper = {'begin': 7, 'radius': 1.5, 'consistency_weight': 0.5}
  loss, metrics = run(phase, is_noisy, step=7, **hyper)
  (_, is_first_noisy), *_, (last, is_last_noisy) = seen
  assert not is_first_noisy and is_last_noisy
  moved = np.asarray(last - BATCH['image']).reshape(8, -1)
  np.testing.assert_allclose(np.linalg.norm(moved, axis=1), 1.5, rtol=1e-4)
  clean = functools.partial(is_noisy, train=False)
  before = log_softmax(linear(clean, BATCH, RNGS['image']))
  after = log_softmax(linear(is_noisy, {'image': last}, RNGS['image']))
  expected = (np.exp(before) * (before - after)).sum(axis=1).mean()
  np.testing.assert_allclose(
    metrics['consistency_divergence'], expected, rtol=1e-3
  )
  np.testing.assert_allclose(loss, 0.5 * expected, rtol=1e-3)
  assert run(phase, is_noisy, step=6, **hyper)[0] == 0


def test_gradient_of_consistency_goes_through_the_moved_image_alone():
  """Not through what it should stay equal to, nor through the direction."""
  image, keys = BATCH['image'], RNGS['image']
  clean = functools.partial(is_noisy, train=False)

  def loss(scale):
    hyper = {'step': 0, 'begin': 0, 'radius': 1.5, 'consistency_weight': 1.0}
    phase = phases.consistency(
      lambda apply, batch, rng: scale * linear(apply, batch, rng)
    )
    return run(phase, is_noisy, **hyper)[0]

  start = randomness.normal(
    randomness.named(keys, 'direction'), image.shape[1:]
  )
  logit, direction = losses.most_sensitive_direction(
    lambda x: linear(clean, {'image': x}, keys), image, start
  )
  p = jax.nn.softmax(logit)

  def expected(scale):
    moved = {'image': image + 1.5 * direction}
    moved = linear(is_noisy, moved, keys)
    return -(p * jax.nn.log_softmax(scale * moved)).sum(axis=1).mean()

  np.testing.assert_allclose(
    jax.grad(loss)(1.0), jax.grad(expected)(1.0), rtol=1e-3
  )


@pytest.mark.parametrize(
  'frequencies', [(1 / 3, 1 / 3, 1 / 3), (0.7, 0.2, 0.1)]
)
def test_marginal_entropy(frequencies):
  """Of the global batch; over all devices as on one."""
  prior = priors.categorical(3, frequencies)
  phase = phases.marginal_entropy(
    lambda apply, batch, rng: batch['image'].reshape(-1, 16) @ WEIGHTS, prior
  )
  hyper = {'marginal_weight': 2.0, 'conditional_weight': 0.5}

  def of_device(batch, rngs):
    return jax.lax.pmean(phase.loss_fn(None, batch, rngs, hyper), AXIS)

  logit = np.asarray(BATCH['image']).reshape(8, -1) @ WEIGHTS
  y = np.exp(log_softmax(logit))
  divergence = stats.entropy(y.mean(axis=0), frequencies)
  conditional = stats.entropy(y.T).mean()
  for devices in (1, 4):
    loss, metrics = jax.vmap(of_device, axis_name=AXIS)(
      tiny.split(BATCH, devices), tiny.split(RNGS, devices)
    )
    np.testing.assert_allclose(
      loss[0], 2 * divergence + 0.5 * conditional, rtol=1e-4
    )
    np.testing.assert_allclose(
      metrics['marginal_divergence'][0], divergence, rtol=1e-3
    )
    np.testing.assert_allclose(
      metrics['conditional_entropy'][0], conditional, rtol=1e-4
    )


def constant_phase(name, loss, **hyperparams):
  return phases.Phase(
    name,
    ('encoder', name),
    lambda apply, batch, rng, hyper: (loss * hyper[f'{name}_weight'], {}),
    {'learning_rate': 1.0, f'{name}_weight': 1.0, **hyperparams},
  )


def test_together_is_one_phase_of_the_sum():
  first, second = constant_phase('a', 2.0), constant_phase('b', 3.0, extra=5.0)
  phase = phases.together(first, second)
  loss, metrics = run(phase, None, a_weight=1.0, b_weight=0.5)
  assert loss == 3.5 and metrics == {'b': 1.5}
  assert phase.name == 'a' and phase.trains == ('encoder', 'a', 'b')
  assert phase.hyperparams == {
    'learning_rate': 1.0,
    'a_weight': 1.0,
    'b_weight': 1.0,
    'extra': 5.0,
  }
  assert phases.together(first).hyperparams == first.hyperparams


def test_together_refuses_one_name_for_two_weights():
  with pytest.raises(ValueError, match='extra'):
    phases.together(
      constant_phase('a', 1.0, extra=1.0), constant_phase('b', 1.0, extra=2.0)
    )
