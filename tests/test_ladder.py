"""Tests of aae_jax.ladder and of the phase of the ladder."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from aae_jax import errors, experiments, ladder, phases, randomness, train_step
from aae_jax.types import AXIS

BATCH = tiny.make_batch()
RNGS = tiny.RNGS
SIZES = (16, 8, 8, tiny.NUM_CLASSES)


@functools.cache
def made():
  """The system, and a state whose every weight counts."""
  noise = {'encoder.noise': 0.3, 'encoder.input_noise': 0.3}
  system = tiny.build('ladder', **noise).system
  return system, tiny.random_state(system)


def on_one_device(function):
  found = jax.vmap(lambda _: function(), axis_name=AXIS, axis_size=1)(
    jnp.zeros(1)
  )
  return jax.tree.map(lambda x: np.asarray(x[0], np.float64), found)


def run(*calls):
  """What calls of apply give: the encoder's (image, options), or a pass."""
  system, state = made()

  def outputs():
    apply, _ = train_step.bind(
      system.networks, state.params, state.batch_stats, train=True
    )
    return [call(apply) for call in calls]

  return on_one_device(outputs)


def normalized(x):
  return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-10)


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def weights(network):
  return jax.tree.map(
    lambda x: np.asarray(x, np.float64), made()[1].params[network]
  )


def encode(image, noise=None):
  """The layers, the moments and the logits, by NumPy."""
  params = weights('encoder')
  noise = noise or [0.0] * len(SIZES)
  x = np.asarray(image, np.float64).reshape(len(image), -1) + noise[0]
  layers, found = [x], []
  for place in range(3):
    x = x @ params[f'Dense_{place}']['kernel']
    found.append((x.mean(axis=0), np.sqrt(x.var(axis=0) + 1e-10)))
    x = normalized(x) + noise[place + 1]
    layers.append(x)
    x = x + params[f'shift_{place}']
    x = np.maximum(x, 0) if place < 2 else x
  return layers, found, x * params['scale']


def decode(layers, logits):
  """The denoised layers, by NumPy."""
  params = weights('decoder')
  above = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
  found = []
  for step, place in enumerate(reversed(range(len(layers)))):
    if step:
      above = found[-1] @ params[f'Dense_{step - 1}']['kernel']
    u = normalized(above)
    p = params[f'combinator_{place}']
    mean, gain = (
      p[f'{f}_height'] * sigmoid(p[f'{f}_slope'] * u + p[f'{f}_middle'])
      + p[f'{f}_factor'] * u
      + p[f'{f}_offset']
      for f in ('mean', 'gain')
    )
    found.append((layers[place] - mean) * gain + mean)
  return found[::-1]


def noisy(apply, key):
  """The noisy pass of a batch, in the phase."""
  keys = randomness.named(RNGS[key], 'noisy')
  return apply('encoder', BATCH[key], rng=keys, is_noisy=True)


