"""Tests of aae_jax.checkpoints."""

import asyncio
import contextlib
import dataclasses
import logging
import pathlib
import resource
import shutil
import sys
import types
from typing import Any

from absl import logging as absl_logging
import flax.struct
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np
import optax
import pytest

from aae_jax import checkpoints as checkpoints_module
from aae_jax.checkpoints import Checkpoints
from aae_jax.errors import InputError


class State(flax.struct.PyTreeNode):
  step: Any
  params: Any
  batch_stats: Any
  opt_state: Any
  rng: Any


def make_state(step=0, width=3, seeds=2):
  """A state with all that is peculiar about the real one."""
  kernel = jnp.arange(seeds * width, dtype=jnp.float32) + step
  params = {
    'encoder': {
      'kernel': kernel.reshape(seeds, width),
      'bias': jnp.full((seeds, 2), step, jnp.bfloat16),
    }
  }
  optimizer = optax.chain(optax.clip(1.0), optax.sgd(0.1, momentum=0.9))
  state = State(
    step=jnp.int32(step),
    params=params,
    batch_stats={},
    opt_state={
      'reconstruction': optax.adam(0.1).init(params),
      'generator': optimizer.init(params),
    },
    rng=jax.vmap(jax.random.key)(jnp.arange(seeds)),
  )
  mesh = Mesh(np.array(jax.devices()), ('devices',))
  return jax.device_put(state, NamedSharding(mesh, PartitionSpec()))


def abstract(state):
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
    state,
  )


def same(one, other):
  def data(x):
    is_key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(x) if is_key else x)

  if jax.tree.structure(one) != jax.tree.structure(other):
    return False
  return all(
    a.dtype == b.dtype
    and a.sharding == b.sharding
    and np.array_equal(data(a), data(b))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
  )


def save_steps(directory, *steps, max_to_keep=3):
  with Checkpoints(directory, max_to_keep) as checkpoints:
    for step in steps:
      checkpoints.save(step, make_state(step))


def restore(directory):
  with Checkpoints(directory, 3) as checkpoints:
    return checkpoints.restore(abstract(make_state()))


def step_names(directory):
  return sorted(path.name for path in directory.iterdir())


@contextlib.contextmanager
def full_disk():
  """Lets no file grow beyond 40 kB, as on a full disk."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def large_state(step):
  noise = np.random.default_rng(0).normal(size=(200_000,))
  return make_state(step).replace(params={'large': jnp.asarray(noise)})


def test_round_trip(tmp_path):
  state = make_state(7)
  with Checkpoints(tmp_path / 'new' / 'checkpoints', 1) as checkpoints:
    assert checkpoints.latest_step() is None
    checkpoints.save(7, state)
    assert checkpoints.latest_step() == 7
    restored = checkpoints.restore(abstract(make_state()))
  assert same(restored, state)
  assert same(jax.random.split(restored.rng[0]), jax.random.split(state.rng[0]))


class LaterState(State):
  best: Any = flax.struct.field(default_factory=dict)


def later(state, **best):
  fields = dataclasses.fields(State)
  return LaterState(**{f.name: getattr(state, f.name) for f in fields}, **best)


def test_a_field_that_came_later_may_be_left_out(tmp_path):
  state = make_state(7)
  best = {'kernel': state.params['encoder']['kernel']}
  with Checkpoints(tmp_path, 3) as checkpoints:
    checkpoints.save(7, state)
    restored = checkpoints.restore(abstract(later(state)))
    assert isinstance(restored, LaterState) and restored.best == {}
    assert same(restored, later(state))
    with pytest.raises(InputError, match='another config: 1 arrays differ, '):
      checkpoints.restore(abstract(later(state, best=best)))
    checkpoints.save(8, later(make_state(8)))
    assert same(checkpoints.restore(abstract(state)), make_state(8))
    checkpoints.save(9, later(make_state(9), best=best))
    restored = checkpoints.restore(abstract(later(state, best=best)))
  assert same(restored, later(make_state(9), best=best))


def test_nothing_to_restore(tmp_path):
  assert restore(tmp_path) is None


def test_relative_directory(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  save_steps('run', 1)
  assert same(restore('run'), make_state(1))


def test_bucket_is_no_local_directory():
  address = 'gs://bucket/run'
  assert str(checkpoints_module._absolute(address)) == address


def test_donation_right_after_save(tmp_path):
  state = large_state(1)
  expected = np.asarray(state.params['large']).copy()
  overwrite = jax.jit(
    lambda s: jax.tree.map(
      lambda x: x * 0 if jnp.issubdtype(x.dtype, jnp.floating) else x, s
    ),
    donate_argnums=0,
  )
  with Checkpoints(tmp_path, 1) as checkpoints:
    shapes = abstract(state)
    checkpoints.save(1, state)
    overwritten = overwrite(state)
    jax.block_until_ready(overwritten)
    restored = checkpoints.restore(shapes)
  assert not np.asarray(overwritten.params['large']).any()
  np.testing.assert_array_equal(restored.params['large'], expected)


def test_keeps_the_latest(tmp_path):
  save_steps(tmp_path, 1, 2, 10, max_to_keep=2)
  assert step_names(tmp_path) == ['10', '2']


def test_saving_one_step_again_changes_nothing(tmp_path):
  with Checkpoints(tmp_path, 2) as checkpoints:
    checkpoints.save(1, make_state(1))
    checkpoints.save(1, make_state(5))
    assert same(checkpoints.restore(abstract(make_state())), make_state(1))


def test_refuses_a_save_that_would_not_count(tmp_path):
  save_steps(tmp_path, 20)
  with Checkpoints(tmp_path, 2) as checkpoints:
    with pytest.raises(ValueError, match='checkpoint 10 would come after 20'):
      checkpoints.save(10, make_state(10))


def test_refuses_to_keep_none(tmp_path):
  with pytest.raises(InputError, match='max_to_keep is 0; expected 1 or more'):
    Checkpoints(tmp_path, 0)


def damaged_copies(directory):
  """Yields each file of a checkpoint's directory, in turn damaged."""
  for path in sorted(p for p in directory.rglob('*') if p.is_file()):
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = bytearray(content)
    flipped[middle] ^= 1
    for damaged in (bytes(flipped), content[:middle]):
      path.write_bytes(damaged)
      yield path
    path.unlink()
    yield path
    path.write_bytes(content)


