"""Tests of aae_jax.explorer, and of its page in a browser."""

import base64
import io
import json

import jax
import numpy as np
from PIL import Image
import pytest
import tiny

from aae_jax import explorer, pages, saved_model
from aae_jax.datasets import Scaling
from tests import browser

SEMI_SUPERVISED = (
  'semi_supervised_aae',
  {'latent_size': 4, 'prior.name': 'gaussian', **tiny.NOISY},
)


def make(name, **changes):
  """A system with random weights, which nothing has trained."""
  experiment = tiny.build(name, **changes)
  generator = np.random.default_rng(0)
  state = experiment.abstract_state()
  draw = lambda x: np.float32(generator.normal(scale=0.5, size=x.shape))
  weights = {
    'params': jax.tree.map(draw, state.params),
    # Variances among them.
    'batch_stats': jax.tree.map(lambda x: abs(draw(x)), state.batch_stats),
  }
  return experiment.trained(weights)


def describe(trained, labels=True):
  test = tiny.DATASET.test
  split = test if labels else test._replace(label=None)
  return explorer.describe(
    trained, split, tiny.DATASET.schema.classes if labels else ()
  )


@pytest.mark.parametrize(
  'name, changes',
  [
    ('aae', {}),
    ('aae', tiny.NOISY),
    ('aae', {'decoder.activation': 'softplus', 'decoder.output': 'linear'}),
    ('gan', {'decoder.activation': 'leaky_relu', 'decoder.slope': 0.2}),
    SEMI_SUPERVISED,
    ('supervised_aae', {}),
    ('dimensionality_reduction_aae', {}),
    ('adgm', {}),
  ],
)
def test_layers_decode_as_the_model_does(name, changes):
  trained = make(name, **changes)
  model = saved_model.LoadedModel(trained, tiny.DATASET.schema)
  generator = np.random.default_rng(1)
  code = {
    part: generator.normal(size=(9, size))
    for part, size in model.code_sizes.items()
  }
  parts = [code[part] for part in sorted(code)]
  layers = explorer.fold(trained)
  output = explorer.run(layers, np.concatenate(parts, axis=1))
  found = explorer.mean(changes.get('decoder.output', 'sigmoid'), output)
  expected = np.asarray(model.decode(code)).reshape(9, -1)
  np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)
  assert expected.std() > 0.1  # Or any decoder would do.


@pytest.mark.parametrize(
  'name, changes',
  [
    # It has no decoder.
    ('classifier', {}),
    # A code is decoded to another one first.
    ('m1_m2', {}),
    ('sdgm', {}),
    ('aae', {'decoder.network': 'convolutional', 'decoder.channels': (2,)}),
  ],
)
def test_without_a_perceptron_there_is_nothing_to_explore(name, changes):
  assert describe(make(name, **changes)) is None


def test_another_activation_is_not_taken_for_one_of_the_page(monkeypatch):
  trained = make('aae')
  monkeypatch.setattr(explorer.nn, 'relu', None)
  assert explorer.fold(trained) is None


def floats(text):
  return np.frombuffer(base64.b64decode(text), '<f2')


def test_codes_are_those_of_the_images():
  trained = make(*SEMI_SUPERVISED[:1], **SEMI_SUPERVISED[1])
  data, test = describe(trained), tiny.DATASET.test
  model = saved_model.LoadedModel(trained, tiny.DATASET.schema)
  code = model.encode(test.image)
  expected = np.concatenate([code['y'], code['z']], axis=1)
  found = floats(data['codes']).reshape(expected.shape)
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
  assert data['labels'] == test.label.tolist()
  assert (data['y_size'], data['entries']) == (3, ['0', '1', '2'])
  assert data['is_inferred'] and not data['heads']
  assert len(data['axes']) == 4
  np.testing.assert_allclose(
    np.array(data['axes']) @ np.transpose(data['axes']), np.eye(4), atol=1e-6
  )


def test_thumbnails_are_the_images_as_ink():
  data, test = describe(make('aae')), tiny.DATASET.test
  content = base64.b64decode(data['thumbnails'].partition(',')[2])
  whole = np.asarray(Image.open(io.BytesIO(content)))
  assert whole.shape == (4, 50 * 4)
  for place, image in enumerate(test.image):
    cell = whole[:, 4 * place : 4 * place + 4]
    np.testing.assert_array_equal(255 - cell, image[..., 0])


def test_large_images_are_fewer(monkeypatch):
  monkeypatch.setattr(explorer, 'MAX_VALUES', 0)
  trained = make('aae')
  split = tiny.make_split(150, 0)
  classes = tiny.DATASET.schema.classes
  found = lambda: explorer.describe(trained, split, classes)['labels']
  assert len(found()) == 100
  monkeypatch.setattr(explorer, 'MAX_VALUES', 120 * 16)
  assert len(found()) == 120


