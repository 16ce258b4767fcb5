"""Tests of aae_jax.drawing."""

import io

import numpy as np
from PIL import Image
import pytest

from aae_jax import drawing
from tests import pictures


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('size', [8, 28, 32])
def test_images_of_any_shape(size, channels):
  image = np.full((2, 3, size, size, channels), 0.5)
  figure = drawing.draw_samples(image)
  gap = max(1, size // 14)
  assert pictures.pixels(figure).shape == (
    2 * size + gap,
    3 * size + 2 * gap,
    3,
  )


def test_one_channel_is_ink_on_white_and_values_are_clipped():
  values = np.array([0.0, 0.25, 1.0, 7.0, -3.0, np.nan])
  ink = drawing._ink(values.reshape(6, 1, 1, 1))
  np.testing.assert_allclose(
    ink[:, 0, 0, :], np.repeat([[1], [0.75], [0], [0], [1], [1]], 3, axis=1)
  )


def test_three_channels_keep_their_colours():
  colour = np.array([0.2, 1.5, -1.0]).reshape(1, 1, 3)
  np.testing.assert_allclose(drawing._ink(colour)[0, 0], [0.2, 1.0, 0.0])


def test_uint8_and_float_images_look_the_same():
  image = pictures.make_split(6).image.reshape(2, 3, *pictures.IMAGE_SHAPE)
  np.testing.assert_allclose(
    pictures.pixels(drawing.draw_samples(image)),
    pictures.pixels(drawing.draw_samples(image / 255)),
  )


def make_panel(name, label=True, scale=1.0, num_points=30):
  code = scale * np.random.default_rng(0).normal(size=(num_points, 2))
  classes = np.arange(num_points) % pictures.NUM_CLASSES
  return name, code, classes if label else None, f'distance of {name}'


def test_compared_codes_share_axes_with_their_row():
  rows = [
    [make_panel('a'), make_panel('b', scale=3.0)],
    [make_panel('c', scale=0.1), make_panel('d')],
  ]
  figure = drawing.draw_comparison(rows, note='a note')
  a, b, c, d = figure.axes
  for left, right, row in ((a, b, rows[0]), (c, d, rows[1])):
    assert left.get_xlim() == right.get_xlim()
    assert left.get_ylim() == right.get_ylim()
    assert np.ptp(left.get_xlim()) == pytest.approx(np.ptp(left.get_ylim()))
    for axes, (name, code, label, note) in zip((left, right), row, strict=True):
      points = axes.collections[0].get_offsets()
      np.testing.assert_allclose(points, code)
      lowest, highest = np.transpose([axes.get_xlim(), axes.get_ylim()])
      assert (points > lowest).all() and (points < highest).all()
      assert len(np.unique(pictures.colours_of(axes)[label == 1], axis=0)) == 1
      assert axes.get_title() == name
      assert axes.texts[-1].get_text() == note
  assert a.get_xlim() != c.get_xlim()
  legend = [text.get_text() for text in b.get_legend().get_texts()]
  assert legend == ['0', '1', '2']
  assert pictures.texts(figure)[1] == 'a note'


def test_compared_codes_need_not_fill_the_last_row_nor_have_labels():
  figure = drawing.draw_comparison(
    [
      [make_panel('a', label=False), make_panel('b', label=False)],
      [make_panel('c', label=False)],
    ]
  )
  assert [axes.get_title() for axes in figure.axes] == ['a', 'b', 'c']
  assert [axes.get_legend() for axes in figure.axes] == [None] * 3
  picture = Image.open(io.BytesIO(drawing.to_png(figure)))
  assert picture.width <= 10.5 * drawing.DPI


def test_wide_codes_cannot_be_compared():
  panel = ('a', np.zeros((3, 10)), None, '')
  with pytest.raises(ValueError, match=r'shape \(3, 10\); expected \[N, 2\]'):
    drawing.draw_comparison([[panel]])


def test_empty_clusters_are_noted():
  figure = drawing.draw_clusters(
    np.zeros((4, *pictures.IMAGE_SHAPE)),
    np.zeros((5, *pictures.IMAGE_SHAPE)),
    np.array([1, 1, 3, 1, 1]),
    note='a run',
  )
  assert pictures.texts(figure)[1] == 'a run; 2 of 4 clusters are empty'
  axes = figure.axes[0]
  rows = axes.get_yticks()
  assert [text.get_position()[1] for text in axes.texts] == [rows[0], rows[2]]
  assert all('empty' in text.get_text() for text in axes.texts)
  (margin,) = axes.child_axes
  assert pictures.labels_of(margin.yaxis) == ['0', '4', '0', '1']


def test_no_cluster_is_empty_and_nothing_is_said():
  figure = drawing.draw_clusters(
    np.zeros((2, *pictures.IMAGE_SHAPE)),
    np.zeros((2, *pictures.IMAGE_SHAPE)),
    np.array([0, 1]),
    note='a run',
  )
  assert pictures.texts(figure)[1] == 'a run'
  assert not figure.axes[0].texts
