"""Tests of aae_jax.saved_model."""

import base64
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap
from unittest import mock

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aae_jax
from aae_jax import (
  datasets,
  explorer,
  measures,
  runs,
  saved_model,
  trained,
  training,
)
from aae_jax.errors import InputError
from configs import digits_semi_supervised
from tests import tiny

SEEDS = range(5, 7)
ROOT = pathlib.Path(__file__).parent.parent


@dataclasses.dataclass(frozen=True)
class Run:
  """A run that has ended."""

  config: object
  workdir: pathlib.Path
  test: datasets.Split

  @property
  def metrics(self):
    results = json.loads((self.workdir / 'results.json').read_text())
    return {k: v['per_seed'] for k, v in results['metrics'].items()}


@pytest.fixture(scope='session')
def run(tmp_path_factory):
  """Two seeds of a tiny semi-supervised system, with averaged weights."""
  folder = tmp_path_factory.mktemp('saved_model')
  config = digits_semi_supervised.get_config()
  for network in (config.encoder, config.decoder, config.discriminator):
    network.hidden = (16, 16)
  config.dataset.data_dir = str(folder / 'data')
  config.epochs = 2
  config.seed, config.num_seeds = SEEDS.start, len(SEEDS)
  training.train_and_evaluate(config, folder / 'run')
  dataset = datasets.load('digits', data_dir=folder / 'data')
  return Run(config, folder / 'run', dataset.test)


@pytest.fixture(scope='session')
def model(run):
  return saved_model.load(run.workdir)


def make_model(name, **changes):
  """A system that nothing has trained."""
  experiment = tiny.build(name, **changes)
  generator = np.random.default_rng(0)
  state = experiment.abstract_state()
  params, batch_stats = jax.tree.map(
    lambda x: np.float32(generator.normal(scale=0.5, size=x.shape)),
    (state.params, state.batch_stats),
  )
  weights = {'params': params, 'batch_stats': batch_stats}
  run = experiment.trained(weights)
  return saved_model.LoadedModel(run, experiment.schema)


@pytest.fixture(scope='module', params=tiny.NAMES)
def each_model(request):
  return make_model(request.param)


@pytest.fixture(scope='module')
def supervised():
  """Its decoder is told the label."""
  return make_model('supervised_aae')


def make_images(*batch):
  return np.random.default_rng(1).integers(
    0, 256, (*batch, *tiny.IMAGE_SHAPE), np.uint8
  )


def errors_of(model, split):
  """The two measures of `evaluation`, by NumPy."""
  probabilities = np.asarray(model.classify(split.image))
  wrong = np.argmax(probabilities, -1) != split.label
  reconstruction = np.asarray(model.reconstruct(split.image))
  difference = reconstruction - split.image / 255
  return 100 * np.mean(wrong), np.mean(np.sum(difference**2, (1, 2, 3)))


@pytest.mark.parametrize('index', range(len(SEEDS)))
def test_numbers_are_those_of_the_evaluation(run, index):
  model = aae_jax.load(run.workdir, seed=SEEDS[index])
  classification, reconstruction = errors_of(model, run.test)
  per_seed = run.metrics
  error = per_seed['test/classification_error']
  assert error[0] != error[1]  # Or the seed would not matter.
  np.testing.assert_allclose(classification, error[index], rtol=1e-12)
  error = per_seed['test/reconstruction_error']
  np.testing.assert_allclose(reconstruction, error[index], rtol=1e-5)
  # The newest weights are other than the averaged ones.
  error = per_seed['test/reconstruction_error_raw']
  assert abs(reconstruction - error[index]) > 1e-4


def test_pages_of_the_run_are_of_the_model(run, model):
  assert 'explorer.html' in (run.workdir / 'report.html').read_text()
  assert (
    '# semi_supervised_aae on digits' in (run.workdir / 'README.md').read_text()
  )
  text = (run.workdir / 'explorer.html').read_text()
  data = json.loads(
    re.search('<script type="application/json".*?>(.*?)</script>', text)[1]
  )
  floats = lambda name: np.frombuffer(base64.b64decode(data[name]), '<f2')
  weights, layers = floats('weights'), []
  for layer in data['layers']:
    sizes = layer['inputs'], layer['outputs']
    ends = np.cumsum([np.prod(sizes), sizes[1]])
    kernel, bias, weights = np.split(weights, ends)
    layers.append(explorer.Dense(kernel.reshape(sizes), bias, layer['slope']))
  code = floats('codes').reshape(len(run.test.image), 20)
  image = explorer.mean('sigmoid', explorer.run(layers, code))
  expected = np.asarray(model.reconstruct(run.test.image))
  # Codes and weights are rounded.
  np.testing.assert_allclose(
    image, expected.reshape(len(image), -1), atol=5 / 255
  )
  assert data['labels'] == run.test.label.tolist()


