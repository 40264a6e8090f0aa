"""Which cells belong to a part of a head: a region float32 [*field.areas], 1 inside, 0 outside.

Of a tri-grid it is [3, H, W]: one mask a plane, the same for all its depth slices.
"""

import jax
import jax.numpy as jnp
import numpy as np

from panojax.api import check_array, check_finite, check_head
from panojax.camera import camera_rays
from panojax.errors import InputError, check_choice
from panojax.generators import generator
from panojax.generators.generator import Head
from panojax.generators.generator_config import GeneratorConfig
from panojax.nn.stylegan2 import pool
from panojax.params import Params
from panojax.render.renderer import draw_uniforms, render_rays

# Texels on which less rests than this share of an opaque surface that faces the camera are not seen.
SEEN = 0.1


def find_region(
    params: Params, head: Head, masks: jax.Array, cameras: jax.Array, *, threshold: float = 0.5
) -> jax.Array:
    """The region of what 2D masks show of a head.

    The masked rendering's gradient says how much of it rests on each texel: that of the tri-grid's lookups, weighted as
    their samples are in the picture, so that the decoder's own slopes play no part. A texel is inside where more than
    `threshold` of all that rests on it, over the views, lies under the masks.

    Args:
      masks: [V, S, S] in [0, 1], S the side of the model's pictures.
      cameras: labels [V, 25], one a mask.
      threshold: share in [0, 1).

    Returns:
      float32 [3, H, W] of 0 and 1.

    Raises:
      InputError: a mask has another size than the model's pictures, or no camera.

    Source: dual-encoder inversion, section 5.3, after reference-based editing in tri-planes (gradient-derived masks).
    """
    config = params.config.generator
    check_head(params, head)
    size = config.image_resolution
    masks = check_array("masks", masks, (None, size, size), f": [V, S, S] with S = {size}, as the model's pictures")
    cameras = check_array("cameras", cameras, (None, 25), ": [V, 25], a label for each mask")
    if len(cameras) != len(masks) or not len(masks):
        raise InputError(f"cameras must be one for each of 1 or more masks, got {len(cameras)} for {len(masks)} masks")
    for name, value in (("masks", masks), ("cameras", cameras), ("threshold", threshold)):
        check_finite(name, value)
    side = _rays(config)
    masks = jnp.clip(pool(masks[..., None].astype(jnp.float32), side)[..., 0], 0, 1)

    def votes(view):
        mask, camera = view
        probe = jnp.zeros((*config.field.cells, 1))
        _, pull = jax.vjp(lambda probe: _render_probe(params, head, probe, camera, side), probe)
        inside, outside = (config.field.area_of(pull(m)[0][..., 0]) for m in (mask, 1 - mask))
        return jnp.stack([inside, outside]) / _facing(config, camera, side)

    inside, outside = _smooth(jax.lax.map(votes, (masks, cameras)).sum(0))
    return ((inside > SEEN) & (inside > threshold * (inside + outside))).astype(jnp.float32)


def solid_region(params: Params, centre: jax.Array, radii: jax.Array, *, shape: str = "ellipsoid") -> jax.Array:
    """The region of a box or an ellipsoid with its axes along the world's: its shadow on each plane.

    Args:
      centre: [3] in world units (x to the person's left, y up, z out of the face).
      radii: [3], half of its sides.
      shape: "ellipsoid" or "box".

    Returns:
      float32 [3, H, W] of 0 and 1.
    """
    config = params.config.generator
    check_choice("shape", shape, ("ellipsoid", "box"))
    centre, radii = check_array("centre", centre, (3,)), check_array("radii", radii, (3,))
    check_finite("centre", centre)
    check_finite("radii", radii)
    in_box = 2 / config.box_warp
    return config.field.solid_area(centre * in_box, radii * in_box, shape).astype(jnp.float32)


def show_region(params: Params, head: Head, region: jax.Array, camera: jax.Array) -> jax.Array:
    """How much of each pixel of a head rests on a region: [R, R] in [0, 1], 1/3 where one of three planes is inside."""
    config = params.config.generator
    check_head(params, head)
    region = check_region(params, region)
    camera = check_array("camera", camera, (25,))
    probe = jnp.broadcast_to(config.field.fill_area(region), config.field.cells)[..., None]
    return _render_probe(params, head, probe, camera, _rays(config))


def check_region(params: Params, region: jax.Array) -> jax.Array:
    """A region as an array. InputError for another shape, and where it is known (not in a trace) for NaN and none."""
    region = check_array("region", region, params.config.generator.field.areas)
    check_finite("region", region)
    if not isinstance(region, jax.core.Tracer) and not np.any(np.asarray(region) > 0):
        raise InputError("region must hold at least one texel, got an empty one: the part is nowhere on the head")
    return region


def soften(region: jax.Array, border: int) -> jax.Array:
    """Weights [..., H, W] that are 1 in a region and fall to 0 within 2 * `border` texels around it."""
    lead = region.ndim - 2
    window, strides = ((1,) * lead + (2 * border + 1,) * 2), (1,) * region.ndim
    grown = jax.lax.reduce_window(region, 0.0, jax.lax.max, window, strides, "SAME")
    padded = jnp.pad(grown, ((0, 0),) * lead + ((border, border),) * 2, mode="edge")
    # Sums of zeros and ones are exact, so that weights are exactly 0 and 1 where they should be.
    return jax.lax.reduce_window(padded, 0.0, jax.lax.add, window, strides, "VALID") / window[-1] ** 2


def _rays(config: GeneratorConfig) -> int:
    """Side of the rendering that finds texels: the usual one, or half the planes' where that is finer."""
    return max(config.rendering_resolution, config.field.resolution // 2)


def _render_probe(params, head, probe, camera, side):
    """Planes of one feature seen as the colour of a head's own densities: [side, side]."""
    config = params.config.generator

    def field(points):
        densities, _ = generator.query_field(config, params.generator, head, points)
        return densities, config.field.look_up(probe, points * (2 / config.box_warp))

    origins, directions = camera_rays(camera, side)
    rendered = render_rays(field, origins, directions, draw_uniforms(None, (side * side,), config), config)
    offset = 1 - rendered.weight[:, 0] if config.white_back else 0.0
    return (rendered.feature[:, 0] - offset).reshape(side, side)


def _facing(config, camera, side):
    """What rests on a texel of an opaque surface that faces a camera: its share of the rays through it."""
    distance = jnp.linalg.norm(camera[jnp.array([3, 7, 11])])
    pixels = jnp.abs(camera[16]) * side * (config.box_warp / config.field.resolution) / distance
    return pixels**2 / config.field.reads


def _smooth(votes):
    """Means over 3 x 3 texels of [..., H, W]: fills pinholes and thins out single votes."""
    window = (*(1,) * (votes.ndim - 2), 3, 3)
    return jax.lax.reduce_window(votes, 0.0, jax.lax.add, window, (1,) * votes.ndim, "SAME") / 9
