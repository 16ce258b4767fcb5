"""Tests of aae_jax.experiment: what a configuration may say and makes."""

import dataclasses
import functools
import itertools
import json
import re
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from aae_jax import (
  datasets,
  experiments,
  losses,
  measures,
  networks,
  phases,
  systems,
  trained,
  training,
)
from aae_jax.augmentation import Augmentation
from aae_jax.errors import InputError
from tests import tiny

DEVICES = len(jax.local_devices())


def build(name, **changes):
  """As a run builds it, for all devices."""
  config = tiny.make_config(name, **changes)
  return build_config(config)


def build_config(config):
  with mock.patch.object(datasets, 'load', return_value=tiny.DATASET):
    return experiments.build(config)


@pytest.mark.parametrize(
  'name, changes, message',
  [
    (
      'aae',
      {'prior.name': 'gausian'},
      "unknown prior 'gausian'; known: categorical, gaussian, "
      "gaussian_mixture, swiss_roll, uniform. Did you mean 'gaussian'?",
    ),
    (
      'aae',
      {'discriminator.batch_norm': True},
      'discriminator.batch_norm is True; expected False, for an '
      'adversary that normalizes its batches sticks at an accuracy of '
      '50 %.',
    ),
    (
      'aae',
      {'posterior.name': 'gaussain'},
      "unknown posterior 'gaussain'; known: deterministic, gaussian, "
      "universal_approximator. Did you mean 'gaussian'?",
    ),
    (
      'aae',
      {'optimizer': {'name': 'admm'}},
      "unknown optimizer.reconstruction 'admm'; known: adam, sgd. Did "
      "you mean 'adam'?",
    ),
    (
      'aae',
      {'schedule.name': 'liner'},
      "unknown schedule 'liner'; known: constant, cosine, "
      "exponential, linear, steps. Did you mean 'linear'?",
    ),
    (
      'aae',
      {'encoder.activation': 'rleu'},
      "unknown encoder.activation 'rleu'; known: leaky_relu, relu",
    ),
    (
      'aae',
      {'decoder.initializer': 'she'},
      "unknown decoder.initializer 'she'; known: he, normal",
    ),
    (
      'aae',
      {'decoder.output': 'tanh'},
      "unknown decoder.output 'tanh'; known: linear, sigmoid",
    ),
    (
      'aae',
      {'weights': {'regularization': {'z_weight': 2.0}}},
      "unknown phase in weights 'regularization'; known: "
      'discriminator, generator, reconstruction',
    ),
    (
      'aae',
      {'weights': {'generator': {'z_weight': -2.0}}},
      'weights.generator.z_weight is -2.0; expected a finite number of '
      'at least 0.',
    ),
    (
      'aae',
      {'weights': {'generator': {'y_weight': 2.0}}},
      "unknown weight of phase 'generator' 'y_weight'; known: z_weight",
    ),
    (
      'aae',
      {'weights': {'generator': {'learning_rate': 2.0}}},
      "unknown weight of phase 'generator' 'learning_rate'",
    ),
    (
      'aae',
      {'prior.std': 2.0},
      "prior.std=2.0 is given, but prior 'gaussian_mixture' takes "
      'num_modes, radial_std, radius, tangential_std.',
    ),
    (
      'aae',
      {'posterior.noise_size': 3},
      "posterior.noise_size=3 is given, but posterior 'deterministic' "
      'takes no options.',
    ),
    (
      'aae',
      {'optimizer': {'momentum': 0.5}},
      'optimizer.reconstruction.momentum=0.5 is given, but '
      "optimizer.reconstruction 'adam' takes b1, b2, clip_norm, eps, "
      'weight_decay.',
    ),
    (
      'aae',
      {'schedule.begin': 0.2},
      "schedule.begin=0.2 is given, but schedule 'constant' takes no options.",
    ),
    (
      'aae',
      {'optimizer': {'learning_rate': -0.1}},
      'optimizer.reconstruction.learning_rate is -0.1; expected a '
      'finite number of at least 0.',
    ),
    (
      'aae',
      {'optimizer': {'learning_rate': float('nan')}},
      'optimizer.reconstruction.learning_rate is nan; expected',
    ),
    (
      'aae',
      {'latent_size': 3},
      "prior 'gaussian_mixture' lies in the plane, but latent_size is "
      '3; expected latent_size=2.',
    ),
    (
      'semi_supervised_aae',
      {'latent_size': 3, 'prior.name': 'swiss_roll'},
      "prior 'swiss_roll' lies in the plane, but latent_size is 3; "
      'expected latent_size=2.',
    ),
    (
      'label_regularized_aae',
      {'latent_size': 3},
      "prior 'gaussian_mixture' lies in the plane, but latent_size is "
      '3; expected latent_size=2.',
    ),
    (
      'vae',
      {'prior.name': 'swiss_roll'},
      "system 'vae' needs the density of its prior; prior "
      "'swiss_roll' can only be sampled.",
    ),
    (
      'label_regularized_aae',
      {'prior.name': 'gaussian'},
      "system 'label_regularized_aae' needs a prior with a place "
      "for each label; prior 'gaussian' has none. Known: "
      'gaussian_mixture, swiss_roll.',
    ),
    (
      'aae',
      {'prior.name': 'no_such_module:prior'},
      "prior 'no_such_module:prior' cannot be imported (No module "
      "named 'no_such_module'); expected 'module:function', or ",
    ),
    (
      'aae',
      {'prior.name': 'math:pi'},
      "prior 'math:pi' cannot be imported",
    ),
    ('aae', {'latent_size': 0}, 'latent_size is 0; expected at least 1.'),
    ('aae', {'batch_size': 0}, 'batch_size is 0; expected at least 1.'),
    (
      'aae',
      {'batch_size': 48},
      'batch_size is 48; expected at most the 44 training images of random.',
    ),
    (
      'aae',
      {'batch_size': DEVICES + 1},
      f'batch_size is {DEVICES + 1}; expected a multiple of the '
      f'{DEVICES} devices.',
    ),
    (
      'semi_supervised_aae',
      {'labelled_batch_size': DEVICES + 1},
      f'labelled_batch_size is {DEVICES + 1}; expected a multiple of '
      f'the {DEVICES} devices.',
    ),
    (
      'semi_supervised_aae',
      {'labelled_batch_size': 0},
      'labelled_batch_size is 0; expected at least 1.',
    ),
    (
      'semi_supervised_aae',
      {'labelled_batch_size': -DEVICES},
      f'labelled_batch_size is {-DEVICES}; expected at least 1.',
    ),
    *[
      (
        'semi_supervised_aae',
        {'num_labels': num_labels},
        f'num_labels={num_labels} {problem}; it must be a multiple '
        'of the 3 classes from 3 to 42, or -1 for all 44',
      )
      for num_labels, problem in (
        (0, 'is not from 1 to the 44 labelled images'),
        (45, 'is not from 1 to the 44 labelled images'),
        (7, 'cannot be shared out equally'),
      )
    ],
    (
      'clustering_aae',
      {'num_clusters': 0},
      'num_clusters is 0; expected at least 1.',
    ),
    *[
      (
        name,
        {'num_clusters': 45},
        'num_clusters is 45; expected at most the 44 training images '
        'of random.',
      )
      for name in (
        'clustering_aae',
        'dimensionality_reduction_clustering_aae',
      )
    ],
    ('aae', {'epochs': -1}, 'epochs is -1; expected at least 1.'),
    ('aae', {'num_seeds': 0}, 'num_seeds is 0; expected at least 1.'),
    ('aae', {'seed': -1}, 'seed is -1; expected at least 0'),
    (
      'aae',
      {'seed': 2**31 - 1, 'num_seeds': 2},
      f'seed is {2**31 - 1}; expected at least 0, and below 2^31',
    ),
    ('aae', {'ema_decay': 1.0}, 'ema_decay is 1.0; expected in [0, 1).'),
    (
      'aae',
      {'steps_per_call': 0},
      'steps_per_call is 0; expected at least 1, or -1 for a whole epoch.',
    ),
    (
      'aae',
      {'on_divergence': 'ignore'},
      'on_divergence is ignore; expected stop or continue.',
    ),
    (
      'aae',
      {'evaluate_every_epochs': 0},
      'evaluate_every_epochs is 0; expected at least 1.',
    ),
    (
      'aae',
      {'checkpoints_to_keep': 0},
      'checkpoints_to_keep is 0; expected at least 1.',
    ),
    (
      'aae',
      {'encoder.hidden': (8, 0)},
      'encoder.hidden is (8, 0); expected whole numbers above 0, such as '
      '(400, 400).',
    ),
    (
      'aae',
      {'decoder.hidden': (8, 'a')},
      "decoder.hidden is (8, 'a'); expected whole numbers above 0",
    ),
    (
      'aae',
      {'discriminator.noise': -0.5},
      'discriminator.noise is -0.5; expected at least 0.',
    ),
    (
      'aae',
      {'encoder.input_noise': -0.5},
      'encoder.input_noise is -0.5; expected at least 0.',
    ),
    (
      'aae',
      {'encoder.input_dropout': 1.0},
      'encoder.input_dropout is 1.0; expected in [0, 1).',
    ),
    *[
      (
        'aae',
        {f'encoder.augmentation.{key}': value},
        f'encoder.augmentation.{key} is {value}; expected {expected}.',
      )
      for key, value, expected in (
        ('shift', -1.0, 'a finite number of at least 0'),
        ('shift', float('inf'), 'a finite number of at least 0'),
        ('shift', float('nan'), 'a finite number of at least 0'),
        ('turn', -1.0, 'in [0, 180]'),
        ('turn', 181.0, 'in [0, 180]'),
        ('scale', -0.1, 'in [0, 1)'),
        ('scale', 1.0, 'in [0, 1)'),
      )
    ],
    (
      'classifier',
      {'encoder.augmentation.target': True},
      "encoder.augmentation.target is True, but system 'classifier' has no "
      'target; expected False.',
    ),
  ],
)
def test_bad_values(name, changes, message):
  with pytest.raises(InputError, match=f'^{re.escape(message)}'):
    build(name, **changes)