def test_first_seed_is_the_default(run, model):
  first = saved_model.load(str(run.workdir), SEEDS[0])
  np.testing.assert_array_equal(
    first.classify(run.test.image), model.classify(run.test.image)
  )


def test_first_sound_seed_is_the_default(tmp_path):
  config = tiny.make_config('semi_supervised_aae', num_seeds=2, seed=3)
  experiment = tiny.assemble(config)
  state = experiment.init()
  bad = lambda x: x.at[0].set(np.nan)
  state = state.replace(params=jax.tree.map(bad, state.params))
  write_run(tmp_path, config, experiment, state)
  image = experiment.dataset.test.image
  np.testing.assert_array_equal(
    saved_model.load(tmp_path).classify(image),
    saved_model.load(tmp_path, seed=4).classify(image),
  )


def test_of_a_search_the_best_setting_is_loaded(tmp_path):
  config = tiny.make_config(
    'semi_supervised_aae',
    num_seeds=2,
    seed=3,
    **{'search.generator.y_weight': (1.0, 3.0, 10.0)},
  )
  dataset = dataclasses.replace(tiny.DATASET, validation=tiny.make_split(9, 3))
  with mock.patch.object(tiny, 'DATASET', dataset):
    experiment = tiny.assemble(config)
  state = experiment.init()
  scale = lambda x: x * jnp.arange(1.0, 7.0).reshape(6, *[1] * (x.ndim - 1))
  state = state.replace(params=jax.tree.map(scale, state.params))
  write_run(tmp_path, config, experiment, state)
  with pytest.raises(
    InputError, match='holds a search that has not chosen a setting yet; exp'
  ):
    saved_model.load(tmp_path)
  results = {'search': {'best': {'generator.y_weight': 3.0}}}
  (tmp_path / 'results.json').write_text(json.dumps(results))
  for seed, run in ((None, 2), (3, 2), (4, 3)):
    loaded = saved_model.load(tmp_path, seed)._trained.weights['params']
    jax.tree.map(
      lambda x, y, run=run: np.testing.assert_array_equal(x[0], y[run]),
      loaded,
      state.params,
    )
  with pytest.raises(InputError, match='has the seeds 3, 4.$'):
    saved_model.load(tmp_path, seed=5)


def test_needs_no_data(run, monkeypatch):
  monkeypatch.setattr(datasets, 'load', None)
  monkeypatch.setattr(datasets.loading, 'prepare_and_read', None)
  assert saved_model.load(run.workdir).functions


def test_loading_changes_nothing_in_the_workdir(run):
  def snapshot():
    return {path: path.stat().st_mtime_ns for path in run.workdir.rglob('*')}

  before = snapshot()
  saved_model.load(run.workdir)
  assert snapshot() == before


def write_run(workdir, config, experiment, state):
  """Leaves what `load` needs."""
  run = runs.Run(epath.Path(workdir))
  run.begin(json.loads(config.to_json()), experiment.schema)
  with run.checkpoints(1) as checkpoints:
    checkpoints.save(0, state)


def test_run_without_averages(tmp_path):
  config = tiny.make_config('semi_supervised_aae', seed=3)
  experiment = tiny.assemble(config)
  state = experiment.init()
  write_run(tmp_path, config, experiment, state)
  model = aae_jax.load(tmp_path, seed=3)
  split = experiment.dataset.test
  evaluator = measures.Evaluator(experiment.system, experiment.schema)
  expected = evaluator(state, split)
  classification, reconstruction = errors_of(model, split)
  np.testing.assert_allclose(
    classification, expected['classification_error'], rtol=1e-6
  )
  np.testing.assert_allclose(
    reconstruction, expected['reconstruction_error'], rtol=1e-5
  )


