"""What a step is on chips of a TPU, compiled for them without one.

  python -m benchmarks.tpu_plan

`make tpu_plan` runs it in an environment of its own, for it takes `libtpu`. For
each plan it compiles the call that trains configs/mnist_semi_supervised.py, all
images labelled, on random images of MNIST's shape, and tells of a step and chip
what the compiler does: operations, bytes that go through memory, and what the
chips tell each other. Beside them stands the time that they take at the rates
of the chip, of which the longer one limits the step; it is no measurement.
"""

from collections.abc import Mapping
import dataclasses
import math
import os
import re
from typing import Any
from unittest import mock

import jax
from jax.experimental import topologies
import jax.numpy as jnp

from aae_jax import errors, experiments, processes
from aae_jax.datasets import feeding
from aae_jax.train_step import Request
from benchmarks import command_line
from benchmarks.provenance import made_by, refuse_changed_files
from benchmarks.step_time import assemble, random_images
from configs import mnist_semi_supervised

OPERATIONS_PER_SECOND = 197e12
"""Of a v5e chip, in bfloat16, as its maker says."""

BYTES_PER_SECOND = 819e9
"""Of its memory, of which it has 16 GB."""

_COLLECTIVE = re.compile(
  r'= (.+?) (?:all-reduce|all-gather|reduce-scatter|all-to-all)(?:-start)?\('
)

_ARRAY = re.compile(r'(?:f|bf|s|u)(\d+)\[([\d,]*)\]')


@dataclasses.dataclass(frozen=True)
class Plan:
  """What is compiled.

  Attributes:
    topology: the chips.
    units: of each hidden layer.
    batch_size: of a step, on all chips.
    num_seeds: that train side by side.
    precision: a key of `precision.PRECISIONS`.
  """

  topology: str
  units: int
  batch_size: int
  num_seeds: int
  precision: str = 'tensorfloat32'


PLANS = [
  Plan('v5e:2x4', 400, 1024, 1),
  Plan('v5e:2x4', 400, 1024, 10),
  Plan('v5e:2x4', 1000, 8192, 10),
  Plan('v5e:2x4', 1000, 8192, 10, 'bfloat16'),
  Plan('v5e:4x4', 1000, 8192, 10, 'bfloat16'),
]


def build(plan: Plan) -> experiments.Experiment:
  """The experiment of a plan, on devices that are not there.

  Raises:
    InputError: `libtpu` is missing.
  """
  # Nobody is asked what machine this is.
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  try:
    found = topologies.get_topology_desc(plan.topology, platform='tpu')
  except RuntimeError as error:
    raise errors.InputError(
      f'there is no compiler for TPUs ({error}); expected libtpu: make tpu_plan'
    ) from None
  config = mnist_semi_supervised.get_config()
  config.update(
    batch_size=plan.batch_size,
    labelled_batch_size=plan.batch_size,
    num_labels=-1,
    num_seeds=plan.num_seeds,
    precision=plan.precision,
  )
  for network in (config.encoder, config.decoder, config.discriminator):
    network.hidden = (plan.units, plan.units)
  return assemble(config, random_images(), found.devices)


def compile_call(experiment: experiments.Experiment) -> Any:
  """The compiled call of many steps, as if one process had all devices."""
  of_one = mock.patch.object(
    processes, 'own_places', lambda devices: list(range(len(devices)))
  )
  with of_one:
    whole = processes.own(experiment.devices)
    shape = lambda shape, dtype: jax.ShapeDtypeStruct(
      shape, dtype, sharding=whole
    )
    seeds, train = len(experiment.spec.seeds), experiment.dataset.train
    data = feeding.Data(
      image=shape(train.image.shape, jnp.uint8),
      label=shape((train.num_images,), jnp.int32),
      is_labelled=shape((seeds, train.num_images), jnp.bool_),
      order=feeding.Order(
        unlabelled=shape((seeds, train.num_images), jnp.int32),
        labelled=shape(experiment.labelled.shape, jnp.int32),
      ),
    )
    run, state = experiment.run(), experiment.abstract_state()
    call = jax.jit(lambda state, data: run(state, data, Request(1000)))
    return call.lower(state, data).compile()


def collectives(program: str) -> list[int]:
  """The bytes of what the chips tell each other, by collective.

  Args:
    program: compiled, as text.
  """
  return [
    sum(
      int(bits) // 8 * math.prod(map(int, filter(None, sizes.split(','))))
      for bits, sizes in _ARRAY.findall(kind)
    )
    for kind in _COLLECTIVE.findall(program)
  ]


def describe(compiled: Any) -> dict[str, Any]:
  """What a compiled call is, of a step and a chip."""
  # The compiler counts the loop's body once.
  cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
  told = collectives(compiled.as_text())
  seconds = {
    'products': cost['flops'] / OPERATIONS_PER_SECOND,
    'memory': cost['bytes accessed'] / BYTES_PER_SECOND,
  }
  return {
    'operations': cost['flops'],
    'bytes': cost['bytes accessed'],
    'microseconds': {name: 1e6 * value for name, value in seconds.items()},
    'limited_by': max(seconds, key=seconds.get),
    'memory_bytes': memory.argument_size_in_bytes + memory.temp_size_in_bytes,
    'num_collectives': len(told),
    'collective_bytes': sum(told),
  }


HEAD = (
  'chips',
  'units',
  'batch',
  'seeds',
  'precision',
  'GFLOP',
  'MB moved',
  'µs of products',
  'µs of memory',
  'limited by',
  'MB of memory',
  'collectives',
  'MB told',
)


def row(plan: Plan, found: Mapping[str, Any]) -> str:
  """A row of the table whose head is `HEAD`."""
  microseconds = found['microseconds']
  cells = (
    *dataclasses.astuple(plan),
    f'{found["operations"] / 1e9:.1f}',
    f'{found["bytes"] / 1e6:,.0f}',
    f'{microseconds["products"]:,.0f}',
    f'{microseconds["memory"]:,.0f}',
    found['limited_by'],
    f'{found["memory_bytes"] / 1e6:,.0f}',
    found['num_collectives'],
    f'{found["collective_bytes"] / 1e6:.1f}',
  )
  return f'| {" | ".join(map(str, cells))} |'


def main() -> None:
  """Compiles all plans, writes the result after each, and prints the table."""
  parser = command_line.make_parser('tpu_plan', __doc__)
  command_line.add_output(parser, 'tpu_plan.json')
  options = parser.parse_args()
  refuse_changed_files()
  jax.config.update('jax_platforms', 'cpu')
  with command_line.one_line_errors('tpu_plan'):
    built = {plan: build(plan) for plan in PLANS}
    result = {'plans': [], **made_by('libtpu')}
    print(f'| {" | ".join(HEAD)} |\n|{"---|" * len(HEAD)}', flush=True)
    for plan, experiment in built.items():
      found = describe(compile_call(experiment))
      result['plans'].append({**dataclasses.asdict(plan), **found})
      command_line.write_result(options.output, result)
      print(row(plan, found), flush=True)


if __name__ == '__main__':
  main()
