"""Tests of aae_jax.predictions, and of the images that a user names."""

import csv
import re

import jax
import numpy as np
from PIL import Image
import pytest

from aae_jax import datasets, predictions, saved_model, trained
from aae_jax.datasets import Scaling
from aae_jax.errors import InputError
from aae_jax.trained import Trained
from tests import tiny

PIXELS = tiny.DATASET.test.image[..., 0]


@pytest.fixture
def photos(tmp_path, monkeypatch):
  """A folder of folders, and the working directory that it is in."""
  monkeypatch.chdir(tmp_path)
  for index, pixels in enumerate(PIXELS):
    folder = tmp_path / 'photos' / ('', 'a', 'a/b')[index % 3]
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / f'{index:02}.png')
  hidden = tmp_path / 'photos/.thumbnails'
  hidden.mkdir()
  (hidden / 'x.png').write_text('no image')
  (tmp_path / 'photos/notes.txt').write_text('no image')
  return tmp_path / 'photos'


@pytest.fixture
def model(monkeypatch):
  """Has the loaded run be of a system with random weights."""

  def of(name):
    system = tiny.build(name).system
    weights = trained.newest(tiny.random_state(system))
    weights = jax.tree.map(lambda x: np.asarray(x)[None], weights)
    run = Trained(system, weights, Scaling())
    found = run, tiny.DATASET.schema
    monkeypatch.setattr(saved_model, 'restore', lambda workdir: found)
    return saved_model.LoadedModel(*found)

  return of


def written_rows(path):
  with path.open(newline='') as file:
    return list(csv.DictReader(file))


def index_of(name):
  """Of the image, which its name tells."""
  return int(re.search(r'(\d+)(\.png|\])$', name)[1])


def predict(tmp_path, *addresses):
  path = tmp_path / 'predictions.csv'
  predictions.predict('run', datasets.find_images(addresses), path)
  return written_rows(path)


def test_images_are_classified_and_measured(
  tmp_path, photos, model, monkeypatch, capsys
):
  # So that the last batch is filled up.
  monkeypatch.setattr(trained, 'BATCH_SIZE', 5)
  model = model('semi_supervised_aae')
  rows = predict(tmp_path, 'photos')
  expected = sorted(str(p.relative_to(tmp_path)) for p in photos.rglob('*.png'))
  assert [row['path'] for row in rows] == [
    path for path in expected if '.thumbnails' not in path
  ]
  index = [index_of(row['path']) for row in rows]
  images = PIXELS[index]
  probability = model.classify(images)
  error = np.square(images / 255 - model.reconstruct(images)[..., 0])
  for column, values in {
    'class': probability.argmax(axis=1),
    'probability': probability.max(axis=1),
    'reconstruction_error': error.sum(axis=(1, 2)),
  }.items():
    found = [float(row[column]) for row in rows]
    np.testing.assert_allclose(found, values, rtol=1e-4, err_msg=column)
  assert list(rows[0]) == [
    'path',
    'class',
    'probability',
    'reconstruction_error',
  ]
  assert capsys.readouterr().out == (
    f'Wrote {tmp_path}/predictions.csv: 13 images.\n'
  )


def test_classes_are_called_by_their_names(
  tmp_path, photos, model, monkeypatch
):
  classify = model('semi_supervised_aae').classify
  run, schema = saved_model.restore('run')
  names = tuple(f'kind {k}' for k in range(tiny.NUM_CLASSES))
  named = run, schema._replace(class_names=names)
  monkeypatch.setattr(saved_model, 'restore', lambda workdir: named)
  [row] = predict(tmp_path, 'photos/00.png')
  assert row['class'] == names[int(classify(PIXELS[0]).argmax())]


def test_images_are_brought_to_the_size_of_the_model(tmp_path, photos, model):
  """As those of a training are, by `dataset.image_size`."""
  model('autoencoder')
  for name, size in {'large.png': (20, 12), 'same.png': (4, 4)}.items():
    Image.new('RGB', size, (90, 90, 90)).save(name)
  [large, same] = predict(tmp_path, 'large.png', 'same.png')
  assert large['reconstruction_error'] == same['reconstruction_error']


