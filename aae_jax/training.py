"""The loop: build, restore, step, log, evaluate, save."""

from collections.abc import Mapping, Sequence
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
  analysis,
  errors,
  evaluation,
  figures,
  provenance,
  recipes,
  saved_model,
  search,
)
from aae_jax import experiment as experiments
from aae_jax import metrics as metrics_lib
from aae_jax.checkpoints import Checkpoints
from aae_jax.datasets.dataset import Dataset, Split
from aae_jax.experiment import Experiment
from aae_jax.interruption import Interruption
from aae_jax.provenance import History
from aae_jax.train_state import TrainState

MODES = ('train', 'evaluate', 'export')

_WEIGHTS = 'weights'
"""Beside the losses: what may not be finite."""

SECONDS_PER_CALL = 5.0
"""A signal is answered between calls to the devices, so they stay short."""


def train_and_evaluate(
  config: ml_collections.ConfigDict, workdir: epath.PathLike
) -> None:
  """Trains a system, or goes on where its run stopped, and evaluates it.

  Leaves in the workdir `config.json`, `model.json`, `checkpoints/`,
  `metrics.jsonl`, TensorBoard events, `provenance.json`, and `results.json`
  once the last step is done.

  Raises:
    InputError: the configuration is wrong, or the workdir holds another run.
    DivergenceError: a loss is not finite.
    OSError: something cannot be written.
  """
  workdir = epath.Path(workdir)
  check_workdir(config, workdir)
  if is_finished(workdir):
    print(f'{workdir} holds the finished run: there is nothing to do.')
    return
  with Interruption() as interruption:
    provenance.of_process()
    experiment = experiments.build(config)
    check_data(experiment.dataset, workdir)
    print(describe(experiment, workdir), flush=True)
    _prepare(experiment, workdir)
    with Checkpoints(
      workdir / 'checkpoints', config.checkpoints_to_keep
    ) as checkpoints:
      state = checkpoints.restore(experiment.abstract_state())
      if state is None:
        state = experiment.init()
      else:
        print(f'Going on from step {int(state.step):,}.', flush=True)
      history = History(workdir, int(state.step))
      state = _train(
        experiment, workdir, checkpoints, state, history, interruption
      )
    print(_finish(experiment, workdir, state, history), flush=True)


def evaluate(
  config: ml_collections.ConfigDict, workdir: epath.PathLike
) -> None:
  """Evaluates the last checkpoint and writes `results.json`.

  Raises:
    InputError: there is no checkpoint, or it is another configuration's.
  """
  provenance.of_process()
  workdir = epath.Path(workdir)
  check_workdir(config, workdir)
  if not (workdir / 'checkpoints').exists():
    raise errors.InputError(
      f'{workdir} holds no checkpoint; expected the workdir of a run.'
    )
  experiment = experiments.build(config)
  check_data(experiment.dataset, workdir)
  with Checkpoints(
    workdir / 'checkpoints', config.checkpoints_to_keep
  ) as checkpoints:
    state = checkpoints.restore(experiment.abstract_state())
  if state is None:
    raise errors.InputError(
      f'{workdir} holds no checkpoint; expected the workdir of a run.'
    )
  history = History(workdir, int(state.step))
  print(_finish(experiment, workdir, state, history), flush=True)


def export(config: ml_collections.ConfigDict, workdir: epath.PathLike) -> None:
  """Writes the trained functions as StableHLO, see `saved_model.export`.

  Raises:
    InputError: there is no checkpoint, or it is another configuration's.
  """
  workdir = epath.Path(workdir)
  check_workdir(config, workdir)
  print('\n'.join(saved_model.export(workdir)), flush=True)


def check_workdir(
  config: ml_collections.ConfigDict, workdir: epath.Path
) -> None:
  """Refuses a workdir that holds the run of another configuration."""
  if not (workdir / 'config.json').exists():
    return
  different = differences(
    *(
      traverse_util.flatten_dict(content, sep='.')
      for content in (
        saved_model.read_config(workdir),
        json.loads(config.to_json()),
        json.loads(recipes.defaults().to_json()),
      )
    )
  )
  if different:
    raise errors.InputError(
      f'{workdir} holds the run of another configuration '
      f'({"; ".join(different)}). Choose another --workdir.'
    )


