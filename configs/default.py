"""Every key of a configuration, with its default; experiments start from it."""

import ml_collections
from ml_collections.config_dict import placeholder


def phase(name='adam', learning_rate=1e-3, **options):
  """How a phase is optimized; what is None is left to the optimizer."""
  keys = {
    'b1': placeholder(float),
    'b2': placeholder(float),
    'eps': placeholder(float),
    'momentum': placeholder(float),
    'nesterov': placeholder(bool),
  }
  return {'name': name, 'learning_rate': learning_rate, **keys, **options}


def perceptron(**options):
  """Fully connected hidden layers, unless `convolutional` changes them."""
  return {
    # perceptron, or convolutional: `channels`, then `hidden` in an encoder,
    # the other way round in a decoder.
    'network': 'perceptron',
    'channels': placeholder(tuple),
    'hidden': (1000, 1000),
    'activation': 'relu',
    'initializer': 'he',
    'noise': 0.0,
    **options,
  }


def convolutional(config, channels, hidden):
  """Makes encoder and decoder convolutional, with batch normalization."""
  for network in (config.encoder, config.decoder):
    network.update(
      network='convolutional',
      channels=channels,
      hidden=hidden,
      batch_norm=True,
    )


def hidden(config, *sizes):
  """Gives every network the same hidden layers."""
  for network in (config.encoder, config.decoder, config.discriminator):
    network.hidden = sizes


def phases(config, *names, **learning_rates):
  """Adam for the phases of these names; `b1` of an adversary is 0.5.

  The discriminators learn slower than the encoder that they judge, unless a
  configuration says otherwise: one that wins leaves the encoder no gradient.
  """
  rates = {'discriminator': 1e-4, **learning_rates}
  config.optimizer = {
    name: phase(
      learning_rate=rates.get(name, 1e-3),
      **({'b1': 0.5} if name in ('discriminator', 'generator') else {}),
    )
    for name in names
  }


def variant(config, name, **paper_settings):
  """The config as it is for 'fast', or with the settings of 'paper'."""
  if name == 'paper':
    return paper(config, **paper_settings)
  if name != 'fast':
    raise ValueError(f'unknown variant {name!r}; known: fast, paper.')
  return config


def paper(config, hidden=(1000, 1000), input_dropout=0.0, epochs=5000):
  """The settings of Makhzani et al. (2015), appendix A."""
  rates = {'reconstruction': 0.01, 'separation': 0.01}
  for phase_name in config.optimizer:
    is_adversary = phase_name in ('discriminator', 'generator')
    config.optimizer[phase_name] = phase(
      'sgd',
      rates.get(phase_name, 0.1),
      momentum=0.1 if is_adversary else 0.9,
    )
  for network in (config.encoder, config.decoder, config.discriminator):
    network.hidden = hidden
    network.initializer = 'normal'
  config.encoder.batch_norm = False
  config.encoder.noise = config.discriminator.noise = 0.0
  config.encoder.input_noise = 0.0 if input_dropout else 0.3
  config.encoder.input_dropout = input_dropout
  config.weights.generator.y_weight = config.prior.std = None
  config.schedule.update(name='steps', epochs=(50, 1000), factor=0.1)
  config.ema_decay = 0.0
  config.batch_size = 100
  config.epochs = epochs
  return config


def get_config():
  """An autoencoder on digits."""
  return ml_collections.ConfigDict(
    {
      # The system, a key of aae_jax.systems.SYSTEMS.
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
      },
      'latent_size': 2,
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
      'encoder': perceptron(
        batch_norm=False, input_noise=0.0, input_dropout=0.0
      ),
      'decoder': perceptron(batch_norm=False, output='sigmoid'),
      # An adversary that normalizes its batches sticks at 50 %, so none does.
      'discriminator': perceptron(),
      # By phase: how it is optimized, and the weights in its loss; what is
      # None is left to the phase.
      'optimizer': {'reconstruction': phase()},
      'weights': {
        'elbo': {'divergence_weight': placeholder(float)},
        'generator': {
          'image_weight': placeholder(float),
          'y_weight': placeholder(float),
          'z_weight': placeholder(float),
        },
        'separation': {'threshold': placeholder(float)},
      },
      'schedule': {
        'name': 'constant',
        'begin': placeholder(float),
        'epochs': placeholder(tuple),
        'factor': placeholder(float),
      },
      # Decay of the averages that are evaluated; 0 for none.
      'ema_decay': 0.0,
      'batch_size': 100,
      'epochs': 100,
      'seed': 0,
      # Independent runs, with seeds seed, seed + 1, ...
      'num_seeds': 1,
      # Steps in a call to the devices; -1 for a whole epoch.
      'steps_per_call': -1,
      # What a loss that is not finite does: stop, or continue while any seed
      # is sound.
      'on_divergence': 'stop',
      'evaluate_every_epochs': 10,
      'checkpoint_every_seconds': 60.0,
      'checkpoints_to_keep': 2,
    }
  )
