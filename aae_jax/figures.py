"""Which pictures a run gets: that follows from what its `Model` has."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import textwrap
from typing import Any

from absl import logging
from etils import epath
import jax
from matplotlib.figure import Figure
import numpy as np
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from aae_jax import curves, drawing, early_stopping
from aae_jax import trained as trained_lib
from aae_jax.datasets.dataset import Dataset, Split
from aae_jax.experiments import Experiment
from aae_jax.runs import Run
from aae_jax.systems import Model
from aae_jax.systems.system import of_code
from aae_jax.train_state import TrainState
from aae_jax.trained import Trained
from aae_jax.types import Batch, Function

MAX_POINTS = 10_000
"""Of a scatter plot: more of them hide each other."""

MAX_MISTAKES = 32
"""The surest ones."""

MAX_CLASSES = 50
"""Of a table that can be read."""

PRIOR_DRAWS = 1_000_000
"""Whose percentiles stand for the prior's: to 0.01 where its std is 1."""

DRAWS_AT_ONCE = 10_000

PERCENTILES = 100 * (np.arange(20) + 0.5) / 20
"""Where the manifold is decoded: in the middle of 20 equally likely parts."""


PICTURES = {
  'mistakes.png': 'held-out images that are taken for another class, and how '
  'sure of it the classifier is',
  'confusion.png': 'how many held-out images of each class are taken for which',
  'latent.png': 'codes of held-out images in the plane, coloured by class',
  'manifold.png': 'images decoded on a grid over the plane of codes',
  'samples.png': 'sampled images',
  'styles.png': 'the style of an image in each row, a label in each column',
  'clusters.png': 'a cluster in each row: its head, then images given to it',
  'reconstructions.png': 'held-out images above their reconstructions',
  'curves.png': 'losses and accuracies, epoch by epoch',
}
"""What each shows, for who cannot see it; in the order of a page."""


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
      'mistakes.png': _mistakes,
      'confusion.png': _confusion,
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
    name
    for name, draw in drawings.items()
    if write(folder / name, functools.partial(_png, draw))
  ]


def _png(draw: Callable[[], Figure | None]) -> bytes | None:
  figure = draw()
  return None if figure is None else drawing.to_png(figure)


def write(path: epath.Path, make: Callable[[], bytes | None]) -> bool:
  """Writes what is for looking at, which may not end a run.

  What cannot be made or written is named in a warning.

  Args:
    path: of the file.
    make: its content, or None where there is nothing to be seen.

  Returns:
    Whether it is there.
  """
  try:
    content = make()
    if content is None:
      return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
  except Exception as error:  # Whatever it is, no picture may end a run.
    reason = textwrap.shorten(
      f'{type(error).__name__}: {error}', width=200, placeholder='...'
    )
    logging.warning('%s cannot be drawn: %s', path.name, reason)
    return False
  return True


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


@dataclasses.dataclass(frozen=True)
class _Shown:
  """One seed of a trained system, and the images to show it on.

  Attributes:
    trained: the seed alone.
    held_out: images that it was not trained on, where there are any.
    kind: what these are called.
    classes: what they are called; none where there are no labels.
    name: of the run.
  """

  trained: Trained
  held_out: Split
  kind: str
  classes: tuple[str, ...]
  name: str

  @property
  def model(self) -> Model:
    """Of the system."""
    return self.trained.model

  @functools.cached_property
  def classified(self) -> tuple[Split, np.ndarray] | None:
    """Held-out images with a label and their probabilities [N, K], if any."""
    split = self.held_out.labelled
    if not self.model.classify or split.label is None or not split.num_images:
      return None
    return split, self.of_rows(self.model.classify, trained_lib.rows(split))

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
    rows = trained_lib.rows_by_label(size, len(self.classes))
    found = self.trained.run(function, rows, jax.random.key(0), DRAWS_AT_ONCE)
    return jax.tree.map(lambda x: x[0], found), rows['label']


