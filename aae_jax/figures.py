"""Every picture of a run.

Which ones a run gets follows from what its `Model` has. A `draw_...` function
takes NumPy arrays alone, so it draws whatever a reader wants to compare.
Images are float in [0, 1] or uint8; those of one channel are drawn as dark ink
on white.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import io
import itertools
import math
import textwrap
from typing import Any, Literal

from absl import logging
from etils import epath
import jax
import matplotlib
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
import numpy as np
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from aae_jax import trained as trained_lib
from aae_jax.datasets.dataset import Dataset, Split
from aae_jax.experiments import Experiment
from aae_jax.runs import Run
from aae_jax.systems import Model
from aae_jax.systems.system import of_code
from aae_jax.train_state import TrainState
from aae_jax.trained import Trained
from aae_jax.types import Batch, Function

DPI = 150
MAX_POINTS = 10_000
"""Of a scatter plot: more of them hide each other."""

PRIOR_DRAWS = 1_000_000
"""Whose percentiles stand for the prior's: to 0.01 where its std is 1."""

DRAWS_AT_ONCE = 10_000

PERCENTILES = 100 * (np.arange(20) + 0.5) / 20
"""Where the manifold is decoded: in the middle of 20 equally likely parts."""

PRIOR_ACCURACY = '_prior_accuracy'
"""The metric of a discriminator, after the part of the code that it judges."""

COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#56B4E9', '#E69F00')
"""Told apart by every kind of colour vision (Okabe and Ito, 2008)."""

GREY = '0.4'

HEAD_MARKER = {
  'marker': 'o',
  'linestyle': '',
  'markerfacecolor': 'white',
  'markeredgecolor': 'black',
  'markeredgewidth': 1.3,
}


def write_figures(
  experiment: Experiment, state: TrainState, run: Run, name: str
) -> list[str]:
  """Writes the figures of the first sound seed to `WORKDIR/figures`.

  A picture that cannot be drawn or written is named in a warning.

  Args:
    experiment: the system and its data, of a single setting. Held-out images
      are the test images, or else those for validation, or else those it was
      trained on.
    state: of all seeds; its averaged weights are used where it has any. If no
      seed is sound, only the curves are drawn.
    run: whose metrics are drawn.
    name: of the run.

  Returns:
    The names of the files written.
  """
  [setting] = experiment.spec.settings
  name = f'{name} at {setting.name}' if setting.name else name
  drawings = {
    'curves.png': lambda: _curves(experiment, run.rows(setting.values), name)
  }
  sound = trained_lib.sound_seeds(state)
  if sound.any():
    shown = _shown(experiment, state, int(sound.argmax()), name)
    own = {
      'reconstructions.png': _reconstructions,
      'latent.png': _latent,
      'manifold.png': _manifold,
      'samples.png': _samples,
      'styles.png': _styles,
      'clusters.png': _clusters,
    }
    drawings = {
      name: functools.partial(draw, shown) for name, draw in own.items()
    } | drawings
  folder = run.workdir / 'figures'
  return [
    name for name, draw in drawings.items() if _write(folder / name, draw)
  ]


def _write(path: epath.Path, draw: Callable[[], Figure | None]) -> bool:
  """Writes a picture; whether it is there."""
  try:
    figure = draw()
    if figure is None:
      return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_png(figure))
  except Exception as error:  # Whatever it is, no picture may end a run.
    reason = textwrap.shorten(
      f'{type(error).__name__}: {error}', width=200, placeholder='...'
    )
    logging.warning('%s cannot be drawn: %s', path.name, reason)
    return False
  return True


def to_png(figure: Figure) -> bytes:
  """A figure as the content of a PNG file."""
  content = io.BytesIO()
  figure.savefig(
    content, format='png', dpi=DPI, bbox_inches='tight', pad_inches=0.12
  )
  return content.getvalue()


def held_out(dataset: Dataset) -> tuple[Split, str]:
  """The images to show a system on, and what they are called.

  The test images, or else those for validation, or else those it was trained
  on.
  """
  for name in ('test', 'validation'):
    split = getattr(dataset, name)
    if split.num_images:
      return split, f'{name} images'
  return dataset.train.labelled, 'training images'


