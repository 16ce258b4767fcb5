"""Checkpoints of a run: complete and verified, or not used at all."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import functools
import hashlib
import json
import logging as standard_logging
import pathlib
import sys
import textwrap
from types import TracebackType
from typing import Any

from absl import logging
from etils import epath
import jax
import numpy as np
import orbax.checkpoint as ocp

from aae_jax import errors, processes

_ITEMS = ('state', 'digests')


class Checkpoints(contextlib.AbstractContextManager):
  """The checkpoints below one directory; a context manager.

  With the state goes a digest of every array. A checkpoint that does not match
  its digests is never used, and is removed only once training goes on from an
  earlier one. Whoever only reads a run therefore changes nothing in it.
  """

  def __init__(self, directory: epath.PathLike, max_to_keep: int):
    """Finds the checkpoints that there are.

    Args:
      directory: local or in a bucket; made if missing.
      max_to_keep: at least 1; older checkpoints are removed after a save.

    Raises:
      InputError: max_to_keep is below 1.
      OSError: the directory cannot be made.
    """
    if max_to_keep < 1:
      raise errors.InputError(
        f'max_to_keep is {max_to_keep}; expected 1 or more'
      )
    self._directory = _absolute(directory)
    self._max_to_keep = max_to_keep
    self._saving_step = None
    self._invalid_steps = []
    self._is_clean = False
    with contextlib.ExitStack() as stack:
      _drop_what_is_abandoned()
      stack.enter_context(_without_orbax_logs())
      try:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._manager = self._open(remove_half_written=False)
      except OSError as error:
        raise OSError(
          f'cannot keep checkpoints in {self._directory}: {_cause(error)}'
        ) from None
      self._surroundings = stack.pop_all()

  def __exit__(
    self,
    error_type: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
  ) -> None:
    """Closes; the error that ended the run is the one to see."""
    try:
      self.close()
    except OSError as closing_error:
      if error_type is None:
        raise
      logging.warning('%s', closing_error)

  def save(self, step: int, state: Any) -> None:
    """Starts to save; the state may be donated as soon as this returns.

    Nothing happens if the step is the latest one saved already.

    Args:
      step: completed steps.
      state: a flax dataclass of jax.Array, typed keys included.

    Raises:
      OSError: this checkpoint, or the one before it that was still being
        written, could not be saved. The earlier ones are intact.
      ValueError: there is a later checkpoint, so that this one would not
        count.
    """
    self.wait()
    latest_step = self.latest_step()
    if step == latest_step:
      return
    if latest_step is not None and step < latest_step:
      raise ValueError(
        f'checkpoint {step} would come after {latest_step} in '
        f'{self._directory}; restore the latest one before training'
      )
    record = _record(state)
    with self._explain_failure(step):
      self._remove_unusable()
      self._saving_step = step
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(processes.to_all(_stored(state))),
          digests=ocp.args.JsonSave(record),
        ),
        force=True,
      )

  def restore(self, abstract_state: Any) -> Any | None:
    """Returns the latest valid state, or None if none was ever saved.

    Checkpoints that are passed over are named in warnings.

    Args:
      abstract_state: the same of jax.ShapeDtypeStruct with shardings.

    Raises:
      InputError: the checkpoint holds other arrays than `abstract_state`, or
        there are checkpoints and none is valid.
      OSError: the checkpoint that was still being written could not be saved.
    """
    self.wait()
    steps = sorted(self._manager.all_steps(), reverse=True)
    for position, step in enumerate(steps):
      try:
        state = self._restore_step(step, abstract_state)
      except _InvalidCheckpointError as error:
        logging.warning(
          'Checkpoint %d in %s is not used: %s', step, self._directory, error
        )
        continue
      self._invalid_steps = steps[:position]
      self._is_clean = self._is_clean and not self._invalid_steps
      return state
    if steps:
      raise errors.InputError(
        f'none of the checkpoints {sorted(steps)} in {self._directory} is '
        'valid (the warnings say why); move them away to start anew'
      )
    return None

  def latest_step(self) -> int | None:
    """Returns the latest step not known to be invalid, or None."""
    steps = set(self._manager.all_steps()).difference(self._invalid_steps)
    return max(steps, default=None)

  def wait(self) -> None:
    """Waits until the last save is complete.

    Raises:
      OSError: it could not be completed. The earlier ones are intact.
    """
    with self._explain_failure(self._saving_step):
      self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits for the last save, then ends the threads of orbax.

    Raises:
      OSError: the last save could not be completed.
    """
    try:
      self.wait()
    finally:
      self._manager.close()
      self._surroundings.close()

  def _open(self, remove_half_written: bool) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
      preservation_policy=ocp.checkpoint_managers.LatestN(self._max_to_keep),
      cleanup_tmp_directories=remove_half_written,
      # Else a damaged file of metadata ends the program here.
      lightweight_initialize=True,
      # Else a directory that cannot be written leaves coroutines unawaited.
      async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
    )
    return ocp.CheckpointManager(
      self._directory, options=options, item_names=_ITEMS
    )

  def _reopen(self, remove_half_written: bool) -> None:
    """Forgets a failed save."""
    self._manager.close()
    self._manager = self._open(remove_half_written)

  def _remove_unusable(self) -> None:
    if self._is_clean:
      return
    self._reopen(remove_half_written=True)
    while self._invalid_steps:
      logging.warning(
        'Removing the invalid checkpoint %d in %s',
        self._invalid_steps[-1],
        self._directory,
      )
      self._manager.delete(self._invalid_steps[-1])
      self._invalid_steps.pop()
    self._is_clean = True

  @contextlib.contextmanager
  def _explain_failure(self, step: int | None) -> Iterator[None]:
    try:
      yield
    except (OSError, ValueError) as error:  # Tensorstore's are ValueErrors.
      cause = _cause(error)
    else:
      return
    self._is_clean = False
    with contextlib.suppress(OSError):
      self._reopen(remove_half_written=False)
    latest_step = self.latest_step()
    intact = (
      'there is no earlier one'
      if latest_step is None
      else f'the earlier ones, up to {latest_step}, are intact'
    )
    raise OSError(
      f'cannot save checkpoint {step} in {self._directory}: {cause}; {intact}'
    ) from None

  def _restore_step(self, step: int, abstract_state: Any) -> Any:
    record = self._read(step, digests=ocp.args.JsonRestore())
    arrays = _checked_arrays(record)
    _check_types(arrays, abstract_state, self._directory / str(step))
    stored = _stored(abstract_state)
    request = ocp.args.StandardRestore(processes.to_all(stored))
    found = processes.to_own(self._read(step, state=request))
    state = dataclasses.replace(abstract_state, **found)
    for name, array in _describe(state).items():
      if array != arrays[name]:
        raise _InvalidCheckpointError(f'{name} is not what was saved')
    return state

  def _read(self, step: int, **request: Any) -> Any:
    """Reads the one item that is asked for."""
    [item] = request
    try:
      items = self._manager.restore(step, args=ocp.args.Composite(**request))
      return items[item]
    except Exception as error:  # A damaged file can raise anything.
      reason = textwrap.shorten(
        f'{type(error).__name__}: {error}', width=200, placeholder='...'
      )
    raise _InvalidCheckpointError(reason)


