"""Tests of aae_jax.systems."""

import dataclasses
import functools
from unittest import mock

import chex
import jax
import numpy as np
import pytest
from scipy import stats
import tiny

from aae_jax import (
  datasets,
  errors,
  experiments,
  phases,
  posteriors,
  randomness,
  systems,
  train_state,
  train_step,
)
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
  names = [phase.name for phase in system.phases]
  assert len(set(names)) == len(names)
  trained = {network for phase in system.phases for network in phase.trains}
  # What a finish makes is not trained.
  assert system.networks.keys() - trained == {'svm'} & system.networks.keys()


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
    np.testing.assert_allclose(by_four, alone, rtol=1e-5, atol=1e-6)


@NAMES
def test_labels_that_may_not_be_used_are_not(name):
  """Whoever has fewer labels than images sees the labelled ones alone."""
  if name in ('supervised_aae', 'm2_supervised'):
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
  others = {'discriminator', 'discriminator_y', 'discriminator_z'}
  normalized = state.params.keys() - others - {'cluster_heads', 'svm'}
  if name == 'ladder':
    # Its decoder has no use for running statistics.
    normalized = {'encoder'}
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
  np.testing.assert_allclose(
    negative[1], 1 / (1 + np.exp(-decoder[2])), rtol=1e-5
  )


@NAMES
def test_model_is_used_without_noise(name):
  """What a model gives follows from its arguments, and has the right shape."""
  system = tiny.build(name, **tiny.NOISY).system
  state = tiny.random_state(system)
  apply, _ = train_step.bind(
    system.networks, state.params, state.batch_stats, train=False
  )
  model, rng = system.model, RNGS['image']
  for function in (model.classify, model.cluster):
    if function:
      probabilities = function(apply, BATCH, None)
      np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
      again = function(apply, BATCH, None)
      np.testing.assert_array_equal(again, probabilities)
  if model.prior:
    prior = model.prior(apply, BATCH, rng)
    assert model.sample(apply, BATCH, rng).shape == BATCH['image'].shape
    sizes = {part: sample.shape[1] for part, sample in prior.items()}
    assert sizes == model.code_sizes
  if model.encode:
    code = model.code(apply, BATCH, None)
    assert {k: x.shape[1] for k, x in code.items()} == model.code_sizes
    # Eight images at once are eight images one by one.
    first = model.code(apply, {k: x[:1] for k, x in BATCH.items()}, None)
    chex.assert_trees_all_close(
      first,
      {part: value[:1] for part, value in code.items()},
      rtol=1e-4,
      atol=1e-5,
    )


def test_parts_of_a_prior_are_independent():
  prior = tiny.build('semi_supervised_aae').system.model.prior
  sample = prior(None, {}, tiny.keys(4000))
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


@functools.cache
def all_noises(name):
  """Every draw of a step: (phase, array [B, n]), with noise wherever it is."""
  system = tiny.build(
    name,
    **tiny.NOISY,
    **{
      'encoder.noise': 0.3,
      'discriminator.noise': 0.3,
      'encoder.input_dropout': 0.2,
      'encoder.augmentation.shift': 1.0,
      'posterior.name': 'gaussian',
      # Equal widths: the same keys would make the same array.
      'latent_size': 8,
      'prior.name': 'gaussian',
    },
  ).system
  state = tiny.random_state(system)
  drawn = []

  def recorded(sampler):
    def draw(keys, *arguments):
      sample = sampler(keys, *arguments)
      drawn.append(sample.reshape(len(keys), -1))
      return sample

    return draw

  def of_device(state):
    with mock.patch.multiple(
      randomness,
      normal=recorded(randomness.normal),
      noise=recorded(randomness.noise),
      uniform=recorded(randomness.uniform),
    ):
      train_step.make_train_step(system)(state, tiny.make_batch())
    return list(drawn)

  one = jax.vmap(of_device, None, axis_name=AXIS, axis_size=1)
  return [np.asarray(x[0]) for x in jax.jit(one)(state)]


