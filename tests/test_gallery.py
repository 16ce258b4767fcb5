"""Tests of benchmarks.gallery."""

import ast
import base64
import dataclasses
from html import parser
import io
import json
import os
import re
import runpy
import sys

from PIL import Image
import pytest

from aae_jax import (
  drawing,
  errors,
  experiments,
  figures,
  measured,
  measures,
  training,
)
from aae_jax.datasets import Schema
from aae_jax.systems import SYSTEMS
from benchmarks import compare_codes, gallery, page, reproduce
from benchmarks.command_line import ROOT
from benchmarks.exhibits import EXHIBITS, PICTURES, Place, Run, read

pytestmark = pytest.mark.whole

RUNS = {run.name: run for part in EXHIBITS.values() for run in part.runs}
IMAGE_SHAPES = {'digits': (8, 8, 1), 'mnist': (28, 28, 1)}
VOID = {'meta', 'img'}
MAX_HEIGHT = 150

NETWORKS = ('encoder', 'decoder', 'discriminator')


def tiny(exhibit, networks=NETWORKS):
  sizes = {f'{network}.hidden': (8, 8) for network in networks}
  return dataclasses.replace(
    exhibit, epochs={'digits': 1}, overrides={**exhibit.overrides, **sizes}
  )


FIRST = tiny(EXHIBITS['autoencoder'], NETWORKS[:2])
SECOND = tiny(EXHIBITS['aae_gaussian_mixture'])
THIRD = dataclasses.replace(EXHIBITS['comparison'], runs=[SECOND, FIRST])
THIRD = dataclasses.replace(THIRD, numbers=['reconstruction_error'])
LAST = tiny(RUNS['dimensionality_reduction_clustering'])
TINY = {part.name: part for part in (FIRST, SECOND, THIRD, LAST)}


def make_config(run, data):
  path, changes = run.settings(data)
  config = runpy.run_path(str(ROOT / path))['get_config']()
  config.update_from_flattened_dict(changes)
  return config


def flatten(config, prefix=''):
  for key, value in config.items():
    yield prefix + key
    if hasattr(value, 'items'):
      yield from flatten(value, f'{prefix}{key}.')


@pytest.mark.parametrize('data', page.DATA)
@pytest.mark.parametrize('name', RUNS)
def test_run_is_one_of_its_configuration(name, data):
  run = RUNS[name]
  path, changes = run.settings(data)
  original = runpy.run_path(str(ROOT / path))['get_config']()
  assert changes.keys() <= set(flatten(original))
  config = make_config(run, data)
  assert config.dataset.name == data
  assert config.epochs < original.epochs or data == 'digits'
  model = experiments.build_system(
    config, Schema(data, IMAGE_SHAPES[data], 10, num_train=1000)
  ).model
  allowed = measures.allowed(model, labels=True)
  assert {*run.numbers, *run.paper} <= {*allowed}
  assert set(run.shown) <= PICTURES.keys()


def test_every_system_is_shown():
  shown = {make_config(run, 'mnist').system for run in RUNS.values()}
  # The others make no image of their own, or are variants of `m2`.
  others = {
    'adgm',
    'classifier',
    'ladder',
    'm1_m2',
    'm1_tsvm',
    'm2_supervised',
    'sdgm',
    'vat',
  }
  assert shown == SYSTEMS.keys() - others


def test_runs_of_a_comparison_are_exhibits_before_it(tmp_path):
  names = list(EXHIBITS)
  first, *_ = compared = [run.name for run in EXHIBITS['comparison'].runs]
  assert len(compared) == 4
  assert max(map(names.index, compared)) < names.index('comparison')
  assert EXHIBITS['comparison'].runs[0] is EXHIBITS[first]
  path = tmp_path / 'exhibits.toml'
  path.write_text('[a]\ntitle = "A"\ntext = ""\nruns = ["no"]\nnumbers = []\n')
  with pytest.raises(KeyError, match='no'):
    read(path)


def test_records_are_read_with_what_they_do_not_say(tmp_path):
  path = tmp_path / 'exhibits.toml'
  path.write_text("""
[small]
title = "Small"
text = '''
One line,
  and another.'''
config = "aae"
shown = []
numbers = ["elbo"]
overrides = { "prior.name" = "swiss_roll" }
""")
  assert read(path) == {
    'small': Run(
      name='small',
      title='Small',
      text='One line, and another.',
      config='aae',
      shown=[],
      numbers=['elbo'],
      epochs={'mnist': 10, 'digits': 200},
      overrides={'prior.name': 'swiss_roll'},
    )
  }


