"""Checks, then times encoder training and PTI at the released configuration on the devices at hand.

    python -m panojax.eval.benchmark_training --out figures.json

All weights are random, those of the loss networks too (LPIPS, ArcFace IR-SE-50). From such weights training at the
usual rate diverges within four steps, and a state of NaN is timed wrongly: the points of its rays all fall into one
cell, whose gradients add up one after the other. So the timed steps do all their work at a rate that leaves the weights
as they are, and the loss is checked after them as before.

A step's time is the mean of `--runs` steps in a row, as a run takes them, the critic's lazy regularisation included;
beside it stand the host's part of it, and the median of as many that were each waited for. Memory is what XLA plans for
the step: arguments, temporaries, and results that no donated argument makes room for. Of the dependencies only jax,
flax, optax, orbax, scikit-image and tqdm are needed.
"""

import argparse
import dataclasses
import itertools
import math
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from panojax.camera import look_at
from panojax.config import Config
from panojax.devices.sharding import batch_sharding, data_mesh, replicated, run_key
from panojax.encoders.encoder import init_encoder
from panojax.encoders.encoder_config import EncoderConfig
from panojax.eval.benchmark import check_out, costs, machine, write
from panojax.generators import networks
from panojax.generators.generator_config import GeneratorConfig
from panojax.inversion.optimize import ProjectionConfig, TuningConfig, invert_pti
from panojax.inversion.spaces import fit_encoder, mean_codes
from panojax.losses.lpips import LPIPS
from panojax.losses.perception import Perception
from panojax.nn.arcface import ArcFaceConfig, abstract_arcface, ir_se50
from panojax.nn.ir_se import TrunkConfig
from panojax.params import random_params
from panojax.params import tiny as tiny_model
from panojax.terminal.process import run_process
from panojax.train.encoder import presets
from panojax.train.encoder.state import Frozen, init_state
from panojax.train.encoder.step_config import StepConfig
from panojax.train.encoder.steps import compile_step

WORKS = ("e1", "e2", "pti")
COLUMNS = (
    "work",
    "devices",
    "batch",
    "dtype",
    "recompute",
    "ms",
    "ms_host",
    "ms_waited",
    "images_per_second",
    "compile_s",
    "memory_mib",
)
# How far the loss of the first step may lie from that with exact float32 products, as a share of it.
TOLERANCE = {"float32": 0.02, "bfloat16": 0.05}
# The learning rate to time at, so small that its steps are lost in a weight's last digit.
STILL = 1e-12
# How far the last step's loss may lie from the first one's, as a share of it: only the samples along the rays differ.
DRIFT = 0.2


@dataclasses.dataclass(frozen=True)
class Options:
    """What to time."""

    out: pathlib.Path | None = None
    """File for the figures, as JSON."""
    config: str = "released"
    """"released", or "tiny" to try the script."""
    works: tuple[str, ...] = WORKS
    """Encoder 1's step, encoder 2's with its critic, PTI."""
    batches: tuple[int, ...] = (3, 16, 32)
    """Pictures a step on each device; 3 is the paper's."""
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    """Compute types; float32 products run as TF32 where the device does."""
    devices: tuple[int, ...] = (1,)
    """Numbers of devices of this host that share encoder 1's step."""
    runs: int = 32
    """Timed steps of each case: two rounds of the critic's lazy regularisation."""
    recompute: bool = False
    """Recompute activations whatever the batch; without it, from the batch on at which the presets do."""
    check: bool = True
    """Compare the first loss of the first batch with that of exact float32 products, which costs a compilation."""
    compile_only: bool = False
    """Only compile the steps, into JAX's compilation cache, for a later call that times them."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """Networks and schedules that are timed."""

    model: Config
    """Generator and encoder."""
    step: StepConfig
    """Encoder 1's step at the paper's batch."""
    lpips: LPIPS
    """Of the encoders' loss."""
    identity: ArcFaceConfig
    """Of the encoders' loss."""
    projector_lpips: LPIPS | None
    """Of PTI's loss."""
    projection: ProjectionConfig = dataclasses.field(default_factory=ProjectionConfig)
    """PTI's first half."""
    tuning: TuningConfig = dataclasses.field(default_factory=TuningConfig)
    """PTI's second half."""


def released() -> Setting:
    """PanoHead's generator, 512 px, the paper's encoder and losses, PTI's 500 + 500 steps."""
    run, generator = presets.paper(), GeneratorConfig()
    model = Config(generator, fit_encoder(generator, run.encoder, "w+"))
    return Setting(model, run.step, LPIPS("alex"), ir_se50(), LPIPS("vgg"))


