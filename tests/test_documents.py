"""The README and the pages of docs: examples run, numbers and links are right.

Each page is read from its beginning to its end in a folder of its own, where
the demo has been trained. What it says to train is made small: see
`tests/shortened.py`.
"""

import collections
import configparser
import json
import pathlib
import re
import shlex
import shutil

import pytest

from aae_jax import recipes, systems
from benchmarks import table
from docs import reference
from tests import programs

ROOT = programs.ROOT
DOCUMENTS = {
  str(path.relative_to(ROOT)): path.read_text()
  for path in (ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md')))
}
README = DOCUMENTS['README.md']
BLOCK = re.compile(r'^```(\w+)\n(.*?)^```$', re.DOTALL | re.MULTILINE)
BLOCKS = {name: BLOCK.findall(text) for name, text in DOCUMENTS.items()}
EVERY = pytest.mark.parametrize('name', DOCUMENTS)

DEMO = 'aae train digits_semi_supervised'
"""What the README begins with, and other pages take as done."""


class Reader:
  """Somebody who does what a page says.

  Attributes:
    folder: where.
    home: with caches.
    names: what examples in Python have defined.
  """

  def __init__(self, folder, home):
    self.folder, self.home = folder, home
    self.names, self.num_typed = {}, 0

  def type(self, line):
    """Types a command."""
    words, variables = shlex.split(line), {}
    while '=' in words[0]:
      name, variables[name] = words.pop(0).split('=', 1)
    self.num_typed += 1
    program = programs.page(
      self.folder / f'.typed/{self.num_typed}',
      self.home,
      self.folder,
      *words,
      **variables,
    )
    assert program.wait(900) == 0, f'{line}\n{program.out}\n{program.err}'

  def run(self, example):
    """Runs Python, or writes it where its first line is the name of a file."""
    if name := re.match(r'# (\w+\.py)\n', example):
      (self.folder / name[1]).write_text(example)
    else:
      exec(_small(example), self.names)


def _small(example):
  """With estimators that are fitted in a second: their own take half a minute.

  What `tests/shortened.py` does for the command.
  """
  few = r'AAE\1(hidden_sizes=(8,), epochs=1, consistency=0, '
  example = re.sub(r'AAE(Classifier|Clusterer)\(', few, example)
  few = 'AAETransformer(hidden_sizes=(8,), epochs=1, '
  return example.replace('AAETransformer(', few)


def commands(block):
  """The lines of a block of a shell, joined and without comments."""
  joined = block.replace('\\\n', ' ')
  lines = (line.partition(' #')[0].strip() for line in joined.splitlines())
  return [line for line in lines if line and not line.startswith('#')]


@pytest.fixture(scope='module')
def home(tmp_path_factory):
  return tmp_path_factory.mktemp('home')


@pytest.fixture(scope='module')
def demo(tmp_path_factory, home):
  """A folder where the demo has been trained, with the images of an example."""
  reader = Reader(tmp_path_factory.mktemp('demo'), home)
  reader.type(DEMO)
  [(_, example)] = [b for b in BLOCKS['docs/images.md'] if b[0] == 'python']
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(reader.folder)
    reader.run(example)
  return reader.folder


@pytest.fixture
def reader(tmp_path, home, demo, monkeypatch):
  """A reader in a folder of their own."""
  for name in ('runs', 'photos'):
    shutil.copytree(demo / name, tmp_path / name)
  monkeypatch.chdir(tmp_path)
  return Reader(tmp_path, home)


FIRST = ('README.md', 'docs/start.md')
"""The pages that are done in every run of the tests."""


def is_typed(line):
  """Whether a test can do it in a folder, alone, without a network."""
  words = shlex.split(line)
  return 'aae' in words and '--coordinator' not in line and line != DEMO


@pytest.mark.parametrize(
  'name',
  [
    n if n in FIRST else pytest.param(n, marks=pytest.mark.whole)
    for n, blocks in BLOCKS.items()
    if blocks
  ],
)
def test_a_page_does_what_it_says(name, reader, capsys):
  for language, block in BLOCKS[name]:
    if language == 'python':
      reader.run(block)
    elif language == 'sh':
      for line in filter(is_typed, commands(block)):
        reader.type(line)
  if name in CHECKS:
    CHECKS[name](reader, capsys.readouterr().out.splitlines())


def check_start(reader, printed):
  names = reader.names
  assert names['code']['y'].shape == (5, 10)
  assert names['code']['z'].shape == (5, 10)
  assert names['again'].shape == (5, 8, 8, 1)
  assert names['new'].shape == (16, 8, 8, 1)
  for name in ('predictions.csv', 'codes.npz', 'both.html'):
    assert (reader.folder / name).exists()
  assert 'classify' in printed[0]


def check_images(reader, printed):
  del printed
  photos = [*(reader.folder / 'photos').rglob('*.png')]
  counts = collections.Counter(path.parts[-3] == 'test' for path in photos)
  assert counts == {False: 1500, True: 297}
  rows = (reader.folder / 'predictions.csv').read_text().splitlines()
  assert len(rows) == 1401


def check_few_labels(reader, printed):
  del printed
  assert len(reader.names['unsure']) == 20
  assert reader.names['threes'].shape == (8, 8, 1)


def check_maps(reader, printed):
  del printed
  assert reader.names['places'].shape == (1797, 2)
  assert reader.names['way'].shape == (9, 8, 8, 1)


def check_anomalies(reader, printed):
  assert len(reader.names['usual']) == 297
  assert reader.names['strange']
  assert 0 <= float(printed[-1]) <= 1


def check_own_system(reader, printed):
  rows = reader.folder / 'runs/matching/metrics.jsonl'
  assert 'matching/loss' in json.loads(rows.read_text().splitlines()[-1])
  *steps, shape = printed
  assert [line.split()[0] for line in steps] == ['17', '34', '51']
  assert shape == '(1, 1797, 2)'


def check_scikit_learn(reader, printed):
  assert 0 <= float(printed[0]) <= 1
  names = reader.names
  assert names['new'].shape == (10, 8, 8)
  assert len(names['cluster']) == len(names['codes']) == 1797
  assert names['between'].shape == (1, 8, 8)
  assert (reader.folder / 'classifier.pkl').exists()


CHECKS = {
  'docs/start.md': check_start,
  'docs/images.md': check_images,
  'docs/few_labels.md': check_few_labels,
  'docs/maps.md': check_maps,
  'docs/anomalies.md': check_anomalies,
  'docs/add_a_system.md': check_own_system,
  'docs/scikit_learn.md': check_scikit_learn,
}
"""By page: what has to be so once all of it is done; by what was printed."""


def test_own_system_is_as_short_as_promised():
  text = DOCUMENTS['docs/add_a_system.md']
  body = BLOCK.search(text)[2].split('def moment_matching')[1]
  assert len([line for line in body.splitlines() if line]) <= 15


@EVERY
def test_commands_are_of_a_kind_that_is_known(name):
  """So that none is passed over by the test that does what a page says."""
  targets = re.findall(r'^(\w+):', (ROOT / 'Makefile').read_text(), re.M)
  setup = configparser.ConfigParser()
  setup.read(ROOT / 'setup.cfg')
  extras = setup['options.extras_require']
  for language, block in BLOCKS[name]:
    assert language in ('python', 'sh', 'text')
    for line in commands(block) if language == 'sh' else ():
      if line.startswith('make '):
        assert line.removeprefix('make ') in targets
      elif extra := re.search(r"pip install (?:-e )?'\.\[(\w+)\]'", line):
        assert extra[1] in extras
      else:
        assert 'aae' in shlex.split(line) or line.startswith(OTHERS), line


OTHERS = (
  'git clone',
  'pip install .',
  'python -m benchmarks.',
  'python -m docs.',
  'python -m pytest',
  'python3 -m venv',
  'tensorboard',
)


@EVERY
def test_keys_that_are_named_exist(name):
  config = recipes.defaults()
  phases = {*config.optimizer, *config.search, *config.weights, 'elbo'}
  for key in re.findall(r'--config\.([a-z_.]+)', DOCUMENTS[name]):
    first, *rest = key.rstrip('.').split('.')
    found = config[first]
    for part in rest:
      if first == 'optimizer' and part in phases:
        found = recipes.phase()
      else:
        assert part in found, key
        found = found[part]


@EVERY
def test_configurations_that_are_named_exist(name):
  text = DOCUMENTS[name]
  named = re.findall(r'\b((?:digits|mnist|svhn)_\w+)\.py', text)
  named += re.findall(r'aae train\s+(\w+)', text)
  named += re.findall(r'--config=(?:configs/)?(\w+)', text)
  files = {path.stem for path in (ROOT / 'configs').iterdir()}
  assert {*named} - {'NAME'} <= files


METRICS = {
  # Longer names first, which begin as others do.
  '`AAEClassifier`, digits': 'digits/aae_classifier/classification_error',
  'LabelSpreading, digits': 'digits/label_spreading/classification_error',
  '`AAEClassifier`, wine': 'wine/aae_classifier/classification_error',
  'LabelSpreading, wine': 'wine/label_spreading/classification_error',
  '`AAEClassifier`, cancer': (
    'breast_cancer/aae_classifier/classification_error'
  ),
  'LabelSpreading, cancer': (
    'breast_cancer/label_spreading/classification_error'
  ),
  '`AAEClusterer`, digits': 'digits/aae_clusterer/clustering_error',
  'k-means, digits': 'digits/k_means/clustering_error',
  '`AAETransformer`, the error': 'digits/aae_transformer/pairs_told_apart',
  'LocalOutlierFactor': 'digits/local_outlier_factor/pairs_told_apart',
  'PCA of as many numbers': 'digits/pca/pairs_told_apart',
  'IsolationForest': 'digits/isolation_forest/pairs_told_apart',
  'LabelSpreading': 'label_spreading_rbf/classification_error',
  'classification error': 'classification_error',
  'clustering error': 'clustering_error',
  'energy distance': 'energy_distance',
  'Parzen log-likelihood': 'parzen_log_likelihood',
  'Gaussian fitted to codes': 'parzen_log_likelihood_fitted_gaussian',
  'region of their label': 'region_share',
  'linear probe': 'linear_probe_error',
  'MLP probe': 'mlp_probe_error',
  'reconstruction error': 'reconstruction_error',
}
"""What a page calls a number; the last of these before it counts."""

RESULT = r'\]\((?:\.\./)?benchmarks/results/'
NUMBER = re.compile(
  rf'\[([\d.]+)(?: ± ([\d.]+))?{RESULT}(\w+\.json)\) \((\d+)\)'
)


@EVERY
def test_numbers_are_those_of_the_results(name):
  # A name may be broken where a line ends.
  text = re.sub(r'\n *(?=[\w\[(`])', ' ', DOCUMENTS[name])
  methods = text.find('| method |'), text.find(table.END)
  matches = list(NUMBER.finditer(text))
  assert len(matches) == len(re.findall(RESULT, text))
  for match in matches:
    mean, std, file, num_runs = match.groups()
    before = text[: match.start()]
    kind = max(METRICS, key=before.rfind)
    if methods[0] < match.start() < methods[1]:
      # The table's title says so.
      kind = 'classification error'
    else:
      assert before.count('\n', before.rfind(kind)) < 2, f'what is {mean}?'
    results = json.loads((ROOT / 'benchmarks/results' / file).read_text())
    found = results['metrics'][f'test/{METRICS[kind]}']
    digits = len(mean.partition('.')[2])
    assert mean == f'{found["mean"]:.{digits}f}'
    assert (std is None) == (len(found['per_seed']) == 1)
    assert std is None or std == f'{found["std"]:.{digits}f}'
    assert int(num_runs) == len(found['per_seed'])
    # Baselines take no steps.
    assert results.get('step') == results.get('total_steps')


def test_there_are_numbers():
  counts = {n: len(NUMBER.findall(text)) for n, text in DOCUMENTS.items()}
  assert counts['README.md'] > 10


def test_first_table_is_what_its_program_makes():
  assert table.written(README, table.block(table.read())) == README
  first = README.index('\n| ', README.index('## What comes out'))
  assert README.index(table.BEGIN) < first < README.index(table.END)


LINK = re.compile(r'\]\(([^)\s]+)\)|src="([^"]+)"')
LINKED = {
  **DOCUMENTS,
  **{
    name: (ROOT / name).read_text()
    for name in ('CONTRIBUTING.md', 'CHANGELOG.md', 'benchmarks/README.md')
  },
}


def links(name):
  """What a page links to, but on the web: files, and headings within them."""
  text = BLOCK.sub('', LINKED[name])
  for link in (one or other for one, other in LINK.findall(text)):
    if not link.startswith('https://'):
      path, _, heading = link.partition('#')
      folder = pathlib.Path(name).parent
      yield (ROOT / folder / path if path else ROOT / name).resolve(), heading


def headings(text):
  """Of a page, as they are linked to."""
  found = re.findall(r'^#+ (.*)$', BLOCK.sub('', text), re.MULTILINE)
  plain = (re.sub(r'[^\w\- ]', '', heading).lower() for heading in found)
  return [heading.replace(' ', '-') for heading in plain]


@pytest.mark.parametrize('name', LINKED)
def test_links_lead_somewhere(name):
  for path, heading in links(name):
    assert path.exists(), f'{name}: {path}'
    if heading:
      assert heading in headings(path.read_text()), f'{name}: #{heading}'


def test_the_reference_is_what_the_docstrings_give():
  """If not: python -m docs.reference."""
  assert DOCUMENTS['docs/reference.md'] == reference.page()


def test_every_page_and_picture_is_shown():
  shown = {path for name in DOCUMENTS for path, _ in links(name)}
  for suffix in ('png', 'html', 'md'):
    assert {*(ROOT / 'docs').glob(f'*.{suffix}')} <= shown


def test_every_configuration_is_told_of():
  told = DOCUMENTS['docs/systems.md']
  for path in (ROOT / 'configs').glob('mnist_*.py'):
    assert f'`{path.stem}`' in told
  for name in systems.SYSTEMS:
    assert f'`{name}`' in told
