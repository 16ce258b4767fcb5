"""Every system learns an answer that is known beforehand, on tiny images.

They train as a user's run does: a file of images and a configuration make an
experiment, whose one compiled call takes all steps. The last seed is a control:
a rate or a weight of its own is zero, and it must miss the bound that the
others keep. So no bound holds by itself.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance
from sklearn.linear_model import LogisticRegression
import tiny

from aae_jax import (
  experiments,
  measures,
  processes,
  recipes,
  statistics,
  systems,
  train_step,
)
from aae_jax import trained as trained_lib
from aae_jax.datasets.dataset import Split
from aae_jax.train_state import TrainState
from aae_jax.types import Function

SEED = 0
NUM_SEEDS = 3
ADVERSARIAL = ('reconstruction', 'discriminator', 'generator')


@dataclasses.dataclass(frozen=True)
class Trained:
  """A system of `NUM_SEEDS` seeds and a control, before and after training."""

  experiment: experiments.Experiment
  before: TrainState
  after: TrainState

  def measure(self) -> dict[str, np.ndarray]:
    """The means over the test images, [S]."""
    evaluator = measures.Evaluator(
      self.experiment.system, self.experiment.schema
    )
    return evaluator(self.after, self.experiment.dataset.test)

  @property
  def model(self) -> systems.Model:
    """Of the system."""
    return self.experiment.system.model

  def run(
    self,
    function: Function,
    rows: Any = None,
    state: TrainState | None = None,
    key: Any = None,
  ) -> Any:
    """Of the test images, or of `rows`, once trained, [S, N, ...]."""
    weights = trained_lib.newest(state or self.after)
    rows = rows or trained_lib.rows(self.experiment.dataset.test)
    trained = self.experiment.trained(weights)
    return trained.run(function, rows, key)

  @functools.cached_property
  def prior(self) -> np.ndarray:
    """Samples of z, with no label known, [1000, Z]."""
    batch = {
      'label': jnp.zeros(1000, jnp.int32),
      'is_labelled': jnp.zeros(1000, bool),
    }
    keys = jax.random.split(jax.random.key(2), 1000)
    return np.asarray(self.model.prior(None, batch, keys)['z'])

  def style(self, state: TrainState) -> np.ndarray:
    """A draw of z for every test image, [S, N, Z]."""
    return self.run(self.model.encode, state=state, key=jax.random.key(1))['z']

  def distances(self, state: TrainState) -> list[float]:
    """Energy distances of the test images' z to the prior, [S]."""
    return [
      statistics.energy_distance(z, self.prior) for z in self.style(state)
    ]


def train(
  folder: Any,
  system: str,
  arrays: dict[str, np.ndarray],
  epochs: int,
  phases: tuple[str, ...] = ADVERSARIAL,
  control: dict[str, dict[str, float]] | None = None,
  hidden: tuple[int, ...] = (32,),
  **changes: Any,
) -> Trained:
  """Trains a system on the arrays of an .npz file, on one device.

  Args:
    folder: for the file.
    system: the name of the system.
    arrays: of the file; the test images are the training images' without any.
    epochs: in one call.
    phases: all get Adam with the rate of `changes['rates']`, or 0.001.
    control: hyperparameters of the last seed, by phase.
    hidden: layers of encoder and decoder.
    **changes: of the configuration, keys may have dots.
  """
  path = folder / 'images.npz'
  np.savez(path, **{'test_image': arrays['image'], **arrays})
  config = recipes.start(system, str(path), hidden)
  if config.discriminator.hidden == hidden:
    config.discriminator.hidden = (32, 32)
  config.schedule.update(name='linear', begin=0.3)
  config.batch_size = 32
  config.epochs = epochs
  config.seed = SEED
  config.num_seeds = NUM_SEEDS + 1
  rates = changes.pop('rates', {})
  config.optimizer = {
    phase: recipes.phase(
      learning_rate=rates.get(phase, 1e-3),
      **({'b1': 0.5} if phase in ('discriminator', 'generator') else {}),
    )
    for phase in phases
  }
  config.update_from_flattened_dict(changes)
  built = experiments.build(config)
  built = dataclasses.replace(
    built,
    devices=built.devices[:1],
  )
  before = prepare(built.init(), control or {})
  # The call takes what it is given.
  state = jax.device_put(before, processes.own(built.devices), may_alias=False)
  request = train_step.Request(built.total_steps)
  after, _ = built.run()(state, tiny.data(built), request)
  assert trained_lib.sound_seeds(after).all()
  return Trained(built, before, after)


