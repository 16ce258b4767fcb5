"""The systems: networks, phases and a model each.

A builder takes the parts that a configuration chose and returns an
`System`. Nothing below this module knows which system is running.
"""

from collections.abc import Callable, Mapping
import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp

from aae_jax import losses, networks, phases, posteriors, priors, randomness
from aae_jax.posteriors import Posterior
from aae_jax.priors import Prior
from aae_jax.types import Apply, Array, Batch, Code, Decode, Encode, Keys


@dataclasses.dataclass(frozen=True)
class Model:
  """How the trained networks are used; a system has some of these functions.

  Attributes:
    code_sizes: the size of each part of the decoder's code, by name. A part
      that `encode` does not give is the one-hot label.
    encode: `(apply, image [B, H, W, C], keys [B] or None) -> {part: [B, .]}`.
      Without keys, the mean of the posterior.
    decode: `(apply, {part: [B, .]}, rng=keys [B]) -> image`. The keys are for
      noise within the decoder while it is trained.
    classify: `(apply, image) -> probabilities [B, num_classes]`.
    cluster: `(apply, image) -> probabilities [B, num_clusters]`.
    prior: `(keys [B], batch) -> {part: [B, .]}`, what the codes should follow;
      `batch` has `label` and `is_labelled` [B].
    represent: `(apply, code) -> [B, n]`, the representation of an image.
    cluster_heads: `apply -> [num_clusters, n]`, where in the representation
      the clusters lie.
    region: `z [B, 2] -> int [B]`, the label whose part of the prior it is in.
    bound: `(apply, image, keys [B]) -> (log-likelihood [B], divergence [B])`,
      the terms of the evidence lower bound, in nats.
    log_weight: `(apply, image, keys [B]) -> [B]`, log p(x, z) / q(z|x).
  """

  code_sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
  encode: Encode | None = None
  decode: Decode | None = None
  classify: Callable[[Apply, Array], Array] | None = None
  cluster: Callable[[Apply, Array], Array] | None = None
  prior: Callable[[Keys, Batch], Code] | None = None
  represent: Callable[[Apply, Code], Array] | None = None
  cluster_heads: Callable[[Apply], Array] | None = None
  region: Callable[[Array], Array] | None = None
  bound: Callable[[Apply, Array, Keys], tuple[Array, Array]] | None = None
  log_weight: Callable[[Apply, Array, Keys], Array] | None = None

  @property
  def sample(self) -> Callable[[Apply, Keys, Batch], Array] | None:
    """`(apply, keys [B], batch) -> image`: decodes what the prior draws."""
    if not (self.prior and self.decode):
      return None
    return lambda apply, rng, batch: self.decode(apply, self.prior(rng, batch))


@dataclasses.dataclass(frozen=True)
class System:
  """A system.

  Attributes:
    networks: flax modules by name.
    phases: run in this order in every step.
    model: how the networks are used once trained.
    draws_labels: whether it learns from a draw of the labels; one that is told
      them all draws none.
    labelled_batch: whether a phase asks for a batch of labelled examples.
  """

  networks: Mapping[str, nn.Module]
  phases: tuple[phases.Phase, ...]
  model: Model
  draws_labels: bool = False
  labelled_batch: bool = False


@dataclasses.dataclass(frozen=True)
class Parts:
  """What a builder may use; it asks for what its system needs.

  Attributes:
    encoder: `({head: size}) -> module`.
    decoder: `() -> module`.
    discriminator: `() -> module`.
    latent_size: of z.
    posterior: of z.
    prior: `() -> Prior` of z.
    dense_prior: `() -> Prior` of z that has a density.
    label_prior: `() -> Prior` of z that is conditional on the label.
    num_classes: `() -> int`, of the data.
    num_clusters: `() -> int`, entries of y that no label names.
  """

  encoder: Callable[[Mapping[str, int]], nn.Module]
  decoder: Callable[[], nn.Module]
  discriminator: Callable[[], nn.Module]
  latent_size: int
  posterior: Callable[[int], Posterior]
  prior: Callable[[], Prior]
  dense_prior: Callable[[], Prior]
  label_prior: Callable[[], Prior]
  num_classes: Callable[[], int]
  num_clusters: Callable[[], int]


def autoencoder(parts: Parts) -> System:
  """Reconstruction alone; nothing shapes the codes."""
  posterior = posteriors.deterministic(parts.latent_size)
  encode = posteriors.encode(z=posterior)
  sizes = {'z': parts.latent_size}
  return System(
    networks=_autoencoder(parts, z=posterior),
    phases=(phases.reconstruction(_encoded(encode), _decode),),
    model=Model(sizes, encode, _decode, represent=_style),
  )


