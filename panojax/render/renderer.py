"""Volume rendering of a tri-grid: features, opacity and depth along rays."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import struct

from panojax.kernels.activations import softplus
from panojax.render.marching import clip_depth, interval_weights, sample_weights
from panojax.render.occupied import FAR
from panojax.render.rays import box_range, importance_depths, stratified_depths

# Density of empty space, before the softplus.
EMPTY = -1000.0
SOLID = 1000.0

Field = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


class RayOptions(Protocol):
    """What the renderer reads of a `GeneratorConfig`, which says what each is."""

    @property
    def ray_start(self) -> Any: ...

    @property
    def ray_end(self) -> Any: ...

    @property
    def depth_samples(self) -> int: ...

    @property
    def importance_samples(self) -> int: ...

    @property
    def box_warp(self) -> float: ...

    @property
    def crop_margin(self) -> float | None: ...

    @property
    def disparity_sampling(self) -> bool: ...

    @property
    def white_back(self) -> bool: ...

    @property
    def cull_clouds(self) -> float: ...

    @property
    def binarize_clouds(self) -> float: ...


@struct.dataclass
class Rendered:
    """What rays saw: feature [..., M, C], weight [..., M, 1] in [0, 1], depth [..., M, 1] along the unit directions."""

    feature: jax.Array
    weight: jax.Array
    depth: jax.Array


def render_rays(
    field: Field,
    origins: jax.Array,
    directions: jax.Array,
    uniforms: tuple[jax.Array, jax.Array],
    config: RayOptions,
    *,
    density_noise: float = 0.0,
    key: jax.Array | None = None,
) -> Rendered:
    """Renders rays through a field of densities and colours, coarse to fine.

    Args:
      field: points [..., K, 3] in the world -> densities [..., K] before their softplus, colours [..., K, C].
      origins, directions: [..., M, 3], directions of unit length.
      uniforms: draws in [0, 1): coarse [..., M, S], fine [..., M, S_fine].
      density_noise: standard deviation of the noise added to densities; needs `key`.
      key: for the density noise.

    Source: EG3D's ImportanceRenderer with PanoHead's crop.
    """
    coarse_uniforms, fine_uniforms = uniforms
    start, end = _ray_range(origins, directions, config)
    keys = jax.random.split(key, 2) if key is not None else (None, None)

    def query(depths, noise_key):
        points = origins[..., None, :] + depths[..., None] * directions[..., None, :]
        looked_up = points
        if not config.binarize_clouds:  # where samples next to solid ones count, wherever they are
            looked_up = jnp.where(_outside_slab(points, config)[..., None], FAR * config.box_warp, points)
        densities, colours = field(looked_up.reshape(*points.shape[:-3], -1, 3))
        densities = densities.reshape(depths.shape)
        if density_noise:
            densities = densities + density_noise * jax.random.normal(noise_key, densities.shape)
        densities = crop_density(densities, points, config)
        return densities, colours.reshape(*depths.shape, colours.shape[-1])

    depths = stratified_depths(start, end, coarse_uniforms, disparity=config.disparity_sampling)
    densities, colours = query(depths, keys[0])
    if config.importance_samples:
        weights = interval_weights(*jax.lax.stop_gradient((densities, depths)))
        fine_depths = jax.lax.stop_gradient(importance_depths(depths, weights, fine_uniforms))
        fine_densities, fine_colours = query(fine_depths, keys[1])
        depths = jnp.concatenate([depths, fine_depths], axis=-1)
        densities = jnp.concatenate([densities, fine_densities], axis=-1)
        colours = jnp.concatenate([colours, fine_colours], axis=-2)
    weights, total, depth = sample_weights(densities, depths, ordered=not config.importance_samples)
    feature = jnp.einsum("...s,...sc->...c", weights, colours, precision=jax.lax.Precision.HIGHEST)
    if config.white_back:
        feature = feature + (1 - total[..., None])
    return Rendered(feature, total[..., None], clip_depth(depth, depths)[..., None])


def crop_density(densities: jax.Array, points: jax.Array, config: RayOptions) -> jax.Array:
    """Densities [...] with the space outside the crop slab empty, and clouds culled or binarised; points [..., 3]."""
    threshold = config.binarize_clouds or config.cull_clouds
    if threshold:
        thin = 1 - jnp.exp(-softplus(densities - 1)) < threshold
        densities = jnp.where(thin, EMPTY, SOLID if config.binarize_clouds else densities)
    return jnp.where(_outside_slab(points, config), EMPTY, densities)


def draw_uniforms(key: jax.Array | None, shape: tuple[int, ...], config: RayOptions) -> tuple[jax.Array, jax.Array]:
    """Sampling draws for rays of `shape`: coarse [*shape, S] and fine [*shape, S_fine]; midpoints where key is None."""
    coarse, fine = (*shape, config.depth_samples), (*shape, config.importance_samples)
    if key is None:
        middles = (jnp.arange(config.importance_samples) + 0.5) / max(config.importance_samples, 1)
        return jnp.full(coarse, 0.5), jnp.broadcast_to(middles, fine)
    key_coarse, key_fine = jax.random.split(key)
    return jax.random.uniform(key_coarse, coarse), jax.random.uniform(key_fine, fine)


def _outside_slab(points, config):
    """Whether points [..., 3] lie outside the crop slab, where nothing is seen."""
    if config.crop_margin is None:
        return jnp.zeros(points.shape[:-1], bool)
    limit = config.box_warp / 2 - config.crop_margin
    return (jnp.abs(points[..., 0]) > limit) | (jnp.abs(points[..., 2]) > limit)


def _ray_range(origins, directions, config):
    if config.ray_start == "auto":
        return box_range(origins, directions, config.box_warp)
    shape = directions.shape[:-1]
    return jnp.full(shape, config.ray_start, jnp.float32), jnp.full(shape, config.ray_end, jnp.float32)