def prepare(
  state: TrainState, control: dict[str, dict[str, float]]
) -> TrainState:
  """Gives the last seed its hyperparameters; moves heads almost together."""
  hyperparams = jax.tree.map(np.array, state.hyperparams)
  for phase, values in control.items():
    for name, value in values.items():
      hyperparams[phase][name][-1] = value
  params = dict(state.params)
  if 'cluster_heads' in params:
    heads = np.array(params['cluster_heads']['heads'])
    params['cluster_heads'] = {'heads': 1e-3 * heads}
  return state.replace(params=params, hyperparams=hyperparams)


def principal_images():
  """64 images 4 x 4 that vary in three directions, [64, 4, 4]."""
  generator = np.random.default_rng(0)
  directions, _ = np.linalg.qr(generator.normal(size=(16, 3)))
  factors = generator.uniform(-1, 1, (64, 3)) * [0.7, 0.5, 0.1]
  image = 0.5 + factors @ directions.T
  assert 0 <= image.min() and image.max() <= 1
  return image.reshape(64, 4, 4)


def plane_images(num_images, seed):
  """Images 2 x 2 of two independent uniform factors, [N, 2, 2]."""
  factors = np.random.default_rng(seed).uniform(-1, 1, (num_images, 2))
  return embed(factors)


def corner_images(num_images, seed):
  """Images 2 x 2 whose factors lie in four squares, and which of them."""
  generator = np.random.default_rng(seed)
  corner = generator.integers(0, 2, (num_images, 2))
  within = generator.uniform(-1, 1, (num_images, 2))
  return embed(0.65 * (2 * corner - 1) + 0.3 * within), corner @ [1, 2]


def embed(factors):
  """Factors in [-1, 1], [N, 2], as images 2 x 2."""
  patterns = np.array([[1, 1, -1, -1], [1, -1, 1, -1]])
  return (0.5 + 0.24 * factors @ patterns).reshape(-1, 2, 2)


def blob_images(num_images, seed, std):
  """Images 2 x 4 of three patterns, with noise, and their labels."""
  signs = np.array(
    [
      [1, 1, 1, 1, -1, -1, -1, -1],
      [1, 1, -1, -1, 1, 1, -1, -1],
      [1, 1, -1, -1, -1, -1, 1, 1],
    ]
  )
  label = np.arange(num_images) % 3
  generator = np.random.default_rng(seed)
  noise = std * generator.normal(size=(num_images, 8))
  image = np.clip(0.5 + 0.35 * signs[label] + noise, 0, 1)
  return image.reshape(-1, 2, 4), label


def blobs(std):
  """The arrays of a file of `blob_images`."""
  image, label = blob_images(384, 0, std)
  test_image, test_label = blob_images(300, 1, std)
  return {
    'image': image,
    'label': label,
    'test_image': test_image,
    'test_label': test_label,
  }


def test_linear_autoencoder_finds_the_principal_subspace(tmp_path):
  """Linear nets reach the residual of PCA (Baldi and Hornik, 1989)."""
  trained = train(
    tmp_path,
    'autoencoder',
    {'image': principal_images()},
    1000,
    phases=('reconstruction',),
    rates={'reconstruction': 0.1},
    control={'reconstruction': {'learning_rate': 0.0}},
    hidden=(),
    batch_size=64,
    **{'decoder.output': 'linear'},
  )
  image = trained.experiment.dataset.train.image.reshape(64, 16) / 255
  variances = np.linalg.eigvalsh(np.cov(image.T, bias=True))
  residual = variances[:-2].sum()
  assert residual < 0.02 * variances.sum()
  *error, untrained = trained.measure()['reconstruction_error']
  assert min(error) > 0.999 * residual
  np.testing.assert_allclose(error, residual, rtol=0.2)
  assert untrained > 10 * residual


