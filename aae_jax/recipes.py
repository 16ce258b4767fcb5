"""Every key of a configuration with its default, and what configurations share.

A file of `configs/` starts from `start`, takes the recipes that it needs, and
says what differs.
"""

from collections.abc import Callable, Iterator
import inspect
from typing import Any

import ml_collections
from ml_collections.config_dict import placeholder

from aae_jax import errors, systems


def start(
  system: str, dataset: str, hidden: tuple[int, ...] = ()
) -> ml_collections.ConfigDict:
  """The defaults for a system on a data set.

  Args:
    system: a key of `systems.SYSTEMS`.
    dataset: its name.
    hidden: the sizes of the hidden layers of every network.
  """
  config = defaults()
  config.system = system
  config.dataset.name = dataset
  for network in _networks(config):
    network.hidden = hidden
  return config


def noisy(config: ml_collections.ConfigDict) -> None:
  """An encoder with noise in every layer, and averaged weights."""
  config.encoder.update(batch_norm=True, input_noise=0.3, noise=0.3)
  config.ema_decay = 0.999


def without_labels(config: ml_collections.ConfigDict) -> None:
  """An adversary that is not sure, which keeps clusters from dying.

  After `adam`, whose rate of the discriminators it raises.
  """
  config.discriminator.noise = 0.5
  config.optimizer.discriminator.learning_rate = 5e-4


def convolutional(
  config: ml_collections.ConfigDict, channels: tuple[int, ...]
) -> None:
  """Makes encoder and decoder convolutional, with batch normalization."""
  for network in _networks(config):
    if network is not config.discriminator:
      network.update(
        network='convolutional', channels=channels, batch_norm=True
      )


def adam(
  config: ml_collections.ConfigDict, *phases: str, **learning_rates: float
) -> None:
  """Adam for the phases of these names; `b1` of an adversary is 0.5.

  The discriminators learn slower than the encoder that they judge, unless a
  configuration says otherwise: one that wins leaves the encoder no gradient.
  """
  rates = {'discriminator': 1e-4, **learning_rates}
  config.optimizer = {
    name: phase(
      learning_rate=rates.get(name, 1e-3),
      **({'b1': 0.5} if name in _ADVERSARIES else {}),
    )
    for name in phases
  }


_ADVERSARIES = ('discriminator', 'generator')


def consistent(config: ml_collections.ConfigDict, begin: float) -> None:
  """Augmented images, and a y that is consistent and used as its prior says.

  Args:
    config: of a system whose encoder gives y.
    begin: the epoch from whose end on y is consistent: not before it is mostly
      right, for consistency locks in what it finds.
  """
  config.encoder.augmentation.update(shift=2.0, turn=15.0, scale=0.15)
  config.additions = ('consistency', 'marginal_entropy')
  config.consistency.begin = begin
  config.marginal_entropy.marginal_weight = 2.0


def of_any_frequency(config: ml_collections.ConfigDict) -> None:
  """After `consistent`: nothing makes classes as frequent as their labels.

  Those may be given in equal numbers where the classes are not.
  """
  config.marginal_entropy.marginal_weight = 0.0
  config.weights.generator.y_weight = 0.0
  config.prior_y.frequencies = 'labelled'


def sure_clusters(config: ml_collections.ConfigDict) -> None:
  """After `consistent`: clusters of equal size, each image in one of them."""
  config.marginal_entropy.update(marginal_weight=1.0, conditional_weight=0.1)


def variant(
  config: ml_collections.ConfigDict,
  name: str,
  **made: Callable[[ml_collections.ConfigDict], None],
) -> ml_collections.ConfigDict:
  """The config as a variant makes it; 'fast' leaves it, unless it is made.

  Args:
    config: as it is without a variant.
    name: of the variant.
    **made: what makes the variants of the config, by their names.

  Raises:
    InputError: there is no such variant.
  """
  if name in made:
    made[name](config)
  elif name == 'paper':
    raise errors.InputError(
      f'the paper has no settings for {config.system!r} on '
      f'{config.dataset.name}; expected no variant.'
    )
  elif name != 'fast':
    known = ', '.join(dict.fromkeys(['fast', *made]))
    raise errors.InputError(f'unknown variant {name!r}; known: {known}.')
  return config


