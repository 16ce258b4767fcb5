"""Type aliases and the name of the device axis."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

AXIS = 'devices'
"""The axis that `train_step.parallelize` maps over the devices."""

Array = jax.Array
Key = jax.Array
"""A typed key of `jax.random.key`."""

Keys = jax.Array
"""Typed keys [B]: one an example, so that noise follows the example."""

Code = Mapping[str, Array]
"""The parts of a code by name: `z` the style [B, Z], `y` the label [B, Y]."""

Metrics = Mapping[str, Array]

Batch = Mapping[str, Array]
"""What a step sees of the data.

  image           float32 [B, H, W, C] in [0, 1]
  position        int32 [B], the example's place in the global batch
  label           int32 [B], in a data set that has labels
  is_labelled     bool [B], whether the system may use the example's label
  labelled_image  float32 [L, H, W, C] in [0, 1], in systems that ask for it
  labelled_label  int32 [L]
"""

Rngs = Mapping[str, Keys]
"""The keys of a phase: `image` [B] and `labelled_image` [L]."""

Hyper = Mapping[str, Array]
"""`step` int32 [] and the phase's rates and weights, float32 []."""

Apply = Callable[..., Any]
"""Runs a network: `apply(name, *inputs, rng=None, train=None,
update_stats=False, **options)`.

  rng           keys [B]; the network's name is folded in
  train         whether there is noise, and statistics are the batch's own; None
                for what suits: True in a loss, False in a trained system
  update_stats  whether the running statistics take this batch in
  options       reach the module's `__call__`
"""

LossFn = Callable[[Apply, Batch, Rngs, Hyper], tuple[Array, Metrics]]

Function = Callable[[Apply, Batch, Keys | None], Any]
"""`(apply, batch, rng) -> [B, ...]`: whatever is made of examples.

The batch holds what the function reads: an `image`, a `label`, or a `code`, the
parts by name. The keys [B] are for what is drawn; without them, the mean.
"""
