"""Tests of aae_jax.figures."""

import dataclasses
import io
import json
import math

from etils import epath
from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest
from scipy import stats
import tiny

from aae_jax import drawing, experiments, figures, phases, train_state
from aae_jax.datasets.dataset import Dataset
from aae_jax.runs import Run
from aae_jax.systems import Model, System
from tests import pictures


def as_image(values):
  """Images [B, 4, 4, 1] that begin with the numbers of a code [B, n]."""
  values = jnp.pad(values, ((0, 0), (0, 16 - values.shape[1])))
  return values.reshape(-1, *pictures.IMAGE_SHAPE)


def encode(apply, batch, rng):
  """The first two pictures.pixels."""
  del apply, rng
  return {'z': batch['image'].reshape(-1, 16)[:, :2]}


def decode(apply, batch, rng):
  """Shows the numbers of the code as pictures.pixels: y, then z."""
  del apply, rng
  code = batch['code']
  parts = [code[name] for name in sorted(code)]
  return as_image(jnp.concatenate(parts, axis=-1))


def encode_wide(apply, batch, rng):
  """A code of ten numbers."""
  del apply, rng
  return {'z': batch['image'].reshape(-1, 16)[:, :10]}


def encode_both(apply, batch, rng):
  """y says how dark the first pixel is."""
  dark = (3 * batch['image'][:, 0, 0, 0]).astype(int)
  y = jax.nn.one_hot(dark, pictures.NUM_CLASSES)
  return {'y': y, **encode(apply, batch, rng)}


def gaussian(apply, batch, keys):
  del apply, batch
  return {'z': jax.vmap(lambda key: jax.random.normal(key, (2,)))(keys)}


def conditional(apply, batch, keys):
  z = gaussian(apply, batch, keys)['z']
  return {'z': z + batch['is_labelled'][:, None] * batch['label'][:, None]}


def style(apply, batch, rng):
  del apply, rng
  return batch['code']['z']


Z = {'z': 2}
YZ = {'y': pictures.NUM_CLASSES, 'z': 2}
AUTOENCODER = Model(Z, encode=encode, decode=decode, represent=style)
AAE = dataclasses.replace(AUTOENCODER, prior=gaussian)
GAN = Model(Z, decode=decode, prior=gaussian)
WIDE = dataclasses.replace(
  AUTOENCODER, code_sizes={'z': 10}, encode=encode_wide
)
SUPERVISED = dataclasses.replace(AUTOENCODER, code_sizes=YZ, told=('y',))
SEMI_SUPERVISED = Model(
  YZ,
  encode=encode_both,
  decode=decode,
  represent=style,
  classify=lambda *arguments: encode_both(*arguments)['y'],
)
CLUSTERING = Model(
  YZ,
  encode=encode_both,
  decode=decode,
  represent=style,
  cluster=lambda *arguments: encode_both(*arguments)['y'],
  cluster_heads=lambda apply, batch, rng: batch['code']['y'][:, :2],
)


class Shade(nn.Module):
  """A network whose one weight is the shade of all its pictures.pixels."""

  @nn.compact
  def __call__(self, code, *, rng=None, train=False):
    shade = self.param('shade', nn.initializers.zeros, ())
    return jnp.full((len(code), *pictures.IMAGE_SHAPE), shade)


def make_experiment(
  model, num_seeds=1, labels=True, sizes=(40, 0, 30), setting=None
):
  """What figures see of an experiment."""
  splits = [pictures.make_split(size, labels) for size in sizes]
  phase = phases.Phase('reconstruction', ('decoder',), None)
  system = System({'decoder': Shade()}, (phase,), model)
  return experiments.assemble(
    experiments.Spec(
      system,
      batch_size=1,
      epochs=1,
      seeds=range(7, 7 + num_seeds),
      searched=(experiments.Setting(setting or {}, {}),),
    ),
    Dataset('random', *splits, pictures.NUM_CLASSES if labels else None),
    devices=jax.devices()[:1],
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
    report={},
    rng=jax.random.split(jax.random.key(0), len(shades)),
  )


@pytest.fixture
def drawn(monkeypatch):
  """Keeps figures by name instead of rendering them."""
  found = []

  def to_png(figure):
    found.append(figure)
    return b''

  monkeypatch.setattr(drawing, 'to_png', to_png)
  monkeypatch.setattr(figures, 'PRIOR_DRAWS', 20_000)

  def write(experiment, workdir, state=None):
    found.clear()
    state = make_state() if state is None else state
    names = figures.write_figures(experiment, state, Run(workdir), 'a run')
    return dict(zip(names, found, strict=True))

  return write