def test_no_damage_is_restored(tmp_path, caplog):
  save_steps(tmp_path, 1, 2)
  passed_over = set()
  for path in damaged_copies(tmp_path / '2'):
    caplog.clear()
    restored = restore(tmp_path)
    warnings = [record.getMessage() for record in caplog.records]
    if same(restored, make_state(2)):
      assert not warnings, (path, warnings)
    else:
      assert same(restored, make_state(1)), path
      assert len(warnings) == 1
      assert f'Checkpoint 2 in {tmp_path} is not used: ' in warnings[0]
      passed_over.add(path.relative_to(tmp_path / '2').parts[0])
  assert {'state', 'digests'} <= passed_over
  assert same(restore(tmp_path), make_state(2))


def test_flipped_value_that_the_format_cannot_notice(tmp_path, caplog):
  save_steps(tmp_path, 1)
  save_steps(tmp_path / 'other', 2)
  shutil.copytree(tmp_path / '1', tmp_path / '2')
  shutil.rmtree(tmp_path / '2' / 'state')
  shutil.copytree(tmp_path / 'other' / '2' / 'state', tmp_path / '2' / 'state')
  assert same(restore(tmp_path), make_state(1))
  assert 'is not what was saved' in caplog.text


def test_training_goes_through_the_damaged_step_again(tmp_path, caplog):
  save_steps(tmp_path, 1, 2)
  (tmp_path / '3').mkdir()
  shutil.rmtree(tmp_path / '2' / 'state')
  with Checkpoints(tmp_path, 2) as checkpoints:
    restored = checkpoints.restore(abstract(make_state()))
    assert same(restored, make_state(1))
    assert checkpoints.latest_step() == 1
    assert step_names(tmp_path) == ['1', '2', '3']
    caplog.clear()
    checkpoints.save(2, make_state(2))
    assert 'Removing the invalid checkpoint 2' in caplog.text
    assert 'Removing the invalid checkpoint 3' in caplog.text
  assert step_names(tmp_path) == ['1', '2']
  assert same(restore(tmp_path), make_state(2))


def test_damage_found_after_a_save(tmp_path):
  save_steps(tmp_path, 1)
  with Checkpoints(tmp_path, 3) as checkpoints:
    checkpoints.save(2, make_state(2))
    checkpoints.wait()
    shutil.rmtree(tmp_path / '2' / 'state')
    assert same(checkpoints.restore(abstract(make_state())), make_state(1))
    checkpoints.save(2, make_state(2))
    assert same(checkpoints.restore(abstract(make_state())), make_state(2))


def test_half_written_checkpoint_is_removed_by_the_next_save(tmp_path):
  save_steps(tmp_path, 1)
  half_written = tmp_path / '2.orbax-checkpoint-tmp'
  shutil.copytree(tmp_path / '1', half_written)
  assert same(restore(tmp_path), make_state(1))
  assert half_written.exists()
  save_steps(tmp_path, 3)
  assert step_names(tmp_path) == ['1', '3']


def test_never_starts_anew_over_invalid_checkpoints(tmp_path):
  save_steps(tmp_path, 1, 2)
  for step in '12':
    shutil.rmtree(tmp_path / step / 'digests')
  with pytest.raises(InputError, match=r'none of the checkpoints \[1, 2\]'):
    restore(tmp_path)
  assert step_names(tmp_path) == ['1', '2']


