"""Tests of train.py as a person uses it."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

from flax import traverse_util
import pytest

from aae_jax import recipes
from tests import programs

CONFIG = '--config=configs/digits_autoencoder.py'
TINY = (CONFIG, '--config.encoder.hidden=(8,)', '--config.decoder.hidden=(8,)')


@pytest.fixture(scope='module')
def home(tmp_path_factory):
  """Where caches are: data is prepared, and programs compiled, once."""
  return tmp_path_factory.mktemp('home')


@pytest.fixture
def start(tmp_path, home):
  """Starts programs, and ends those that a test leaves."""
  with programs.starting(tmp_path, home) as start:
    yield start


@pytest.fixture(scope='module')
def help_shown(tmp_path_factory):
  """The program run as a person runs it, with a PyTorch that tells on it."""
  folder = tmp_path_factory.mktemp('packages')
  (folder / 'torch.py').write_text(
    'import sys\n'
    "print('torch was imported', file=sys.stderr)\n"
    'raise ImportError\n'
  )
  return subprocess.run(
    [sys.executable, 'train.py', '--help'],
    cwd=programs.ROOT,
    env={**os.environ, 'PYTHONPATH': str(folder)},
    capture_output=True,
    text=True,
    check=True,
  )


@pytest.fixture(scope='module')
def usage(help_shown):
  return help_shown.stdout


def test_start_is_silent_and_imports_no_torch(help_shown):
  assert not help_shown.stderr


def test_help_lists_the_modes(usage):
  for mode in ('train', 'evaluate', 'export'):
    assert re.search(rf'^  {mode} +\w', usage, re.MULTILINE)


def test_help_lists_the_configurations_with_their_first_line(usage):
  paths = sorted(pathlib.Path(programs.ROOT, 'configs').glob('*.py'))
  for path in paths:
    first_line = path.read_text().split('"""')[1].splitlines()[0]
    row = rf'^  {path.stem}  +{re.escape(first_line)}$'
    assert re.search(row, usage, re.MULTILINE), path


def test_help_lists_the_keys_with_their_defaults(usage):
  rows = usage.splitlines()
  assert "  config.dataset.name = 'digits'" in rows
  assert '  config.encoder.hidden = (1000, 1000)' in rows
  assert '  config.prior.std = None' in rows
  assert '  config.optimizer.reconstruction.learning_rate = 0.001' in rows
  keys = traverse_util.flatten_dict(recipes.defaults().to_dict(), sep='.')
  for key, value in keys.items():
    assert f'  config.{key} = {value!r}' in rows


