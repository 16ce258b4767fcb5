"""Four devices on the CPU, for all tests; set before jax is imported.

XLA is told to compile fast, not to make fast code: tests run a step or two.
"""

import os

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['XLA_FLAGS'] = ' '.join(
  [
    os.environ.get('XLA_FLAGS', ''),
    '--xla_force_host_platform_device_count=4',
    '--xla_backend_optimization_level=0',
    '--xla_llvm_disable_expensive_passes=true',
  ]
)

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402

# A program that a test runs must not leave compiled code behind.
jax.config.update('jax_enable_compilation_cache', False)

# The same examples in every run, and no folder of found ones.
hypothesis.settings.register_profile(
  'repeatable',
  deadline=None,
  derandomize=True,
  database=None,
  max_examples=20,
)
hypothesis.settings.load_profile('repeatable')


@pytest.fixture(scope='module', autouse=True)
def compiled_code_is_dropped():
  """After each file: a process may map so many pieces of memory, 65,530 on
  Linux, and of all files together their code takes more."""
  yield
  jax.clear_caches()