@pytest.fixture
def workdir(tmp_path):
  return epath.Path(tmp_path)


@pytest.fixture
def cells(monkeypatch):
  """Keeps the images [R, C, ...] that grids are made of."""
  found = []
  draw_images = drawing._draw_images

  def keep(image, *arguments, **options):
    found.append(image)
    return draw_images(image, *arguments, **options)

  monkeypatch.setattr(drawing, '_draw_images', keep)
  return found


@pytest.mark.parametrize(
  ('model', 'names'),
  [
    (AUTOENCODER, ['reconstructions', 'latent', 'manifold']),
    (AAE, ['reconstructions', 'latent', 'manifold', 'samples']),
    (GAN, ['manifold', 'samples']),
    (WIDE, ['reconstructions', 'latent']),
    (SUPERVISED, ['reconstructions', 'latent', 'styles']),
    (
      SEMI_SUPERVISED,
      ['mistakes', 'confusion', 'reconstructions', 'latent', 'styles'],
    ),
    (CLUSTERING, ['reconstructions', 'latent', 'clusters']),
    (Model(), []),
  ],
  ids=['ae', 'aae', 'gan', 'wide', 'supervised', 'semi', 'clusters', 'none'],
)
def test_figures_follow_from_what_the_model_has(model, names, drawn, workdir):
  written = drawn(make_experiment(model), workdir)
  assert list(written) == [f'{name}.png' for name in names]
  assert written.keys() <= figures.PICTURES.keys()
  folder = workdir / 'figures'
  assert {path.name for path in folder.glob('*')} == set(written)


def told(split):
  """What `encode_both` takes for the class of images."""
  return (3 * (split.image[:, 0, 0, 0] / 255)).astype(int)


def test_mistakes_are_the_surest_ones(drawn, workdir, monkeypatch):
  monkeypatch.setattr(figures, 'MAX_MISTAKES', 5)

  def classify(*arguments):
    y = encode_both(*arguments)['y']
    return y * (1 + arguments[1]['image'][:, 0, 1])

  experiment = make_experiment(
    dataclasses.replace(SEMI_SUPERVISED, classify=classify)
  )
  written = drawn(experiment, workdir)
  test = experiment.dataset.test
  wrong = np.flatnonzero(told(test) != test.label)
  sure = test.image[:, 0, 1, 0].astype(int)
  order = wrong[np.argsort(-sure[wrong], kind='stable')][:5]
  figure = written['mistakes.png']
  assert [axes.get_title() for axes in figure.axes if axes.images] == [
    f'{test.label[i]} \N{RIGHTWARDS ARROW} {told(test)[i]}' for i in order
  ]
  np.testing.assert_allclose(
    pictures.pixels(figure)[..., 0], 1 - test.image[order[0], ..., 0] / 255
  )
  title, note = pictures.texts(figure)
  assert title == f'The surest of {len(wrong)} mistakes on 30 test images'
  assert note.endswith(f' to {1 + sure[order[-1]] / 255:.2f}')


def test_without_a_mistake_there_is_no_picture_of_one(drawn, workdir):
  experiment = make_experiment(SEMI_SUPERVISED)
  test = experiment.dataset.test
  right = test._replace(label=told(test).astype(np.int32))
  dataset = dataclasses.replace(experiment.dataset, test=right)
  written = drawn(dataclasses.replace(experiment, dataset=dataset), workdir)
  assert 'mistakes.png' not in written and 'confusion.png' in written


def test_confusion_counts_classes_and_what_they_are_taken_for(drawn, workdir):
  experiment = make_experiment(SEMI_SUPERVISED)
  test = experiment.dataset.test
  [axes] = drawn(experiment, workdir)['confusion.png'].axes
  count = np.zeros((3, 3), int)
  for text in axes.texts:
    column, row = text.get_position()
    count[row, column] = int(text.get_text())
  expected = np.zeros((3, 3), int)
  np.add.at(expected, (test.label, told(test)), 1)
  np.testing.assert_array_equal(count, expected)
  assert pictures.labels_of(axes.yaxis) == ['0', '1', '2']


