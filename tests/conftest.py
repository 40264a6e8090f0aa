"""Order of the tests, and how their programs are compiled and run."""

import os

import jax
import pytest

# Tests run side by side: programs with threads of their own wait for one another.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"

LONGEST = ("test_encoder.py", "test_encoder_steps.py", "test_cli.py", "test_inversion.py")


def pytest_collection_modifyitems(items):
    """The longest files first, so that no process is left alone with one of them at the end (`--dist loadfile`)."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="module")
def quick_compilation():
    """Programs compile in half the time and run in twice or more: for files that compile much and run little.

    It holds for the processes that tests start, too.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        yield
    jax.config.update("jax_disable_most_optimizations", False)