@pytest.mark.parametrize(
  'arguments, message',
  [
    ([], 'expected --config=NAME; see --help.'),
    ([CONFIG, 'evaluate'], "unknown argument 'evaluate'; expected flags."),
    (
      [CONFIG, '--mode=trian'],
      "unknown mode 'trian'; known: evaluate, export, train. Did you "
      "mean 'train'?",
    ),
    (
      [CONFIG, '--wrokdir=x'],
      "Unknown command line flag 'wrokdir'. Did you mean: workdir ?",
    ),
    ([CONFIG, '--workdir'], 'Missing value for flag --workdir'),
    (
      ['--config=configs/digits_autoencodr.py'],
      "unknown configuration 'configs/digits_autoencodr.py'; "
      'known: clustering, digits_aae, .*mnist_vae, .*'
      "Did you mean 'digits_autoencoder'?",
    ),
    (
      ['--config', 'configs'],
      "unknown configuration 'configs'; known: clustering, digits_aae",
    ),
    (
      ['--config=configs/mnist_semi_supervised.py:papre'],
      "unknown variant 'papre'; known: fast, paper, any.",
    ),
    (
      [f'{CONFIG}:paper'],
      "the paper has no settings for 'autoencoder' on digits; expected no "
      'variant.',
    ),
    (
      [CONFIG, '--config.epoch=3'],
      "unknown key 'config.epoch'. Did you mean 'config.epochs'? See "
      '--help for all.',
    ),
    (
      [CONFIG, '--config.epochs=1', '--config.encoder.hiden', '(8,)'],
      "unknown key 'config.encoder.hiden'. Did you mean "
      "'config.encoder.hidden'? See --help for all.",
    ),
    (
      ['--config.epochs=3', CONFIG],
      'Found --config.epochs=3 in argv before a value for --config was '
      'specified',
    ),
    (
      [CONFIG, '--config.epochs=many'],
      'flag --config.epochs=many: invalid literal for int.*',
    ),
    (
      [CONFIG, '--config.encoder.batch_norm=maybe'],
      'flag --config.encoder.batch_norm=maybe: .*boolean.*',
    ),
    (
      [CONFIG, '--config.prior.std=wide'],
      'flag --config.prior.std=wide: could not convert .*',
    ),
    (
      [CONFIG, '--config.encoder=8'],
      "flag --config.encoder=8: Failed to parse '8' as a ConfigDict.*",
    ),
    (
      [CONFIG, '--config.encoder.hidden=large'],
      'encoder.hidden is .*large.*; expected whole numbers above 0.*',
    ),
    (
      [CONFIG, '--config.system=autoencodr'],
      "unknown system 'autoencodr'; known: aae, .*Did you mean 'autoencoder'?",
    ),
    (
      [CONFIG, '--mode=evaluate', '--workdir=absent'],
      'there is no folder absent; expected the workdir of a run.',
    ),
    (
      [CONFIG, '--mode=export', '--workdir=absent'],
      'there is no folder absent; expected the workdir of a run.',
    ),
    # The name of the configuration, but not in its place.
    (
      ['--workdir', 'digits_aae', '--config', 'digits_aae', '--mode=evaluate'],
      'there is no folder digits_aae; expected the workdir of a run.',
    ),
    (
      ['--workdir', 'config', '--config=mnist_ae'],
      "unknown configuration 'mnist_ae'; known: clustering, digits_aae",
    ),
    (
      [CONFIG, '--workdir=az://bucket/run'],
      'az://bucket/run is no address of a run; expected a local folder, '
      'gs://BUCKET/FOLDER or s3://BUCKET/FOLDER.',
    ),
    (
      [CONFIG, '--workdir=/dev/null/run'],
      'cannot write to workdir /dev/null/run: Not a directory',
    ),
  ],
)
def test_what_a_user_can_mend_is_told_in_a_line(start, arguments, message):
  program = start(*arguments)
  assert program.wait() == 1
  pattern = re.escape(message).replace(r'\.\*', '.*')
  assert re.match(rf'train\.py: {pattern}', program.err)
  assert program.err.count('\n') == 1


@pytest.mark.parametrize(
  'arguments, workdir',
  [
    ([CONFIG], 'runs/digits_autoencoder'),
    (
      [CONFIG, '--config.seed=3', '--config.encoder.hidden=(8,)'],
      'runs/digits_autoencoder,encoder.hidden=(8,),seed=3',
    ),
    (
      [CONFIG, '--config.dataset.name=/my/images.npz'],
      'runs/digits_autoencoder,dataset.name=_my_images.npz',
    ),
    (
      ['--config', 'configs/mnist_semi_supervised.py:paper'],
      'runs/mnist_semi_supervised-paper',
    ),
    (['--config=mnist_aae'], 'runs/mnist_aae'),
    (['--config', 'mnist_aae:paper'], 'runs/mnist_aae-paper'),
  ],
)
def test_workdir_is_named_after_what_was_asked(
  tmp_path, home, arguments, workdir
):
  program = programs.call(tmp_path, home, 'default_workdir', *arguments)
  assert program.wait() == 0
  assert program.out == f'{workdir}\n'


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
  """A folder of packages with what the wheel holds."""
  pytest.importorskip('setuptools', minversion='77')
  source, site = map(tmp_path_factory.mktemp, ('source', 'site'))
  for name in ('aae_jax', 'configs'):
    shutil.copytree(programs.ROOT / name, source / name)
  for name in ('setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE'):
    shutil.copy(programs.ROOT / name, source)
  subprocess.run(
    [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps']
    + ['--no-build-isolation', '--disable-pip-version-check']
    + [f'--wheel-dir={site}', str(source)],
    check=True,
  )
  [wheel] = site.glob('*.whl')
  shutil.unpack_archive(wheel, site, 'zip')
  return site


def test_the_wheel_has_all_that_the_package_has(installed):
  expected = {
    path.relative_to(programs.ROOT)
    for pattern in ('**/*.py', 'templates/*', 'models/*/*')
    for path in programs.ROOT.joinpath('aae_jax').glob(pattern)
  }
  expected |= {
    pathlib.Path('aae_jax/configs', path.name)
    for path in programs.ROOT.glob('configs/*.py')
  }
  found = {
    path.relative_to(installed)
    for path in installed.glob('aae_jax/**/*.*')
    if '__pycache__' not in path.parts
  }
  assert found == expected


def test_a_configuration_is_found_by_its_name_from_any_folder(
  installed, tmp_path
):
  """In the repository and in an installed package, whatever is beside it."""
  other = installed / 'configs'
  other.mkdir()
  (other / 'of_another_package.py').touch()
  say = (
    'import sys\n'
    'from aae_jax import program\n'
    'program.parse_flags(sys.argv)\n'
    'print(program.default_workdir(), program._CONFIG.value.latent_size)\n'
    'program.usage()'
  )
  for path in (programs.ROOT, installed):
    told = subprocess.run(
      [sys.executable, '-c', say]
      + ['--config=digits_aae', '--config.latent_size=3'],
      cwd=tmp_path,
      env={**os.environ, 'PYTHONPATH': str(path)},
      check=True,
      capture_output=True,
      text=True,
    )
    assert told.stdout == 'runs/digits_aae,latent_size=3 3\n'


def test_sigint_before_the_training_is_no_error_of_the_program(start, tmp_path):
  config = tmp_path / 'config.py'
  config.write_text(
    'import sys, time\n'
    'def get_config():\n'
    "  print('begun', file=sys.stderr, flush=True)\n"
    '  time.sleep(100)\n'
  )
  program = start(f'--config={config}')
  program.wait_for('begun')
  os.kill(program.process.pid, signal.SIGINT)
  assert program.wait() == 130
  assert program.err == (
    'begun\n\nStopped by SIGINT: what was there before stays; the same command '
    'begins anew.\n'
  )


def results_of(workdir):
  results = json.loads((workdir / 'results.json').read_text())
  return results['metrics']


def steps_of(workdir):
  rows = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(row)['step'] for row in rows]


