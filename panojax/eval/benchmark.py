"""Checks, then times the released configuration on the device at hand.

    python -m panojax.eval.benchmark --out figures.json

Weights are random: speed does not depend on them. Times are medians over `--runs` calls after a warm-up, each call
waited for, the parameters being arguments of the compiled function. Memory is what XLA plans for the call: arguments,
results and temporaries.
"""

import dataclasses
import itertools
import json
import math
import pathlib
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.extend as jex
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from panojax import api
from panojax.camera import look_at
from panojax.config import Config
from panojax.devices.sharding import batch_sharding, data_mesh, replicated
from panojax.disk.staging import check_writable, replaced_when_done
from panojax.encoders.encoder_config import EncoderConfig
from panojax.generators import generator
from panojax.generators.generator_config import GeneratorConfig
from panojax.inversion import pipeline as inversion
from panojax.params import Params, random_params, tiny
from panojax.render.renderer import draw_uniforms
from panojax.terminal.process import run_process


@dataclasses.dataclass(frozen=True)
class Options:
    """What to time."""

    out: pathlib.Path | None = None
    """File for the figures, as JSON."""
    runs: int = 20
    """Timed calls of each case."""
    batches: tuple[int, ...] = (1, 8)
    """Batch sizes on each device."""
    devices: tuple[int, ...] = (1,)
    """Numbers of devices of this host that share the work."""
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    """Compute types; float32 products run as TF32 where the device does."""
    small: bool = False
    """Time the tiny configuration instead, to try the script."""
    only: str = ""
    """Time only the cases whose name holds this."""


Case = tuple[str, Callable[..., Any], tuple[Any, ...]]


def cases(params: Params, batch: int) -> list[Case]:
    """The timed functions of (params, data), with their data."""
    config = params.config.generator
    encoder = params.config.encoder
    assert encoder is not None
    key = jax.random.key(1)
    z = jax.random.normal(key, (batch, config.z_dim))
    labels = jnp.tile(look_at(0.3, 0.1), (batch, 1))
    images = jnp.clip(0.5 * jax.random.normal(key, (batch, config.image_resolution, config.image_resolution, 3)), -1, 1)
    ws = generator.map_latent(config, params.generator, z, labels)
    planes = jax.jit(generator.synthesize, static_argnums=0)(config, params.generator, ws)
    heads = jax.jit(generator.make_heads, static_argnums=0)(config, params.generator, planes, ws)

    def volume(p, heads, labels, side):
        uniforms = draw_uniforms(None, (batch, side * side), config)
        return generator.render_volume(config, p.generator, heads, labels, uniforms)

    def view(p, heads, labels, side):
        return generator.finish(config, p.generator, volume(p, heads, labels, side), heads).image

    def z_to_image(p, z, labels):
        ws = generator.map_latent(config, p.generator, z, labels)
        heads = generator.make_heads(config, p.generator, generator.synthesize(config, p.generator, ws), ws)
        return view(p, heads, labels, config.rendering_resolution)

    def invert_and_view(p, images, labels):
        head, _ = inversion.invert_batch(p.config, p.generator, p.encoders, images, labels)
        return view(p, head, labels, config.rendering_resolution)

    low, high = config.rendering_resolution, 2 * config.rendering_resolution
    rendered = jax.jit(lambda p, h, c: volume(p, h, c, low))(params, heads, labels)
    return [
        ("invert + one view", invert_and_view, (images, labels)),
        (f"render, {low} -> {config.image_resolution}", lambda p, h, c: view(p, h, c, low), (heads, labels)),
        (f"render, {high} -> {config.image_resolution}", lambda p, h, c: view(p, h, c, high), (heads, labels)),
        ("z to image", z_to_image, (z, labels)),
        ("backbone", lambda p, ws: generator.synthesize(config, p.generator, ws), (ws,)),
        (f"tri-grid and rays, {low}", lambda p, h, c: volume(p, h, c, low), (heads, labels)),
        (f"tri-grid and rays, {high}", lambda p, h, c: volume(p, h, c, high), (heads, labels)),
        (
            "raw RGB and super-resolution",
            lambda p, r, h: generator.finish(config, p.generator, r, h).image,
            (rendered, heads),
        ),
    ]


def measure(
    function: Callable[..., Any], params: Params, data: tuple[Any, ...], runs: int, devices: int = 1
) -> dict[str, float]:
    """Compile seconds, median, minimum and maximum milliseconds, and planned mebibytes of one case.

    On several devices each has the parameters, and data of its own.
    """
    jitted = jax.jit(function)
    if devices > 1:
        mesh = data_mesh(jax.devices()[:devices])
        split = PartitionSpec("data")
        specs = (PartitionSpec(), *(split for _ in data))
        jitted = jax.jit(jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=split, check_vma=False))
        params = jax.device_put(params, replicated(mesh))
        copies = jax.tree.map(lambda x: jnp.concatenate([x] * devices), data)
        data = jax.device_put(copies, batch_sharding(mesh))
    start = time.perf_counter()
    traced = jitted.trace(params, *data)
    compiled = traced.lower().compile()
    memory = compiled.memory_analysis()
    compile_seconds = time.perf_counter() - start
    planned = sum(getattr(memory, f"{kind}_size_in_bytes", 0) for kind in ("argument", "output", "temp"))
    for _ in range(3):
        jax.block_until_ready(jitted(params, *data))
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        jax.block_until_ready(jitted(params, *data))
        times.append(1e3 * (time.perf_counter() - start))
    return {
        "ms": float(np.median(times)),
        "ms_min": min(times),
        "ms_max": max(times),
        "compile_s": compile_seconds,
        "memory_mib": planned / 2**20,
        "temporaries_mib": getattr(memory, "temp_size_in_bytes", 0) / 2**20,
        **costs(traced, compiled),
    }