def test_noises_of_a_step_are_independent():
  """No two places draw one array: not two networks, two passes, two phases.

  But for the posterior sample, the same in both phases of the adversary.
  """
  noises = [x for x in all_noises('semi_supervised_aae') if x.shape[1] > 1]
  rows = {}
  for index, noise in enumerate(noises):
    for row in noise:
      # The same bits in a wider array would begin alike.
      rows.setdefault(row[:2].tobytes(), set()).add(index)
  shared = {places for places in map(tuple, rows.values()) if len(places) > 1}
  # Augmentation, dropout, three noises of the encoder's and one of the code.
  assert len(shared) == 6
  for first, second in shared:
    assert noises[first].shape == noises[second].shape


@pytest.mark.parametrize(
  'options',
  [
    {},
    {'encoder.augmentation.turn': 9.0},
    {'encoder.augmentation.turn': 9.0, 'encoder.augmentation.target': True},
  ],
)
def test_one_pass_of_the_encoder_serves_both_phases_of_the_adversary(options):
  """As the compiler finds, since both have the same parameters and noise."""
  system = tiny.build('aae', **options).system
  state = tiny.random_state(system)
  products = []
  for some in (system.phases[1:], system.phases[1:2], system.phases[2:]):
    part = dataclasses.replace(system, phases=some)
    step = train_step.make_train_step(part)
    one = jax.vmap(
      lambda state, step=step: step(state, tiny.make_batch()).params,
      None,
      axis_name=AXIS,
      axis_size=1,
    )
    names = {phase.name for phase in some}
    report = {
      kind: {k: v for k, v in x.items() if k.split('/')[0] in names}
      for kind, x in state.report.items()
    }
    text = jax.jit(one).lower(state.replace(report=report)).compile().as_text()
    products.append(text.count(' dot('))
  both, *apart = products
  # Two hidden layers and the head.
  assert both == sum(apart) - 3


def test_adversary_of_z_may_see_y():
  """Beside either sample, and without a gradient through it."""
  calls = record_calls(
    'semi_supervised_aae', **{'discriminator_z.sees_label': True}
  )
  for phase, samples in (('discriminator', 2), ('generator', 1)):
    (_, _, heads), *adversaries = calls[phase]
    seen = [x for name, x, _ in adversaries if name == 'discriminator_z']
    assert len(seen) == samples
    for sample in seen:
      np.testing.assert_allclose(sample[:, 2:], softmax(heads['y']), rtol=1e-5)
    np.testing.assert_array_equal(seen[-1][:, :2], heads['z'])


@pytest.mark.parametrize('sees_label', [False, True])
def test_no_gradient_goes_through_the_y_that_is_seen(sees_label):
  built = tiny.build(
    'clustering_aae', **{'discriminator_z.sees_label': sees_label}
  )
  generator = built.system.phases[2]
  state = tiny.random_state(built.system)

  def loss(params):
    apply, _ = train_step.bind(
      built.system.networks, {**state.params, **params}, {}, train=True
    )
    hyper = {'y_weight': 0.0, 'z_weight': 1.0}
    return generator.loss_fn(apply, BATCH, RNGS, hyper)[0]

  gradient = jax.grad(loss)({'encoder': state.params['encoder']})['encoder']
  np.testing.assert_array_equal(gradient['y']['kernel'], 0)
  assert np.abs(gradient['z']['kernel']).max() > 0


def test_supervised_adversary_may_see_the_label():
  calls = record_calls('supervised_aae', **{'discriminator_z.sees_label': True})
  one_hot = np.eye(tiny.NUM_CLASSES)[BATCH['label']]
  seen = [
    sample
    for phase in ('discriminator', 'generator')
    for name, sample, _ in calls[phase]
    if name == 'discriminator'
  ]
  assert len(seen) == 3
  for sample in seen:
    np.testing.assert_array_equal(sample[:, 2:], one_hot)


