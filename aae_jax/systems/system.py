"""What a system is."""

from collections.abc import Callable, Mapping
import dataclasses

from flax import linen as nn

from aae_jax.phases import Phase
from aae_jax.posteriors import Infer, Posterior
from aae_jax.priors import Prior
from aae_jax.types import Apply, Array, Batch, Code, Decode, Encode, Keys

MakeEncoder = Callable[[Mapping[str, int]], nn.Module]
"""An encoder with heads of these sizes by name."""

MakeNetwork = Callable[[], nn.Module]
MakePosterior = Callable[[int], Posterior]
"""A posterior of codes of this size."""

MakePrior = Callable[[int], Prior]
"""A prior of codes of this size."""


@dataclasses.dataclass(frozen=True)
class Model:
  """How the trained networks are used; a system has some of these functions.

  Attributes:
    code_sizes: the size of each part of the decoder's code, by name. A part
      that `encode` does not give is the one-hot label.
    encode: `(apply, image [B, H, W, C], keys [B] or None) -> {part: [B, .]}`.
      Without keys, the mean of the posterior.
    decode: `(apply, {part: [B, .]}, rng=keys [B]) -> image`, the mean. The keys
      are for noise within the decoder while it is trained.
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
    infer: `(apply, image, keys [B]) -> {part: Distribution}`, the posterior
      itself.
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
  infer: Infer | None = None

  @property
  def sample(self) -> Callable[[Apply, Keys, Batch], Array] | None:
    """`(apply, keys [B], batch) -> image`: decodes what the prior draws."""
    if not (self.prior and self.decode):
      return None
    return lambda apply, rng, batch: self.decode(apply, self.prior(rng, batch))


@dataclasses.dataclass(frozen=True)
class System:
  """Networks, phases and a model.

  Attributes:
    networks: flax modules by name.
    phases: run in this order in every step.
    model: how the networks are used once trained.
    labels: which labels it learns from: `none`; `all` of them; `drawn`, those
      of a draw, as the batch's `is_labelled` says; or `batched`, the same, as
      a batch of labelled examples beside the other.
  """

  networks: Mapping[str, nn.Module]
  phases: tuple[Phase, ...]
  model: Model
  labels: str = 'none'
