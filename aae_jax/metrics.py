"""What a run reports: rows of JSON, TensorBoard and a line of progress."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import json
import math
import socket
import sys
import time
from types import TracebackType
from typing import IO, Any, TextIO

from absl import logging
from etils import epath
import numpy as np
import tqdm

from aae_jax import errors, events

_SECONDS_BETWEEN_FLUSHES = 10.0

_SECONDS_BETWEEN_LINES = 10.0
"""Of progress, where no line can be overwritten."""

Summaries = Mapping[str, Mapping[str, Any]]
"""What `summarize` returns."""


def summarize(
  per_seed: Mapping[str, Sequence[float] | np.ndarray],
  sound: Sequence[bool] | np.ndarray,
) -> Summaries:
  """Returns the mean and the spread of each metric over the sound seeds.

  Args:
    per_seed: one value a seed, [S], by name.
    sound: which seeds count, [S]; one that diverged has no value to average.

  Returns:
    {name: {'mean', 'std', 'per_seed'}}. The standard deviation is that of a
    sample (divided by the number of seeds less 1), and None for fewer than two
    sound seeds; without any the mean is NaN.

  Raises:
    ValueError: a metric is not a list of one value a seed.
  """
  sound = np.asarray(sound, bool)
  return {
    name: _summary(name, np.asarray(values, np.float64), sound)
    for name, values in per_seed.items()
  }


def _summary(
  name: str, values: np.ndarray, sound: np.ndarray
) -> dict[str, Any]:
  if values.shape != sound.shape:
    raise ValueError(
      f'{name} has the shape {values.shape}; expected one value a seed, '
      f'{sound.shape}'
    )
  counted = values[sound]
  # A loss that is not finite is worth a row too.
  with np.errstate(invalid='ignore', over='ignore'):
    return {
      'mean': float(counted.mean()) if counted.size else math.nan,
      'std': float(counted.std(ddof=1)) if counted.size > 1 else None,
      'per_seed': values.tolist(),
    }


def name_setting(setting: Mapping[str, float]) -> str:
  """What a setting of a search is called, `generator.y_weight=3.0`."""
  return ','.join(f'{key}={value}' for key, value in setting.items())


def write_json(path: epath.PathLike, value: Any) -> None:
  """Writes all of a file or nothing; numbers that are not finite become null.

  Args:
    path: local or in a bucket.
    value: dicts, lists, strings, numbers, booleans and None.

  Raises:
    OSError: the file cannot be written; what was there before still is.
  """
  text = json.dumps(_finite(value), indent=2, allow_nan=False)
  _write_whole(epath.Path(path), text + '\n')


def _finite(value: Any) -> Any:
  if isinstance(value, Mapping):
    return {key: _finite(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_finite(item) for item in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


@contextlib.contextmanager
def whole(path: epath.Path, mode: str = 'w') -> Iterator[IO[Any]]:
  """A file to write, which takes its name once all of it is written.

  Args:
    path: local or in a bucket.
    mode: 'w' for text, 'wb' for bytes.

  Raises:
    OSError: the file cannot be written; what was there before still is.
  """
  partial = path.with_name(f'{path.name}.partial')
  with _naming(path):
    try:
      encoding = None if 'b' in mode else 'utf-8'
      with partial.open(mode, encoding=encoding) as file:
        yield file
      partial.replace(path)
    except BaseException:
      partial.unlink(missing_ok=True)
      raise


def _write_whole(path: epath.Path, text: str) -> None:
  with whole(path) as file:
    file.write(text)


@contextlib.contextmanager
def _naming(path: epath.Path) -> Iterator[None]:
  """Says which file could not be written."""
  try:
    yield
  except OSError as error:
    reason = error.strerror or error
    raise OSError(f'cannot write {path}: {reason}') from None


class MetricsWriter(contextlib.AbstractContextManager):
  """Writes `metrics.jsonl` and TensorBoard's events; a context manager.

  A row is {'step', 'epoch', 'seconds', name: summary, ...}; a search has one of
  each setting, with 'setting' before the names. A bucket cannot be appended to,
  so rows and events are kept and both files are written whole: at `flush`, at
  the end, and every ten seconds or so.
  """

  def __init__(
    self, workdir: epath.PathLike, restored_step: int, seeds: Sequence[int]
  ):
    """Takes up the rows of a run.

    Args:
      workdir: local or in a bucket; made if missing.
      restored_step: completed steps of the checkpoint that training goes on
        from, else 0. Later rows are dropped, as the run will repeat them.
      seeds: of each setting, [S], which TensorBoard names its curves after.

    Raises:
      InputError: the `metrics.jsonl` that is there holds something else.
      OSError: workdir cannot be made.
    """
    self._workdir = epath.Path(workdir)
    self._seeds = seeds
    self._rows = _rows_until(self._path, restored_step)
    with _naming(self._workdir):
      self._workdir.mkdir(parents=True, exist_ok=True)
    self._events_path = self._workdir / _events_name()
    now = time.time()
    # TensorBoard hides what it has from the next step on.
    self._events = [
      events.version(now),
      events.session_start(now, restored_step + 1),
    ]
    self._last_flush = time.monotonic()

  def __exit__(
    self,
    error_type: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
  ) -> None:
    """Flushes; the error that ended the run is the one to see."""
    try:
      self.flush()
    except OSError as flushing_error:
      if error_type is None:
        raise
      logging.warning('%s', flushing_error)

  @property
  def last_step(self) -> int:
    """Of the last row; 0 without any."""
    return json.loads(self._rows[-1])['step'] if self._rows else 0

  def write(
    self,
    step: int,
    epoch: int,
    seconds: float,
    summaries: Summaries,
    setting: Mapping[str, float] | None = None,
  ) -> None:
    """Adds one row.

    Args:
      step: completed steps.
      epoch: completed epochs.
      seconds: that training has taken.
      summaries: of the metrics.
      setting: of a search, that they are of.

    Raises:
      OSError: the files cannot be written.
    """
    row = {'step': step, 'epoch': epoch, 'seconds': round(seconds, 3)}
    row |= {'setting': setting} if setting else {}
    self._rows.append(
      json.dumps(_finite({**row, **summaries}), allow_nan=False)
    )
    scalars = self._scalars(summaries, name_setting(setting or {}))
    self._events.append(events.scalars(time.time(), step, scalars))
    if time.monotonic() - self._last_flush > _SECONDS_BETWEEN_FLUSHES:
      self.flush()

  def flush(self) -> None:
    """Makes the files hold all rows.

    Raises:
      OSError: the files cannot be written.
    """
    _write_whole(self._path, ''.join(f'{row}\n' for row in self._rows))
    # In place, for TensorBoard keeps the file open.
    with _naming(self._events_path):
      self._events_path.write_bytes(b''.join(self._events))
    self._last_flush = time.monotonic()

  @property
  def _path(self) -> epath.Path:
    return self._workdir / 'metrics.jsonl'

  def _scalars(self, summaries: Summaries, setting: str) -> dict[str, float]:
    """Returns the means and, of several seeds, each one's value, by tag."""
    scalars = {}
    for metric, summary in summaries.items():
      name = f'{metric}/{setting}' if setting else metric
      scalars[name] = summary['mean']
      if len(self._seeds) > 1:
        for seed, value in zip(self._seeds, summary['per_seed'], strict=True):
          scalars[f'{name}/seed_{seed}'] = value
    return scalars


