"""Where a kept head is: its views need not look elsewhere.

A head that is seen from many sides is asked once for its density on a grid. Views then look up the samples alone that
lie in cells where something is seen, packed into blocks of a few thousand, as many as it takes.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from panojax.arrays import AnyArray, Bool, Float
from panojax.kernels.activations import softplus
from panojax.kernels.fusion import BLOCK

CELLS = 48  # along each side of the box
INSIDE = 2  # points along each side of a cell at which its density is asked for
# Opacity of a ray's length of `STEP` box sides that does not count.
NEGLIGIBLE, STEP = 1e-3, 0.03
# Where points that nothing is seen of are looked up instead, in boxes: off the tri-grid, so that no memory is read, and
# no gradient scattered, for them.
FAR = 4.0


def occupied_cells(
    density: Callable[[jax.Array], jax.Array], *, box_warp: float, cells: int = CELLS, inside: int = INSIDE
) -> Bool[jax.Array, "n n n"]:
    """Which of n = `cells` cells [n, n, n] of the box, along x, y and z, are not empty, their neighbours among them.

    Args:
      density: points [P, 3] in the world -> densities [P] before their softplus.
      box_warp: side of the box.
    """
    side = cells * inside
    places = ((jnp.arange(side, dtype=jnp.float32) + 0.5) / side - 0.5) * box_warp

    def of_slice(x):
        y, z = jnp.meshgrid(places, places, indexing="ij")
        return density(jnp.stack([jnp.full_like(y, x), y, z], axis=-1).reshape(-1, 3)).reshape(side, side)

    opacity = 1 - jnp.exp(-softplus(jax.lax.map(of_slice, places) - 1) * STEP * box_warp)
    most = opacity.reshape(cells, inside, cells, inside, cells, inside).max(axis=(1, 3, 5))
    around = jax.lax.reduce_window(most, 0.0, jax.lax.max, (3, 3, 3), (1, 1, 1), "SAME")
    return around > NEGLIGIBLE


def in_occupied(
    cells: Bool[AnyArray, "n n n"], points: Float[AnyArray, "*batch 3"], box_warp: float
) -> Bool[jax.Array, "*batch"]:
    """Whether points [..., 3] are to be looked up: those in occupied cells, and those outside the box, which no cell
    tells of; but none as far off as the renderer puts those that nothing is seen of (`FAR`)."""
    count = cells.shape[0]
    place = jnp.floor((points / box_warp + 0.5) * count).astype(jnp.int32)
    outside = jnp.any((place < 0) | (place >= count), axis=-1)
    x, y, z = jnp.moveaxis(jnp.clip(place, 0, count - 1), -1, 0)
    in_cells = cells.reshape(-1)[(x * count + y) * count + z]
    return jnp.where(outside, jnp.max(jnp.abs(points), axis=-1) < FAR * box_warp / 2, in_cells)


def look_up_kept(
    field: Callable[[jax.Array], tuple[jax.Array, jax.Array]], points: jax.Array, keep: jax.Array, empty: float
) -> tuple[jax.Array, jax.Array]:
    """field(points) where `keep`, block by block; elsewhere `empty` and zeros. Without gradients.

    Args:
      field: points [P, 3] -> densities [P], colours [P, C].
      points: [M, 3].
      keep: [M].
    """
    total = points.shape[0]
    blocks = -(-total // BLOCK)
    rank = jnp.cumsum(keep) - 1
    count = rank[-1] + 1
    # The kept points, one after the other.
    order = (
        jnp.zeros(blocks * BLOCK, jnp.int32)
        .at[jnp.where(keep, rank, blocks * BLOCK)]
        .set(jnp.arange(total, dtype=jnp.int32), mode="drop")
    )
    _, colours = jax.eval_shape(field, jax.ShapeDtypeStruct((BLOCK, 3), points.dtype))
    packed = (
        jnp.full(blocks * BLOCK, empty, jnp.float32),
        jnp.zeros((blocks * BLOCK, colours.shape[-1]), colours.dtype),
    )

    def one(state):
        i, packed = state
        some = field(points[jax.lax.dynamic_slice_in_dim(order, i * BLOCK, BLOCK)])
        put = jax.lax.dynamic_update_slice_in_dim
        return i + 1, tuple(put(whole, part.astype(whole.dtype), i * BLOCK, 0) for whole, part in zip(packed, some))

    _, packed = jax.lax.while_loop(lambda state: state[0] * BLOCK < count, one, (jnp.int32(0), packed))
    place = jnp.clip(rank, 0)
    return jnp.where(keep, packed[0][place], empty), jnp.where(keep[:, None], packed[1][place], 0)
