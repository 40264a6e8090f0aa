"""Pictures of Gaussian splats, differentiable by all of their parameters, in arrays of fixed shapes.

Source: Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering", 2023. A picture is cut into tiles
of 16 pixels; each blends the nearest Gaussians that reach it, from front to back.
"""

import functools

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from panojax.arrays import AnyArray

TILE = 16
LOW_PASS = 0.3  # added to a Gaussian's variances in the picture, in square pixels: what viewers of such files add
NEAR = 0.2  # Gaussians nearer to the camera than this are not drawn
LEAST_ALPHA = 1 / 255
GREATEST_ALPHA = 0.99
TILES_AT_ONCE = 32
# The spherical harmonic of degree 0: a colour is 0.5 + SH0 * f_dc.
SH0 = 0.28209479177387814


@flax.struct.dataclass
class Gaussians:
    """K Gaussians, by numbers without bounds.

    Attributes:
      means: [K, 3] in world units.
      log_scales: [K, 3], natural logarithms of the deviations along the own axes.
      rotations: [K, 4], quaternions (w, x, y, z) of any length but 0, from the own axes to the world's.
      f_dc: [K, 3]; a colour in [0, 1] is 0.5 + SH0 f_dc.
      slopes: [K, 3, 3], what a colour (second axis) gains by the unit direction (last axis) from the camera.
      logits: [K], of the opacity.
    """

    means: Float[AnyArray, "K 3"]
    log_scales: Float[AnyArray, "K 3"]
    rotations: Float[AnyArray, "K 4"]
    f_dc: Float[AnyArray, "K 3"]
    slopes: Float[AnyArray, "K 3 3"]
    logits: Float[AnyArray, " K"]


