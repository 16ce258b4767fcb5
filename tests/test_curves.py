"""Tests of aae_jax.curves."""

import math

import numpy as np
import pytest

from aae_jax import curves, drawing, phases
from tests import pictures


def draw(rows, names, parts='yz'):
  """The curves of the phases of these names, as of a semi-supervised AAE."""
  adversaries = phases.regularization(
    {part: f'discriminator_{part}' for part in parts}, None, None
  )
  found = {phase.name: phase for phase in adversaries}
  others = {name: phases.Phase(name, ('encoder',), None) for name in names}
  system = [(others | found)[name] for name in names]
  return curves.draw_curves(rows, curves.panels(system, rows))


def panel(figure, title):
  (axes,) = (axes for axes in figure.axes if axes.get_title() == title)
  return axes


def line(axes, label):
  (found,) = (line for line in axes.lines if line.get_label() == label)
  return found


def test_curves_show_mean_and_range_of_the_seeds():
  rows = pictures.make_rows(3, reconstruction__loss=lambda k: [k, k + 1, k + 5])
  figure = draw(rows, ['reconstruction'])
  (axes,) = figure.axes
  assert axes.get_title() == 'reconstruction loss'
  np.testing.assert_array_equal(axes.lines[0].get_xdata(), [1, 2, 3])
  np.testing.assert_allclose(axes.lines[0].get_ydata(), [3, 4, 5])
  extents = axes.collections[0].get_datalim(axes.transData)
  assert (extents.y0, extents.y1) == (1, 8)


def test_curves_of_one_seed_have_no_range():
  rows = pictures.make_rows(3, reconstruction__loss=lambda k: [k])
  (axes,) = draw(rows, ['reconstruction']).axes
  assert not axes.collections


def test_values_that_are_not_finite_leave_a_gap():
  """One seed's loss is lost at epoch 2, and both are at epoch 3."""
  values = {1: [1.0, 3.0], 2: [None, 7.0], 3: [None, None], 4: [1.0, 2.0]}
  rows = pictures.make_rows(4, reconstruction__loss=values.get)
  figure = draw(rows, ['reconstruction'])
  np.testing.assert_allclose(
    figure.axes[0].lines[0].get_ydata(), [2, 7, np.nan, 1.5]
  )
  assert drawing.to_png(figure)


def test_curves_without_any_finite_value():
  rows = pictures.make_rows(2, reconstruction__loss=lambda k: [None])
  assert drawing.to_png(draw(rows, ['reconstruction']))


def adversarial_rows():
  return pictures.make_rows(
    2,
    discriminator__loss=lambda k: [3.0],
    discriminator__y_prior_accuracy=lambda k: [0.75],
    discriminator__y_posterior_accuracy=lambda k: [0.5],
    discriminator__z_prior_accuracy=lambda k: [0.25],
    discriminator__z_posterior_accuracy=lambda k: [1.0],
    generator__loss=lambda k: [9.0],
    generator__y_loss=lambda k: [0.6],
    generator__z_loss=lambda k: [0.8],
    reconstruction__loss=lambda k: [1.0],
  )


def test_equilibria_are_marked():
  figure = draw(
    adversarial_rows(), ['reconstruction', 'discriminator', 'generator']
  )
  titles = [axes.get_title() for axes in figure.axes]
  assert titles == [
    'reconstruction loss',
    'discriminator loss',
    'discriminator accuracy on y',
    'discriminator accuracy on z',
    'generator loss',
  ]
  levels = {
    'discriminator loss': ('equilibrium, 4 log 2', 4 * math.log(2)),
    'generator loss': ('equilibrium, log 2', math.log(2)),
    'discriminator accuracy on y': ('equilibrium, 50 %', 50),
  }
  for title, (label, level) in levels.items():
    marked = line(panel(figure, title), label)
    np.testing.assert_allclose(marked.get_ydata(), level)
    assert marked.get_linestyle() == '--'
  assert len(panel(figure, 'reconstruction loss').lines) == 1


def test_one_discriminator_has_its_equilibrium_at_2_log_2():
  rows = pictures.make_rows(
    2,
    discriminator__loss=lambda k: [1.0],
    discriminator__z_prior_accuracy=lambda k: [0.5],
    discriminator__z_posterior_accuracy=lambda k: [0.5],
  )
  figure = draw(rows, ['discriminator'], parts='z')
  marked = line(panel(figure, 'discriminator loss'), 'equilibrium, 2 log 2')
  np.testing.assert_allclose(marked.get_ydata(), 2 * math.log(2))


def test_generator_is_shown_by_part_without_weights():
  figure = draw(adversarial_rows(), ['generator'])
  axes = panel(figure, 'generator loss')
  np.testing.assert_allclose(line(axes, 'on y').get_ydata(), 0.6)
  np.testing.assert_allclose(line(axes, 'on z').get_ydata(), 0.8)
  assert len(axes.lines) == 3


def test_accuracies_of_prior_and_posterior_samples():
  figure = draw(adversarial_rows(), ['discriminator'])
  axes = panel(figure, 'discriminator accuracy on y')
  np.testing.assert_allclose(line(axes, 'prior samples').get_ydata(), 75)
  np.testing.assert_allclose(line(axes, 'posterior samples').get_ydata(), 50)
  assert axes.get_ylim() == (0, 100)


def test_validation_metrics_that_few_rows_have():
  rows = pictures.make_rows(4, reconstruction__loss=lambda k: [1.0])
  for row, error in ((rows[1], 20.0), (rows[3], 10.0)):
    row['validation/classification_error'] = pictures.summary(error)
    row['validation/classification_error_raw'] = pictures.summary(error + 1)
  figure = draw(rows, ['reconstruction'])
  axes = panel(figure, 'validation classification error')
  averaged = line(axes, 'averaged weights')
  np.testing.assert_array_equal(averaged.get_xdata(), [2, 4])
  np.testing.assert_array_equal(averaged.get_ydata(), [20, 10])
  newest = line(axes, 'newest weights')
  np.testing.assert_array_equal(newest.get_ydata(), [21, 11])


@pytest.mark.parametrize(('last', 'scale'), [(0.01, 'log'), (1.0, 'linear')])
def test_losses_that_span_decades_are_logarithmic(last, scale):
  values = {1: [2.0], 2: [last]}
  rows = pictures.make_rows(2, classification__loss=values.get)
  figure = draw(rows, ['classification'])
  assert figure.axes[0].get_yscale() == scale


def test_panels_are_of_metrics_that_there_are():
  rows = pictures.make_rows(1, reconstruction__loss=lambda k: [1.0])
  system = [
    phases.Phase(name, ('encoder',), None)
    for name in ('reconstruction', 'elbo')
  ]
  [panel] = curves.panels(system, rows)
  assert panel.curves == {'': 'reconstruction/loss'}
