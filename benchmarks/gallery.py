"""Trains a short form of every system and shows them all on one page.

  python -m benchmarks.gallery [--data=mnist|digits] [NAME ...]

Each exhibit is a command of its own, which goes on where it was stopped. After
each of them `runs/gallery/index.html` is written anew, with all that are there:
a page that needs no other file. Without --data it is of MNIST, or of digits
where MNIST is neither at hand nor to be downloaded.
"""

import base64
from collections.abc import Mapping, Sequence
import dataclasses
import datetime
import html
import json
import pathlib
import runpy
import shlex
import string
from typing import Any

from PIL import Image

from aae_jax import datasets, figures, recipes
from benchmarks import command_line, reproduce
from benchmarks.command_line import ROOT

FOLDER = pathlib.Path('runs/gallery')
"""Of the page and of the runs, in the root of the repository."""

DATA = {'mnist': 'MNIST', 'digits': 'UCI digits'}
"""How the data sets are spelled."""

PIXELS_PER_PIXEL = 96 / figures.DPI
"""Of a page, which has 96 an inch, for one of a figure."""

MAX_HEIGHT = 800
"""Pixels of a page, so that a picture can be seen at a glance."""

NUMBERS = {
  'classification_error': ('Classification error', '%', 2),
  'clustering_accuracy': ('Accuracy under the best naming', '%', 2),
  'clustering_ari': ('Adjusted Rand index', '', 3),
  'clustering_error': ('Clustering error', '%', 2),
  'clustering_nmi': ('Normalized mutual information', '', 3),
  'elbo': ('Evidence lower bound', 'nats', 1),
  'empty_clusters': ('Empty clusters', '', 0),
  'energy_distance': ('Energy distance to the prior', '', 4),
  'importance_weighted_bound': ('Importance-weighted bound', 'nats', 1),
  'knn_error': ('Error of five nearest neighbours', '%', 2),
  'linear_probe_error': ('Error of a linear probe', '%', 1),
  'mlp_probe_error': ('Error of a nonlinear probe', '%', 1),
  'parzen_log_likelihood': ('Parzen log-likelihood', 'nats', 1),
  'parzen_log_likelihood_fitted_gaussian': (
    'Parzen log-likelihood of a fitted Gaussian',
    'nats',
    1,
  ),
  'reconstruction_error': ('Squared error, summed over pixels', '', 2),
  'region_share': ('Codes in the place of their label', '%', 1),
}
"""What a number is called, its unit, and its decimal places."""

