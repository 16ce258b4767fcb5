"""What a system is."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import TYPE_CHECKING

from flax import linen as nn
import jax

from aae_jax.finishes import Finish
from aae_jax.phases import Phase
from aae_jax.posteriors import Posterior
from aae_jax.priors import Prior
from aae_jax.types import Function

if TYPE_CHECKING:  # It takes longer to import than JAX.
  from aae_jax.svm import TransductiveSVC

MakeEncoder = Callable[[Mapping[str, int]], nn.Module]
"""An encoder with heads of these sizes by name."""

MakeNetwork = Callable[[], nn.Module]
MakePosterior = Callable[[int], Posterior]
"""A posterior of codes of this size."""

MakePrior = Callable[[int], Prior]
"""A prior of codes of this size."""

MakeMachine = Callable[..., 'TransductiveSVC']
"""A support vector machine, of a `random_state`."""

MakePhase = Callable[[Function], Phase]
"""A phase of the logits of y."""


@dataclasses.dataclass(frozen=True)
class Model:
  """How the trained networks are used; a system has some of these functions.

  Each is a `types.Function`, `(apply, batch, rng) -> [B, ...]`, of what it is
  said to read of the batch.

  Attributes:
    code_sizes: the size of each part of the decoder's code, by name.
    told: the parts of the code that are the one-hot label: the decoder is told
      them, and `encode` does not give them.
    by_label: the parts of the code whose prior goes by the label.
    encode: of an image {part: [B, .]}. Without keys, the mean of the posterior.
    decode: of a code the mean of its image. The keys are for noise within the
      decoder while it is trained.
    classify: of an image probabilities [B, num_classes].
    cluster: of an image probabilities [B, num_clusters].
    prior: draws {part: [B, .]}, what the codes should follow, of `label` and
      `is_labelled`, whether it is known.
    represent: of a code its representation [B, n].
    cluster_heads: of a code where in the representation the cluster y lies,
      [B, n].
    region: of a code, int [B], the label whose part of the prior it is in.
    bound: of an image, and of its label where nothing infers that,
      (log-likelihood [B], divergence [B]), the terms of the evidence lower
      bound, in nats.
    log_weight: of an image log p(x, z) / q(z|x), [B].
    infer: of an image {part: Distribution}, the posterior itself.
  """

  code_sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
  told: tuple[str, ...] = ()
  by_label: tuple[str, ...] = ()
  encode: Function | None = None
  decode: Function | None = None
  classify: Function | None = None
  cluster: Function | None = None
  prior: Function | None = None
  represent: Function | None = None
  cluster_heads: Function | None = None
  region: Function | None = None
  bound: Function | None = None
  log_weight: Function | None = None
  infer: Function | None = None

  @functools.cached_property
  def code(self) -> Function | None:
    """Of an image the decoder's code, with the parts that are its label."""
    if not self.told:
      return self.encode

    def code(apply, batch, rng):
      told = {
        part: jax.nn.one_hot(batch['label'], self.code_sizes[part])
        for part in self.told
      }
      return {**self.encode(apply, batch, rng), **told}

    return code

  @functools.cached_property
  def reconstruct(self) -> Function | None:
    """Of an image the image that is decoded from its code."""
    return of_code(self.decode, self.code)

  @functools.cached_property
  def sample(self) -> Function | None:
    """Decodes what the prior draws."""
    return of_code(self.decode, self.prior)

  @functools.cached_property
  def embed(self) -> Function | None:
    """Of an image the representation of its code."""
    return of_code(self.represent, self.encode)


def of_code(
  function: Function | None, code: Function | None
) -> Function | None:
  """A function of the code that another one gives, if there are both."""
  if not (function and code):
    return None
  return lambda apply, batch, rng: function(
    apply, {'code': code(apply, batch, rng)}, rng
  )


# Two of the same networks are two: what is compiled for one is found by it.
@dataclasses.dataclass(frozen=True, eq=False)
class System:
  """Networks, phases and a model.

  Attributes:
    networks: flax modules by name.
    phases: run in this order in every step.
    model: how the networks are used once trained.
    labels: which labels it learns from: `none`; `all` of them; `drawn`, those
      of a draw, as the batch's `is_labelled` says; or `batched`, the same, as
      a batch of labelled examples beside the other.
    finish: what is made after the last step, in this order.
  """

  networks: Mapping[str, nn.Module]
  phases: tuple[Phase, ...]
  model: Model
  labels: str = 'none'
  finish: tuple[Finish, ...] = ()

  @functools.cached_property
  def unfinished(self) -> 'System':
    """The system before its last step: without what a finish gives."""
    if not self.finish:
      return self
    absent = {name: None for finish in self.finish for name in finish.gives}
    model = dataclasses.replace(self.model, **absent)
    return dataclasses.replace(self, model=model, finish=())
