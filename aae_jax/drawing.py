"""Arrays to pictures.

Images are float in [0, 1] or uint8; those of one channel are drawn as dark ink
on white.
"""

from collections.abc import Sequence
import io
import math
from typing import Literal

import matplotlib
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
import numpy as np

DPI = 150

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


def to_png(figure: Figure) -> bytes:
  """A figure as the content of a PNG file."""
  content = io.BytesIO()
  figure.savefig(
    content, format='png', dpi=DPI, bbox_inches='tight', pad_inches=0.12
  )
  return content.getvalue()


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
  classes: Sequence[str] = (),
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
    classes: what the classes are called; their numbers by default.

  Raises:
    ValueError: the codes are not 2-D.
  """
  _require_plane(code)
  panels = [('codes of images', code, label)]
  if prior is not None:
    panels.append(('samples of the prior', prior, prior_label))
  figure = empty_figure(4.6 * len(panels) + 0.7, 5.3, title, note)
  all_axes = figure.subplots(
    1, len(panels), sharex=True, sharey=True, squeeze=False
  )[0]
  for axes, (name, points, shown) in zip(all_axes, panels, strict=True):
    _draw_points(axes, points, shown)
    if heads is not None:
      _draw_heads(axes, heads)
    elif shown is not None:
      _draw_class_names(axes, points, shown, classes)
    axes.set_title(name, fontsize=10)
    axes.set_xlabel(axis_names[0], fontsize=9)
  all_axes[0].set_ylabel(axis_names[1], fontsize=9)
  _set_square_limits(all_axes[0], [points for _, points, _ in panels])
  labels = [] if label is None else np.unique(label)
  _draw_legend(all_axes[-1], labels, heads is not None, classes)
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
  figure = empty_figure(
    4.1 * num_columns + 0.7, 4.6 * num_rows + 0.5, title, note
  )
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
    members = _unit(image[np.flatnonzero(cluster == row)[:num_columns]])
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


def draw_mistakes(
  image: np.ndarray,
  captions: Sequence[str],
  title: str = 'Most confident mistakes',
  note: str = '',
  num_columns: int = 8,
) -> Figure:
  """Draws images [N, H, W, D], each below a caption of a few letters.

  Args:
    image: at least one.
    captions: of each.
    title: what is seen.
    note: of what it is.
    num_columns: how many beside one another.
  """
  num_rows = math.ceil(len(image) / num_columns)
  figure = empty_figure(1.0 * num_columns, 1.2 * num_rows + 0.6, title, note)
  all_axes = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
  for axes in all_axes:
    axes.axis('off')
  for axes, picture, caption in zip(
    all_axes, _ink(image), captions, strict=False
  ):
    axes.imshow(picture)
    axes.set_title(caption, fontsize=8, pad=3)
  return figure


def draw_confusion(
  count: np.ndarray,
  names: Sequence[str],
  title: str = 'Classes, and what they are taken for',
  note: str = '',
) -> Figure:
  """Draws a table of counts [K, K], what is off its diagonal coloured.

  Args:
    count: int, of images of the class of the row that are taken for that of the
      column.
    names: of the classes.
    title: what is seen.
    note: of what it is.
  """
  size = len(count)
  wrong = np.where(np.eye(size, dtype=bool), 0, count)
  share = wrong / np.maximum(count.sum(axis=1, keepdims=True), 1)
  side = min(8.0, 1.6 + 0.42 * size)
  figure = empty_figure(side + 0.4, side + 0.6, title, note)
  axes = figure.subplots()
  # A scale that ends at no mistake would have no length.
  axes.imshow(share, cmap='Oranges', vmin=0, vmax=max(share.max(), 0.01) * 1.5)
  axes.set_xticks(range(size), names, rotation=90 if _is_long(names) else 0)
  axes.set_yticks(range(size), names)
  axes.set_xlabel('taken for', fontsize=9)
  axes.set_ylabel('class', fontsize=9)
  axes.tick_params(length=0, labelsize=8)
  axes.spines[:].set_visible(False)
  font = min(8.0, 160 / size)
  for row, column in zip(*np.nonzero(count), strict=True):
    colour = GREY if row == column else 'black'
    text = f'{count[row, column]:,}'
    axes.text(
      column, row, text, ha='center', va='center', fontsize=font, color=colour
    )
  return figure


def _is_long(names: Sequence[str]) -> bool:
  return max(map(len, names)) > 3


def empty_figure(width: float, height: float, title: str, note: str) -> Figure:
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
  figure = empty_figure(
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


def label_colours(num_labels: int) -> np.ndarray:
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
  colour = 'black' if label is None else label_colours(label.max() + 1)[label]
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
  axes: Axes,
  points: np.ndarray,
  label: np.ndarray,
  classes: Sequence[str] = (),
) -> None:
  """Writes each class amid its points, for who cannot tell the colours."""
  halo = [patheffects.withStroke(linewidth=3, foreground='white')]
  for k in np.unique(label):
    x, y = np.median(points[label == k], axis=0)
    axes.text(
      x,
      y,
      classes[k] if classes else str(k),
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
  axes: Axes,
  labels: Sequence[int] | np.ndarray,
  has_heads: bool,
  classes: Sequence[str] = (),
) -> None:
  """Draws the legend of a scatter plot to the right of it."""
  handles = []
  if len(labels):
    colours = label_colours(max(labels) + 1)
    names = [classes[k] if classes else str(k) for k in labels]
    handles = [
      Line2D([], [], marker='o', linestyle='', color=colours[k], label=name)
      for k, name in zip(labels, names, strict=True)
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