@pytest.mark.parametrize('output', ['sigmoid', 'linear'])
def test_bound_is_of_the_likelihood_that_the_output_names(output):
  system = tiny.build('vae', **{'decoder.output': output}).system
  state = tiny.random_state(system)
  apply, _ = train_step.bind(system.networks, state.params, {}, train=False)
  likelihood, divergence = system.model.bound(apply, BATCH, RNGS['image'])
  z = system.model.infer(apply, BATCH, None)['z'].draw(
    randomness.named(RNGS['image'], 'z')
  )
  code = {'code': {'z': z}}
  mean = np.asarray(system.model.decode(apply, code, None), np.float64)
  image = np.asarray(BATCH['image'], np.float64)
  if output == 'sigmoid':
    expected = image * np.log(mean) + (1 - image) * np.log1p(-mean)
  else:
    expected = stats.norm.logpdf(image, mean)
  np.testing.assert_allclose(
    likelihood, expected.sum(axis=(1, 2, 3)), rtol=1e-4
  )
  weight = system.model.log_weight(apply, BATCH, RNGS['image'])
  # The mixture's divergence is estimated at the same draw.
  np.testing.assert_allclose(weight, likelihood - divergence, rtol=1e-4)


def test_classification_is_an_addition():
  """To clusters, whose y has an entry for each class."""
  base = tiny.build('clustering_aae', num_clusters=tiny.NUM_CLASSES)
  added = tiny.build(
    'clustering_aae',
    num_clusters=tiny.NUM_CLASSES,
    additions=('classification',),
    num_labels=6,
  )
  names = [phase.name for phase in base.system.phases]
  assert [p.name for p in added.system.phases] == [*names, 'classification']
  assert added.labelled.shape == (1, 6) and not base.labelled.size
  assert added.feed.labelled_batch_size == 100
  assert added.system.model.classify and not base.system.model.classify


@pytest.mark.parametrize(
  'name, entries', [('aae', 0), ('clustering_aae', 4), ('gan', 0)]
)
def test_classification_needs_a_y_of_the_classes(name, entries):
  with pytest.raises(errors.InputError) as error:
    tiny.build(name, additions=('classification',))
  assert str(error.value) == (
    "addition 'classification' is for a system whose encoder gives y an entry "
    f'for each of the 3 classes; this one gives {entries}.'
  )


OF_Y = ('consistency', 'marginal_entropy')


@pytest.mark.parametrize(
  'name',
  [
    'semi_supervised_aae',
    'dimensionality_reduction_aae',
    'clustering_aae',
    'dimensionality_reduction_clustering_aae',
  ],
)
def test_losses_of_y_are_one_phase(name):
  """A phase of its own would take steps of full size."""
  base = tiny.build(name).system
  added = tiny.build(name, additions=OF_Y).system
  of_y = [phase for phase in base.phases if phase.name == 'classification']
  others = [phase for phase in base.phases if phase not in of_y]
  *found, last = added.phases
  assert [p.name for p in found] == [p.name for p in others]
  assert last.name == ('classification' if of_y else 'consistency')
  assert last.trains == ('encoder',)
  assert added.labels == base.labels
  weights = {'consistency_weight', 'radius', 'begin', 'marginal_weight'}
  assert last.hyperparams.keys() == {
    *weights,
    'conditional_weight',
    'learning_rate',
  }


def test_losses_of_y_have_the_configuration_s_weights():
  config = {
    'consistency.radius': 3.0,
    'consistency.begin': 1.5,
    'consistency.consistency_weight': 0.25,
    'marginal_entropy.marginal_weight': 4.0,
    'marginal_entropy.conditional_weight': 0.5,
  }
  system = tiny.build('clustering_aae', additions=OF_Y, **config).system
  found = dict(system.phases[-1].hyperparams)
  assert found.pop('learning_rate') == 1e-3
  assert found == {
    'radius': 3.0,
    # Five steps an epoch, of eight out of 44 images.
    'begin': 7.5,
    'consistency_weight': 0.25,
    'marginal_weight': 4.0,
    'conditional_weight': 0.5,
  }


