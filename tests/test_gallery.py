"""Tests of benchmarks.gallery."""

import ast
import base64
import dataclasses
from html import parser
import io
import json
import os
import pathlib
import re
import runpy
import sys

from PIL import Image
import pytest

from aae_jax import (
  analysis,
  errors,
  evaluation,
  experiment,
  figures,
  training,
)
from aae_jax.systems import SYSTEMS
from benchmarks import compare_codes, gallery, reproduce

RUNS = {run.name: run for part in gallery.EXHIBITS for run in part.runs}
IMAGE_SHAPES = {'digits': (8, 8, 1), 'mnist': (28, 28, 1)}
VOID = {'meta', 'img'}
MAX_HEIGHT = 150

NETWORKS = ('encoder', 'decoder', 'discriminator')


def tiny(exhibit, networks=NETWORKS):
  sizes = {f'{network}.hidden': (8, 8) for network in networks}
  return dataclasses.replace(
    exhibit, epochs={'digits': 1}, overrides={**exhibit.overrides, **sizes}
  )


FIRST = tiny(gallery.AUTOENCODER, NETWORKS[:2])
SECOND = tiny(gallery.AAE_MIXTURE)
THIRD = dataclasses.replace(gallery.COMPARISON, runs=[SECOND, FIRST])
THIRD = dataclasses.replace(THIRD, numbers=['reconstruction_error'])
LAST = tiny(RUNS['dimensionality_reduction_clustering'])


def make_config(run, data):
  path, changes = run.settings(data)
  config = runpy.run_path(str(gallery.ROOT / path))['get_config']()
  config.update_from_flattened_dict(changes)
  return config


def flatten(config, prefix=''):
  for key, value in config.items():
    yield prefix + key
    if hasattr(value, 'items'):
      yield from flatten(value, f'{prefix}{key}.')


@pytest.mark.parametrize('data', gallery.DATA)
@pytest.mark.parametrize('name', RUNS)
def test_run_is_one_of_its_configuration(name, data):
  run = RUNS[name]
  path, changes = run.settings(data)
  original = runpy.run_path(str(gallery.ROOT / path))['get_config']()
  assert changes.keys() <= set(flatten(original))
  config = make_config(run, data)
  assert config.dataset.name == data
  assert config.epochs < original.epochs or data == 'digits'
  model = experiment.build_system(
    config, experiment.Facts(IMAGE_SHAPES[data], 10, num_train=1000)
  ).model
  measured = evaluation.measures(model, labels=True)
  for number in {*run.numbers, *run.paper}:
    documented = number.removesuffix('_fitted_gaussian')
    assert number in measured or documented in analysis.analyze.__doc__
    assert number in gallery.NUMBERS
  assert set(run.shown) <= gallery.PICTURES.keys()


def test_every_system_is_shown():
  shown = {make_config(run, 'mnist').system for run in RUNS.values()}
  assert shown == SYSTEMS.keys() - {'classifier'}


def test_names_are_unique_and_begin_with_no_data_set():
  names = [exhibit.name for exhibit in gallery.EXHIBITS]
  assert len(set(names)) == len(names)
  assert {run.name for run in gallery.COMPARISON.runs} <= {*names}


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
    config = runpy.run_path(str(gallery.ROOT / path))['get_config']()
    for key, value in options.items():
      if re.match(r'[\d(]', value):
        value = ast.literal_eval(value)
      key = key.removeprefix('config.')
      config.update_from_flattened_dict({key: value})
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(analysis, 'NUM_SAMPLES', 100)
      patch.setattr(figures, 'DPI', 40)
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
  place = gallery.Place('digits', folder)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(reproduce, 'run', Commands())
    patch.setattr(gallery, 'EXHIBITS', (FIRST, SECOND, THIRD, LAST))
    patch.setattr(gallery, 'MAX_HEIGHT', MAX_HEIGHT)
    call(patch, place)
  return place


@pytest.fixture
def exhibits(monkeypatch):
  exhibits = FIRST, SECOND, THIRD, LAST
  monkeypatch.setattr(gallery, 'EXHIBITS', exhibits)
  return exhibits


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
def page(place):
  return Page((place.folder / 'index.html').read_text())


def test_page_needs_nothing_else(place, page):
  text = (place.folder / 'index.html').read_text()
  assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
  assert re.findall(r'https?://[^"\s]+', text) == [
    'https://arxiv.org/abs/1511.05644'
  ]
  assert '$' not in text and 'url(' not in text and '@import' not in text
  assert not {'script', 'link', 'iframe'} & {tag for tag, _ in page.tags}
  for image in page.all('img'):
    kind, content = image['src'].split(',')
    assert kind == 'data:image/png;base64'
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
      shape = int(image['width']) / int(image['height'])
      assert shape == pytest.approx(picture.width / picture.height, rel=0.01)
    assert len(image['alt']) > 20
  heights = [int(image['height']) for image in page.all('img')]
  assert min(heights) < max(heights) == MAX_HEIGHT


