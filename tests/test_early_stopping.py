"""Tests of aae_jax.early_stopping: what is kept, and when a run is over."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aae_jax import early_stopping, experiments, recipes
from aae_jax.early_stopping import EarlyStopping
from aae_jax.errors import InputError
from tests import tiny

DATASET = dataclasses.replace(tiny.DATASET, validation=tiny.make_split(9, 3))
SPE = 5
"""Steps in an epoch of `tiny.DATASET`."""


def build(**changes):
  """An experiment on data that has validation images."""
  config = tiny.make_config('autoencoder')
  for key, value in changes.items():
    config.update({key: value})
  spec = experiments.build_spec(config, DATASET.schema)
  return experiments.assemble(spec, DATASET, devices=jax.devices()[:1])


def follow(*epochs, patience=2):
  """The states after epochs of these scores, one of each run.

  The weights of an epoch are its number.
  """
  built = build(
    num_seeds=len(epochs[0]),
    ema_decay=0.9,
    early_stopping={'measure': 'reconstruction_error', 'patience': patience},
  )
  state, found = built.init(), []
  for epoch, scores in enumerate(epochs, 1):
    number = lambda x, epoch=epoch: jnp.full_like(x, epoch)
    state = state.replace(
      step=jnp.int32(epoch * SPE),
      **jax.tree.map(number, early_stopping.weights(state)),
    )
    best = early_stopping.updated(state, np.array(scores), patience * SPE)
    state = state.replace(best=best)
    found.append(state)
  return built, found


def kept(state):
  """The number that all weights of a run have, by run."""
  runs = zip(
    *(
      x.reshape(len(state.rng), -1).tolist()
      for x in jax.tree.leaves(early_stopping.weights(state))
    ),
    strict=True,
  )
  [*numbers] = ({x for leaf in run for x in leaf} for run in runs)
  assert all(len(number) == 1 for number in numbers)
  return [number.pop() for number in numbers]


def test_each_run_keeps_its_best_epoch():
  _, states = follow((3.0, 5.0), (2.0, 6.0), (2.0, 4.0))
  best = [early_stopping.best(state) for state in states]
  assert [kept(state) for state in best] == [[1, 1], [2, 1], [2, 3]]
  assert [kept(state) for state in states] == [[1, 1], [2, 2], [3, 3]]
  steps = [early_stopping.best_steps(state).tolist() for state in states]
  assert steps == [[5, 5], [10, 5], [10, 15]]
  # Once more it is the same.
  assert kept(early_stopping.best(best[-1])) == [2, 3]


def test_a_run_is_over_when_all_have_lost_patience():
  scores = [(1.0, 3.0), (2.0, 2.0), (3.0, 3.0), (3.0, 3.0)]
  built, states = follow(*scores, patience=2)
  ends = [built.spec.ends(state, 44).tolist() for state in states]
  # Of the second it is the last epoch too.
  assert ends == [[15, 15], [15, 20], [15, 20], [15, 20]]
  assert [built.is_over(state) for state in states] == [False] * 3 + [True]


def test_a_run_that_is_over_keeps_what_it_has_however_long_others_go_on():
  _, states = follow((2.0, 4.0), (3.0, 3.0), (1.0, 2.0), patience=1)
  assert kept(early_stopping.best(states[-1])) == [1, 3]


def test_a_better_epoch_counts_until_patience_ends():
  _, states = follow((2.0,), (3.0,), (1.0,), patience=2)
  assert kept(early_stopping.best(states[-1])) == [3]


def test_what_is_no_number_is_no_better():
  _, states = follow((np.nan, 2.0), (np.nan, np.nan))
  best = early_stopping.best(states[-1])
  # The first has kept nothing, and has its last weights.
  assert kept(best) == [2, 1]
  assert early_stopping.best_steps(best).tolist() == [10, 5]
  _, states = follow((np.nan,), (7.0,))
  assert kept(early_stopping.best(states[-1])) == [2]


def test_to_follow_an_epoch_again_changes_nothing():
  _, states = follow((3.0, 5.0), (2.0, 6.0))
  again = early_stopping.updated(states[-1], np.array((2.0, 6.0)), 10)
  jax.tree.map(np.testing.assert_array_equal, again, states[-1].best)


def test_without_early_stopping_nothing_is_kept():
  built = tiny.build('autoencoder')
  state = built.init()
  assert state.best == {}
  assert early_stopping.best(state) is state
  assert early_stopping.best_steps(state).tolist() == [0]
  assert built.spec.ends(state, 44).tolist() == [20]


def test_what_is_kept_is_not_what_a_call_takes():
  """Else it would be gone with the first call."""
  built = build(early_stopping={'measure': 'reconstruction_error'})
  state = built.init()
  ours = {
    x.unsafe_buffer_pointer() for x in jax.tree.leaves(state.best['weights'])
  }
  assert not ours & {
    x.unsafe_buffer_pointer()
    for x in jax.tree.leaves(early_stopping.weights(state))
  }


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'measure': 'classification_error'},
      'early_stopping needs images that tell the best epoch, but '
      'dataset.num_validation is 0; expected at least 1, for the test images '
      'choose nothing.',
    ),
    (
      {'measure': 'classification_error', 'patience': 0},
      'early_stopping.patience is 0; expected at least 1.',
    ),
    (
      {'patience': 3},
      'early_stopping.patience is 3, but there is no use for it without '
      'early_stopping.measure.',
    ),
  ],
)
def test_mistakes_are_named_in_a_line(changes, message):
  config = recipes.defaults()
  config.early_stopping.update(changes)
  with pytest.raises(InputError) as raised:
    experiments.build(config)
  assert str(raised.value) == message


def test_configurations_of_before_have_none():
  config = tiny.make_config('autoencoder')
  del config['early_stopping']
  spec = experiments.build_spec(config, DATASET.schema)
  assert spec.early_stopping is None
  spec = experiments.build_spec(
    tiny.make_config('autoencoder', **{'early_stopping.measure': 'elbo'}),
    DATASET.schema,
  )
  assert spec.early_stopping == EarlyStopping('elbo', 10)