def tiny() -> Setting:
    """Seconds on a CPU."""
    run = presets.tiny()
    generator = dataclasses.replace(
        tiny_model().generator, plane_resolution=16, rendering_resolution=16, depth_samples=8, importance_samples=8
    )
    return Setting(
        Config(generator, fit_encoder(generator, run.encoder, "w+")),
        dataclasses.replace(presets.paper().step, loss_resolution=64),
        LPIPS("alex"),
        ArcFaceConfig(TrunkConfig((1, 1, 1, 1), (16, 16, 16, 16)), affine=True, embedding_dim=16),
        None,
        ProjectionConfig(steps=20, samples=100),
        TuningConfig(steps=20),
    )


class Bench:
    """The networks of a setting with random weights, and what is measured of them.

    Attributes:
      setting: the networks.
      compiler_options: of XLA, for the steps.
    """

    def __init__(self, setting: Setting, compiler_options: Mapping[str, Any] | None = None):
        self.setting, self.compiler_options = setting, compiler_options
        self.params = jax.device_put(random_params(Config(setting.model.generator)))
        assert isinstance(setting.model.encoder, EncoderConfig)
        self.encoder = init_encoder(setting.model.encoder, jax.random.key(0))
        self.average = mean_codes(setting.model.generator, self.params.generator, jax.random.key(1), samples=100)
        self.perception = Perception(
            _random_lpips(setting.lpips),
            _random(abstract_arcface(setting.identity)),
            setting.lpips,
            setting.identity,
        )

    def prepare(self, config: StepConfig, batch: int, dtype: str, devices: int = 1) -> tuple[Any, tuple]:
        """The jitted step, and its arguments (state, frozen, batch, key)."""
        mesh = data_mesh(jax.devices()[:devices])
        params = self.params.with_dtype(dtype)
        encoder = dataclasses.replace(self.setting.model.encoder, dtype=dtype)  # type: ignore[type-var]
        generator = networks.prepare(params.config.generator, params.generator)
        frozen = Frozen(generator, self.average, self.perception, config=Config(params.config.generator, encoder))
        state = init_state(frozen.config, config, jax.random.key(2), encoder=self.encoder)
        state, frozen = jax.device_put((state, frozen), replicated(mesh))
        data = jax.device_put(self.batch(batch * devices), batch_sharding(mesh))
        return compile_step(config, mesh), (state, frozen, data, run_key(0, mesh))

    def compile(self, config: StepConfig, batch: int, dtype: str, devices: int = 1) -> tuple[Any, tuple, dict]:
        """The compiled step, its arguments, and {"compile_s", "memory_mib", ...}."""
        jitted, arguments = self.prepare(config, batch, dtype, devices)
        start = time.perf_counter()
        traced = jitted.trace(*arguments)
        step = traced.lower().compile(self.compiler_options)
        figures = {"compile_s": time.perf_counter() - start, **planned_memory(step), **costs(traced, step)}
        return step, arguments, figures

    def batch(self, size: int) -> dict[str, Any]:
        """Coloured tiles in place of portraits, from cameras around the front."""
        tiles = np.tanh(np.random.default_rng(3).standard_normal((size, 8, 8, 3), np.float32))
        side = self.setting.step.loss_resolution // 8
        image = tiles.repeat(side, axis=1).repeat(side, axis=2)
        return {"image": image, "camera": jax.jit(look_at)(np.linspace(-0.6, 0.6, size, dtype=np.float32))}

    def exact_loss(self, batch: int) -> float:
        """The loss of encoder 1's first step with exact float32 products; no gradient is computed."""
        step, arguments = self.prepare(self.setting.step, batch, "float32")
        with jax.default_matmul_precision("highest"):
            return float(jax.jit(lambda *arguments: step(*arguments)[1]["loss"])(*arguments))

    def time_step(
        self, config: StepConfig, batch: int, dtype: str, devices: int, runs: int, exact: float | None = None
    ) -> dict[str, float]:
        """Milliseconds a step in a row ("ms") and one waited for, the host's part of those in a row ("ms_host"), images
        a second, compile seconds, planned memory.

        Args:
          config: with the learning rates to time at: `step_config` gives such that leave the weights as they are.
          batch: pictures on each device.
          exact: loss of the first step that this one's must agree with, or None.

        Raises:
          RuntimeError: the metrics of the first or of the last step are not finite, or their losses are off.
        """
        step, (state, *others), figures = self.compile(config, batch, dtype, devices)
        state, first = step(state, *others)
        metrics = _finite(first)
        if exact is not None and abs(metrics["loss"] / exact - 1) > TOLERANCE[dtype]:
            raise RuntimeError(f"{dtype} loss must be within {TOLERANCE[dtype]} of {exact}, got {metrics['loss']}")
        for _ in range(2):
            state, _ = step(state, *others)
        jax.block_until_ready(state)
        start = time.perf_counter()
        for _ in range(runs):
            state, _ = step(state, *others)
        figures["ms_host"] = 1e3 * (time.perf_counter() - start) / runs
        jax.block_until_ready(state)
        figures["ms"] = 1e3 * (time.perf_counter() - start) / runs
        figures["images_per_second"] = 1e3 * batch * devices / figures["ms"]
        waited: list[float] = []
        with_r1: list[float] = []
        for _ in range(runs):
            lazy = config.critic != "none" and int(state.step) % config.r1_interval == 0
            start = time.perf_counter()
            state, last = jax.block_until_ready(step(state, *others))
            (with_r1 if lazy else waited).append(1e3 * (time.perf_counter() - start))
        end = _finite(last)["loss"]
        if abs(end / metrics["loss"] - 1) > DRIFT:
            raise RuntimeError(
                f"the loss must stay within {DRIFT} of {metrics['loss']}, got {end} after the timed steps"
            )
        figures |= {"ms_waited": float(np.median(waited)), "ms_min": min(waited), "ms_max": max(waited)}
        if with_r1:
            figures["ms_r1"] = float(np.median(with_r1))
        return figures | {"loss": float(metrics["loss"])}

    def time_pti(self, dtype: str) -> dict[str, float]:
        """Seconds of PTI for one portrait: with compilation, and without. Parameters are float32 at either type.

        Raises:
          RuntimeError: the loss does not fall.
        """
        setting = self.setting
        network = setting.projector_lpips
        perception = Perception() if network is None else Perception(_random_lpips(network), lpips_network=network)
        portrait = jax.tree.map(lambda x: x[0], self.batch(1))
        seconds, reports = [], []
        for _ in range(2):
            start = time.perf_counter()
            result = invert_pti(
                self.params.with_dtype(dtype),
                portrait["image"],
                portrait["camera"],
                perception=perception,
                config=setting.projection,
                tuning=setting.tuning,
                progress=lambda done, loss: reports.append(loss),
            )
            jax.block_until_ready(result)
            seconds.append(time.perf_counter() - start)
        if not reports[-1] < reports[0]:
            raise RuntimeError(f"PTI's loss must fall, got {reports[0]} at first and {reports[-1]} at last")
        steps = setting.projection.steps + setting.tuning.steps
        return {
            "seconds": seconds[1],
            "seconds_first": seconds[0],
            "compile_s": seconds[0] - seconds[1],
            "ms": 1e3 * seconds[1] / steps,
            "steps": steps,
            "loss_first": reports[0],
            "loss_last": reports[-1],
        }


