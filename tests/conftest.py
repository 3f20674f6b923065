"""Simulated devices, quick compiling and strictness for the whole suite, set before JAX starts."""

import gc
import os
import resource

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The suite compiles many small programs and runs each a few times: without LLVM's optimizations, and with the older kernels of
# XLA's CPU compiler, it compiles them in a quarter of the time. Flags that are set outside win: they come last.
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    + os.environ.get("XLA_FLAGS", "")
)

import jax
import pytest

# Tracing makes millions of small objects that live on in JAX's caches: Python need not look through them all so often.
gc.set_threshold(100_000, 20, 100)


@pytest.fixture(autouse=True)
def _strict_ranks():
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def collected():
    """Ends a test with a collection: what Orbax drops of a write that failed, Python reports then and not in a later test."""
    yield
    gc.collect()


@pytest.fixture
def file_size_limit(collected):
    """A function that makes every file of this process fail beyond some bytes, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