class Commands:
  """Runs programs in this process, and keeps their commands."""

  def __init__(self):
    self.done = []
    self.failing = None

  def __call__(self, command):
    if self.failing and any(self.failing in word for word in command):
      return 3
    if command[0] == 'train.py':
      self.done.append('train.py')
      self._train(dict(a.lstrip('-').split('=', 1) for a in command[1:]))
    else:
      assert command[:2] == ['-m', 'benchmarks.compare_codes']
      self.done.append('compare_codes')
      with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', command[1:])
        compare_codes.main()
    return 0

  def _train(self, options):
    path, workdir = options.pop('config'), options.pop('workdir')
    config = runpy.run_path(str(ROOT / path))['get_config']()
    for key, value in options.items():
      if re.match(r'[\d(]', value):
        value = ast.literal_eval(value)
      key = key.removeprefix('config.')
      config.update_from_flattened_dict({key: value})
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(measures, 'NUM_SAMPLES', 100)
      patch.setattr(drawing, 'DPI', 40)
      patch.setattr(figures, 'PRIOR_DRAWS', 20_000)
      training.train_and_evaluate(config, workdir)


@pytest.fixture
def commands(monkeypatch):
  found = Commands()
  monkeypatch.setattr(reproduce, 'run', found)
  return found


def call(monkeypatch, place, *arguments):
  """Calls the program, whose gallery is in another folder."""
  monkeypatch.setattr(gallery, 'FOLDER', place.folder)
  monkeypatch.setattr(sys, 'argv', ['gallery.py', '--data=digits', *arguments])
  gallery.main()


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  """Where four exhibits are made, tiny."""
  folder = tmp_path_factory.mktemp('gallery')
  place = Place('digits', folder)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(reproduce, 'run', Commands())
    patch.setattr(gallery, 'EXHIBITS', TINY)
    patch.setattr('aae_jax.pages.MAX_HEIGHT', MAX_HEIGHT)
    call(patch, place)
  return place


@pytest.fixture
def exhibits(monkeypatch):
  monkeypatch.setattr(gallery, 'EXHIBITS', TINY)
  return TINY.values()