def test_the_probability_is_the_clusters_where_there_are_no_classes(
  tmp_path, photos, model
):
  model = model('clustering_aae')
  [row, other] = predict(tmp_path, 'photos/00.png', 'photos/a/01.png')
  assert list(row) == ['path', 'cluster', 'probability', 'reconstruction_error']
  probability = np.asarray(model.cluster(PIXELS[1]))
  assert int(other['cluster']) == probability.argmax()
  assert float(other['probability']) == pytest.approx(probability.max(), 1e-4)


def test_an_npz_is_predicted_as_files_are(tmp_path, photos, model):
  model('autoencoder')
  np.savez('images.npz', image=PIXELS, label=np.arange(len(PIXELS)))
  by_place = {
    index_of(row['path']): row['reconstruction_error']
    for row in predict(tmp_path, 'photos')
  }
  rows = predict(tmp_path, 'images.npz')
  assert [row['path'] for row in rows[:2]] == ['images.npz[0]', 'images.npz[1]']
  assert [row['reconstruction_error'] for row in rows] == [
    by_place[place] for place in range(len(PIXELS))
  ]


def test_codes_are_kept_by_part(tmp_path, photos, model):
  model = model('semi_supervised_aae')
  path = tmp_path / 'codes'
  images = datasets.find_images(['photos'])
  predictions.encode('run', images, path)
  with np.load(path) as arrays:
    found = dict(arrays)
  assert found.pop('path').tolist() == images.names
  pixels = PIXELS[[index_of(name) for name in images.names]]
  expected = {
    **model.encode(pixels),
    'class_probability': model.classify(pixels),
    'representation': model.represent(pixels),
  }
  assert found.keys() == expected.keys()
  for name, values in expected.items():
    np.testing.assert_allclose(found[name], values, atol=1e-5, err_msg=name)


def test_a_representation_is_kept(tmp_path, photos, model):
  model = model('dimensionality_reduction_clustering_aae')
  path = tmp_path / 'codes.npz'
  predictions.encode('run', datasets.find_images(['photos/00.png']), path)
  with np.load(path) as found:
    assert {'cluster_probability', 'representation'} < found.keys()
    np.testing.assert_allclose(
      found['representation'], model.represent(PIXELS[:1]), atol=1e-5
    )


@pytest.mark.parametrize(
  'name, write, message',
  [
    ('gan', predictions.predict, 'this model tells no class, cluster or .*'),
    # Its decoder must be told the label.
    ('supervised_aae', predictions.predict, 'this model tells no class, .*'),
    ('gan', predictions.encode, 'this model has no codes of images; .*'),
  ],
)
def test_what_a_model_lacks_is_told(
  tmp_path, photos, model, name, write, message
):
  model(name)
  with pytest.raises(InputError, match=f'^{message}$'):
    write('run', datasets.find_images(['photos']), tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('error', [InputError('damaged'), KeyboardInterrupt()])
def test_what_was_there_stays_until_all_is_written(
  tmp_path, photos, model, monkeypatch, error
):
  """Whether an image is damaged, or Ctrl-C is pressed."""
  model('autoencoder')
  before = predict(tmp_path, 'photos/00.png')
  monkeypatch.setattr(trained, 'BATCH_SIZE', 5)
  read, calls = datasets.own_images.read_images, []

  def failing(*arguments):
    calls.append(arguments)
    if len(calls) == 2:
      raise error
    return read(*arguments)

  monkeypatch.setattr(datasets.own_images, 'read_images', failing)
  with pytest.raises(type(error)):
    predict(tmp_path, 'photos')
  assert written_rows(tmp_path / 'predictions.csv') == before
  assert not list(tmp_path.glob('*.partial'))


@pytest.mark.parametrize(
  'addresses, message',
  [
    (
      ['photos', 'absent'],
      'absent: there is no such folder, .npz file or image file',
    ),
    (['empty'], 'empty holds no image, nor do the folders within'),
    (
      ['photos', 'images.npz'],
      'images.npz is an .npz file; expected no other images',
    ),
    (
      ['images.npz'],
      r'images.npz has images of shape \(5, 5, 1\); expected \(4, 4, 1\), as '
      'the model was trained on',
    ),
    (['photos/notes.txt'], 'photos/notes.txt is not a whole .*'),
  ],
)
def test_images_that_cannot_be_taken_are_told(
  tmp_path, photos, model, addresses, message
):
  model('autoencoder')
  np.savez('images.npz', image=np.zeros((2, 5, 5)))
  (tmp_path / 'empty').mkdir()
  with pytest.raises(InputError, match=f'^{message}$'):
    predict(tmp_path, *addresses)