PICTURES = {
  'latent.png': 'codes of held-out images in the plane, coloured by class',
  'manifold.png': 'images decoded on a grid over the plane of codes',
  'samples.png': 'sampled images',
  'styles.png': 'the style of an image in each row, a label in each column',
  'clusters.png': 'a cluster in each row: its head, then images given to it',
  'reconstructions.png': 'held-out images above their reconstructions',
  'curves.png': 'losses and accuracies, epoch by epoch',
  'comparison.png': 'codes of four runs in the plane, coloured by class',
}
"""What each shows, for who cannot see it; in the order of the page."""


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a gallery is made, and of what.

  Attributes:
    data: a key of `DATA`.
    folder: of the page and the runs; if relative, in `ROOT`.
  """

  data: str
  folder: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Run:
  """A system that is trained.

  Attributes:
    name: of the exhibit.
    title: what it is.
    text: what to look for.
    config: the configuration, without the data set that its name begins with.
    epochs: by data set.
    shown: the pictures that are to be seen at once.
    numbers: of `NUMBERS`; the contents show the first.
    overrides: keys of the configuration.
    paper: what Makhzani et al. (2015) report of the same on MNIST, by number.
  """

  name: str
  title: str
  text: str
  config: str
  epochs: Mapping[str, int]
  shown: Sequence[str]
  numbers: Sequence[str]
  overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  paper: Mapping[str, str] = dataclasses.field(default_factory=dict)

  @property
  def runs(self) -> Sequence['Run']:
    """What has to be trained for it."""
    return (self,)

  def settings(self, data: str) -> tuple[pathlib.Path, dict[str, Any]]:
    """The file of its configuration, and the keys that differ from it."""
    changes = {'epochs': self.epochs[data], **self.overrides}
    return pathlib.Path(f'configs/{data}_{self.config}.py'), changes

  def workdir(self, place: Place) -> pathlib.Path:
    """Where it is trained."""
    return place.folder / f'{place.data}_{self.name}'

  def command(self, place: Place) -> list[str]:
    """What Python is to run."""
    path, changes = self.settings(place.data)
    return reproduce.train_command(path, self.workdir(place), changes)

  def results(self, place: Place) -> dict[str, Any] | None:
    """Its `results.json`, once it is finished with these settings."""
    path = ROOT / self.workdir(place) / 'results.json'
    if not path.exists():
      return None
    results = json.loads(path.read_text())
    file, changes = self.settings(place.data)
    config = runpy.run_path(str(ROOT / file))['get_config']()
    config.update_from_flattened_dict(changes)
    is_finished = results['step'] == results['total_steps']
    is_same = results['config'] == json.loads(config.to_json())
    return results if is_finished and is_same else None

  def is_there(self, place: Place) -> bool:
    """Whether it can be shown."""
    return self.results(place) is not None

  def pictures(self, place: Place) -> tuple[list[pathlib.Path], ...]:
    """Those to be seen at once, and those that are folded away.

    One that could not be drawn is missing.
    """
    folder = ROOT / self.workdir(place) / 'figures'
    drawn = {path.name for path in folder.glob('*.png')}
    others = drawn - {*self.shown}
    order = [*PICTURES, *sorted(others)]
    return (
      [folder / name for name in self.shown if name in drawn],
      [folder / name for name in sorted(others, key=order.index)],
    )

  def table(self, place: Place) -> str:
    """Its numbers, as HTML."""
    results = self.results(place)
    paper = self.paper if place.data == 'mnist' else {}
    head = ['Test images', 'short\N{NO-BREAK SPACE}run']
    if paper:
      head.append('paper')
    rows = []
    for key in self.numbers:
      row = [_name(key), _show(results, key)]
      rows.append(row + ([paper.get(key, '')] if paper else []))
    return _table(head, rows, _sample(results))

  def made(self, place: Place) -> str:
    """How long it was trained."""
    results = self.results(place)
    epochs, steps = results['config']['epochs'], results['total_steps']
    return (
      f'{epochs} epochs, {steps:,} steps, trained in '
      f'{_duration(results["training_seconds"])}.'
    )


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Runs that are shown side by side.

  Attributes:
    name: of the exhibit.
    title: what it is.
    text: what to look for.
    runs: in the order of the panels, two in a row.
    numbers: of `NUMBERS`, a column each.
  """

  name: str
  title: str
  text: str
  runs: Sequence[Run]
  numbers: Sequence[str]

  def _picture(self, place: Place) -> pathlib.Path:
    return place.folder / f'{place.data}_{self.name}' / 'comparison.png'

  def command(self, place: Place) -> list[str]:
    """What Python is to run."""
    return [
      '-m',
      'benchmarks.compare_codes',
      *(str(run.workdir(place)) for run in self.runs),
      '--columns=2',
      f'--output={self._picture(place)}',
    ]

  def is_there(self, place: Place) -> bool:
    """Whether it can be shown, and is of the runs as they are."""
    picture = ROOT / self._picture(place)
    if not (picture.exists() and all(r.is_there(place) for r in self.runs)):
      return False
    drawn = picture.stat().st_mtime
    results = [ROOT / r.workdir(place) / 'results.json' for r in self.runs]
    return all(path.stat().st_mtime <= drawn for path in results)

  def pictures(self, place: Place) -> tuple[list[pathlib.Path], ...]:
    """The one to be seen, and none that is folded away."""
    return [ROOT / self._picture(place)], []

  def table(self, place: Place) -> str:
    """A row for each run, as HTML."""
    rows = [
      [run.title, *(_show(run.results(place), key) for key in self.numbers)]
      for run in self.runs
    ]
    head = ['Test images', *(_name(key) for key in self.numbers)]
    return _table(head, rows, _sample(self.runs[0].results(place)))

  def made(self, place: Place) -> str:
    """Of what it was made."""
    del place
    return 'Drawn from the runs above.'