def test_losses_of_y_do_not_depend_on_the_number_of_devices():
  noisy = tiny.NOISY | {'encoder.noise': 0.3}
  system = tiny.build('semi_supervised_aae', additions=OF_Y, **noisy).system
  state, phase = tiny.random_state(system), system.phases[-1]

  def of_device(batch, rngs):
    def loss(params):
      apply, _ = train_step.bind(
        system.networks,
        {**state.params, **params},
        state.batch_stats,
        train=True,
      )
      hyper = {'step': state.step, **state.hyperparams[phase.name]}
      return phase.loss_fn(apply, batch, rngs, hyper)[0]

    trained = {'encoder': state.params['encoder']}
    return jax.lax.pmean(jax.value_and_grad(loss)(trained), AXIS)

  by_devices = [
    jax.tree.map(
      lambda x: x[0],
      jax.jit(jax.vmap(of_device, axis_name=AXIS))(
        tiny.split(BATCH, devices), tiny.split(RNGS, devices)
      ),
    )
    for devices in (1, 4)
  ]
  (_, gradients), _ = by_devices
  assert np.abs(gradients['encoder']['y']['kernel']).max() > 1e-4
  chex.assert_trees_all_close(*by_devices, rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize('addition', OF_Y)
@pytest.mark.parametrize('name', ['aae', 'gan', 'supervised_aae', 'vae'])
def test_losses_of_y_need_a_y(name, addition):
  with pytest.raises(errors.InputError) as error:
    tiny.build(name, additions=(addition,))
  assert str(error.value) == (
    f'addition {addition!r} is for a system whose encoder gives y; this one '
    'gives none.'
  )


def test_marginal_entropy_needs_a_prior_of_every_y():
  with pytest.raises(errors.InputError) as error:
    tiny.build(
      'semi_supervised_aae',
      additions=('marginal_entropy',),
      **{'prior_y.frequencies': '0.5,0.5,0'},
    )
  assert str(error.value) == (
    "addition 'marginal_entropy' needs a prior of every y; prior_y has one of "
    'frequency 0.'
  )


def test_an_addition_of_losses_of_y_joins_those_that_came_before():
  """In whatever order they are named."""
  system = tiny.build(
    'clustering_aae',
    num_clusters=tiny.NUM_CLASSES,
    num_labels=6,
    labelled_batch_size=8,
    additions=('marginal_entropy', 'classification'),
  ).system
  assert system.phases[-1].name == 'marginal_entropy'
  calls = []
  apply, _ = train_step.bind(
    system.networks, tiny.random_state(system).params, {}, train=True
  )

  def loss(_):
    found = system.phases[-1].loss_fn(
      apply, BATCH, RNGS, system.phases[-1].hyperparams
    )
    calls.append(found[1].keys())
    return found[0]

  jax.vmap(loss, axis_name=AXIS)(np.zeros(1))
  assert calls == [
    {'marginal_divergence', 'conditional_entropy', 'error', 'classification'}
  ]


def two_encoders(encoder, decoder, latent_size):
  """A system of a user: the mean of two encoders' codes is decoded."""
  posterior = posteriors.deterministic(latent_size)
  encoders = ('encoder', 'second_encoder')
  encodes = [posteriors.encode(network, z=posterior) for network in encoders]
  base = systems.autoencoder(encoder, decoder, latent_size)
  heads = posteriors.head_sizes(z=posterior)

  def code(apply, batch, rng):
    first, second = (each(apply, batch, rng) for each in encodes)
    return {'z': (first['z'] + second['z']) / 2}

  return dataclasses.replace(
    base,
    networks={**base.networks, 'second_encoder': encoder(heads)},
    phases=(
      phases.reconstruction(code, base.model.decode, (*encoders, 'decoder')),
    ),
  )


def test_a_system_can_have_two_encoders():
  config = tiny.make_config('autoencoder')
  config.system = f'{__name__}:two_encoders'
  with mock.patch.object(datasets, 'load', return_value=tiny.DATASET):
    built = experiments.build(config)
  system = built.system
  state = jax.eval_shape(built.init)
  assert state.params.keys() == {'encoder', 'second_encoder', 'decoder'}
  one = jax.vmap(
    lambda state: (
      train_step.make_train_step(system)(state, tiny.make_batch()).params
    ),
    None,
    axis_name=AXIS,
    axis_size=1,
  )
  before = tiny.random_state(system)
  after = jax.jit(one)(before)
  for network in before.params:
    kernel = lambda params, n=network: params[n]['trunk']['Layer_0']['Dense_0'][
      'kernel'
    ]
    assert not np.array_equal(kernel(after)[0], kernel(before.params))
