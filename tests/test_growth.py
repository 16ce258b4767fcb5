"""Tests of benchmarks.growth."""

import pytest

from benchmarks import growth


@pytest.fixture
def timed(monkeypatch):
  """A program's time is its size, and that of a limit of one seed is 3."""
  monkeypatch.setattr(
    growth, 'make_programs', lambda thing, size: {'ours': size, 'limit': 3}
  )
  monkeypatch.setattr(growth, 'steps_that_fill', lambda program, seconds: 1)
  monkeypatch.setattr(
    growth,
    'measure',
    lambda programs, repetitions, steps: {
      key: [value, value] for key, value in programs.items()
    },
  )


def test_a_limit_is_that_of_as_many_seeds(timed):
  found = growth.measure_growth('seeds')
  assert found['4'] == {'ours': 4, 'limit': 12}
  assert growth.measure_growth('batch')['50'] == {'ours': 50, 'limit': 3}


@pytest.mark.parametrize('thing', growth.SIZES)
def test_one_thing_grows_at_a_time(thing, monkeypatch):
  def assemble(config, images):
    return {
      'units': config.encoder.hidden[0],
      'batch': config.batch_size,
      'seeds': config.num_seeds,
      'images': images.train.num_images,
    }

  monkeypatch.setattr(growth.step_time, 'assemble', assemble)
  usual = {'units': 400, 'batch': 100, 'seeds': 1, 'images': 60_000}
  assert growth.build(thing, 300) == {**usual, thing: 300}


def test_what_is_timed_makes_steps():
  for program in growth.make_programs('seeds', 2).values():
    program(1)


def test_a_panel_for_each_thing(timed):
  figure = growth.draw(
    {thing: growth.measure_growth(thing) for thing in growth.SIZES}
  )
  assert [axes.get_xlabel() for axes in figure.axes] == [
    *growth.TITLES.values()
  ]
  for axes, sizes in zip(figure.axes, growth.SIZES.values(), strict=True):
    ours, limit = axes.lines
    assert tuple(ours.get_xdata()) == sizes == tuple(ours.get_ydata())
    assert [ours.get_label(), limit.get_label()] == ['ours', 'limit']