SHORT = {'mnist': 10, 'digits': 200}
"""Epochs: one of MNIST has 300 steps, one of digits 14."""

AUTOENCODER = Run(
  'autoencoder',
  'Autoencoder',
  'Nothing but the reconstruction shapes the codes. Look for the holes that '
  'they leave in the plane, and for what the decoder makes of the holes: '
  'blends of several digits.',
  'autoencoder',
  SHORT,
  ['latent.png', 'manifold.png'],
  ['reconstruction_error', 'parzen_log_likelihood_fitted_gaussian'],
)
VAE_GAUSSIAN = Run(
  'vae_gaussian',
  'VAE, 2-D Gaussian',
  'The divergence from the posterior of each image to the prior, here in '
  'closed form, draws the codes together. Look for classes that lie side by '
  'side around the origin, and for digits all over the plane.',
  'vae',
  SHORT,
  ['latent.png', 'manifold.png'],
  [
    'energy_distance',
    'reconstruction_error',
    'importance_weighted_bound',
    'elbo',
    'parzen_log_likelihood',
  ],
)
VAE_MIXTURE = Run(
  'vae_gaussian_mixture',
  'VAE, mixture of ten Gaussians',
  'The same bound; the divergence is estimated with the density of the '
  'mixture, which a VAE has to know. Compare how far the codes keep to the '
  'petals. The picture shows the means of the posteriors, the energy '
  'distance is that of draws from them.',
  'vae',
  SHORT,
  ['latent.png'],
  [
    'energy_distance',
    'reconstruction_error',
    'importance_weighted_bound',
    'elbo',
    'parzen_log_likelihood',
  ],
  {'prior.name': 'gaussian_mixture'},
)
GAN = Run(
  'gan',
  'GAN',
  'A decoder of noise against a discriminator of images; without an encoder '
  'there are no codes to look at. Look for strokes as sharp as real ones, '
  'and for variety: a generator that has collapsed repeats a few images.',
  'gan',
  {'mnist': 15, 'digits': 300},
  ['samples.png', 'curves.png'],
  ['parzen_log_likelihood'],
)
AAE_GAUSSIAN = Run(
  'aae_gaussian',
  'AAE, 2-D Gaussian',
  'A discriminator tells codes from samples of the prior, and the encoder '
  'learns to fool it. Look for codes that are spread as the prior is, '
  'without holes, and for a discriminator that is right half of the time.',
  'aae',
  SHORT,
  ['latent.png', 'manifold.png', 'curves.png'],
  ['energy_distance', 'reconstruction_error', 'parzen_log_likelihood'],
)
AAE_MIXTURE = Run(
  'aae_gaussian_mixture',
  'AAE, mixture of ten Gaussians',
  'The prior need only be sampled, so that any shape will do. Look for '
  'codes on the petals and nowhere else. Nothing tells the encoder the '
  'labels: a petal may hold several classes, and a class several petals.',
  'aae',
  SHORT,
  ['latent.png'],
  ['energy_distance', 'reconstruction_error', 'parzen_log_likelihood'],
  {'prior.name': 'gaussian_mixture'},
)
AAE_SWISS_ROLL = Run(
  'aae_swiss_roll',
  'AAE, swiss roll',
  'A prior that is almost a curve. Look for codes that follow the spiral '
  'from turn to turn, instead of filling the space between.',
  'aae',
  SHORT,
  ['latent.png'],
  ['energy_distance', 'reconstruction_error', 'parzen_log_likelihood'],
  {'prior.name': 'swiss_roll'},
)
COMPARISON = Comparison(
  'comparison',
  'AAE and VAE side by side',
  'Both systems under both priors, as in figure 2 of the paper, which finds '
  'that the codes of the AAE follow the prior more closely. The energy '
  'distance measures it: 0 where codes and prior have the same '
  'distribution.',
  [AAE_GAUSSIAN, VAE_GAUSSIAN, AAE_MIXTURE, VAE_MIXTURE],
  ['energy_distance', 'reconstruction_error'],
)
EXHIBITS = (
  AUTOENCODER,
  VAE_GAUSSIAN,
  VAE_MIXTURE,
  GAN,
  AAE_GAUSSIAN,
  AAE_MIXTURE,
  AAE_SWISS_ROLL,
  COMPARISON,
  Run(
    'label_regularized_gaussian_mixture',
    'Label-regularized AAE, mixture of ten',
    'The discriminator is told the label beside the code, and each label '
    'has a petal of its own. Look for the colours of the codes where the '
    'prior has them.',
    'label_regularized',
    SHORT,
    ['latent.png'],
    ['region_share', 'energy_distance', 'reconstruction_error'],
  ),
  Run(
    'label_regularized_swiss_roll',
    'Label-regularized AAE, swiss roll',
    'Each label has its stretch of the spiral, 0 at the centre and 9 at '
    'the outer end. Look for the order of the colours along it.',
    'label_regularized',
    SHORT,
    ['latent.png'],
    ['region_share', 'energy_distance', 'reconstruction_error'],
    {'prior.name': 'swiss_roll'},
  ),
  Run(
    'supervised',
    'Supervised AAE',
    'The decoder is told the label, so that the code is left with the '
    'style. Look along a row: slant and stroke of its image stay, the '
    'digit changes. Probes read the label from the style; the less it has '
    'of it, the closer they err to 90 %.',
    'supervised',
    SHORT,
    ['styles.png'],
    [
      'linear_probe_error',
      'mlp_probe_error',
      'energy_distance',
      'reconstruction_error',
    ],
  ),
  Run(
    'semi_supervised',
    'Semi-supervised AAE',
    'The encoder gives a label and a style, each with a discriminator of '
    'its own, and learns the names of the labels from 100 images. Look '
    'for rows of one style, as above, although nearly all images came '
    'without a label.',
    'semi_supervised',
    SHORT,
    ['styles.png', 'curves.png'],
    ['classification_error', 'reconstruction_error', 'energy_distance'],
    paper={'classification_error': '1.90 ± 0.10'},
  ),
  Run(
    'clustering',
    'Clustering AAE',
    'The same without any label: the one-hot part of the code names a '
    'cluster. Each row begins with the head of the cluster, decoded '
    'without a style. Look for rows of one class; for the error, a '
    'cluster is named after the validation image that is surest to be in '
    'it.',
    'clustering',
    SHORT,
    ['clusters.png'],
    [
      'clustering_error',
      'clustering_accuracy',
      'clustering_nmi',
      'clustering_ari',
      'empty_clusters',
    ],
    paper={'clustering_error': '4.10 ± 1.13'},
  ),
  Run(
    'dimensionality_reduction',
    'Dimensionality reduction, 100 labels',
    'The decoder sees the sum of a learned head for each class and a 2-D '
    'style. Look for one cloud a class around its head, and for heads '
    'that keep apart.',
    'dimensionality_reduction',
    SHORT,
    ['latent.png'],
    ['classification_error', 'knn_error', 'reconstruction_error'],
    paper={'classification_error': '6.08'},
  ),
  Run(
    'dimensionality_reduction_clustering',
    'Dimensionality reduction, no labels',
    'A map of the images made from nothing else, with a head for each '
    'cluster. Look for clouds of one colour, though no colour was known; a '
    'class may have several heads.',
    'dimensionality_reduction_clustering',
    SHORT,
    ['latent.png', 'clusters.png'],
    ['clustering_error', 'knn_error', 'clustering_nmi', 'empty_clusters'],
    paper={'clustering_error': '13.95'},
  ),
)
"""In the order of the paper."""


