"""Cost curves: milliseconds and planned memory as one size grows and the others stay.

    python -m panojax.eval.curves --out curves.json

Times as `panojax.eval.benchmark` takes them; weights are random unless the model is the default one.
"""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp

from panojax import api
from panojax.camera import look_at
from panojax.config import Config
from panojax.encoders.encoder_config import EncoderConfig
from panojax.errors import InputError
from panojax.eval.benchmark import check_out, machine, measure, write
from panojax.files.checkpoint import load
from panojax.generators.generator_config import GeneratorConfig
from panojax.params import Params, random_params, tiny
from panojax.terminal.process import run_process


@dataclasses.dataclass(frozen=True)
class Options:
    """What to time."""

    out: pathlib.Path | None = None
    """File for the figures, as JSON."""
    model: Literal["released", "default", "tiny"] = "released"
    """The released configuration, the model that ships, or a tiny one to try the script."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Compute type."""
    runs: int = 20
    """Timed calls of each point."""
    curves: tuple[str, ...] = ("views", "batch", "rays", "trigrid", "devices")
    """Which curves."""
    counts: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Views of one head in a call; portraits in a call."""
    rays: tuple[int, ...] = (32, 64, 128, 256)
    """Sides of the volume rendering."""
    trigrids: tuple[int, ...] = (64, 128, 256, 512)
    """Sides of the tri-grid's planes."""
    each: int = 4
    """Portraits in a call on each of several devices."""


Point = tuple[int, Callable[..., Any], Params, tuple[Any, ...], int]
TITLES = {
    "views": "views of a kept head in a call",
    "batch": "portraits inverted and seen once in a call",
    "rays": "side of the volume rendering of one view",
    "trigrid": "side of the tri-grid, z to image",
    "devices": "devices, each inverting {each} portraits and seeing them once",
}


def main(options: Options) -> dict[str, Any]:
    """Times the curves, prints a Markdown table and gives the figures.

    Raises:
      InputError: a curve has no such name.
    """
    if unknown := sorted(set(options.curves) - TITLES.keys()):
        raise InputError(f"curves must be among {', '.join(TITLES)}, got {', '.join(unknown)}")
    check_out(options.out)
    params = _params(options)
    figures: dict[str, Any] = {
        **machine(),
        "model": options.model,
        "dtype": options.dtype,
        "points": [],
    }
    print(f"{figures['device']}, jax {figures['jax']}, {options.model} model, {options.dtype}", flush=True)
    print("| curve | size | median ms | min - max | memory MiB, planned for each device |")
    print("|---|---|---|---|---|", flush=True)
    for curve in options.curves:
        for size, function, used, data, devices in _points(curve, params, options):
            point: dict[str, Any] = {"curve": curve, "size": size}
            try:
                point |= measure(function, used, data, options.runs, devices)
                cells = f"{point['ms']:.2f} | {point['ms_min']:.2f} - {point['ms_max']:.2f} | {point['memory_mib']:.0f}"
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                point["ms"], cells = "out of memory", "out of memory | | "
            figures["points"].append(point)
            print(f"| {TITLES[curve].format(each=options.each)} | {size} | {cells} |", flush=True)
            if options.out:
                write(figures, options.out)
    return figures


def _params(options: Options) -> Params:
    if options.model == "default":
        params = load()
    else:
        config = tiny() if options.model == "tiny" else Config(GeneratorConfig(), EncoderConfig())
        params = jax.device_put(random_params(config))
    return params.with_dtype(options.dtype).for_inference()


def _points(curve: str, params: Params, options: Options) -> Iterator[Point]:
    """(size, function of the parameters and data with a leading axis, parameters, data, devices) of a curve."""
    generator = params.generator_only()
    if curve == "views":
        for count in options.counts:
            yield count, _see, generator, (_heads(generator, count), _cameras(count)), 1
    elif curve == "rays":
        heads = _heads(generator, 1)
        for side in options.rays:
            yield side, functools.partial(_see, resolution=side), generator, (heads, _cameras(1)), 1
    elif curve == "trigrid":
        for side in options.trigrids:
            config = dataclasses.replace(generator.config.generator, plane_resolution=side)
            other = jax.device_put(random_params(Config(config)))
            yield side, _draw_and_see, other, (jnp.ones((1, config.z_dim)), _cameras(1)), 1
    elif curve == "batch":
        for count in options.counts:
            yield count, _invert_and_see, params, (_portraits(params, count), _cameras(count)), 1
    else:
        data = _portraits(params, options.each), _cameras(options.each)
        for devices in (n for n in options.counts if n <= jax.device_count()):
            yield devices, _invert_and_see, params, data, devices


def _see(params, heads, cameras, resolution=None):
    return jax.vmap(lambda head, camera: api.render(params, head, camera, resolution).image)(heads, cameras)


def _draw_and_see(params, z, cameras):
    return _see(params, jax.vmap(lambda z: api.generate(params, z))(z), cameras)


def _invert_and_see(params, images, cameras):
    heads = jax.vmap(lambda image, camera: api.invert(params, image, camera))(images, cameras)
    return _see(params.generator_only(), heads, cameras)


def _heads(params, count):
    head = jax.jit(api.generate)(params, jnp.ones(params.config.generator.z_dim))
    return jax.tree.map(lambda x: jnp.stack([x] * count), head)


def _cameras(count):
    return jax.jit(look_at)(jnp.linspace(-0.5, 0.5, count), 0.1)


def _portraits(params, count):
    side = params.config.generator.image_resolution
    return jnp.clip(0.5 * jax.random.normal(jax.random.key(1), (count, side, side, 3)), -1, 1)


if __name__ == "__main__":
    import tyro  # only the command line needs it

    prog = "python -m panojax.eval.curves"
    sys.exit(run_process(lambda: main(tyro.cli(Options, prog=prog, description=__doc__)) and None, ""))