def test_each_system_has_the_functions_of_its_model(each_model):
  image = make_images(3)
  outputs = {}
  for name in each_model.functions:
    if name == 'decode':
      sizes = each_model.code_sizes.items()
      code = {part: np.ones((3, size)) for part, size in sizes}
      outputs[name] = each_model.decode(code)
    elif name == 'sample':
      outputs[name] = each_model.sample(3)
    elif name == 'reconstruct' and each_model._trained.model.told:
      outputs[name] = each_model.reconstruct(image, label=1)
    else:
      outputs[name] = getattr(each_model, name)(image)
  assert outputs
  for name in set(outputs) & {'decode', 'reconstruct', 'sample'}:
    assert outputs[name].shape == (3, *tiny.IMAGE_SHAPE)
  for name in set(outputs) & {'classify', 'cluster'}:
    np.testing.assert_allclose(np.sum(outputs[name], -1), 1, rtol=1e-5)
  for part, x in outputs.get('encode', {}).items():
    assert x.shape == (3, each_model.code_sizes[part])
  for name in set(saved_model._FUNCTIONS) - set(outputs):
    with pytest.raises(
      InputError, match=f'this model has no function {name!r}'
    ):
      getattr(each_model, name)(1)


def test_missing_function():
  gan = make_model('gan')
  assert gan.functions == ('decode', 'sample')
  with pytest.raises(InputError, match="'encode'; it has decode, sample"):
    gan.encode(make_images(3))


def test_uint8_and_float_agree(model, run):
  image = run.test.image[:7]
  expected = model.encode(image)
  for other in (image / 255, np.float16(image / 255), jnp.asarray(image)):
    code = model.encode(other)
    tolerance = 1e-2 if other.dtype == np.float16 else 1e-5
    for part in ('y', 'z'):
      np.testing.assert_allclose(code[part], expected[part], atol=tolerance)


def test_shapes_of_images(model, run):
  image = run.test.image[:8]  # As many as rows: [B, H, W] is not [H, W, C].
  expected = model.classify(image)
  np.testing.assert_array_equal(model.classify(image[..., 0]), expected)
  for single in (image[2], image[2, ..., 0]):
    probabilities = model.classify(single)
    assert probabilities.shape == (10,)
    np.testing.assert_allclose(probabilities, expected[2], rtol=1e-5)
  assert model.encode(image[:1])['z'].shape == (1, 10)
  assert model.reconstruct(image[0]).shape == (8, 8, 1)


def test_functions_are_pure(model, run):
  image = run.test.image[:5]
  copy = image.copy()
  first = [model.encode(image), model.reconstruct(image), model.sample(5)]
  second = [model.encode(image), model.reconstruct(image), model.sample(5)]
  jax.tree.map(np.testing.assert_array_equal, first, second)
  np.testing.assert_array_equal(image, copy)


def test_reconstruction_is_encode_then_decode(model, run):
  image = run.test.image[:5]
  code = model.encode(image)
  expected = model.decode(code)
  np.testing.assert_allclose(model.reconstruct(image), expected, atol=1e-6)
  np.testing.assert_array_equal(model.decode(**code), expected)
  other = model.decode(code, y=np.eye(10)[:5])
  np.testing.assert_array_equal(
    other, model.decode(z=code['z'], y=np.eye(10)[:5])
  )
  assert np.abs(other - expected).max() > 1e-3
  single = model.decode({part: x[1] for part, x in code.items()})
  np.testing.assert_allclose(single, expected[1], atol=1e-6)


def test_reconstruction_with_a_label(supervised):
  image = make_images(3)
  code = supervised.encode(image)
  expected = supervised.decode(code, y=np.eye(3)[[2, 0, 1]])
  for label in ([2, 0, 1], jnp.array([2, 0, 1])):
    reconstruction = supervised.reconstruct(image, label)
    np.testing.assert_allclose(reconstruction, expected, atol=1e-6)
  one_label = supervised.reconstruct(image, 2)
  np.testing.assert_allclose(one_label[0], expected[0], atol=1e-6)
  assert np.abs(one_label[1] - expected[1]).max() > 1e-3
  single = supervised.reconstruct(image[1], 0)
  np.testing.assert_allclose(single, expected[1], atol=1e-6)


def test_samples(model):
  images = model.sample(6)
  assert images.shape == (6, 8, 8, 1)
  np.testing.assert_allclose(model.sample(3), images[:3], atol=1e-6)
  assert np.abs(model.sample(6, seed=1) - images).max() > 1e-3
  assert np.abs(images[0] - images[1:]).max() > 1e-3


