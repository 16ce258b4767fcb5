"""Tests of aae_jax.networks."""

import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from aae_jax import losses, networks
from aae_jax.types import AXIS

IMAGE = np.asarray(tiny.make_batch()['image'])
RNG = tiny.keys(8)


def layer(**options):
  return functools.partial(networks.Layer, **options)


def initialize(module, inputs=IMAGE):
  return module.init(jax.random.key(0), inputs, rng=RNG, train=True)


def run(module, variables, inputs=IMAGE, *, rng=RNG, train=True):
  """Runs a module as one device would; returns outputs and statistics."""
  apply = functools.partial(
    module.apply, variables, train=train, mutable=['batch_stats']
  )
  one = jax.vmap(
    lambda inputs, rng: apply(inputs, rng=rng),
    (None, None),
    axis_name=AXIS,
    axis_size=1,
  )
  return jax.tree.map(lambda x: x[0], one(inputs, rng))


def identity_encoder(**options):
  """An encoder whose code is the image as it sees it."""
  encoder = networks.Encoder(networks.Perceptron(()), {'z': 16}, **options)
  variables = {'params': {'z': {'kernel': jnp.eye(16), 'bias': jnp.zeros(16)}}}
  return encoder, variables


def encoder(**options):
  trunk = networks.Perceptron((8, 8), layer(**options))
  return networks.Encoder(trunk, {'y': 3, 'z': 2})


