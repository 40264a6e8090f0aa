"""Order of the tests, and how their programs are compiled and run."""

import ctypes
import gc
import os
import pathlib

import jax
import pytest

from panojax.config import Config
from panojax.files.checkpoint import save
from panojax.generators import networks
from panojax.generators.generator_config import GeneratorConfig
from panojax.params import Params

if "PYTEST_XDIST_WORKER" in os.environ:
    # Tests run side by side: programs with threads of their own wait for one another.
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
if jax.__version_info__ < (0, 11):
    # XLA's older emitters compile in a third of the time, into a quarter of the memory. Later versions lack them.
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_use_fusion_emitters=false"

TESTS = pathlib.Path(__file__).parent
ENOUGH = 2**30  # bytes of memory after which programs are dropped
LONGEST = (
    "train/encoder/test_run.py",
    "inversion/test_pipeline.py",
    "commands/test_cli.py",
    "train/encoder/test_steps.py",
    "train/generator/test_run.py",
    "inversion/test_optimize.py",
    "encoders/test_encoder.py",
)


def pytest_configure(config):
    """Programs compile in half the time and run in twice or more, here and in the processes that tests start.

    Nearly all tests compile much and run little. Not so the slow ones, which have a process of their own.
    """
    if config.option.markexpr != "slow":
        jax.config.update("jax_disable_most_optimizations", True)
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"


def pytest_collection_finish(session):
    """Python looks seldom for garbage, and never among what is imported: a fifth of the tests' time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


def pytest_collection_modifyitems(items):
    """The longest files first, so that no process is left alone with one of them at the end (`--dist loadfile`)."""

    def place(item):
        name = item.path.relative_to(TESTS).as_posix()
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    items.sort(key=place)


@pytest.fixture
def all_optimizations():
    """Programs of a test compiled as users' are: where two of them must round alike."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", "JAX_DISABLE_MOST_OPTIMIZATIONS" in os.environ)


def solid_generator(plane_resolution: int = 16) -> Params:
    """A generator small enough to train its encoders on a CPU: an opaque bar in front of nothing, textured by z."""
    config = GeneratorConfig(
        z_dim=16,
        w_dim=32,
        channel_base=256,
        channel_max=16,
        plane_resolution=plane_resolution,
        plane_features=8,
        decoder_hidden=16,
        background=False,
        camera_adaptation=False,
        image_resolution=128,
        superresolution="2X",
        superresolution_channels=(8, 8),
        rendering_resolution=16,
        depth_samples=8,
        importance_samples=8,
        crop_margin=0.3,
    )
    init = jax.jit(networks.init, static_argnums=0, compiler_options={"xla_backend_optimization_level": 0})
    variables = init(config, jax.random.key(0))
    decoder = variables["params"]["decoder"]["net.2"]
    decoder["kernel"] = decoder["kernel"].at[:, 0].multiply(0.1)
    decoder["bias"] = decoder["bias"].at[0].set(15.0)
    return Params(variables, config=Config(config))


@pytest.fixture(scope="session")
def generator() -> Params:
    """The generator, without encoders."""
    return solid_generator()


@pytest.fixture(scope="session")
def generator_folder(generator, tmp_path_factory):
    """Its checkpoint."""
    folder = tmp_path_factory.mktemp("generator") / "solid"
    save(generator, folder)
    return folder


@pytest.fixture(autouse=True, scope="session")
def _compiled_once(tmp_path_factory):
    """Programs compiled here serve the other workers, too, and the processes that tests start.

    A worker that reads what another has half written warns, and compiles itself (see `filterwarnings`).
    """
    base = tmp_path_factory.getbasetemp()
    folder = str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compiled")
    options = {"jax_compilation_cache_dir": folder, "jax_persistent_cache_min_compile_time_secs": 0.1}
    before = {name: getattr(jax.config, name) for name in options}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in options.items():
            jax.config.update(name, value)
            patch.setenv(name.upper(), str(value))
        yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(autouse=True, scope="module")
def _freed_after_each_file():
    """A file's programs go when the process has grown: the next file finds its own in the cache of `_compiled_once`."""
    yield
    if resident() < ENOUGH:
        return
    jax.clear_caches()
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # glibc keeps what it once had, unless told


def resident() -> int:
    """Bytes of memory that this process holds; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
