"""Tests of the installed command as a person uses it."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import aae_jax
from aae_jax import catalogue, command, errors
from tests import programs

TINY = (
  '--config.encoder.hidden=(8,)',
  '--config.decoder.hidden=(8,)',
  '--config.epochs=1',
)


@pytest.fixture(scope='module')
def home(tmp_path_factory):
  """Where caches are: data is prepared, and programs compiled, once."""
  return tmp_path_factory.mktemp('home')


@pytest.fixture(scope='module')
def workdir(tmp_path_factory, home):
  """Of a run that the command has trained."""
  folder = tmp_path_factory.mktemp('trained')
  workdir = folder / 'run'
  program = programs.command(
    folder, home, 'train', 'digits_autoencoder', *TINY, f'--workdir={workdir}'
  )
  assert program.wait() == 0
  assert f'Results in {workdir}/results.json' in program.out
  return workdir


def listing(folder, then=''):
  """`aae list` as a process of its own, which does something more then."""
  say = (
    'import sys\n'
    'from aae_jax import command\n'
    'sys.argv[1:] = ["list"]\n'
    'command.main()\n'
  )
  return subprocess.Popen(
    [sys.executable, '-c', say + then],
    cwd=folder,
    env={**os.environ, 'PYTHONPATH': str(programs.ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def test_it_starts_without_what_takes_long_to_import(tmp_path):
  heavy = 'print({"jax", "numpy", "absl"} & set(sys.modules))'
  with listing(tmp_path, heavy) as process:
    *rows, _, models, imported = process.stdout.read().splitlines()
  assert [row.split()[0] for row in rows] == list(catalogue.files())
  assert models.endswith(f'encode: {", ".join(catalogue.models())}.')
  assert imported == 'set()'


def test_a_reader_that_goes_is_no_error(tmp_path):
  """As `head` does."""
  with listing(tmp_path) as process:
    process.stdout.close()
    assert process.stderr.read() == ''
  assert process.returncode == 1


@pytest.mark.parametrize('arguments', [[], ['--help'], ['-h']])
def test_help_names_the_commands(capsys, arguments):
  command.run(arguments)
  shown = capsys.readouterr().out
  for word, found in command.COMMANDS.items():
    assert re.search(rf'^  {word} +{re.escape(found.summary)}$', shown, re.M)


@pytest.mark.parametrize('word', sorted(set(command.COMMANDS) - {'train'}))
def test_help_of_a_command_has_examples(capsys, word):
  with pytest.raises(SystemExit) as leaving:
    command.run([word, '--help'])
  assert not leaving.value.code
  shown = capsys.readouterr().out
  assert command.COMMANDS[word].summary in ' '.join(shown.split())
  assert f'examples:\n  aae {word}' in shown


def test_help_of_training_has_examples_configurations_and_keys(tmp_path, home):
  program = programs.command(tmp_path, home, 'train', 'mnist_aae', '--help')
  assert program.wait() == 0
  assert 'Examples:\n  aae train digits_semi_supervised\n' in program.out
  assert '\n  mnist_aae  ' in program.out
  assert '\n  config.epochs = 100\n' in program.out
  assert 'train.py' not in program.out


def test_version(capsys):
  command.run(['--version'])
  assert capsys.readouterr().out == f'{aae_jax.__version__}\n'


@pytest.mark.parametrize(
  'arguments, message',
  [
    (['trian'], "unknown command 'trian'; .* Did you mean 'train'?"),
    (['train'], 'expected aae train NAME, then flags; aae list has the names.'),
    (['train', '--workdir=x', 'mnist_aae'], 'expected aae train NAME, .*'),
    (['list', 'x'], 'unrecognized arguments: x; see aae list --help.'),
    (
      ['evaluate'],
      'the following arguments are required: WORKDIR; see aae evaluate --help.',
    ),
    (['evaluate', 'x', 'y'], 'unrecognized arguments: y; .*'),
    (
      ['predict', 'run', 'photos'],
      'the following arguments are required: -o; see aae predict --help.',
    ),
    (
      ['predict', 'run', 'photos', '-o', 'absent/x.csv'],
      'cannot write absent/x.csv; expected a file in a folder that is there.',
    ),
    (
      ['encode', 'run', 'photos', '-o', '.'],
      'cannot write .; expected a file in a folder that is there.',
    ),
    (
      ['encode', 'run', 'absent', '-o', 'x.npz'],
      'absent: there is no such folder, .npz file or image file',
    ),
    (
      ['predict', 'run', str(programs.ROOT / 'docs'), '-o', 'x.csv'],
      'there is no folder run; expected the workdir of a run, or a model that '
      f'comes with the package: {", ".join(catalogue.models())}.',
    ),
    (
      ['report', 'absent'],
      'absent holds no results; expected the workdir of a run that has ended '
      'or been evaluated.',
    ),
    (
      ['export', 'absent'],
      'there is no folder absent; expected the workdir of a run.',
    ),
  ],
)
def test_what_is_wrong_is_told_in_a_line(arguments, message):
  pattern = re.escape(message).replace(r'\.\*', '.*')
  with pytest.raises(errors.InputError, match=f'^{pattern}$'):
    command.run(arguments)


@pytest.mark.parametrize(
  'arguments, message',
  [
    (['trian'], "unknown command 'trian'; known: "),
    (['train', 'mnist_ae'], "unknown configuration 'mnist_ae'; known: "),
    (
      ['train', 'digits_aae', '--config.epoch=3'],
      "unknown key 'config.epoch'. Did you mean 'config.epochs'? ",
    ),
  ],
)
def test_it_speaks_by_its_name(tmp_path, home, arguments, message):
  program = programs.command(tmp_path, home, *arguments)
  assert program.wait() == 1
  assert program.err.startswith(f'aae: {message}')
  assert program.err.count('\n') == 1


def test_a_run_is_evaluated_by_its_own_configuration(workdir, tmp_path, home):
  results = workdir / 'results.json'
  before = results.read_text()
  results.unlink()
  # As one of an earlier version, without a key.
  config = workdir / 'config.json'
  older = re.sub(r'\n  "num_draws": 1,', '', config.read_text())
  assert older != config.read_text()
  config.write_text(older)
  program = programs.command(tmp_path, home, 'evaluate', str(workdir))
  assert program.wait() == 0, program.err
  metrics = re.compile(r'"metrics": .*?"chosen_on"', re.DOTALL)
  assert metrics.findall(results.read_text()) == metrics.findall(before)


def test_images_are_predicted_and_encoded(workdir, tmp_path, home):
  np.savez(tmp_path / 'images.npz', image=np.zeros((3, 8, 8)))
  for word in ('predict', 'encode'):
    output = tmp_path / f'{word}.out'
    program = programs.command(
      tmp_path / word,
      home,
      word,
      str(workdir),
      str(tmp_path / 'images.npz'),
      '-o',
      str(output),
    )
    assert program.wait() == 0, program.err
    assert program.out == f'Wrote {output}: 3 images.\n'
    assert not program.err
  lines = (tmp_path / 'predict.out').read_text().splitlines()
  assert lines[0] == 'path,reconstruction_error'
  assert len(lines) == 4
  with np.load(tmp_path / 'encode.out') as codes:
    assert codes['z'].shape == (3, 2)


def test_runs_are_shown_side_by_side(workdir, tmp_path, home):
  output, other = tmp_path / 'both.html', tmp_path / 'other'
  shutil.copytree(workdir, other)
  program = programs.command(
    tmp_path, home, 'report', str(workdir), str(other), '-o', str(output)
  )
  assert program.wait() == 0, program.err
  assert program.out == f'Wrote {output}.\n'
  assert '2 runs side by side' in output.read_text()


def test_a_run_is_exported(workdir, tmp_path, home):
  program = programs.command(tmp_path, home, 'export', str(workdir))
  assert program.wait() == 0, program.err
  assert pathlib.Path(program.out.splitlines()[0]).is_file()
