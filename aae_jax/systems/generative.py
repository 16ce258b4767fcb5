"""Generative models with a label, which is a code like any other."""

from collections.abc import Sequence
import dataclasses

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from aae_jax import losses, phases, posteriors, randomness
from aae_jax.priors import Prior
from aae_jax.systems.one_code import decode_by, style, vae
from aae_jax.systems.system import (
  MakeEncoder,
  MakeNetwork,
  MakePrior,
  Model,
  System,
)
from aae_jax.types import Apply, Array, Batch, Code, Function, Keys

NUM_DRAWS = 100
"""Of the code that a trained system sums over to classify."""


def m2(
  encoder: MakeEncoder,
  decoder: MakeNetwork,
  dense_prior: Prior,
  prior_y: MakePrior,
  latent_size: int,
  num_classes: int,
) -> System:
  """VAE with a label y and a style z (M2 of Kingma et al., 2014)."""
  q_y = posteriors.categorical(num_classes)
  q_z = posteriors.gaussian(latent_size)
  networks = {
    'classifier': encoder(posteriors.head_sizes(y=q_y)),
    'encoder': encoder(posteriors.head_sizes(z=q_z)),
    'decoder': decoder(),
  }
  given_label = _GivenLabel(q_z, networks['decoder'].likelihood, dense_prior)

  def infer(apply, batch, rng):
    heads = apply('classifier', batch['image'], rng=rng)
    return q_y.distribution(heads['y']), None

  def terms(apply, batch, y, found, rng):
    del found
    return given_label.terms(apply, batch, y, rng)

  def encode(apply, batch, rng):
    y = infer(apply, batch, rng)[0].mean
    q = given_label.infer(apply, batch, y, rng)
    return {'y': y, 'z': _draw(q, rng, 'z')}

  return _semi_supervised(
    networks,
    {'y': num_classes, 'z': latent_size},
    infer,
    terms,
    encode,
    decode_by(networks['decoder']),
    dense_prior,
    prior_y(num_classes),
  )


def m2_supervised(
  encoder: MakeEncoder,
  decoder: MakeNetwork,
  dense_prior: Prior,
  prior_y: MakePrior,
  latent_size: int,
  num_classes: int,
) -> System:
  """M2 where every label is known (Kingma et al., 2014).

  No network infers the label: p(y|x) is p(x|y) p(y), normalized.
  """
  q_z, p_y = posteriors.gaussian(latent_size), prior_y(num_classes)
  networks = {
    'encoder': encoder(posteriors.head_sizes(z=q_z)),
    'decoder': decoder(),
  }
  given_label = _GivenLabel(q_z, networks['decoder'].likelihood, dense_prior)
  one_hot = lambda batch: jax.nn.one_hot(batch['label'], num_classes)

  def bound(apply, batch, rng):
    y = one_hot(batch)
    likelihood, divergence = given_label.terms(apply, batch, y, rng)
    return likelihood, divergence - p_y.log_prob(y)

  def classify(apply, batch, rng):
    del rng
    shape, noise = (len(batch['image']), num_classes), _noise(latent_size)

    def log_joint(label):
      y = jnp.broadcast_to(label, shape)
      marginal = given_label.log_marginal(apply, batch, y, noise)
      return marginal + p_y.log_prob(y)

    return jax.nn.softmax(jax.vmap(log_joint)(jnp.eye(num_classes)).T)

  return System(
    networks,
    phases=(phases.elbo(bound),),
    model=Model(
      {'y': num_classes, 'z': latent_size},
      by_label=('y',),
      decode=decode_by(networks['decoder']),
      classify=classify,
      prior=lambda apply, batch, rng: {
        'y': one_hot(batch),
        'z': dense_prior.draw(rng, batch),
      },
      bound=bound,
    ),
    labels='all',
  )