def test_unknown_system():
  config = tiny.make_config('aae')
  config.system = 'semisupervised_aae'
  with pytest.raises(
    InputError,
    match="^unknown system 'semisupervised_aae'; known: .*"
    "Did you mean 'semi_supervised_aae'",
  ):
    build_config(config)


def test_unknown_phase():
  config = tiny.make_config('aae')
  config.optimizer.clasification = config.optimizer.generator
  with pytest.raises(
    InputError,
    match="^unknown phase in optimizer 'clasification'; known: "
    'discriminator, generator, reconstruction',
  ):
    build_config(config)


def test_unknown_data_set(tmp_path):
  config = tiny.make_config('aae')
  config.dataset.name = 'minst'
  config.dataset.data_dir = str(tmp_path)
  with pytest.raises(InputError, match="'minst'.*mnist"):
    experiments.build(config)


def test_absent_manual_dir(tmp_path):
  config = tiny.make_config('aae')
  config.dataset.name = 'mnist'
  config.dataset.data_dir = str(tmp_path)
  config.dataset.manual_dir = str(tmp_path / 'absent')
  with pytest.raises(InputError, match='^manual_dir=.*/absent is not a folder'):
    experiments.build(config)


UNUSED = {
  'encoder.noise': (0.3, ['gan']),
  'encoder.augmentation.shift': (2.0, ['gan']),
  'encoder.augmentation.target': (True, ['gan']),
  'decoder.hidden': ((7,), ['classifier']),
  'discriminator.noise': (0.3, ['autoencoder', 'vae', 'classifier']),
  'discriminator_z.sees_label': (True, ['aae', 'label_regularized_aae']),
  'latent_size': (7, ['classifier']),
  'posterior.name': ('gaussian', ['vae', 'gan', 'autoencoder', 'classifier']),
  'posterior.noise_size': (3, ['vae', 'classifier']),
  'prior.name': ('swiss_roll', ['autoencoder', 'classifier']),
  'prior.std': (5.0, ['autoencoder', 'classifier']),
  'prior_y.balanced': (True, ['aae', 'supervised_aae']),
  'num_clusters': (7, ['aae', 'semi_supervised_aae']),
  'num_labels': (6, ['aae', 'supervised_aae', 'clustering_aae']),
  'labelled_batch_size': (4, ['aae', 'label_regularized_aae']),
}