def _shown(
  experiment: Experiment, state: TrainState, index: int, name: str
) -> _Shown:
  """The seed at that place."""
  seeds = experiment.spec.seeds
  first = f' (first sound one of {len(seeds)})' if len(seeds) > 1 else ''
  averaged = ', averaged weights' if state.ema else ''
  step = early_stopping.best_steps(state)[index]
  return _Shown(
    experiment.trained(trained_lib.averaged(state)).seed(index),
    *held_out(experiment.dataset),
    experiment.schema.classes,
    f'{name}, seed {seeds[index]}{first}, step {step:,}{averaged}',
  )


def _mistakes(shown: _Shown) -> Figure | None:
  if not shown.classified:
    return None
  (image, label), probability = shown.classified
  predicted = probability.argmax(axis=-1)
  wrong = np.flatnonzero(predicted != label)
  if not wrong.size:
    return None
  sure, names = probability.max(axis=-1), shown.classes
  index = wrong[np.argsort(-sure[wrong], kind='stable')][:MAX_MISTAKES]
  return drawing.draw_mistakes(
    image[index],
    [
      f'{names[label[i]]} \N{RIGHTWARDS ARROW} {names[predicted[i]]}'
      for i in index
    ],
    title=f'The surest of {wrong.size:,} mistakes on {len(label):,} '
    f'{shown.kind}',
    note=f'{shown.name}; probabilities from {sure[index[0]]:.2f} to '
    f'{sure[index[-1]]:.2f}',
  )


def _confusion(shown: _Shown) -> Figure | None:
  if not shown.classified:
    return None
  (_, label), probability = shown.classified
  size = probability.shape[1]
  if size > MAX_CLASSES:
    return None
  count = np.zeros((size, size), int)
  np.add.at(count, (label, probability.argmax(axis=-1)), 1)
  return drawing.draw_confusion(
    count,
    shown.classes,
    title=f'{shown.kind.capitalize()}, and what they are taken for',
    note=shown.name,
  )


def _reconstructions(shown: _Shown) -> Figure | None:
  if not shown.model.reconstruct:
    return None
  index, classes = _examples(shown, rows=3, columns_per_class=2)
  image = shown.held_out.image[index]
  reconstruction = shown.of_images(shown.model.reconstruct, index.ravel())
  return drawing.draw_reconstructions(
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
  names = [shown.classes[k] for k in classes]
  return index.swapaxes(0, 1).reshape(rows, -1), names


def _latent(shown: _Shown) -> Figure | None:
  model = shown.model
  if not model.embed:
    return None
  code = shown.of_images(model.embed, slice(MAX_POINTS))
  if min(code.shape) < 2:
    return None
  label = shown.held_out.part(0, MAX_POINTS).label
  heads = shown.trained.cluster_heads()
  prior, prior_label = _prior_points(shown, len(code))
  method, axis_names, project = _projection(code, label, heads)
  beside = ' beside samples of the prior' if model.prior else ''
  whole = shown.held_out.num_images
  number = f'{len(code):,} of {whole:,}' if len(code) < whole else f'{whole:,}'
  code, prior, heads = (
    None if points is None else project(points)
    for points in (code, prior, heads)
  )
  return drawing.draw_latent(
    code,
    label,
    prior,
    prior_label,
    heads,
    f'Codes of {number} {shown.kind}{method or beside}',
    shown.name,
    axis_names,
    shown.classes,
  )


def _prior_points(
  shown: _Shown, size: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
  """So many represented samples of the prior, and the labels they go by."""
  model = shown.model
  if not model.prior:
    return None, None
  prior, label = shown.draw(of_code(model.represent, model.prior), size)
  return prior, label if 'z' in model.by_label else None


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
  return drawing.draw_manifold(
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
  num_classes = len(shown.classes) or 1
  image, label = shown.draw(model.sample, 10 * max(10, num_classes))
  num_columns = num_classes if model.by_label else 10
  image = image[: 10 * num_columns].reshape(10, num_columns, *image.shape[1:])
  if not model.by_label:
    return drawing.draw_samples(image, note=shown.name)
  return drawing.draw_samples(
    image[:, :20],
    [shown.classes[k] for k in label[:num_columns][:20]],
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
  return drawing.draw_styles(
    image,
    styled.reshape(len(index), num_labels, *image.shape[1:]),
    shown.classes,
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
  return drawing.draw_clusters(
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
  panels = curves.panels(experiment.system.phases, rows)
  return curves.draw_curves(rows, panels, note=f'{name}, {of_seeds}')