def draw_reconstructions(
  image: np.ndarray,
  reconstruction: np.ndarray,
  columns: Sequence[str] = (),
  title: str = 'Images above their reconstructions',
  note: str = '',
) -> Figure:
  """Draws images [R, C, H, W, D], each above its reconstruction.

  Args:
    image: R rows of C images.
    reconstruction: of the same shape.
    columns: names of equally many columns each, for instance the classes.
    title: what is seen.
    note: of what it is.
  """
  num_rows, num_columns = image.shape[:2]
  pairs = np.stack([_unit(image), _unit(reconstruction)], axis=1)
  groups = len(columns) or 1
  return _draw_images(
    pairs.reshape(2 * num_rows, *image.shape[1:]),
    title,
    note,
    columns=columns,
    row_groups=range(2, 2 * num_rows, 2),
    column_groups=range(
      num_columns // groups, num_columns, num_columns // groups
    ),
  )


def draw_latent(
  code: np.ndarray,
  label: np.ndarray | None = None,
  prior: np.ndarray | None = None,
  prior_label: np.ndarray | None = None,
  heads: np.ndarray | None = None,
  title: str = 'Codes beside samples of the prior',
  note: str = '',
  axis_names: tuple[str, str] = ('$z_1$', '$z_2$'),
) -> Figure:
  """Draws codes [N, 2] beside samples of the prior [M, 2], on equal axes.

  Args:
    code: of images.
    label: int [N], the classes of the images.
    prior: what the codes should follow, if anything.
    prior_label: int [M], where the label decides the prior.
    heads: [K, 2], of clusters: marked with their numbers.
    title: what is seen.
    note: of what it is.
    axis_names: of the two coordinates.

  Raises:
    ValueError: the codes are not 2-D.
  """
  _require_plane(code)
  panels = [('codes of images', code, label)]
  if prior is not None:
    panels.append(('samples of the prior', prior, prior_label))
  figure = _figure(4.6 * len(panels) + 0.7, 5.3, title, note)
  all_axes = figure.subplots(
    1, len(panels), sharex=True, sharey=True, squeeze=False
  )[0]
  for axes, (name, points, classes) in zip(all_axes, panels, strict=True):
    _draw_points(axes, points, classes)
    if heads is not None:
      _draw_heads(axes, heads)
    elif classes is not None:
      _draw_class_names(axes, points, classes)
    axes.set_title(name, fontsize=10)
    axes.set_xlabel(axis_names[0], fontsize=9)
  all_axes[0].set_ylabel(axis_names[1], fontsize=9)
  _set_square_limits(all_axes[0], [points for _, points, _ in panels])
  labels = [] if label is None else np.unique(label)
  _draw_legend(all_axes[-1], labels, heads is not None)
  return figure


def draw_comparison(
  panels: Sequence[Sequence[tuple[str, np.ndarray, np.ndarray | None, str]]],
  title: str = 'Codes of several systems',
  note: str = '',
) -> Figure:
  """Draws codes of R rows of up to C systems, a row on equal axes.

  With a prior a row and a system a column it is the figure 2 of Makhzani et al.
  (2015).

  Args:
    panels: rows of (name, codes [N, 2], their classes int [N] or None, what
      to say below the name).
    title: what is seen.
    note: of what it is.

  Raises:
    ValueError: the codes are not 2-D.
  """
  num_rows, num_columns = len(panels), max(map(len, panels))
  figure = _figure(4.1 * num_columns + 0.7, 4.6 * num_rows + 0.5, title, note)
  # So that the name of a panel is nearer to it than the panel above is.
  figure.get_layout_engine().set(hspace=0.06)
  grid = figure.subplots(
    num_rows, num_columns, sharex='row', sharey='row', squeeze=False
  )
  for row, all_axes in zip(panels, grid, strict=True):
    for axes, panel in zip(all_axes, row, strict=False):
      _draw_compared(axes, *panel)
    all_axes[0].set_ylabel('$z_2$', fontsize=9)
    for axes in all_axes[len(row) :]:
      axes.remove()
    _set_square_limits(all_axes[0], [code for _, code, _, _ in row])
  labels = [label for row in panels for _, _, label, _ in row]
  labels = [label for label in labels if label is not None]
  _draw_legend(
    grid[0, len(panels[0]) - 1],
    np.unique(np.concatenate(labels)) if labels else [],
    has_heads=False,
  )
  return figure


def draw_manifold(
  image: np.ndarray,
  horizontal: np.ndarray,
  vertical: np.ndarray,
  title: str = 'The decoder over the plane of codes',
  note: str = '',
) -> Figure:
  """Draws images [R, C, H, W, D] decoded at a grid of 2-D codes.

  Args:
    image: image[i, j] is decoded at (horizontal[j], vertical[i]).
    horizontal: [C], increasing.
    vertical: [R], increasing: the first row is drawn at the bottom.
    title: what is seen.
    note: of what it is.
  """
  figure = _draw_images(
    image[::-1],
    title,
    note,
    rows=_numbers(vertical[::-1]),
    columns=_numbers(horizontal),
    columns_at='bottom',
  )
  axes = figure.axes[0]
  axes.tick_params(labelsize=7)
  axes.set_xlabel('$z_1$', fontsize=9)
  axes.set_ylabel('$z_2$', fontsize=9)
  return figure