def differences(
  before: Mapping[str, Any],
  now: Mapping[str, Any],
  defaults: Mapping[str, Any],
) -> list[str]:
  """In what two configurations are not those of one run.

  Neutral keys may differ, and a key that came later may be left at its default.

  Args:
    before: the flat configuration of the run, `{'encoder.noise': 0.3}`.
    now: the one to go on with.
    defaults: of all keys that have one.

  Returns:
    A phrase for each key.
  """
  known = {key: defaults[key] for key in now.keys() & defaults.keys()}
  before = known | before
  return [
    f'{key} is {now.get(key, "absent")}, '
    f'in the workdir {before.get(key, "absent")}'
    for key in sorted(before.keys() | now.keys())
    if key not in experiments.NEUTRAL_KEYS
    and (key not in before or key not in now or before[key] != now[key])
  ]


def check_data(dataset: Dataset, workdir: epath.Path) -> None:
  """Refuses a workdir whose run has seen other data."""
  if not (workdir / 'config.json').exists():
    return
  before = saved_model.read_signature(workdir)
  if before.digest != dataset.digest:
    raise errors.InputError(
      f'{workdir} holds the run of other data ({before.dataset}, of digest '
      f'{before.digest[:12]}) than {dataset.name}, of digest '
      f'{dataset.digest[:12]}; choose another --workdir.'
    )


def describe(experiment: Experiment, workdir: epath.Path) -> str:
  """What a run is going to do, in a few lines."""
  config, dataset = experiment.config, experiment.dataset
  state = jax.eval_shape(experiment.init)
  labels = ''
  if experiment.labelled.size:
    labels = (
      ', all labelled'
      if config.num_labels == -1
      else f', {config.num_labels:,} of them labelled'
    )
  sizes = ', '.join(
    f'{name} {count:,}'
    for name, count in _count_parameters(
      state.params, len(experiment.runs)
    ).items()
  )
  devices = experiment.devices
  return '\n'.join(
    [
      f'System     {config.system}: '
      + ', '.join(phase.name for phase in experiment.system.phases),
      f'Data       {dataset.name}, {" x ".join(map(str, dataset.image_shape))}:'
      f' {dataset.train.num_images:,} images to train on{labels};'
      f' {dataset.validation.num_images:,} for validation,'
      f' {dataset.test.num_images:,} for the test',
      f'Parameters {sizes}',
      f'Devices    {len(devices)} x {devices[0].device_kind}',
      f'Seeds      {", ".join(map(str, experiment.seeds))}',
      *_describe_search(experiment),
      f'Steps      {experiment.total_steps:,}: {config.epochs:,} epochs of '
      f'{experiment.feed.steps_per_epoch:,}, batch size {config.batch_size}',
      f'Workdir    {workdir}',
    ]
  )


def _describe_search(experiment: Experiment) -> list[str]:
  if not experiment.searches:
    return []
  names = ' | '.join(setting.name for setting in experiment.settings)
  return [
    f'Settings   {names}',
    f'Chosen by  validation/{search.measure(experiment)}',
  ]


def _prepare(experiment: Experiment, workdir: epath.Path) -> None:
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    saved_model.write_signature(workdir, experiment)
    config = json.loads(experiment.config.to_json())
    metrics_lib.write_json(workdir / 'config.json', config)
  except OSError as error:
    raise errors.InputError(
      f'cannot write to workdir {workdir}: {error.strerror or error}'
    ) from None