@pytest.mark.parametrize('key', UNUSED)
def test_options_without_a_use_are_refused(key):
  value, names = UNUSED[key]
  for name in names:
    with pytest.raises(
      InputError,
      match=f"^{key} is .*, but system '{name}' has no use for it; expected ",
    ):
      build(name, **{key: value})


@pytest.mark.parametrize(
  'changes, message',
  [
    (
      {'encoder.momentum': 0.9},
      'encoder.momentum is 0.9, but there is no use for it without '
      'encoder.batch_norm.',
    ),
    (
      {'encoder.slope': 0.2},
      "encoder.activation.slope=0.2 is given, but encoder.activation 'relu' "
      'takes no options.',
    ),
    (
      {'encoder.momentum': 1.0, 'encoder.batch_norm': True},
      'encoder.momentum is 1.0; expected in [0, 1).',
    ),
  ],
)
def test_options_of_layers_without_a_use(changes, message):
  with pytest.raises(InputError, match=f'^{re.escape(message)}$'):
    build('aae', **changes)


def test_options_of_layers_reach_them():
  built = build(
    'aae',
    **{
      'encoder.batch_norm': True,
      'encoder.momentum': 0.5,
      'decoder.activation': 'leaky_relu',
      'decoder.slope': 0.3,
      'discriminator.noise': 0.7,
    },
  )
  layers = {
    name: network.trunk.layer(3)
    for name, network in built.system.networks.items()
  }
  assert layers['encoder'].momentum == 0.5 and layers['encoder'].batch_norm
  np.testing.assert_allclose(layers['decoder'].activation(-1.0), -0.3)
  assert layers['discriminator'].noise == 0.7


