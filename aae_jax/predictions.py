"""What a trained model says of images, written to a file."""

from collections.abc import Iterator, Mapping, Sequence
import csv
import functools
from typing import Any

from etils import epath
import jax
import numpy as np
import tqdm

from aae_jax import errors, measures, metrics, saved_model
from aae_jax.datasets import NamedImages
from aae_jax.systems import Model
from aae_jax.trained import Trained
from aae_jax.types import Function


def predict(
  workdir: epath.PathLike, images: NamedImages, output: epath.Path
) -> None:
  """Writes a row of CSV for each image, under a header.

  Its columns are those of the following that the model has.

    path                  the image's name
    class                 the most probable one: its name, or else its number
    probability           of the class; of the cluster in a model of clusters
    cluster               the number of the most probable one
    reconstruction_error  the squared error summed over the pixels, which tells
                          how unlike the training images an image is; none of
                          a decoder that must be told the label

  Args:
    workdir: of a run, local or in a bucket; its model is that of `load`.
    images: of any number.
    output: where to write; a file that is there is replaced.

  Raises:
    InputError: workdir holds no run, its model says nothing of an image, or an
      image cannot be read.
    OSError: the file cannot be written; what was there before still is.
  """
  run, schema = saved_model.restore(workdir)
  batches = _batches(run, _judgements(run.model), images, schema.image_shape)
  with metrics.whole(output) as file:
    writer = csv.writer(file, lineterminator='\n')
    for index, (names, found) in enumerate(batches):
      columns = _columns(found, schema.classes)
      if not index:
        writer.writerow(['path', *columns])
      writer.writerows(zip(names, *columns.values(), strict=True))
  _tell(output, images)


def encode(
  workdir: epath.PathLike, images: NamedImages, output: epath.Path
) -> None:
  """Writes the codes of images as an .npz file.

  Its arrays are `path` [N], the images' names; each part of the code by its
  name, such as `z` [N, latent_size], the mean of the posterior; and where the
  model has them `class_probability` [N, classes], `cluster_probability`
  [N, clusters] and `representation` [N, n].

  The arguments and errors are those of `predict`.
  """
  run, schema = saved_model.restore(workdir)
  batches = _batches(run, _codes(run.model), images, schema.image_shape)
  found = jax.tree.map(
    lambda *parts: np.concatenate(parts), *(part for _, part in batches)
  )
  code = found.pop('code')
  with metrics.whole(output, 'wb') as file:
    np.savez(file, path=np.array(images.names), **code, **found)
  _tell(output, images)


def _judgements(model: Model) -> dict[str, Function]:
  """What is said of an image, by name."""
  error = None
  if model.reconstruct and not model.told:
    error = functools.partial(
      measures.NUMBERS['reconstruction_error'].how, model
    )
  found = _present(
    {
      'class': model.classify,
      'cluster': model.cluster,
      'reconstruction_error': error,
    }
  )
  if not found:
    raise errors.InputError(
      'this model tells no class, cluster or reconstruction error of an image; '
      'expected one that does.'
    )
  return found


def _codes(model: Model) -> dict[str, Function]:
  """What is kept of an image, by name."""
  if not model.encode:
    raise errors.InputError(
      'this model has no codes of images; expected one with an encoder.'
    )
  return _present(
    {
      'code': model.encode,
      'class_probability': model.classify,
      'cluster_probability': model.cluster,
      'representation': model.embed,
    }
  )


def _present(functions: Mapping[str, Function | None]) -> dict[str, Function]:
  return {name: function for name, function in functions.items() if function}


def _batches(
  run: Trained,
  functions: Mapping[str, Function],
  images: NamedImages,
  shape: tuple[int, int, int],
) -> Iterator[tuple[Sequence[str], dict[str, Any]]]:
  """Names [B] and what the functions give of their images, [B, ...] each."""

  def all_of_them(apply, batch, rng):
    return {name: f(apply, batch, rng) for name, f in functions.items()}

  rows, start = {'image': images.of_shape(shape)}, 0
  with tqdm.tqdm(total=len(images.names), unit=' images', disable=None) as bar:
    for found in run.batches(all_of_them, rows):
      found = jax.tree.map(lambda x: x[0], found)
      size = len(jax.tree.leaves(found)[0])
      yield images.names[start : start + size], found
      start += size
      bar.update(size)


def _columns(
  found: Mapping[str, np.ndarray], classes: Sequence[str]
) -> dict[str, Sequence[Any]]:
  """The columns of what is said of images, [B] each."""
  columns = {}
  for kind in ('class', 'cluster'):
    if kind in found:
      number = found[kind].argmax(axis=1)
      columns[kind] = (
        [classes[k] for k in number] if kind == 'class' else number
      )
      # Of what comes first.
      columns.setdefault('probability', _shown(found[kind].max(axis=1)))
  if 'reconstruction_error' in found:
    columns['reconstruction_error'] = _shown(found['reconstruction_error'])
  return columns


def _shown(numbers: np.ndarray) -> list[str]:
  return [f'{number:.6g}' for number in numbers]


def _tell(output: epath.Path, images: NamedImages) -> None:
  print(f'Wrote {output}: {len(images.names):,} images.', flush=True)