class Page(parser.HTMLParser):
  """What is in a page; all of its tags have to be closed in their order."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.open, self.ids = [], [], []
    self.links, self.texts = [], []
    self.feed(text)
    self.close()
    assert not self.open

  def handle_starttag(self, tag, attributes):
    attributes = dict(attributes)
    self.tags.append((tag, attributes))
    if tag not in VOID:
      self.open.append(tag)
    if 'id' in attributes:
      self.ids.append(attributes['id'])
    if tag == 'a':
      self.links.append(attributes['href'])

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.texts.append(data)

  def all(self, tag):
    return [attributes for found, attributes in self.tags if found == tag]

  @property
  def text(self):
    return ' '.join(' '.join(self.texts).split())


@pytest.fixture
def shown(place):
  return Page((place.folder / 'index.html').read_text())


def test_page_needs_nothing_else(place, shown):
  text = (place.folder / 'index.html').read_text()
  assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
  assert re.findall(r'https?://[^"\s]+', text) == [
    'https://arxiv.org/abs/1511.05644'
  ]
  assert '{{' not in text and '{%' not in text
  assert 'url(' not in text and '@import' not in text
  assert not {'script', 'link', 'iframe'} & {tag for tag, _ in shown.tags}
  for image in shown.all('img'):
    kind, content = image['src'].split(',')
    assert kind == 'data:image/png;base64'
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
      shape = int(image['width']) / int(image['height'])
      assert shape == pytest.approx(picture.width / picture.height, rel=0.01)
    assert len(image['alt']) > 20
  heights = [int(image['height']) for image in shown.all('img')]
  assert min(heights) < max(heights) == MAX_HEIGHT


def test_page_has_every_exhibit_and_every_picture(place, shown):
  names = list(TINY)
  assert shown.ids == names
  assert shown.links[1:] == [f'#{name}' for name in names]
  pictures = [p for p in place.folder.rglob('*.png')]
  assert len(shown.all('img')) == len(pictures)
  # All but the comparison have more of them than are seen at once.
  assert len(shown.all('details')) == 3
  assert '360 images; one run.' in shown.text
  assert 'UCI digits: 1,437 training and 360 test images' in shown.text
  assert 'for 3 runs' in shown.text
  assert 'so far' not in shown.text


def test_numbers_are_those_of_the_results(place, shown):
  path = place.folder / 'digits_autoencoder/results.json'
  metrics = json.loads(path.read_text())['metrics']
  number = f'{metrics["test/reconstruction_error"]["mean"]:.2f}'
  # In the contents, in its own table, and in that of the comparison.
  assert shown.texts.count(number) == 2
  assert f'Squared error, summed over pixels {number}' in shown.texts


def test_command_is_what_was_run(place, shown):
  command = 'python ' + ' \\\n    '.join(
    [
      'train.py',
      '--config=configs/digits_autoencoder.py',
      f'--workdir={place.folder}/digits_autoencoder',
      '--config.epochs=1',
    ]
  )
  assert any(text.startswith(command) for text in shown.texts)
  assert "'--config.encoder.hidden=(8, 8)'" in shown.text


def test_what_is_finished_is_not_made_again(
  place, exhibits, commands, monkeypatch
):
  call(monkeypatch, place)
  assert not commands.done
  assert [e.is_there(place) for e in exhibits] == [True] * 4


def test_comparison_is_drawn_again_for_a_newer_run(
  place, exhibits, commands, monkeypatch
):
  del exhibits
  later = (place.folder / 'digits_comparison/comparison.png').stat().st_mtime
  path = place.folder / 'digits_autoencoder/results.json'
  before = path.stat().st_mtime
  os.utime(path, (later + 5, later + 5))
  assert not THIRD.is_there(place)
  os.utime(path, (before, before))
  assert THIRD.is_there(place)
  assert not commands.done


def test_run_of_other_settings_is_not_there(place):
  assert not EXHIBITS['autoencoder'].is_there(place)
  assert not FIRST.is_there(Place('digits', place.folder / 'no'))


def test_failure_keeps_what_is_finished(
  exhibits, commands, monkeypatch, tmp_path
):
  del exhibits
  place = Place('digits', tmp_path)
  commands.failing = SECOND.name
  with pytest.raises(SystemExit, match='status 3 from python train.py'):
    call(monkeypatch, place)
  shown = Page((tmp_path / 'index.html').read_text())
  assert shown.ids == [FIRST.name]
  assert '1 of 4 so far' in shown.text
  # The comparison alone asks for the run that it lacks.
  commands.failing = None
  call(monkeypatch, place, 'comparison')
  assert commands.done == [
    'train.py',
    'train.py',
    'compare_codes',
  ]
  shown = Page((tmp_path / 'index.html').read_text())
  assert shown.ids == [FIRST.name, SECOND.name, THIRD.name]


def test_paper_stands_beside_numbers_of_mnist_alone(place):
  (_, other), *_ = LAST.paper.items()
  assert 'paper' not in LAST.table(place).head
  workdir = place.folder / f'mnist_{LAST.name}'
  workdir.mkdir(exist_ok=True)
  run = dataclasses.replace(LAST, epochs={'mnist': 1})
  results = json.loads(
    (place.folder / f'digits_{LAST.name}/results.json').read_text()
  )
  config = make_config(run, 'mnist')
  results['config'] = json.loads(config.to_json())
  (workdir / 'results.json').write_text(json.dumps(results))
  table = run.table(Place('mnist', place.folder))
  assert table.head[-1] == 'paper'
  assert [row[-1] for row in table.rows] == [other, '', '', '']


def test_facts_are_of_all_who_trained_also_of_older_results(place, monkeypatch):
  results = FIRST.results(place)
  *_, process = results['trained']
  hardware = {**process['hardware'], 'cpus': 77}
  older = {**results, **process, 'hardware': hardware}
  del older['trained'], older['evaluated']
  found = {
    FIRST.name: {
      **results,
      'trained': [process, {**process, 'commit': 'c0ffee' * 7}],
    },
    SECOND.name: older,
  }
  monkeypatch.setattr(Run, 'results', lambda run, _: found[run.name])
  facts = page._facts([FIRST, SECOND], place)
  assert 'c0ffeec0ff' in facts['Commit']
  assert process['commit'][:10] in facts['Commit']
  cores = f'{process["hardware"]["cpus"]} CPU cores; 77 CPU cores'
  assert facts['Hardware'] == cores


def test_nothing_that_is_shown_is_taken_for_html(place):
  strange = dataclasses.replace(FIRST, title='"<b>&', text='<i>"\'')
  text = page.render([strange], place)
  assert '<b>' not in text and '<i>' not in text
  shown = Page(text)
  assert '"<b>&' in shown.text and '<i>"\'' in shown.text
  assert shown.all('img')[0]['alt'].startswith('"<b>&: ')


def test_comparison_is_a_command_of_a_module(place, shown):
  command = f"""python -m benchmarks.compare_codes \\
    {place.folder}/digits_{SECOND.name} \\
    {place.folder}/digits_{FIRST.name} \\
    --columns=2 \\