@pytest.mark.parametrize('of_target', [False, True])
def test_augmentation_is_the_encoders_or_that_of_all_phases(of_target):
  options = {'shift': 2.0, 'turn': 10.0, 'scale': 0.1}
  given = {f'encoder.augmentation.{key}': x for key, x in options.items()}
  with mock.patch.object(experiments.configuration, 'seeing') as seeing:
    # Marked, or else as it is.
    seeing.side_effect = lambda make, phase: dataclasses.replace(
      phase, noise=str(make)
    )
    system = build(
      'aae', **given, **{'encoder.augmentation.target': of_target}
    ).system
  expected = Augmentation(**options)
  found = system.networks['encoder'].augmentation
  assert found == (Augmentation() if of_target else expected)
  for phase in system.phases:
    assert (phase.noise == str(expected)) == of_target


def test_a_config_without_augmentation_has_none():
  """That of a run from before there was any."""
  config = tiny.make_config('aae')
  del config.encoder['augmentation']
  system = experiments.build_system(config, tiny.DATASET.schema)
  assert system.networks['encoder'].augmentation == Augmentation()


@pytest.mark.parametrize(
  'frequencies, expected',
  [
    ('uniform', [1 / 3] * 3),
    ('labelled', np.array([15, 15, 14]) / 44),
    ('0.9,0.05,0.05', [0.9, 0.05, 0.05]),
  ],
)
def test_frequencies_reach_the_prior_of_y(frequencies, expected):
  built = build(
    'semi_supervised_aae',
    num_labels=-1,
    **{'prior_y.frequencies': frequencies},
  )
  y = built.system.model.prior(None, {}, tiny.keys(20_000))['y']
  np.testing.assert_allclose(y.mean(axis=0), expected, atol=0.011)


def test_a_balanced_draw_has_equal_frequencies():
  built = build('semi_supervised_aae', **{'prior_y.frequencies': 'labelled'})
  frequencies = datasets.frequencies(built.schema, 6)
  assert frequencies == (1 / 3, 1 / 3, 1 / 3)


@pytest.mark.parametrize(
  'frequencies, message',
  [
    ('equal', "prior_y.frequencies is 'equal'; expected 'uniform', "),
    ('0.9,0.1', 'prior_y.frequencies is (0.9, 0.1); expected 3 numbers'),
  ],
)
def test_bad_frequencies(frequencies, message):
  with pytest.raises(InputError, match=f'^{re.escape(message)}'):
    build('semi_supervised_aae', **{'prior_y.frequencies': frequencies})


@pytest.mark.parametrize('name', tiny.NAMES)
def test_a_config_that_comes_from_a_file_builds(name):
  """JSON has no tuples."""
  config = json.loads(tiny.make_config(name).to_json())
  system = experiments.build_system(
    ml_collections.ConfigDict(config), tiny.DATASET.schema
  )
  assert system.phases