def choose_data() -> str:
  """MNIST where it is at hand or can be downloaded, otherwise digits."""
  try:
    datasets.load('mnist', data_dir=recipes.defaults().dataset.data_dir)
  except OSError as error:
    print(f'The gallery is of digits, for there is no MNIST: {error}')
    return 'digits'
  return 'mnist'


def make(exhibit: Run | Comparison, place: Place) -> None:
  """Runs what the exhibit needs and is not there yet.

  Raises:
    SystemExit: a program failed, and has said why.
  """
  for part in (*exhibit.runs, exhibit):
    if not part.is_there(place):
      print(f'\n{part.title}', flush=True)
      reproduce.run_to_end('gallery', part.command(place))


def write_page(place: Place) -> pathlib.Path:
  """Writes `index.html`, of the exhibits that are there; returns its path."""
  there = [exhibit for exhibit in EXHIBITS if exhibit.is_there(place)]
  template = pathlib.Path(__file__).with_suffix('.html').read_text()
  page = string.Template(template).substitute(
    data=DATA[place.data],
    facts=_facts(there, place),
    contents='\n'.join(
      _entry(number, exhibit, place) for number, exhibit in enumerate(there, 1)
    ),
    sections='\n'.join(
      _section(number, exhibit, place)
      for number, exhibit in enumerate(there, 1)
    ),
  )
  path = ROOT / place.folder / 'index.html'
  path.write_text(page)
  return path


