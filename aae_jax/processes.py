"""Several processes that train one system: all that knows of them.

Each runs the same command and holds the same state on devices of its own; a
batch is shared by the devices of all. The first process tells of the run, and
writes what is not a checkpoint. A process that is alone is the first.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import hashlib
import os
import pathlib
import subprocess
import sys
import time
from typing import Any, NoReturn
import warnings

import jax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from aae_jax import errors
from aae_jax.types import AXIS

SECONDS_TO_MEET = 300
"""After which a process does not wait for the others to start any longer."""

SECONDS_OF_SILENCE = 30
"""After which a process that is not heard of counts as dead."""

_SECONDS_TO_FINISH = 24 * 60 * 60
"""That the others wait while the first one evaluates."""

_PORT = 8476
"""Of the first process, where nobody says which."""


def start(
  coordinator: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
) -> None:
  """Finds the other processes, if any, before anything touches a device.

  The arguments say which there are, or the variables of SkyPilot, or what JAX
  detects: Cloud TPU, GKE, Slurm, Open MPI. Else this process is alone.

  Args:
    coordinator: `HOST:PORT` of the first process, the same for all.
    num_processes: how many there are.
    process_id: which one this is, from 0.

  Raises:
    InputError: the arguments do not go together, or the coordinator cannot be
      started.
  """
  named = (coordinator, num_processes, process_id)
  if named == (None, None, None):
    named = _of_skypilot(os.environ)
  else:
    _check(*named)
  # It would take SIGTERM for itself.
  jax.config.update('jax_enable_preemption_service', False)
  if named[0]:
    _say_last_words()
  try:
    _initialize(*named)
  except ValueError:
    if named[0]:
      raise
    # Nothing is detected either.
    return
  if not named[0] and count() > 1:
    _say_last_words()


def stop() -> None:
  """Waits until all processes are here, and ends what connects them."""
  jax.distributed.shutdown()


def wait_for_last_words() -> None:
  """After a message has failed; JAX ends this process if another has died.

  It knows that later than the message does, and then it is said in one line.
  """
  time.sleep(2 * SECONDS_OF_SILENCE)


def end(status: int) -> NoReturn:
  """Ends this process, and so the others, which would wait for it."""
  if count() == 1:
    sys.exit(status)
  sys.stdout.flush()
  sys.stderr.flush()
  # An ordinary exit waits for the others.
  os._exit(status)


def count() -> int:
  """How many processes there are."""
  # What tells the number would touch the devices.
  return jax.process_count() if jax.distributed.is_initialized() else 1


def is_first() -> bool:
  """Whether this process is the one that tells and writes."""
  return count() == 1 or jax.process_index() == 0


@contextlib.contextmanager
def first_goes_ahead() -> Iterator[None]:
  """The others begin with the body when the first process is through.

  So what they share is made once, and what each has of its own by each.
  """
  if not is_first():
    _meet()
  yield
  if is_first():
    _meet()


def require_equal(**texts: str) -> None:
  """Refuses to go on where the processes do not have the same.

  Args:
    **texts: what is to be the same, by what it is called.

  Raises:
    InputError: names what a process has otherwise than the first.
  """
  if count() == 1:
    return
  digests = np.stack(
    [
      np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
      for text in texts.values()
    ]
  )
  found = multihost_utils.process_allgather(digests)
  for process, row in enumerate(found):
    for name, own, first in zip(texts, row, found[0], strict=True):
      if (own != first).any():
        raise errors.InputError(
          f'process {process} has another {name.replace("_", " ")} than '
          'process 0; expected the same for all.'
        )


def of_first(array: np.ndarray) -> np.ndarray:
  """What the first process has, in all.

  Args:
    array: of the same shape and type in all.
  """
  if count() == 1:
    return array
  return multihost_utils.process_allgather(array)[0]


def least(number: float) -> float:
  """The least of the numbers that the processes have, in single precision."""
  if count() == 1:
    return number
  return float(multihost_utils.process_allgather(np.float32(number)).min())


def own(devices: Sequence[jax.Device]) -> NamedSharding:
  """The sharding of what each device of this process holds whole.

  Args:
    devices: of all processes.
  """
  return _whole_on([devices[place] for place in own_places(devices)])


def shares(devices: Sequence[jax.Device]) -> NamedSharding:
  """The sharding, by the leading axis, of what each device of its own has.

  Args:
    devices: of all processes.
  """
  whole = own(devices)
  return NamedSharding(whole.mesh, PartitionSpec(AXIS))


def own_places(devices: Sequence[jax.Device]) -> list[int]:
  """Which of the devices of all processes are of this one."""
  process = jax.process_index()
  return [i for i, d in enumerate(devices) if d.process_index == process]


def to_all(tree: Any) -> Any:
  """Arrays that each process holds, as arrays that all hold together.

  Args:
    tree: of arrays sharded as `own`, or of their shapes; typed keys included.
  """
  return _moved(tree, jax.devices()) if count() > 1 else tree


def to_own(tree: Any) -> Any:
  """Undoes `to_all`."""
  return _moved(tree, jax.local_devices()) if count() > 1 else tree


def _whole_on(devices: Sequence[jax.Device]) -> NamedSharding:
  return NamedSharding(Mesh(devices, (AXIS,)), PartitionSpec())


def _moved(tree: Any, devices: Sequence[jax.Device]) -> Any:
  sharding = _whole_on(devices)

  def moved(leaf):
    if isinstance(leaf, jax.ShapeDtypeStruct):
      return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      return jax.random.wrap_key_data(moved(jax.random.key_data(leaf)))
    return jax.make_array_from_single_device_arrays(
      leaf.shape, sharding, [shard.data for shard in leaf.addressable_shards]
    )

  return jax.tree.map(moved, tree)


def _meet() -> None:
  if count() > 1:
    multihost_utils.sync_global_devices('aae_jax')


def _initialize(
  coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
  try:
    with warnings.catch_warnings():
      # Where there is a Kubernetes, JAX asks for its client.
      warnings.simplefilter('ignore', UserWarning)
      jax.distributed.initialize(
        coordinator,
        num_processes,
        process_id,
        initialization_timeout=SECONDS_TO_MEET,
        heartbeat_timeout_seconds=SECONDS_OF_SILENCE,
        shutdown_timeout_seconds=_SECONDS_TO_FINISH,
      )
  except jax.errors.JaxRuntimeError as error:
    raise errors.InputError(
      f'process {process_id} cannot start or find the others'
      f'{f" at {coordinator}" if coordinator else ""}: '
      f'{str(error).splitlines()[0]}'
    ) from None


def _check(
  coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
  if None in (coordinator, num_processes, process_id):
    raise errors.InputError(
      f'coordinator is {coordinator}, num_processes {num_processes} and '
      f'process_id {process_id}; expected all three or none.'
    )
  host, _, port = coordinator.rpartition(':')
  if not (host and port.isdecimal() and 0 < int(port) < 2**16):
    raise errors.InputError(
      f'coordinator is {coordinator!r}; expected HOST:PORT of process 0.'
    )
  if not 0 <= process_id < num_processes:
    raise errors.InputError(
      f'process_id is {process_id} of num_processes {num_processes}; expected '
      'one from 0 to num_processes - 1.'
    )


def _of_skypilot(
  environment: Mapping[str, str],
) -> tuple[str | None, int | None, int | None]:
  """Coordinator, number and id of a node, if there are several."""
  number = int(environment.get('SKYPILOT_NUM_NODES', '1'))
  if number == 1:
    return None, None, None
  first = environment['SKYPILOT_NODE_IPS'].split()[0]
  return f'{first}:{_PORT}', number, int(environment['SKYPILOT_NODE_RANK'])


def _say_last_words() -> None:
  """Has what XLA says, when it ends this process, said in one line.

  It writes a page to standard error and aborts, and nothing in the process can
  hinder it: so another one passes on what is written there.
  """
  path = pathlib.Path(__file__).with_name('last_words.py')
  speaker = subprocess.Popen(
    [sys.executable, '-I', '-S', str(path), pathlib.Path(sys.argv[0]).name],
    stdin=subprocess.PIPE,
    stdout=sys.stderr.fileno(),
    # Ctrl-C is for this process, which has more to say then.
    start_new_session=True,
  )
  os.dup2(speaker.stdin.fileno(), sys.stderr.fileno())