def test_files_are_pictures_that_fit_a_page(workdir):
  pictures.write_rows(workdir, {'reconstruction/loss': [2.0]})
  state = make_state()
  experiment = make_experiment(CLUSTERING)
  names = figures.write_figures(experiment, state, Run(workdir), 'a run')
  for name in names:
    picture = Image.open(io.BytesIO((workdir / 'figures' / name).read_bytes()))
    picture.load()
    assert picture.format == 'PNG'
    assert picture.width <= 10.5 * drawing.DPI
    assert picture.info['dpi'][0] == pytest.approx(drawing.DPI, rel=0.01)
    assert np.std(picture.convert('L')) > 1


def test_figures_are_made_again_for_a_later_state(drawn, workdir):
  drawn(make_experiment(AUTOENCODER), workdir)
  assert drawn(make_experiment(AUTOENCODER), workdir)


def untrained(experiment):
  """A state with any weights, made without compiling."""
  generator = np.random.default_rng(0)
  fill = lambda x: generator.uniform(0.1, 1, x.shape).astype(x.dtype)
  state = experiment.abstract_state()
  return state.replace(
    step=np.int32(0),
    params=jax.tree.map(fill, state.params),
    batch_stats=jax.tree.map(fill, state.batch_stats),
    ema=jax.tree.map(fill, state.ema),
  )


@pytest.mark.parametrize('name', tiny.NAMES)
def test_every_system_has_its_figures(name, drawn, workdir):
  experiment = tiny.build(name)
  metrics = {f'{phase.name}/loss': [1.0] for phase in experiment.system.phases}
  pictures.write_rows(workdir, metrics)
  model = experiment.system.model
  written = drawn(experiment, workdir, untrained(experiment))
  assert 'curves.png' in written
  assert ('reconstructions.png' in written) == bool(model.encode)
  assert ('samples.png' in written) == bool(model.sample)
  assert ('clusters.png' in written) == bool(model.cluster)
  assert ('latent.png' in written) == bool(model.encode)


def test_reconstructions_stand_below_their_images(drawn, workdir, cells):
  """Also: a part of the code that encode does not give is the label."""
  experiment = make_experiment(SUPERVISED)
  figure = drawn(experiment, workdir)['reconstructions.png']
  (grid,) = (found for found in cells if len(found) == 6)
  assert grid.shape[:2] == (6, 2 * pictures.NUM_CLASSES)
  test = experiment.dataset.test
  for column in range(2 * pictures.NUM_CLASSES):
    label = column // 2
    for row in range(0, 6, 2):
      image, reconstruction = grid[row : row + 2, column]
      (index,) = np.flatnonzero(
        (test.image == np.rint(255 * image)).all(axis=(1, 2, 3))
      )
      assert test.label[index] == label
      code = reconstruction.ravel()[:5]
      np.testing.assert_array_equal(code[:3], np.eye(3)[label])
      np.testing.assert_allclose(code[3:], image.ravel()[:2], rtol=1e-6)
  assert pictures.labels_of(figure.axes[0].xaxis) == ['0', '1', '2']


def test_reconstructions_without_labels(drawn, workdir, cells):
  drawn(make_experiment(AUTOENCODER, labels=False), workdir)
  assert cells[0].shape[:2] == (6, 20)


def test_few_images_of_a_class_come_again(drawn, workdir, cells):
  drawn(make_experiment(AUTOENCODER, sizes=(40, 0, 4)), workdir)
  assert cells[0].shape[:2] == (6, 2 * pictures.NUM_CLASSES)
  assert np.isfinite(cells[0]).all()


@pytest.mark.parametrize(
  ('sizes', 'title'),
  [
    ((40, 20, 30), 'Codes of 30 test images'),
    ((40, 20, 0), 'Codes of 20 validation images'),
    ((40, 0, 0), 'Codes of 40 training images'),
  ],
)
def test_titles_name_the_split(sizes, title, drawn, workdir):
  written = drawn(make_experiment(AUTOENCODER, sizes=sizes), workdir)
  assert pictures.texts(written['latent.png'])[0] == title


def test_title_says_when_points_are_left_out(drawn, workdir, monkeypatch):
  monkeypatch.setattr(figures, 'MAX_POINTS', 7)
  figure = drawn(make_experiment(AUTOENCODER), workdir)['latent.png']
  assert pictures.texts(figure)[0] == 'Codes of 7 of 30 test images'
  assert len(figure.axes[0].collections[0].get_offsets()) == 7


@pytest.mark.parametrize(
  ('num_seeds', 'averages', 'note'),
  [
    (1, (), 'a run, seed 7, step 1,400'),
    (3, (), 'a run, seed 7 (first sound one of 3), step 1,400'),
    (
      1,
      (0.9,),
      'a run, seed 7, step 1,400, averaged weights',
    ),
  ],
)
def test_notes_name_the_run(num_seeds, averages, note, drawn, workdir):
  experiment = make_experiment(AUTOENCODER, num_seeds)
  state = make_state((0.5,) * num_seeds, averages)
  for figure in drawn(experiment, workdir, state).values():
    assert pictures.texts(figure)[1] == note