def tile_capacity(count: int, side: int) -> int:
    """How many Gaussians a tile should blend, of `count` that cover a head which fills a picture of `side` pixels."""
    tiles = (-(-side // TILE)) ** 2
    return min(count, max(64, -(-2 * count // tiles // 32) * 32))


@functools.partial(jax.jit, static_argnames=("side", "capacity"))
def splat(
    gaussians: Gaussians, label: Float[AnyArray, " 25"], side: int, capacity: int
) -> tuple[Float[Array, "side side 3"], Float[Array, "side side"]]:
    """What a camera sees: colours times opacity, before black, and the opacity.

    Args:
      label: camera, see `panojax.camera`.
      side: of the picture in pixels.
      capacity: Gaussians that a tile blends, the nearest ones (`tile_capacity`). A Gaussian whose deviation is over 5
        pixels is cut at three tiles.
    """
    middles, conics, depth, reach = _project(gaussians, label, side)
    colours = _colours(gaussians, label)
    opacity = jax.nn.sigmoid(gaussians.logits)
    nearest, real = _lists(jax.lax.stop_gradient((middles, depth, reach)), side, capacity)
    across = -(-side // TILE)
    inside = (jnp.stack(jnp.meshgrid(jnp.arange(TILE), jnp.arange(TILE), indexing="xy"), -1) + 0.5).reshape(-1, 2)

    @jax.checkpoint
    def tile(index, chosen, real):
        corner = TILE * jnp.stack([index % across, index // across])
        offsets = (inside + corner)[:, None] - middles[chosen]
        a, b, c = conics[chosen].T
        x, y = offsets[..., 0], offsets[..., 1]
        alpha = opacity[chosen] * jnp.exp(-0.5 * (a * x * x + c * y * y) - b * x * y)
        alpha = jnp.where(real & (alpha >= LEAST_ALPHA), jnp.minimum(alpha, GREATEST_ALPHA), 0.0)
        # Of the light that reaches each Gaussian, front first.
        passed = jnp.cumsum(jnp.log1p(-alpha), axis=-1)
        weights = alpha * jnp.exp(passed - jnp.log1p(-alpha))
        return weights @ colours[chosen], 1 - jnp.exp(passed[:, -1])

    picture, cover = jax.lax.map(
        lambda arguments: tile(*arguments), (jnp.arange(across**2), nearest, real), batch_size=TILES_AT_ONCE
    )
    picture = picture.reshape(across, across, TILE, TILE, 3).swapaxes(1, 2).reshape(across * TILE, across * TILE, 3)
    cover = cover.reshape(across, across, TILE, TILE).swapaxes(1, 2).reshape(across * TILE, across * TILE)
    return picture[:side, :side], cover[:side, :side]


def _project(gaussians, label, side):
    """Centres [K, 2] in pixels, inverse covariances (a, b, c) [K, 3], depths [K] and three deviations [K] in pixels."""
    pose, lens = label[:16].reshape(4, 4), label[16:].reshape(3, 3) * side
    rotation = pose[:3, :3]  # camera to world
    points = (gaussians.means - pose[:3, 3]) @ rotation
    depth = points[:, 2]
    x, y, z = points[:, 0], points[:, 1], jnp.maximum(depth, NEAR)
    middles = jnp.stack([(lens[0, 0] * x + lens[0, 1] * y) / z + lens[0, 2], lens[1, 1] * y / z + lens[1, 2]], -1)
    # The covariance in the world is M M^T with M = R S; in the picture J W M (J W M)^T.
    axes = _rotation_matrices(gaussians.rotations) * jnp.exp(gaussians.log_scales)[:, None, :]
    axes = jnp.einsum("ij,kil->kjl", rotation, axes)  # in camera axes
    across = lens[0, 0] * (axes[:, 0] / z[:, None] - axes[:, 2] * (x / z**2)[:, None])
    down = lens[1, 1] * (axes[:, 1] / z[:, None] - axes[:, 2] * (y / z**2)[:, None])
    a, b, c = (across * across).sum(-1) + LOW_PASS, (across * down).sum(-1), (down * down).sum(-1) + LOW_PASS
    determinant = a * c - b * b
    conics = jnp.stack([c, -b, a], -1) / determinant[:, None]
    largest = (a + c) / 2 + jnp.sqrt(jnp.maximum(((a - c) / 2) ** 2 + b * b, 1e-12))
    return middles, conics, depth, 3 * jnp.sqrt(largest)


def _rotation_matrices(quaternions):
    """Rotations [K, 3, 3] of quaternions [K, 4]."""
    w, x, y, z = (quaternions / jnp.linalg.norm(quaternions, axis=-1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


def _colours(gaussians, label):
    """Colours [K, 3], not below 0, of Gaussians seen from a camera."""
    towards = gaussians.means - label[:16].reshape(4, 4)[:3, 3]
    towards = towards / jnp.linalg.norm(towards, axis=-1, keepdims=True)
    shaded = jnp.einsum("kcd,kd->kc", gaussians.slopes, towards)
    return jnp.maximum(0.5 + SH0 * gaussians.f_dc + shaded, 0)


def _lists(projected, side, capacity):
    """The nearest Gaussians [T, capacity] that reach each of T tiles, front first, and which places hold one."""
    middles, depth, reach = projected
    across = -(-side // TILE)
    front = jnp.argsort(depth)
    middles, reach, depth = middles[front], reach[front], depth[front]
    # A Gaussian may be in its own tile and the eight around it.
    steps = jnp.stack(jnp.meshgrid(jnp.arange(-1, 2), jnp.arange(-1, 2), indexing="xy"), -1).reshape(9, 2)
    own = jnp.floor(middles / TILE).astype(jnp.int32)
    tiles = own[:, None] + steps
    nearest = jnp.clip(middles[:, None], TILE * tiles, TILE * (tiles + 1))
    close = jnp.sum((nearest - middles[:, None]) ** 2, -1) <= reach[:, None] ** 2
    held = close & jnp.all((tiles >= 0) & (tiles < across), -1) & (depth > NEAR)[:, None]
    numbers = jnp.where(held, tiles[..., 1] * across + tiles[..., 0], across**2).reshape(-1)
    order = jnp.argsort(numbers, stable=True)  # by tile, and in each from front to back
    starts = jnp.searchsorted(numbers[order], jnp.arange(across**2 + 1))
    places = starts[:-1, None] + jnp.arange(capacity)
    chosen = front[order[jnp.minimum(places, len(order) - 1)] // 9]
    return chosen, places < starts[1:, None]