@pytest.mark.parametrize(
  'key, value',
  [
    ('consistency.radius', -1.0),
    ('consistency.begin', float('nan')),
    ('consistency.consistency_weight', float('inf')),
    ('marginal_entropy.marginal_weight', -0.5),
    ('marginal_entropy.conditional_weight', float('inf')),
  ],
)
def test_bad_hyperparameters_of_additions(key, value):
  with pytest.raises(InputError) as error:
    build(
      'clustering_aae',
      additions=('consistency', 'marginal_entropy'),
      **{key: value},
    )
  assert str(error.value) == (
    f'{key} is {value}; expected a finite number of at least 0.'
  )


def test_options_of_additions_that_are_not_there_are_refused():
  with pytest.raises(InputError) as error:
    build('semi_supervised_aae', **{'consistency.radius': 3.0})
  assert str(error.value).startswith(
    "consistency.radius is 3.0, but system 'semi_supervised_aae' has no use"
  )


def test_unknown_addition():
  with pytest.raises(
    InputError, match="^unknown addition 'classificaton'; known: class.*Did you"
  ):
    build('aae', additions=('classificaton',))


def test_data_without_labels():
  image, _ = tiny.DATASET.train
  dataset = dataclasses.replace(
    tiny.DATASET,
    train=tiny.DATASET.train._replace(label=None),
    num_classes=None,
  )
  with mock.patch.object(datasets, 'load', return_value=dataset):
    with pytest.raises(InputError, match='data set has none'):
      experiments.build(tiny.make_config('semi_supervised_aae'))
    data = tiny.data(experiments.build(tiny.make_config('aae')))
  np.testing.assert_array_equal(data.image, image)
  assert not data.is_labelled.any()


def takes(first, second=2):
  return first, second


def test_part_gets_its_options():
  part = experiments.build_part(
    'part',
    {'takes': takes},
    {'name': 'takes', 'second': 5, 'third': None},
    first=1,
  )
  assert part == (1, 5)


def test_part_keeps_its_defaults():
  options = {'name': 'takes', 'second': None}
  assert experiments.build_part('part', {'takes': takes}, options, first=1) == (
    1,
    2,
  )


def test_part_takes_no_option_that_is_given_already():
  with pytest.raises(InputError, match='^part.first=3 is given, but .*second'):
    experiments.build_part(
      'part', {'takes': takes}, {'name': 'takes', 'first': 3}, first=1
    )


@pytest.mark.parametrize(
  'options',
  [
    {'name': f'{__name__}:takes', 'second': 7},
    {'name': f'{__name__}:takes(second=7)'},
  ],
)
def test_part_may_be_imported_and_have_options(options):
  assert experiments.build_part('part', {}, options, first=1) == (1, 7)


@pytest.mark.parametrize(
  'call', ['takes(third=7)', 'takes(second=first)', 'takes(', 'absent()']
)
def test_part_that_cannot_be_imported(call):
  name = f'{__name__}:{call}'
  with pytest.raises(
    InputError, match=f"^part '{re.escape(name)}' cannot be imported"
  ):
    experiments.build_part('part', {}, {'name': name}, first=1)


def needs_more(encoder, decoder, colour):
  """A system that asks for what no configuration has."""


def test_a_builder_asks_for_what_there_is():
  config = tiny.make_config('autoencoder')
  config.system = f'{__name__}:needs_more'
  with pytest.raises(
    InputError, match="^unknown parameter of 'needs_more' 'colour'; known: "
  ):
    build_config(config)


def test_std_of_the_prior_reaches_the_samples():
  """Public code took the option and drew with a standard deviation of one."""

  def spread(std):
    model = build(
      'aae', latent_size=50, **{'prior.name': 'gaussian', 'prior.std': std}
    ).system.model
    return np.std(model.prior(None, {}, tiny.keys(200))['z'])

  np.testing.assert_allclose(spread(5.0), 5.0, rtol=0.05)
  np.testing.assert_allclose(spread(0.2), 0.2, rtol=0.05)


