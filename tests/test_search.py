"""Tests of searches: their settings, their runs, and which one is the best."""

import dataclasses
import json
import math
from unittest import mock

import jax
import ml_collections
import numpy as np
import pytest

from aae_jax import experiments, measures, recipes, search, systems
from aae_jax.errors import InputError
from aae_jax.metrics import summarize
from aae_jax.train_step import Request
from tests import tiny

DATASET = dataclasses.replace(tiny.DATASET, validation=tiny.make_split(9, 3))
Y_WEIGHT = {'search.generator.y_weight': (1.0, 30.0)}


def build(name, dataset=DATASET, **changes):
  with mock.patch.object(tiny, 'DATASET', dataset):
    return tiny.build(name, **changes)


def settings_of(name, **changes):
  config = tiny.make_config(name, **changes)
  return experiments.build_settings(config, tiny.DATASET.schema)


def by_setting(built, tree):
  """The parts [S, ...] of arrays [R, ...]."""
  return [
    jax.tree.map(lambda x, runs=runs: x[runs], tree)
    for runs in built.spec.places
  ]


def test_without_a_search_there_is_one_setting():
  built = build('semi_supervised_aae', num_seeds=2, seed=4)
  [setting] = built.spec.settings
  assert setting.values == {} and setting.name == '' and not built.spec.searches
  assert setting.hyperparams == {
    phase.name: phase.hyperparams for phase in built.system.phases
  }
  assert built.spec.runs == ['seed 4', 'seed 5']


def test_several_keys_give_their_product():
  settings = settings_of(
    'semi_supervised_aae',
    **{
      'search.generator.y_weight': (1.0, 3.0, 10.0),
      'search.discriminator.learning_rate': (1e-4, 1e-3),
    },
  )
  expected = [
    (1e-4, 1),
    (1e-4, 3),
    (1e-4, 10),
    (1e-3, 1),
    (1e-3, 3),
    (1e-3, 10),
  ]
  assert [tuple(s.values.values()) for s in settings] == expected
  for setting, (rate, weight) in zip(settings, expected, strict=True):
    assert setting.hyperparams['discriminator'] == {'learning_rate': rate}
    assert setting.hyperparams['generator'] == {
      'learning_rate': 1e-3,
      'y_weight': weight,
      'z_weight': 1.0,
    }
  assert settings[1].name == (
    'discriminator.learning_rate=0.0001,generator.y_weight=3.0'
  )


def test_runs_are_all_seeds_of_each_setting():
  built = build('semi_supervised_aae', num_seeds=2, seed=4, **Y_WEIGHT)
  assert built.spec.runs == [
    'generator.y_weight=1.0, seed 4',
    'generator.y_weight=1.0, seed 5',
    'generator.y_weight=30.0, seed 4',
    'generator.y_weight=30.0, seed 5',
  ]
  weights = built.init().hyperparams['generator']
  np.testing.assert_array_equal(weights['y_weight'], [1, 1, 30, 30])
  np.testing.assert_array_equal(weights['z_weight'], [1, 1, 1, 1])


def test_settings_begin_and_draw_alike():
  built = build('semi_supervised_aae', num_seeds=2, **Y_WEIGHT)
  state = built.init()
  parts = state.params, state.batch_stats, state.rng, built.spec.keys()
  data = tiny.data(built)
  one, other = by_setting(
    built, tiny.plain((parts, data.order, data.is_labelled))
  )
  jax.tree.map(np.testing.assert_array_equal, one, other)
  alone = build('semi_supervised_aae', num_seeds=2)
  jax.tree.map(
    np.testing.assert_array_equal,
    one[0],
    tiny.plain(
      (
        *(getattr(alone.init(), k) for k in ('params', 'batch_stats', 'rng')),
        alone.spec.keys(),
      )
    ),
  )
  order, is_labelled = one[1:]
  expected = tiny.plain(tiny.data(alone).order)
  jax.tree.map(np.testing.assert_array_equal, order, expected)
  # And the seeds do not.
  assert (is_labelled[0] != is_labelled[1]).any()