def test_floats_are_shown_as_they_would_be_stored():
  stored = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), np.uint8)
  scaling = Scaling(100.0, 50.0)
  found = explorer._thumbnails(scaling(stored), scaling)
  assert found == explorer._thumbnails(stored, scaling)


def test_plane_of_a_code_with_heads_is_that_of_its_representation():
  trained = make('dimensionality_reduction_clustering_aae')
  data = describe(trained)
  assert data['y_size'] == 0 and len(data['heads']) == 4
  assert data['layers'][0]['inputs'] == len(data['mean']) == 2
  model = saved_model.LoadedModel(trained, tiny.DATASET.schema)
  code = model.encode(tiny.DATASET.test.image)
  representation = floats(data['codes']).reshape(-1, 2).astype(np.float64)
  head = np.array(data['heads'])
  np.testing.assert_allclose(
    code['y'] @ head + code['z'], representation, rtol=2e-3, atol=1e-3
  )
  first = explorer.fold(trained)[0]
  kernel = floats(data['weights'])[: 2 * 8].reshape(2, 8)
  np.testing.assert_allclose(kernel, first.kernel[4:], rtol=1e-3)


def test_without_an_encoder_the_points_are_of_the_prior():
  data = describe(make('gan', **{'latent_size': 20, 'prior.name': 'gaussian'}))
  assert data['thumbnails'] == ''
  assert set(data['labels']) == {-1}
  assert len(floats(data['codes'])) == 13 * 20
  assert len(data['axes']) == explorer.MAX_AXES


def test_without_labels_no_point_has_a_class():
  data = describe(make('aae'), labels=False)
  assert set(data['labels']) == {-1} and data['classes'] == []


def render(trained, **changes):
  """The page, of data that a test may change."""
  data = {**describe(trained), **changes}
  template = pages.templates().get_template('explorer.html')
  return data, template.render(
    title='a title', note='', points='', data=data, version='1'
  )


@browser.needs_browser
@pytest.mark.parametrize(
  'name, changes',
  [
    SEMI_SUPERVISED,
    ('aae', {'decoder.activation': 'softplus', 'decoder.output': 'linear'}),
    ('aae', {'decoder.activation': 'leaky_relu', 'decoder.slope': 0.2}),
  ],
)
def test_page_decodes_the_rounded_weights(name, changes, tmp_path):
  trained = make(name, **changes)
  data, page = render(trained)
  layers = [layer.rounded for layer in explorer.fold(trained)]
  size = data['layers'][0]['inputs']
  code = np.random.default_rng(2).normal(size=(5, size))
  output = explorer.run(layers, code)
  image = explorer.mean(changes.get('decoder.output', 'sigmoid'), output)
  found = browser.evaluate(
    page,
    f"""
    const canvas = find('now').firstElementChild;
    return {json.dumps(code.tolist())}.map((row) => {{
      code = Float32Array.from(row);
      show();
      const drawn = canvas.getContext('2d').getImageData(0, 0, width, height);
      return [[...decode(code)], [...drawn.data]];
    }});""",
    tmp_path,
  )
  for expected, (values, drawn) in zip(255 * image, found, strict=True):
    np.testing.assert_allclose(values, expected, atol=0.1)
    drawn = np.reshape(drawn, (16, 4))
    ink = 255 - np.clip(expected, 0, 255)
    np.testing.assert_allclose(drawn[:, :3], np.tile(ink[:, None], 3), atol=1)
    assert set(drawn[:, 3]) == {255}


ACTIONS = """
  const box = plane.getBoundingClientRect();
  const send = (type, x, y, pointerType = 'mouse') => plane.dispatchEvent(
    new PointerEvent(type, {
      clientX: box.left + x * box.width, clientY: box.top + y * box.height,
      pointerType, bubbles: true,
    }));
  const press = (key, options = {}) => plane.dispatchEvent(
    new KeyboardEvent('keydown', {key, ...options}));
  const where = () => [coordinate(code, 0), coordinate(code, 1)];
  const at = (i) => toPlane(points[i].x, points[i].y)
    .map((v) => v / plane.width);
  const text = () => find('near').querySelector('p').textContent;
  const isHidden = () => find('near').hidden;
  const found = {};
"""