def vae(parts: Parts) -> System:
  """Variational autoencoder (Kingma and Welling, 2014)."""
  posterior = posteriors.gaussian(parts.latent_size)
  encode = posteriors.encode(z=posterior)
  prior = parts.dense_prior()
  bound, log_weight = _bounds(prior)
  return System(
    networks=_autoencoder(parts, z=posterior),
    phases=(phases.elbo(bound),),
    model=Model(
      {'z': parts.latent_size},
      encode,
      _decode,
      prior=_of_style(prior),
      represent=_style,
      bound=bound,
      log_weight=log_weight,
    ),
  )


def gan(parts: Parts) -> System:
  """Generative adversarial network (Goodfellow et al., 2014)."""
  prior = _of_style(parts.prior())
  return System(
    networks={
      'decoder': parts.decoder(),
      'discriminator': parts.discriminator(),
    },
    phases=phases.regularization(
      {'image': 'discriminator'},
      prior=lambda rng, batch: {'image': batch['image']},
      posterior=lambda apply, batch, rng: {
        'image': _decode(apply, prior(rng, batch), rng=rng)
      },
      generator=('decoder',),
      update_stats=True,
    ),
    model=Model({'z': parts.latent_size}, decode=_decode, prior=prior),
  )


def classifier(parts: Parts) -> System:
  """The encoder alone, trained on the labelled images and no others.

  The plain network that semi-supervised systems are compared with.
  """
  return System(
    networks={'encoder': parts.encoder({'y': parts.num_classes()})},
    phases=(phases.plain_classification(_label_logits),),
    model=Model(
      classify=lambda apply, image: jax.nn.softmax(
        _label_logits(apply, image, None)
      )
    ),
    draws_labels=True,
    labelled_batch=True,
  )


def aae(parts: Parts) -> System:
  """Adversarial autoencoder (Makhzani et al., 2015, section 2)."""
  posterior = parts.posterior(parts.latent_size)
  encode = posteriors.encode(z=posterior)
  encoded = _encoded(encode)
  prior = _of_style(parts.prior())
  sizes = {'z': parts.latent_size}
  return System(
    networks={
      **_autoencoder(parts, z=posterior),
      'discriminator': parts.discriminator(),
    },
    phases=(
      phases.reconstruction(encoded, _decode),
      *phases.regularization({'z': 'discriminator'}, prior, encoded),
    ),
    model=Model(sizes, encode, _decode, prior=prior, represent=_style),
  )


def label_regularized_aae(parts: Parts) -> System:
  """AAE whose prior has a place for each label (section 2.3).

  The discriminator sees the label too, or that there is none.
  """
  label_prior = parts.label_prior()
  base = aae(dataclasses.replace(parts, prior=lambda: label_prior))
  labelled = _with_label(parts.num_classes())
  regularization = phases.regularization(
    {'z': 'discriminator'},
    prior=lambda rng, batch: labelled(base.model.prior(rng, batch), batch),
    posterior=lambda apply, batch, rng: labelled(
      base.model.encode(apply, batch['image'], rng), batch
    ),
  )
  return dataclasses.replace(
    base,
    phases=(base.phases[0], *regularization),
    model=dataclasses.replace(base.model, region=label_prior.region),
    draws_labels=True,
  )


def supervised_aae(parts: Parts) -> System:
  """AAE whose decoder is told the label, so that z is style (section 4)."""
  base = aae(parts)
  label = _one_hot(parts.num_classes())
  code = lambda apply, batch, rng: {
    **base.model.encode(apply, batch['image'], rng),
    'y': label(batch),
  }
  prior = lambda rng, batch: {**base.model.prior(rng, batch), 'y': label(batch)}
  sizes = {'y': parts.num_classes(), 'z': parts.latent_size}
  return dataclasses.replace(
    base,
    phases=(phases.reconstruction(code, _decode), *base.phases[1:]),
    model=dataclasses.replace(base.model, code_sizes=sizes, prior=prior),
  )


def semi_supervised_aae(parts: Parts) -> System:
  """AAE with a label y and a style z; few images are labelled (section 5)."""
  base = _two_codes(parts, parts.num_classes())
  return _with_classification(parts, base)


def clustering_aae(parts: Parts) -> System:
  """The same without any label: y names a cluster (section 6)."""
  return _with_clusters(_two_codes(parts, parts.num_clusters()))


def dimensionality_reduction_aae(parts: Parts) -> System:
  """Few labels; the representation is W_C y + z (section 7)."""
  base = _with_heads(parts, parts.num_classes())
  return _with_classification(parts, base)


def dimensionality_reduction_clustering_aae(parts: Parts) -> System:
  """No labels; the representation is W_C y + z (section 7)."""
  return _with_clusters(_with_heads(parts, parts.num_clusters()))


SYSTEMS = {
  'autoencoder': autoencoder,
  'vae': vae,
  'gan': gan,
  'classifier': classifier,
  'aae': aae,
  'label_regularized_aae': label_regularized_aae,
  'supervised_aae': supervised_aae,
  'semi_supervised_aae': semi_supervised_aae,
  'clustering_aae': clustering_aae,
  'dimensionality_reduction_aae': dimensionality_reduction_aae,
  'dimensionality_reduction_clustering_aae': (
    dimensionality_reduction_clustering_aae
  ),
}


