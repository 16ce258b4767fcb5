"""Tests of the convolutional trunks of aae_jax.networks and their choice."""

import functools
from unittest import mock

import chex
from flax import linen as nn
import jax
import numpy as np
import pytest
import tiny

from aae_jax import errors, networks, train_state, train_step
from aae_jax.types import AXIS

RNG = tiny.keys(8)
SHAPES = pytest.mark.parametrize(
  'shape',
  [(8, 8, 1), (28, 28, 1), (32, 32, 3), (4, 4, 1), (5, 9, 2)],
  ids=str,
)


class Grid(nn.Module):
  """A trunk that gives what it gets."""

  def __call__(self, x, rng, train):
    return x


def normal(*shape):
  generator = np.random.default_rng(0)
  return generator.normal(size=shape).astype(np.float32)


def run(module, inputs, *beside, variables=None):
  """Trains as one device would; returns outputs and variables."""

  def of_device(inputs):
    if variables is None:
      return module.init_with_output(
        jax.random.key(0), inputs, *beside, rng=RNG, train=True
      )
    return module.apply(
      variables,
      inputs,
      *beside,
      rng=RNG,
      train=True,
      mutable=['batch_stats'],
    )

  one = jax.vmap(of_device, None, axis_name=AXIS, axis_size=1)
  return jax.tree.map(lambda x: x[0], jax.jit(one)(inputs))


def convolutional(*sections, **options):
  """The keys of a configuration that make these networks convolutional."""
  options = {'network': 'convolutional', 'channels': (4, 6), **options}
  return {
    f'{section}.{key}': value
    for section in sections
    for key, value in options.items()
  }


def encoder(**options):
  layer = functools.partial(networks.Layer, **options)
  trunk = networks.Convolutional((8,), (4, 6), layer)
  return networks.Encoder(trunk, {'y': 3, 'z': 2})


def decoder(shape, **options):
  layer = functools.partial(networks.Layer, **options)
  trunk = networks.Deconvolutional(shape, (8,), (4, 6, 5), layer)
  return networks.Decoder(trunk, shape)


@SHAPES
def test_layers_are_strided_convolutions(shape):
  """As XLA's own convolution has them, with the padding 'SAME'."""
  image = normal(8, *shape)
  output, variables = run(encoder(), image)
  params = variables['params']
  hidden = image
  for layer, size in enumerate((4, 6)):
    dense = params['trunk'][f'Layer_{layer}']['Dense_0']
    convolution = {
      'kernel': dense['kernel'].reshape(3, 3, -1, size),
      'bias': dense['bias'],
    }
    layer = nn.Conv(size, (3, 3), (2, 2))
    hidden = nn.relu(layer.apply({'params': convolution}, hidden))
  dense = params['trunk']['Layer_2']['Dense_0']
  hidden = nn.relu(hidden.reshape(8, -1) @ dense['kernel'] + dense['bias'])
  for name in ('y', 'z'):
    expected = hidden @ params[name]['kernel'] + params[name]['bias']
    np.testing.assert_allclose(output[name], expected, rtol=1e-3, atol=1e-4)