def digests_of(workdir):
  """The hash of every array of the last checkpoint."""
  [*_, last] = sorted((workdir / 'checkpoints').glob('[0-9]*'), key=number)
  return json.loads((last / 'digests/metadata').read_text())


def number(path):
  return int(path.name)


def test_one_command_trains_and_another_evaluates(start, tmp_path):
  workdir = tmp_path / 'run'
  arguments = (*TINY, '--config.epochs=2', f'--workdir={workdir}')
  program = start(*arguments)
  assert program.wait() == 0
  assert 'System     autoencoder: reconstruction\n' in program.out
  assert f'Workdir    {workdir}\n' in program.out
  assert f'Results in {workdir}/results.json' in program.out
  lines = program.err.splitlines()
  assert [line.split(',')[:2] for line in lines] == [
    ['step 14/28', ' epoch 1/2'],
    ['step 28/28', ' epoch 2/2'],
  ]
  before = results_of(workdir)

  program = start(*arguments)
  assert program.wait() == 0
  assert program.out.endswith('the finished run: there is nothing to do.\n')

  (workdir / 'results.json').unlink()
  program = start(*arguments, '--mode=evaluate')
  assert program.wait() == 0
  assert results_of(workdir) == before

  program = start(*TINY, '--config.epochs=3', f'--workdir={workdir}')
  assert program.wait() == 1
  assert program.err == (
    f'train.py: {workdir} holds the run of another configuration (epochs is '
    '3, in the workdir 2). Choose another --workdir.\n'
  )


def test_signals_save_and_nothing_is_lost(start, tmp_path):
  epochs = '--config.epochs=400'
  undisturbed, workdir = tmp_path / 'undisturbed', tmp_path / 'run'
  program = start(*TINY, epochs, f'--workdir={undisturbed}')
  assert program.wait() == 0

  arguments = (*TINY, epochs, f'--workdir={workdir}')
  for sent in (signal.SIGTERM, signal.SIGINT):
    # Calls of one step make the run long enough to be stopped.
    program = start(*arguments, '--config.steps_per_call=1')
    program.wait_for('epoch')
    before = time.monotonic()
    os.kill(program.process.pid, sent)
    assert program.wait() == 128 + sent
    assert time.monotonic() - before < 10
    [step] = re.findall(
      rf'\nStopped by {sent.name}: saved step ([\d,]+); the same command '
      'goes on from there.\n$',
      program.err,
    )
    assert (workdir / 'checkpoints' / step.replace(',', '')).is_dir()
    assert 'Traceback' not in program.err
  assert not (workdir / 'results.json').exists()

  program = start(*arguments)
  assert program.wait() == 0
  assert f'Going on from step {step}.\n' in program.out
  assert digests_of(workdir) == digests_of(undisturbed)
  assert results_of(workdir) == results_of(undisturbed)
  assert steps_of(workdir) == steps_of(undisturbed)