def _autoencoder(parts, **posterior):
  heads = posteriors.head_sizes(**posterior)
  return {'encoder': parts.encoder(heads), 'decoder': parts.decoder()}


def _decode(apply, code, rng=None):
  if rng is not None:
    # The noise of the decoder is not that of the encoder's layers.
    rng = randomness.fold_in(rng, 2)
  return apply('decoder', phases.join(code), rng=rng)


def _label_logits(apply, image, rng):
  return posteriors.heads(apply, image, rng)['y']


def _style(apply, code):
  del apply
  return code['z']


def _of_style(prior):
  return lambda rng, batch: {'z': prior.sample(rng, batch)}


def _encoded(encode):
  return lambda apply, batch, rng: encode(apply, batch['image'], rng)


def _one_hot(num_classes):
  return lambda batch: jax.nn.one_hot(batch['label'], num_classes)


def _with_label(num_classes):
  """Joins a code with the label, whose last entry means unlabelled."""

  def labelled(code, batch):
    label = jnp.where(batch['is_labelled'], batch['label'], num_classes)
    label = jax.nn.one_hot(label, num_classes + 1)
    return {'z': jnp.concatenate([code['z'], label], axis=-1)}

  return labelled


def _bounds(prior):
  """The two terms of the evidence lower bound, and the importance weight."""

  def draw(apply, image, rng):
    head = apply('encoder', image, rng=rng)['z']
    mean, log_variance = posteriors.moments(head)
    noise = randomness.normal(randomness.fold_in(rng, 0), mean.shape[1:])
    z = mean + jnp.exp(0.5 * log_variance) * noise
    mean_image = _decode(apply, {'z': z}, rng=rng)
    likelihood = losses.bernoulli_log_likelihood(mean_image, image)
    return likelihood, mean, log_variance, z

  def bound(apply, image, rng):
    likelihood, *posterior_and_z = draw(apply, image, rng)
    return likelihood, prior.divergence(*posterior_and_z)

  def log_weight(apply, image, rng):
    likelihood, mean, log_variance, z = draw(apply, image, rng)
    log_q = losses.gaussian_log_density(z, mean, log_variance)
    return likelihood + prior.density(z) - log_q

  return bound, log_weight


def _two_codes(parts, size, decode=_decode, heads=None, represent=_style):
  """y of `size` entries and style z, each with an adversary of its own."""
  posterior = {
    'y': posteriors.categorical(size),
    'z': parts.posterior(parts.latent_size),
  }
  encode = posteriors.encode(**posterior)
  prior_y, prior_z = priors.categorical(size), parts.prior()
  prior = lambda rng, batch: {
    'y': prior_y.sample(randomness.fold_in(rng, 0), batch),
    'z': prior_z.sample(randomness.fold_in(rng, 1), batch),
  }
  heads = heads or {}
  sizes = {'y': size, 'z': parts.latent_size}
  return System(
    networks={
      **_autoencoder(parts, **posterior),
      'discriminator_y': parts.discriminator(),
      'discriminator_z': parts.discriminator(),
      **heads,
    },
    phases=(
      phases.reconstruction(
        _encoded(encode), decode, ('encoder', 'decoder', *heads)
      ),
      *phases.regularization(
        {'y': 'discriminator_y', 'z': 'discriminator_z'},
        prior,
        _encoded(encode),
      ),
    ),
    model=Model(sizes, encode, decode, prior=prior, represent=represent),
  )


def _with_classification(parts, base):
  noise_size = parts.posterior(parts.latent_size).noise_size
  logits = lambda apply, image, rng: posteriors.heads(
    apply, image, rng, noise_size
  )['y']
  encode = base.model.encode
  classify = lambda apply, image: encode(apply, image, None)['y']
  return dataclasses.replace(
    base,
    phases=(*base.phases, phases.classification(logits)),
    model=dataclasses.replace(base.model, classify=classify),
    draws_labels=True,
    labelled_batch=True,
  )


def _with_clusters(base):
  encode = base.model.encode
  cluster = lambda apply, image: encode(apply, image, None)['y']
  model = dataclasses.replace(base.model, cluster=cluster)
  return dataclasses.replace(base, model=model)


def _with_heads(parts, size):
  """Two codes whose decoder sees nothing but W_C y + z."""
  heads = {'cluster_heads': networks.ClusterHeads(size, parts.latent_size)}
  represent = lambda apply, code: apply('cluster_heads', code['y']) + code['z']
  decode = lambda apply, code, rng=None: _decode(
    apply, {'representation': represent(apply, code)}, rng
  )
  cluster_heads = lambda apply: apply('cluster_heads', jnp.eye(size))
  base = _two_codes(parts, size, decode, heads, represent)
  return dataclasses.replace(
    base,
    phases=(*base.phases, phases.separation(cluster_heads)),
    model=dataclasses.replace(base.model, cluster_heads=cluster_heads),
  )