def test_notes_name_the_setting_and_curves_are_its_own(drawn, workdir):
  settings = [{'generator.y_weight': weight} for weight in (1.0, 3.0)]
  rows = [
    {**row, 'setting': setting}
    for setting, loss in zip(settings, (2.0, 5.0), strict=True)
    for row in pictures.make_rows(3, reconstruction__loss=lambda k, x=loss: [x])
  ]
  path = workdir / 'metrics.jsonl'
  path.write_text(''.join(f'{json.dumps(row)}\n' for row in rows))
  experiment = make_experiment(
    AUTOENCODER, sizes=(40, 5, 30), setting=settings[1]
  )
  written = drawn(experiment, workdir)
  for figure in written.values():
    assert pictures.texts(figure)[1].startswith(
      'a run at generator.y_weight=3.0, seed 7'
    )
  axes = written['curves.png'].axes[0]
  np.testing.assert_array_equal(axes.lines[0].get_ydata(), [5.0] * 3)


@pytest.mark.parametrize(
  ('averages', 'shade'), [((), 0.25), ((0.75, 0.125), 0.75)]
)
def test_first_seed_and_averaged_weights_are_drawn(
  averages, shade, drawn, workdir, cells
):
  model = Model(
    {'z': 3},
    decode=lambda apply, batch, rng: apply('decoder', batch['code']['z']),
    prior=lambda apply, batch, keys: {'z': keys},
  )
  state = make_state((0.25, 0.5), averages)
  drawn(make_experiment(model, num_seeds=2), workdir, state)
  np.testing.assert_array_equal(cells[0], shade)


def test_first_sound_seed_is_drawn_and_named(drawn, workdir, cells):
  model = Model(
    {'z': 3},
    decode=lambda apply, batch, rng: apply('decoder', batch['code']['z']),
    prior=lambda apply, batch, keys: {'z': keys},
  )
  state = make_state((math.nan, 0.25, 0.5))
  written = drawn(make_experiment(model, num_seeds=3), workdir, state)
  np.testing.assert_array_equal(cells[0], 0.25)
  note = 'a run, seed 8 (first sound one of 3), step 1,400'
  assert pictures.texts(written['samples.png'])[1] == note


def test_no_seed_is_sound_and_only_the_curves_are_drawn(drawn, workdir):
  pictures.write_rows(workdir, {'reconstruction/loss': [2.0]})
  written = drawn(make_experiment(AAE), workdir, make_state((math.inf,)))
  assert list(written) == ['curves.png']


def test_picture_that_cannot_be_drawn_costs_no_other(
  drawn, workdir, monkeypatch, caplog
):
  def fail(trained):
    raise ValueError('no room\nfor it')

  monkeypatch.setattr(figures, '_latent', fail)
  written = drawn(make_experiment(AUTOENCODER), workdir)
  assert list(written) == ['reconstructions.png', 'manifold.png']
  assert [record.getMessage() for record in caplog.records] == [
    'latent.png cannot be drawn: ValueError: no room for it'
  ]


def test_latent_panels_share_axes_and_show_all_points(drawn, workdir):
  figure = drawn(make_experiment(AAE), workdir)['latent.png']
  codes, prior = figure.axes
  assert codes.get_xlim() == prior.get_xlim()
  assert codes.get_ylim() == prior.get_ylim()
  assert np.diff(codes.get_xlim()) == pytest.approx(np.diff(codes.get_ylim()))
  for axes in (codes, prior):
    points = axes.collections[0].get_offsets()
    assert len(points) == 30
    lowest, highest = np.transpose([codes.get_xlim(), codes.get_ylim()])
    assert (points > lowest).all() and (points < highest).all()
  image = pictures.make_split(30).image
  np.testing.assert_allclose(
    codes.collections[0].get_offsets(),
    image.reshape(30, 16)[:, :2] / 255,
    rtol=1e-6,
  )


def test_codes_are_coloured_by_label(drawn, workdir):
  figure = drawn(make_experiment(AAE), workdir)['latent.png']
  codes, prior = figure.axes
  label = pictures.make_split(30).label
  colours = pictures.colours_of(codes)
  assert len(colours) == 30
  assert len(np.unique(colours, axis=0)) == pictures.NUM_CLASSES
  for k in range(pictures.NUM_CLASSES):
    assert len(np.unique(colours[label == k], axis=0)) == 1
  assert len(pictures.colours_of(prior)) == 1
  legend = [text.get_text() for text in prior.get_legend().get_texts()]
  assert legend == ['0', '1', '2']