def test_a_setting_is_the_run_that_has_its_weight():
  built = build('semi_supervised_aae', num_seeds=2, **Y_WEIGHT)
  state, _ = built.run()(built.init(), tiny.data(built), Request(7))
  for index, weight in enumerate((1.0, 30.0)):
    _, part = built.at_setting(index, state)
    alone = build(
      'semi_supervised_aae',
      num_seeds=2,
      weights={'generator': {'y_weight': weight}},
    )
    expected, _ = alone.run()(alone.init(), tiny.data(alone), Request(7))
    assert int(part.step) == 7
    jax.tree.map(
      lambda one, other: np.testing.assert_allclose(
        one, other, rtol=1e-3, atol=1e-4
      ),
      tiny.plain(part.replace(opt_state={})),
      tiny.plain(expected.replace(opt_state={})),
    )
  one, other = by_setting(built, tiny.plain(state.params))
  kernels = (x['encoder']['trunk']['Layer_0']['Dense_0'] for x in (one, other))
  one, other = (
    np.concatenate([x.ravel() for x in k.values()]) for k in kernels
  )
  assert abs(one - other).max() > 1e-3


def test_a_setting_is_an_experiment_of_its_own():
  built = build('semi_supervised_aae', num_seeds=2, **Y_WEIGHT)
  chosen, state = built.at_setting(1, built.init())
  assert chosen.spec.runs == [
    'generator.y_weight=30.0, seed 0',
    'generator.y_weight=30.0, seed 1',
  ]
  expected, abstract = (
    jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    for tree in (state, chosen.abstract_state())
  )
  assert expected == abstract
  np.testing.assert_array_equal(
    state.hyperparams['generator']['y_weight'], [30, 30]
  )


ADDED = ('classification', 'consistency', 'marginal_entropy')


@pytest.mark.parametrize('name', tiny.NAMES)
def test_every_rate_and_weight_of_a_system_can_be_searched(name):
  [base] = tiny.build(name).spec.settings
  for phase, hyperparams in base.hyperparams.items():
    for key in hyperparams:
      changed = {f'search.{phase}.{key}': (0.25,)}
      [setting] = settings_of(name, **changed)
      assert setting.values == {f'{phase}.{key}': 0.25}
      expected = {**base.hyperparams[phase], key: 0.25}
      assert setting.hyperparams == {**base.hyperparams, phase: expected}


@pytest.mark.parametrize(
  'key, values, hyperparam, expected',
  [
    ('consistency.radius', (1.0, 3.0), 'radius', [1.0, 3.0]),
    # In steps.
    ('consistency.begin', (1.0, 2.0), 'begin', [5.0, 10.0]),
    ('marginal_entropy.marginal_weight', (0.5,), 'marginal_weight', [0.5]),
  ],
)
def test_additions_can_be_searched(key, values, hyperparam, expected):
  """Although their losses are in a phase of another name."""
  settings = settings_of(
    'semi_supervised_aae',
    additions=('consistency', 'marginal_entropy'),
    **{f'search.{key}': values},
  )
  assert [
    setting.hyperparams['classification'][hyperparam] for setting in settings
  ] == expected


def test_every_addition_with_numbers_has_its_keys():
  config = recipes.defaults()
  for name in systems.ADDITIONS:
    assert name in config.search
    assert set(config.get(name, {})) < set(config.search[name])


def test_a_search_from_a_file_is_the_same():
  """JSON has no tuples; and older files have no search."""
  config = tiny.make_config('semi_supervised_aae', **Y_WEIGHT)
  content = json.loads(config.to_json())
  assert experiments.build_settings(
    ml_collections.ConfigDict(content), tiny.DATASET.schema
  ) == experiments.build_settings(config, tiny.DATASET.schema)
  del content['search']
  older = experiments.build_settings(
    ml_collections.ConfigDict(content), tiny.DATASET.schema
  )
  assert [setting.values for setting in older] == []


def test_settings_leave_the_configuration_alone():
  config = tiny.make_config('semi_supervised_aae', **Y_WEIGHT).lock()
  before = config.to_json()
  experiments.build_settings(config, tiny.DATASET.schema)
  assert config.to_json() == before and config.is_locked


def with_section(section, **values):
  """A search that a configuration file has added."""
  return {'search': {section: values}}