def test_clean_pass_is_normalized_in_every_layer():
  (found,) = run(lambda apply: apply('encoder', BATCH['image']))
  layers, moments, logits = encode(BATCH['image'])
  for layer, expected in zip(found.layers, layers, strict=True):
    np.testing.assert_allclose(layer, expected, rtol=1e-3, atol=1e-3)
  for (mean, std), expected in zip(found.moments, moments, strict=True):
    np.testing.assert_allclose(mean, expected[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(std, expected[1], rtol=1e-3, atol=1e-4)
  np.testing.assert_allclose(found.logits, logits, rtol=1e-3, atol=1e-3)


def test_loss_is_that_of_the_paper():
  """In every pass the noise is what the layers differ by."""
  system, state = made()
  (phase,) = system.phases
  weight = {'image_weight': 3.0, 'first_weight': 2.0, 'higher_weight': 0.5}

  def loss():
    apply, _ = train_step.bind(
      system.networks, state.params, state.batch_stats, train=True
    )
    passes = [noisy(apply, key) for key in ('labelled_image', 'image')]
    return phase.loss_fn(apply, BATCH, RNGS, weight), passes

  (found, metrics), (labelled, unlabelled) = on_one_device(loss)
  logit = labelled.logits
  log_p = logit - np.log(np.exp(logit).sum(axis=1, keepdims=True))
  label = np.asarray(BATCH['labelled_label'])
  expected = -log_p[np.arange(8), label].mean()
  np.testing.assert_allclose(metrics['cross_entropy'], expected, rtol=1e-4)
  targets, moments, _ = encode(BATCH['image'])
  denoised = decode(unlabelled.layers, unlabelled.logits)
  for place, (layer, target) in enumerate(zip(denoised, targets, strict=True)):
    if place:
      # By the standard deviation, not the variance.
      mean, std = moments[place - 1]
      layer = (layer - mean) / std
    cost = np.square(layer - target).mean()
    np.testing.assert_allclose(metrics[f'cost_{place}'], cost, rtol=1e-3)
    expected += (3.0, 2.0, 0.5, 0.5)[place] * cost
  np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize('key', ['image', 'labelled_image'])
def test_noise_is_in_every_layer_and_each_half_is_normalized_alone(key):
  """A pass is of one batch: the noise-free part of each layer has no mean."""
  (found,) = run(lambda apply: noisy(apply, key))
  image = np.asarray(BATCH[key]).reshape(8, -1)
  noise = [found.layers[0] - image]
  assert 0.2 < noise[0].std() < 0.4
  for place in range(3):
    layers, _, _ = encode(BATCH[key], [*noise, *[0.0] * (3 - place)])
    noise.append(found.layers[place + 1] - layers[place + 1])
    assert 0.15 < noise[-1].std() < 0.45
  # Noises of layers of one size are not one noise.
  assert abs(np.corrcoef(noise[1].ravel(), noise[2].ravel())[0, 1]) < 0.5


def test_running_statistics_are_of_the_clean_pass_over_unlabelled_images():
  system, state = made()
  (phase,) = system.phases

  def updated():
    apply, stats = train_step.bind(
      system.networks, state.params, state.batch_stats, train=True
    )
    phase.loss_fn(apply, BATCH, RNGS, phase.hyperparams)
    return stats['encoder']

  found = on_one_device(updated)
  _, moments, _ = encode(BATCH['image'])
  for place, values in enumerate(moments):
    for name, value in zip(('mean', 'std'), values, strict=True):
      before = np.asarray(state.batch_stats['encoder'][f'{name}_{place}'])
      np.testing.assert_allclose(
        found[f'{name}_{place}'],
        0.99 * before + 0.01 * value,
        rtol=1e-3,
        atol=1e-4,
      )


def test_trained_system_classifies_without_noise_by_running_statistics():
  system, state = made()
  apply, _ = train_step.bind(
    system.networks, state.params, state.batch_stats, train=False
  )
  whole = system.model.classify(apply, BATCH, None)
  part = system.model.classify(apply, {'image': BATCH['image'][:1]}, None)
  np.testing.assert_allclose(part[0], whole[0], rtol=1e-5)
  np.testing.assert_allclose(np.sum(whole, axis=1), 1, rtol=1e-5)


def test_gradient_goes_through_the_clean_pass():
  """No target is held back."""
  clean = ladder.Pass((jnp.ones((2, 2)),) * 2, (_moments(),), jnp.ones((2, 3)))

  def cost(scale):
    passed = clean.replace(layers=tuple(scale * x for x in clean.layers))
    return sum(phases.denoising._costs(tuple(clean.layers), passed))

  assert jax.grad(cost)(2.0) != 0


def _moments():
  return ladder.Moments(jnp.zeros(2), jnp.ones(2))


def test_an_option_without_a_use_is_refused():
  config = tiny.make_config('ladder', **{'encoder.activation': 'leaky_relu'})
  message = (
    "^encoder.activation is leaky_relu, but system 'ladder' has no use for it; "
    'expected relu.'
  )
  with pytest.raises(errors.InputError, match=message):
    experiments.build_system(config, tiny.DATASET.schema)