def test_prior_that_the_label_decides_is_coloured_by_it(drawn, workdir):
  model = dataclasses.replace(AAE, prior=conditional, by_label=('z',))
  figure = drawn(make_experiment(model), workdir)['latent.png']
  points = figure.axes[1].collections[0].get_offsets()
  colours = pictures.colours_of(figure.axes[1])
  label = np.arange(30) % pictures.NUM_CLASSES
  for k in range(pictures.NUM_CLASSES):
    assert len(np.unique(colours[label == k], axis=0)) == 1
  # Its mean is the label, which the prior sees only if it may.
  assert points[label == 2].mean() > points[label == 0].mean() + 1


def test_codes_without_labels_have_one_colour(drawn, workdir):
  figure = drawn(make_experiment(AAE, labels=False), workdir)['latent.png']
  assert len(pictures.colours_of(figure.axes[0])) == 1
  assert figure.axes[1].get_legend() is None


def test_cluster_heads_are_marked(drawn, workdir):
  figure = drawn(make_experiment(CLUSTERING), workdir)['latent.png']
  heads = {
    text.get_text(): text.get_position() for text in figure.axes[0].texts
  }
  assert heads == {'0': (1, 0), '1': (0, 1), '2': (0, 0)}


@pytest.mark.parametrize(
  ('labels', 'method'),
  [(True, 'linear discriminant'), (False, 'principal component')],
)
def test_wide_codes_are_projected(labels, method, drawn, workdir):
  figure = drawn(make_experiment(WIDE, labels=labels), workdir)['latent.png']
  assert pictures.texts(figure)[0] == (
    f'Codes of 30 test images: {method} analysis of 10 dimensions'
  )
  assert figure.axes[0].collections[0].get_offsets().shape == (30, 2)


def test_wide_cluster_heads_lie_on_a_circle(drawn, workdir):
  generator = np.random.default_rng(0)
  heads = jnp.asarray(
    generator.normal(0, 3, (pictures.NUM_CLASSES, 10)), jnp.float32
  )
  model = dataclasses.replace(
    WIDE,
    code_sizes={'y': pictures.NUM_CLASSES, 'z': 10},
    cluster_heads=lambda apply, batch, rng: batch['code']['y'] @ heads,
  )
  figure = drawn(make_experiment(model), workdir)['latent.png']
  assert pictures.texts(figure)[0] == (
    'Codes of 30 test images: linear map of 10 dimensions, heads to a circle'
  )
  drawn_heads = np.array([text.get_position() for text in figure.axes[0].texts])
  radius = np.linalg.norm(drawn_heads[0])
  angle = 2 * np.pi * np.arange(pictures.NUM_CLASSES) / pictures.NUM_CLASSES
  expected = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
  np.testing.assert_allclose(drawn_heads, expected, atol=1e-4)
  # The codes go through the same linear map, which keeps the unit of length.
  drawn_codes = figure.axes[0].collections[0].get_offsets()
  batch = {'image': pictures.make_split(30).image / 255}
  code = np.asarray(encode_wide(None, batch, None)['z'])
  both = (
    np.concatenate([heads, code]),
    np.concatenate([drawn_heads, drawn_codes]),
  )
  matrix, residual, *_ = np.linalg.lstsq(*both, rcond=None)
  np.testing.assert_allclose(residual, 0, atol=1e-4)
  np.testing.assert_allclose(np.sum(matrix**2), 2, rtol=1e-3)


def test_wide_codes_cannot_be_drawn_as_they_are():
  with pytest.raises(ValueError, match=r'shape \(3, 10\); expected \[N, 2\]'):
    drawing.draw_latent(np.zeros((3, 10)))


def test_manifold_is_decoded_at_percentiles_of_the_prior(drawn, workdir, cells):
  figure = drawn(make_experiment(GAN), workdir)['manifold.png']
  expected = stats.norm.ppf(np.arange(0.025, 1, 0.05))
  grid = cells[0]
  assert grid.shape[:2] == (20, 20)
  z = grid.reshape(20, 20, 16)[:, :, :2]
  # The first row is at the top: the largest z_2.
  np.testing.assert_allclose(z[:, :, 0], np.tile(expected, (20, 1)), atol=0.07)
  np.testing.assert_allclose(
    z[:, :, 1].T, np.tile(expected[::-1], (20, 1)), atol=0.07
  )
  assert pictures.texts(figure)[0].endswith('at percentiles of the prior')
  assert len(pictures.labels_of(figure.axes[0].xaxis)) == 20
  assert pictures.labels_of(figure.axes[0].yaxis)[0].startswith('1.')