def _facts(there: Sequence[Run | Comparison], place: Place) -> str:
  """The data, and what all runs were made with, as HTML."""
  runs = {run.name: run for exhibit in there for run in exhibit.runs}
  found = [run.results(place) for run in runs.values()]
  seconds = sum(results['training_seconds'] for results in found)
  # Older results are of one process, and say so at the top.
  makers = [m for results in found for m in results.get('trained', [results])]
  facts = {
    'Data': [_describe_data(results['dataset']) for results in found],
    'Hardware': [describe_hardware(part['hardware']) for part in makers],
    'Software': [
      f'jax {part["versions"]["jax"]}, Python {part["versions"]["python"]}'
      for part in makers
    ],
    'Commit': [_describe_commit(part['commit']) for part in makers],
    'Training': [f'{_duration(seconds)} for {len(found)} runs'],
    'Written': [datetime.date.today().isoformat()],
  }
  if len(there) < len(EXHIBITS):
    facts['Exhibits'] = [f'{len(there)} of {len(EXHIBITS)} so far']
  return '\n'.join(
    f'<dt>{name}</dt><dd>{html.escape("; ".join(dict.fromkeys(values)))}</dd>'
    for name, values in facts.items()
  )


def _describe_data(data: Mapping[str, Any]) -> str:
  train = data['train'] + data['validation']
  name = DATA.get(data['name'], data['name'])
  return f'{name}: {train:,} training and {data["test"]:,} test images'


def describe_hardware(hardware: Mapping[str, Any]) -> str:
  """In words what `provenance.of_process` has."""
  devices, cpus = hardware['devices'], hardware['cpus']
  if hardware['platform'] == 'cpu':
    return f'{cpus} CPU cores'
  return f'{devices} × {hardware["kind"]}, {cpus} CPU cores'


def _describe_commit(commit: str | None) -> str:
  if commit is None:
    return 'unknown'
  changed = ' with changes' if commit.endswith('-dirty') else ''
  return commit[:10] + changed


def _entry(number: int, exhibit: Run | Comparison, place: Place) -> str:
  """A line of the contents, as HTML."""
  key = ''
  if isinstance(exhibit, Run):
    name, unit, _ = NUMBERS[exhibit.numbers[0]]
    shown = _show(exhibit.results(place), exhibit.numbers[0])
    key = f'{name} {shown} {unit}'.rstrip()
  return (
    f'<li><a href="#{exhibit.name}"><span class="number">{number}</span>'
    f'<span class="title">{html.escape(exhibit.title)}</span>'
    f'<span class="key">{html.escape(key)}</span></a></li>'
  )


