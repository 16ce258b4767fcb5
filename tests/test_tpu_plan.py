"""Tests of benchmarks.tpu_plan, without the compiler for TPUs."""

import sys
import types

import jax
from jax.experimental import topologies
import pytest
import tiny

from aae_jax import errors
from benchmarks import tpu_plan
from benchmarks.tpu_plan import PLANS

PROGRAM = """
%a = f32[2,400]{1,0:T(2,128)S(1)} all-reduce(%b), channel_id=1, to_apply=%c
%d = (bf16[10]{0}, f32[]{:T(128)}) all-reduce-start(%e, %f), channel_id=2
%g = f32[7]{0} add(%a, %a), metadata={op_name="psum/all-reduce(%b)"}
"""


def test_bytes_of_collectives():
  assert tpu_plan.collectives(PROGRAM) == [4 * 800, 2 * 10 + 4]


def test_the_longer_time_limits():
  compiled = types.SimpleNamespace(
    cost_analysis=lambda: {'flops': 197e9, 'bytes accessed': 819e3},
    memory_analysis=lambda: types.SimpleNamespace(
      argument_size_in_bytes=3_000_000, temp_size_in_bytes=2_000_000
    ),
    as_text=lambda: PROGRAM,
  )
  found = tpu_plan.describe(compiled)
  assert found['microseconds'] == pytest.approx({'products': 1e3, 'memory': 1})
  assert found['limited_by'] == 'products'
  assert found['num_collectives'] == 2 and found['collective_bytes'] == 3224
  assert tpu_plan.row(PLANS[0], found) == (
    '| v5e:2x4 | 400 | 1024 | 1 | tensorfloat32 | 197.0 | 1 | 1,000 | 1 | '
    'products | 5 | 2 | 0.0 |'
  )
  assert len(tpu_plan.HEAD) == tpu_plan.row(PLANS[0], found).count(' | ') + 1


def test_no_compiler_for_tpus(monkeypatch):
  def missing(name, platform):
    raise RuntimeError('JAX TPU support not installed')

  monkeypatch.setattr(topologies, 'get_topology_desc', missing)
  with pytest.raises(errors.InputError, match='expected libtpu: make tpu_plan'):
    tpu_plan.build(PLANS[0])
  # Nor does its version, which a result has, end in a traceback.
  monkeypatch.setattr(tpu_plan, 'refuse_changed_files', lambda: None)
  monkeypatch.setattr(sys, 'argv', ['tpu_plan'])
  with pytest.raises(SystemExit, match='expected libtpu: make tpu_plan'):
    tpu_plan.main()


def test_the_call_is_that_of_all_devices():
  """Those of the CPU stand for the chips."""
  compiled = tpu_plan.compile_call(tiny.build('aae', num_devices=4))
  assert 'num_partitions=4' in compiled.as_text()
  assert tpu_plan.describe(compiled)['num_collectives'] > 0
  assert len(jax.devices()) == 4