def test_encoder_has_a_linear_head_for_each_part():
  module = encoder()
  variables = initialize(module)
  code, _ = run(module, variables, train=False)
  params = variables['params']
  hidden = IMAGE.reshape(8, 16)
  for name in ('Layer_0', 'Layer_1'):
    dense = params['trunk'][name]['Dense_0']
    hidden = np.maximum(hidden @ dense['kernel'] + dense['bias'], 0)
  assert code.keys() == {'y', 'z'}
  for name in code:
    expected = hidden @ params[name]['kernel'] + params[name]['bias']
    np.testing.assert_allclose(code[name], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('output', sorted(losses.LIKELIHOODS))
def test_decoder_makes_images(output):
  trunk = networks.Perceptron((8,))
  module = networks.Decoder(trunk, (4, 2, 3), output=output)
  code = 50 * np.random.default_rng(0).normal(size=(8, 2))
  logits, _ = run(module, initialize(module, code), code)
  assert logits.shape == (8, 4, 2, 3)
  assert logits.min() < -1 and logits.max() > 2
  image = module.likelihood.mean(logits)
  inside = image.min() >= 0 and image.max() <= 1
  assert inside == (output == 'sigmoid')


def test_discriminator_gives_a_logit_for_each_example():
  module = networks.Discriminator(networks.Perceptron((8,)))
  logit, _ = run(module, initialize(module), 50 * IMAGE)
  assert logit.shape == (8,)
  # Logits, not probabilities.
  assert np.abs(logit).max() > 1


def test_leaky_relu_keeps_a_part_of_what_is_negative():
  dense = {'kernel': jnp.eye(2), 'bias': jnp.zeros(2)}
  inputs = np.array([[-1.0, 2.0]])
  for activation, slope in (
    (networks.relu(), 0),
    (networks.leaky_relu(), 0.01),
    (networks.leaky_relu(0.2), 0.2),
  ):
    module = networks.Perceptron((2,), layer(activation=activation))
    variables = {'params': {'Layer_0': {'Dense_0': dense}}}
    output = module.apply(variables, inputs, None, False)
    np.testing.assert_allclose(output, [[-slope, 2]], rtol=1e-6)


@pytest.mark.parametrize(
  'initializer, expected', [('normal', 0.01), ('he', np.sqrt(2 / 400))]
)
def test_initial_weights(initializer, expected):
  trunk = networks.Perceptron((50,), layer(initializer=initializer))
  image = np.zeros((2, 20, 20, 1))
  params = initialize(networks.Discriminator(trunk), image)['params']['trunk']
  kernel = params['Layer_0']['Dense_0']['kernel']
  assert kernel.shape == (400, 50)
  np.testing.assert_allclose(np.std(kernel), expected, rtol=0.05)


def test_heads_take_the_initializer():
  trunk, given = networks.Perceptron((400,)), {'initializer': 'normal'}
  for module, path in (
    (networks.Encoder(trunk, {'z': 50}, **given), ('z', 'kernel')),
    (networks.Decoder(trunk, (5, 10, 1), **given), ('Dense_0', 'kernel')),
    (networks.Discriminator(trunk, **given), ('Dense_0', 'kernel')),
  ):
    kernel = flax.traverse_util.flatten_dict(initialize(module)['params'])[path]
    np.testing.assert_allclose(np.std(kernel), 0.01, rtol=0.15)


def test_input_noise_is_on_the_image_only_while_training():
  module, variables = identity_encoder(input_noise=0.3)
  image = np.broadcast_to(IMAGE[:1], (500, 4, 4, 1))
  rng = tiny.keys(500)
  seen, _ = run(module, variables, image, rng=rng)
  noise = np.asarray(seen['z']) - image.reshape(500, 16)
  np.testing.assert_allclose(noise.mean(), 0, atol=0.01)
  np.testing.assert_allclose(noise.std(), 0.3, rtol=0.05)
  assert np.abs(np.corrcoef(noise.T) - np.eye(16)).max() < 0.25
  for rng in (RNG, None):
    seen, _ = run(module, variables, rng=rng, train=False)
    np.testing.assert_array_equal(seen['z'], IMAGE.reshape(8, 16))


def test_noise_is_each_examples_own():
  module = encoder(noise=0.3)
  module = module.clone(input_noise=0.3)
  variables = initialize(module)
  whole, _ = run(module, variables)
  order = np.array([5, 2, 7, 0])
  part, _ = run(module, variables, IMAGE[order], rng=RNG[order])
  for name in whole:
    np.testing.assert_allclose(
      part[name], whole[name][order], rtol=1e-4, atol=1e-6
    )


def test_places_of_a_network_have_noise_of_their_own():
  # The layers pass on what they get, so the output is the sum of the noises.
  trunk = networks.Perceptron((16, 16), layer(noise=1.0))
  dense = {'kernel': jnp.eye(16), 'bias': jnp.full(16, 100.0)}
  module = networks.Encoder(trunk, {'z': 16}, input_noise=1.0)
  head = {'kernel': jnp.eye(16), 'bias': jnp.zeros(16)}
  variables = {
    'params': {
      'trunk': {'Layer_0': {'Dense_0': dense}, 'Layer_1': {'Dense_0': dense}},
      'z': head,
    }
  }
  rng = tiny.keys(200)
  image = np.zeros((200, 4, 4, 1))
  noise = np.asarray(run(module, variables, image, rng=rng)[0]['z']) - 200
  # The same noise thrice would have a standard deviation of 3.
  np.testing.assert_allclose(noise.std(), np.sqrt(3), rtol=0.05)


def test_noise_comes_before_the_activation():
  module = networks.Perceptron((64,), layer(noise=1.0))
  dense = {'kernel': jnp.zeros((16, 64)), 'bias': jnp.zeros(64)}
  variables = {'params': {'Layer_0': {'Dense_0': dense}}}
  output = module.apply(variables, IMAGE, RNG, True)
  assert output.min() == 0 and 0.4 < np.mean(output == 0) < 0.6


def test_no_bias_before_a_normalization():
  """A bias there does nothing but spread rounding errors."""
  for batch_norm in (False, True):
    params = initialize(encoder(batch_norm=batch_norm))['params']
    trunk = params['trunk']
    has_bias = {'bias' in trunk[f'Layer_{i}']['Dense_0'] for i in range(2)}
    assert has_bias == {not batch_norm}
    assert all('bias' in params[head] for head in 'yz')


@pytest.mark.parametrize(
  'module',
  [
    encoder(),
    networks.Decoder(networks.Perceptron((8,)), (4, 4, 1)),
    networks.Discriminator(networks.Perceptron((8,))),
  ],
)
def test_no_normalization_by_default(module):
  """With it an adversarial autoencoder's discriminator sticks at 50 %."""
  assert initialize(module).keys() == {'params'}


def test_no_normalization_on_heads():
  variables = initialize(encoder(batch_norm=True))
  assert variables['batch_stats'].keys() == {'trunk'}
  assert variables['params'].keys() == {'trunk', 'y', 'z'}


def test_normalization_takes_batch_statistics_only_while_training():
  module = encoder(batch_norm=True)
  variables = initialize(module)
  shifted = 3 * IMAGE + 1
  code, changed = run(module, variables, shifted)
  # Nothing of an affine change of the batch is left.
  same_code, _ = run(module, variables, IMAGE)
  np.testing.assert_allclose(code['z'], same_code['z'], rtol=0.01, atol=0.01)
  before = variables['batch_stats']['trunk']['Layer_0']['BatchNorm_0']
  after = changed['batch_stats']['trunk']['Layer_0']['BatchNorm_0']
  dense = variables['params']['trunk']['Layer_0']['Dense_0']['kernel']
  hidden = shifted.reshape(8, 16) @ np.asarray(dense)
  for key, value in (('mean', hidden.mean(0)), ('var', hidden.var(0))):
    expected = 0.99 * before[key] + 0.01 * value
    np.testing.assert_allclose(after[key], expected, rtol=1e-4, atol=1e-6)


def test_running_statistics_keep_their_momentum():
  module = encoder(batch_norm=True, momentum=0.5)
  variables = initialize(module)
  _, changed = run(module, variables)
  before, after = (
    part['batch_stats']['trunk']['Layer_0']['BatchNorm_0']['mean']
    for part in (variables, changed)
  )
  dense = variables['params']['trunk']['Layer_0']['Dense_0']['kernel']
  mean = (IMAGE.reshape(8, 16) @ np.asarray(dense)).mean(0)
  np.testing.assert_allclose(after, 0.5 * before + 0.5 * mean, rtol=1e-4)


def test_evaluation_takes_running_statistics():
  module = networks.Perceptron((2,), layer(batch_norm=True))
  normalization = {'scale': jnp.ones(2), 'bias': jnp.zeros(2)}
  stats = {'mean': jnp.ones(2), 'var': jnp.full(2, 4.0)}
  variables = {
    'params': {
      'Layer_0': {
        'Dense_0': {'kernel': jnp.eye(2)},
        'BatchNorm_0': normalization,
      }
    },
    'batch_stats': {'Layer_0': {'BatchNorm_0': stats}},
  }
  inputs = np.array([[3.0, 5.0], [7.0, 2.0]])
  output, changed = module.apply(
    variables, inputs, None, False, mutable=['batch_stats']
  )
  np.testing.assert_allclose(output, (inputs - 1) / 2, rtol=1e-4)
  np.testing.assert_array_equal(
    changed['batch_stats']['Layer_0']['BatchNorm_0']['mean'], jnp.ones(2)
  )


def test_dropout_and_noise_are_independent():
  """Public keys once served both: where noise is high, nothing was dropped."""
  module, variables = identity_encoder(input_dropout=0.5, input_noise=1.0)
  image = np.full((500, 4, 4, 1), 100.0, np.float32)
  seen, _ = run(module, variables, image, rng=tiny.keys(500))
  dropped = np.asarray(seen['z']) < 50
  noise = np.where(dropped, seen['z'], np.asarray(seen['z']) - 200)
  correlation = np.corrcoef(dropped.ravel(), noise.ravel())[0, 1]
  assert abs(correlation) < 0.05


def test_dropout_is_on_the_image_only_while_training():
  module, variables = identity_encoder(input_dropout=0.2)
  image = np.ones((500, 4, 4, 1), np.float32)
  rng = tiny.keys(500)
  seen = np.asarray(run(module, variables, image, rng=rng)[0]['z'])
  np.testing.assert_allclose(np.mean(seen == 0), 0.2, atol=0.02)
  np.testing.assert_allclose(seen[seen != 0], 1.25, rtol=1e-6)
  assert len(np.unique(seen, axis=0)) > 100
  seen, _ = run(module, variables, image, rng=None, train=False)
  np.testing.assert_array_equal(seen['z'], 1)


def test_an_encoder_may_see_nothing_of_light_and_contrast():
  image = jnp.asarray(np.random.default_rng(0).uniform(size=(3, 4, 4, 1)))
  module, variables = identity_encoder(standardize=True)
  code = module.apply(variables, image)['z'].reshape(3, 4, 4, 1)
  np.testing.assert_allclose(code.mean(axis=(1, 2)), 0, atol=1e-5)
  np.testing.assert_allclose(code.std(axis=(1, 2)), 1, atol=0.01)
  darker = module.apply(variables, 0.5 * image + 0.1)['z']
  np.testing.assert_allclose(darker.reshape(code.shape), code, atol=0.06)
  flat = module.apply(variables, jnp.full_like(image, 0.7))['z']
  np.testing.assert_allclose(flat, 0, atol=1e-4)


def test_encoder_sees_noise_beside_the_image():
  """A universal approximator's noise is an input, in evaluation as well."""
  module = networks.Encoder(networks.Perceptron(()), {'z': 19})
  head = {'kernel': jnp.eye(19), 'bias': jnp.zeros(19)}
  noise = np.random.default_rng(0).normal(size=(8, 3)).astype('float32')
  code = module.apply({'params': {'z': head}}, IMAGE, noise, train=False)
  expected = np.concatenate([IMAGE.reshape(8, 16), noise], axis=1)
  np.testing.assert_array_equal(code['z'], expected)


def test_cluster_heads_are_a_matrix():
  module = networks.ClusterHeads(300, 5)
  y = np.random.default_rng(0).dirichlet(np.ones(300), 8)
  variables = initialize(module, y)
  (heads,) = jax.tree.leaves(variables)
  assert heads.shape == (300, 5)
  np.testing.assert_allclose(np.std(heads), 1, rtol=0.1)
  output, _ = run(module, variables, y)
  np.testing.assert_allclose(output, y @ heads, rtol=1e-4, atol=1e-5)


def test_heads_may_be_normalized():
  options = {'heads': {'y': 3}, 'batch_norm_heads': True}
  module = networks.Encoder(networks.Perceptron((4,), layer()), **options)
  variables = initialize(module)
  output, _ = run(module, variables)
  np.testing.assert_allclose(output['y'].mean(axis=0), 0, atol=1e-5)
  np.testing.assert_allclose(output['y'].std(axis=0), 1, atol=0.05)
  (statistics,) = variables['batch_stats'].keys()
  assert statistics == 'BatchNorm_0'
