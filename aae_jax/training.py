"""The loop: build, restore, step, log, evaluate, save."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import json
import math
import time
from typing import Any

from etils import epath
from flax import traverse_util
import jax
import ml_collections
import numpy as np

from aae_jax import (
  early_stopping,
  errors,
  experiments,
  measured,
  measures,
  processes,
  provenance,
  recipes,
  rules,
  saved_model,
  search,
  trained,
)
from aae_jax import metrics as metrics_lib
from aae_jax.checkpoints import Checkpoints
from aae_jax.datasets import Dataset, Schema, Split
from aae_jax.experiments import Experiment, Spec
from aae_jax.interruption import Interruption
from aae_jax.provenance import History
from aae_jax.runs import Run
from aae_jax.train_state import TrainState
from aae_jax.train_step import Request

_WHOLE_EPOCH = 2**31 - 1
"""More steps than there are."""

SECONDS_PER_CALL = 5.0
"""A signal is answered between calls to the devices, so they stay short."""


def train_and_evaluate(
  config: ml_collections.ConfigDict,
  workdir: epath.PathLike,
  interruption: Interruption | None = None,
) -> None:
  """Trains a system, or goes on where its run stopped, and evaluates it.

  Leaves in the workdir `config.json`, `model.json`, `checkpoints/`,
  `metrics.jsonl`, TensorBoard events, `provenance.json`, and `results.json`
  once the last step is done.

  Args:
    config: of the experiment.
    workdir: local or in a bucket.
    interruption: hears of signals, at which the run is saved and the process
      ends; without it signals are nothing to this function.

  Raises:
    InputError: the configuration is wrong, or the workdir holds another run.
    DivergenceError: a loss is not finite.
    OSError: something cannot be written.
  """
  run = Run(epath.Path(workdir))
  if run.has_begun:
    check_config(config, run)
  if run.is_finished:
    print(f'{workdir} holds the finished run: there is nothing to do.')
    return
  # One that has not been entered hears of nothing.
  interruption = interruption or Interruption()
  experiment = _build(config)
  if run.has_begun:
    check_data(experiment.schema, run)
  print(describe(config, experiment, workdir), flush=True)
  if processes.is_first():
    run.begin(json.loads(config.to_json()), experiment.schema)
  with run.checkpoints(config.checkpoints_to_keep) as checkpoints:
    state = checkpoints.restore(experiment.abstract_state())
    state = experiment.init() if state is None else state
    step = int(state.step)
    processes.require_equal(checkpoint=str(step))
    history = History(run.workdir, step)
    if step and processes.is_first():
      print(f'Going on from step {step:,}.', flush=True)
    state = _train(
      config, experiment, run, checkpoints, state, history, interruption
    )
  # The others wait for it when they stop.
  if processes.is_first():
    _finish(config, experiment, run, state, history)


def evaluate(
  config: ml_collections.ConfigDict, workdir: epath.PathLike
) -> None:
  """Evaluates the last checkpoint and writes `results.json`.

  Of a run with early stopping, the best weights that the checkpoint holds.

  Raises:
    InputError: there is no checkpoint, or it is another configuration's.
  """
  run = Run(epath.Path(workdir))
  check_config(config, run)
  experiment = _build(config)
  check_data(experiment.schema, run)
  state = run.restore(experiment.abstract_state())
  experiment = experiment.at_state(state)
  history = History(run.workdir, int(state.step))
  # The others wait for it when they stop.
  if processes.is_first():
    _finish(config, experiment, run, state, history)


def export(config: ml_collections.ConfigDict, workdir: epath.PathLike) -> None:
  """Writes the trained functions as StableHLO, see `saved_model.export`.

  Raises:
    InputError: there is no checkpoint, or it is another configuration's.
  """
  check_config(config, Run(epath.Path(workdir)))
  print('\n'.join(saved_model.export(workdir)), flush=True)


def _build(config: ml_collections.ConfigDict) -> Experiment:
  """The experiment, which all processes have alike."""
  provenance.of_process()
  processes.require_equal(configuration=config.to_json())
  experiment = experiments.build(config)
  processes.require_equal(training_data=experiment.schema.digest)
  return experiment


def check_config(config: ml_collections.ConfigDict, run: Run) -> None:
  """Refuses a workdir that holds the run of another configuration, or none.

  What the configuration leaves to the data is completed in place, by the data
  of the run.
  """
  before = run.config
  rules.complete(config, run.schema)
  different = differences(
    *(
      traverse_util.flatten_dict(content, sep='.')
      for content in (
        before,
        json.loads(config.to_json()),
        json.loads(recipes.defaults().to_json()),
      )
    )
  )
  if different:
    raise errors.InputError(
      f'{run.workdir} holds the run of another configuration '
      f'({"; ".join(different)}). Choose another --workdir.'
    )


def differences(
  before: Mapping[str, Any],
  now: Mapping[str, Any],
  defaults: Mapping[str, Any],
) -> list[str]:
  """In what two configurations are not those of one run.

  Neutral keys may differ, and a key that came later may be left at its default
  or at None.

  Args:
    before: the flat configuration of the run, `{'encoder.noise': 0.3}`.
    now: the one to go on with.
    defaults: of all keys that have one.

  Returns:
    A phrase for each key.
  """
  # None leaves a key to what takes it, as if it were not there.
  known = {key: None for key, value in now.items() if value is None}
  known |= {key: defaults[key] for key in now.keys() & defaults.keys()}
  before = known | before
  return [
    f'{key} is {now.get(key, "absent")}, '
    f'in the workdir {before.get(key, "absent")}'
    for key in sorted(before.keys() | now.keys())
    if key not in experiments.NEUTRAL_KEYS
    and (key not in before or key not in now or before[key] != now[key])
  ]


def check_data(schema: Schema, run: Run) -> None:
  """Refuses a workdir whose run has seen other data."""
  before = run.schema
  if before.digest != schema.digest:
    raise errors.InputError(
      f'{run.workdir} holds the run of other data ({before.name}, of digest '
      f'{before.digest[:12]}) than {schema.name}, of digest '
      f'{schema.digest[:12]}; choose another --workdir.'
    )


def describe(
  config: ml_collections.ConfigDict,
  experiment: Experiment,
  workdir: epath.PathLike,
) -> str:
  """What a run is going to do, in a few lines."""
  spec, dataset = experiment.spec, experiment.dataset
  state = jax.eval_shape(experiment.init)
  labels = ''
  if experiment.labelled.size:
    num_labels = experiment.labelled.shape[1]
    labels = (
      ', all labelled'
      if num_labels == dataset.train.num_images
      else f', {num_labels:,} of them labelled'
    )
  sizes = ', '.join(
    f'{name} {count:,}'
    for name, count in _count_parameters(state.params, len(spec.runs)).items()
  )
  devices = experiment.devices
  return '\n'.join(
    [
      f'System     {config.system}: '
      + ', '.join(phase.name for phase in experiment.system.phases),
      f'Data       {dataset.name}, {" x ".join(map(str, dataset.image_shape))}:'
      f' {dataset.train.num_images:,} images to train on{labels};'
      f' {dataset.validation.num_images:,} for validation,'
      f' {dataset.test.num_images:,} for the test{_fitted(dataset)};'
      f' {_fed(dataset)}',
      f'Parameters {sizes}',
      f'Devices    {len(devices)} x {devices[0].device_kind}{_in_processes()}',
      f'Precision  {spec.precision.name}',
      f'Seeds      {", ".join(map(str, spec.seeds))}',
      *_describe_rules(config),
      *_describe_search(experiment),
      f'Steps      {experiment.total_steps:,}: {spec.epochs:,} epochs of '
      f'{experiment.feed.steps_per_epoch:,}, batch size {spec.batch_size}',
      *_describe_early_stopping(experiment),
      f'Workdir    {workdir}',
    ]
  )


def _fitted(dataset: Dataset) -> str:
  if not dataset.num_fitted:
    return ''
  return f'; {dataset.num_fitted:,} of all scaled and cropped'


def _fed(dataset: Dataset) -> str:
  is_streamed, reason = dataset.placement
  return f'{"streamed" if is_streamed else "held by the devices"}: {reason}'


def _in_processes() -> str:
  count = processes.count()
  if count == 1:
    return ''
  own = jax.process_index()
  return f', in {count} processes; this one is {own}, and 0 writes and tells'


def _describe_rules(config: ml_collections.ConfigDict) -> list[str]:
  """What follows from the data, or was given in its place."""
  found = [f'{key}={value}' for key, value in rules.chosen(config).items()]
  return [f'Recipe     {", ".join(found)}'] if found else []


def _describe_search(experiment: Experiment) -> list[str]:
  if not experiment.spec.searches:
    return []
  names = ' | '.join(setting.name for setting in experiment.spec.settings)
  return [
    f'Settings   {names}',
    f'Chosen by  validation/{search.measure(experiment)}',
  ]


def _describe_early_stopping(experiment: Experiment) -> list[str]:
  """Raises InputError where the system does not have what tells the end."""
  stopping = experiment.spec.early_stopping
  if not stopping:
    return []
  known = measures.choosing(experiment.unfinished)
  if stopping.measure not in known:
    raise errors.InputError(
      f'early_stopping.measure is {stopping.measure!r}; expected what this '
      f'system has while it is trained: {", ".join(known) or "nothing"}.'
    )
  return [
    f'Stops      by validation/{stopping.measure}; patience, in epochs: '
    f'{stopping.patience}'
  ]


def steps(
  experiment: Experiment,
  state: TrainState,
  request: Callable[[int], Request] = lambda step: Request(_WHOLE_EPOCH),
) -> Iterator[tuple[TrainState, Request]]:
  """Trains to the last step, a call of many steps at a time.

  Nothing is written, no signal is looked at, and nothing stops early: who
  follows does that.

  Args:
    experiment: what is trained, and on what.
    state: to begin with; it is donated.
    request: `step -> Request`, what is asked of the call that begins at a step.
      Whatever it asks, a call ends with its epoch, or with the data that are on
      the devices.

  Yields:
    The state after each call, and what the processes agreed on. The state is
    donated to the next call.
  """
  call, steps_per_epoch = experiment.run(), experiment.feed.steps_per_epoch
  step, agreed = int(state.step), Request(0)
  data, until = None, step
  with contextlib.closing(experiment.chunks(step)) as chunks:
    while step < experiment.total_steps and not agreed.leave:
      if step == until:
        data, until = next(chunks)
      left = min(until - step, steps_per_epoch - step % steps_per_epoch)
      asked = request(step)
      asked = asked._replace(num_steps=min(asked.num_steps, left))
      state, agreed = call(state, data, asked)
      agreed = Request(*map(int, jax.device_get(agreed)))
      step += agreed.num_steps
      yield state, agreed


def _train(
  config: ml_collections.ConfigDict,
  experiment: Experiment,
  run: Run,
  checkpoints: Checkpoints,
  state: TrainState,
  history: History,
  interruption: Interruption,
) -> TrainState:
  """Steps to the end; returns the state."""
  pace = Pace(
    config.steps_per_call, config.checkpoint_every_seconds, interruption
  )
  with contextlib.ExitStack() as stack:
    rows = None
    if processes.is_first():
      rows = stack.enter_context(
        _Rows(config, experiment, run, state, history, interruption)
      )
      # Those that a signal left to this process.
      rows.follow(state)

    def save(state):
      # In this order, so that no checkpoint lacks what was before it, but what
      # can be made up for.
      if rows:
        rows.flush()
        history.save(int(state.step))
      checkpoints.save(int(state.step), state)

    last, best = state, state.best
    # What is kept is nothing to a step.
    calls = stack.enter_context(
      contextlib.closing(steps(experiment, state.replace(best={}), pace))
    )
    for last, agreed in () if experiment.is_over(state) else calls:
      pace.returned(agreed)
      # Until the first call is through, which compiles, nothing is new.
      if not interruption.is_deferred:
        stack.enter_context(interruption.deferred())
      last = last.replace(best=best)
      _check_finite(last, experiment, config.on_divergence)
      if agreed.num_steps:
        found = rows.follow(last) if rows else {}
        last = _with_best(experiment, last, found)
        best = last.best
      # Before it is saved: the last step is never without what is made then.
      is_over = experiment.is_over(last)
      if is_over:
        last = experiment.finish(last)
      if agreed.save:
        save(last)
      if agreed.leave:
        checkpoints.wait()
        _leave(last, interruption, agreed.leave)
      if is_over:
        break
    save(last)
    checkpoints.wait()
    return last


def _with_best(
  experiment: Experiment, state: TrainState, found: Mapping[str, np.ndarray]
) -> TrainState:
  """The state after a call, with what early stopping keeps.

  Args:
    experiment: that is trained.
    state: after the call, with what was kept before.
    found: by the first process, where the call ended an epoch.
  """
  spec, steps_per_epoch = experiment.spec, experiment.feed.steps_per_epoch
  stopping = spec.early_stopping
  if not stopping or int(state.step) % steps_per_epoch:
    return state
  nothing = np.zeros(len(spec.runs), np.float32)
  scores = found.get(f'validation/{stopping.measure}', nothing)
  scores = measures.NUMBERS[stopping.measure].chooses * scores
  scores = processes.of_first(scores.astype(np.float32))
  patience = stopping.patience * steps_per_epoch
  return state.replace(best=early_stopping.updated(state, scores, patience))


def _leave(state: TrainState, interruption: Interruption, number: int) -> None:
  """Ends all processes, at a signal of any; the state has been saved."""
  processes.stop()
  interruption.leave(
    f'saved step {int(state.step):,}; the same command goes on from there.',
    number,
  )


class Pace:
  """What each call is asked for: all that there is of clock and signal.

  So many steps as `steps_per_call` says, and as take about `SECONDS_PER_CALL`:
  the first call measures a single step.
  """

  def __init__(
    self,
    steps_per_call: int,
    seconds_between_saves: float,
    interruption: Interruption,
  ):
    """Takes keys of the configuration, and who hears of signals."""
    self._longest = _WHOLE_EPOCH if steps_per_call == -1 else steps_per_call
    self._seconds_between_saves = seconds_between_saves
    self._interruption = interruption
    self._affordable = 1
    self._has_compiled = False
    self._started = self._saved = time.monotonic()

  def __call__(self, step: int) -> Request:
    """Of the call that begins at a step."""
    del step
    if self._interruption.signal is not None:
      return Request(0, save=True, leave=self._interruption.signal)
    self._started = time.monotonic()
    is_due = self._started - self._saved >= self._seconds_between_saves
    if is_due:
      self._saved = self._started
    return Request(min(self._longest, self._affordable), save=is_due)

  def returned(self, agreed: Request) -> None:
    """Takes note that a call has ended."""
    # The first call compiles, and so tells nothing about the time of a step.
    if self._has_compiled and agreed.num_steps:
      seconds = time.monotonic() - self._started
      self._affordable = max(
        1, math.floor(SECONDS_PER_CALL * agreed.num_steps / seconds)
      )
    self._has_compiled = True


class _Rows(contextlib.AbstractContextManager):
  """Follows a training: rows at the end of each epoch, and its progress."""

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    experiment: Experiment,
    run: Run,
    state: TrainState,
    history: History,
    interruption: Interruption,
  ):
    """Takes up the rows that are there until the state."""
    self._experiment, self._history = experiment, history
    self._interruption = interruption
    self._evaluate_every = config.evaluate_every_epochs
    self._evaluator = measures.Evaluator(
      experiment.system.unfinished, experiment.schema
    )
    step, spec = int(state.step), experiment.spec
    self._stopping = spec.early_stopping
    self._writer = metrics_lib.MetricsWriter(run.workdir, step, spec.seeds)
    self._progress = metrics_lib.Progress(
      experiment.total_steps,
      step,
      experiment.feed.steps_per_epoch,
      spec.batch_size * len(spec.runs),
    )

  def __exit__(self, *error: Any) -> None:
    """Leaves all rows in the file."""
    self._progress.close()
    self._writer.__exit__(*error)

  def flush(self) -> None:
    """Makes the file hold all rows."""
    self._writer.flush()

  def follow(self, state: TrainState) -> Mapping[str, np.ndarray]:
    """Writes the rows of an epoch that has just ended, if they are not there.

    Unless there is a signal: then the process that goes on writes them.

    Returns:
      The numbers that it has written, [R] each.
    """
    spec, feed = self._experiment.spec, self._experiment.feed
    step = int(state.step)
    epoch, steps_into = divmod(step, feed.steps_per_epoch)
    if steps_into:
      self._progress.update(step, epoch)
    if steps_into or step == self._writer.last_step:
      return {}
    found = _means_of_epoch(state, feed.steps_per_epoch)
    if self._stopping or epoch % self._evaluate_every == 0:
      try:
        found |= self._validate(state)
      except measures.AbandonedError:
        return {}
    is_sound = np.asarray(state.report['diverged']['weights']) < 0
    rows = _by_setting(spec, found, is_sound)
    for setting, row in zip(spec.settings, rows, strict=True):
      self._writer.write(
        step, epoch, self._history.seconds, row, setting.values
      )
    self._progress.update(step, epoch, *rows)
    return found

  def _validate(self, state: TrainState) -> dict[str, np.ndarray]:
    # What is saved of the last step is of after its finishes; with early
    # stopping, any may be the last.
    is_last = int(state.step) == self._experiment.total_steps
    found = _evaluate_split(
      self._evaluator,
      state,
      'validation',
      self._experiment.dataset.validation,
      lambda: bool(self._stopping or is_last) or not self._interruption.signal,
    )
    if not self._stopping:
      return found
    return measures.with_validated(
      self._experiment.unfinished, state, found, self._stopping.measure
    )


def _means_of_epoch(
  state: TrainState, steps_per_epoch: int
) -> dict[str, np.ndarray]:
  """The means of the losses and metrics over an epoch that has ended, [R]."""
  sums = jax.device_get(state.report['sums'])
  return {name: total / steps_per_epoch for name, total in sums.items()}


def _by_setting(
  spec: Spec, found: Mapping[str, np.ndarray], sound: np.ndarray
) -> list[metrics_lib.Summaries]:
  """The summaries of each setting, of numbers [R]."""
  return [
    metrics_lib.summarize(_part(found, runs), sound[runs])
    for runs in spec.places
  ]


def _part(
  found: Mapping[str, np.ndarray], runs: slice
) -> dict[str, np.ndarray]:
  return {name: values[runs] for name, values in found.items()}


def _check_finite(
  state: TrainState, experiment: Experiment, on_divergence: str
) -> None:
  """Raises DivergenceError at the first loss, or weights, not finite.

  With `on_divergence='continue'` only once no run is left. What becomes of a
  run that is over, while others go on, does not matter.
  """
  runs = experiment.spec.runs
  ends = experiment.spec.ends(state, experiment.schema.num_train)
  steps = {
    (step, name, index)
    for name, first in jax.device_get(state.report['diverged']).items()
    for index, step in enumerate(first.tolist())
    # Weights are of after the step before.
    if 0 <= step < ends[index] + (name == 'weights')
  }
  if not steps:
    return
  step, name, index = min(steps)
  is_over = len({index for _, _, index in steps}) == len(runs)
  if on_divergence == 'stop' or is_over:
    what = (
      f'weights of {runs[index]} are not finite after'
      if name == 'weights'
      else f'{name} of {runs[index]} is not finite at'
    )
    raise errors.DivergenceError(
      f'{what} step {step:,}; the last checkpoint is from before. A lower '
      'learning rate may help.'
    )


def _evaluate_split(
  evaluator: measures.Evaluator,
  state: TrainState,
  name: str,
  split: Split,
  is_wanted: Callable[[], bool] = lambda: True,
) -> dict[str, np.ndarray]:
  if not split.num_images:
    return {}
  means = evaluator(state, split, is_wanted)
  return {f'{name}/{key}': mean for key, mean in means.items()}


def _finish(
  config: ml_collections.ConfigDict,
  experiment: Experiment,
  run: Run,
  state: TrainState,
  history: History,
) -> None:
  """Evaluates, writes results and figures, and prints the numbers.

  Of a search the best setting, told by validation images, is what is left; of
  early stopping the best epoch of each run.
  """
  dataset, is_over = experiment.dataset, experiment.is_over(state)
  state = early_stopping.best(state)
  evaluator = measures.Evaluator(experiment.system, experiment.schema)
  found = search.validate(
    experiment,
    state,
    _evaluate_split(evaluator, state, 'validation', dataset.validation),
  )
  spec = experiment.spec
  validated = _by_setting(spec, found, trained.sound_seeds(state))
  best = search.best(experiment, validated)
  told, lines = _tell_search(experiment, validated, best)
  # No other setting sees the test images.
  found = _part(found, spec.places[best])
  experiment, state = experiment.at_setting(best, state)
  stopped, line = _tell_early_stopping(experiment, state, is_over)
  found |= _evaluate_split(evaluator, state, 'test', dataset.test)
  if dataset.test.num_images:
    numbers = measures.analyze(experiment, state)
    found |= {f'test/{key}': value for key, value in numbers.items()}
  sound = trained.sound_seeds(state)
  summary = metrics_lib.summarize(found, sound)
  chosen_on, _ = measures.choosing_split(dataset)
  results = {
    **told,
    **stopped,
    'metrics': summary,
    'chosen_on': {
      name: chosen_on
      for name in summary
      if measures.NUMBERS[measured.metric(name)].is_chosen
    },
    'last_epoch': next(reversed(run.rows(spec.settings[best].values)), {}),
    'sound_seeds': np.asarray(spec.seeds)[sound].tolist(),
    **_describe_run(config, experiment, state, history),
  }
  metrics_lib.write_json(run.workdir / 'results.json', results)
  # Only then, so that no picture can cost a number.
  _draw(config, experiment, state, run)
  lines += [*line, *_tell_numbers(summary, sound)]
  path = run.workdir / 'results.json'
  lines.append(f'Results in {path}, pictures beside it.')
  print('\n'.join(lines), flush=True)


def _draw(
  config: ml_collections.ConfigDict,
  experiment: Experiment,
  state: TrainState,
  run: Run,
) -> None:
  """Writes figures and pages into the workdir."""
  # They take a second to import, which the start of a run should not.
  from aae_jax import figures, pages

  name = f'{config.system} on {experiment.schema.name}'
  figures.write_figures(experiment, state, run, name)
  pages.write_pages(experiment, state, run)


def _tell_numbers(
  summary: metrics_lib.Summaries, sound: np.ndarray
) -> list[str]:
  """Lines of the numbers, and over which seeds they are means."""
  lines = [f'{key} {_show(value)}' for key, value in summary.items()]
  if sound.all():
    return lines
  return [
    *lines,
    f'Means are over the sound seeds, {sound.sum()} of {sound.size}: the '
    'others have diverged.',
  ]


def _describe_run(
  config: ml_collections.ConfigDict,
  experiment: Experiment,
  state: TrainState,
  history: History,
) -> dict[str, Any]:
  """What the numbers of the results are of."""
  dataset, seeds = experiment.dataset, experiment.spec.seeds
  # None where no labels are drawn, or all are taken.
  is_drawn = experiment.labelled.size and config.num_labels != -1
  return {
    'step': int(state.step),
    'total_steps': experiment.total_steps,
    'seeds': list(seeds),
    'label_draws': len(seeds) if is_drawn else 0,
    'dataset': {
      'name': dataset.name,
      'train': dataset.train.num_images,
      'validation': dataset.validation.num_images,
      'test': dataset.test.num_images,
    },
    'parameters': _count_parameters(state.params, len(seeds)),
    'training_seconds': sum(part['seconds'] for part in history.trained),
    'trained': history.trained,
    'evaluated': provenance.of_process(),
    'config': json.loads(config.to_json()),
  }


def _tell_search(
  experiment: Experiment,
  validated: Sequence[metrics_lib.Summaries],
  best: int,
) -> tuple[dict[str, Any], list[str]]:
  """What results hold of a search, by setting, and lines that say so."""
  if not experiment.spec.searches:
    return {}, []
  settings = experiment.spec.settings
  name = f'validation/{search.measure(experiment)}'
  told = {
    'best': settings[best].values,
    'chosen_by': name,
    'settings': [
      {'setting': setting.values, 'metrics': summary}
      for setting, summary in zip(settings, validated, strict=True)
    ],
  }
  lines = [
    f'{setting.name}: {name} {_show(summary[name])}'
    for setting, summary in zip(settings, validated, strict=True)
  ]
  lines.append(
    f'The best is {settings[best].name}, and all that follows is its.'
  )
  return {'search': told}, lines


def _tell_early_stopping(
  experiment: Experiment, state: TrainState, is_over: bool
) -> tuple[dict[str, Any], list[str]]:
  """What results hold of early stopping, by seed, and a line that says so."""
  stopping = experiment.spec.early_stopping
  if not stopping:
    return {}, []
  steps_per_epoch = experiment.feed.steps_per_epoch
  last, epochs = int(state.step) // steps_per_epoch, experiment.spec.epochs
  # None of a seed that has kept nothing, whose last weights are measured.
  best = [int(step) // steps_per_epoch or None for step in state.best['step']]
  told = {
    'chosen_by': f'validation/{stopping.measure}',
    'measured': 'best',
    'best_epochs': best,
    'stopped_after_epoch': last if is_over and last < epochs else None,
  }
  line = (
    f'After epoch {last} of {epochs}; all that follows is of the best by '
    f'{told["chosen_by"]}: epoch {", ".join(map(str, best))}.'
  )
  return {'early_stopping': told}, [line]


def _count_parameters(
  params: Mapping[str, Any], num_seeds: int
) -> dict[str, int]:
  return {
    name: sum(leaf.size for leaf in jax.tree.leaves(tree)) // num_seeds
    for name, tree in params.items()
  }


def _show(summary: Mapping[str, Any]) -> str:
  mean, std, per_seed = (summary[k] for k in ('mean', 'std', 'per_seed'))
  spread = '' if std is None else f' ± {std:.2g}'
  if len(per_seed) == 1:
    return f'{mean:.4g}'
  seeds = ', '.join(f'{value:.4g}' for value in per_seed)
  return f'{mean:.4g}{spread} ({seeds})'