def test_noise_of_the_posterior_reaches_the_encoder():
  built = build(
    'aae',
    **{
      'posterior.name': 'universal_approximator',
      'posterior.noise_size': 7,
    },
  )
  kernels = built.abstract_state().params['encoder']['trunk']['Layer_0']
  pixels = np.prod(tiny.IMAGE_SHAPE)
  assert kernels['Dense_0']['kernel'].shape == (1, pixels + 7, 8)


@pytest.mark.parametrize('name', tiny.NAMES)
def test_every_weight_is_a_key(name):
  for phase in build(name).system.phases:
    config = tiny.make_config(name)
    keys = config.weights.get(phase.name, {})
    if name == 'vat':
      keys = config.consistency
    assert set(phase.hyperparams) <= {'learning_rate', *keys}


def test_rates_and_weights_reach_the_phases():
  built = build(
    'semi_supervised_aae',
    optimizer={'learning_rate': 0.25},
    weights={'generator': {'y_weight': 3.0}},
  )
  for phase in built.system.phases:
    weights = {'y_weight': 3.0, 'z_weight': 1.0}
    assert phase.hyperparams == {
      'learning_rate': 0.25,
      **(weights if phase.name == 'generator' else {}),
    }


@pytest.mark.parametrize('ema_decay', [0.0, 0.9])
def test_averages_are_kept_where_they_are_asked_for(ema_decay):
  state = build('aae', ema_decay=ema_decay).abstract_state()
  assert bool(state.ema) == bool(ema_decay)


def test_steps():
  built = build('aae', epochs=3)
  assert built.feed.steps_per_epoch == 5
  assert built.total_steps == 3 * 5


def given_labels(split):
  """The split of which every other image has lost its label."""
  label = np.where(np.arange(split.num_images) % 2, split.label, -1)
  return split._replace(label=label.astype(np.int32))


def test_given_labels_are_those_that_a_system_learns_from():
  dataset = dataclasses.replace(
    tiny.DATASET, train=given_labels(tiny.DATASET.train)
  )
  with mock.patch.object(datasets, 'load', return_value=dataset):
    config = tiny.make_config('semi_supervised_aae', num_labels=-1)
    [labelled] = experiments.build(config).labelled
    with pytest.raises(
      InputError, match='learns from all labels, but some .* random have none'
    ):
      experiments.build(tiny.make_config('supervised_aae'))
  np.testing.assert_array_equal(labelled, np.arange(1, 44, 2))


def test_labelled_draw_is_balanced_and_from_the_training_split():
  built = build('semi_supervised_aae', num_seeds=3)
  label = tiny.DATASET.train.label
  for draw in built.labelled:
    assert len(set(draw.tolist())) == 2 * tiny.NUM_CLASSES
    np.testing.assert_array_equal(np.bincount(label[draw]), [2, 2, 2])
  assert len({tuple(sorted(draw)) for draw in built.labelled.tolist()}) == 3
  data = tiny.data(built)
  np.testing.assert_array_equal(data.image, tiny.DATASET.train.image)
  np.testing.assert_array_equal(data.label, label)
  for draw, is_labelled in zip(
    data.order.labelled, data.is_labelled, strict=True
  ):
    np.testing.assert_array_equal(np.flatnonzero(is_labelled), np.sort(draw))


def test_all_labels():
  built = build('semi_supervised_aae', num_labels=-1, num_seeds=2)
  np.testing.assert_array_equal(built.labelled, [np.arange(44), np.arange(44)])


@pytest.fixture(scope='module')
def together():
  """Three seeds, and how they begin."""
  built = build('semi_supervised_aae', seed=6, num_seeds=3)
  return built, built.init()


def test_seed_is_the_same_alone_and_among_others(together):
  """Labels, first weights and order; seed 7 is the second of 6, 7 and 8."""
  together, ensemble = together
  alone = build('semi_supervised_aae', seed=7)
  assert together.spec.seeds == range(6, 9)
  np.testing.assert_array_equal(together.labelled[1], alone.labelled[0])
  single = alone.init()
  assert int(ensemble.step) == int(single.step) == 0
  second = jax.tree.map(lambda x: x[1:2], ensemble.replace(step=None))
  jax.tree.map(
    np.testing.assert_array_equal,
    tiny.plain(second),
    tiny.plain(single.replace(step=None)),
  )
  for (of_all, _), (of_one, _) in zip(
    itertools.islice(together.chunks(0), 2), alone.chunks(0), strict=False
  ):
    order = tiny.plain(of_all.order)
    [only] = tiny.plain(of_one.order.unlabelled)
    np.testing.assert_array_equal(order.unlabelled[1], only)
    assert (order.unlabelled[0] != only).any()
    [only] = tiny.plain(of_one.order.labelled)
    np.testing.assert_array_equal(order.labelled[1], only)