def _section(number: int, exhibit: Run | Comparison, place: Place) -> str:
  """An exhibit, as HTML."""
  shown, folded = (
    '\n'.join(_figure(path, exhibit) for path in paths)
    for paths in exhibit.pictures(place)
  )
  more = (
    f'<details><summary>More pictures</summary>\n{folded}\n</details>\n'
    if folded
    else ''
  )
  command = ' \\\n    '.join(map(shlex.quote, exhibit.command(place)))
  return f'''<section id="{exhibit.name}">
<header>
<h2><span class="number">{number}</span>
{html.escape(exhibit.title)}</h2>
<p>{html.escape(exhibit.text)}</p>
{exhibit.table(place)}
</header>
<div>
{shown}
{more}<p class="made">{html.escape(exhibit.made(place))}</p>
<pre><code>{html.escape(f'python {command}')}</code></pre>
</div>
</section>'''


def _figure(path: pathlib.Path, exhibit: Run | Comparison) -> str:
  """A picture within the page, in the size that it was drawn for."""
  with Image.open(path) as picture:
    scale = min(PIXELS_PER_PIXEL, MAX_HEIGHT / picture.height)
    width, height = (round(scale * size) for size in picture.size)
  shows = PICTURES.get(path.name, path.stem.replace('_', ' '))
  content = base64.b64encode(path.read_bytes()).decode()
  return (
    f'<figure><img width="{width}" height="{height}" '
    f'alt="{html.escape(exhibit.title)}: {shows}" '
    f'src="data:image/png;base64,{content}"></figure>'
  )


def _table(
  head: Sequence[str], rows: Sequence[Sequence[str]], caption: str
) -> str:
  """A table whose first column names the rows, as HTML."""
  head = ''.join(f'<th scope="col">{html.escape(cell)}</th>' for cell in head)
  body = '\n'.join(
    f'<tr><th scope="row">{html.escape(name)}</th>'
    + ''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)
    + '</tr>'
    for name, *cells in rows
  )
  return f"""<table>
<caption>{html.escape(caption)}</caption>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table>"""


def _name(key: str) -> str:
  name, unit, _ = NUMBERS[key]
  return f'{name}, {unit}' if unit else name


def _show(results: Mapping[str, Any], key: str) -> str:
  """A number and, over several runs, its standard deviation."""
  found = results['metrics'][f'test/{key}']
  # The file has null for what is not finite.
  if found['mean'] is None:
    return 'not finite'
  _, _, places = NUMBERS[key]
  shown = f'{found["mean"]:.{places}f}'.replace('-', '\N{MINUS SIGN}')
  std = found['std']
  return shown if std is None else f'{shown} ± {std:.{places}f}'


def _sample(results: Mapping[str, Any]) -> str:
  """What the numbers are of."""
  images = f'{results["dataset"]["test"]:,} images'
  labels = results['config'].get('num_labels')
  # Older results do not tell the sound seeds.
  num_runs = len(results.get('sound_seeds', results['seeds']))
  draw = '' if labels in (None, -1) else f' of {labels:,} labels'
  if num_runs == 1:
    return f'{images}; one {"draw" if draw else "run"}{draw}.'
  return (
    f'{images}; mean ± standard deviation of {num_runs} '
    f'{"draws" if draw else "runs"}{draw}.'
  )


def _duration(seconds: float) -> str:
  minutes, seconds = divmod(round(seconds), 60)
  return f'{minutes} min {seconds} s' if minutes else f'{seconds} s'


def main() -> None:
  """Makes what the command line names, or everything."""
  parser = command_line.make_parser('gallery', __doc__)
  names = [exhibit.name for exhibit in EXHIBITS]
  parser.add_argument('--data', choices=DATA)
  parser.add_argument('names', nargs='*', choices=[*names, []], default=[])
  arguments = parser.parse_args()
  with command_line.one_line_errors('gallery'):
    place = Place(arguments.data or choose_data(), FOLDER)
    for exhibit in EXHIBITS:
      if exhibit.name in (arguments.names or names):
        make(exhibit, place)
        path = write_page(place)
  print(f'\n{path.resolve().as_uri()}')


if __name__ == '__main__':
  main()
