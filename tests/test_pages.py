"""Tests of aae_jax.pages."""

from html import parser
import io
import json

from etils import epath
import numpy as np
from PIL import Image
import pytest
import yaml

from aae_jax import figures, pages, recipes
from aae_jax.datasets import Schema
from aae_jax.errors import InputError
from aae_jax.runs import Run

VOID = {'meta', 'img'}
COMMAND = ['python', 'train.py', '--config=digits_aae', '--config.name=(1, 2)']


class Page(parser.HTMLParser):
  """What is in a page; all of its tags have to be closed in their order."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.open, self.rows, self.texts = [], [], [], []
    self.feed(text)
    self.close()
    assert not self.open

  def handle_starttag(self, tag, attributes):
    self.tags.append((tag, dict(attributes)))
    if tag not in VOID:
      self.open.append(tag)
    if tag == 'tr':
      self.rows.append([])
    if tag in ('td', 'th'):
      self.rows[-1].append('')

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.texts.append(data)
    if {'td', 'th'} & {*self.open}:
      self.rows[-1][-1] += data

  def all(self, tag):
    return [attributes for found, attributes in self.tags if found == tag]

  def row(self, name):
    """The cells of the rows that have this name, one after the other."""
    return [cell for row in self.rows if row[0] == name for cell in row[1:]]

  @property
  def text(self):
    return ' '.join(' '.join(self.texts).split())


def summary(*values):
  std = float(np.std(values, ddof=1)) if len(values) > 1 else None
  return {'mean': float(np.mean(values)), 'std': std, 'per_seed': [*values]}


def make_results(errors=(2.0, 4.0), command=COMMAND, **changes):
  config = recipes.start('aae', 'digits', (8,))
  config.num_labels = 100
  config.update_from_flattened_dict(changes)
  seeds = [*range(len(errors))]
  maker = {
    'command': command,
    'commit': 'c0ffee' * 7,
    'hardware': {'devices': 1, 'cpus': 2, 'kind': 'cpu', 'platform': 'cpu'},
    'versions': {'aae_jax': '0.1.0', 'jax': '0.10.2', 'python': '3.11.7'},
  }
  return {
    'metrics': {
      'test/reconstruction_error': summary(*errors),
      'test/classification_error': summary(*errors),
      'test/classification_error_raw': summary(*errors),
      'validation/elbo': {'mean': None, 'std': None, 'per_seed': errors},
    },
    'sound_seeds': seeds,
    'step': 20,
    'total_steps': 20,
    'seeds': seeds,
    'label_draws': len(seeds),
    'chosen_on': {'test/reconstruction_error': 'training'},
    'dataset': {'name': 'digits', 'train': 1437, 'validation': 0, 'test': 360},
    'parameters': {'decoder': 1234, 'encoder': 99},
    'training_seconds': 61.0,
    'trained': [{**maker, 'command': ['earlier']}, maker],
    'config': json.loads(config.to_json()),
  }


def write_run(folder, results, *pictures):
  (folder / 'figures').mkdir(parents=True)
  (folder / 'results.json').write_text(json.dumps(results))
  schema = Schema('digits', (8, 8, 1), 10, 1437)
  (folder / 'model.json').write_text(json.dumps(schema._asdict()))
  for name in pictures:
    Image.new('L', (300, 200)).save(folder / 'figures' / name)
  return Run(epath.Path(folder))


@pytest.fixture
def run(tmp_path):
  folder = tmp_path / 'runs' / 'digits_aae'
  return write_run(folder, make_results(), 'curves.png', 'latent.png')


def shown(*runs):
  return Page(pages.render_report(runs, runs[0].workdir))


def test_report_of_a_run_says_what_was_trained(run):
  page = shown(run)
  assert page.texts.count('aae on digits') == 2
  for fact in (
    'digits, 1,437 training images, 360 test images',
    '100, drawn anew for each seed',
    '100 epochs, 20 of 20 steps, 1 min 1 s',
    'decoder 1,234, encoder 99',
    'aae_jax 0.1.0, jax 0.10.2, python 3.11.7',
    'c0ffeec0ff',
    'Classification error 3.00 ± 1.41 %.',
    'Test: 360 images; mean ± standard deviation of 2 draws of 100 labels.',
  ):
    assert fact in page.text, fact


def test_numbers_of_a_run_are_told_by_seed(run):
  page = shown(run)
  assert page.row('Test images') == ['mean ± std', 'seed 0', 'seed 1']
  cells = ['3.00 ± 1.41', '2.00', '4.00']
  assert page.row('Classification error, %') == cells
  assert page.row('Classification error of the newest weights, %') == cells
  assert page.row('Evidence lower bound, nats')[0] == 'not finite'


def test_settings_are_those_that_differ_and_all(run):
  page = shown(run)
  assert page.row('encoder.hidden') == ['(8,)', '(1000, 1000)'] * 2
  assert page.row('num_labels') == ['100', '-1'] * 2
  # Only where all are told.
  assert page.row('batch_size') == ['100', '100']


def test_command_is_that_of_the_last_process(run):
  page = shown(run)
  assert (
    "python train.py \\\n    --config=digits_aae \\\n    '--config.name=(1, 2)'"
  ) in page.texts
  assert 'earlier' not in page.text


def test_page_opens_from_disk_alone(run):
  pages.write_report(run)
  text = (run.workdir / 'report.html').read_text()
  assert text == pages.render_report([run], run.workdir)
  assert 'http' not in text and 'url(' not in text
  page = Page(text)
  assert not {'script', 'link', 'iframe'} & {tag for tag, _ in page.tags}
  order = [image['alt'] for image in page.all('img')]
  assert [alt.startswith('digits_aae: ') for alt in order] == [True, True]
  assert [alt.removeprefix('digits_aae: ') for alt in order] == [
    figures.PICTURES[name] for name in ('latent.png', 'curves.png')
  ]
  assert all(image['src'].startswith('data:') for image in page.all('img'))


def test_runs_side_by_side(run, tmp_path):
  results = make_results((1.0,), command=None, **{'encoder.noise': 0.3})
  del results['metrics']['validation/elbo']
  other = write_run(tmp_path / 'other', results, 'curves.png')
  path = pages.report([run.workdir, other.workdir], tmp_path / 'a/both.html')
  page = Page(path.read_text())
  assert page.row('Test images') == ['digits_aae', 'other']
  assert page.row('Classification error, %') == ['3.00 ± 1.41', '1.00']
  assert page.row('Evidence lower bound, nats') == ['not finite', '']
  assert page.row('encoder.noise')[:3] == ['0.0', '0.3', '0.0']
  assert len(page.all('img')) == 3
  assert len(page.all('pre')) == 1


def test_runs_of_one_name_are_told_by_their_folders(tmp_path):
  runs = [write_run(tmp_path / k / 'run', make_results()) for k in 'ab']
  assert shown(*runs).row('Test images') == [str(r.workdir) for r in runs]


def test_a_run_that_is_named_twice_is_shown_once(tmp_path):
  run = write_run(tmp_path / 'run', make_results((1.0,)))
  page = pages.report([run.workdir, str(run.workdir)], tmp_path / 'report.html')
  row = Page(page.read_text()).row('Classification error, %')
  assert row == shown(run).row('Classification error, %')


def test_settings_of_a_search_are_told_with_the_best(tmp_path):
  results = make_results()
  results['search'] = {
    'best': {'generator.y_weight': 3.0},
    'chosen_by': 'validation/classification_error',
    'settings': [
      {
        'setting': {'generator.y_weight': weight},
        'metrics': {'validation/classification_error': summary(weight)},
      }
      for weight in (1.0, 3.0)
    ],
  }
  page = shown(write_run(tmp_path / 'search', results))
  assert page.row('Setting') == ['Classification error, %, validation images']
  assert page.row('generator.y_weight=1.0') == ['1.00']
  assert 'generator.y_weight=3.0 is best: all is told of it.' in page.texts


def front_matter(card):
  _, front, text = card.split('---\n', 2)
  return yaml.safe_load(front), text


def test_card_begins_with_what_hubs_read(run):
  front, _ = front_matter(pages.render_card(run))
  assert front['library_name'] == 'aae_jax'
  assert front['pipeline_tag'] == 'image-classification'
  assert front['tags'] == ['jax', 'flax', 'aae']
  [model] = front['model-index']
  assert model['name'] == 'digits_aae'
  [result] = model['results']
  assert result['task'] == {'type': 'image-classification'}
  assert result['dataset'] == {
    'type': 'digits',
    'name': 'digits',
    'split': 'test',
  }
  # Not those of validation images, or of the newest weights.
  assert [(m['type'], m['value']) for m in result['metrics']] == [
    ('classification_error', 3.0),
    ('reconstruction_error', 3.0),
  ]


def test_card_says_data_recipe_numbers_and_limits(run):
  _, text = front_matter(pages.render_card(run))
  for part in (
    '# aae on digits\n\nClassification error 3.00 ± 1.41 %.\n\n![codes of',
    '](figures/latent.png)\n\n## Data\n\ndigits, 1,437 training images',
    "sh\npython train.py \\\n    --config=digits_aae \\\n    '--config.name=",
    '| num_labels | 100 | -1 |\n',
    '| Test images | mean ± std |\n| --- | --- |\n',
    '| Classification error, % | 3.00 ± 1.41 |\n',
    'The standard deviation is that of 2 runs, not of other data.',
    'Squared error, summed over pixels: what is chosen for it was chosen on tr',
  ):
    assert part in text, part
  assert 'diverged' not in text


def test_card_of_a_run_without_numbers(tmp_path):
  results = make_results((1.0,), command=None)
  results |= {'metrics': {}, 'chosen_on': {}, 'sound_seeds': []}
  results['label_draws'] = 0
  results['dataset']['test'] = 0
  card = pages.render_card(write_run(tmp_path / 'run', results))
  front, text = front_matter(card)
  assert 'model-index' not in front
  assert 'There were no test images.\n\n## Data' in text
  assert 'Labels:' not in text
  assert '1 of the seeds diverged' in text and 'train.py' not in text


def test_card_takes_the_place_of_a_card_alone(run):
  path = run.workdir / 'README.md'
  for before, is_ours in (('', False), ('---\nlibrary_name: aae_jax\n', True)):
    path.write_text(before or '# My project')
    pages.write_card(run)
    assert (path.read_text() == pages.render_card(run)) == is_ours


def test_explorer_is_linked_from_wherever_the_page_is(run, tmp_path):
  assert not shown(run).all('a')
  (run.workdir / 'explorer.html').touch()
  path = pages.report([run.workdir], tmp_path / 'report.html')
  [link] = Page(path.read_text()).all('a')
  assert link['href'] == 'runs/digits_aae/explorer.html'


def test_what_is_shown_is_not_taken_for_html(run, tmp_path):
  results = make_results(command=['<i>', '&'])
  results['config']['dataset']['name'] = '<b>'
  text = pages.render_report([write_run(tmp_path / '<u>', results)], tmp_path)
  assert not {'<i>', '<b>', '<u>'} & {*text.split()}
  assert '<b>' in Page(text).text


def test_report_needs_results(run, tmp_path):
  with pytest.raises(InputError, match='^no run is given; expected one'):
    pages.report([], tmp_path / 'report.html')
  (run.workdir / 'results.json').unlink()
  with pytest.raises(InputError, match='digits_aae holds no results; expected'):
    pages.report([run.workdir], tmp_path / 'report.html')
  assert not (tmp_path / 'report.html').exists()


def test_page_that_cannot_be_made_is_a_warning(run, caplog):
  (run.workdir / 'results.json').write_text('{}')
  pages.write_report(run)
  assert 'report.html cannot be drawn: KeyError' in caplog.text


def test_picture_has_the_size_that_it_was_drawn_for():
  content = io.BytesIO()
  Image.new('L', (300, 1000)).save(content, 'png')

  class Path:
    def read_bytes(self):
      return content.getvalue()

  found = pages.picture(Path(), 'a picture')
  assert (found['width'], found['height']) == (192, 640)