def draw_samples(
  image: np.ndarray,
  columns: Sequence[str] = (),
  title: str = 'Samples',
  note: str = '',
) -> Figure:
  """Draws sampled images [R, C, H, W, D].

  Args:
    image: rows of samples.
    columns: their labels, where the label decides the sample.
    title: what is seen.
    note: of what it is.
  """
  return _draw_images(image, title, note, columns=columns)


def draw_styles(
  image: np.ndarray,
  styled: np.ndarray,
  columns: Sequence[str],
  title: str = 'A style in each row, a label in each column',
  note: str = '',
) -> Figure:
  """Draws images [R, H, W, D] and, beside each, its style under every label.

  Args:
    image: where the styles are from.
    styled: [R, C, H, W, D], decoded from the style with each label.
    columns: the C labels.
    title: what is seen.
    note: of what it is.
  """
  return _draw_images(
    np.concatenate([_unit(image)[:, None], _unit(styled)], axis=1),
    title,
    note,
    columns=['image', *columns],
    column_groups=[1],
  )


def draw_clusters(
  head: np.ndarray,
  image: np.ndarray,
  cluster: np.ndarray,
  title: str = 'Cluster heads, and images given to each cluster',
  note: str = '',
  num_columns: int = 12,
) -> Figure:
  """Draws a row for each cluster: its head and the first of its images.

  Args:
    head: [K, H, W, D], decoded from the cluster without a style.
    image: [N, H, W, D].
    cluster: int [N], which cluster each image was given to.
    title: what is seen.
    note: of what it is.
    num_columns: how many images to show of a cluster.
  """
  num_clusters, shape = len(head), head.shape[1:]
  cells = np.full((num_clusters, 1 + num_columns, *shape), np.nan)
  cells[:, 0] = _unit(head)
  for row in range(num_clusters):
    members = _unit(image[cluster == row][:num_columns])
    cells[row, 1 : 1 + len(members)] = members
  counts = np.bincount(cluster, minlength=num_clusters)
  empty = np.flatnonzero(counts == 0)
  if empty.size:
    note = f'{note}; {empty.size} of {num_clusters} clusters are empty'
  figure = _draw_images(
    cells,
    title,
    note,
    rows=[f'{row}' for row in range(num_clusters)],
    columns=['head', *[''] * num_columns],
    rows_right=[f'{count:,}' for count in counts],
    column_groups=[1],
  )
  axes = figure.axes[0]
  axes.set_ylabel('cluster', fontsize=9)
  for row in empty:
    axes.text(
      axes.get_xticks()[1] - shape[1] / 2,
      axes.get_yticks()[row],
      'empty: no image was given to this cluster',
      va='center',
      fontsize=8,
      style='italic',
      color=GREY,
    )
  return figure


def draw_curves(
  rows: Sequence[Mapping[str, Any]],
  phases: Sequence[str],
  title: str = 'The training, epoch by epoch',
  note: str = '',
) -> Figure:
  """Draws the metrics of every epoch: means and ranges over the seeds.

  Args:
    rows: of `metrics.jsonl`; values that are not finite are None.
    phases: whose losses to draw, in this order.
    title: what is seen.
    note: of what it is.

  Raises:
    ValueError: no row has a loss of these phases.
  """
  panels = _panels(rows, phases)
  if not panels:
    raise ValueError(
      f'no row has a loss of the phases {", ".join(phases)}; expected '
      'PHASE/loss in the rows of metrics.jsonl.'
    )
  num_columns = 2 if len(panels) in (2, 4) else min(3, len(panels))
  num_rows = math.ceil(len(panels) / num_columns)
  figure = _figure(3.3 * num_columns, 2.6 * num_rows + 0.6, title, note)
  all_axes = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
  for axes, panel in zip(all_axes, panels, strict=False):
    _draw_panel(axes, rows, panel)
  for axes in all_axes[len(panels) :]:
    axes.remove()
  return figure