def _events_name() -> str:
  """Returns a new name each time, or a part of a run would lose the last."""
  return f'events.out.tfevents.{time.time():.6f}.{socket.gethostname()}'


def read_rows(
  workdir: epath.PathLike, setting: Mapping[str, float]
) -> list[dict[str, Any]]:
  """Returns the rows of `metrics.jsonl` that are of a setting.

  Args:
    workdir: local or in a bucket.
    setting: of a search, or an empty one.

  Raises:
    InputError: `metrics.jsonl` holds something else.
  """
  rows = _rows_until(epath.Path(workdir) / 'metrics.jsonl', math.inf)
  return [
    row for row in map(json.loads, rows) if row.get('setting', {}) == setting
  ]


def _rows_until(path: epath.Path, last_step: float) -> list[str]:
  """Returns the rows up to a step as they are."""
  if not path.exists():
    return []
  rows = []
  text = path.read_bytes().decode(errors='replace')
  for number, line in enumerate(text.splitlines(), 1):
    try:
      if json.loads(line)['step'] <= last_step:
        rows.append(line)
    except (ValueError, KeyError, TypeError):
      raise errors.InputError(
        f'line {number} of {path} is not a row of metrics: {line[:40]!r}; '
        'remove the line to go on'
      ) from None
  return rows


