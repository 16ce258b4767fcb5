"""What a run says of itself to a person: HTML that opens from disk.

A page has all that it shows in itself, and asks for no server or network. A
report is made of the files of workdirs alone, so it can be made at any time.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools
import io
import json
import os
import pathlib
import shlex
from typing import Any

from etils import epath
from flax import traverse_util
import jinja2
from PIL import Image

from aae_jax import (
  __version__,
  addresses,
  drawing,
  early_stopping,
  errors,
  explorer,
  figures,
  measured,
  metrics,
  recipes,
)
from aae_jax import trained as trained_lib
from aae_jax.experiments import Experiment
from aae_jax.measured import Results
from aae_jax.measures import NUMBERS
from aae_jax.runs import Run
from aae_jax.train_state import TrainState

PIXELS_PER_PIXEL = 96 / drawing.DPI
"""Of a page, which has 96 an inch, for one of a figure."""

MAX_HEIGHT = 800
"""Pixels of a page, so that a picture can be seen at a glance."""

_FOLDER = pathlib.Path(__file__).parent / 'templates'

_CARD = b'---\nlibrary_name: aae_jax\n'
"""How a model card of this package begins."""

_MAX_SEEDS = 10
"""Whose numbers are told one by one: more do not fit on a page."""

_SPLITS = {'train': 'training', 'validation': 'validation', 'test': 'test'}


@dataclasses.dataclass(frozen=True)
class Table:
  """What a page shows in rows.

  Attributes:
    head: of each column.
    rows: a name, and a cell for each other column.
    caption: what the cells are of.
  """

  head: Sequence[str]
  rows: Sequence[Sequence[str]]
  caption: str = ''


def templates(*folders: pathlib.Path) -> jinja2.Environment:
  """The templates of these folders, and those of every page."""
  return jinja2.Environment(
    loader=jinja2.FileSystemLoader([*folders, _FOLDER]),
    autoescape=lambda name: name.endswith('.html'),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
  )


_TEMPLATES = templates()


def report(
  workdirs: Sequence[epath.PathLike], output: epath.PathLike
) -> epath.Path:
  """Writes a page of runs, side by side.

  Args:
    workdirs: of runs that have been evaluated, local or in a bucket; each is
      shown once.
    output: the page.

  Returns:
    The path of the page.

  Raises:
    InputError: no run is given, or one has no results.
    OSError: the page cannot be written.
  """
  if not workdirs:
    raise errors.InputError('no run is given; expected one workdir or more.')
  runs = [*map(Run, dict.fromkeys(map(addresses.folder, workdirs)))]
  path = addresses.folder(output)
  text = render_report(runs, path.parent)
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(text.encode())
  return path


def write_pages(experiment: Experiment, state: TrainState, run: Run) -> None:
  """Writes `explorer.html`, if there is something to explore, and the report.

  A page that cannot be made is named in a warning.

  Args:
    experiment: the system and its data, of a single setting.
    state: of all seeds; the first sound one is explored, by its averaged
      weights where it has any.
    run: which has been evaluated, and whose pictures are drawn.
  """
  sound = trained_lib.sound_seeds(state)
  if sound.any():
    explorer_of = functools.partial(
      _render_explorer, experiment, state, int(sound.argmax())
    )
    figures.write(run.workdir / 'explorer.html', explorer_of)
  # Which links to it.
  write_report(run)
  write_card(run)


def write_report(run: Run) -> None:
  """Writes `report.html`; if that fails, a warning says so."""
  path = run.workdir / 'report.html'
  figures.write(path, lambda: render_report([run], run.workdir).encode())


def _render_explorer(
  experiment: Experiment, state: TrainState, index: int
) -> bytes | None:
  """The page of the seed at that place."""
  dataset = experiment.dataset
  split, kind = figures.held_out(dataset)
  trained = experiment.trained(trained_lib.averaged(state)).seed(index)
  data = explorer.describe(trained, split, dataset.schema.classes)
  if data is None:
    return None
  number = f'{len(data["labels"]):,} {kind}'
  step = early_stopping.best_steps(state)[index]
  page = _TEMPLATES.get_template('explorer.html').render(
    title=f'The latent space of {dataset.name}',
    note=f'Seed {experiment.spec.seeds[index]}, step {step:,}',
    points=f'Points are the codes of {number}.'
    if data['thumbnails']
    else f'Points are {len(data["labels"]):,} samples of the prior.',
    data=data,
    version=__version__,
  )
  return page.encode()


def render_report(runs: Sequence[Run], folder: epath.Path) -> str:
  """The page of runs as HTML.

  Args:
    runs: which have been evaluated.
    folder: that the page will be in, whose links are relative to it.

  Raises:
    InputError: one has no results.
  """
  found = dict(zip(_names(runs), map(_results, runs), strict=True))
  first = next(iter(found.values()))
  is_alone = len(runs) == 1
  return _TEMPLATES.get_template('report.html').render(
    title=_title(first) if is_alone else f'{len(runs)} runs side by side',
    lede=_lede(first) if is_alone else '',
    sample=_sample(found),
    runs=[
      {
        'name': name,
        'facts': _facts(results),
        'command': _command(results),
        'explorer': _explorer(run, folder),
      }
      for run, (name, results) in zip(runs, found.items(), strict=True)
    ],
    numbers=[
      *_numbers(found, by_seed=is_alone),
      *(table for results in found.values() for table in _searched(results)),
    ],
    pictures=_pictures(dict(zip(found, runs, strict=True))),
    settings=_settings(found),
    version=__version__,
  )


def write_card(run: Run) -> None:
  """Writes the model card, `README.md`, unless that is something else.

  If that fails, a warning says so.
  """
  path = run.workdir / 'README.md'
  if not path.exists() or path.read_bytes().startswith(_CARD):
    figures.write(path, lambda: render_card(run).encode())


def render_card(run: Run) -> str:
  """What a run is, for who is given its model: Markdown.

  It begins with what model hubs read.

  Raises:
    InputError: the run has no results.
  """
  results, height, width, channels = _results(run), *run.schema.image_shape
  found = {'mean ± std': results}
  seeds, sound = results['seeds'], measured.sound_seeds(results)
  tested = {
    name: results['metrics'][f'test/{name}']['mean']
    for name in NUMBERS
    if f'test/{name}' in results['metrics']
  }
  return _TEMPLATES.get_template('card.md').render(
    name=run.workdir.name,
    system=results['config']['system'],
    data=results['dataset']['name'],
    task=_task(tested),
    results=[
      {'type': name, 'name': NUMBERS[name].title, 'value': value}
      for name, value in tested.items()
      if value is not None
    ],
    title=_title(results),
    lede=_lede(results),
    picture=_card_picture(run),
    facts=_facts(results),
    shape=f'{height} × {width} × {channels}',
    command=_command(results),
    settings=next(_settings(found))['table'],
    sample=_sample(found),
    numbers=[*_numbers(found, by_seed=False)],
    shipped=results.get('shipped'),
    num_runs=len(sound),
    lost=len(seeds) - len(sound),
    chosen=[
      measured.title(name)
      for name, split in results['chosen_on'].items()
      if split == 'training'
    ],
    version=__version__,
  )


def _task(tested: Mapping[str, Any]) -> str:
  """What hubs call it."""
  if 'classification_error' in tested:
    return 'image-classification'
  if 'parzen_log_likelihood' in tested:
    return 'unconditional-image-generation'
  return 'image-feature-extraction'


def _card_picture(run: Run) -> dict[str, str] | None:
  """The first that a run has."""
  for name in ('latent.png', 'samples.png', 'reconstructions.png'):
    if (run.workdir / 'figures' / name).exists():
      return {'file': f'figures/{name}', 'shows': figures.PICTURES[name]}
  return None


def spell(command: Sequence[str]) -> str:
  """What a shell is told: the program, and each argument in a line.

  Args:
    command: its words, the first two or `python -m MODULE` being the program.
  """
  words = [shlex.quote(word) for word in command]
  start = 3 if words[1:2] == ['-m'] else 2
  return ' \\\n    '.join([' '.join(words[:start]), *words[start:]])


def picture(path: epath.Path, shows: str) -> dict[str, Any]:
  """What is in a PNG file, and the size that it was drawn for.

  Args:
    path: of the file.
    shows: what it shows, for who cannot see it.
  """
  content = path.read_bytes()
  with Image.open(io.BytesIO(content)) as image:
    scale = min(PIXELS_PER_PIXEL, MAX_HEIGHT / image.height)
    width, height = (round(scale * size) for size in image.size)
  return {
    'width': width,
    'height': height,
    'shows': shows,
    'content': base64.b64encode(content).decode(),
  }


def _results(run: Run) -> Results:
  results = run.results
  if results is None:
    raise errors.InputError(
      f'{run.workdir} holds no results; expected the workdir of a run that has '
      'ended or been evaluated.'
    )
  return results


def _names(runs: Sequence[Run]) -> list[str]:
  """The last parts of the workdirs; all of them where those are alike."""
  names = [run.workdir.name for run in runs]
  return names if len({*names}) == len(runs) else [str(r.workdir) for r in runs]


def _title(results: Results) -> str:
  """The system and the data, in words."""
  return f'{results["config"]["system"]} on {results["dataset"]["name"]}'


def _lede(results: Results) -> str:
  """The number that settings are compared by, or the first one."""
  there = [n for n in NUMBERS if f'test/{n}' in results['metrics']]
  if not there:
    return 'There were no test images.'
  name = min(there, key=lambda name: not NUMBERS[name].chooses)
  number = NUMBERS[name]
  shown = f'{number.title} {measured.show(results, name)} {number.unit}'
  return f'{shown.rstrip()}.'


def _sample(found: Mapping[str, Results]) -> str:
  """Of what the numbers are, if all are of the same."""
  samples = {measured.describe_sample(results) for results in found.values()}
  if len(samples) > 1:
    return 'Mean ± standard deviation over the seeds of each run.'
  return f'Test: {samples.pop()}'


def _facts(results: Results) -> dict[str, str]:
  """What was trained, on what and with what."""
  config, data, seeds = (
    results[name] for name in ('config', 'dataset', 'seeds')
  )
  makers = measured.makers(results)
  anew = 'anew for each seed' if len(seeds) > 1 else 'at random'
  sizes = results['parameters'].items()
  diverged = len(seeds) - len(measured.sound_seeds(results))
  lost = [f'{diverged} diverged'] if diverged else []
  facts = {
    'System': [config['system'], *config['additions']],
    'Data': [
      data['name'],
      *(
        f'{data[split]:,} {kind} images'
        for split, kind in _SPLITS.items()
        if data[split]
      ),
    ],
    'Labels': [f'{config["num_labels"]:,}', f'drawn {anew}']
    if results['label_draws']
    else [],
    'Seeds': [*map(str, seeds), *lost],
    'Training': [
      f'{config["epochs"]:,} epochs',
      f'{results["step"]:,} of {results["total_steps"]:,} steps',
      *_best_epochs(results),
      measured.describe_duration(results['training_seconds']),
    ],
    'Weights': [f'{name} {size:,}' for name, size in sizes],
    'Hardware': [measured.describe_hardware(m['hardware']) for m in makers],
    'Software': [
      f'{name} {maker["versions"][name]}'
      for maker in makers
      for name in ('aae_jax', 'jax', 'python')
    ],
    'Commit': [measured.describe_commit(maker['commit']) for maker in makers],
  }
  return {
    name: ', '.join(dict.fromkeys(parts))
    for name, parts in facts.items()
    if parts
  }


def _best_epochs(results: Results) -> list[str]:
  """Which epochs early stopping has chosen, if it has."""
  told = results.get('early_stopping')
  if not told:
    return []
  epochs = ' and '.join(map(str, told['best_epochs']))
  return [f'measured is the best by {told["chosen_by"]}: of epoch {epochs}']


def _command(results: Results) -> str | None:
  """What trained a run last; the first results do not say it."""
  command = measured.makers(results)[-1].get('command')
  return command and spell(command)


def _explorer(run: Run, folder: epath.Path) -> str | None:
  """The way from a folder to the explorer of a run, if it has one."""
  path = run.workdir / 'explorer.html'
  return os.path.relpath(path, folder) if path.exists() else None


def _numbers(found: Mapping[str, Results], by_seed: bool) -> Iterator[Table]:
  """Those of each split: a column for each run, or each seed of a single."""
  results = [*found.values()]
  names = dict.fromkeys(name for of in results for name in of['metrics'])
  head = _seeds(results[0]) if by_seed else [*found]
  for split in ('test', 'validation'):
    own = [name for name in names if name.startswith(f'{split}/')]
    if own:
      cells = functools.partial(_cells, results, by_seed)
      rows = [[measured.title(name), *cells(name)] for name in own]
      yield Table([f'{split.capitalize()} images', *head], rows)


def _searched(results: Results) -> Iterator[Table]:
  """The settings of a search, and what they were compared by."""
  if 'search' not in results:
    return
  told = results['search']
  name = told['chosen_by']
  rows = [
    [
      metrics.name_setting(tried['setting']),
      measured.spell(name, tried['metrics'][name]),
    ]
    for tried in told['settings']
  ]
  best = metrics.name_setting(told['best'])
  split = name.partition('/')[0]
  title = f'{measured.title(name)}, {split} images'
  yield Table(['Setting', title], rows, f'{best} is best: all is told of it.')


def _seeds(results: Results) -> list[str]:
  """What the columns of a single run are called."""
  seeds = results['seeds']
  if len(seeds) == 1:
    return [f'seed {seeds[0]}']
  each = seeds if len(seeds) <= _MAX_SEEDS else []
  return ['mean ± std', *(f'seed {seed}' for seed in each)]


def _cells(results: Sequence[Results], by_seed: bool, name: str) -> list[str]:
  """A number of each run, or of each seed of a single one."""
  summaries = [of['metrics'].get(name) for of in results]
  cells = [measured.spell(name, summary) for summary in summaries]
  if not by_seed:
    return cells
  each = summaries[0]['per_seed']
  if not 1 < len(each) <= _MAX_SEEDS:
    return cells
  alone = [{'mean': value, 'std': None} for value in each]
  return cells + [measured.spell(name, summary) for summary in alone]


def _pictures(runs: Mapping[str, Run]) -> Iterator[dict[str, Any]]:
  """Each kind of picture that a run has, and those of the runs."""
  for file, shows in figures.PICTURES.items():
    paths = {name: run.workdir / 'figures' / file for name, run in runs.items()}
    found = [
      (name, picture(path, shows))
      for name, path in paths.items()
      if path.exists()
    ]
    if found:
      title = file.removesuffix('.png').capitalize()
      yield {'name': file, 'title': title, 'shows': shows, 'found': found}


def _settings(found: Mapping[str, Results]) -> Iterator[dict[str, Any]]:
  """What differs from the defaults, and all keys."""
  configs = [_flat(results['config']) for results in found.values()]
  defaults = _flat(json.loads(recipes.defaults().to_json()))
  keys = sorted({key for config in configs for key in config})
  told = {
    key: [_told(config.get(key)) for config in (*configs, defaults)]
    for key in keys
  }
  different = {
    key: row for key, row in told.items() if {*row[:-1]} != {row[-1]}
  }
  head = ['config.', *(found if len(found) > 1 else ['value']), 'default']
  yield {'table': _table(head, different), 'folded': ''}
  yield {'table': _table(head, told), 'folded': 'All settings'}


def _table(head: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Table:
  return Table(head, [[name, *cells] for name, cells in rows.items()])


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
  return traverse_util.flatten_dict(config, sep='.')


def _told(value: Any) -> str:
  """A value as the command line takes it; None is left to who takes it."""
  if value is None:
    return ''
  return str(tuple(value)) if isinstance(value, list) else str(value)