@pytest.mark.parametrize(
  ('state', 'difference'),
  [
    (
      make_state(width=4),
      r'encoder/kernel \(float32\[2, 3\] in the checkpoint, '
      r'float32\[2, 4\] here\)',
    ),
    (
      make_state().replace(batch_stats={'mean': jnp.zeros(2)}),
      r'1 arrays differ, such as batch_stats/mean \(none in the '
      r'checkpoint, float32\[2\] here\)',
    ),
    (
      make_state().replace(rng=jax.random.key(0, impl='rbg')),
      r'rng \(key<fry>\[2\] in the checkpoint, key<rbg>\[\] here\)',
    ),
  ],
)
def test_checkpoint_of_another_config(tmp_path, state, difference):
  save_steps(tmp_path, 1)
  with Checkpoints(tmp_path, 1) as checkpoints:
    with pytest.raises(InputError, match=difference):
      checkpoints.restore(abstract(state))


def test_full_disk(tmp_path, caplog):
  save_steps(tmp_path, 1)
  with Checkpoints(tmp_path, 1) as checkpoints:
    with full_disk():
      checkpoints.save(2, large_state(2))
      with pytest.raises(OSError, match='cannot save checkpoint 2') as failure:
        checkpoints.wait()
    assert 'File too large' in str(failure.value)
    assert 'the earlier ones, up to 1, are intact' in str(failure.value)
    assert failure.value.__suppress_context__
    assert same(checkpoints.restore(abstract(make_state())), make_state(1))
    checkpoints.save(3, make_state(3))
  assert step_names(tmp_path) == ['3']
  assert not caplog.records


def test_full_disk_shows_at_the_next_save(tmp_path):
  with Checkpoints(tmp_path, 1) as checkpoints:
    with full_disk():
      checkpoints.save(2, large_state(2))
      with pytest.raises(OSError, match='2 .* there is no earlier one'):
        checkpoints.save(3, make_state(3))


def test_full_disk_shows_at_the_end(tmp_path):
  with full_disk(), pytest.raises(OSError, match='cannot save checkpoint 2'):
    with Checkpoints(tmp_path, 1) as checkpoints:
      checkpoints.save(2, large_state(2))


def test_full_disk_does_not_hide_the_error_of_the_run(tmp_path, caplog):
  with full_disk(), pytest.raises(KeyError, match='of the run'):
    with Checkpoints(tmp_path, 1) as checkpoints:
      checkpoints.save(2, large_state(2))
      raise KeyError('of the run')
  assert 'cannot save checkpoint 2' in caplog.text


def test_directory_lost_while_training(tmp_path):
  directory = tmp_path / 'checkpoints'
  with Checkpoints(directory, 1) as checkpoints:
    checkpoints.save(1, make_state(1))
    checkpoints.wait()
    shutil.rmtree(directory)
    directory.write_text('')
    with pytest.raises(OSError, match='cannot save checkpoint 2'):
      checkpoints.save(2, make_state(2))


def test_directory_that_cannot_be_made(tmp_path):
  pathlib.Path(tmp_path / 'file').write_text('')
  with pytest.raises(OSError, match='cannot keep checkpoints in .*/file'):
    Checkpoints(tmp_path / 'file', 1)
  with pytest.raises(OSError, match='Not a directory'):
    Checkpoints(tmp_path / 'file' / 'checkpoints', 1)


def test_orbax_is_silent_only_while_open(tmp_path, caplog):
  logger = absl_logging.get_absl_logger()
  before = list(logger.filters)
  absl_verbosity = absl_logging.get_verbosity()
  absl_logging.set_verbosity(absl_logging.INFO)
  try:
    with caplog.at_level(logging.INFO):
      save_steps(tmp_path, 1)
  finally:
    absl_logging.set_verbosity(absl_verbosity)
  assert not caplog.records
  assert logger.filters == before


def test_leaves_the_program_around_it_alone(tmp_path, monkeypatch):
  """But for what orbax has abandoned, of which nothing is told."""
  told = []
  monkeypatch.setattr(sys, 'unraisablehook', told.append)
  loop = asyncio.new_event_loop()
  with Checkpoints(tmp_path, 1):
    inside = asyncio.new_event_loop()
  with Checkpoints(tmp_path, 1):
    pass

  def raise_unseen(message, coroutine):
    sys.unraisablehook(
      types.SimpleNamespace(exc_value=RuntimeError(message), object=coroutine)
    )

  raise_unseen('Event loop is closed', None)
  for path, message in (
    ('/site-packages/orbax/checkpoint/read.py', 'reading failed'),
    ('/site-packages/other/orbax_like.py', 'another'),
  ):
    names = {}
    exec(compile('async def read(): pass', path, 'exec'), names)
    coroutine = names['read']()
    raise_unseen(message, coroutine)
    coroutine.close()
  assert [str(error.exc_value) for error in told] == ['another']
  asyncio_logger = logging.getLogger('asyncio')
  for message, is_shown in (
    ("never retrieved: [tensorstore_spec='{}']", False),
    ('never retrieved: orbax', False),
    ('never retrieved: another', True),
  ):
    record = asyncio_logger.makeRecord('asyncio', 40, '', 0, message, (), None)
    assert bool(asyncio_logger.filter(record)) == is_shown
  # It is put in place once.
  assert sys.unraisablehook.args == (told.append,)
  assert type(inside) is type(loop)
  inside.close()
  loop.close()