def _train(
  experiment: Experiment,
  workdir: epath.Path,
  checkpoints: Checkpoints,
  state: TrainState,
  history: History,
  interruption: Interruption,
) -> TrainState:
  """Steps to the end; returns the state."""
  config, feed = experiment.config, experiment.feed
  run, data = experiment.run(), experiment.data()
  evaluator = evaluation.Evaluator(
    experiment.system, experiment.dataset.num_classes is not None
  )
  step = int(state.step)
  calls = Calls(config.steps_per_call, feed.steps_per_epoch)
  with contextlib.ExitStack() as stack:
    writer = stack.enter_context(
      metrics_lib.MetricsWriter(workdir, step, experiment.seeds)
    )
    progress = stack.enter_context(_progress(experiment, step))
    saved = time.monotonic()
    while step < experiment.total_steps:
      started = time.monotonic()
      num_steps = calls.next_length(step)
      state, is_sound = run(state, data, num_steps)
      is_sound, diverged = jax.device_get((is_sound, state.report['diverged']))
      # Until the first call is through, which compiles, nothing is new.
      if not interruption.is_deferred:
        stack.enter_context(interruption.deferred())
      step += num_steps
      calls.finished(num_steps, time.monotonic() - started)
      diverged[_WEIGHTS] = np.where(is_sound, -1, step)
      _check_finite(diverged, experiment.runs, config.on_divergence)
      if step % feed.steps_per_epoch == 0:
        epoch = step // feed.steps_per_epoch
        found = _of_epoch(experiment, evaluator, state, epoch)
        rows = _by_setting(experiment, found, is_sound)
        for setting, row in zip(experiment.settings, rows, strict=True):
          writer.write(step, epoch, history.seconds, row, setting.values)
        progress.update(step, epoch, *rows)
      is_due = time.monotonic() - saved >= config.checkpoint_every_seconds
      is_interrupted = interruption.signal is not None
      if is_due or is_interrupted:
        # In this order, so that no checkpoint lacks what was before it.
        writer.flush()
        history.save(step)
        checkpoints.save(step, state)
        saved = time.monotonic()
      if is_interrupted:
        checkpoints.wait()
        interruption.leave(
          f'saved step {step:,}; the same command goes on from there.'
        )
    writer.flush()
    history.save(step)
    checkpoints.save(step, state)
    checkpoints.wait()
    return state


def _progress(experiment: Experiment, step: int) -> metrics_lib.Progress:
  return metrics_lib.Progress(
    experiment.total_steps,
    step,
    experiment.feed.steps_per_epoch,
    experiment.config.batch_size * len(experiment.runs),
  )


def _of_epoch(
  experiment: Experiment,
  evaluator: evaluation.Evaluator,
  state: TrainState,
  epoch: int,
) -> dict[str, np.ndarray]:
  """The metrics of an epoch that has ended, [R] each."""
  sums = jax.device_get(state.report['sums'])
  found = {
    name: total / experiment.feed.steps_per_epoch
    for name, total in sums.items()
  }
  if epoch % experiment.config.evaluate_every_epochs == 0:
    found |= _evaluate_split(
      evaluator, state, 'validation', experiment.dataset.validation
    )
  return found


def _by_setting(
  experiment: Experiment, found: Mapping[str, np.ndarray], sound: np.ndarray
) -> list[metrics_lib.Summaries]:
  """The summaries of each setting, of numbers [R]."""
  return [
    metrics_lib.summarize(_part(found, runs), sound[runs])
    for runs in experiment.places
  ]


def _part(
  found: Mapping[str, np.ndarray], runs: slice
) -> dict[str, np.ndarray]:
  return {name: values[runs] for name, values in found.items()}


class Calls:
  """How many steps each call to the devices makes.

  A call ends with its epoch, after `steps_per_call` steps, and after about
  `SECONDS_PER_CALL`: the first call measures a single step.
  """

  def __init__(self, steps_per_call: int, steps_per_epoch: int):
    """Takes `config.steps_per_call`, where -1 stands for an epoch."""
    self._steps_per_epoch = steps_per_epoch
    self._longest = steps_per_epoch if steps_per_call == -1 else steps_per_call
    self._affordable = 1
    self._compiled = False

  def next_length(self, step: int) -> int:
    """Steps of the call that begins at `step`."""
    left = self._steps_per_epoch - step % self._steps_per_epoch
    return min(left, self._longest, self._affordable)

  def finished(self, num_steps: int, seconds: float) -> None:
    """Takes note of a call: its length and duration."""
    # The first call compiles, and so tells nothing about the time of a step.
    if self._compiled:
      self._affordable = max(
        1, math.floor(SECONDS_PER_CALL * num_steps / seconds)
      )
    self._compiled = True


def _check_finite(
  diverged: Mapping[str, np.ndarray], runs: Sequence[str], on_divergence: str
) -> None:
  """Raises DivergenceError at the first loss, or weights, not finite.

  With `on_divergence='continue'` only once no run is left.
  """
  steps = {
    (step, name, index)
    for name, first in diverged.items()
    for index, step in enumerate(first.tolist())
    if step >= 0
  }
  if not steps:
    return
  step, name, index = min(steps)
  is_over = len({index for _, _, index in steps}) == len(runs)
  if on_divergence == 'stop' or is_over:
    what = (
      f'weights of {runs[index]} are not finite after'
      if name == _WEIGHTS
      else f'{name} of {runs[index]} is not finite at'
    )
    raise errors.DivergenceError(
      f'{what} step {step:,}; the last checkpoint is from before. A lower '
      'learning rate may help.'
    )