@pytest.mark.parametrize(
  'changes, message',
  [
    (
      {'search.generator.y_weight': ()},
      'search.generator.y_weight is (); expected numbers, such as (1.0, 3.0).',
    ),
    (
      {'search.generator.y_weight': (1.0, 'a')},
      "search.generator.y_weight is (1.0, 'a'); expected numbers, such as "
      '(1.0, 3.0).',
    ),
    (
      {'search.generator.y_weight': (1.0, -3.0)},
      'search, generator.y_weight=-3.0: weights.generator.y_weight is -3.0; '
      'expected a finite number of at least 0.',
    ),
    (
      {'search.generator.y_weight': (1.0, math.inf)},
      'search, generator.y_weight=inf: weights.generator.y_weight is inf; '
      'expected a finite number of at least 0.',
    ),
    (
      {'search.generator.learning_rate': (math.nan,)},
      'search, generator.learning_rate=nan: optimizer.generator.learning_rate '
      'is nan; expected a finite number of at least 0.',
    ),
    (
      {'search.generator.y_weight': (1.0, 3.0, 1)},
      'search: generator.y_weight=1.0 and generator.y_weight=1.0 are the same '
      'rates and weights; expected different ones.',
    ),
    (
      # As float32.
      {'search.generator.y_weight': (1.0, 1.00000001)},
      'search: generator.y_weight=1.0 and generator.y_weight=1.00000001 are '
      'the same rates and weights; expected different ones.',
    ),
    (
      {'search.elbo.divergence_weight': (1.0, 3.0)},
      "search, elbo.divergence_weight=1.0: unknown phase in weights 'elbo'; "
      'known: classification, discriminator, generator, reconstruction.',
    ),
    (
      {'search.elbo.learning_rate': (1.0, 3.0)},
      "search, elbo.learning_rate=1.0: unknown phase in optimizer 'elbo'; "
      'known: classification, discriminator, generator, reconstruction.',
    ),
    (
      {'search.generator.image_weight': (1.0, 3.0)},
      'search, generator.image_weight=1.0: unknown weight of phase '
      "'generator' 'image_weight'; known: y_weight, z_weight.",
    ),
    (
      {'search.consistency.radius': (1.0, 3.0)},
      'search, consistency.radius=1.0: consistency.radius is 1.0, but system '
      "'semi_supervised_aae' has no use for it; expected 2.0.",
    ),
    (
      with_section('generatr', y_weight=(1.0, 3.0)),
      "search, generatr.y_weight=1.0: unknown phase in weights 'generatr'; "
      'known: classification, discriminator, generator, reconstruction. Did '
      "you mean 'generator'?",
    ),
    (
      with_section('consistency', radios=(1.0, 3.0)),
      "search, consistency.radios=1.0: unknown key in consistency 'radios'; "
      'known: begin, consistency_weight, difference, radius. Did you mean',
    ),
  ],
)
def test_mistakes_are_named_in_a_line(changes, message):
  with pytest.raises(InputError) as raised:
    build('semi_supervised_aae', **changes)
  assert str(raised.value).startswith(message)
  assert '\n' not in str(raised.value)


def test_a_search_needs_validation_images():
  with pytest.raises(InputError) as raised:
    build('semi_supervised_aae', dataset=tiny.DATASET, **Y_WEIGHT)
  assert str(raised.value) == (
    'search needs images that choose the best setting, but '
    'dataset.num_validation is 0; expected at least 1, for the test images '
    'choose nothing.'
  )


MEASURES = {
  'aae': 'parzen_log_likelihood',
  'adgm': 'classification_error',
  'autoencoder': 'reconstruction_error',
  'catgan': 'classification_error',
  'classifier': 'classification_error',
  'clustering_aae': 'clustering_error',
  'dimensionality_reduction_aae': 'classification_error',
  'dimensionality_reduction_clustering_aae': 'clustering_error',
  'gan': 'parzen_log_likelihood',
  'label_regularized_aae': 'parzen_log_likelihood',
  'ladder': 'classification_error',
  'm1_m2': 'classification_error',
  'm1_tsvm': 'classification_error',
  'm2': 'classification_error',
  'm2_supervised': 'classification_error',
  'sdgm': 'classification_error',
  'semi_supervised_aae': 'classification_error',
  'supervised_aae': 'parzen_log_likelihood',
  'vae': 'elbo',
  'vat': 'classification_error',
}


@pytest.mark.parametrize('name', tiny.NAMES)
def test_what_settings_are_compared_by(name):
  assert search.measure(build(name)) == MEASURES[name]


