"""Systems with one code z, or with none."""

from collections.abc import Callable
import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp

from aae_jax import phases, posteriors, randomness
from aae_jax.phases import Condition, Sees
from aae_jax.priors import Prior
from aae_jax.systems.system import (
  MakeEncoder,
  MakeNetwork,
  MakePosterior,
  Model,
  System,
)
from aae_jax.types import Apply, Array, Batch, Function, Keys


def autoencoder(
  encoder: MakeEncoder, decoder: MakeNetwork, latent_size: int
) -> System:
  """Reconstruction alone; nothing shapes the codes."""
  posterior = posteriors.deterministic(latent_size)
  encode = posteriors.encode('encoder', z=posterior)
  networks = {
    'encoder': encoder(posteriors.head_sizes(z=posterior)),
    'decoder': decoder(),
  }
  decode = decode_by(networks['decoder'])
  return System(
    networks,
    phases=(phases.reconstruction(encode, decode),),
    model=Model(
      {'z': latent_size},
      encode=encode,
      infer=posteriors.infer('encoder', z=posterior),
      decode=decode,
      represent=style,
    ),
  )


def vae(
  encoder: MakeEncoder,
  decoder: MakeNetwork,
  dense_prior: Prior,
  latent_size: int,
) -> System:
  """Variational autoencoder (Kingma and Welling, 2014)."""
  posterior = posteriors.gaussian(latent_size)
  infer = posteriors.infer('encoder', z=posterior)
  networks = {
    'encoder': encoder(posteriors.head_sizes(z=posterior)),
    'decoder': decoder(),
  }
  draw = _joint(infer, networks['decoder'])

  def bound(apply, batch, rng):
    likelihood, q, z = draw(apply, batch, rng)
    return likelihood, q.divergence(dense_prior, z)

  def log_weight(apply, batch, rng):
    likelihood, q, z = draw(apply, batch, rng)
    return likelihood + dense_prior.log_prob(z) - q.log_prob(z)

  return System(
    networks,
    phases=(phases.elbo(bound),),
    model=Model(
      {'z': latent_size},
      encode=posteriors.encode('encoder', z=posterior),
      infer=infer,
      decode=decode_by(networks['decoder']),
      prior=of_style(dense_prior),
      represent=style,
      bound=bound,
      log_weight=log_weight,
    ),
  )


def gan(
  decoder: MakeNetwork,
  discriminator: MakeNetwork,
  prior: Prior,
  latent_size: int,
) -> System:
  """Generative adversarial network (Goodfellow et al., 2014)."""
  networks = {'decoder': decoder(), 'discriminator': discriminator()}
  decode, draw = decode_by(networks['decoder']), of_style(prior)

  def generate(apply, batch, rng):
    code = draw(apply, batch, randomness.named(rng, 'z'))
    return {'image': decode(apply, {'code': code}, rng)}

  return System(
    networks,
    phases=phases.regularization(
      {'image': 'discriminator'},
      prior=lambda apply, batch, rng: {'image': batch['image']},
      posterior=generate,
      generator=('decoder',),
      update_stats=True,
    ),
    model=Model({'z': latent_size}, decode=decode, prior=draw),
  )


def aae(
  encoder: MakeEncoder,
  decoder: MakeNetwork,
  discriminator: MakeNetwork,
  posterior: MakePosterior,
  prior: Prior,
  latent_size: int,
) -> System:
  """Adversarial autoencoder (Makhzani et al., 2015, section 2)."""
  q = posterior(latent_size)
  encode, draw = posteriors.encode('encoder', z=q), of_style(prior)
  networks = {
    'encoder': encoder(posteriors.head_sizes(z=q)),
    'decoder': decoder(),
    'discriminator': discriminator(),
  }
  decode = decode_by(networks['decoder'])
  return System(
    networks,
    phases=(
      phases.reconstruction(encode, decode),
      *phases.regularization({'z': 'discriminator'}, draw, encode),
    ),
    model=Model(
      {'z': latent_size},
      encode=encode,
      infer=posteriors.infer('encoder', z=q),
      decode=decode,
      prior=draw,
      represent=style,
    ),
  )