def test_vae_of_independent_pixels_is_their_entropy(tmp_path):
  """Every binary image once: the bound is -4 log 2, where no code is used."""
  every = (np.arange(16)[:, None] >> np.arange(4)) & 1
  image = np.tile(every.reshape(16, 2, 2), (4, 1, 1)).astype(float)
  trained = train(
    tmp_path,
    'vae',
    {'image': image, 'test_image': np.tile(image, (64, 1, 1))},
    750,
    phases=('elbo',),
    rates={'elbo': 0.005},
    control={'elbo': {'divergence_weight': 0.0}},
    **{'prior.std': 2.0},
  )
  *elbo, control = trained.measure()['elbo']
  np.testing.assert_allclose(elbo, -4 * np.log(2), atol=0.03)
  assert control < -4 * np.log(2) - 1
  assert max(trained.measure()['divergence'][:-1]) < 0.5
  # The posterior is the prior, with its standard deviation of 2.
  *close, far = trained.distances(trained.after)
  assert max(close) < 0.05 < far
  np.testing.assert_allclose(
    trained.style(trained.after)[:-1].std(axis=1), 2.0, atol=0.2
  )


@pytest.mark.whole
def test_vae_of_few_images_tells_them_apart(tmp_path):
  """No model gives K equally likely images more than -log K."""
  image = np.kron(np.eye(4).reshape(4, 2, 2), np.ones((2, 2)))
  image = np.tile(image, (16, 1, 1))
  trained = train(
    tmp_path,
    'vae',
    {'image': image, 'test_image': np.tile(image, (64, 1, 1))},
    750,
    phases=('elbo',),
    rates={'elbo': 0.02},
    control={'elbo': {'learning_rate': 0.0}},
  )
  found = trained.measure()
  *elbo, untrained = found['elbo']
  assert max(elbo) < -np.log(4)
  # A Gaussian posterior misses the true one; without a code it is -9.0.
  assert min(elbo) > -np.log(4) - 1.2
  assert untrained < -9
  # The code says which of the four it is.
  assert min(found['divergence'][:-1]) > np.log(4)


def test_gan_samples_follow_the_images(tmp_path):
  """Images of two pixels, uniform in a parallelogram."""
  factors = np.random.default_rng(0).uniform(size=(512, 2))
  image = factors @ np.array([[0.6, 0.4], [0.0, 0.6]])
  trained = train(
    tmp_path,
    'gan',
    {'image': image[:, None]},
    125,
    phases=('discriminator', 'generator'),
    rates={'discriminator': 3e-3},
    control={'generator': {'learning_rate': 0.0}},
    hidden=(16,),
    **{'decoder.output': 'linear'},
  )
  rows = {'label': np.zeros(1000, np.int32)}
  sample = trained.run(trained.model.sample, rows, key=jax.random.key(0))
  sample = sample.reshape(-1, 1000, 2)
  found = [statistics.energy_distance(points, image) for points in sample]
  assert max(found[:-1]) < 0.02
  assert found[-1] > 0.2
  np.testing.assert_allclose(
    sample[:-1].mean(axis=1) - image.mean(axis=0), 0, atol=0.06
  )
  np.testing.assert_allclose(
    sample[:-1].std(axis=1) / image.std(axis=0), 1, atol=0.25
  )


def test_classifier_has_the_error_of_bayes(tmp_path):
  """A pixel of two Gaussians, two standard deviations apart: 15.9 %."""
  quantiles = stats.norm.ppf((np.arange(500) + 0.5) / 500)
  image = np.clip(
    np.concatenate([0.4 + 0.1 * quantiles, 0.6 + 0.1 * quantiles]), 0, 1
  )
  trained = train(
    tmp_path,
    'classifier',
    {
      'image': image.reshape(-1, 1, 1),
      'label': np.arange(1000) // 500,
      'test_label': np.arange(1000) // 500,
    },
    50,
    phases=('classification',),
    rates={'classification': 0.01},
    control={'classification': {'learning_rate': 0.0}},
    hidden=(16,),
    batch_size=100,
    num_labels=-1,
    labelled_batch_size=100,
  )
  bayes = 100 * stats.norm.cdf(-1)
  *error, untrained = trained.measure()['classification_error']
  np.testing.assert_allclose(error, bayes, atol=1.0)
  assert untrained > 40