def test_without_labels_no_label_chooses():
  unlabelled = dataclasses.replace(DATASET, num_classes=None)
  built = dataclasses.replace(build('clustering_aae'), dataset=unlabelled)
  assert search.measure(built) == 'parzen_log_likelihood'


def test_nothing_to_compare_settings_by():
  built = build('autoencoder')
  model = systems.Model({'z': 2}, encode=built.system.model.encode)
  system = dataclasses.replace(built.system, model=model)
  spec = dataclasses.replace(built.spec, system=system)
  with pytest.raises(
    InputError, match='^search cannot tell which setting of this system is the'
  ):
    search.measure(dataclasses.replace(built, spec=spec))


def summaries(key, *settings):
  """Summaries of a number of as many settings; NaN is of a seed diverged."""
  return [
    summarize({key: np.array(values)}, np.isfinite(values))
    for values in settings
  ]


NAN = math.nan


@pytest.mark.parametrize(
  'name, changes, values, expected',
  [
    # The least error by the mean, not by the luckiest seed.
    ('semi_supervised_aae', Y_WEIGHT, ([5, 9], [6, 7]), 1),
    ('semi_supervised_aae', Y_WEIGHT, ([6, 7], [5, 9]), 0),
    # The first of equals.
    ('semi_supervised_aae', Y_WEIGHT, ([6, 7], [7, 6]), 0),
    # One that diverges is no good, however small its error.
    ('semi_supervised_aae', Y_WEIGHT, ([1, NAN], [6, 7]), 1),
    ('semi_supervised_aae', Y_WEIGHT, ([NAN, NAN], [NAN, 7]), 1),
    ('semi_supervised_aae', Y_WEIGHT, ([NAN, NAN], [NAN, NAN]), 0),
    # The greatest bound.
    (
      'vae',
      {'search.elbo.divergence_weight': (1.0, 3.0)},
      ([-90, -91], [-80, -81]),
      1,
    ),
  ],
)
def test_best_setting(name, changes, values, expected):
  built = build(name, num_seeds=2, **changes)
  key = f'validation/{search.measure(built)}'
  assert search.best(built, summaries(key, *values)) == expected


def test_without_a_search_nothing_is_compared():
  """Nor need there be anything to compare by."""
  built = build('gan')
  assert search.best(built, [{}]) == 0
  with mock.patch.object(measures, 'with_validated') as with_validated:
    assert search.validate(built, None, {'a': 1}) == {'a': 1}
  assert not with_validated.called


def test_numbers_that_are_found_are_not_computed_again():
  built = build('semi_supervised_aae', **Y_WEIGHT)
  found = {'validation/classification_error': np.array([1.0, 2.0])}
  with mock.patch.object(measures, '_measure') as measure:
    assert search.validate(built, None, found) == found
  assert not measure.called


@pytest.mark.parametrize(
  'system, key',
  [
    ('clustering_aae', 'clustering_error'),
    ('aae', 'parzen_log_likelihood'),
  ],
)
def test_samples_of_validation_images_choose(system, key, monkeypatch):
  """As the test images would be measured; these have no say."""
  monkeypatch.setattr(measures, 'NUM_SAMPLES', 100)
  built = build(system, **{'search.generator.z_weight': (1.0, 3.0)})
  state = built.init()
  # Weights that differ by setting.
  scale = lambda x: x * np.array([1.0, 4.0]).reshape(2, *[1] * (x.ndim - 1))
  state = state.replace(params=jax.tree.map(scale, state.params))
  found = search.validate(built, state, {})
  [values] = found.values()
  assert set(found) == {f'validation/{key}'} and values.shape == (2,)
  if key == 'parzen_log_likelihood':
    assert values[0] != values[1]
  held_out = dataclasses.replace(
    DATASET, test=DATASET.validation, validation=tiny.make_split(0, 1)
  )
  expected = measures.analyze(
    dataclasses.replace(built, dataset=held_out), state
  )
  np.testing.assert_array_equal(values, expected[key])
  without_test = dataclasses.replace(DATASET, test=tiny.make_split(0, 1))
  again = search.validate(
    dataclasses.replace(built, dataset=without_test), state, {}
  )
  np.testing.assert_array_equal(values, again[f'validation/{key}'])
