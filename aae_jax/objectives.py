"""The systems: networks, phases and a model each.

A builder takes the parts that a configuration chose and returns an
`Objective`. Nothing below this module knows which system is running.
"""

from collections.abc import Callable, Mapping
import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp

from aae_jax import phases
from aae_jax import posteriors
from aae_jax import priors
from aae_jax.types import Apply, Array, Batch, Code, Decode, Encode, Key, Prior


@dataclasses.dataclass(frozen=True)
class Model:
  """How the trained networks are used; a system has some of these functions.

  Attributes:
    encode: `(apply, image [B, H, W, C], keys [B] or None) -> {part: [B, .]}`.
      Without keys, the mean of the posterior.
    decode: `(apply, {part: [B, .]}) -> image`.
    classify: `(apply, image) -> probabilities [B, num_classes]`.
    sample: `(apply, keys [B], batch) -> image`; `batch` has the labels, where
      the system wants any.
    prior: `(keys [B], batch) -> {part: [B, .]}`, what the codes should follow.
  """

  encode: Encode | None = None
  decode: Decode | None = None
  classify: Callable[[Apply, Array], Array] | None = None
  sample: Callable[[Apply, Array, Batch], Array] | None = None
  prior: Callable[[Array, Batch], Code] | None = None


@dataclasses.dataclass(frozen=True)
class Objective:
  """A system.

  Attributes:
    networks: flax modules by name.
    phases: run in this order in every step.
    model: how the networks are used once trained.
    labelled_batch: whether a phase asks for a batch of labelled examples.
  """

  networks: Mapping[str, nn.Module]
  phases: tuple[phases.Phase, ...]
  model: Model
  labelled_batch: bool = False


@dataclasses.dataclass(frozen=True)
class Parts:
  """What a builder may use.

  Attributes:
    encoder: `({head: size}) -> module`.
    decoder: `() -> module`.
    discriminator: `() -> module`.
    latent_size: of z.
    num_classes: of the data, or None without labels.
    prior: of z.
  """

  encoder: Callable[[Mapping[str, int]], nn.Module]
  decoder: Callable[[], nn.Module]
  discriminator: Callable[[], nn.Module]
  latent_size: int
  num_classes: int | None = None
  prior: Prior | None = None


def decode(apply: Apply, code: Code) -> Array:
  """The decoder on the parts of the code side by side."""
  return apply('decoder', phases.join(code))


def autoencoder(parts: Parts) -> Objective:
  """Reconstruction alone; nothing shapes the codes."""
  encode = posteriors.encode(z=posteriors.deterministic)
  return Objective(
      networks={
          'encoder': parts.encoder({'z': parts.latent_size}),
          'decoder': parts.decoder(),
      },
      phases=(phases.reconstruction(encode, decode),),
      model=Model(encode=encode, decode=decode),
  )


def aae(parts: Parts) -> Objective:
  """Adversarial autoencoder (Makhzani et al., 2015, section 2)."""
  encode = posteriors.encode(z=posteriors.deterministic)
  prior = lambda rng, batch: {'z': parts.prior(rng, batch)}
  posterior = lambda apply, batch, rng: encode(apply, batch['image'], rng)
  return Objective(
      networks={
          'encoder': parts.encoder({'z': parts.latent_size}),
          'decoder': parts.decoder(),
          'discriminator': parts.discriminator(),
      },
      phases=(
          phases.reconstruction(encode, decode),
          *phases.regularization({'z': 'discriminator'}, prior, posterior),
      ),
      model=Model(encode, decode, sample=_sample(prior), prior=prior),
  )


def semi_supervised_aae(parts: Parts) -> Objective:
  """Semi-supervised AAE: label y and style z (section 5).

  One adversary makes y one-hot, another makes z follow its prior; labelled
  examples train y directly.
  """
  encode = posteriors.encode(
      y=posteriors.categorical, z=posteriors.deterministic
  )
  categorical = priors.categorical(parts.num_classes)
  prior = lambda rng, batch: {
      'y': categorical(rng, batch),
      'z': parts.prior(rng, batch),
  }
  posterior = lambda apply, batch, rng: encode(apply, batch['image'], rng)
  logits = lambda apply, image, rng: apply('encoder', image, rng=rng)['y']
  return Objective(
      networks={
          'encoder': parts.encoder(
              {'y': parts.num_classes, 'z': parts.latent_size}
          ),
          'decoder': parts.decoder(),
          'discriminator_y': parts.discriminator(),
          'discriminator_z': parts.discriminator(),
      },
      phases=(
          phases.reconstruction(encode, decode),
          *phases.regularization(
              {'y': 'discriminator_y', 'z': 'discriminator_z'},
              prior,
              posterior,
          ),
          phases.classification(logits),
      ),
      model=Model(
          encode,
          decode,
          classify=lambda apply, image: encode(apply, image, None)['y'],
          sample=_sample(prior),
          prior=prior,
      ),
      labelled_batch=True,
  )


def _sample(prior):
  return lambda apply, rng, batch: decode(apply, prior(rng, batch))


OBJECTIVES = {
    'autoencoder': autoencoder,
    'aae': aae,
    'semi_supervised_aae': semi_supervised_aae,
}