def planned_memory(compiled: Any) -> dict[str, float]:
    """What XLA plans for a compiled step, in MiB; what a donated argument leaves to a result counts once."""
    analysis = compiled.memory_analysis()
    size = {k: getattr(analysis, f"{k}_size_in_bytes", 0) for k in ("argument", "output", "alias", "temp")}
    total = size["argument"] + size["output"] - size["alias"] + size["temp"]
    return {
        "memory_mib": total / 2**20,
        "temporaries_mib": size["temp"] / 2**20,
        "arguments_mib": size["argument"] / 2**20,
    }


def peak_memory() -> float | None:
    """The most that the first device has held in this process so far, in MiB; None where it does not say."""
    stats = jax.devices()[0].memory_stats() or {}
    return stats["peak_bytes_in_use"] / 2**20 if "peak_bytes_in_use" in stats else None


def main(
    options: Options, setting: Setting | None = None, compiler_options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Runs the benchmark, prints a Markdown table and gives the figures."""
    check_out(options.out)
    if setting is None:
        setting = tiny() if options.config == "tiny" else released()
    figures: dict[str, Any] = {
        **machine(),
        "devices": jax.device_count(),
        "config": options.config,
        "weights": "random: generator, encoders, LPIPS, ArcFace IR-SE-50",
        "rows": [],
    }
    print(f"{figures['devices']} x {figures['device']}, jax {figures['jax']}; weights are random", flush=True)
    print(
        "| work | devices | batch each | type | recompute | ms | of the host | waited for, ms | images/s | compile s "
        "| memory MiB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    bench = Bench(setting, compiler_options)

    def add(row: dict[str, Any]) -> None:
        row["peak_mib_so_far"] = peak_memory()
        figures["rows"].append(row)
        cells = [row.get(name, "") for name in COLUMNS]
        print("|", " | ".join(f"{c:.1f}" if isinstance(c, float) else str(c) for c in cells), "|", flush=True)
        if options.out:
            write(figures, options.out)

    if options.check and "e1" in options.works and not options.compile_only:
        figures["exact_loss"] = bench.exact_loss(options.batches[0])
    for work, devices, batch, dtype in step_cases(options):
        config = step_config(setting, work, batch, options.recompute)
        checked = (work, devices, batch) == ("e1", 1, options.batches[0])
        row: dict[str, Any] = {"work": work, "devices": devices, "batch": batch, "dtype": dtype}
        row["recompute"] = config.recompute
        if options.compile_only:
            add(row | bench.compile(config, batch, dtype, devices)[2])
            continue
        try:
            row |= bench.time_step(
                config, batch, dtype, devices, options.runs, figures.get("exact_loss") if checked else None
            )
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            row["ms"] = "out of memory"
        add(row)
    if "pti" in options.works and not options.compile_only:
        for dtype in options.dtypes:
            add({"work": "pti", "devices": 1, "batch": 1, "dtype": dtype} | bench.time_pti(dtype))
    return figures


def step_cases(options: Options) -> Iterator[tuple[str, int, int, str]]:
    """(work, devices, batch, type) of the steps to time."""
    for work in (name for name in ("e1", "e2") if name in options.works):
        devices = options.devices if work == "e1" else (1,)
        for case in itertools.product(devices, options.batches, options.dtypes):
            yield work, *case


def step_config(setting: Setting, work: str, batch: int, recompute: bool) -> StepConfig:
    """The step of a work and batch, at a learning rate of almost 0; large batches recompute, as their preset does."""
    large = presets.large_batch()
    return dataclasses.replace(
        setting.step,
        critic="trigrid-occluded" if work == "e2" else "none",
        recompute=recompute or (batch >= large.batch and large.step.recompute),
        learning_rate=STILL,
        critic_learning_rate=STILL,
    )


def _finite(metrics: Any) -> dict[str, Any]:
    """Metrics on the host.

    Raises:
      RuntimeError: one is not finite.
    """
    values: dict[str, Any] = jax.device_get(metrics)
    if not all(map(np.isfinite, values.values())):
        raise RuntimeError(f"metrics must be finite, got {values}")
    return values


def _random_lpips(network: LPIPS) -> Any:
    pictures = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    return _random(jax.eval_shape(network.init, jax.random.key(0), pictures, pictures))


def _random(abstract: Any) -> Any:
    """Variables of a frozen network: kernels by He's rule, LPIPS' linear ones positive, norms that change nothing."""
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        name = path[-1].key
        if name != "kernel":
            return np.full(leaf.shape, {"scale": 1.0, "var": 1.0, "negative_slope": 0.25}.get(name, 0.0), np.float32)
        draw = rng.standard_normal(leaf.shape, np.float32) * math.sqrt(2 / math.prod(leaf.shape[:-1]))
        return np.float32(np.abs(draw) if path[-2].key.startswith("lin") else draw)

    return jax.device_put(jax.tree_util.tree_map_with_path(fill, abstract))


def parse(arguments: Sequence[str] | None = None) -> Options:
    """The options of a command line. By argparse: machines with GPUs may lack tyro."""
    as_written = argparse.RawDescriptionHelpFormatter
    prog = "python -m panojax.eval.benchmark_training"
    parser = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=as_written)
    default = Options()
    parser.add_argument("--out", type=pathlib.Path, help="file for the figures, as JSON")
    parser.add_argument("--config", choices=("released", "tiny"), default=default.config)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=default.works)
    parser.add_argument("--batches", nargs="+", type=int, default=default.batches, help="pictures on each device")
    parser.add_argument("--dtypes", nargs="+", choices=tuple(TOLERANCE), default=default.dtypes)
    parser.add_argument("--devices", nargs="+", type=int, default=default.devices, help="for encoder 1's step")
    parser.add_argument("--runs", type=int, default=default.runs, help="timed steps of each case")
    parser.add_argument("--recompute", action="store_true", help="recompute activations at any batch")
    parser.add_argument("--no-check", dest="check", action="store_false", help="no comparison with exact products")
    parser.add_argument("--compile-only", action="store_true", help="fill JAX's compilation cache, time nothing")
    given: dict[str, Any] = vars(parser.parse_args(arguments))
    given |= {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    return Options(**given)


if __name__ == "__main__":
    sys.exit(run_process(lambda: main(parse()) and None, ""))