@dataclasses.dataclass(frozen=True)
class _GivenLabel:
  """The VAE of style and image that M2 is for each label.

  Attributes:
    q_z: of the style.
    likelihood: of the decoder.
    prior: of the style, with a density.
  """

  q_z: posteriors.Posterior
  likelihood: losses.Likelihood
  prior: Prior

  def infer(
    self, apply: Apply, batch: Batch, y: Array, rng: Keys | None
  ) -> posteriors.Gaussian:
    """q(z|x, y)."""
    heads = apply('encoder', batch['image'], y, rng=rng)
    return self.q_z.distribution(heads['z'])

  def terms(
    self, apply: Apply, batch: Batch, y: Array, rng: Keys
  ) -> tuple[Array, Array]:
    """E log p(x|y, z) and KL(q(z|x, y) || p(z)), at a draw of z, both [B]."""
    q = self.infer(apply, batch, y, rng)
    z = q.draw(randomness.named(rng, 'z'))
    likelihood = self._log_prob(apply, batch, y, z, rng)
    return likelihood, q.divergence(self.prior, z)

  def log_marginal(
    self, apply: Apply, batch: Batch, y: Array, noise: Array
  ) -> Array:
    """log p(x|y) [B] by importance sampling, with the noise [K, Z] of z."""
    q = self.infer(apply, batch, y, None)

    def log_weight(noise):
      z = q.at(noise)
      likelihood = self._log_prob(apply, batch, y, z, None)
      return likelihood + self.prior.log_prob(z) - q.log_prob(z)

    log_weights = lax.map(log_weight, noise)
    return jax.nn.logsumexp(log_weights, axis=0) - jnp.log(len(noise))

  def _log_prob(
    self, apply: Apply, batch: Batch, y: Array, z: Array, rng: Keys | None
  ) -> Array:
    output = apply('decoder', phases.join({'y': y, 'z': z}), rng=rng)
    return self.likelihood.log_prob(output, batch['image'])


def m1_m2(
  encoder: MakeEncoder,
  decoder: MakeNetwork,
  dense_prior: Prior,
  prior_y: MakePrior,
  latent_size: int,
  num_classes: int,
) -> System:
  """M2 of a VAE's codes, whose gradient ends there (Kingma et al., 2014)."""
  first = vae(encoder, decoder, dense_prior, latent_size)
  q_y = posteriors.categorical(num_classes)
  q_z = posteriors.gaussian(latent_size)
  networks = {
    'classifier': encoder(posteriors.head_sizes(y=q_y)),
    'style_encoder': encoder(posteriors.head_sizes(z=q_z)),
    'code_decoder': encoder(posteriors.head_sizes(z=q_z)),
  }

  def infer(apply, batch, rng):
    code = _informed(first.model.infer(apply, batch, rng)['z'], rng)
    heads = apply('classifier', code, rng=rng)
    return q_y.distribution(heads['y']), code

  def infer_style(apply, code, y, rng):
    return q_z.distribution(apply('style_encoder', code, y, rng=rng)['z'])

  def terms(apply, batch, y, code, rng):
    q = infer_style(apply, code, y, rng)
    z = _draw(q, rng, 'style')
    p = _decode_code(apply, {'y': y, 'z': z}, rng)
    return p.log_prob(code), q.divergence(dense_prior, z)

  def encode(apply, batch, rng):
    q, code = infer(apply, batch, rng)
    q_style = infer_style(apply, code, q.mean, rng)
    return {'y': q.mean, 'z': _draw(q_style, rng, 'style')}

  def decode(apply, batch, rng):
    code = {'z': _decode_code(apply, batch['code'], rng).mean}
    return first.model.decode(apply, {'code': code}, rng)

  second = _semi_supervised(
    networks,
    {'y': num_classes, 'z': latent_size},
    infer,
    terms,
    encode,
    decode,
    dense_prior,
    prior_y(num_classes),
  )
  return dataclasses.replace(
    second,
    networks={**first.networks, **networks},
    phases=(*first.phases, *second.phases),
    # Its bound is that of codes.
    model=dataclasses.replace(second.model, bound=None),
  )


def _decode_code(
  apply: Apply, code: Code, rng: Keys | None
) -> posteriors.Gaussian:
  """p of the code of M1 given that of M2."""
  heads = apply('code_decoder', phases.join(code), rng=rng)['z']
  mean, log_variance = jnp.split(heads, 2, axis=-1)
  # A code that says nothing is known exactly: its density has no bound.
  return posteriors.Gaussian(mean, jnp.maximum(log_variance, -4.0))


def _informed(q: posteriors.Gaussian, rng: Keys | None) -> Array:
  """A code [B, n] in which what is as the prior, and says nothing, is 0."""
  return _draw(q, rng, 'z') * (1 - jnp.exp(q.log_variance))