def test_page_has_every_exhibit_and_every_picture(place, page):
  names = [exhibit.name for exhibit in (FIRST, SECOND, THIRD, LAST)]
  assert page.ids == names
  assert page.links[1:] == [f'#{name}' for name in names]
  pictures = [p for p in place.folder.rglob('*.png')]
  assert len(page.all('img')) == len(pictures)
  # All but the comparison have more of them than are seen at once.
  assert len(page.all('details')) == 3
  assert '360 images; one run.' in page.text
  assert 'UCI digits: 1,437 training and 360 test images' in page.text
  assert 'for 3 runs' in page.text
  assert 'so far' not in page.text


def test_numbers_are_those_of_the_results(place, page):
  path = place.folder / 'digits_autoencoder/results.json'
  metrics = json.loads(path.read_text())['metrics']
  shown = f'{metrics["test/reconstruction_error"]["mean"]:.2f}'
  # In the contents, in its own table, and in that of the comparison.
  assert page.texts.count(shown) == 2
  assert f'Squared error, summed over pixels {shown}' in page.texts


def test_command_is_what_was_run(place, page):
  command = 'python ' + ' \\\n    '.join(
    [
      'train.py',
      '--config=configs/digits_autoencoder.py',
      f'--workdir={place.folder}/digits_autoencoder',
      '--config.epochs=1',
    ]
  )
  assert any(text.startswith(command) for text in page.texts)
  assert "'--config.encoder.hidden=(8, 8)'" in page.text


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
  assert not gallery.AUTOENCODER.is_there(place)
  assert not FIRST.is_there(gallery.Place('digits', place.folder / 'no'))


def test_failure_keeps_what_is_finished(
  exhibits, commands, monkeypatch, tmp_path
):
  del exhibits
  place = gallery.Place('digits', tmp_path)
  commands.failing = SECOND.name
  with pytest.raises(SystemExit, match='status 3 from python train.py'):
    call(monkeypatch, place)
  page = Page((tmp_path / 'index.html').read_text())
  assert page.ids == [FIRST.name]
  assert '1 of 4 so far' in page.text
  # The comparison alone asks for the run that it lacks.
  commands.failing = None
  call(monkeypatch, place, 'comparison')
  assert commands.done == [
    'train.py',
    'train.py',
    'compare_codes',
  ]
  page = Page((tmp_path / 'index.html').read_text())
  assert page.ids == [FIRST.name, SECOND.name, THIRD.name]


def test_paper_stands_beside_numbers_of_mnist_alone(place):
  (_, other), *_ = LAST.paper.items()
  assert other not in LAST.table(place)
  workdir = place.folder / f'mnist_{LAST.name}'
  workdir.mkdir(exist_ok=True)
  run = dataclasses.replace(LAST, epochs={'mnist': 1})
  results = json.loads(
    (place.folder / f'digits_{LAST.name}/results.json').read_text()
  )
  config = make_config(run, 'mnist')
  results['config'] = json.loads(config.to_json())
  (workdir / 'results.json').write_text(json.dumps(results))
  table = run.table(gallery.Place('mnist', place.folder))
  assert f'<td>{other}</td>' in table and '>paper</th>' in table


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
  monkeypatch.setattr(gallery.Run, 'results', lambda run, _: found[run.name])
  facts = gallery._facts([FIRST, SECOND], place)
  assert 'c0ffeec0ff' in facts
  assert process['commit'][:10] in facts
  assert f'{process["hardware"]["cpus"]} CPU cores; 77 CPU cores' in facts


def test_picture_that_could_not_be_drawn_is_left_out(tmp_path):
  place = gallery.Place('digits', tmp_path)
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
  assert "invalid choice: 'aee'" in capsys.readouterr().err


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
  assert gallery._show({'metrics': found}, 'classification_error') == shown


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
  assert gallery._sample(results) == sample


def test_runs_that_diverged_do_not_count():
  results = {
    'dataset': {'test': 360},
    'config': {'num_labels': 100},
    'seeds': [0, 1, 2],
    'sound_seeds': [0, 2],
  }
  assert gallery._sample(results).endswith('of 2 draws of 100 labels.')


def test_durations():
  durations = [gallery._duration(seconds) for seconds in (9.6, 59.7, 102.4)]
  assert durations == ['10 s', '1 min 0 s', '1 min 42 s']


def test_make_target_and_page_template_are_there():
  makefile = (gallery.ROOT / 'Makefile').read_text()
  target = '\ngallery: .venv/installed\n\t$(BIN)/python -m benchmarks.gallery\n'
  assert target in makefile
  assert pathlib.Path(gallery.__file__).with_suffix('.html').exists()