def test_seeds_begin_differently(together):
  _, state = together
  for leaf in jax.tree.leaves(state.params):
    first, second, _ = np.asarray(leaf)
    assert (first != second).any() or not first.any()  # The biases are zero.


def test_abstract_state_is_that_of_the_initial_one(together):
  built, state = together
  abstract = built.abstract_state()
  chex.assert_trees_all_equal_shapes_and_dtypes(state, abstract)
  for one, other in zip(
    jax.tree.leaves(state), jax.tree.leaves(abstract), strict=True
  ):
    assert one.sharding.is_equivalent_to(other.sharding, one.ndim)


def autoencoder(output='sigmoid'):
  """A system of networks, without a configuration."""
  trunk = networks.Perceptron((8,))
  return systems.autoencoder(
    functools.partial(networks.Encoder, trunk),
    lambda: networks.Decoder(trunk, tiny.IMAGE_SHAPE, output=output),
    latent_size=2,
  )


def train(system, dataset, num_devices=1, epochs=4):
  """The experiment, and the states after each call."""
  spec = experiments.Spec(system, batch_size=8, epochs=epochs, seeds=(3, 7))
  devices = jax.local_devices()[:num_devices]
  experiment = experiments.assemble(spec, dataset, devices=devices)
  states = []
  for state, agreed in training.steps(experiment, experiment.init()):
    assert agreed.num_steps == experiment.feed.steps_per_epoch
    states.append(tiny.plain(state))
  return experiment, states


def test_arrays_are_all_that_a_training_needs(tmp_path, monkeypatch):
  """No configuration, no file and no workdir."""
  monkeypatch.chdir(tmp_path)
  _, states = train(autoencoder(), tiny.DATASET)
  assert [state.step for state in states] == [5, 10, 15, 20]
  first, *_, last = (
    state.report['sums']['reconstruction/loss'] for state in states
  )
  assert first.shape == (2,) and (last < first).all()
  assert not [*tmp_path.iterdir()]


def test_a_loss_may_be_of_the_global_batch():
  """A phase of a user with a `pmean`, on one device and on four."""
  system = autoencoder()

  def distance(apply, batch, rng, hyper):
    code = system.model.encode(apply, batch, rng['image'])['z']
    # The square of a mean is not the mean of the devices' squares.
    return jnp.sum(jnp.square(losses.batch_mean(code) - 1)), {}

  rate = {'learning_rate': 0.1}
  phase = phases.Phase('centre', ('encoder',), distance, rate, optax.sgd(1.0))
  system = dataclasses.replace(system, phases=(*system.phases, phase))
  one, four = (
    train(system, tiny.DATASET, num_devices, epochs=2)[1][-1]
    for num_devices in (1, 4)
  )
  chex.assert_trees_all_close(one.params, four.params, atol=1e-4)
  chex.assert_trees_all_close(one.report, four.report, rtol=1e-3)


def test_what_is_stored_as_bytes_may_be_standardized():
  """Steps, numbers and codes are those of the same values stored as floats."""
  scaling = datasets.Scaling(offset=120.0, divisor=75.0)
  stored = dataclasses.replace(tiny.DATASET, scaling=scaling)
  split = lambda split: split._replace(image=scaling(split.image))
  floats = dataclasses.replace(
    tiny.DATASET, train=split(stored.train), test=split(stored.test)
  )
  found = []
  for dataset in (stored, floats):
    experiment, [*_, state] = train(autoencoder('linear'), dataset)
    evaluator = measures.Evaluator(experiment.system, experiment.schema)
    codes = experiment.trained(trained.newest(state)).run(
      experiment.system.model.encode, trained.rows(dataset.test)
    )
    found.append((state.params, codes, evaluator(state, dataset.test)))
  chex.assert_trees_all_close(*found, rtol=1e-3, atol=1e-4)
