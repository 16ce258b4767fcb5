"""Tests of aae_jax.figures."""

import types

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aae_jax import figures, train_state
from aae_jax.datasets.dataset import Dataset, Split
from aae_jax.objectives import Model

IMAGE_SHAPE = (4, 4, 1)
NUM_CLASSES = 3


def as_image(values):
  """Images [B, 4, 4, 1] that begin with the numbers of a code [B, n]."""
  values = jnp.pad(values, ((0, 0), (0, 16 - values.shape[1])))
  return values.reshape(-1, *IMAGE_SHAPE)


def encode(apply, image, rng):
  """The first two pixels."""
  del apply, rng
  return {'z': image.reshape(len(image), -1)[:, :2]}


def decode(apply, code):
  """Shows the numbers of the code as pixels: y, then z."""
  del apply
  parts = [code[name] for name in sorted(code)]
  return as_image(jnp.concatenate(parts, axis=-1))


def encode_wide(apply, image, rng):
  """A code of ten numbers."""
  del apply, rng
  return {'z': image.reshape(len(image), -1)[:, :10]}


def encode_both(apply, image, rng):
  """y says how dark the first pixel is."""
  y = jax.nn.one_hot((3 * image[:, 0, 0, 0]).astype(int), NUM_CLASSES)
  return {'y': y, **encode(apply, image, rng)}


def gaussian(keys, batch):
  del batch
  return {'z': jax.vmap(lambda key: jax.random.normal(key, (2,)))(keys)}


def conditional(keys, batch):
  z = gaussian(keys, batch)['z']
  return {'z': z + batch['is_labelled'][:, None] * batch['label'][:, None]}


def sample_from(prior):
  return lambda apply, keys, batch: decode(apply, prior(keys, batch))


def style(apply, code):
  del apply
  return code['z']


Z = {'z': 2}
YZ = {'y': NUM_CLASSES, 'z': 2}
AUTOENCODER = Model(Z, encode, decode, represent=style)
AAE = Model(
    Z, encode, decode, represent=style, prior=gaussian,
    sample=sample_from(gaussian),
)
GAN = Model(Z, decode=decode, prior=gaussian, sample=sample_from(gaussian))
WIDE = Model({'z': 10}, encode_wide, decode, represent=style)
SUPERVISED = Model(YZ, encode, decode, represent=style)
SEMI_SUPERVISED = Model(
    YZ, encode_both, decode, represent=style,
    classify=lambda apply, image: encode_both(apply, image, None)['y'],
)
CLUSTERING = Model(
    YZ, encode_both, decode, represent=style,
    cluster=lambda apply, image: encode_both(apply, image, None)['y'],
    cluster_heads=lambda apply: jnp.eye(NUM_CLASSES, 2),
)


class Shade(nn.Module):
  """A network whose one weight is the shade of all its pixels."""

  @nn.compact
  def __call__(self, code, *, rng=None, train=False):
    shade = self.param('shade', nn.initializers.zeros, ())
    return jnp.full((len(code), *IMAGE_SHAPE), shade)


def make_split(num_images, labels=True):
  generator = np.random.default_rng(num_images)
  image = generator.integers(0, 256, (num_images, *IMAGE_SHAPE), np.uint8)
  label = np.arange(num_images, dtype=np.int32)[::-1] % NUM_CLASSES
  return Split(image, label if labels else None)


def make_experiment(model, num_seeds=1, labels=True, sizes=(40, 0, 30)):
  """What figures see of an experiment."""
  splits = [make_split(size, labels) for size in sizes]
  return types.SimpleNamespace(
      config=types.SimpleNamespace(objective='some_system'),
      dataset=Dataset('random', *splits, NUM_CLASSES if labels else None),
      objective=types.SimpleNamespace(
          model=model,
          networks={'decoder': Shade()},
          phases=[types.SimpleNamespace(name='reconstruction')],
      ),
      seeds=range(7, 7 + num_seeds),
  )


def make_state(shades=(0.5,), averages=()):
  """A state of as many seeds as there are shades."""
  params = lambda values: {'decoder': {'shade': jnp.array(values)}}
  averaged = {'params': params(averages), 'batch_stats': {}}
  return train_state.TrainState(
      step=jnp.int32(1400),
      params=params(shades),
      batch_stats={},
      opt_state={},
      hyperparams={},
      ema=averaged if averages else {},
      rng=jax.random.split(jax.random.key(0), len(shades)),
  )


def summary(*per_seed):
  return {'mean': per_seed[0], 'std': None, 'per_seed': list(per_seed)}


@pytest.fixture
def drawn(monkeypatch):
  """Keeps figures by name instead of rendering them."""
  found = []

  def to_png(figure):
    found.append(figure)
    return b''

  monkeypatch.setattr(figures, 'to_png', to_png)
  monkeypatch.setattr(figures, 'PRIOR_DRAWS', 20_000)

  def write(experiment, workdir, state=None):
    found.clear()
    names = figures.write_figures(experiment, state or make_state(), workdir)
    return dict(zip(names, found, strict=True))

  return write


@pytest.fixture
def cells(monkeypatch):
  """Keeps the images [R, C, ...] that grids are made of."""
  found = []
  draw_images = figures._draw_images

  def keep(image, *arguments, **options):
    found.append(image)
    return draw_images(image, *arguments, **options)

  monkeypatch.setattr(figures, '_draw_images', keep)
  return found


def pixels(figure):
  return np.asarray(figure.axes[0].images[0].get_array())


def texts(figure):
  return [text.get_text() for text in figure.texts]


def labels_of(axis):
  return [label.get_text() for label in axis.get_ticklabels()]


@pytest.mark.parametrize(
    ('model', 'names'),
    [
        (AUTOENCODER, ['reconstructions', 'latent', 'manifold']),
        (AAE, ['reconstructions', 'latent', 'manifold', 'samples']),
        (GAN, ['manifold', 'samples']),
        (WIDE, ['reconstructions', 'latent']),
        (SUPERVISED, ['reconstructions', 'latent', 'styles']),
        (SEMI_SUPERVISED, ['reconstructions', 'latent', 'styles']),
        (CLUSTERING, ['reconstructions', 'latent', 'clusters']),
        (Model(), []),
    ],
    ids=['ae', 'aae', 'gan', 'wide', 'supervised', 'semi', 'clusters', 'none'],
)
def test_figures_follow_from_what_the_model_has(
    model, names, drawn, epath_workdir
):
  written = drawn(make_experiment(model), epath_workdir)
  assert list(written) == [f'{name}.png' for name in names]
  folder = epath_workdir / 'figures'
  assert {path.name for path in folder.iterdir()} == set(written)
