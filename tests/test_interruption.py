"""Tests of aae_jax.interruption, and of runs that are killed."""

import hashlib
import os
import signal
import threading
import time

import pytest

from aae_jax.interruption import Interruption
from benchmarks import kill_and_resume

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Recorded(Interruption):
  """Notes when it would have left.

  Attributes:
    left: the signal, the message and the time of each.
  """

  def __init__(self):
    super().__init__()
    self.left = []
    self.has_left = threading.Event()

  def leave(self, message):
    self.left.append((self.signal, message, time.monotonic()))
    self.has_left.set()


def wait(interruption):
  assert interruption.has_left.wait(30)
  return [(number, message) for number, message, _ in interruption.left]


@pytest.mark.parametrize('number', SIGNALS)
def test_leaves_at_once_where_there_is_nothing_to_save(number):
  with Recorded() as interruption:
    os.kill(os.getpid(), number)
    [(left_by, message)] = wait(interruption)
  assert left_by == number
  assert message.startswith('what was saved before stays')


def test_leaves_while_the_main_thread_compiles():
  """Then Python's own handlers wait, for minutes if need be."""
  with Recorded() as interruption:
    rounds, took = 100_000, 0.0
    while took < 1.0:  # So long that the signal comes in the middle.
      rounds *= 3
      timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM))
      interruption.left.clear()
      interruption.has_left.clear()
      timer.start()
      started = time.monotonic()
      hashlib.pbkdf2_hmac('sha256', b'', b'', rounds)
      ended = time.monotonic()
      took = ended - started
      timer.join()
      wait(interruption)
  [(_, _, left_at)] = interruption.left
  assert left_at < ended


@pytest.mark.parametrize('number', SIGNALS)
def test_first_signal_is_noted_while_there_is_something_to_save(number):
  with Recorded() as interruption:
    with interruption.deferred():
      assert interruption.signal is None
      os.kill(os.getpid(), number)
      end = time.monotonic() + 30
      while interruption.signal is None and time.monotonic() < end:
        time.sleep(0.001)
      assert interruption.signal == number
      assert not interruption.left


@pytest.mark.parametrize('first', SIGNALS)
def test_second_sigint_leaves_at_once(first):
  with Recorded() as interruption:
    with interruption.deferred():
      interruption.signal = first
      os.kill(os.getpid(), signal.SIGINT)
      [(number, message)] = wait(interruption)
  assert number == signal.SIGINT
  assert message.startswith('at once')


def test_signal_that_the_training_did_not_see_is_not_lost():
  """It came after the last step, or in the last save."""
  with Recorded() as interruption:
    with interruption.deferred():
      interruption.signal = signal.SIGTERM
    assert wait(interruption) == [
      (
        signal.SIGTERM,
        'what was saved before stays; the same command goes on.',
      )
    ]


def test_error_of_the_run_is_the_one_to_see():
  with Recorded() as interruption, pytest.raises(ZeroDivisionError):
    with interruption.deferred():
      interruption.signal = signal.SIGTERM
      raise ZeroDivisionError
  assert not interruption.left


@pytest.mark.parametrize('number', SIGNALS)
def test_exit_status_and_message_are_the_usual(number, monkeypatch, capfd):
  statuses = []
  monkeypatch.setattr(os, '_exit', statuses.append)
  interruption = Interruption()
  interruption.signal = number
  interruption.leave('saved.')
  assert statuses == [128 + number]
  assert capfd.readouterr().err == (f'\nStopped by {number.name}: saved.\n')


def test_all_is_as_before_afterwards():
  # A shell lets its background jobs ignore SIGINT.
  before_all = signal.signal(signal.SIGINT, signal.default_int_handler)

  def surroundings():
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    handlers = [signal.getsignal(number) for number in SIGNALS]
    return handlers, wakeup, threading.active_count()

  before = surroundings()
  with Recorded() as interruption, interruption.deferred():
    assert surroundings() != before
  assert surroundings() == before
  with pytest.raises(KeyboardInterrupt):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
  signal.signal(signal.SIGINT, before_all)


def test_runs_killed_at_random_moments_lose_nothing(tmp_path):
  result = kill_and_resume.kill_and_resume(4, tmp_path, seed=0)
  assert result['kills'] == 4
  assert result['resumed'] >= 2
  assert result['identical']
