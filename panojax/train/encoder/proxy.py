"""Self-supervision from the generator's own samples, of which code, depth, density and other views are known.

Source: E3DGE (Lan et al. 2023), for a tri-grid: proxies are free, endless and exact, and are mixed with photos, of
which only one view is known.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from panojax.camera import camera_rays
from panojax.data.drawn import SampleConfig, draw_heads, sample_cameras
from panojax.errors import InputError
from panojax.generators import generator
from panojax.generators.generator import Head, render_heads
from panojax.generators.generator_config import GeneratorConfig

Proxies = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class ProxyWeights:
    """Weights of the losses that proxies have besides the portrait's. All 0: samples are treated like photos."""

    code: float = 0.0
    """Of the squared distance of the style codes."""
    density: float = 0.0
    """Of the difference of the densities at points near the surface and anywhere in the box."""
    feature: float = 0.0
    """Of the difference of the colour features at these points."""
    depth: float = 0.0
    """Of the difference of the depths where the proxy is opaque, in world units."""
    view: float = 0.0
    """Of the reconstruction loss at another camera."""
    points: int = 2048
    """Points a proxy."""
    surface_noise: float = 0.02
    """Standard deviation of the distance from the surface of half of the points, in world units."""

    def __post_init__(self):
        if self.points < 2 or self.points % 2:
            raise InputError(f"points must be even and at least 2, got {self.points}")

    @property
    def enabled(self) -> bool:
        """Whether any loss has a weight."""
        return any((self.code, self.density, self.feature, self.depth, self.view))


def draw_proxies(
    config: GeneratorConfig, variables: Any, keys: jax.Array, options: SampleConfig, weights: ProxyWeights
) -> Proxies:
    """Samples with what is known of them and has a weight.

    Args:
      variables: the generator's.
      keys: [N], one a sample.
      options: latents, and cameras of both views; the other one's yaws are uniform.
      weights: says what is wanted, and how many points, and where.

    Returns:
      {"image": [N, S, S, 3], "camera": [N, 25], "ws": [N, L, w_dim]}; for the depth's loss {"depth", "weight":
      [N, R, R, 1]}; for those of density and feature {"xyz": [N, M, 3], "density": [N, M] before the softplus,
      "feature": [N, M, C]}, where the first half of the points lies near the surface that the first view shows; for
      the view's {"other_image", "other_camera"}, like the first two.
    """
    latent_keys, camera_keys, other_keys, point_keys = jnp.moveaxis(
        jax.vmap(lambda key: jax.random.split(key, 4))(keys), 1, 0
    )
    heads = draw_heads(config, variables, latent_keys, options)
    labels = sample_cameras(config, camera_keys, options)
    view = render_heads(config, variables, heads, labels)
    proxies = {"image": jnp.clip(view.image, -1, 1), "camera": labels, "ws": heads.ws}
    if weights.depth:
        proxies |= {"depth": view.depth, "weight": view.weight}
    if weights.density or weights.feature:
        xyz = jax.vmap(lambda *x: _points(config, weights, *x))(view.depth, view.weight, labels, point_keys)
        density, feature = _fields(config, variables, heads, xyz)
        proxies |= {"xyz": xyz, "density": density, "feature": feature}
    if weights.view:
        others = sample_cameras(config, other_keys, dataclasses.replace(options, yaw_power=1.0))
        image = render_heads(config, variables, heads, others).image
        proxies |= {"other_image": jnp.clip(image, -1, 1), "other_camera": others}
    return proxies


def proxy_terms(
    config: GeneratorConfig, variables: Any, heads: Head, depth: jax.Array, proxies: Proxies
) -> dict[str, jax.Array]:
    """Means over a batch of encoded proxies of {"code", "density", "feature", "depth"}, of those that are known.

    Args:
      heads: what the encoder made of the proxies' pictures.
      depth: rendered from these heads at the pictures' cameras [N, R, R, 1].
      proxies: of `draw_proxies`.
    """
    terms = {"code": code_distance(heads.ws, proxies)}
    if "xyz" in proxies:
        density, feature = _fields(config, variables, heads, proxies["xyz"])
        # Rendering uses softplus(density - 1), see `marching.interval_weights`.
        known, found = (jax.nn.softplus(x - 1) for x in (proxies["density"], density))
        terms["density"] = jnp.mean(jnp.abs(found - known))
        terms["feature"] = jnp.mean(jnp.abs(feature - proxies["feature"]))
    if "depth" in proxies:
        opaque = (proxies["weight"] > 0.5).astype(jnp.float32)
        apart = jnp.abs(jnp.where(opaque > 0, depth, 0.0) - jnp.where(opaque > 0, proxies["depth"], 0.0))
        terms["depth"] = jnp.sum(apart) / jnp.maximum(jnp.sum(opaque), 1.0)
    return terms


def code_distance(ws: jax.Array, proxies: Proxies) -> jax.Array:
    """The mean squared distance of style codes [N, L, w_dim] from the proxies' own."""
    return jnp.mean(jnp.square(ws - proxies["ws"]))


def _fields(config, variables, heads, xyz):
    """Densities [N, M] and colour features [N, M, C] of heads at points [N, M, 3]."""
    return jax.vmap(lambda head, points: generator.query_field(config, variables, head, points))(heads, xyz)


def _points(config, weights, depth, weight, label, key):
    """Points [M, 3] of one head: half near what its pixels show, half anywhere in the box."""
    resolution, half = depth.shape[0], weights.points // 2
    pixel_key, noise_key, box_key = jax.random.split(key, 3)
    origins, directions = camera_rays(label, resolution)
    # Pixels of the background, if there is no other, give points where their rays end.
    chances = jnp.where(weight.reshape(-1) > 0.5, 1.0, 1e-6)
    pixels = jax.random.categorical(pixel_key, jnp.log(chances), shape=(half,))
    along = depth.reshape(-1)[pixels] + weights.surface_noise * jax.random.normal(noise_key, (half,))
    near = origins[pixels] + along[:, None] * directions[pixels]
    side = config.box_warp / 2
    return jnp.concatenate([near, jax.random.uniform(box_key, (half, 3), minval=-side, maxval=side)])