class _InvalidCheckpointError(Exception):
  """What was read is not what was saved."""


@contextlib.contextmanager
def _without_orbax_logs() -> Iterator[None]:
  """Drops what orbax logs: all that matters is raised or warned of here."""
  logger = logging.get_absl_logger()
  logger.addFilter(_is_not_orbax)
  try:
    yield
  finally:
    logger.removeFilter(_is_not_orbax)


def _is_not_orbax(record: standard_logging.LogRecord) -> bool:
  return not _is_in_orbax(record.pathname)


def _is_in_orbax(path: str) -> bool:
  return 'orbax' in pathlib.PurePath(path).parts


def _drop_what_is_abandoned() -> None:
  """Drops what reads and writes tell that orbax has abandoned.

  When one fails, it closes their event loop, and nobody can catch what becomes
  of the others. For good, as they may end when everything is closed.
  """
  standard_logging.getLogger('asyncio').addFilter(_is_not_of_orbax)
  hook = sys.unraisablehook
  if getattr(hook, 'func', None) is not _tell_but_abandoned:
    sys.unraisablehook = functools.partial(_tell_but_abandoned, hook)


def _is_not_of_orbax(record: standard_logging.LogRecord) -> bool:
  message = record.getMessage()
  # What only tensorstore, which orbax reads with, has a hand in.
  return 'orbax' not in message and 'tensorstore_spec' not in message


