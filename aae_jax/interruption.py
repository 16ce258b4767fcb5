"""SIGINT and SIGTERM: nothing is lost, and nobody waits."""

from collections.abc import Iterator
import contextlib
import os
import signal
import socket
import sys
import threading
from types import TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
  """Watches for signals; a context manager.

  A signal ends the process at once where there is nothing to save, also in the
  middle of a compilation, when Python's own handlers do not run. Within
  `deferred` it is only noted, for the training to save and `leave`; a second
  SIGINT ends the process at once there too.
  """

  def __init__(self):
    """Watches nothing yet."""
    self.signal = None
    self.is_deferred = False

  def __enter__(self) -> 'Interruption':
    """Takes the place of Python's own handlers."""
    self._receiver, self._sender = socket.socketpair()
    self._sender.setblocking(False)
    self._handlers = {
      number: signal.signal(number, lambda *_: None) for number in _SIGNALS
    }
    # The wake-up writes the signal's number whatever the main thread does.
    self._wakeup = signal.set_wakeup_fd(
      self._sender.fileno(), warn_on_full_buffer=False
    )
    self._watcher = threading.Thread(target=self._watch, daemon=True)
    self._watcher.start()
    return self

  def __exit__(
    self,
    error_type: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
  ) -> None:
    """Puts the handlers back that were there before."""
    signal.set_wakeup_fd(self._wakeup)
    for number, handler in self._handlers.items():
      signal.signal(number, handler)
    self._sender.close()
    self._watcher.join()

  @contextlib.contextmanager
  def deferred(self) -> Iterator[None]:
    """While there is something to save, signals are noted in `signal`."""
    self.is_deferred = True
    try:
      yield
    finally:
      self.is_deferred = False
    # The training may have ended before it saw the signal.
    if self.signal:
      self.leave('what was saved before stays; the same command goes on.')

  def leave(self, message: str, number: int | None = None) -> None:
    """Ends the process with the usual exit status of a signal.

    Args:
      message: what has become of the run.
      number: of the signal; the one that was received if None.
    """
    number = number or self.signal
    name = signal.Signals(number).name
    print(f'\nStopped by {name}: {message}', file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(128 + number)

  def _watch(self) -> None:
    with self._receiver:
      while received := self._receiver.recv(1):
        is_first, self.signal = self.signal is None, received[0]
        if not self.is_deferred:
          self.leave('what was saved before stays; the same command goes on.')
        if not is_first and self.signal == signal.SIGINT:
          self.leave('at once; the same command goes on from what was saved.')
