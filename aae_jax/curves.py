"""Curves of a training."""

from collections.abc import Collection, Mapping, Sequence
import dataclasses
import itertools
import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np

from aae_jax.drawing import COLOURS, empty_figure
from aae_jax.measures import NUMBERS
from aae_jax.phases import Panel, Phase


def panels(
  phases: Sequence[Phase], rows: Sequence[Mapping[str, Any]]
) -> list[Panel]:
  """What there is to draw of the phases and of the validation images.

  Args:
    phases: of a system, in order.
    rows: of `metrics.jsonl`.

  Returns:
    Panels whose curves are the names of metrics in the rows.
  """
  names = {name for row in rows for name in row}
  found = [
    dataclasses.replace(
      panel,
      curves={
        label: f'{phase.name}/{metric}'
        for label, metric in panel.curves.items()
      },
    )
    for phase in phases
    for panel in phase.panels
    or (Panel(f'{phase.name} loss', 'loss', {'': 'loss'}),)
  ]
  found += [
    _validation_panel(name, names)
    for name in sorted(names)
    if name.startswith('validation/') and not name.endswith('_raw')
  ]
  return [panel for panel in found if names.issuperset(panel.curves.values())]


def _validation_panel(name: str, names: Collection[str]) -> Panel:
  measure = name.removeprefix('validation/').replace('_', ' ')
  curves = {'': name}
  if f'{name}_raw' in names:
    curves = {'averaged weights': name, 'newest weights': f'{name}_raw'}
  unit = NUMBERS[name.removeprefix('validation/')].unit
  return Panel(f'validation {measure}', unit or measure, curves)


def draw_curves(
  rows: Sequence[Mapping[str, Any]],
  panels: Sequence[Panel],
  title: str = 'The training, epoch by epoch',
  note: str = '',
) -> Figure:
  """Draws the metrics of every epoch: means and ranges over the seeds.

  Args:
    rows: of `metrics.jsonl`; values that are not finite are None.
    panels: what to draw, at least one.
    title: what is seen.
    note: of what it is.
  """
  num_columns = 2 if len(panels) in (2, 4) else min(3, len(panels))
  num_rows = math.ceil(len(panels) / num_columns)
  width, height = 3.3 * num_columns, 2.6 * num_rows + 0.6
  figure = empty_figure(width, height, title, note)
  all_axes = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
  for axes, panel in zip(all_axes, panels, strict=False):
    _draw_panel(axes, rows, panel)
  for axes in all_axes[len(panels) :]:
    axes.remove()
  return figure


def _values(
  rows: Sequence[Mapping[str, Any]], metric: str
) -> tuple[np.ndarray, np.ma.MaskedArray]:
  """Epochs [E] and masked values [E, S] of a metric."""
  found = [row for row in rows if metric in row]
  values = [row[metric]['per_seed'] for row in found]
  epochs = np.array([row['epoch'] for row in found])
  return epochs, np.ma.masked_invalid(np.array(values, np.float64))


def _draw_panel(
  axes: Axes, rows: Sequence[Mapping[str, Any]], panel: Panel
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


def _spans_decades(rows: Sequence[Mapping[str, Any]], panel: Panel) -> bool:
  values = [_values(rows, metric)[1] for metric in panel.curves.values()]
  values = np.concatenate([part.compressed() for part in values])
  return bool(
    values.size and values.min() > 0 and values.max() > 30 * values.min()
  )
