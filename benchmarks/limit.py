"""What a step cannot do without: its matrix products and optimizer updates."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax import lax
from jax.extend import core
from jax.interpreters import partial_eval
import jax.numpy as jnp
import optax

from aae_jax import experiments, train_step
from aae_jax.datasets import feeding
from aae_jax.train_state import TrainState
from aae_jax.types import AXIS
from benchmarks.timing import Program


def matrix_products(built: experiments.Experiment) -> list[core.JaxprEqn]:
  """The matrix products of a step, those without use left out, in order."""
  state = _alone(built.abstract_state())
  spec, shape = built.spec, built.schema.image_shape
  batch = feeding.example_batch(
    spec.batch_size, spec.labelled_batch_size, shape
  )
  step = train_step.make_train_step(spec.system, spec.ema_decay)
  jaxpr = jax.make_jaxpr(step, axis_env=[(AXIS, 1)])(state, batch).jaxpr
  jaxpr, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
  return list(_find_products(jaxpr))


def _find_products(jaxpr: core.Jaxpr) -> Iterator[core.JaxprEqn]:
  for equation in jaxpr.eqns:
    if equation.primitive is lax.dot_general_p:
      yield equation
    for inner in core.jaxprs_in_params(equation.params):
      yield from _find_products(inner)


def _alone(state: TrainState) -> TrainState:
  """The state of the first seed, without the axis of the seeds."""
  take = lambda x: jax.eval_shape(lambda x: x[0], x)
  if not isinstance(state.step, jax.ShapeDtypeStruct):
    take = lambda x: x[0]
  return train_step.map_seeds(take, state, train_step.SEED_AXES)


class Products:
  """Runs matrix products and nothing else.

  Products of operands of one shape share them. An element of each product is
  written into the left operand of the next: so the compiler can neither merge
  two products, nor move one out of the loop, nor leave one out, and they run
  one after the other as in a step. A barrier alone would not do: the compiler
  for the CPU takes it away before it removes what nobody uses.
  """

  def __init__(self, products: Sequence[core.JaxprEqn]):
    """Takes the equations of the products."""
    self._products = products

  def init(self) -> dict[str, Any]:
    """Operands by shape, and the element that the next product waits for."""
    avals = {
      v.aval.str_short(): v.aval
      for equation in self._products
      for v in equation.invars
    }
    keys = jax.random.split(jax.random.key(0), len(avals))
    operands = {
      name: 0.01 * jax.random.normal(key, aval.shape, aval.dtype)
      for key, (name, aval) in zip(keys, avals.items(), strict=True)
    }
    return {'operands': operands, 'element': jnp.float32(0)}

  def step(self, carry: dict[str, Any]) -> dict[str, Any]:
    """Computes every product once."""
    operands, element = dict(carry['operands']), carry['element']
    for equation in self._products:
      left, right = (v.aval.str_short() for v in equation.invars)
      first = (0,) * operands[left].ndim
      operands[left] = operands[left].at[first].set(element)
      product = equation.primitive.bind(
        operands[left], operands[right], **equation.params
      )
      # Or the compiler might compute no more than the element.
      element = lax.optimization_barrier(product)[(0,) * product.ndim]
    return {'operands': operands, 'element': element}


class Updates:
  """Runs the optimizers of all phases and nothing else.

  The gradients are fixed arrays times a scalar that changes, a factor which
  the compiler fuses with the optimizer, and which keeps all of it in the loop.
  """

  def __init__(self, built: experiments.Experiment):
    """Takes the phases of an experiment."""
    self._built = built

  def init(self) -> dict[str, Any]:
    """Parameters, states of the optimizers, and rates, at the start."""
    state = _alone(self._built.init())
    return {
      'params': state.params,
      'opt_state': state.opt_state,
      'hyperparams': state.hyperparams,
    }

  def directions(self) -> dict[str, Any]:
    """What the scalar turns into gradients."""
    return _alone(self._built.init()).params

  def step(
    self, carry: dict[str, Any], directions: dict[str, Any], scalar: jax.Array
  ) -> dict[str, Any]:
    """Updates what each phase trains, as `train_step.apply_phase` does."""
    params, opt_state = dict(carry['params']), dict(carry['opt_state'])
    for phase in self._built.system.phases:
      trained = {name: params[name] for name in phase.trains}
      gradients = jax.tree.map(
        lambda x: scalar * x, {name: directions[name] for name in trained}
      )
      updates, opt_state[phase.name] = phase.optimizer.update(
        gradients, opt_state[phase.name], trained
      )
      rate = carry['hyperparams'][phase.name]['learning_rate']
      updates = jax.tree.map(lambda x, rate=rate: rate * x, updates)
      params |= optax.apply_updates(trained, updates)
    return {**carry, 'params': params, 'opt_state': opt_state}


def make_products(products: Products) -> Program:
  """The program of the products alone."""
  return _looped(lambda carry, _: products.step(carry), products.init(), None)


def make_updates(updates: Updates) -> Program:
  """The program of the updates alone."""

  def step(carry, directions):
    scalar = -carry['scalar']
    return {'scalar': scalar, **updates.step(carry, directions, scalar)}

  carry = {'scalar': jnp.float32(1e-3), **updates.init()}
  return _looped(step, carry, updates.directions())


def make_limit(products: Products, updates: Updates) -> Program:
  """The program of both."""

  def step(carry, directions):
    computed = products.step(carry['products'])
    return {
      'products': computed,
      'updates': updates.step(
        carry['updates'], directions, computed['element']
      ),
    }

  carry = {'products': products.init(), 'updates': updates.init()}
  return _looped(step, carry, updates.directions())


def _looped(
  step: Callable[[dict[str, Any], Any], dict[str, Any]],
  carry: dict[str, Any],
  constants: Any,
) -> Program:
  """A loop on the device, whose carry is donated, as of the one that trains."""
  loop = jax.jit(
    lambda carry, constants, num_steps: lax.fori_loop(
      0, num_steps, lambda _, carry: step(carry, constants), carry
    ),
    donate_argnums=0,
  )
  held = {'carry': carry}

  def steps(num_steps):
    held['carry'] = loop(held['carry'], constants, num_steps)
    jax.block_until_ready(held['carry'])

  return steps