def adgm(
  encoder: MakeEncoder,
  decoder: MakeNetwork,
  dense_prior: Prior,
  prior_y: MakePrior,
  latent_size: int,
  auxiliary_size: int,
  num_draws: int,
  num_classes: int,
) -> System:
  """M2 with an auxiliary code a (Maaloe et al., 2016).

  It is p(a|x, y, z), of which p(x|y, z) knows nothing.
  """
  system = _Auxiliary(
    latent_size, auxiliary_size, num_draws, num_classes, skips=False
  )
  return system.build(encoder, decoder, dense_prior, prior_y)


def sdgm(
  encoder: MakeEncoder,
  decoder: MakeNetwork,
  dense_prior: Prior,
  prior_y: MakePrior,
  latent_size: int,
  auxiliary_size: int,
  num_draws: int,
  num_classes: int,
) -> System:
  """The same with p(a|y, z), which p(x|a, y, z) sees beside y and z."""
  system = _Auxiliary(
    latent_size, auxiliary_size, num_draws, num_classes, skips=True
  )
  return system.build(encoder, decoder, dense_prior, prior_y)


@dataclasses.dataclass(frozen=True)
class _Auxiliary:
  """What both models with an auxiliary code are made of.

  Attributes:
    latent_size: of z.
    auxiliary_size: of a.
    num_draws: of a, and of z for each, in a step of the training.
    num_classes: entries of y.
    skips: whether the image depends on a, and a not on the image.
  """

  latent_size: int
  auxiliary_size: int
  num_draws: int
  num_classes: int
  skips: bool

  def build(
    self,
    encoder: MakeEncoder,
    decoder: MakeNetwork,
    dense_prior: Prior,
    prior_y: MakePrior,
  ) -> System:
    """The system."""
    sizes = {
      'auxiliary_encoder': posteriors.head_sizes(a=self.q_a),
      'classifier': posteriors.head_sizes(y=self.q_y),
      'encoder': posteriors.head_sizes(z=self.q_z),
      'auxiliary_decoder': posteriors.head_sizes(a=self.q_a),
    }
    networks = {name: encoder(heads) for name, heads in sizes.items()}
    networks['decoder'] = decoder()
    likelihood = networks['decoder'].likelihood

    def terms_of_draw(apply, batch, y, q_a, a, noise, rng):
      q = self.infer_style(apply, batch, y, a, rng)
      code = {'y': y, 'z': q.at(noise)}
      p_a = self.auxiliary_prior(apply, batch, code, rng)
      output = self.decode(apply, code, a, rng)
      divergence = q.divergence(dense_prior, code['z'])
      return (
        likelihood.log_prob(output, batch['image']),
        divergence + q_a.log_prob(a) - p_a.log_prob(a),
      )

    def terms(apply, batch, y, found, rng):
      q_a, draws = found
      noise = self.noise(rng, 'z', self.latent_size)
      pairs = zip(draws, noise, strict=True)
      parts = [
        terms_of_draw(apply, batch, y, q_a, a, of_z, rng) for a, of_z in pairs
      ]
      likelihoods, divergences = zip(*parts, strict=True)
      return _mean(likelihoods), _mean(divergences)

    def decode(apply, batch, rng):
      code, a = batch['code'], None
      if self.skips:
        a = self.auxiliary_prior(apply, {}, code, rng).mean
      return likelihood.mean(self.decode(apply, code, a, rng))

    base = _semi_supervised(
      networks,
      {'y': self.num_classes, 'z': self.latent_size},
      self.infer,
      terms,
      self.encode,
      decode,
      dense_prior,
      prior_y(self.num_classes),
    )
    model = dataclasses.replace(base.model, classify=self.classify)
    return dataclasses.replace(base, model=model)

  @property
  def q_a(self) -> posteriors.Posterior:
    """Of the auxiliary code."""
    return posteriors.gaussian(self.auxiliary_size)

  @property
  def q_y(self) -> posteriors.Posterior:
    """Of the label."""
    return posteriors.categorical(self.num_classes)

  @property
  def q_z(self) -> posteriors.Posterior:
    """Of the style."""
    return posteriors.gaussian(self.latent_size)

  def infer_auxiliary(
    self, apply: Apply, batch: Batch, rng: Keys | None
  ) -> posteriors.Gaussian:
    """q(a|x)."""
    heads = apply('auxiliary_encoder', batch['image'], rng=rng)
    return self.q_a.distribution(heads['a'])

  def infer_label(
    self, apply: Apply, batch: Batch, a: Array, rng: Keys | None
  ) -> posteriors.Categorical:
    """q(y|a, x)."""
    heads = apply('classifier', batch['image'], a, rng=rng)
    return self.q_y.distribution(heads['y'])

  def infer_style(
    self, apply: Apply, batch: Batch, y: Array, a: Array, rng: Keys | None
  ) -> posteriors.Gaussian:
    """q(z|a, x, y)."""
    beside = phases.join({'a': a, 'y': y})
    heads = apply('encoder', batch['image'], beside, rng=rng)
    return self.q_z.distribution(heads['z'])

  def infer(
    self, apply: Apply, batch: Batch, rng: Keys | None
  ) -> tuple[posteriors.Categorical, tuple[posteriors.Gaussian, list[Array]]]:
    """A `phases.InferLabel`: the mean of q(y|a, x) over draws of a."""
    q = self.infer_auxiliary(apply, batch, rng)
    draws = [q.mean]
    if rng is not None:
      draws = [q.at(x) for x in self.noise(rng, 'a', self.auxiliary_size)]
    labels = [self.infer_label(apply, batch, a, rng) for a in draws]
    log_probs = jnp.stack([jax.nn.log_softmax(y.logits) for y in labels])
    # Of the sum, which has the softmax of the mean.
    logits = jax.nn.logsumexp(log_probs, axis=0)
    return posteriors.Categorical(logits), (q, draws)

  def noise(self, rng: Keys, name: str, size: int) -> list[Array]:
    """Standard normal [B, size] for each draw."""
    shape = (self.num_draws, size)
    noise = randomness.normal(randomness.named(rng, name), shape)
    return [noise[:, draw] for draw in range(self.num_draws)]

  def auxiliary_prior(
    self, apply: Apply, batch: Batch, code: Code, rng: Keys | None
  ) -> posteriors.Gaussian:
    """p(a|y, z), or p(a|x, y, z)."""
    inputs = (phases.join(code),)
    if not self.skips:
      inputs = (batch['image'], *inputs)
    return self.q_a.distribution(
      apply('auxiliary_decoder', *inputs, rng=rng)['a']
    )

  def decode(
    self, apply: Apply, code: Code, a: Array | None, rng: Keys | None
  ) -> Array:
    """What the decoder puts out."""
    code = {'a': a, **code} if self.skips else code
    return apply('decoder', phases.join(code), rng=rng)

  def encode(self, apply: Apply, batch: Batch, rng: Keys | None) -> Code:
    """y and z of images."""
    q, (_, draws) = self.infer(apply, batch, rng)
    style = self.infer_style(apply, batch, q.mean, draws[0], rng)
    return {'y': q.mean, 'z': _draw(style, rng, 'z')}

  def classify(self, apply: Apply, batch: Batch, rng: Keys | None) -> Array:
    """The mean of q(y|a, x) over draws of a, the same noise for all images."""
    del rng
    q = self.infer_auxiliary(apply, batch, None)

    def once(noise):
      return self.infer_label(apply, batch, q.at(noise), None).mean

    return jnp.mean(lax.map(once, _noise(self.auxiliary_size)), axis=0)


