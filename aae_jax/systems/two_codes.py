"""Systems whose code is a label or cluster y beside a style z."""

import dataclasses

from jax import lax
import jax.numpy as jnp

from aae_jax import networks, phases, posteriors, randomness
from aae_jax.priors import Prior
from aae_jax.systems.additions import classification
from aae_jax.systems.one_code import beside_z, decode_by, style
from aae_jax.systems.system import (
  MakeEncoder,
  MakeNetwork,
  MakePosterior,
  MakePrior,
  Model,
  System,
)


def semi_supervised_aae(
  encoder: MakeEncoder,
  decoder: MakeNetwork,
  discriminator: MakeNetwork,
  posterior: MakePosterior,
  prior: Prior,
  prior_y: MakePrior,
  sees_label: bool,
  latent_size: int,
  num_classes: int,
) -> System:
  """AAE with a label y and a style z; few images are labelled (section 5)."""
  base = _two_codes(
    encoder,
    decoder,
    discriminator,
    posterior,
    prior,
    prior_y,
    sees_label,
    {'y': num_classes, 'z': latent_size},
  )
  return classification(base, num_classes)


def clustering_aae(
  encoder: MakeEncoder,
  decoder: MakeNetwork,
  discriminator: MakeNetwork,
  posterior: MakePosterior,
  prior: Prior,
  prior_y: MakePrior,
  sees_label: bool,
  latent_size: int,
  num_clusters: int,
) -> System:
  """The same without any label: y names a cluster (section 6)."""
  base = _two_codes(
    encoder,
    decoder,
    discriminator,
    posterior,
    prior,
    prior_y,
    sees_label,
    {'y': num_clusters, 'z': latent_size},
  )
  cluster = lambda apply, batch, rng: base.model.encode(apply, batch, rng)['y']
  model = dataclasses.replace(base.model, cluster=cluster)
  return dataclasses.replace(base, model=model)


def dimensionality_reduction_aae(
  encoder: MakeEncoder,
  decoder: MakeNetwork,
  discriminator: MakeNetwork,
  posterior: MakePosterior,
  prior: Prior,
  prior_y: MakePrior,
  sees_label: bool,
  latent_size: int,
  num_classes: int,
) -> System:
  """Few labels; the representation is W_C y + z (section 7)."""
  return _with_heads(
    semi_supervised_aae(
      encoder,
      decoder,
      discriminator,
      posterior,
      prior,
      prior_y,
      sees_label,
      latent_size,
      num_classes,
    )
  )


def dimensionality_reduction_clustering_aae(
  encoder: MakeEncoder,
  decoder: MakeNetwork,
  discriminator: MakeNetwork,
  posterior: MakePosterior,
  prior: Prior,
  prior_y: MakePrior,
  sees_label: bool,
  latent_size: int,
  num_clusters: int,
) -> System:
  """No labels; the representation is W_C y + z (section 7)."""
  return _with_heads(
    clustering_aae(
      encoder,
      decoder,
      discriminator,
      posterior,
      prior,
      prior_y,
      sees_label,
      latent_size,
      num_clusters,
    )
  )


def _two_codes(
  encoder: MakeEncoder,
  decoder: MakeNetwork,
  discriminator: MakeNetwork,
  posterior: MakePosterior,
  prior: Prior,
  prior_y: MakePrior,
  sees_label: bool,
  sizes: dict[str, int],
) -> System:
  """y and z of these sizes, each with an adversary of its own.

  Where z's sees the label, it sees z beside y, through which no gradient goes:
  z then follows its prior given y.
  """
  q = {'y': posteriors.categorical(sizes['y']), 'z': posterior(sizes['z'])}
  p = {'y': prior_y(sizes['y']), 'z': prior}
  encode = posteriors.encode('encoder', **q)
  system_networks = {
    'encoder': encoder(posteriors.head_sizes(**q)),
    'decoder': decoder(),
    'discriminator_y': discriminator(),
    'discriminator_z': discriminator(),
  }
  decode = decode_by(system_networks['decoder'])
  draw = lambda apply, batch, rng: {
    part: p[part].draw(randomness.named(rng, part), batch) for part in p
  }
  regularization = phases.regularization(
    {'y': 'discriminator_y', 'z': 'discriminator_z'},
    draw,
    encode,
    sees=_SEES_Y if sees_label else phases.sees_sample,
  )
  return System(
    system_networks,
    phases=(phases.reconstruction(encode, decode), *regularization),
    model=Model(
      sizes,
      encode=encode,
      infer=posteriors.infer('encoder', **q),
      decode=decode,
      prior=draw,
      represent=style,
    ),
  )


_SEES_Y = beside_z(lambda code, batch: lax.stop_gradient(code['y']))


def _with_heads(base: System) -> System:
  """The decoder of two codes sees nothing but W_C y + z."""
  num_clusters, size = (base.model.code_sizes[part] for part in 'yz')

  def head(apply, batch, rng):
    del rng
    return apply('cluster_heads', batch['code']['y'])

  def represent(apply, batch, rng):
    return head(apply, batch, rng) + batch['code']['z']

  def decode(apply, batch, rng):
    representation = {'representation': represent(apply, batch, rng)}
    return base.model.decode(apply, {'code': representation}, rng)

  reconstruction = phases.reconstruction(
    base.model.encode, decode, ('encoder', 'decoder', 'cluster_heads')
  )
  return dataclasses.replace(
    base,
    networks={
      **base.networks,
      'cluster_heads': networks.ClusterHeads(num_clusters, size),
    },
    phases=(
      reconstruction,
      *base.phases[1:],
      phases.separation(
        lambda apply: apply('cluster_heads', jnp.eye(num_clusters))
      ),
    ),
    model=dataclasses.replace(
      base.model,
      decode=decode,
      represent=represent,
      cluster_heads=head,
    ),
  )