@pytest.mark.parametrize('name', ['supervised_aae', 'label_regularized_aae'])
def test_samples_by_label(name):
  model = make_model(name)
  each = np.stack([model.sample(30, label=label) for label in range(3)])
  label = np.arange(30) % 3
  chosen = model.sample(30, label=label)
  np.testing.assert_allclose(chosen, each[label, np.arange(30)], atol=1e-6)
  assert np.abs(each[0] - each[1]).max() > 1e-3
  # Without a label no single one is taken.
  drawn = model.sample(30)
  assert min(np.abs(drawn - images).max() for images in each) > 1e-3


def test_drawn_labels_are_even(supervised):
  drawn = supervised.sample(300)
  each = np.stack([supervised.sample(300, label=k) for k in range(3)])
  distance = np.abs(each - drawn).max((2, 3, 4))
  np.testing.assert_allclose(distance.min(0), 0, atol=1e-5)
  counts = np.bincount(distance.argmin(0), minlength=3)
  assert counts.min() > 70


def test_functions_under_transformations(model, run):
  image = run.test.image[:4]
  np.testing.assert_allclose(
    jax.jit(model.classify)(image), model.classify(image), rtol=1e-5
  )
  by_one = jax.vmap(lambda x: model.reconstruct(x))(image)
  np.testing.assert_allclose(by_one, model.reconstruct(image), atol=1e-6)
  code = model.encode(image)
  gradient = jax.grad(lambda z: model.decode(code, z=z).sum())(code['z'])
  assert gradient.shape == (4, 10)
  assert np.abs(gradient).max() > 0
  with pytest.raises(InputError, match='image has the shape'):
    jax.jit(model.classify)(image[:, 1:])


@pytest.mark.parametrize(
  ('image', 'message'),
  [
    (np.zeros((3, 4, 5, 1)), r'\(3, 4, 5, 1\); expected \(4, 4, 1\)'),
    (np.zeros((4, 4, 3)), r'\(4, 4, 3\); expected .* or \(B, 4, 4, 1\)'),
    (np.zeros((2, 3, 4, 4, 1)), r'\(2, 3, 4, 4, 1\)'),
    (np.zeros((0, 4, 4, 1)), r'shape \(0, 4, 4, 1\)'),
    (np.zeros(16), r'shape \(16,\)'),
    (0.5, r'shape \(\)'),
    (np.full((4, 4), 255.0), 'from 255 to 255; expected uint8, or floats'),
    (np.full((4, 4), -0.5), 'from -0.5 to -0.5'),
    (jnp.full((4, 4), 1.5), 'from 1.5 to 1.5'),
    (np.full((4, 4), np.nan), 'from nan to nan'),
    (np.zeros((4, 4), int), r'image is int64; expected uint8, or floats'),
    (np.zeros((4, 4), bool), 'image is bool'),
  ],
)
def test_wrong_images(supervised, image, message):
  with pytest.raises(InputError, match=message):
    supervised.encode(image)


def test_floats_are_as_networks_see_them():
  experiment = tiny.build('autoencoder')
  experiment = dataclasses.replace(
    experiment,
    dataset=dataclasses.replace(
      experiment.dataset, scaling=datasets.Scaling(offset=51.0, divisor=102.0)
    ),
  )
  run = experiment.trained(trained.newest(tiny.random_state(experiment.system)))
  run = dataclasses.replace(
    run, weights=jax.tree.map(lambda x: x[None], run.weights)
  )
  model = saved_model.LoadedModel(run, experiment.schema)
  image = tiny.DATASET.test.image
  np.testing.assert_allclose(
    model.encode(image)['z'],
    model.encode((np.float64(image) - 51) / 102)['z'],
    rtol=1e-5,
    atol=1e-5,
  )
  with pytest.raises(
    InputError, match=r'from -1 to -1; expected uint8, or floats in \[-0.5, 2\]'
  ):
    model.encode(np.full((4, 4), -1.0))


@pytest.mark.parametrize(
  ('label', 'message'),
  [
    (None, r'is told the label; expected reconstruct\(image, label\)'),
    (3, 'label is from 3 to 3; expected 0 to 2'),
    ([0, -1], 'label is from -1 to 0'),
    ([0, 1, 2], r'int64 of the shape \(3,\); expected .* \(2,\)'),
    ([0.0, 1.0], 'label is float64'),
  ],
)
def test_wrong_labels(supervised, label, message):
  with pytest.raises(InputError, match=message):
    supervised.reconstruct(make_images(2), label)


def test_label_where_none_is_taken(model, run):
  with pytest.raises(InputError, match='label is 3, but reconstruct takes no'):
    model.reconstruct(run.test.image[:2], 3)
  with pytest.raises(InputError, match='label is 3, but sample takes no label'):
    model.sample(2, label=3)