def _evaluate_split(
  evaluator: evaluation.Evaluator, state: TrainState, name: str, split: Split
) -> dict[str, np.ndarray]:
  if not split.num_images:
    return {}
  means = evaluator(state, split)
  return {f'{name}/{key}': mean for key, mean in means.items()}


def is_finished(workdir: epath.PathLike) -> bool:
  """Whether a workdir holds the results of a run's last step."""
  path = epath.Path(workdir) / 'results.json'
  if not path.exists():
    return False
  results = json.loads(path.read_text())
  return results['step'] == results['total_steps']


def _finish(
  experiment: Experiment,
  workdir: epath.Path,
  state: TrainState,
  history: History,
) -> str:
  """Evaluates, writes results and figures, and says the numbers in lines.

  Of a search the best setting, told by validation images, is what is left.
  """
  dataset = experiment.dataset
  evaluator = evaluation.Evaluator(
    experiment.system, dataset.num_classes is not None
  )
  found = search.validate(
    experiment,
    state,
    _evaluate_split(evaluator, state, 'validation', dataset.validation),
  )
  validated = _by_setting(experiment, found, evaluation.sound_seeds(state))
  best = search.best(experiment, validated)
  told, lines = _tell_search(experiment, validated, best)
  # No other setting sees the test images.
  found = _part(found, experiment.places[best])
  experiment, state = experiment.at_setting(best, state)
  found |= _evaluate_split(evaluator, state, 'test', dataset.test)
  if dataset.test.num_images:
    numbers = analysis.analyze(experiment, state)
    found |= {f'test/{key}': value for key, value in numbers.items()}
  sound = evaluation.sound_seeds(state)
  summary = metrics_lib.summarize(found, sound)
  chosen_on, _ = analysis.choosing_split(dataset)
  results = {
    **told,
    'metrics': summary,
    'chosen_on': {
      name: chosen_on
      for name in summary
      if name.removeprefix('test/') in analysis.CHOSEN
    },
    'last_epoch': _last_row(experiment, workdir),
    'sound_seeds': np.asarray(experiment.seeds)[sound].tolist(),
    **_describe_run(experiment, state, history),
  }
  metrics_lib.write_json(workdir / 'results.json', results)
  # Only then, so that no picture can cost a number.
  figures.write_figures(experiment, state, workdir)
  lines += [f'{key} {_show(value)}' for key, value in summary.items()]
  if not sound.all():
    lines.append(
      f'Means are over the sound seeds, {sound.sum()} of {sound.size}: the '
      'others have diverged.'
    )
  lines.append(f'Results in {workdir / "results.json"}, pictures beside it.')
  return '\n'.join(lines)


def _describe_run(
  experiment: Experiment, state: TrainState, history: History
) -> dict[str, Any]:
  """What the numbers of the results are of."""
  dataset = experiment.dataset
  return {
    'step': int(state.step),
    'total_steps': experiment.total_steps,
    'seeds': list(experiment.seeds),
    'label_draws': _count_label_draws(experiment),
    'dataset': {
      'name': dataset.name,
      'train': dataset.train.num_images,
      'validation': dataset.validation.num_images,
      'test': dataset.test.num_images,
    },
    'parameters': _count_parameters(state.params, len(experiment.seeds)),
    'training_seconds': sum(part['seconds'] for part in history.trained),
    'trained': history.trained,
    'evaluated': provenance.of_process(),
    'config': json.loads(experiment.config.to_json()),
  }


def _tell_search(
  experiment: Experiment,
  validated: Sequence[metrics_lib.Summaries],
  best: int,
) -> tuple[dict[str, Any], list[str]]:
  """What results hold of a search, by setting, and lines that say so."""
  if not experiment.searches:
    return {}, []
  settings, name = (
    experiment.settings,
    f'validation/{search.measure(experiment)}',
  )
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


def _last_row(experiment: Experiment, workdir: epath.Path) -> dict[str, Any]:
  """Of the setting; empty if there is none."""
  [setting] = experiment.settings
  rows = metrics_lib.read_rows(workdir, setting.values)
  return rows[-1] if rows else {}


def _count_label_draws(experiment: Experiment) -> int:
  """One a seed; none where no labels are drawn, or all are taken."""
  is_drawn = experiment.labelled.size and experiment.config.num_labels != -1
  return len(experiment.seeds) if is_drawn else 0


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
