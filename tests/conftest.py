"""Four devices on the CPU, for all tests; set before jax is imported.

XLA is told to compile fast, not to make fast code: tests run a step or two. Its
older emitters compile in half the time, but fuse a multiplication with an
addition in one program and not in another; AVX cannot, so that programs which
compute the same are equal bit for bit.
What it has compiled is kept in pytest's own cache, for other files, for the
programs that tests run, and for the next run of all.
Tracing takes as long as compiling: programs do without the lines of Python that
made them, and Python looks for dead cycles less often, of which tracing makes
few among very many objects.
"""

import gc
import os

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['XLA_FLAGS'] = ' '.join(
  [
    os.environ.get('XLA_FLAGS', ''),
    '--xla_force_host_platform_device_count=4',
    '--xla_backend_optimization_level=0',
    '--xla_llvm_disable_expensive_passes=true',
    '--xla_cpu_use_fusion_emitters=false',
    '--xla_cpu_max_isa=AVX',
  ]
)
# However small it is, it is taken from the cache faster than compiled.
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
os.environ['JAX_TRACEBACK_IN_LOCATIONS_LIMIT'] = '0'
gc.set_threshold(50_000)

import hypothesis  # noqa: E402
import jax  # noqa: E402
import programs  # noqa: E402
import pytest  # noqa: E402

from aae_jax import compilation_cache  # noqa: E402

# The same examples in every run, and no folder of found ones.
hypothesis.settings.register_profile(
  'repeatable',
  deadline=None,
  derandomize=True,
  database=None,
  max_examples=20,
)
hypothesis.settings.load_profile('repeatable')


def pytest_configure(config):
  folder = config.cache.mkdir('compiled')
  compilation_cache.prune(folder, max_bytes=2**30)
  jax.config.update('jax_compilation_cache_dir', str(folder))
  os.environ[programs.COMPILED] = str(folder)


@pytest.fixture(scope='module', autouse=True)
def compiled_code_is_dropped():
  """After each file: a process may map so many pieces of memory, 65,530 on
  Linux, and of all files together their code takes more."""
  yield
  jax.clear_caches()