def test_wrong_number_of_samples(model):
  with pytest.raises(InputError, match='n is 0; expected at least 1'):
    model.sample(0)


@pytest.mark.parametrize(
  ('code', 'message'),
  [
    ({'x': np.zeros((2, 3))}, "unknown part of the code 'x'; known: y, z"),
    ({'z': np.zeros((2, 2))}, r'has z \(2, 2\); expected y \(B, 3\), z'),
    ({}, r'has no parts; expected y \(B, 3\), z \(B, 2\)'),
    ({'y': np.zeros((2, 3)), 'z': np.zeros((2, 3))}, r'z \(2, 3\); expec'),
    ({'y': np.zeros((2, 3)), 'z': np.zeros((3, 2))}, r'z \(3, 2\); expec'),
    ({'y': np.zeros(3), 'z': np.zeros((3, 2))}, 'all without it'),
    ({'y': 0.0, 'z': 0.0}, r'has y \(\), z \(\)'),
    (
      {'y': np.zeros((1, 2, 3)), 'z': np.zeros((1, 2, 2))},
      r'z \(1, 2, 2\); expec',
    ),
    (np.zeros((2, 5)), r'code is a ndarray; expected a dict of y \(B, 3\)'),
  ],
)
def test_wrong_codes(supervised, code, message):
  with pytest.raises(InputError, match=message):
    supervised.decode(code)


def test_wrong_seed(run):
  with pytest.raises(InputError, match=r'seed is 0, but .* the seeds 5, 6\.'):
    saved_model.load(run.workdir, seed=0)


def test_no_workdir(tmp_path):
  with pytest.raises(InputError, match='there is no folder .*absent'):
    saved_model.load(tmp_path / 'absent')
  with pytest.raises(InputError, match='holds no run, for it has no config'):
    saved_model.load(tmp_path)


def test_run_from_before_there_was_a_scaling(run, model, tmp_path):
  shutil.copytree(run.workdir, tmp_path, dirs_exist_ok=True)
  content = json.loads((tmp_path / 'model.json').read_text())
  assert content.pop('scaling') == [0.0, 255.0]
  (tmp_path / 'model.json').write_text(json.dumps(content))
  image = run.test.image[:3]
  np.testing.assert_array_equal(
    saved_model.load(tmp_path).classify(image), model.classify(image)
  )


def test_no_checkpoint(run, tmp_path):
  for name in ('config.json', 'model.json'):
    shutil.copy(run.workdir / name, tmp_path)
  with pytest.raises(InputError, match='holds no checkpoint yet'):
    saved_model.load(tmp_path)
  assert not (tmp_path / 'checkpoints').exists()
  (tmp_path / 'checkpoints').mkdir()
  with pytest.raises(InputError, match='holds no checkpoint yet'):
    saved_model.load(tmp_path)
  (tmp_path / 'model.json').unlink()
  with pytest.raises(InputError, match=r'for it has no model\.json'):
    saved_model.load(tmp_path)


@pytest.mark.parametrize(
  ('name', 'change', 'reason'),
  [
    (
      'config.json',
      lambda content: content.update(objective=content.pop('system')),
      "config.json has the key 'objective'",
    ),
    (
      'model.json',
      lambda content: content.pop('digest'),
      'model.json has other keys',
    ),
  ],
)
def test_run_of_an_older_version(name, change, reason, run, tmp_path):
  for copied in ('config.json', 'model.json'):
    shutil.copy(run.workdir / copied, tmp_path)
  content = json.loads((tmp_path / name).read_text())
  change(content)
  (tmp_path / name).write_text(json.dumps(content))
  before = sorted(tmp_path.iterdir())
  for entry in (
    lambda: saved_model.load(tmp_path),
    lambda: training.train_and_evaluate(run.config, tmp_path),
  ):
    with pytest.raises(InputError) as raised:
      entry()
    assert str(raised.value) == (
      f'{tmp_path} is of an older version of aae_jax ({reason}) and cannot be '
      'gone on with or loaded; train in another workdir.'
    )
  assert sorted(tmp_path.iterdir()) == before


def test_unknown_attribute_of_the_package():
  with pytest.raises(AttributeError, match="no attribute 'laod'"):
    aae_jax.laod  # noqa: B018