def label_regularized_aae(
  encoder: MakeEncoder,
  decoder: MakeNetwork,
  discriminator: MakeNetwork,
  posterior: MakePosterior,
  label_prior: Prior,
  latent_size: int,
  num_classes: int,
) -> System:
  """AAE whose prior has a place for each label (section 2.3).

  The discriminator sees the label too, or that there is none.
  """
  base = aae(
    encoder, decoder, discriminator, posterior, label_prior, latent_size
  )

  def label(batch):
    # The last entry means unlabelled.
    known = jnp.where(batch['is_labelled'], batch['label'], num_classes)
    return jax.nn.one_hot(known, num_classes + 1)

  return dataclasses.replace(
    _seeing(base, beside=label),
    model=dataclasses.replace(
      base.model,
      by_label=('z',),
      region=lambda apply, batch, rng: label_prior.region(batch['code']['z']),
    ),
    labels='drawn',
  )


def supervised_aae(
  encoder: MakeEncoder,
  decoder: MakeNetwork,
  discriminator: MakeNetwork,
  posterior: MakePosterior,
  prior: Prior,
  sees_label: bool,
  latent_size: int,
  num_classes: int,
) -> System:
  """AAE whose decoder is told the label, so that z is style (section 4).

  Where the discriminator sees the label too, z follows its prior given the
  label, and so says nothing of it.
  """
  base = aae(encoder, decoder, discriminator, posterior, prior, latent_size)
  label = lambda batch: jax.nn.one_hot(batch['label'], num_classes)
  draw = lambda apply, batch, rng: {
    **base.model.prior(apply, batch, rng),
    'y': label(batch),
  }
  model = dataclasses.replace(
    base.model,
    code_sizes={'y': num_classes, 'z': latent_size},
    told=('y',),
    by_label=('y',),
    prior=draw,
  )
  judged = _seeing(base, beside=label) if sees_label else base
  return dataclasses.replace(
    base,
    phases=(
      phases.reconstruction(model.code, model.decode),
      *judged.phases[1:],
    ),
    model=model,
    labels='all',
  )


def decode_by(decoder: nn.Module) -> Function:
  """The mean of the image of a code, by the network `decoder`."""

  def decode(apply, batch, rng):
    output = apply('decoder', phases.join(batch['code']), rng=rng)
    return decoder.likelihood.mean(output)

  return decode


def of_style(prior: Prior) -> Function:
  """A prior of z alone."""
  return lambda apply, batch, rng: {'z': prior.draw(rng, batch)}


def style(apply: Apply, batch: Batch, rng: Keys | None) -> Array:
  """z of a code represents the image."""
  del apply, rng
  return batch['code']['z']


def beside_z(condition: Condition) -> Sees:
  """z's discriminator sees `condition(code, batch)` [B, n] beside z."""

  def sees(sample, code, batch):
    z = jnp.concatenate([sample['z'], condition(code, batch)], axis=-1)
    return {**sample, 'z': z}

  return sees


def _seeing(base: System, beside: Callable[[Batch], Array]) -> System:
  """An AAE whose discriminator sees `beside(batch)` [B, n] beside z."""
  return dataclasses.replace(
    base,
    phases=(
      base.phases[0],
      *phases.regularization(
        {'z': 'discriminator'},
        base.model.prior,
        base.model.encode,
        sees=beside_z(lambda code, batch: beside(batch)),
      ),
    ),
  )


def _joint(infer: Function, decoder: nn.Module) -> Function:
  """Draws z of an image and gives log p(x|z) [B], q(z|x) and z."""

  def draw(apply, batch, rng):
    q = infer(apply, batch, rng)['z']
    z = q.draw(randomness.named(rng, 'z'))
    output = apply('decoder', z, rng=rng)
    return decoder.likelihood.log_prob(output, batch['image']), q, z

  return draw