def paper(
  config: ml_collections.ConfigDict,
  hidden: tuple[int, ...] = (1000, 1000),
  input_dropout: float = 0.0,
  epochs: int = 5000,
  cuts: tuple[int, ...] = (50, 1000),
) -> None:
  """The settings of Makhzani et al. (2015), appendix A.

  Args:
    config: whose phases are named in `optimizer`.
    hidden: of every network.
    input_dropout: of the encoder, in place of noise.
    epochs: in all.
    cuts: the epochs after which every rate is divided by ten.
  """
  rates = {'reconstruction': 0.01, 'separation': 0.01}
  for name in config.optimizer:
    config.optimizer[name] = phase(
      'sgd',
      rates.get(name, 0.1),
      momentum=0.1 if name in _ADVERSARIES else 0.9,
    )
  for network in _networks(config):
    network.update(hidden=hidden, initializer='normal', noise=0.0)
  config.encoder.batch_norm = False
  config.encoder.input_noise = 0.0 if input_dropout else 0.3
  config.encoder.input_dropout = input_dropout
  config.discriminator_z.sees_label = False
  config.weights.generator.y_weight = config.prior.std = None
  config.schedule.update(name='steps', epochs=cuts, factor=0.1)
  config.ema_decay = 0.0
  config.batch_size = 100
  config.epochs = epochs


def phase(
  name: str = 'adam', learning_rate: float = 1e-3, **options: Any
) -> dict[str, Any]:
  """How a phase is optimized; what is None is left to the optimizer."""
  keys = {
    'b1': placeholder(float),
    'b2': placeholder(float),
    'eps': placeholder(float),
    'momentum': placeholder(float),
    'nesterov': placeholder(bool),
    # Times the weights is added to the gradient, whose norm is clipped.
    'weight_decay': placeholder(float),
    'clip_norm': placeholder(float),
  }
  return {'name': name, 'learning_rate': learning_rate, **keys, **options}


def _networks(
  config: ml_collections.ConfigDict,
) -> Iterator[ml_collections.ConfigDict]:
  """The sections of the networks that the system has."""
  parameters = inspect.signature(systems.SYSTEMS[config.system]).parameters
  for name in ('encoder', 'decoder', 'discriminator'):
    if name in parameters:
      yield config[name]


def _network(**options: Any) -> dict[str, Any]:
  """Fully connected hidden layers, unless `convolutional` changes them."""
  return {
    # perceptron, or convolutional: `channels`, then `hidden` in an encoder,
    # the other way round in a decoder.
    'network': 'perceptron',
    'channels': placeholder(tuple),
    'hidden': (1000, 1000),
    # relu, softplus, or leaky_relu, whose `slope` is 0.01 unless given.
    'activation': 'relu',
    'slope': placeholder(float),
    'initializer': 'he',
    'noise': 0.0,
    **options,
  }


def defaults() -> ml_collections.ConfigDict:
  """Every key with its default: an autoencoder on digits."""
  config = ml_collections.ConfigDict(
    {
      # The system, a key of aae_jax.systems.SYSTEMS, or 'module:function'.
      'system': 'autoencoder',
      'dataset': {
        # digits, mnist, svhn_cropped, another tfds name, or a path.
        'name': 'digits',
        # Where prepared data goes.
        'data_dir': '~/.cache/aae_jax/datasets',
        # Where downloaded files lie; otherwise $AAE_DATA_DIR/NAME.
        'manual_dir': placeholder(str),
        # Training images kept back, and evaluated while training.
        'num_validation': 0,
        # Whether to accept files other than the published ones.
        'allow_unverified': False,
        # (H, W) to which own images are scaled and cropped.
        'image_size': placeholder(tuple),
        # Whether images come to the devices in blocks, for which they are
        # written to a file once; else the devices hold them all. None: as they
        # fit.
        'streaming': placeholder(bool),
      },
      # Whether a pixel is 1 with its value as the probability, else 0, drawn
      # anew for every phase of every step of the training.
      'binarize': False,
      **_additions(),
      'latent_size': 2,
      # Of the code a, in a system that has one.
      'auxiliary_size': 100,
      # Of that code, over which a step of the training averages.
      'num_draws': 1,
      # Entries of y in a system without labels.
      'num_clusters': 16,
      # Labelled images of each draw, as many of each class; -1 for all that
      # have a label.
      'num_labels': -1,
      **_codes(),
      **_networks_of_all(),
      **_optimization(),
      # Decay of the averages that are evaluated; 0 for none.
      'ema_decay': 0.0,
      # In which networks compute in training: float32, tensorfloat32 or
      # bfloat16; float32 on a CPU and tensorfloat32 elsewhere if None.
      'precision': placeholder(str),
      'batch_size': 100,
      'labelled_batch_size': 100,
      'epochs': 100,
      'seed': 0,
      # Independent runs, with seeds seed, seed + 1, ...
      'num_seeds': 1,
      **_running(),
      # Keys that follow from the data where they have no value: of
      # aae_jax.rules.RULES.
      'left_to_data': (),
    }
  )
  config.search = _search(config)
  return config


def _running() -> dict[str, Any]:
  """What is done besides training, and when it ends."""
  return {
    # Steps in a call to the devices; -1 for a whole epoch.
    'steps_per_call': -1,
    # What a loss that is not finite does: stop, or continue while any seed
    # is sound.
    'on_divergence': 'stop',
    # The number of the validation images, such as classification_error, that
    # is measured after every epoch: a run without a better one for `patience`
    # epochs is over, and its best is what is evaluated. None for no end but
    # the last epoch.
    'early_stopping': {'measure': placeholder(str), 'patience': 10},
    'evaluate_every_epochs': 10,
    'checkpoint_every_seconds': 60.0,
    'checkpoints_to_keep': 2,
  }