def test_aae_codes_follow_a_gaussian(tmp_path):
  """The control is an autoencoder, whose codes lie as they like."""
  trained = train(
    tmp_path,
    'aae',
    {'image': plane_images(512, 0), 'test_image': plane_images(500, 1)},
    95,
    rates={'discriminator': 3e-3},
    control={'generator': {'learning_rate': 0.0}},
    **{'prior.std': 2.0},
  )
  *close, far = trained.distances(trained.after)
  assert max(close) < 0.1 < 0.4 < far
  assert min(trained.distances(trained.before)) > 0.4
  np.testing.assert_allclose(
    trained.style(trained.after)[:-1].std(axis=1), 2.0, atol=0.5
  )
  # It still tells the images apart, which vary by 0.15.
  assert max(trained.measure()['reconstruction_error'][:-1]) < 0.01


@pytest.mark.whole
def test_aae_codes_follow_a_mixture(tmp_path):
  """Four kinds of images take the four modes, and none two."""
  image, _ = corner_images(512, 0)
  test_image, corner = corner_images(500, 1)
  trained = train(
    tmp_path,
    'aae',
    {'image': image, 'test_image': test_image},
    95,
    control={'generator': {'learning_rate': 0.0}},
    **{
      'encoder.batch_norm': True,
      'prior.name': 'gaussian_mixture',
      'prior.num_modes': 4,
      'prior.radial_std': 0.4,
      'prior.tangential_std': 0.4,
    },
  )
  *close, far = trained.distances(trained.after)
  assert max(close) < 0.06 < 0.12 < far
  z = trained.style(trained.after)
  mode = np.round(np.arctan2(z[..., 1], z[..., 0]) / (np.pi / 2)) % 4
  *same, control = [
    statistics.clustering_accuracy(of_seed, corner) for of_seed in mode
  ]
  assert min(same) > 97
  assert control < 90


@pytest.mark.whole
@pytest.mark.parametrize('posterior', ['gaussian', 'universal_approximator'])
def test_posterior_of_the_only_image_is_the_prior(posterior, tmp_path):
  """All that spreads the codes is the posterior's own noise."""
  trained = train(
    tmp_path,
    'aae',
    {'image': np.full((512, 2, 2), 0.3)},
    95,
    rates={'discriminator': 3e-3},
    control={'generator': {'learning_rate': 0.0}},
    hidden=(32, 32),
    **{'posterior.name': posterior, 'prior.std': 2.0},
  )
  *close, far = trained.distances(trained.after)
  assert max(close) < 0.05 < 0.3 < far
  assert min(trained.distances(trained.before)) > 0.15
  np.testing.assert_allclose(
    trained.style(trained.after)[:-1].std(axis=1), 2.0, atol=0.4
  )


@pytest.mark.whole
def test_label_regularized_codes_go_to_the_place_of_their_label(tmp_path):
  """Half of the images are labelled; the others follow."""
  trained = train(
    tmp_path,
    'label_regularized_aae',
    blobs(std=0.08),
    95,
    rates={'reconstruction': 3e-4, 'discriminator': 3e-3},
    control={'generator': {'learning_rate': 0.0}},
    num_labels=192,
    **{
      'encoder.batch_norm': True,
      'prior.name': 'gaussian_mixture',
      'prior.radius': 1.0,
      'prior.radial_std': 0.4,
      'prior.tangential_std': 0.4,
    },
  )
  *share, control = trained.measure()['region_share']
  # Of the prior's own samples 97 % are nearest to their mode.
  assert min(share) > 90
  assert control < 70
  assert max(trained.distances(trained.after)[:-1]) < 0.05


def styled_images(num_images, seed):
  """Images 2 x 4: a label's pattern, and two others of normal strengths."""
  image, label = blob_images(num_images, seed, std=0.0)
  normal = np.random.default_rng(seed).normal(size=(num_images, 2))
  patterns = np.array(
    [[1, -1, 1, -1, 1, -1, 1, -1], [1, -1, -1, 1, 1, -1, -1, 1]]
  )
  style = (0.1 * np.clip(normal, -2, 2) @ patterns).reshape(image.shape)
  return 0.5 + 0.25 * (image - 0.5) + style, label


