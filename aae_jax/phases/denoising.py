"""The phase of the ladder."""

import functools

import jax.numpy as jnp
import optax

from aae_jax import randomness
from aae_jax.ladder import Pass
from aae_jax.phases.phase import Phase
from aae_jax.types import Array


def ladder(
  encoder: str = 'encoder', decoder: str = 'decoder', name: str = 'denoising'
) -> Phase:
  """Every layer of an image is found again in its noisy version.

  The loss is the cross-entropy of labelled images in a noisy pass, and for the
  other images the squared distance of each layer, as the decoder makes it of a
  noisy pass and normalized as the clean one was, to the layer of a pass without
  noise (Rasmus et al., 2015, algorithm 1). Gradients go through both passes.

  Labelled and other images are normalized apart. The running statistics are
  those of the clean pass, over images without labels: what a trained system
  sees. The paper takes those of the labelled images.

  Args:
    encoder: the name of a `ladder.LadderEncoder`.
    decoder: of a `ladder.LadderDecoder`.
    name: of the phase.
  """

  def loss_fn(apply, batch, rng, hyper):
    run = functools.partial(apply, encoder)
    noisy_keys = {key: randomness.named(rng[key], 'noisy') for key in rng}
    labelled = run(
      batch['labelled_image'], rng=noisy_keys['labelled_image'], is_noisy=True
    )
    noisy = run(batch['image'], rng=noisy_keys['image'], is_noisy=True)
    clean = run(batch['image'], update_stats=True)
    costs = _costs(apply(decoder, noisy), clean)
    label = batch['labelled_label']
    cross_entropy = jnp.mean(
      optax.softmax_cross_entropy_with_integer_labels(labelled.logits, label)
    )
    weights = [hyper['image_weight'], hyper['first_weight']]
    weights += [hyper['higher_weight']] * (len(costs) - 2)
    loss = cross_entropy + sum(
      w * c for w, c in zip(weights, costs, strict=True)
    )
    error = jnp.mean(jnp.argmax(labelled.logits, axis=-1) != label)
    metrics = {'cross_entropy': cross_entropy, 'error': 100 * error}
    return loss, metrics | {f'cost_{i}': cost for i, cost in enumerate(costs)}

  hyperparams = {
    'learning_rate': 1e-3,
    'image_weight': 1000.0,
    'first_weight': 10.0,
    'higher_weight': 0.1,
  }
  return Phase(name, (encoder, decoder), loss_fn, hyperparams)


def _costs(denoised: tuple[Array, ...], clean: Pass) -> list[Array]:
  """The mean squared error of each layer, by units, [] each."""
  image, *layers = denoised
  layers = [
    moments.normalize(layer)
    for moments, layer in zip(clean.moments, layers, strict=True)
  ]
  return [
    jnp.mean(jnp.square(layer - target))
    for layer, target in zip((image, *layers), clean.layers, strict=True)
  ]
