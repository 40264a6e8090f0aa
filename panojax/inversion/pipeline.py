"""Dual-encoder inversion: from one portrait to a head.

Each encoder predicts style codes from the portrait (W+ stage), then a tri-grid offset from what the generator made of
them and what is missing (F stage). The depth of the visible encoder's head, seen from the portrait's camera, tells
which texels the portrait shows; there the visible encoder's tri-grid is kept, elsewhere the occluded encoder's. What
the stitched head still misses of the portrait may become features of its pixels (local branch).
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from panojax.camera import mirror
from panojax.config import Config
from panojax.encoders import dual
from panojax.encoders.encoder import encode_local, encode_offsets, encode_styles
from panojax.fields.local_branch import make_branch
from panojax.fields.representation import Representation
from panojax.generators import generator
from panojax.generators.generator import Head, View
from panojax.generators.generator_config import GeneratorConfig
from panojax.nn.stylegan2 import pool
from panojax.render.occlusion import occlusion_mask
from panojax.render.renderer import draw_uniforms


@struct.dataclass
class Parts:
    """What `invert` stitched.

    Attributes:
      visible: the head of the encoder that is faithful to the portrait.
      occluded: the head of the encoder that is plausible where the portrait shows nothing.
      mask: [*field.cells], for a tri-grid [3, D, H, W]: 1 = occluded from the portrait's camera.
    """

    visible: Head
    occluded: Head
    mask: jax.Array


def encode(config: Config, variables: Any, encoders: Any, images: jax.Array, labels: jax.Array) -> tuple[Head, Head]:
    """The heads of both encoders for portraits [N, S, S, 3] seen from labels [N, 25], neither stitched nor localised.

    Rendering runs as one batch of 2 N, first the visible encoder's N, then the occluded one's.
    """
    encoder = config.encoder
    assert encoder is not None
    both = dual.plain(encoders["both"])
    stored = isinstance(encoders["both"], dual.Stored)
    on_both = dual.at_once if stored and encoders["both"].output_first else dual.on_both
    pictures = pool(images, encoder.resolution)
    twice = jnp.broadcast_to(pictures, (2, *pictures.shape))
    codes = on_both(functools.partial(encode_styles, encoder), both, twice)
    ws = _flatten(codes).astype(jnp.float32) + encoders["latent_average"]
    planes = generator.synthesize(config.generator, variables, ws)
    heads = generator.make_heads(config.generator, variables, planes, ws)
    inputs = residual_input(config, variables, heads, _flatten(twice), jnp.concatenate([labels, labels]))
    data = [jax.lax.stop_gradient(inputs)]
    if encoder.planes_channels:
        data.append(pool(config.generator.field.to_image(planes).astype(jnp.float32), encoder.resolution))
    data = [x.reshape(2, -1, *x.shape[1:]) for x in data]
    offsets = on_both(functools.partial(encode_offsets, encoder), both, *data)
    planes = planes + offset_planes(config.generator, _flatten(offsets)).astype(planes.dtype)
    heads = dataclasses.replace(heads, planes=planes)
    halves = jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[1:]), heads)
    return dual.part(halves, dual.VISIBLE), dual.part(halves, dual.OCCLUDED)


def _flatten(x: jax.Array) -> jax.Array:
    return x.reshape(-1, *x.shape[2:])


def residual_input(config: Config, variables: Any, heads: Head, pictures: jax.Array, labels: jax.Array) -> jax.Array:
    """The F stage's input [N, R, R, 6 or 9]: the rendering y, the residual x - y, and maybe the mirrored residual.

    The mirrored residual is the flipped portrait minus the head seen from the mirrored camera.
    """
    encoder = config.encoder
    assert encoder is not None
    rendering = pool(render_heads(config.generator, variables, heads, labels).image, encoder.resolution)
    channels = [rendering, pictures - rendering]
    if encoder.offset_in_channels == 9:
        other = render_heads(config.generator, variables, heads, mirror(labels)).image
        channels.append(pictures[:, :, ::-1] - pool(other, encoder.resolution))
    return jnp.concatenate(channels, axis=-1)


def local_input(
    config: Config, variables: Any, heads: Head, pictures: jax.Array, labels: jax.Array
) -> tuple[jax.Array, View]:
    """The local branch's input [N, R, R, 4], see `encode_local`, and the views of the heads so far from labels [N, 25].

    Neither passes a gradient.
    """
    encoder, model = config.encoder, config.generator
    assert encoder is not None
    view = jax.lax.stop_gradient(render_heads(model, variables, heads, labels))
    depth = (view.depth - model.camera_radius) * view.weight * (2 / model.box_warp)
    residual = pictures - pool(view.image.astype(jnp.float32), encoder.resolution)
    return jax.lax.stop_gradient(jnp.concatenate([residual, pool(depth, encoder.resolution)], axis=-1)), view


@functools.partial(jax.jit, static_argnames=("config", "which"))
def localize(
    config: Config, variables: Any, encoders: Any, heads: Head, images: jax.Array, labels: jax.Array, *, which: int
) -> Head:
    """Heads with features of what they miss of their portraits [N, S, S, 3], which are seen from labels [N, 25].

    By the local branch of one encoder, `dual.VISIBLE` or `dual.OCCLUDED`.
    """
    encoder = config.encoder
    assert encoder is not None
    stored = isinstance(encoders["both"], dual.Stored)
    pictures = pool(images, encoder.resolution)
    inputs, view = local_input(config, variables, heads, pictures, labels)
    one = dual.part(dual.plain(encoders["both"]), which)
    features, fusion = encode_local(encoder, one, inputs, products=stored and encoders["both"].output_first)
    return dataclasses.replace(heads, local=make_branch(features, view, labels, fusion))


def offset_planes(config: GeneratorConfig, offsets: jax.Array) -> jax.Array:
    """Offsets [N, R, R, channels] as planes [N, *field.shape], resized where the encoder's side is another."""
    return config.field.from_image(pool(offsets.astype(jnp.float32), config.field.resolution))