def costs(traced: Any, compiled: Any) -> dict[str, float]:
    """A traced and compiled function's operations, the bytes of its arguments and results, and those that its kernels
    touch, where XLA tells."""
    memory, made = compiled.memory_analysis(), compiled.cost_analysis() or {}
    once = sum(getattr(memory, f"{kind}_size_in_bytes", 0) for kind in ("argument", "output"))
    counted = {"operations": operations(traced.jaxpr.jaxpr), "bytes_once": once}
    return counted | ({"bytes_touched": made["bytes accessed"]} if "bytes accessed" in made else {})


def operations(jaxpr: Any) -> float:
    """Multiplications and additions of a jaxpr's matrix products and convolutions.

    Of branches the longest counts, and of `while` loops one turn.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        inner = [operations(sub) for value in params.values() for sub in _jaxprs(value)]
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            left, (out,) = equation.invars[0].aval, equation.outvars
            total += 2 * out.aval.size * math.prod(left.shape[axis] for axis in contracted)
        elif name == "conv_general_dilated":
            kernel, (out,) = equation.invars[1].aval, equation.outvars
            total += 2 * out.aval.size * kernel.size / kernel.shape[params["dimension_numbers"].rhs_spec[0]]
        elif name == "cond":
            total += max(inner)
        else:
            total += params.get("length", 1) * sum(inner) if name == "scan" else sum(inner)
    return total


def _jaxprs(value: Any) -> list[Any]:
    if isinstance(value, jex.core.ClosedJaxpr):
        return [value.jaxpr]
    if isinstance(value, jex.core.Jaxpr):
        return [value]
    return [sub for item in value for sub in _jaxprs(item)] if isinstance(value, (tuple, list)) else []


def check(params: Params) -> dict[str, float]:
    """Compares the compute types before anything is timed: PSNR of the pictures of `z` against exact float32 products.

    Raises:
      RuntimeError: a picture is not finite, or below 40 dB (bfloat16) or 50 dB (TF32).
    """
    config = params.config.generator
    z, camera = jax.random.normal(jax.random.key(2), (config.z_dim,)), look_at(-0.4, 0.1)

    def picture(params):
        return api.render(params, api.generate(params, z), camera).image

    with jax.default_matmul_precision("highest"):
        exact = np.asarray(jax.jit(picture)(params), np.float64)
    spread = exact.max() - exact.min()
    figures = {}
    for dtype, least in (("float32", 50.0), ("bfloat16", 40.0)):
        got = np.asarray(jax.jit(picture)(params.with_dtype(dtype)), np.float64)
        figures[dtype] = float(10 * np.log10(spread**2 / max(np.mean((got - exact) ** 2), 1e-30)))
        if not np.isfinite(got).all() or figures[dtype] < least:
            raise RuntimeError(f"{dtype} pictures must reach {least} dB against exact ones, got {figures[dtype]:.1f}")
    return figures


def machine() -> dict[str, str]:
    """What figures were taken with: the first device's kind, versions, and the date."""
    return {
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def check_out(path: pathlib.Path | None) -> None:
    """Raises an error, before hours of work, where `write` could not write."""
    if path is not None:
        check_writable(path.parent)


def write(figures: dict[str, Any], path: pathlib.Path) -> None:
    """Writes the figures as JSON; the file is whole at any time."""
    with replaced_when_done(path, overwrite=True) as partial:
        partial.write_text(json.dumps(figures, indent=1) + "\n")


def main(options: Options) -> dict[str, Any]:
    """Runs the benchmark, prints a Markdown table and gives the figures."""
    check_out(options.out)
    config = tiny() if options.small else Config(GeneratorConfig(), EncoderConfig())
    params = jax.device_put(random_params(config))
    figures: dict[str, Any] = {
        **machine(),
        "psnr_db": check(params),
        "rows": [],
    }
    print(f"{figures['device']}, jax {figures['jax']}; PSNR against exact float32: {figures['psnr_db']}", flush=True)
    print("| work | devices | batch each | type | median ms | min - max | compile s | memory MiB |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for batch, dtype in itertools.product(options.batches, options.dtypes):
        typed = params.with_dtype(dtype).for_inference()
        wanted = [case for case in cases(typed, batch) if options.only in case[0]]
        for (name, function, data), devices in itertools.product(wanted, options.devices):
            used = typed if name.startswith("invert") else typed.generator_only()
            row = {"work": name, "devices": devices, "batch": batch, "dtype": dtype}
            row |= measure(function, used, data, options.runs, devices)
            figures["rows"].append(row)
            print(
                f"| {name} | {devices} | {batch} | {dtype} | {row['ms']:.2f} | {row['ms_min']:.2f} - "
                f"{row['ms_max']:.2f} | {row['compile_s']:.1f} | {row['memory_mib']:.0f} |",
                flush=True,
            )
            if options.out:
                write(figures, options.out)
    return figures


if __name__ == "__main__":
    import tyro  # only the command line needs it

    prog = "python -m panojax.eval.benchmark"
    sys.exit(run_process(lambda: main(tyro.cli(Options, prog=prog, description=__doc__)) and None, ""))
