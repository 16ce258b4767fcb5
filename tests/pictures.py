"""Images, rows, and what is read off a figure: for the tests of pictures."""

import json

import numpy as np

from aae_jax.datasets import Split

IMAGE_SHAPE = (4, 4, 1)
NUM_CLASSES = 3


def make_split(num_images, labels=True):
  generator = np.random.default_rng(num_images)
  image = generator.integers(0, 256, (num_images, *IMAGE_SHAPE), np.uint8)
  label = np.arange(num_images, dtype=np.int32)[::-1] % NUM_CLASSES
  return Split(image, label if labels else None)


def summary(*per_seed):
  return {'mean': per_seed[0], 'std': None, 'per_seed': list(per_seed)}


def make_rows(num_epochs, **metrics):
  """Rows of as many epochs; a metric is a function of the epoch."""
  return [
    {'step': 10 * epoch, 'epoch': epoch, 'seconds': 0.5}
    | {
      name.replace('__', '/'): summary(*function(epoch))
      for name, function in metrics.items()
    }
    for epoch in range(1, num_epochs + 1)
  ]


def write_rows(workdir, metrics):
  row = {'step': 1, 'epoch': 1, 'seconds': 0.5} | {
    name: summary(*values) for name, values in metrics.items()
  }
  (workdir / 'metrics.jsonl').write_text(json.dumps(row) + '\n')


def pixels(figure):
  return np.asarray(figure.axes[0].images[0].get_array())


def texts(figure):
  return [text.get_text() for text in figure.texts]


def labels_of(axis):
  return [label.get_text() for label in axis.get_ticklabels()]


def colours_of(axes):
  return axes.collections[0].get_facecolors()