def test_supervised_style_does_not_tell_the_label(tmp_path):
  """The decoder is told the label. An AAE's style tells it."""
  image, label = styled_images(384, 0)
  test_image, test_label = styled_images(300, 1)
  arrays = {
    'image': image,
    'label': label,
    'test_image': test_image,
    'test_label': test_label,
  }
  supervised = train(tmp_path, 'supervised_aae', arrays, 125)
  # It has room for style and label.
  plain = train(tmp_path, 'aae', arrays, 100, latent_size=4)
  chance = 100 * 2 / 3
  assert min(probe(supervised)) > 0.6 * chance
  assert max(probe(plain)) < 0.5 * chance
  # The images vary by 0.16.
  assert max(supervised.measure()['reconstruction_error']) < 0.01
  assert max(supervised.distances(supervised.after)) < 0.05


def probe(trained):
  """The errors of reading the label from the style, in %, [S]."""
  label = trained.experiment.dataset.test.label
  return [
    statistics.classification_error(
      LogisticRegression(),
      Split(z[:150], label[:150]),
      Split(z[150:], label[150:]),
    )
    for z in trained.style(trained.after)
  ]


def test_few_labels_name_the_clusters_of_all_images(tmp_path):
  """One a class; the control has the phase of classification, and no other."""
  trained = train(
    tmp_path,
    'semi_supervised_aae',
    blobs(std=0.25),
    85,
    phases=(*ADVERSARIAL, 'classification'),
    rates={'classification': 1e-2},
    control={
      'reconstruction': {'learning_rate': 0.0},
      'generator': {'learning_rate': 0.0},
    },
    num_labels=3,
    labelled_batch_size=12,
    **{'encoder.batch_norm': True},
  )
  *error, control = trained.measure()['classification_error']
  assert max(error) < 4 < control


@pytest.mark.whole
def test_clusters_are_the_blobs(tmp_path):
  """The adversary makes the control's vague probabilities certain."""
  trained = train(
    tmp_path,
    'clustering_aae',
    blobs(std=0.08),
    85,
    control={'generator': {'learning_rate': 0.0}},
    num_clusters=6,
    latent_size=1,
    **{'weights.generator.y_weight': 3.0, 'encoder.batch_norm': True},
  )
  y = trained.run(trained.model.cluster)
  label = trained.experiment.dataset.test.label
  for probabilities in y[:-1]:
    cluster = probabilities.argmax(axis=1)
    names = statistics.name_clusters(probabilities, label)
    assert np.mean(names[cluster] == label) > 0.99
  *certainty, control = y.max(axis=-1).mean(axis=1)
  assert min(certainty) > 0.9 > control


@pytest.mark.whole
def test_labels_go_where_their_heads_are_pushed(tmp_path):
  """With few labels."""
  trained = train_near_heads(
    tmp_path,
    'dimensionality_reduction_aae',
    ('classification',),
    num_labels=3,
    labelled_batch_size=12,
  )
  assert max(trained.measure()['classification_error']) < 1
  representation = trained.run(trained.model.embed)
  centre = np.stack(
    [representation[:, k::3].mean(axis=1) for k in range(3)], axis=1
  )
  *apart, control = closest(centre)
  assert min(apart) > 3.5 > control


@pytest.mark.whole
def test_heads_of_clusters_are_pushed_apart(tmp_path):
  """Without labels."""
  train_near_heads(
    tmp_path,
    'dimensionality_reduction_clustering_aae',
    (),
    num_clusters=3,
  )


def train_near_heads(folder, system, phases, **changes):
  """Trains with heads that begin almost equal, and end at the threshold.

  That of the control is zero.
  """
  trained = train(
    folder,
    system,
    blobs(std=0.08),
    85,
    phases=(*ADVERSARIAL, 'separation', *phases),
    rates={'separation': 1e-2, 'classification': 1e-2},
    control={'separation': {'threshold': 0.0}},
    **{'weights.separation.threshold': 6.0, 'encoder.batch_norm': True},
    **changes,
  )
  clusters = {'code': {'y': np.eye(3, dtype=np.float32)}}
  heads = functools.partial(trained.run, trained.model.cluster_heads, clusters)
  assert max(closest(heads(trained.before))) < 0.01
  *nearest, control = closest(heads(trained.after))
  np.testing.assert_allclose(nearest, 6.0, atol=0.5)
  assert control < 2
  return trained


def closest(points):
  """The least distance of two of the points of each seed, [S, K, n] to [S]."""
  return [distance.pdist(of_seed).min() for of_seed in points]
