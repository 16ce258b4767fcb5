"""What a page says to train, made small, so that tests can do as it says."""

from etils import epath
import ml_collections

from aae_jax import experiments, figures, program, recipes
from aae_jax.datasets import Schema

DOWNLOADED = {
  'mnist': Schema('mnist', (28, 28, 1), 10, 60_000, (0.1,) * 10),
  'svhn_cropped': Schema('svhn_cropped', (32, 32, 3), 10, 73_257, (0.1,) * 10),
}
"""What a test cannot count on to have."""


def shorten() -> None:
  """Has the program train for an epoch, and draw no pictures.

  A system of data that would be downloaded is only built.
  """
  run_mode = program.run_mode

  def short(
    mode: str, config: ml_collections.ConfigDict, workdir: epath.Path
  ) -> None:
    if config.dataset.name in DOWNLOADED:
      experiments.build_spec(config, DOWNLOADED[config.dataset.name])
    else:
      run_mode(mode, _small(config), workdir)

  program.run_mode = short
  figures.write_figures = lambda *arguments: []


def _small(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """One with little to compile: plain networks, no phase that is added."""
  default = recipes.defaults()
  for name in ('encoder', 'decoder', 'discriminator'):
    # What a system has no use for stays at its default.
    is_used = config[name].hidden != default[name].hidden
    config[name] = default[name]
    if is_used:
      config[name].hidden = (8,)
  for name in ('additions', 'consistency', 'marginal_entropy', 'ema_decay'):
    config[name] = default[name]
  config.epochs, config.num_seeds = 1, min(config.num_seeds, 2)
  return config