@dataclasses.dataclass(frozen=True)
class _Shown:
  """One seed of a trained system, and the images to show it on.

  Attributes:
    trained: the seed alone.
    held_out: images that it was not trained on, where there are any.
    kind: what these are called.
    num_classes: None where there are no labels.
    name: of the run.
  """

  trained: Trained
  held_out: Split
  kind: str
  num_classes: int | None
  name: str

  @property
  def model(self) -> Model:
    """Of the system."""
    return self.trained.model

  def of_images(
    self, function: Function, index: np.ndarray | slice = slice(None)
  ) -> Any:
    """What a function makes of the held-out images at `index`."""
    rows = trained_lib.rows(self.held_out)
    return self.of_rows(function, {k: x[index] for k, x in rows.items()})

  def of_rows(self, function: Function, rows: Batch) -> Any:
    """What it makes of arrays [N, ...], at the mean."""
    found = self.trained.run(function, rows)
    return jax.tree.map(lambda x: x[0], found)

  def draw(self, function: Function, size: int) -> tuple[Any, np.ndarray]:
    """What it draws `size` times, all labels equally often, and int [size]."""
    label = np.arange(size, dtype=np.int32) % (self.num_classes or 1)
    known = np.full(size, self.num_classes is not None)
    rows = {'label': label, 'is_labelled': known}
    found = self.trained.run(function, rows, jax.random.key(0), DRAWS_AT_ONCE)
    return jax.tree.map(lambda x: x[0], found), label


def _shown(
  experiment: Experiment, state: TrainState, index: int, name: str
) -> _Shown:
  """The seed at that place."""
  seeds = experiment.spec.seeds
  first = f' (first sound one of {len(seeds)})' if len(seeds) > 1 else ''
  averaged = ', averaged weights' if state.ema else ''
  return _Shown(
    Trained(experiment.system, trained_lib.averaged(state)).seed(index),
    *held_out(experiment.dataset),
    experiment.dataset.num_classes,
    f'{name}, seed {seeds[index]}{first}, step {int(state.step):,}{averaged}',
  )


def _reconstructions(shown: _Shown) -> Figure | None:
  if not shown.model.reconstruct:
    return None
  index, classes = _examples(shown, rows=3, columns_per_class=2)
  image = shown.held_out.image[index]
  reconstruction = shown.of_images(shown.model.reconstruct, index.ravel())
  return draw_reconstructions(
    image,
    reconstruction.reshape(image.shape),
    columns=classes,
    title=f'{shown.kind.capitalize()} above their reconstructions',
    note=shown.name,
  )


def _examples(
  shown: _Shown, rows: int, columns_per_class: int
) -> tuple[np.ndarray, Sequence[str]]:
  """Indexes [rows, columns] of held-out images, and the columns' classes."""
  image, label = shown.held_out
  if label is None:
    index = np.resize(np.arange(len(image)), rows * 20)
    return index.reshape(rows, 20), ()
  classes = np.unique(label)[:10]
  each = rows * columns_per_class
  index = [np.resize(np.flatnonzero(label == k), each) for k in classes]
  index = np.reshape(index, (len(classes), rows, columns_per_class))
  return index.swapaxes(0, 1).reshape(rows, -1), [str(k) for k in classes]


def _latent(shown: _Shown) -> Figure | None:
  model = shown.model
  if not model.embed:
    return None
  code = shown.of_images(model.embed, slice(MAX_POINTS))
  if min(code.shape) < 2:
    return None
  label = shown.held_out.label
  label = None if label is None else label[:MAX_POINTS]
  heads = None
  if model.cluster_heads:
    clusters = {'code': {'y': np.eye(model.code_sizes['y'], dtype=np.float32)}}
    heads = shown.of_rows(model.cluster_heads, clusters)
  prior, prior_label = None, None
  if model.prior:
    represent = of_code(model.represent, model.prior)
    prior, prior_label = shown.draw(represent, len(code))
    prior_label = prior_label if 'z' in model.by_label else None
  method, axis_names, project = _projection(code, label, heads)
  beside = ' beside samples of the prior' if model.prior else ''
  whole = shown.held_out.num_images
  number = f'{len(code):,} of {whole:,}' if len(code) < whole else f'{whole:,}'
  code, prior, heads = (
    None if points is None else project(points)
    for points in (code, prior, heads)
  )
  return draw_latent(
    code,
    label,
    prior,
    prior_label,
    heads,
    f'Codes of {number} {shown.kind}{method or beside}',
    shown.name,
    axis_names,
  )