@SHAPES
def test_decoder_makes_images_of_any_shape(shape):
  image, variables = run(decoder(shape), normal(8, 2))
  assert image.shape == (8, *shape)
  # Nothing of it is filled up: every pixel depends on the code.
  assert (np.ptp(image, axis=0) > 0).all()
  # 8 hidden; 5 on the smallest grid; then 6 and 4, each on a larger one.
  grid = [-(-side // 8) for side in shape[:2]]
  kernel = variables['params']['trunk']['Layer_1']['Dense_0']['kernel']
  assert kernel.shape == (8, 5 * np.prod(grid))


@pytest.mark.parametrize('shape', [(4, 6, 2), (3, 5, 2)], ids=str)
def test_each_cell_gives_the_tile_at_its_place(shape):
  module = networks.Decoder(Grid(), shape)
  grid = normal(8, 2, 3, 8)
  dense = {'kernel': np.eye(8), 'bias': np.zeros(8)}
  image, _ = run(module, grid, variables={'params': {'Dense_0': dense}})
  for i, j, channel in np.ndindex(shape):
    tile = grid[:, i // 2, j // 2].reshape(8, 2, 2, 2)
    np.testing.assert_allclose(
      image[:, i, j, channel], tile[:, i % 2, j % 2, channel], rtol=1e-6
    )


def test_neighbours_have_a_say_in_a_tile():
  """Without, tiles would meet in visible edges."""
  grid = np.zeros((1, 3, 3, 1), np.float32)
  grid[0, 1, 1] = 1
  seen = np.asarray(networks._neighbourhoods(grid, 1))
  np.testing.assert_array_equal(seen.sum(-1), np.ones((1, 3, 3)))
  # The cell below the middle sees it above itself.
  np.testing.assert_array_equal(seen[0, 2, 1], np.eye(9)[1])


@pytest.mark.parametrize(
  'module, inputs, layers',
  [
    (encoder(batch_norm=True), normal(8, 5, 9, 2), 3),
    (decoder((5, 9, 2), batch_norm=True), normal(8, 2), 4),
  ],
  ids=['encoder', 'decoder'],
)
def test_normalization_is_of_channels_and_takes_the_bias(
  module, inputs, layers
):
  _, variables = run(module, inputs)
  params = variables['params']['trunk']
  stats = variables['batch_stats']
  assert stats.keys() == {'trunk'}
  for layer in range(layers):
    assert params[f'Layer_{layer}']['Dense_0'].keys() == {'kernel'}
  sizes = [
    len(stats['trunk'][f'Layer_{i}']['BatchNorm_0']['mean'])
    for i in range(layers)
  ]
  assert sizes == ([4, 6, 8] if layers == 3 else [8, 5, 6, 4])


@pytest.mark.parametrize(
  'module, inputs',
  [
    (encoder(batch_norm=True), normal(8, 6, 6, 1)),
    (decoder((6, 6, 1), batch_norm=True), normal(8, 2)),
  ],
  ids=['encoder', 'decoder'],
)
def test_devices_share_the_statistics_of_channels(module, inputs):
  """Two with half a batch each make what one makes of the whole."""
  _, variables = run(module, inputs)
  one, statistics = run(module, inputs, variables=variables)

  def of_device(inputs, rng):
    return module.apply(
      variables, inputs, rng=rng, train=True, mutable=['batch_stats']
    )

  two, shared = jax.jit(jax.vmap(of_device, axis_name=AXIS))(
    *(x.reshape(2, 4, *x.shape[1:]) for x in (inputs, RNG))
  )
  two = jax.tree.map(lambda x: x.reshape(8, *x.shape[2:]), two)
  chex.assert_trees_all_close(one, two, rtol=1e-3, atol=1e-4)
  for device in range(2):
    chex.assert_trees_all_close(
      statistics,
      jax.tree.map(lambda x, i=device: x[i], shared),
      rtol=1e-4,
      atol=1e-6,
    )


@pytest.mark.parametrize(
  'module, inputs, expected',
  [
    (encoder(noise=0.3), normal(8, 6, 6, 1), ['input', 0, 1, 2]),
    (decoder((6, 6, 1), noise=0.3), normal(8, 2), [0, 1, 2, 3]),
  ],
  ids=['encoder', 'decoder'],
)
def test_every_layer_has_noise_of_its_own(module, inputs, expected):
  places = []

  def recorded(x, rng, std, path):
    places.append('/'.join(path))
    return x

  with mock.patch.object(networks, 'add_noise', recorded):
    jax.eval_shape(
      lambda: module.init(jax.random.key(0), inputs, rng=RNG, train=True)
    )
  assert places == [
    place if place == 'input' else f'trunk/Layer_{place}' for place in expected
  ]


def test_dense_layers_see_noise_beside_the_image():
  """A universal approximator's noise has no place in the plane."""
  module, image = encoder(), normal(8, 8, 8, 1)
  noise = normal(8, 3)
  output, variables = run(module, image, noise)
  trunk = variables['params']['trunk']
  assert trunk['Layer_0']['Dense_0']['kernel'].shape == (9, 4)
  assert trunk['Layer_2']['Dense_0']['kernel'].shape == (2 * 2 * 6 + 3, 8)
  other, _ = run(module, image, noise[::-1], variables=variables)
  assert (other['z'] != output['z']).any(axis=1).all()


@pytest.mark.parametrize('name', ['gan', 'semi_supervised_aae'])
def test_systems_take_convolutions(name):
  """Traced, not compiled: what its networks get and give fits together."""
  # Only the adversary of the GAN judges images.
  sections = ['decoder', 'discriminator' if name == 'gan' else 'encoder']
  system = tiny.build(name, **convolutional(*sections)).system
  step = train_step.make_train_step(system)

  def metrics(batch):
    state = train_state.create(system, jax.random.key(0), batch, False)
    return step(state, batch).report['sums']

  one = jax.vmap(metrics, None, axis_name=AXIS, axis_size=1)
  traced = jax.eval_shape(one, tiny.make_batch())
  assert {key.split('/')[0] for key in traced} == {
    phase.name for phase in system.phases
  }


def test_classifier_never_sees_an_unlabelled_image():
  """Not even through the statistics of batch normalization."""
  system = tiny.build(
    'classifier', **tiny.NOISY, **convolutional('encoder')
  ).system
  state = tiny.random_state(system)
  step = train_step.make_train_step(system)
  one = jax.jit(
    jax.vmap(
      lambda batch: step(state, batch).replace(rng=()),
      None,
      axis_name=AXIS,
      axis_size=1,
    )
  )
  batch = tiny.make_batch()
  before, after = state.replace(rng=()), one(batch)
  for part in ('params', 'batch_stats'):
    changed = jax.tree.map(
      lambda x, y: (x != y[0]).any(),
      getattr(before, part),
      getattr(after, part),
    )
    assert all(jax.tree.leaves(changed))
  others = {'image': 1 - batch['image'], 'label': 0 * batch['label']}
  chex.assert_trees_all_equal(after, one({**batch, **others}))


def test_classifier_gives_probabilities_of_its_logits():
  system = tiny.build('classifier').system
  logits = normal(8, 3)
  apply = lambda name, image, rng=None: {'y': logits}
  found = system.model.classify(apply, {'image': None}, None)
  expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
  'changes, message',
  [
    (
      {'encoder.network': 'convolutionl'},
      "unknown encoder 'convolutionl'; known: convolutional, perceptron. "
      "Did you mean 'convolutional'?",
    ),
    (
      {'encoder.channels': (4, 6)},
      "encoder.channels=(4, 6) is given, but encoder 'perceptron' takes "
      'hidden.',
    ),
    (
      {'decoder.channels': (4, 6)},
      "decoder.channels=(4, 6) is given, but decoder 'perceptron' takes "
      'hidden.',
    ),
    (
      convolutional('encoder', channels=()),
      'encoder.channels is (); expected whole numbers above 0, such as '
      '(32, 64).',
    ),
    (
      convolutional('decoder', channels=(4, 0)),
      'decoder.channels is (4, 0); expected whole numbers above 0, such '
      'as (32, 64).',
    ),
  ],
  ids=str,
)
def test_what_a_network_does_not_take_is_refused(changes, message):
  with pytest.raises(errors.InputError) as error:
    tiny.build('aae', **changes)
  assert str(error.value) == message


def test_a_code_is_no_image():
  experiment = tiny.build('aae', **convolutional('discriminator'))
  with pytest.raises(errors.InputError) as error:
    experiment.abstract_state()
  assert str(error.value) == (
    "network 'convolutional' sees images [B, H, W, C], but its input has the "
    "shape [8, 2]; expected 'perceptron' for it."
  )