@pytest.fixture(scope='session')
def exported(run):
  """The folder that the program's mode `export` writes."""
  path = run.workdir.parent / 'same_config.py'
  path.write_text(
    'import json, pathlib\n'
    'import ml_collections\n'
    'def get_config():\n'
    f'  text = pathlib.Path({str(run.workdir / "config.json")!r}).read_text()'
    '\n  return ml_collections.ConfigDict(json.loads(text))\n'
  )
  flags = [f'--config={path}', f'--workdir={run.workdir}', '--mode=export']
  ended = subprocess.run(
    [sys.executable, ROOT / 'train.py', *flags],
    cwd=ROOT,
    env={**os.environ, 'HOME': str(run.workdir.parent)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert ended.returncode == 0, ended.stderr
  folder = run.workdir / 'export'
  said = {pathlib.Path(line) for line in ended.stdout.splitlines()}
  assert said == set(folder.iterdir())
  return folder


_WITHOUT_THIS_PACKAGE = """
import sys
for name in ('aae_jax', 'flax', 'optax', 'orbax', 'ml_collections', 'etils'):
  sys.modules[name] = None
import jax, jax.export, numpy, pathlib
for size in (1, 7):
  inputs = dict(numpy.load(f'inputs_{size}.npz'))
  image = inputs.pop('image')
  outputs = {}
  for path in sorted(pathlib.Path().glob('*.stablehlo')):
    function = jax.export.deserialize(bytearray(path.read_bytes()))
    assert function.platforms == ('cpu', 'cuda', 'tpu'), function.platforms
    output = function.call(inputs if path.stem == 'decoder' else image)
    parts = output if isinstance(output, dict) else {'': output}
    outputs |= {path.stem + part: x for part, x in parts.items()}
  numpy.savez(f'outputs_{size}.npz', **outputs)
"""


def run_without_this_package(script, folder):
  return subprocess.run(
    [sys.executable, '-I', '-W', 'error', '-c', script],
    cwd=folder,
    capture_output=True,
    text=True,
    check=False,
  )


@pytest.mark.whole
def test_exported_functions_run_without_this_package(
  run, model, exported, tmp_path
):
  shutil.copytree(exported, tmp_path, dirs_exist_ok=True)
  images = {size: np.float32(run.test.image[:size] / 255) for size in (1, 7)}
  for size, image in images.items():
    code = model.encode(image)
    np.savez(tmp_path / f'inputs_{size}.npz', image=image, **code)
  ended = run_without_this_package(_WITHOUT_THIS_PACKAGE, tmp_path)
  assert ended.returncode == 0, ended.stderr
  for size, image in images.items():
    code = model.encode(image)
    expected = {
      'encodery': code['y'],
      'encoderz': code['z'],
      'decoder': model.decode(code),
      'classifier': model.classify(image),
      'representer': model.represent(image),
    }
    found = dict(np.load(tmp_path / f'outputs_{size}.npz'))
    assert found.keys() == expected.keys()
    for name, x in expected.items():
      np.testing.assert_allclose(found[name], x, atol=1e-5, err_msg=name)


def test_readme_of_the_export(exported):
  text = (exported / 'README.txt').read_text()
  assert 'floats in [0, 1]: of uint8 images,\n(image - 0) / 255.' in text
  assert 'encoder.stablehlo: float32[b, 8, 8, 1] -> {y: float32[b, 10]' in text
  assert 'classifier.stablehlo: float32[b, 8, 8, 1] -> float32[b, 10]' in text
  snippet = textwrap.dedent(re.search(r'\n  import .*', text, re.S)[0])
  ended = run_without_this_package(
    snippet + 'assert output["z"].shape == (5, 10)', exported
  )
  assert ended.returncode == 0, ended.stderr


def test_export_of_other_systems(tmp_path, monkeypatch):
  for name, files in (
    ('gan', {'decoder'}),
    ('clustering_aae', {'encoder', 'decoder', 'clusterer', 'representer'}),
  ):
    model = make_model(name)
    monkeypatch.setattr(saved_model, 'load', lambda _, model=model: model)
    saved_model.export(tmp_path / name)
    folder = tmp_path / name / 'export'
    assert {path.stem for path in folder.iterdir()} == {*files, 'README'}
  text = (tmp_path / 'gan' / 'export' / 'README.txt').read_text()
  assert "function.call({'z': numpy.zeros((5, 2), 'float32')})" in text


def test_export_of_another_configuration(run):
  config = run.config.copy_and_resolve_references()
  config.epochs = 3
  with pytest.raises(InputError, match='the run of another configuration'):
    training.export(config, run.workdir)