def _projection(
  code: np.ndarray, label: np.ndarray | None, heads: np.ndarray | None
) -> tuple[str, tuple[str, str], Callable[[np.ndarray], np.ndarray]]:
  """How codes [N, n] are seen in two dimensions: its name, axes, function."""
  size = code.shape[1]
  if size == 2:
    return '', ('$z_1$', '$z_2$'), lambda points: points
  if heads is not None:
    matrix = _circular_map(heads)
    return (
      f': linear map of {size} dimensions, heads to a circle',
      ('first coordinate', 'second coordinate'),
      lambda points: points @ matrix,
    )
  if label is not None and 2 < len(np.unique(label)) < len(code):
    method, axis = 'linear discriminant analysis', 'discriminant'
    project = LinearDiscriminantAnalysis(n_components=2).fit(code, label)
  else:
    method, axis = 'principal component analysis', 'principal component'
    project = PCA(n_components=2).fit(code)
  return (
    f': {method} of {size} dimensions',
    (f'first {axis}', f'second {axis}'),
    project.transform,
  )


def _circular_map(heads: np.ndarray) -> np.ndarray:
  """A linear map [n, 2] that sends heads [K, n] evenly onto a circle.

  Makhzani et al. (2015), section 7. It is the least-squares solution, exact
  where the heads are linearly independent; of unit scale, so that the standard
  normal style around a head keeps its standard deviation.
  """
  angle = 2 * np.pi * np.arange(len(heads)) / len(heads)
  circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
  matrix = np.linalg.lstsq(heads, circle, rcond=None)[0]
  return matrix / np.sqrt(np.sum(matrix**2) / 2)


def _manifold(shown: _Shown) -> Figure | None:
  model = shown.model
  if not model.decode or model.code_sizes != {'z': 2}:
    return None
  if model.prior:
    code, _ = shown.draw(model.prior, PRIOR_DRAWS)
    source = 'the prior'
  else:
    code = shown.of_images(model.encode)
    source = f'the codes of the {shown.kind}'
  horizontal, vertical = np.percentile(code['z'], PERCENTILES, axis=0).T
  grid = np.stack(np.meshgrid(horizontal, vertical), axis=-1)
  image = shown.of_rows(model.decode, {'code': {'z': grid.reshape(-1, 2)}})
  return draw_manifold(
    image.reshape(*grid.shape[:2], *image.shape[1:]),
    horizontal,
    vertical,
    title=f'Decoded across the plane of codes, at percentiles of {source}',
    note=shown.name,
  )


def _samples(shown: _Shown) -> Figure | None:
  model = shown.model
  if not model.sample:
    return None
  num_classes = shown.num_classes or 1
  image, label = shown.draw(model.sample, 10 * max(10, num_classes))
  num_columns = num_classes if model.by_label else 10
  image = image[: 10 * num_columns].reshape(10, num_columns, *image.shape[1:])
  if not model.by_label:
    return draw_samples(image, note=shown.name)
  return draw_samples(
    image[:, :20],
    [str(k) for k in label[:num_columns][:20]],
    'Samples with the label of the column',
    shown.name,
  )


def _styles(shown: _Shown) -> Figure | None:
  model = shown.model
  y_is_label = 'y' in model.code_sizes and not model.cluster
  if not (model.encode and model.decode and y_is_label):
    return None
  index, _ = _examples(shown, rows=1, columns_per_class=1)
  index = index.ravel()[:10]
  style = shown.of_images(model.encode, index)['z']
  num_labels = model.code_sizes['y']
  code = {
    'y': np.tile(np.eye(num_labels, dtype=np.float32), (len(index), 1)),
    'z': np.repeat(style, num_labels, axis=0),
  }
  image = shown.held_out.image[index]
  styled = shown.of_rows(model.decode, {'code': code})
  return draw_styles(
    image,
    styled.reshape(len(index), num_labels, *image.shape[1:]),
    [str(k) for k in range(num_labels)],
    title=f'Styles of {shown.kind}, decoded with each of the labels',
    note=shown.name,
  )


def _clusters(shown: _Shown) -> Figure | None:
  model = shown.model
  if not (model.cluster and model.decode):
    return None
  cluster = shown.of_images(model.cluster).argmax(axis=-1)
  num_clusters = model.code_sizes['y']
  code = {
    part: np.zeros((num_clusters, size), np.float32)
    for part, size in model.code_sizes.items()
  }
  code['y'] = np.eye(num_clusters, dtype=np.float32)
  return draw_clusters(
    shown.of_rows(model.decode, {'code': code}),
    shown.held_out.image,
    cluster,
    title=f'Cluster heads, and {shown.kind} given to each cluster',
    note=shown.name,
  )


