"""The generator on batches: latent -> style codes -> tri-grid -> picture. Pure functions of (config, variables, data).

`variables` is {"params": {module path: tree}, "constants": {module path: tree}} as `networks.init` makes it.
Everything here has a leading batch axis N; the public functions of `panojax` are single-example and built on these.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from panojax.arrays import AnyArray, Bool, Float
from panojax.camera import camera_rays
from panojax.errors import InputError
from panojax.fields.local_branch import modulate
from panojax.generators.generator_config import GeneratorConfig, count_ws
from panojax.generators.networks import block_width, build, module_variables
from panojax.kernels.fusion import by_blocks, written_in_order
from panojax.nn.stylegan2 import resize
from panojax.render.occlusion import frontal_mask, occlusion_mask
from panojax.render.occupied import in_occupied, look_up_kept, occupied_cells
from panojax.render.renderer import EMPTY, Rendered, crop_density, draw_uniforms, render_rays


@struct.dataclass
class Head:
    """A head that can be rendered from any camera.

    Attributes:
      planes: the representation's array [*field.shape]; a tri-grid is [3, D, H, W, C]: plane, depth slice, row, column,
        channel.
      ws: style codes [L, w_dim], for the background, raw RGB and super-resolution.
      background: None, or the background's features [r, r, C] made from `ws`, kept so that views need not make them
        again.
      occluded_planes: None, or a second array of the same shape that is looked up where `planes` gives zero.
      local: None, or the `LocalBranch` of the encoder that made the head.
    """

    planes: Float[AnyArray, " *batch_and_shape"]
    ws: Float[AnyArray, "*batch L w_dim"]
    background: Float[AnyArray, "*batch r r C"] | None = None
    occluded_planes: Float[AnyArray, " *batch_and_shape"] | None = None
    local: Any = None


@struct.dataclass
class View:
    """A head seen from one camera.

    Attributes:
      image: final picture [H, W, 3] in about [-1, 1].
      raw: picture at the rendering resolution [R, R, 3].
      depth: expected distance along each pixel's ray [R, R, 1], in world units.
      weight: opacity of each ray [R, R, 1] in [0, 1].
      mask: foreground mask [R, R, 1], about [0, 1] (weight * 1.002 - 0.001).
    """

    image: Float[AnyArray, "*batch H W 3"]
    raw: Float[AnyArray, "*batch R R 3"]
    depth: Float[AnyArray, "*batch R R 1"]
    weight: Float[AnyArray, "*batch R R 1"]
    mask: Float[AnyArray, "*batch R R 1"]


def _apply(config: GeneratorConfig, variables: Any, path: str, *args, noise: str = "const", key=None, **options):
    rngs = {"noise": key} if key is not None else None
    return build(config, noise=noise)[path].apply(module_variables(variables, path), *args, rngs=rngs, **options)


def _conditioning(config, label):
    return jnp.zeros_like(label) if config.zero_conditioning else jnp.asarray(label) * config.camera_scale


def map_latent(
    config: GeneratorConfig,
    variables: Any,
    z: Float[AnyArray, "N z_dim"],
    label: Float[AnyArray, "N c_dim"],
    *,
    truncation: Any = 1.0,
    cutoff: int | None = None,
) -> Float[jax.Array, "N L w_dim"]:
    """Style codes [N, L, w_dim] of latents z [N, z_dim], conditioned on camera labels [N, c_dim].

    `truncation` pulls the first `cutoff` codes (all when None) towards `w_avg`.
    """
    label = _conditioning(config, label)
    w = _apply(config, variables, "backbone.mapping", z, label)
    ws = jnp.broadcast_to(w[:, None], (w.shape[0], config.num_ws, w.shape[1]))
    average = variables["constants"]["backbone.mapping"]["w_avg"]
    truncated = average + truncation * (ws - average)
    if cutoff is None:
        return truncated
    return jnp.where(jnp.arange(config.num_ws)[:, None] < cutoff, truncated, ws)


def adapt_camera(config, variables, z, label, *, truncation=1.0) -> tuple[jax.Array, jax.Array]:
    """Camera self-adaptation: labels [N, 25] shifted by a learned translation, and that translation [N, 3].

    The label that is shifted is the one given, whatever `camera_scale`, but zeros under `zero_conditioning` (the
    reference's quirk). `truncation` pulls the translation towards its mean over latents.
    """
    delta = _apply(config, variables, "t_mapping", z, _conditioning(config, label))
    average = variables["constants"]["t_mapping"]["w_avg"]
    delta = average + truncation * (delta - average)
    label = jnp.zeros_like(label) if config.zero_conditioning else jnp.asarray(label)
    return label.at[:, jnp.array([3, 7, 11])].add(delta), delta


def synthesize(
    config: GeneratorConfig, variables: Any, ws: Float[AnyArray, "N L w_dim"], *, noise: str = "const", key: Any = None
) -> Float[jax.Array, "N *cells C"]:
    """Planes [N, *field.shape] of style codes [N, L, w_dim]. `noise`: "const", "none" or "random" (needs `key`)."""
    image = _apply(config, variables, "backbone.synthesis", ws, noise=noise, key=key)
    return written_in_order(config.field.from_image(image).astype(config.dtype))


def synthesize_features(
    config: GeneratorConfig, variables: Any, ws: Float[AnyArray, "N L w_dim"], resolution: int
) -> tuple[jax.Array, jax.Array]:
    """The backbone up to its block of a resolution r: features [N, r, r, F] and the running image [N, r, r, channels].

    `synthesize_from` goes on from there.

    Raises:
      InputError: the backbone has no such block, or ends with it.
    """
    block_features(config, resolution)
    pair: tuple[jax.Array, jax.Array] = _apply(config, variables, "backbone.synthesis", ws, stop=resolution)
    return pair


def synthesize_from(
    config: GeneratorConfig, variables: Any, ws: Float[AnyArray, "N L w_dim"], features: jax.Array, image: jax.Array
) -> Float[jax.Array, "N *cells C"]:
    """Planes [N, *field.shape], by the backbone's blocks after the one that `synthesize_features` gave."""
    image = _apply(config, variables, "backbone.synthesis", ws, (features, image))
    return written_in_order(config.field.from_image(image).astype(config.dtype))


def block_features(config: GeneratorConfig, resolution: int) -> int:
    """Features F of the backbone's block of a resolution, from which it goes on.

    Raises:
      InputError: it has no such block, or ends with it.
    """
    if config.field.resolution <= resolution:
        raise InputError(
            f"the backbone must go on from a {resolution} x {resolution} block, "
            f"got one that ends at {config.field.resolution} x {config.field.resolution}"
        )
    return block_width(config.channel_base, config.channel_max, resolution)


@functools.partial(jax.jit, static_argnames=("config", "colours"))
def query_field(
    config: GeneratorConfig, variables: Any, head: Head, points: Float[AnyArray, "M 3"], *, colours: bool = True
) -> tuple[Float[jax.Array, " M"], Float[jax.Array, "M C"]]:
    """Densities [M] before their softplus and colour features [M, C] of world points [M, 3], for one head.

    Without `colours`, these are [M, 0]. By `jit`, so that coarse and fine points are traced and lowered once.
    """
    return by_blocks(_query, (config, colours), variables, head, points)


def _query(static, variables, head, points):
    config, colours = static
    in_box = points * (2 / config.box_warp)
    if head.occluded_planes is None:
        features = config.field.look_up(head.planes, in_box)
    else:
        features = config.field.look_up_stitched(head.planes, head.occluded_planes, in_box)
    if head.local is not None:
        features = modulate(head.local, features, points, box_warp=config.box_warp)
    return _apply(config, variables, "decoder", features, colours=colours)


def render_volume(
    config,
    variables,
    heads: Head,
    labels,
    uniforms,
    *,
    density_noise: float = 0.0,
    key=None,
    colours: bool = True,
    occupied=None,
) -> Rendered:
    """Volume rendering of a batch of heads from labels [N, 25] at R x R.

    Args:
      uniforms: coarse [N, R * R, S] and fine [N, R * R, S_fine] draws; they set the resolution.
      colours: False where weight and depth are all that is needed: the feature is [N, R, R, 0].
      occupied: None, or `head_occupied` of the heads [N, n, n, n]: samples elsewhere are not looked up. Without
        gradients.

    Returns:
      Feature [N, R, R, C], weight and depth [N, R, R, 1].
    """
    n, rays = uniforms[0].shape[:2]
    resolution = round(rays**0.5)
    origins, directions = camera_rays(labels, resolution)

    def field(head, cells, points):
        query = functools.partial(query_field, config, variables, head, colours=colours)
        if cells is None:
            return query(points)
        return look_up_kept(query, points, in_occupied(cells, points, config.box_warp), EMPTY)

    def of_all(points):
        if n > 1 or occupied is None:
            return jax.vmap(field)(heads, occupied, points)
        # Of one head without `vmap`, which would make each head's loop go on until the last one's ends.
        head, cells, places = jax.tree.map(lambda x: x[0], (heads, occupied, points))
        return jax.tree.map(lambda x: x[None], field(head, cells, places))

    rendered = render_rays(of_all, origins, directions, uniforms, config, density_noise=density_noise, key=key)
    return jax.tree.map(lambda x: x.reshape(n, resolution, resolution, x.shape[-1]), rendered)


def background(
    config: GeneratorConfig, variables: Any, ws: Float[AnyArray, "N L w_dim"], *, noise: str = "const", key: Any = None
) -> Float[jax.Array, "N r r C"]:
    """Background features [N, r, r, C] at the super-resolution's input size r, of style codes [N, L, w_dim].

    Where the background has more layers than there are codes, the last code serves the rest.
    """
    missing = max(count_ws(config.superresolution_input) - ws.shape[1], 0)
    ws = jnp.concatenate([ws, jnp.repeat(ws[:, -1:], missing, axis=1)], axis=1)
    return _apply(config, variables, "bcg_synthesis", ws, noise=noise, key=key)


def make_heads(
    config: GeneratorConfig, variables: Any, planes: Float[AnyArray, "N *cells C"], ws: Float[AnyArray, "N L w_dim"]
) -> Head:
    """Heads of planes [N, *field.shape] and their style codes [N, L, w_dim], with their backgrounds."""
    return Head(planes, ws, background(config, variables, ws) if config.background else None)


def finish(
    config, variables, rendered: Rendered, heads: Head, *, background_ws=None, noise: str = "const", key=None
) -> View:
    """From rendered features [N, R, R, C] to pictures: background, raw RGB, super-resolution.

    Args:
      heads: whose last style code drives raw RGB and super-resolution.
      background_ws: other style codes for the background, or None for the heads'.
      noise: noise mode of the background, where the heads do not hold it.
      key: for random noise, here or in the super-resolution.
    """
    background_key, superresolution_key = jax.random.split(key) if key is not None else (None, None)
    resolution = rendered.feature.shape[1]
    feature, weight = rendered.feature, rendered.weight
    if config.decoder_activation == "sigmoid":
        feature = feature * 2 - 1
    ws = heads.ws
    if config.background:
        behind = heads.background
        if behind is None or background_ws is not None:
            styles = ws if background_ws is None else background_ws
            behind = background(config, variables, styles, noise=noise, key=background_key)
        feature = feature + (1 - weight) * resize(behind, resolution, antialias=config.antialias)
    raw = _apply(config, variables, "torgb", feature, ws[:, -1]) if config.raw_to_rgb else feature[..., :3]
    side = config.superresolution_input
    small, rgb = feature, raw
    # The 4X module leaves pictures that are larger than its input as they are.
    if resolution < side or config.superresolution != "4X":
        small, rgb = (resize(x, side, antialias=config.antialias) for x in (feature, raw))
    image = _apply(config, variables, "superresolution", rgb, small, ws[:, -1], key=superresolution_key)
    mask = weight * (1 + 2 * 0.001) - 0.001
    return View(image=image, raw=raw, depth=rendered.depth, weight=weight, mask=mask)


def render_heads(
    config: GeneratorConfig, variables: Any, heads: Head, labels: jax.Array, *, resolution: int | None = None
) -> View:
    """Views of a batch of heads, with midpoint sampling."""
    side = resolution or config.rendering_resolution
    uniforms = draw_uniforms(None, (labels.shape[0], side * side), config)
    rendered = render_volume(config, variables, heads, labels, uniforms)
    return finish(config, variables, rendered, heads)


def head_occupied(config: GeneratorConfig, variables: Any, head: Head) -> Bool[jax.Array, "n n n"]:
    """Where one head is, see `render.occupied.occupied_cells`."""

    def density(points):
        return crop_density(query_field(config, variables, head, points, colours=False)[0], points, config)

    return occupied_cells(density, box_warp=config.box_warp)


def head_occlusion(
    config: GeneratorConfig, variables: Any, heads: Head, labels: jax.Array, *, threshold: float | jax.Array = 0.5
) -> jax.Array:
    """Occlusion masks [N, *field.cells] of heads seen from labels [N, 25], from their own rendered depth.

    The depth is rendered at half the planes' resolution, or the usual one where that is finer.
    """
    rendered = _depths(config, variables, heads, labels)
    occlusion = functools.partial(view_occlusion, config, threshold=threshold)
    return jax.vmap(occlusion)(rendered.depth, rendered.weight, labels)


def head_frontality(
    config: GeneratorConfig, variables: Any, heads: Head, labels: jax.Array, *, threshold: float | jax.Array = 0.5
) -> jax.Array:
    """How frontally heads are seen from labels [N, 25]: `frontal_mask` [N, *field.cells] of the same depth as
    `head_occlusion` takes."""
    rendered = _depths(config, variables, heads, labels)
    mask = functools.partial(frontal_mask, config.field, box_warp=config.box_warp, threshold=threshold)
    return jax.vmap(mask)(rendered.depth, rendered.weight, labels)


def _depths(config, variables, heads, labels):
    side = max(config.rendering_resolution, config.field.resolution // 2)
    uniforms = draw_uniforms(None, (labels.shape[0], side * side), config)
    return render_volume(config, variables, heads, labels, uniforms, colours=False)


def view_occlusion(config: GeneratorConfig, depth, weight, label, *, threshold: float | jax.Array = 0.5) -> jax.Array:
    """`occlusion_mask` of the generator's representation: depth, weight [R, R, 1], label [25] -> [*field.cells]."""
    return occlusion_mask(config.field, depth, weight, label, box_warp=config.box_warp, threshold=threshold)
