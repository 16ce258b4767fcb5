"""Tests of aae_jax.systems."""

import functools

import chex
import jax
import numpy as np
import pytest
import tiny

from aae_jax import posteriors, train_state, train_step
from aae_jax.types import AXIS

NAMES = pytest.mark.parametrize('name', tiny.NAMES)
BATCH = tiny.make_batch()
RNGS = tiny.RNGS


@functools.cache
def record_calls(name, **changes):
  """Runs the losses: the calls (network, input, output) of each phase."""
  system = tiny.build(name, **changes).system
  state = tiny.random_state(system)
  apply, _ = train_step.bind(
    system.networks, state.params, state.batch_stats, train=True
  )

  def of_device():
    calls = {phase.name: [] for phase in system.phases}
    for phase in system.phases:

      def recording(name, *inputs, phase=phase, **options):
        output = apply(name, *inputs, **options)
        calls[phase.name].append((inputs, output))
        names[phase.name].append(name)
        return output

      hyper = {'step': state.step, **state.hyperparams[phase.name]}
      phase.loss_fn(recording, BATCH, RNGS, hyper)
    return calls

  names = {phase.name: [] for phase in system.phases}
  calls = jax.jit(jax.vmap(of_device, axis_name=AXIS, axis_size=1))()
  calls = jax.tree.map(lambda x: np.asarray(x[0]), calls)
  return {
    phase: [
      (name, inputs[0], output)
      for name, (inputs, output) in zip(names[phase], calls[phase], strict=True)
    ]
    for phase in calls
  }


@NAMES
def test_phases_train_networks_that_there_are(name):
  system = tiny.build(name).system
  phases = [phase.name for phase in system.phases]
  assert len(set(phases)) == len(phases)
  trained = {network for phase in system.phases for network in phase.trains}
  assert trained == system.networks.keys()


@NAMES
def test_noise_follows_the_example(name):
  """Examples on other devices, with their keys, make the same losses."""
  losses, state = tiny.losses(name), tiny.updates(name)[0].before
  order = np.array([3, 0, 7, 5, 1, 2, 6, 4])
  expected = losses(state, BATCH, RNGS)
  shuffled = [
    {key: value[order] for key, value in parts.items()}
    for parts in (BATCH, RNGS)
  ]
  chex.assert_trees_all_close(losses(state, *shuffled), expected, rtol=1e-4)
  other = train_state.phase_keys(jax.random.key(2), BATCH)
  for phase, loss in losses(state, BATCH, other).items():
    assert phase == 'separation' or loss != expected[phase]


@NAMES
def test_losses_do_not_depend_on_the_number_of_devices(name):
  """Noise follows the example and statistics are synchronized."""
  losses = tiny.losses(name)
  for phase, before, _, metrics, _ in tiny.updates(name):
    by_four = losses(before, BATCH, RNGS)[phase.name]
    alone = metrics[f'{phase.name}/loss']
    np.testing.assert_allclose(by_four, alone, rtol=1e-5)


@NAMES
def test_labels_that_may_not_be_used_are_not(name):
  """Whoever has fewer labels than images sees the labelled ones alone."""
  if name == 'supervised_aae':
    pytest.skip('is told every label')
  losses, state = tiny.losses(name), tiny.updates(name)[0].before
  label = np.where(BATCH['is_labelled'], BATCH['label'], 0)
  assert (label != BATCH['label']).any()
  chex.assert_trees_all_equal(
    losses(state, {**BATCH, 'label': label}, RNGS),
    losses(state, BATCH, RNGS),
  )


def test_label_flag_is_used():
  """Public code reads the label flag, and then uses every label."""
  name = 'label_regularized_aae'
  losses, state = tiny.losses(name), tiny.updates(name)[0].before
  found = losses(state, {**BATCH, 'is_labelled': np.arange(8) < 5}, RNGS)
  expected = losses(state, BATCH, RNGS)
  assert found['reconstruction'] == expected['reconstruction']
  assert found['discriminator'] != expected['discriminator']
  assert found['generator'] != expected['generator']


@NAMES
def test_no_discriminator_normalizes(name):
  """With batch normalization an adversary sticks at 50 %."""
  state = tiny.updates(name)[0].before
  normalized = state.params.keys() & {'encoder', 'decoder'}
  assert state.batch_stats.keys() == normalized


def softmax(x):
  return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)


def test_semi_supervised_decoder_gets_probabilities():
  calls = record_calls('semi_supervised_aae')
  (_, _, heads), (name, code, _) = calls['reconstruction']
  assert name == 'decoder'
  np.testing.assert_allclose(
    code,
    np.concatenate([softmax(heads['y']), heads['z']], axis=1),
    rtol=1e-4,
    atol=1e-6,
  )