def _curves(
  experiment: Experiment, rows: Sequence[Mapping[str, Any]], name: str
) -> Figure | None:
  if not rows:
    return None
  seeds = experiment.spec.seeds
  of_seeds = (
    f'mean and range of {len(seeds)} seeds'
    if len(seeds) > 1
    else f'seed {seeds[0]}'
  )
  phases = [phase.name for phase in experiment.system.phases]
  return draw_curves(rows, phases, note=f'{name}, {of_seeds}')


def _figure(width: float, height: float, title: str, note: str) -> Figure:
  """An empty figure with a title and a note, of a size in inches."""
  header = (0.45 if note else 0.25) / height
  figure = Figure(
    (width, height),
    dpi=DPI,
    layout=ConstrainedLayoutEngine(
      rect=(0, 0, 1, 1 - header), w_pad=0.08, h_pad=0.08
    ),
  )
  FigureCanvasAgg(figure)
  left = 0.1 / width
  figure.text(left, 1, title, va='top', fontsize=11, fontweight='bold')
  figure.text(left, 1 - 0.24 / height, note, va='top', fontsize=8.5, color=GREY)
  return figure


def _unit(image: np.ndarray) -> np.ndarray:
  """Images as float; uint8 is scaled to [0, 1]."""
  return image / 255 if image.dtype == np.uint8 else image


def _ink(image: np.ndarray) -> np.ndarray:
  """RGB [..., H, W, 3]: what is not a number and the paper are white."""
  image = np.clip(_unit(image), 0, 1)
  if image.shape[-1] == 1:
    image = np.repeat(1 - image, 3, axis=-1)
  return np.nan_to_num(image, nan=1.0)


def _cell_starts(
  num_cells: int, size: int, gap: int, groups: Sequence[int]
) -> np.ndarray:
  """Where cells begin, in pixels, with more room before those in `groups`."""
  cells = np.arange(num_cells)
  num_groups = np.searchsorted(list(groups), cells, side='right')
  return cells * (size + gap) + num_groups * math.ceil(size / 3)


def _centres(
  starts: np.ndarray, size: int, names: Sequence[str]
) -> list[float]:
  """The middle of as many groups of cells as there are names."""
  groups = np.array_split(starts + (size - 1) / 2, max(1, len(names)))
  return [np.mean(group) for group in groups][: len(names)]


def _numbers(values: np.ndarray) -> list[str]:
  return [f'{value:.2f}'.replace('-', '\N{MINUS SIGN}') for value in values]


