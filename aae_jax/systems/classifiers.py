"""Systems that classify, with which adversarial autoencoders are compared."""

import dataclasses

import jax
import jax.numpy as jnp

from aae_jax import finishes, phases, posteriors, randomness
from aae_jax import networks as networks_lib
from aae_jax.ladder import LadderDecoder
from aae_jax.priors import Prior
from aae_jax.systems.one_code import decode_by, of_style, vae
from aae_jax.systems.system import (
  MakeEncoder,
  MakeMachine,
  MakeNetwork,
  MakePhase,
  Model,
  System,
)


def classifier(encoder: MakeEncoder, num_classes: int) -> System:
  """The encoder alone, trained on the labelled images and no others.

  The plain network that semi-supervised systems are compared with.
  """
  posterior = posteriors.categorical(num_classes)
  infer = posteriors.infer('encoder', y=posterior)
  return System(
    {'encoder': encoder(posteriors.head_sizes(y=posterior))},
    phases=(
      phases.plain_classification(
        lambda apply, batch, rng: infer(apply, batch, rng)['y'].logits
      ),
    ),
    model=Model(
      infer=infer,
      classify=lambda apply, batch, rng: infer(apply, batch, rng)['y'].mean,
    ),
    labels='batched',
  )


def vat(
  encoder: MakeEncoder, consistency: MakePhase, num_classes: int
) -> System:
  """Virtual adversarial training (Miyato et al., 2016) of a classifier."""
  base = classifier(encoder, num_classes)
  infer = base.model.infer
  logits = lambda apply, batch, rng: infer(apply, batch, rng)['y'].logits
  phase = phases.together(
    phases.classification(logits, update_stats=True), consistency(logits)
  )
  return dataclasses.replace(
    base,
    phases=(phase,),
    # To which phases of y can be added.
    model=dataclasses.replace(base.model, code_sizes={'y': num_classes}),
    finish=(finishes.statistics(logits),),
  )


def ladder(ladder_encoder: MakeEncoder, num_classes: int) -> System:
  """A classifier whose layers denoise each other (Rasmus et al., 2015)."""
  logits = lambda apply, batch: apply('encoder', batch['image']).logits
  return System(
    {
      'encoder': ladder_encoder({'y': num_classes}),
      'decoder': LadderDecoder(),
    },
    phases=(phases.ladder(),),
    model=Model(
      classify=lambda apply, batch, rng: jax.nn.softmax(logits(apply, batch))
    ),
    labels='batched',
  )


def catgan(
  encoder: MakeEncoder,
  decoder: MakeNetwork,
  prior: Prior,
  latent_size: int,
  num_classes: int,
) -> System:
  """A GAN whose discriminator is a classifier (Springenberg, 2016)."""
  base = classifier(encoder, num_classes)
  networks = {**base.networks, 'decoder': decoder()}
  decode, draw = decode_by(networks['decoder']), of_style(prior)

  def generate(apply, batch, rng):
    code = draw(apply, batch, randomness.named(rng, 'z'))
    return decode(apply, {'code': code}, rng)

  return dataclasses.replace(
    base,
    networks=networks,
    phases=phases.categorical_adversaries('encoder', generate, num_classes),
    model=dataclasses.replace(
      base.model,
      code_sizes={'z': latent_size},
      decode=decode,
      prior=draw,
    ),
  )


def m1_tsvm(
  encoder: MakeEncoder,
  decoder: MakeNetwork,
  dense_prior: Prior,
  svm: MakeMachine,
  latent_size: int,
  num_classes: int,
) -> System:
  """M1 of Kingma et al. (2014): a VAE whose codes an SVM classifies."""
  base = vae(encoder, decoder, dense_prior, latent_size)
  machine = svm()
  num_features = machine.n_components if machine.kernel == 'rbf' else 0
  features = lambda apply, batch, rng: base.model.encode(apply, batch, rng)['z']
  finish = finishes.support_vector_machine(features, svm)

  def classify(apply, batch, rng):
    del rng  # It is fitted to the means.
    decision = jnp.argmax(finish.run(apply, batch, None), axis=-1)
    return jax.nn.one_hot(decision, num_classes)

  return dataclasses.replace(
    base,
    networks={
      **base.networks,
      'svm': networks_lib.SupportVectorMachine(num_classes, num_features),
    },
    model=dataclasses.replace(base.model, classify=classify),
    labels='drawn',
    finish=(finish,),
  )