"""
  assert any(text.startswith(command) for text in shown.texts)


def test_picture_that_could_not_be_drawn_is_left_out(tmp_path):
  place = Place('digits', tmp_path)
  folder = FIRST.workdir(place) / 'figures'
  folder.mkdir(parents=True)
  (folder / FIRST.shown[1]).touch()
  assert FIRST.pictures(place) == ([folder / FIRST.shown[1]], [])


def test_program_that_fails_is_named():
  reproduce.run_to_end('gallery', ['-c', 'pass'])
  with pytest.raises(
    SystemExit,
    match=r"^python -m benchmarks.gallery: status 3 from python -c 'exit\(3\)'",
  ):
    reproduce.run_to_end('gallery', ['-c', 'exit(3)'])


def test_data_is_mnist_where_it_can_be_had(monkeypatch, capsys):
  asked = []
  monkeypatch.setattr(
    gallery.datasets, 'load', lambda name, **options: asked.append(name)
  )
  assert gallery.choose_data() == 'mnist'
  assert asked == ['mnist'] and not capsys.readouterr().out


def raising(error):
  def load(name, **options):
    raise error

  return load


def test_data_is_digits_where_there_is_no_mnist(monkeypatch, capsys):
  load = raising(OSError('out of reach'))
  monkeypatch.setattr(gallery.datasets, 'load', load)
  assert gallery.choose_data() == 'digits'
  assert capsys.readouterr().out == (
    'The gallery is of digits, for there is no MNIST: out of reach\n'
  )


def test_damaged_mnist_is_no_reason_for_digits(monkeypatch):
  load = raising(errors.InputError('mnist is damaged'))
  monkeypatch.setattr(gallery.datasets, 'load', load)
  monkeypatch.setattr(sys, 'argv', ['gallery.py'])
  with pytest.raises(
    SystemExit, match='^python -m benchmarks.gallery: mnist is damaged$'
  ):
    gallery.main()


def test_unknown_name(monkeypatch, capsys):
  monkeypatch.setattr(sys, 'argv', ['gallery.py', 'aee'])
  with pytest.raises(SystemExit):
    gallery.main()
  error = capsys.readouterr().err
  assert "unknown exhibit 'aee'; known: aae_gaussian, aae_gaussian_" in error


@pytest.mark.parametrize(
  ('mean', 'std', 'shown'),
  [
    (6.386, None, '6.39'),
    (6.386, 1.554, '6.39 ± 1.55'),
    (-0.5, None, '\N{MINUS SIGN}0.50'),
    (None, None, 'not finite'),
  ],
)
def test_numbers_have_their_places(mean, std, shown):
  found = {'test/classification_error': {'mean': mean, 'std': std}}
  assert measured.show({'metrics': found}, 'classification_error') == shown


@pytest.mark.parametrize(
  ('num_seeds', 'labels', 'sample'),
  [
    (1, {}, '10,000 images; one run.'),
    (1, {'num_labels': -1}, '10,000 images; one run.'),
    (1, {'num_labels': 100}, '10,000 images; one draw of 100 labels.'),
    (
      3,
      {'num_labels': 1000},
      '10,000 images; mean ± standard deviation of 3 draws of 1,000 labels.',
    ),
    (2, {}, '10,000 images; mean ± standard deviation of 2 runs.'),
  ],
)
def test_numbers_say_what_they_are_of(num_seeds, labels, sample):
  results = {
    'dataset': {'test': 10_000},
    'config': labels,
    'seeds': list(range(num_seeds)),
  }
  assert measured.describe_sample(results) == sample


def test_runs_that_diverged_do_not_count():
  results = {
    'dataset': {'test': 360},
    'config': {'num_labels': 100},
    'seeds': [0, 1, 2],
    'sound_seeds': [0, 2],
  }
  assert measured.describe_sample(results).endswith('of 2 draws of 100 labels.')


def test_durations():
  durations = [
    measured.describe_duration(seconds) for seconds in (9.6, 59.7, 102.4)
  ]
  assert durations == ['10 s', '1 min 0 s', '1 min 42 s']


def test_make_target_and_page_template_are_there():
  makefile = (ROOT / 'Makefile').read_text()
  target = '\ngallery: .venv/installed\n\t$(BIN)/python -m benchmarks.gallery\n'
  assert target in makefile
  page._TEMPLATES.get_template('gallery.html')