class Progress(contextlib.AbstractContextManager):
  """Shows how far a training is; a context manager.

  A line that moves where the stream is a terminal; else one where an epoch
  ends, at most every ten seconds or so, and one at the end. Both give the time
  left, the examples per second and the losses as means over the seeds. The rate
  counts from the first update on, which is what the compilation delays.
  """

  def __init__(
    self,
    total_steps: int,
    initial_step: int,
    steps_per_epoch: int,
    examples_per_step: int,
    enabled: bool = True,
    stream: TextIO | None = None,
  ):
    """Shows nothing yet.

    Args:
      total_steps: completed steps when the training will be over.
      initial_step: completed steps now.
      steps_per_epoch: an epoch's.
      examples_per_step: of all seeds together.
      enabled: False in all processes but one.
      stream: standard error, unless given.
    """
    self._stream = stream or sys.stderr
    self._total_steps = total_steps
    self._initial_step = initial_step
    self._num_epochs = total_steps // steps_per_epoch
    self._examples_per_step = examples_per_step
    self._enabled = enabled
    self._shown_epoch = initial_step // steps_per_epoch
    self._first_update = None
    self._last_line = -math.inf
    self._losses = []
    self._bar = None
    if enabled and self._stream.isatty():
      self._bar = tqdm.tqdm(
        total=total_steps,
        initial=initial_step,
        file=self._stream,
        dynamic_ncols=True,
        bar_format='{percentage:3.0f}%|{bar:20}| {desc}',
      )

  def __exit__(
    self,
    error_type: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
  ) -> None:
    """Closes."""
    self.close()

  def update(self, step: int, epoch: int, *summaries: Summaries) -> None:
    """Shows the state after a step.

    Args:
      step: completed steps.
      epoch: completed epochs.
      *summaries: of the metrics, one a setting; the means of the `PHASE/loss`
        are shown. Without any, as within an epoch, the last ones are.
    """
    if not self._enabled or step == self._initial_step:
      return
    if summaries:
      self._losses = _losses(summaries)
    text = ', '.join(
      [f'epoch {epoch}/{self._num_epochs}', *self._speed(step), *self._losses]
    )
    if self._bar is not None:
      self._bar.set_description_str(text, refresh=False)
      self._bar.update(step - self._bar.n)
    elif self._is_line_due(step, epoch):
      self._shown_epoch, self._last_line = epoch, time.monotonic()
      line = f'step {step}/{self._total_steps}, {text}'
      print(line, file=self._stream, flush=True)

  def _is_line_due(self, step: int, epoch: int) -> bool:
    if step >= self._total_steps:
      return True
    waited = time.monotonic() - self._last_line
    return epoch > self._shown_epoch and waited >= _SECONDS_BETWEEN_LINES

  def close(self) -> None:
    """Leaves the last state of the bar on the terminal."""
    if self._bar is not None:
      self._bar.refresh()
      self._bar.close()

  def _speed(self, step: int) -> list[str]:
    now = time.monotonic()
    if self._first_update is None:
      self._first_update = (step, now)
    first_step, start = self._first_update
    if step == first_step or now == start:
      return []
    steps_per_second = (step - first_step) / (now - start)
    left = (self._total_steps - step) / steps_per_second
    return [
      f'{tqdm.tqdm.format_interval(left)} left',
      f'{steps_per_second * self._examples_per_step:,.0f} examples/s',
    ]


def _losses(summaries: Sequence[Summaries]) -> list[str]:
  return [
    f'{name.removesuffix("/loss")} '
    + ' | '.join(f'{setting[name]["mean"]:.4g}' for setting in summaries)
    for name in summaries[0]
    if name.endswith('/loss')
  ]