def _draw_images(
  image: np.ndarray,
  title: str,
  note: str,
  rows: Sequence[str] = (),
  columns: Sequence[str] = (),
  rows_right: Sequence[str] = (),
  columns_at: Literal['top', 'bottom'] = 'top',
  row_groups: Sequence[int] = (),
  column_groups: Sequence[int] = (),
) -> Figure:
  """Draws images [R, C, H, W, D] in a grid with names at its sides."""
  num_rows, num_columns, height, width, _ = image.shape
  gap = max(1, height // 14)
  tops = _cell_starts(num_rows, height, gap, row_groups)
  lefts = _cell_starts(num_columns, width, gap, column_groups)
  canvas = np.ones((tops[-1] + height, lefts[-1] + width, 3))
  for top, image_row in zip(tops, _ink(image), strict=True):
    for left, cell in zip(lefts, image_row, strict=True):
      canvas[top : top + height, left : left + width] = cell
  scale = min(0.55 / height, 8.6 / canvas.shape[1], 7.5 / canvas.shape[0])
  figure = _figure(
    canvas.shape[1] * scale + 1.0, canvas.shape[0] * scale + 1.2, title, note
  )
  axes = figure.subplots()
  axes.imshow(canvas)
  axes.set_anchor('NW')
  axes.spines[:].set_visible(False)
  axes.tick_params(length=0, labelsize=8)
  axes.set_yticks(_centres(tops, height, rows), rows)
  axes.set_xticks(_centres(lefts, width, columns), columns)
  axes.xaxis.set_ticks_position(columns_at)
  axes.xaxis.set_label_position(columns_at)
  if rows_right:
    right = axes.secondary_yaxis('right')
    right.set_yticks(_centres(tops, height, rows_right), rows_right)
    right.set_ylabel('images', fontsize=9)
    right.tick_params(length=0, labelsize=8)
    right.spines[:].set_visible(False)
  return figure


def _label_colours(num_labels: int) -> np.ndarray:
  """Colours [num_labels, 4]: of tab10 where it has enough of them."""
  if num_labels <= 10:
    return matplotlib.colormaps['tab10'](np.arange(num_labels))
  return matplotlib.colormaps['turbo'](np.linspace(0, 1, num_labels))


def _require_plane(code: np.ndarray) -> None:
  if code.ndim != 2 or code.shape[1] != 2:
    raise ValueError(
      f'codes have the shape {code.shape}; expected [N, 2], as they are '
      'drawn in the plane.'
    )


def _draw_points(
  axes: Axes, points: np.ndarray, label: np.ndarray | None
) -> None:
  size = np.clip(12_000 / len(points), 3, 18)
  colour = 'black' if label is None else _label_colours(label.max() + 1)[label]
  axes.scatter(*points.T, c=colour, s=size, linewidths=0, alpha=0.7)


def _draw_compared(
  axes: Axes, name: str, code: np.ndarray, label: np.ndarray | None, note: str
) -> None:
  _require_plane(code)
  _draw_points(axes, code, label)
  if label is not None:
    _draw_class_names(axes, code, label)
  axes.set_title(name, fontsize=10, pad=18 if note else None)
  axes.text(
    0.5,
    1.02,
    note,
    transform=axes.transAxes,
    ha='center',
    va='bottom',
    fontsize=8.5,
    color=GREY,
  )
  axes.set_xlabel('$z_1$', fontsize=9)


def _draw_class_names(
  axes: Axes, points: np.ndarray, label: np.ndarray
) -> None:
  """Writes each class amid its points, for who cannot tell the colours."""
  halo = [patheffects.withStroke(linewidth=3, foreground='white')]
  for k in np.unique(label):
    x, y = np.median(points[label == k], axis=0)
    axes.text(
      x,
      y,
      str(k),
      ha='center',
      va='center',
      fontsize=11,
      fontweight='bold',
      path_effects=halo,
    )


def _draw_heads(axes: Axes, heads: np.ndarray) -> None:
  for number, (x, y) in enumerate(heads):
    axes.plot(x, y, markersize=15, alpha=0.9, **HEAD_MARKER)
    axes.text(
      x,
      y,
      str(number),
      ha='center',
      va='center_baseline',
      fontsize=8,
      fontweight='bold',
    )


def _draw_legend(
  axes: Axes, labels: Sequence[int] | np.ndarray, has_heads: bool
) -> None:
  """Draws the legend of a scatter plot to the right of it."""
  handles = []
  if len(labels):
    colours = _label_colours(max(labels) + 1)
    handles = [
      Line2D([], [], marker='o', linestyle='', color=colours[k], label=str(k))
      for k in labels
    ]
  if has_heads:
    handles.append(
      Line2D([], [], markersize=8, label='cluster\nhead', **HEAD_MARKER)
    )
  if handles:
    axes.legend(
      handles=handles,
      title='label' if len(labels) else None,
      loc='center left',
      bbox_to_anchor=(1.01, 0.5),
      frameon=False,
      fontsize=9,
      title_fontsize=9,
      ncols=math.ceil(len(handles) / 20),
    )


def _set_square_limits(axes: Axes, all_points: Sequence[np.ndarray]) -> None:
  """Shows all points on square axes that share a scale."""
  points = np.concatenate(all_points)
  lowest, highest = points.min(axis=0), points.max(axis=0)
  middle = (lowest + highest) / 2
  reach = 0.53 * max(*(highest - lowest), 1e-3)
  axes.set(
    xlim=(middle[0] - reach, middle[0] + reach),
    ylim=(middle[1] - reach, middle[1] + reach),
  )
  for shown in axes.figure.axes:
    shown.set_box_aspect(1)
    shown.tick_params(labelsize=8)


@dataclasses.dataclass(frozen=True)
class _Panel:
  """Curves that share an axis.

  Attributes:
    title: what they are.
    unit: of the values.
    curves: the metric of each curve, by its name in the legend.
    factor: from the metrics to the unit.
    equilibrium: (value, its name), where there is one.
    limits: of the values, where they are known.
  """

  title: str
  unit: str
  curves: Mapping[str, str]
  factor: float = 1.0
  equilibrium: tuple[float, str] | None = None
  limits: tuple[float, float] | None = None


def _panels(
  rows: Sequence[Mapping[str, Any]], phases: Sequence[str]
) -> list[_Panel]:
  names = sorted({name for row in rows for name in row})
  accuracies = [name for name in names if name.endswith(PRIOR_ACCURACY)]
  panels = [
    _loss_panel(phase, names, accuracies)
    for phase in phases
    if f'{phase}/loss' in names
  ]
  panels += [_accuracy_panel(name) for name in accuracies]
  validation = [
    name
    for name in names
    if name.startswith('validation/') and not name.endswith('_raw')
  ]
  return panels + [_validation_panel(name, names) for name in validation]


def _part(accuracy: str) -> str:
  return accuracy.split('/')[1].removesuffix(PRIOR_ACCURACY)


def _loss_panel(
  phase: str, names: Sequence[str], accuracies: Sequence[str]
) -> _Panel:
  """The loss of a phase.

  Where no sample tells its origin a discriminator is right by chance: each of
  its two cross-entropies is log 2, and so is that of the generator.
  """
  generated = {
    f'on {_part(name)}': f'{phase}/{_part(name)}_loss'
    for name in accuracies
    if f'{phase}/{_part(name)}_loss' in names
  }
  if generated:
    return _Panel(
      f'{phase} loss',
      'nats',
      generated,
      equilibrium=(math.log(2), 'equilibrium, log 2'),
    )
  discriminated = [name for name in accuracies if name.startswith(f'{phase}/')]
  terms = 2 * len(discriminated)
  return _Panel(
    f'{phase} loss',
    'nats' if terms else 'loss',
    {'': f'{phase}/loss'},
    equilibrium=(
      (terms * math.log(2), f'equilibrium, {terms} log 2') if terms else None
    ),
  )


def _accuracy_panel(accuracy: str) -> _Panel:
  curves = {
    f'{origin} samples': accuracy.replace('_prior_', f'_{origin}_')
    for origin in ('prior', 'posterior')
  }
  return _Panel(
    f'discriminator accuracy on {_part(accuracy)}',
    '%',
    curves,
    100,
    (50, 'equilibrium, 50 %'),
    (0, 100),
  )


def _validation_panel(name: str, names: Sequence[str]) -> _Panel:
  measure = name.removeprefix('validation/').replace('_', ' ')
  curves = {'': name}
  if f'{name}_raw' in names:
    curves = {'averaged weights': name, 'newest weights': f'{name}_raw'}
  return _Panel(f'validation {measure}', measure, curves)


def _values(
  rows: Sequence[Mapping[str, Any]], metric: str
) -> tuple[np.ndarray, np.ma.MaskedArray]:
  """Epochs [E] and masked values [E, S] of a metric."""
  found = [row for row in rows if metric in row]
  values = [row[metric]['per_seed'] for row in found]
  epochs = np.array([row['epoch'] for row in found])
  return epochs, np.ma.masked_invalid(np.array(values, np.float64))


def _draw_panel(
  axes: Axes, rows: Sequence[Mapping[str, Any]], panel: _Panel
) -> None:
  for colour, (label, metric) in zip(
    itertools.cycle(COLOURS), panel.curves.items(), strict=False
  ):
    epochs, values = _values(rows, metric)
    _draw_curve(axes, epochs, panel.factor * values, colour, label)
  if panel.equilibrium:
    level, name = panel.equilibrium
    axes.axhline(level, color='black', linestyle='--', linewidth=1, label=name)
  elif _spans_decades(rows, panel):
    axes.set_yscale('log')
  axes.set_title(panel.title, fontsize=10)
  axes.set_xlabel('epoch', fontsize=9)
  axes.set_ylabel(panel.unit, fontsize=9)
  axes.set_ylim(panel.limits)
  axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
  axes.tick_params(labelsize=8)
  axes.spines[['top', 'right']].set_visible(False)
  if panel.equilibrium or len(panel.curves) > 1:
    axes.legend(fontsize=7.5, framealpha=0.8, edgecolor='none')


def _draw_curve(
  axes: Axes,
  epochs: np.ndarray,
  values: np.ma.MaskedArray,
  colour: str,
  label: str,
) -> None:
  """Draws the mean of values [E, S] over the seeds, and their range."""
  mean, lowest, highest = (
    part.filled(np.nan)
    for part in (values.mean(1), values.min(1), values.max(1))
  )
  # One epoch makes no line.
  marker = 'o' if len(epochs) == 1 else ''
  axes.plot(
    epochs, mean, color=colour, label=label, linewidth=1.4, marker=marker
  )
  if values.shape[1] > 1:
    axes.fill_between(
      epochs, lowest, highest, color=colour, alpha=0.2, linewidth=0
    )


def _spans_decades(rows: Sequence[Mapping[str, Any]], panel: _Panel) -> bool:
  values = [_values(rows, metric)[1] for metric in panel.curves.values()]
  values = np.concatenate([part.compressed() for part in values])
  return bool(
    values.size and values.min() > 0 and values.max() > 30 * values.min()
  )