def render_heads(
    config: GeneratorConfig, variables: Any, heads: Head, labels: jax.Array, *, resolution: int | None = None
) -> View:
    """Views of a batch of heads, with midpoint sampling."""
    side = resolution or config.rendering_resolution
    uniforms = draw_uniforms(None, (labels.shape[0], side * side), config)
    rendered = generator.render_volume(config, variables, heads, labels, uniforms)
    return generator.finish(config, variables, rendered, heads)


def head_occlusion(
    config: GeneratorConfig, variables: Any, heads: Head, labels: jax.Array, *, threshold: float = 0.5
) -> jax.Array:
    """Occlusion masks [N, *field.cells] of heads seen from labels [N, 25], from their own rendered depth.

    The depth is rendered at half the planes' resolution, or the usual one where that is finer.
    """
    side = max(config.rendering_resolution, config.field.resolution // 2)
    uniforms = draw_uniforms(None, (labels.shape[0], side * side), config)
    rendered = generator.render_volume(config, variables, heads, labels, uniforms, colours=False)
    occlusion = functools.partial(view_occlusion, config, threshold=threshold)
    return jax.vmap(occlusion)(rendered.depth, rendered.weight, labels)


def view_occlusion(config: GeneratorConfig, depth, weight, label, *, threshold: float = 0.5) -> jax.Array:
    """`occlusion_mask` of the generator's representation: depth, weight [R, R, 1], label [25] -> [*field.cells]."""
    return occlusion_mask(config.field, depth, weight, label, box_warp=config.box_warp, threshold=threshold)


def stitch(field: Representation, visible: Head, occluded: Head, mask: jax.Array, *, rule: str = "texel") -> Head:
    """Joins two heads: `visible` where mask [..., *field.cells] is 0, `occluded` where it is 1.

    "texel" blends the planes, T = (1 - O) T1 + O T2. "sample" keeps both and lets every lookup choose: the visible
    one where it is not zero, else the occluded one. Background, raw RGB and super-resolution take the visible head's
    codes.
    """
    if rule == "sample":
        kept = field.masked(visible.planes, 1 - mask)
        return dataclasses.replace(visible, planes=kept, occluded_planes=occluded.planes)
    return dataclasses.replace(visible, planes=field.blend(visible.planes, occluded.planes, mask))


def invert_batch(
    config: Config,
    variables: Any,
    encoders: Any,
    images: jax.Array,
    labels: jax.Array,
    *,
    stitching: str = "texel",
    threshold: float = 0.5,
) -> tuple[Head, Parts]:
    """Heads of portraits [N, S, S, 3] seen from labels [N, 25], and the parts they are stitched from, not localised."""
    visible, occluded = encode(config, variables, encoders, images, labels)
    mask = head_occlusion(config.generator, variables, visible, labels, threshold=threshold)
    head = stitch(config.generator.field, visible, occluded, mask, rule=stitching)
    assert config.encoder is not None
    if config.encoder.local_features:
        head = localize(config, variables, encoders, head, images, labels, which=dual.VISIBLE)
    return head, Parts(visible, occluded, mask)


def localize_parts(
    config: Config, variables: Any, encoders: Any, parts: Parts, images: jax.Array, labels: jax.Array
) -> Parts:
    """The parts of `invert_batch`, each head with its own encoder's local branch, where the encoders have one."""
    assert config.encoder is not None
    if not config.encoder.local_features:
        return parts
    local = functools.partial(localize, config, variables, encoders, images=images, labels=labels)
    visible, occluded = (
        local(heads=heads, which=which)
        for heads, which in ((parts.visible, dual.VISIBLE), (parts.occluded, dual.OCCLUDED))
    )
    return dataclasses.replace(parts, visible=visible, occluded=occluded)