def test_semi_supervised_adversaries_get_their_part():
  calls = record_calls('semi_supervised_aae')
  for phase, samples in (('discriminator', 2), ('generator', 1)):
    encoder, *adversaries = calls[phase]
    assert len(adversaries) == 2 * samples
    for name, sample, _ in adversaries:
      is_label = name == 'discriminator_y'
      assert sample.shape == (8, tiny.NUM_CLASSES if is_label else 2)
    # The last call to each sees the codes.
    seen = {name: sample for name, sample, _ in adversaries}
    np.testing.assert_allclose(
      seen['discriminator_y'], softmax(encoder[2]['y']), rtol=1e-5
    )
    np.testing.assert_array_equal(seen['discriminator_z'], encoder[2]['z'])


def test_label_regularized_adversary_gets_the_label():
  calls = record_calls('label_regularized_aae')
  given = np.where(BATCH['is_labelled'], BATCH['label'], tiny.NUM_CLASSES)
  expected = np.eye(tiny.NUM_CLASSES + 1)[given]
  samples = [
    sample
    for phase in ('discriminator', 'generator')
    for name, sample, _ in calls[phase]
    if name == 'discriminator'
  ]
  assert len(samples) == 3
  for sample in samples:
    np.testing.assert_array_equal(sample[:, 2:], expected)


def test_supervised_decoder_gets_the_label():
  _, (name, code, _) = record_calls('supervised_aae')['reconstruction']
  assert name == 'decoder'
  one_hot = np.eye(tiny.NUM_CLASSES)[BATCH['label']]
  np.testing.assert_array_equal(code[:, : tiny.NUM_CLASSES], one_hot)


@pytest.mark.parametrize(
  'name',
  ['dimensionality_reduction_aae', 'dimensionality_reduction_clustering_aae'],
)
def test_dimensionality_reduction_decodes_the_representation(name):
  calls = record_calls(name)['reconstruction']
  assert [call[0] for call in calls] == ['encoder', 'cluster_heads', 'decoder']
  heads = calls[0][2]
  state = tiny.random_state(tiny.build(name).system)
  matrix = state.params['cluster_heads']['heads']
  np.testing.assert_allclose(
    calls[2][1],
    softmax(heads['y']) @ matrix + heads['z'],
    rtol=1e-4,
    atol=1e-5,
  )


def test_gan_adversary_gets_clean_images_and_generated_ones():
  decoder, positive, negative = record_calls('gan')['discriminator']
  np.testing.assert_array_equal(positive[1], BATCH['image'])
  np.testing.assert_array_equal(negative[1], decoder[2])


@NAMES
def test_model_is_used_without_noise(name):
  """What a model gives follows from its arguments, and has the right shape."""
  system = tiny.build(name, **tiny.NOISY).system
  state = tiny.random_state(system)
  apply, _ = train_step.bind(
    system.networks, state.params, state.batch_stats, train=False
  )
  model, image = system.model, BATCH['image']
  for function in (model.classify, model.cluster):
    if function:
      probabilities = function(apply, image)
      np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
      np.testing.assert_array_equal(function(apply, image), probabilities)
  if model.prior:
    prior = model.prior(RNGS['image'], BATCH)
    assert model.sample(apply, RNGS['image'], BATCH).shape == image.shape
    sizes = {part: sample.shape[1] for part, sample in prior.items()}
    assert sizes == model.code_sizes
  if model.encode:
    code = model.encode(apply, image, None)
    assert all(code[part].shape[1] == model.code_sizes[part] for part in code)
    # Eight images at once are eight images one by one.
    first = model.encode(apply, image[:1], None)
    chex.assert_trees_all_close(
      first,
      {part: value[:1] for part, value in code.items()},
      rtol=1e-4,
      atol=1e-5,
    )


def test_parts_of_a_prior_are_independent():
  prior = tiny.build('semi_supervised_aae').system.model.prior
  sample = prior(tiny.keys(4000), {})
  both = np.concatenate([sample['y'], sample['z']], axis=1)
  correlation = np.corrcoef(both.T)[: tiny.NUM_CLASSES, -2:]
  assert np.abs(correlation).max() < 0.06


@pytest.mark.parametrize('posterior', sorted(posteriors.POSTERIORS))
@pytest.mark.parametrize(
  'name', ['aae', 'clustering_aae', 'semi_supervised_aae', 'supervised_aae']
)
def test_every_posterior_fits_the_systems_that_choose_one(name, posterior):
  experiment = tiny.build(name, **{'posterior.name': posterior})
  state = experiment.init()
  assert set(state.params) == set(experiment.system.networks)