BY_HAND = """
  found.before = [[...code], where()];
  send('pointerdown', 0.25, 0.5);
  send('pointermove', 0.5, 0.75);
  found.dragged = [[...code], where()];
  send('pointerup', 0.5, 0.75);
  send('pointermove', 0.1, 0.1);
  found.released = where();
  send('pointermove', ...at(7));
  found.hovered = [near, text(), isHidden(), where()];
  send('pointerdown', ...at(7));
  send('pointerup', ...at(7));
  found.taken = [...code];
  send('pointerleave', 0, 0);
  found.left = isHidden();
  send('pointerdown', 0.5, 0.5, 'touch');
  send('pointermove', 0.75, 0.5, 'touch');
  send('pointercancel', 0.75, 0.5, 'touch');
  found.touched = where();
  press('ArrowUp');
  press('ArrowLeft', {shiftKey: true});
  found.stepped = where();
  press('2');
  found.label = [...code].slice(0, ySize);
  send('pointerdown', 2, -1);
  found.outside = where();
  send('pointercancel', 2, -1);
  show();
  found.pressed = [...find('labels').children].map(
    (button) => button.getAttribute('aria-pressed'));
  find('labels').children[1].click();
  found.clicked = [...code].slice(0, ySize);
  press('n');
  press('n');
  press('p');
  found.next = near;
  const slider = find('axes').querySelector('input');
  slider.value = slider.max;
  slider.dispatchEvent(new Event('input'));
  found.third = [coordinate(code, 2), Number(slider.max), where()];
  return found;
"""
"""What mouse, finger and keys do, and what comes of each."""


@browser.needs_browser
def test_page_follows_mouse_finger_and_keys(tmp_path):
  data, page = render(make(SEMI_SUPERVISED[0], **SEMI_SUPERVISED[1]))
  found = browser.evaluate(page, ACTIONS + BY_HAND, tmp_path)
  centre, half = np.array(data['centre']), data['half']
  place = lambda x, y: centre + half * np.array([2 * x - 1, 1 - 2 * y])
  close = lambda a, b: np.testing.assert_allclose(a, b, atol=0.02 * half)
  codes = floats(data['codes']).reshape(13, -1)
  np.testing.assert_allclose(found['before'][0], codes[0], rtol=1e-6)
  close(found['dragged'][1], place(0.5, 0.75))
  # What is beside the plane stays: y, and the other axes.
  change = np.array(found['dragged'][0]) - found['before'][0]
  np.testing.assert_allclose(change[:3], 0)
  np.testing.assert_allclose(
    np.array(data['axes'])[2:] @ change[3:], 0, atol=1e-5
  )
  close(found['released'], place(0.5, 0.75))
  near, text, is_hidden, where = found['hovered']
  assert near == 7 and not is_hidden
  assert text.removeprefix('class ')[0] == str(data['labels'][7])
  close(where, place(0.5, 0.75))
  np.testing.assert_allclose(found['taken'], codes[7], rtol=1e-6)
  assert found['left']
  close(found['touched'], place(0.75, 0.5))
  close(found['stepped'], place(0.65, 0.48))
  close(found['outside'], place(1, 0))
  assert found['label'] == [0, 0, 1] and found['clicked'] == [0, 1, 0]
  assert found['pressed'] == ['false', 'false', 'true']
  assert found['next'] == 0
  third, most, _ = found['third']
  assert third == pytest.approx(most, abs=1e-4)


@browser.needs_browser
def test_page_goes_from_one_image_to_another_on_a_phone(tmp_path):
  _, page = render(make('aae', **{'latent_size': 1, 'prior.name': 'gaussian'}))
  found = browser.evaluate(
    page,
    """
    const way = find('way');
    const found = {begin: [...ends[0]], end: [...ends[1]]};
    way.value = 0.25;
    way.dispatchEvent(new Event('input'));
    found.way = [...code];
    find('strip').children[8].click();
    found.last = [...code];
    code = Float32Array.of(9);
    find('from').click();
    find('strip').children[4].click();
    found.middle = [...code];
    const {scrollWidth, clientWidth} = document.documentElement;
    found.sides = [scrollWidth, clientWidth];
    return found;
    """,
    tmp_path,
    width=390,
  )
  begin, end = np.array(found['begin']), np.array(found['end'])
  np.testing.assert_allclose(found['way'], 0.75 * begin + 0.25 * end, rtol=1e-5)
  np.testing.assert_allclose(found['last'], end)
  np.testing.assert_allclose(found['middle'], (9 + end) / 2, rtol=1e-6)
  # Nothing is wider than the screen.
  assert found['sides'][0] == found['sides'][1]


def test_page_asks_nothing_of_anyone():
  _, page = render(make('aae'))
  assert 'http' not in page and '@import' not in page
  assert '{{' not in page and '{%' not in page


def test_label_that_is_told_is_not_inferred():
  data = describe(make('supervised_aae'))
  assert data['y_size'] == 3 and not data['is_inferred']
