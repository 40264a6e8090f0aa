"""PanoHead's protocol: how good and how varied a generator's own pictures are, from all sides, in front and behind.

FID-all and FID-front condition the generator on the camera that is looked from, FID-back on the front camera while it
is looked from behind (|yaw| >= 90 degrees): that one shows what a single head looks like from its back. Cameras are
those of the real pictures. Beside the paper's figures: KID, and the distances of the generator to itself.

Heads are rendered as the original's metrics render them: for FID-all and FID-front from cameras that the head's own
camera adaptation has shifted, with random noise in backbone and background, random samples along rays, and pictures
rounded to bytes. `rendering` "own" leaves all of that out, as everything else in this package does.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from panojax.camera import front, look_at
from panojax.data.balance import label_yaw
from panojax.errors import InputError, check_choice
from panojax.eval.feature_networks import Networks, cosine
from panojax.eval.frechet import inception_score
from panojax.eval.reconstruction import distance
from panojax.eval.records import Record, Records, claim, digest
from panojax.eval.run import Run, settings
from panojax.eval.samples import Sample
from panojax.eval.view_figures import embed, mask_error, see
from panojax.files.image_file import MIN_SIDE
from panojax.generators.generator import (
    Head,
    View,
    adapt_camera,
    background,
    finish,
    make_heads,
    map_latent,
    render_volume,
    synthesize,
)
from panojax.nn.stylegan2 import pool
from panojax.params import Params
from panojax.render.renderer import draw_uniforms

PARTS = ("all", "front", "back")
IDENTITY_YAWS = (-45.0, 45.0)
"""Degrees of the two views of a head whose faces are compared."""


@dataclasses.dataclass(frozen=True)
class GeneratorMeasuring:
    """What is measured of a generator."""

    samples: int = 50_000
    """Heads that are drawn."""
    size: int = 512
    """Side of the pictures; larger ones are averaged down."""
    seed: int = 0
    """Of latents and cameras."""
    truncation: float = 1.0
    """Of the latents' style codes; 1 is none, as the papers measure."""
    rendering: Literal["panohead", "own"] = "panohead"
    """As PanoHead's metrics render heads, whose names the figures then have; or without camera adaptation and random
    draws, under names of their own."""

    def __post_init__(self):
        check_choice("rendering", self.rendering, ("panohead", "own"))
        for name, least in (("samples", 2), ("size", MIN_SIDE), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")


def run_generator(
    run: Run,
    samples: Sequence[Sample],
    params: Params,
    networks: Networks,
    options: GeneratorMeasuring,
    data: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Measures a generator against real pictures, or what of it has no record yet.

    Args:
      samples: of real pictures from all sides.
      data: options that say how they are read; results with others are not mixed with these.

    Returns:
      The results as JSON-able data, or None where other shards have not done their part yet (run again then):
      {"samples", "rendering", "pictures": {part: count}, "distances", "floor": {part: {"frechet", "kernel", ...}},
      "scores": {part: Inception score}, "identity", "heads_with_faces", "faces_missed", "mask_error"}

    Raises:
      InputError: `networks` has no features, `run.out` holds other results, or the generator has no camera to adapt.
    """
    if networks.features is None:
        raise InputError("features must name a network for PanoHead's protocol, got none")
    config = params.config.generator
    if options.rendering == "panohead" and config.camera_adaptation and config.zero_conditioning:
        raise InputError(
            'rendering must be "own" for a generator with camera adaptation and zero conditioning, got "panohead": the '
            "original adds the translation to the zeros, which are no camera"
        )
    names = digest(*(sample.name for sample in samples))
    claim(run.out, {"protocol": "panohead", "names": names, **data, **settings(params, networks, options)})
    placed = [(jax.device_put(params.generator_only(), device), networks.on(device)) for device in run.devices]
    real = Records(run.out / "records" / "real", {sample.name: sample for sample in samples})
    workers = [functools.partial(_real, own, options, device) for (_, own), device in zip(placed, run.devices)]
    real.fill(workers, label="real pictures", shard=run.shard)
    if real.missing():
        return None
    pictures = real.read_all()
    labels = np.concatenate([record["cameras"] for record in pictures])
    cameras = {part: labels[in_part(labels, part)] for part in PARTS}
    drawn = Records(run.out / "records" / "drawn", {f"{i:06d}": i for i in range(options.samples)})
    draws = [
        functools.partial(draw, model, own, cameras, options, device)
        for (model, own), device in zip(placed, run.devices)
    ]
    drawn.fill(draws, label="drawn heads", shard=run.shard)
    if drawn.missing():
        return None
    return summary(networks, pictures, drawn.read_all(), cameras) | {"rendering": options.rendering}


def summary(
    networks: Networks, pictures: Sequence[Record], heads: Sequence[Record], cameras: dict[str, np.ndarray]
) -> dict[str, Any]:
    """The results, from the records of real pictures and of drawn heads."""
    features = np.concatenate([record["features"] for record in pictures])
    labels = np.concatenate([record["cameras"] for record in pictures])
    results: dict[str, Any] = {
        "protocol": "panohead",
        "networks": networks.names,
        "samples": len(heads),
        "pictures": {part: len(cameras[part]) for part in PARTS},
    }
    drawn = {name: np.stack([head[name] for head in heads]) for name in heads[0]}
    parts = [part for part in PARTS if part in drawn]
    results["distances"] = {part: distance(features[in_part(labels, part)], drawn[part]) for part in parts}
    results["floor"] = {part: distance(drawn[f"{part}_again"], drawn[part]) for part in parts}
    results["scores"] = {
        part: inception_score(drawn[f"{part}_logits"], splits=min(10, len(heads) // 2))[0]
        for part in parts
        if f"{part}_logits" in drawn
    }
    identity = drawn.get("identity", np.full(len(heads), np.nan))
    found = identity[~np.isnan(identity)]
    results["identity"] = float(found.mean()) if len(found) else float("nan")
    results["heads_with_faces"], results["faces_missed"] = len(found), len(identity) - len(found)
    results["mask_error"] = float(drawn["mask"].mean()) if "mask" in drawn else float("nan")
    return results


def in_part(labels: np.ndarray, part: str) -> np.ndarray:
    """Which labels [N, 25] look from "all" sides, from the "front" (|yaw| < 90 degrees) or the "back": bool [N]."""
    back = np.abs(label_yaw(labels)) >= np.pi / 2
    return np.ones(len(labels), bool) if part == "all" else back if part == "back" else ~back


def draw(
    params: Params, networks: Networks, cameras: dict[str, np.ndarray], options: GeneratorMeasuring, device: Any, i: int
) -> Record:
    """Head i: for each part that has cameras, features of two heads' pictures and logits of the first; "identity", the
    cosine of the two views of `IDENTITY_YAWS` (NaN without both faces); "mask", the mask's mean squared error.
    """
    config = params.config.generator

    def head(stream: int, conditioning: Any) -> Head:
        """Of one of the job's latents."""
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(options.seed), i), stream)
        return _draw(config, params.generator, key, jnp.asarray(conditioning), options.truncation)

    def view(own: Head, camera: Any) -> Any:
        return see(config, params.generator, own, np.asarray(camera), side=options.size)

    def seen_from(stream: int, camera: Any, part: str) -> Any:
        """A new head, as this part looks at it."""
        conditioning = (original_front() if options.rendering == "panohead" else front()) if part == "back" else camera
        if options.rendering == "own":
            return view(head(stream, conditioning), camera)
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(options.seed), i), stream)
        labels = jnp.asarray(conditioning), jnp.asarray(camera)
        sizes = {"side": options.size, "adapted": part != "back"}
        return jax.device_get(original_view(config, params.generator, key, *labels, options.truncation, **sizes))

    assert networks.features is not None
    rng = np.random.default_rng((options.seed, i))
    record: Record = {}
    with jax.default_device(device):
        for stream, part in enumerate(PARTS):
            if not len(cameras[part]):
                continue
            camera = rng.choice(cameras[part])
            for again in (False, True):
                seen = seen_from(2 * stream + again, camera, part)
                if not np.isfinite(seen.image).all():
                    raise InputError("checkpoint must give finite pictures, got NaN or infinity")
                found = networks.features(seen.image[None])
                record[f"{part}_again" if again else part] = found["features"][0]
                if "logits" in found and not again:
                    record[f"{part}_logits"] = found["logits"][0]
                if part == "all" and not again and networks.segmenter is not None:
                    truth = networks.segmenter(seen.image[None])[0]
                    record["mask"] = np.array(mask_error(seen.mask[..., 0], truth))
        if networks.aligned is not None:
            yaws = np.radians(IDENTITY_YAWS)
            sides = [look_at(yaw, radius=config.camera_radius, pivot=config.camera_pivot) for yaw in yaws]
            first, second = (
                embed(networks, view(head(2 * len(PARTS), front()), side).image)["aligned"] for side in sides
            )
            record["identity"] = np.array(cosine(first, second))
    return record