def _mean(parts: Sequence[Array]) -> Array:
  return sum(parts) / len(parts)


def _noise(size: int) -> Array:
  """Standard normal [NUM_DRAWS, size], the same for all images."""
  return jax.random.normal(jax.random.key(0), (NUM_DRAWS, size))


def _draw(
  distribution: posteriors.Gaussian, rng: Keys | None, name: str
) -> Array:
  """A draw, or the mean without keys."""
  if rng is None:
    return distribution.mean
  return distribution.draw(randomness.named(rng, name))


def _semi_supervised(
  networks: dict[str, nn.Module],
  code_sizes: dict[str, int],
  infer: phases.InferLabel,
  terms: phases.Terms,
  encode: Function,
  decode: Function,
  prior: Prior,
  prior_y: Prior,
) -> System:
  """A system of y and z that maximizes the bound of images of both kinds."""
  return System(
    networks,
    phases=(
      phases.semi_supervised_bound(infer, terms, prior_y, tuple(networks)),
    ),
    model=Model(
      code_sizes,
      encode=encode,
      decode=decode,
      classify=lambda apply, batch, rng: infer(apply, batch, rng)[0].mean,
      prior=lambda apply, batch, rng: {
        'y': prior_y.draw(randomness.named(rng, 'y'), batch),
        'z': prior.draw(randomness.named(rng, 'z'), batch),
      },
      represent=style,
      bound=phases.enumerated(infer, terms, prior_y),
    ),
    labels='batched',
  )