def test_manifold_without_a_prior_is_at_percentiles_of_the_codes(
  drawn, workdir, cells
):
  figure = drawn(make_experiment(AUTOENCODER), workdir)['manifold.png']
  (grid,) = (found for found in cells if len(found) == 20)
  code = pictures.make_split(30).image.reshape(30, 16)[:, :2] / 255
  expected = np.percentile(code, [2.5, 97.5], axis=0)
  np.testing.assert_allclose(grid[-1, 0].ravel()[:2], expected[0], rtol=1e-5)
  np.testing.assert_allclose(grid[0, -1].ravel()[:2], expected[1], rtol=1e-5)
  assert pictures.texts(figure)[0].endswith('of the codes of the test images')


def test_samples_without_a_label(drawn, workdir, cells):
  figure = drawn(make_experiment(GAN), workdir)['samples.png']
  assert cells[-1].shape[:2] == (10, 10)
  assert pictures.labels_of(figure.axes[0].xaxis) == []
  # All of them differ.
  assert len(np.unique(cells[-1].reshape(100, -1), axis=0)) == 100


def test_samples_that_the_label_decides_have_a_column_each(
  drawn, workdir, cells
):
  model = Model(
    {'z': 1},
    by_label=('z',),
    decode=lambda apply, batch, rng: as_image(batch['code']['z']),
    prior=lambda apply, batch, keys: {
      'z': batch['label'][:, None].astype(float)
    },
  )
  figure = drawn(make_experiment(model), workdir)['samples.png']
  assert cells[0].shape[:2] == (10, pictures.NUM_CLASSES)
  np.testing.assert_array_equal(
    cells[0][..., 0, 0, 0], np.tile([0, 1, 2], (10, 1))
  )
  assert pictures.labels_of(figure.axes[0].xaxis) == ['0', '1', '2']


@pytest.mark.parametrize('model', [SUPERVISED, SEMI_SUPERVISED])
def test_styles_have_an_image_a_row_and_a_label_a_column(
  model, drawn, workdir, cells
):
  figure = drawn(make_experiment(model), workdir)['styles.png']
  grid = cells[-1].reshape(pictures.NUM_CLASSES, 1 + pictures.NUM_CLASSES, 16)
  for row in grid:
    for label, styled in enumerate(row[1:]):
      np.testing.assert_array_equal(styled[:3], np.eye(3)[label])
      np.testing.assert_allclose(styled[3:5], row[0, :2], rtol=1e-6)
  assert pictures.labels_of(figure.axes[0].xaxis) == ['image', '0', '1', '2']


def test_clusters_show_heads_members_and_counts(drawn, workdir, cells):
  experiment = make_experiment(CLUSTERING)
  figure = drawn(experiment, workdir)['clusters.png']
  grid = cells[-1]
  image = experiment.dataset.test.image
  cluster = (3 * (image[:, 0, 0, 0] / np.float32(255))).astype(int)
  assert grid.shape[:2] == (pictures.NUM_CLASSES, 13)
  for row in range(pictures.NUM_CLASSES):
    # The head is decoded at y = cluster and z = 0.
    np.testing.assert_array_equal(
      grid[row, 0].ravel(), np.pad(np.eye(3)[row], (0, 13))
    )
    members = image[cluster == row][:12] / 255
    np.testing.assert_allclose(grid[row, 1 : 1 + len(members)], members)
    assert np.isnan(grid[row, 1 + len(members) :]).all()
  (margin,) = figure.axes[0].child_axes
  assert pictures.labels_of(margin.yaxis) == [
    str(count) for count in np.bincount(cluster)
  ]


def test_no_rows_no_curves(drawn, workdir):
  (workdir / 'metrics.jsonl').write_text('')
  assert 'curves.png' not in drawn(make_experiment(AUTOENCODER), workdir)
  pictures.write_rows(workdir, {'reconstruction/loss': [2.0, 3.0]})
  written = drawn(make_experiment(AUTOENCODER, num_seeds=2), workdir)
  assert pictures.texts(written['curves.png'])[1] == (
    'a run, mean and range of 2 seeds'
  )