def original_front() -> jax.Array:
    """The camera [25] that FID-back's heads are conditioned on: the front, but the original's pi is 3.14."""
    return look_at((3.14 - math.pi) / 2, (3.14 - math.pi) / 2)


@functools.partial(jax.jit, static_argnums=0, static_argnames=("side", "adapted"))
def original_view(config, variables, key, conditioning, camera, truncation, *, side: int, adapted: bool) -> View:
    """A new head as the original's metrics render it, from a camera [25]; its picture is at most `side` wide.

    Args:
      key: draws latent, noise and samples along rays.
      conditioning: label [25] of the mapping.
      adapted: shift the camera by the head's own translation, where the generator has one.

    Source: PanoHead's `metrics/metric_utils.py`, on `TriPlaneGenerator.forward`.
    """
    plane_key, background_key, ray_key, finish_key = (jax.random.fold_in(key, n) for n in range(1, 5))
    z = jax.random.normal(key, (1, config.z_dim))
    ws = map_latent(config, variables, z, conditioning[None], truncation=truncation)
    planes = synthesize(config, variables, ws, noise="random", key=plane_key)
    behind = background(config, variables, ws, noise="random", key=background_key) if config.background else None
    labels = camera[None]
    if adapted and config.camera_adaptation:
        labels, _ = adapt_camera(config, variables, z, labels, truncation=truncation)
    uniforms = draw_uniforms(ray_key, (1, config.rendering_resolution**2), config)
    heads = Head(planes, ws, behind)
    view = finish(config, variables, render_volume(config, variables, heads, labels, uniforms), heads, key=finish_key)
    image = view.image.astype(jnp.float32)
    image = pool(image, side) if image.shape[1] > side else image
    image = jnp.floor(jnp.clip(image * 127.5 + 128, 0, 255)) / 127.5 - 1  # as bytes
    return jax.tree.map(lambda x: x[0], dataclasses.replace(view, image=image))


def _real(networks: Networks, options: GeneratorMeasuring, device: Any, sample: Sample) -> Record:
    """{"features": [k, F], "cameras": [k, 25]} of a sample's pictures."""
    assert networks.features is not None
    with jax.default_device(device):
        pictures = sample.load(options.size)
        features = [networks.features(picture.image[None])["features"][0] for picture in pictures]
    return {"features": np.stack(features), "cameras": np.stack([picture.camera for picture in pictures])}


@functools.partial(jax.jit, static_argnums=0)
def _draw(config, variables, key, label, truncation) -> Head:
    """A head [1, ...] of a latent, conditioned on a label [25]."""
    z = jax.random.normal(key, (1, config.z_dim))
    ws = map_latent(config, variables, z, label[None], truncation=truncation)
    return make_heads(config, variables, synthesize(config, variables, ws), ws)