def _search(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """By phase or addition, the rates and weights that may have many values.

  Every combination is trained beside the others; the one that is best on the
  validation images is kept.
  """
  sections = {
    **dict.fromkeys(('reconstruction', 'discriminator', 'classification'), ()),
    **config.weights,
    **{name: config[name] for name in systems.ADDITIONS if name in config},
  }
  return {
    section: {key: placeholder(tuple) for key in ('learning_rate', *keys)}
    for section, keys in sections.items()
  }


def _additions() -> dict[str, Any]:
  """What can be added to a system, and how much of it."""
  return {
    # Phases added to the system: keys of aae_jax.systems.ADDITIONS.
    'additions': (),
    # Of the addition, and of `vat`: its weight in the loss, the length of the
    # move in pixel values, and the epoch from whose end on it counts. The
    # direction is that of a gradient at a small move of the length
    # `difference`, as Miyato et al. have it, in place of the exact one.
    'consistency': {
      'consistency_weight': 1.0,
      'radius': 2.0,
      'begin': 0.0,
      'difference': placeholder(float),
    },
    # Of the addition: the weights of the divergence of the batch's mean y
    # from its prior, and of the entropy of each y.
    'marginal_entropy': {'marginal_weight': 1.0, 'conditional_weight': 0.0},
  }


def _codes() -> dict[str, Any]:
  """What codes are drawn from, and what they should follow."""
  return {
    'posterior': {'name': 'deterministic', 'noise_size': placeholder(int)},
    'prior': {
      'name': 'gaussian',
      'std': placeholder(float),
      'num_modes': placeholder(int),
      'radius': placeholder(float),
      'radial_std': placeholder(float),
      'tangential_std': placeholder(float),
      'turns': placeholder(float),
      'noise_std': placeholder(float),
    },
    # Of y: whether every batch has each entry equally often, in place of
    # independent draws; and how frequent they are: uniform, labelled (as
    # among the labelled images), or a number for each, such as 0.9,0.1.
    'prior_y': {'balanced': False, 'frequencies': 'uniform'},
  }


def _networks_of_all() -> dict[str, Any]:
  """The networks that there may be."""
  return {
    # Its image is shifted (pixels), turned (degrees), scaled (a share) and its
    # colours mixed (a share) at random in training, each uniformly from minus
    # to plus the amount; with `target`, so is the image that the decoder should
    # make. With `standardize`, each channel of the image that the encoder sees
    # is then given the mean 0 and the variance 1.
    'encoder': _network(
      batch_norm=False,
      momentum=placeholder(float),
      augmentation={
        'shift': 0.0,
        'turn': 0.0,
        'scale': 0.0,
        'colour': 0.0,
        'target': False,
      },
      standardize=False,
      input_noise=0.0,
      input_dropout=0.0,
      batch_norm_heads=False,
    ),
    # Its output: sigmoid, of Bernoulli pixels; or linear, of Gaussian ones.
    'decoder': _network(
      batch_norm=False, momentum=placeholder(float), output='sigmoid'
    ),
    # An adversary that normalizes its batches sticks at 50 %, so none does.
    'discriminator': _network(),
    # Whether z's adversary sees the label (or y) beside z, so that z follows
    # its prior given the label.
    'discriminator_z': {'sees_label': False},
    # Of a system with a support vector machine: keys of
    # aae_jax.svm.TransductiveSVC.
    'svm': {
      'kernel': 'rbf',
      'gamma': placeholder(float),
      'n_components': 1000,
      'regularization': 1e-4,
      'unlabelled_weight': 1.0,
    },
  }


def _optimization() -> dict[str, Any]:
  """How phases are optimized."""
  return {
    # By phase: how it is optimized, and the weights in its loss; what is
    # None is left to the phase.
    'optimizer': {'reconstruction': phase()},
    'weights': {
      'elbo': {'divergence_weight': placeholder(float)},
      'discriminator': {'classification_weight': placeholder(float)},
      'generator': {
        'image_weight': placeholder(float),
        'y_weight': placeholder(float),
        'z_weight': placeholder(float),
      },
      'separation': {'threshold': placeholder(float)},
      'bound': {
        'labelled_weight': placeholder(float),
        'classification_weight': placeholder(float),
      },
      'denoising': {
        'image_weight': placeholder(float),
        'first_weight': placeholder(float),
        'higher_weight': placeholder(float),
      },
    },
    'schedule': {
      'name': 'constant',
      'begin': placeholder(float),
      'epochs': placeholder(tuple),
      'factor': placeholder(float),
    },
  }
