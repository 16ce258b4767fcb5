"""Tests of aae_jax.augmentation, and of the option of the encoder."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
import tiny

from aae_jax import augmentation, phases, train_step
from aae_jax.augmentation import Augmentation, warp

GENERATOR = np.random.default_rng(0)
IMAGE = GENERATOR.uniform(size=(4, 7, 10, 3)).astype('float32')
ALL = Augmentation(shift=2.0, turn=30.0, scale=0.3)
OPTIONS = {f'encoder.augmentation.{key}': x for key, x in vars(ALL).items()}
TARGET = {**OPTIONS, 'encoder.augmentation.target': True}
"""So that the decoder's target is augmented too."""


def changed(image, shift=(0.0, 0.0), turn=0.0, factor=1.0):
  """The same change of every image."""
  size = len(image)
  return np.asarray(
    warp(
      image,
      jnp.broadcast_to(jnp.asarray(shift), (size, 2)),
      jnp.full(size, turn),
      jnp.full(size, factor),
    )
  )


def by_scipy(image, shift=(0.0, 0.0), turn=0.0, factor=1.0):
  """The same in float64, of an image [H, W, C]; the output's own formula.

  A pixel at (y, x) from the middle goes to factor * (y cos - x sin,
  x cos + y sin) + shift; SciPy wants the inverse.
  """
  matrix = factor * np.array(
    [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
  )
  inverse = np.linalg.inv(matrix)
  middle = (np.array(image.shape[:2]) - 1) / 2
  offset = middle - inverse @ (middle + shift)
  channels = [
    ndimage.affine_transform(
      image[..., channel].astype(np.float64),
      inverse,
      offset,
      order=1,
      mode='grid-constant',
    )
    for channel in range(image.shape[2])
  ]
  return np.stack(channels, axis=-1)


@pytest.mark.parametrize(
  'change',
  [
    {'shift': (1.3, -2.4)},
    {'shift': (-8.0, 0.5)},
    {'turn': 0.4},
    {'turn': -3.0},
    {'factor': 1.4},
    {'factor': 0.6},
    {'shift': (0.7, 1.9), 'turn': -0.7, 'factor': 1.2},
    {'shift': (-2.2, 1.0), 'turn': 2.5, 'factor': 0.8},
  ],
)
def test_warp_is_that_of_scipy(change):
  for image, found in zip(IMAGE, changed(IMAGE, **change), strict=True):
    expected = by_scipy(image, **change)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_shift_is_down_and_to_the_right():
  expected = np.zeros_like(IMAGE)
  expected[:, 2:, :-3] = IMAGE[:, :-2, 3:]
  found = changed(IMAGE, shift=(2.0, -3.0))
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_turn_is_anticlockwise():
  image = IMAGE[:, :, :7]
  expected = np.rot90(image, axes=(1, 2))
  found = changed(image, turn=np.pi / 2)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_factor_above_one_makes_larger():
  found = changed(IMAGE[:, :5, :9], factor=2.0)[:, ::2, ::2]
  expected = IMAGE[:, 1:4, 2:7]
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_part_of_the_way_is_a_share_of_both_pixels():
  """At the edge one of them is the outside, which is 0."""
  image = np.ones((1, 3, 3, 1), np.float32)
  found = changed(image, shift=(0.0, 0.25))[0, :, :, 0]
  np.testing.assert_allclose(found, [[0.75, 1, 1]] * 3, rtol=1e-6)


def test_each_image_has_its_own_change():
  shift = GENERATOR.normal(size=(4, 2)).astype('float32')
  turn, factor = np.linspace(-1, 1, 4), np.linspace(0.7, 1.3, 4)
  found = warp(IMAGE, shift, jnp.asarray(turn), jnp.asarray(factor))
  for index in range(4):
    expected = by_scipy(IMAGE[index], shift[index], turn[index], factor[index])
    np.testing.assert_allclose(found[index], expected, rtol=1e-4, atol=1e-5)


def test_gradient_goes_through_the_image():
  weight = GENERATOR.normal(size=IMAGE.shape).astype('float32')
  keys = tiny.keys(4)
  gradient = jax.grad(lambda image: jnp.sum(weight * ALL(image, keys)))(IMAGE)
  # Linear in the image, so its own derivative.
  direction = GENERATOR.normal(size=IMAGE.shape).astype('float32')
  np.testing.assert_allclose(
    np.sum(gradient * direction),
    np.sum(weight * ALL(direction, keys)),
    rtol=1e-4,
  )
  assert np.abs(gradient).max() > 0.5


# What is drawn.


def blobs(augmentation, num_keys=2000):
  """Where a spot 6 pixels to the right of the middle goes, [N, 2]."""
  y, x = np.indices((31, 31)) - 15
  image = np.exp(-((y - 0) ** 2 + (x - 6) ** 2) / 4).astype('float32')
  image = np.broadcast_to(image[None, :, :, None], (num_keys, 31, 31, 1))
  seen = np.asarray(augmentation(image, tiny.keys(num_keys)))[..., 0]
  mass = seen.sum(axis=(1, 2))
  return np.stack(
    [(seen * place).sum(axis=(1, 2)) / mass for place in (y, x)], axis=1
  )


def assert_uniform(values, low, high):
  """Fails by its range, or by its distribution in between."""
  level = (np.sort(values) - low) / (high - low)
  assert level[0] > -0.01 and level[-1] < 1.01
  places = (np.arange(len(level)) + 0.5) / len(level)
  assert np.abs(level - places).max() < 0.04


def test_shifts_are_uniform_and_independent():
  shift = blobs(Augmentation(shift=3.0)) - [0, 6]
  for each in shift.T:
    assert_uniform(each, -3, 3)
  assert abs(np.corrcoef(shift.T)[0, 1]) < 0.06


def test_turns_are_uniform_in_degrees():
  y, x = blobs(Augmentation(turn=40.0)).T
  assert_uniform(np.rad2deg(np.arctan2(-y, x)), -40, 40)
  np.testing.assert_allclose(np.hypot(y, x), 6, rtol=0.01)


def test_factors_are_uniform():
  y, x = blobs(Augmentation(scale=0.4)).T
  assert_uniform(x / 6, 0.6, 1.4)
  np.testing.assert_allclose(y, 0, atol=1e-4)


def test_turn_and_factor_are_independent():
  y, x = blobs(Augmentation(turn=40.0, scale=0.4)).T
  correlation = np.corrcoef(np.arctan2(y, x), np.hypot(y, x))
  assert abs(correlation[0, 1]) < 0.06


def test_an_amount_changes_no_other():
  """What is drawn for the shift is the same, whether images turn or not."""
  shift = blobs(Augmentation(shift=3.0), 50)
  both = blobs(Augmentation(shift=3.0, turn=1e-3), 50)
  np.testing.assert_allclose(both, shift, atol=1e-3)


def test_an_image_is_changed_by_its_own_key():
  keys = tiny.keys(4)
  whole = ALL(IMAGE, keys)
  order = np.array([3, 1])
  np.testing.assert_allclose(
    ALL(IMAGE[order], keys[order]), whole[order], rtol=1e-5, atol=1e-6
  )
  assert not np.allclose(ALL(IMAGE, tiny.keys(4, seed=1)), whole, atol=0.1)
  same = ALL(np.stack([IMAGE[0]] * 4), keys)
  assert not np.allclose(same[0], same[1], atol=0.1)


def test_seeds_may_be_mapped_over():
  keys = jnp.stack([tiny.keys(4), tiny.keys(4, seed=1)])
  found = jax.vmap(ALL, (None, 0))(IMAGE, keys)
  for seed in range(2):
    np.testing.assert_allclose(
      found[seed], ALL(IMAGE, keys[seed]), rtol=1e-5, atol=1e-6
    )


def test_colours_are_mixed_about_their_means():
  """By one matrix for all pixels of an image, uniform about the identity."""
  images = np.tile(IMAGE, (500, 1, 1, 1))
  found = np.asarray(Augmentation(colour=0.4)(images, tiny.keys(2000)))
  matrices = []
  for before, after in zip(images, found, strict=True):
    x, y = before.reshape(-1, 3), after.reshape(-1, 3)
    np.testing.assert_allclose(y.mean(axis=0), x.mean(axis=0), atol=1e-5)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    matrix, *_ = np.linalg.lstsq(x, y, rcond=None)
    np.testing.assert_allclose(x @ matrix, y, atol=1e-4)
    matrices.append(matrix - np.eye(3))
  entries = np.stack(matrices).reshape(2000, 9).T
  for entry in entries:
    assert_uniform(entry, -0.4, 0.4)
  assert np.abs(np.corrcoef(entries) - np.eye(9)).max() < 0.1


def test_places_change_as_they_do_without_colours():
  keys = tiny.keys(4)
  both = dataclasses.replace(ALL, colour=1e-6)(IMAGE, keys)
  np.testing.assert_allclose(both, ALL(IMAGE, keys), atol=1e-4)


def test_nothing_is_the_image_itself():
  assert Augmentation()(IMAGE, tiny.keys(4)) is IMAGE


# In a system.


def run_phase(system, phase):
  """The loss on `tiny.make_batch`, and each network's name and input."""
  state = tiny.random_state(system)
  apply, _ = train_step.bind(system.networks, state.params, {}, train=True)
  calls = []

  def recorded(name, *inputs, **options):
    calls.append((name, inputs[0]))
    return apply(name, *inputs, **options)

  hyper = {'step': state.step, **state.hyperparams[phase.name]}
  loss, _ = phase.loss_fn(recorded, tiny.make_batch(), tiny.RNGS, hyper)
  return loss, calls


@pytest.mark.parametrize('of_target', [False, True])
def test_amounts_of_zero_are_no_augmentation(of_target):
  """Bit for bit; and by default there is none."""
  zero = dict.fromkeys(OPTIONS, 0.0)
  zero['encoder.augmentation.target'] = of_target
  system, plain = (tiny.build('aae', **x).system for x in (zero, {}))
  assert plain.networks['encoder'].augmentation == Augmentation()
  for ours, theirs in zip(system.phases, plain.phases, strict=True):
    assert run_phase(system, ours)[0] == run_phase(plain, theirs)[0]


def test_the_encoder_augments_in_training():
  """Losses hand it the images as they are, and compare with these."""
  options = {**OPTIONS, 'encoder.augmentation.target': False}
  system, plain = (tiny.build('aae', **x).system for x in (options, {}))
  assert system.networks['encoder'].augmentation == ALL
  for ours, theirs in zip(system.phases, plain.phases, strict=True):
    loss, ((_, image), *_) = run_phase(system, ours)
    np.testing.assert_array_equal(image, tiny.make_batch()['image'])
    assert loss != run_phase(plain, theirs)[0]


def test_the_encoder_augments_by_its_own_keys_before_its_noise():
  encoder = tiny.build('aae', **OPTIONS).system.networks['encoder']
  image, keys = tiny.make_batch()['image'], tiny.keys(8)
  for noise in (0.0, 0.3):
    noisy = encoder.clone(input_noise=noise)
    variables = noisy.init(jax.random.key(0), image)
    code = noisy.apply(variables, image, rng=keys, train=True)
    plain = noisy.clone(augmentation=Augmentation())
    expected = plain.apply(variables, ALL(image, keys), rng=keys, train=True)
    chex.assert_trees_all_close(code, expected, rtol=1e-5, atol=1e-6)


def test_evaluation_does_not_augment():
  systems = [tiny.build('aae', **x).system for x in (OPTIONS, TARGET, {})]
  state = tiny.random_state(systems[0])
  codes = []
  for system in systems:
    apply, _ = train_step.bind(system.networks, state.params, {}, train=False)
    batch = tiny.make_batch()
    codes.append(system.model.encode(apply, batch, tiny.keys(8)))
  chex.assert_trees_all_equal(*codes)


def test_augmented_phase_sees_augmented_images():
  batch = tiny.make_batch()
  seen = []

  def loss_fn(apply, batch, rng, hyper):
    seen.append((batch, rng))
    return 0.0, {}

  phase = phases.seeing(ALL, phases.Phase('p', ('encoder',), loss_fn))
  phase.loss_fn(None, batch, tiny.RNGS, {})
  ((changed_batch, rng),) = seen
  assert rng is tiny.RNGS and phase.name == 'p'
  for name in batch:
    expected = batch[name]
    if name in rng:
      expected = ALL(expected, rng[name])
      assert not np.allclose(expected, batch[name], atol=0.1)
    np.testing.assert_array_equal(changed_batch[name], expected)


def test_binarized_pixels_are_drawn_with_their_values():
  keys = jax.random.split(jax.random.key(0), 20_000)
  image = np.array([0.0, 0.2, 0.9, 1.0], np.float32).reshape(1, 2, 2, 1)
  drawn = augmentation.binarize(np.repeat(image, len(keys), axis=0), keys)
  assert set(np.unique(drawn)) == {0.0, 1.0}
  np.testing.assert_allclose(drawn.mean(axis=0), image[0], atol=0.015)
  # Pixels are independent of each other.
  both = drawn[:, 0, 1, 0] * drawn[:, 1, 0, 0]
  np.testing.assert_allclose(both.mean(), 0.2 * 0.9, atol=0.015)


def test_binarize_draws_the_target_after_it_is_augmented():
  system = tiny.build('autoencoder', binarize=True, **TARGET).system
  (phase,) = system.phases
  _, calls = run_phase(system, phase)
  (_, image), _ = calls
  rng = tiny.RNGS['image']
  expected = ALL(tiny.make_batch()['image'], rng)
  np.testing.assert_array_equal(image, augmentation.binarize(expected, rng))


def test_target_is_the_image_that_the_encoder_sees():
  system = tiny.build('autoencoder', **TARGET).system
  # It does not augment what is augmented already.
  assert system.networks['encoder'].augmentation == Augmentation()
  (phase,) = system.phases
  loss, calls = run_phase(system, phase)
  (_, image), (_, code) = calls
  target = ALL(tiny.make_batch()['image'], tiny.RNGS['image'])
  np.testing.assert_allclose(image, target, rtol=1e-5, atol=1e-6)
  state = tiny.random_state(system)
  apply, _ = train_step.bind(system.networks, state.params, {}, train=False)
  decoded = system.model.decode(apply, {'code': {'z': code}}, None)
  decoded = np.asarray(decoded)
  expected = 0.5 * np.sum((decoded - target) ** 2) / 8
  np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_target_of_a_vae():
  """The bound is that of augmented images."""
  system, plain = (tiny.build('vae', **x).system for x in (TARGET, {}))
  loss, _ = run_phase(system, system.phases[0])
  (phase,) = plain.phases
  assert loss == run_phase(plain, phases.seeing(ALL, phase))[0]
  assert loss != run_phase(plain, phase)[0]


def test_labelled_images_are_augmented_by_their_own_keys():
  system = tiny.build('semi_supervised_aae', **TARGET).system
  phase = next(x for x in system.phases if x.name == 'classification')
  _, ((_, image),) = run_phase(system, phase)
  batch = tiny.make_batch()
  expected = [ALL(batch[k], tiny.RNGS[k]) for k in ('labelled_image', 'image')]
  np.testing.assert_allclose(
    image, np.concatenate(expected), rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize(
  'options, radius, is_zero',
  [(OPTIONS, 0.0, False), (TARGET, 0.0, True), (TARGET, 1.0, False)],
)
def test_consistency_is_with_the_image_that_is_not_augmented(
  options, radius, is_zero
):
  """An augmentation of the encoder's is a move; the target's is another image.

  The latter is the same in all passes: without a move nothing diverges.
  """
  system = tiny.build(
    'clustering_aae',
    additions=('consistency',),
    **{'consistency.radius': radius, **options},
  ).system
  loss, _ = run_phase(system, system.phases[-1])
  assert (abs(loss) < 1e-6) == is_zero


@pytest.mark.parametrize(
  'name, options', [('autoencoder', TARGET), ('classifier', OPTIONS)]
)
def test_devices_change_nothing_but_rounding(name, options):
  states = [
    tiny.plain(
      tiny.system(
        name,
        num_devices,
        num_seeds=2,
        optimizer=tiny.SGD,
        **tiny.NOISY,
        **options,
      ).train(3)
    )
    for num_devices in (1, 2)
  ]
  chex.assert_trees_all_close(*states, rtol=1e-3, atol=1e-5)