def _tell_but_abandoned(hook: Callable[[Any], None], unraisable: Any) -> None:
  code = getattr(unraisable.object, 'cr_code', None)  # Of a coroutine.
  is_of_orbax = code and _is_in_orbax(code.co_filename)
  if not is_of_orbax and str(unraisable.exc_value) != 'Event loop is closed':
    hook(unraisable)


def _absolute(directory: epath.PathLike) -> epath.Path:
  """Returns what orbax asks for; a bucket's address is absolute already, and
  `resolve` would make a local directory of it."""
  path = epath.Path(directory).expanduser()
  return path if '://' in str(path) else path.resolve()


def _cause(error: Exception) -> str:
  """What the operating system said, which ends a message of tensorstore."""
  strerror = getattr(error, 'strerror', None)
  return strerror or str(error).rsplit(': ', 1)[-1].split(' [os_error')[0]


def _sha256(array: np.ndarray) -> str:
  flat = np.ascontiguousarray(array).reshape(-1)
  return hashlib.sha256(flat.view(np.uint8)).hexdigest()


def _named_leaves(tree: Any) -> dict[str, Any]:
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in jax.tree.leaves_with_path(tree)
  }


def _type(array: jax.Array | jax.ShapeDtypeStruct) -> str:
  return f'{array.dtype}{list(array.shape)}'


def _stored(state: Any) -> dict[str, Any]:
  """The fields of a state, but for those that may be left out and are empty.

  So what is stored does not change with a field that comes later.
  """
  fields = {field.name: field for field in dataclasses.fields(state)}
  return {
    name: getattr(state, name)
    for name, field in fields.items()
    if field.default_factory is dataclasses.MISSING
    or jax.tree.leaves(getattr(state, name))
  }


def _describe(state: Any) -> dict[str, dict[str, str]]:
  """Returns {name: {'type', 'sha256'}} of the arrays."""
  leaves = _named_leaves(state)
  contents = jax.device_get(
    {
      name: jax.random.key_data(leaf)
      if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
      else leaf
      for name, leaf in leaves.items()
    }
  )
  return {
    name: {'type': _type(leaf), 'sha256': _sha256(contents[name])}
    for name, leaf in leaves.items()
  }


def _record(state: Any) -> dict[str, Any]:
  """Returns the digests with one of their own, as a damaged name would else
  look like another config."""
  arrays = _describe(state)
  return {'arrays': arrays, 'sha256': _digest_of(arrays)}


def _digest_of(arrays: Mapping[str, Any]) -> str:
  return hashlib.sha256(json.dumps(arrays, sort_keys=True).encode()).hexdigest()


def _checked_arrays(record: Any) -> dict[str, dict[str, str]]:
  try:
    if record['sha256'] == _digest_of(record['arrays']):
      return record['arrays']
  except (KeyError, TypeError):
    pass
  raise _InvalidCheckpointError('the digests are damaged')


def _check_types(
  arrays: Mapping[str, Mapping[str, str]],
  abstract_state: Any,
  path: epath.Path,
) -> None:
  saved = {name: array['type'] for name, array in arrays.items()}
  expected = {
    name: _type(leaf) for name, leaf in _named_leaves(abstract_state).items()
  }
  differences = [
    f'{name} ({saved.get(name, "none")} in the checkpoint, '
    f'{expected.get(name, "none")} here)'
    for name in sorted(saved.keys() | expected.keys())
    if saved.get(name) != expected.get(name)
  ]
  if differences:
    raise errors.InputError(
      f'{path} is the checkpoint of another config: {len(differences)} '
      f'arrays differ, such as {", ".join(differences[:3])}'
    )
