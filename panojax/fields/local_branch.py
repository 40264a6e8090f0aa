"""The local branch of a head: features of the portrait's pixels, which lookups near what it shows are modulated by.

A point is projected into the portrait's camera and reads the feature map there. Where that camera sees the point, a
small network turns what it read into a scale and a shift of the tri-grid's lookup. Source: E3DGE (Lan et al. 2023), for
a tri-grid.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from panojax.camera import camera_rays, project
from panojax.errors import InputError
from panojax.kernels.activations import softplus
from panojax.kernels.lookup import sample_planes

# In sides of the box: a point so far behind the surface still counts as seen, one twice as far does not. It is about
# the depth in which a soft surface takes up its light.
FADE = 0.06
# What the small network reads besides the features: the distance behind the surface, and the visibility.
EXTRA = 2
# Of several portraits of one head, each counts by this power of the cosine at which it sees a surface.
SHARPENED = 4
GRAZING = 0.05  # the least cosine at which what is seen counts


@struct.dataclass
class LocalBranch:
    """What a head keeps of its portrait. It has its network's parameters, so that a generator alone renders it.

    Attributes:
      features: map over the portrait [R, R, F].
      depth: of the head without this branch, from the portrait's camera: along each pixel's ray [r, r, 1], in world
        units.
      weight: its opacity [r, r, 1].
      camera: label [25] of the portrait.
      hidden_kernel, hidden_bias: first layer [F + 2, K] and [K].
      film_kernel, film_bias: second layer [K, 2 C] and [2 C], to the scale, then the shift, of C channels.
    """

    features: jax.Array
    depth: jax.Array
    weight: jax.Array
    camera: jax.Array
    hidden_kernel: jax.Array
    hidden_bias: jax.Array
    film_kernel: jax.Array
    film_bias: jax.Array


@struct.dataclass
class LocalMix:
    """The local branches of a head between several: each looks through its own portrait's camera.

    Attributes:
      branches: K of them.
      shares: [K], how much each one's scale and shift count.
      groups: None, or numbers [K]: branches of one number are of portraits of the same head. At every point they share
        what one of them would have, by how frontally and visibly each shows it.
      trust: [K], with `groups`: how much each counts among those of its group besides.
    """

    branches: tuple[LocalBranch, ...]
    shares: jax.Array
    groups: jax.Array | None = None
    trust: jax.Array | None = None


def mix_branches(first: Any, second: Any, share: jax.Array) -> Any:
    """The local branch of a head between two, of which either may have a `LocalBranch`, a `LocalMix` or None."""
    mixes = [
        (local if isinstance(local, LocalMix) else LocalMix((local,), jnp.ones(1, jnp.float32)), weight)
        for local, weight in ((first, 1 - share), (second, share))
        if local is not None
    ]
    if not mixes:
        return None
    branches = tuple(branch for mix, _ in mixes for branch in mix.branches)
    shares = jnp.concatenate([weight * mix.shares for mix, weight in mixes])
    if all(mix.groups is None for mix, _ in mixes):
        return LocalMix(branches, shares)
    groups, trust, first_free = [], [], jnp.float32(0)
    for mix, _ in mixes:
        alone = jnp.arange(len(mix.branches), dtype=jnp.float32)
        groups.append(first_free + (alone if mix.groups is None else mix.groups))
        trust.append(jnp.ones_like(alone) if mix.trust is None else mix.trust)
        first_free = jnp.max(groups[-1]) + 1
    return LocalMix(branches, shares, jnp.concatenate(groups), jnp.concatenate(trust))


def share_branches(branches: tuple[LocalBranch, ...], trust: jax.Array) -> LocalMix:
    """The local branch of one head of K portraits: K branches, of which each counts by `trust` [K] and by how well its
    portrait shows a point."""
    return LocalMix(branches, jnp.ones(len(branches)), jnp.zeros(len(branches)), jnp.asarray(trust, jnp.float32))


def make_branch(features: jax.Array, view: Any, camera: jax.Array, fusion: Any) -> LocalBranch:
    """A batch of branches that share one network.

    Args:
      features: maps [N, R, R, F].
      view: with `depth` and `weight` [N, r, r, 1], rendered from `camera` [N, 25].
      fusion: {"hidden": {"kernel", "bias"}, "film": {"kernel", "bias"}}.
    """
    layers = {
        f"{layer}_{name}": jnp.broadcast_to(leaf, (len(camera), *leaf.shape))
        for layer, leaves in fusion.items()
        for name, leaf in leaves.items()
    }
    return LocalBranch(features, view.depth, view.weight, camera, **layers)


def modulate(
    local: LocalBranch | LocalMix, features: jax.Array, points: jax.Array, *, box_warp: float = 1.0
) -> jax.Array:
    """Tri-grid features [M, C] of world points [M, 3] as the branch changes them: f (1 + v scale) + v shift.

    v is the visibility, so points that the portrait does not show keep their features. Computed in float32. Of several
    branches, scales and shifts are summed by their shares, see `LocalMix`.
    """
    if isinstance(local, LocalMix):
        films = [film(branch, points, box_warp=box_warp) for branch in local.branches]
        shares = local.shares if local.groups is None else _shares_at(local, points, box_warp)
        scale, shift = (sum(share * x for share, x in zip(shares, column)) for column in zip(*films))
    else:
        scale, shift = film(local, points, box_warp=box_warp)
    return features * (1 + scale) + shift


def _shares_at(mix: LocalMix, points: jax.Array, box_warp: float) -> jax.Array:
    """Shares [K, M, 1] of branches at points [M, 3]: those of a group sum to its share wherever one of them sees."""

    def certainty(branch: LocalBranch) -> jax.Array:
        positions, _, visibility = sight(branch, points, box_warp=box_warp)
        cosine = sample_map(facing(branch.depth, branch.weight, branch.camera)[..., None], positions)[:, 0]
        return visibility * jnp.maximum(cosine, GRAZING) ** SHARPENED

    assert mix.groups is not None and mix.trust is not None
    certain = mix.trust[:, None] * jnp.stack([certainty(branch) for branch in mix.branches])
    together = jnp.equal(mix.groups[:, None], mix.groups).astype(jnp.float32) @ certain
    return (mix.shares[:, None] * certain / jnp.maximum(together, 1e-12))[..., None]


def facing(depth: jax.Array, weight: jax.Array, camera: jax.Array) -> jax.Array:
    """How frontally a view shows its surface: [R, R] in [0, 1], 0 where it shows nothing.

    The cosine between each pixel's ray and the normal of the surface, by central differences, times the opacity.

    Args:
      depth: along each pixel's ray [R, R] or [R, R, 1].
      weight: opacity, likewise.
      camera: label [25].
    """
    side = depth.shape[0]
    origins, directions = (x.reshape(side, side, 3) for x in camera_rays(camera, side))
    points = origins + depth.reshape(side, side, 1) * directions
    down, across = jnp.gradient(points, axis=(0, 1))
    normal = jnp.cross(across, down)
    length = jnp.sqrt(jnp.sum(jnp.square(normal), axis=-1) + 1e-20)
    cosine = jnp.abs(jnp.sum(normal * directions, axis=-1)) / length
    return jnp.clip(cosine, 0, 1) * jnp.clip(weight.reshape(side, side), 0, 1)


def film(local: LocalBranch, points: jax.Array, *, box_warp: float = 1.0) -> tuple[jax.Array, jax.Array]:
    """Scale and shift [M, C] of points [M, 3], both times the visibility."""
    positions, behind, visibility = sight(local, points, box_warp=box_warp)
    read = sample_map(local.features, positions)
    distance = jnp.clip(behind / (2 * FADE * box_warp), -1, 1)
    inputs = jnp.concatenate([read, distance[:, None], visibility[:, None]], axis=-1)
    hidden = softplus(inputs @ _wide(local.hidden_kernel) + _wide(local.hidden_bias))
    both = hidden @ _wide(local.film_kernel) + _wide(local.film_bias)
    scale, shift = jnp.split(visibility[:, None] * both, 2, axis=-1)
    return scale, shift


def sight(local: LocalBranch, points: jax.Array, *, box_warp: float = 1.0) -> tuple[jax.Array, jax.Array, jax.Array]:
    """How the portrait's camera sees points [M, 3]: the occlusion test.

    Returns:
      Positions [M, 2] in the portrait, see `camera.project`; distances [M] behind the surface that it shows there, in
      world units (negative in front of it); and visibility [M]: the opacity there, fading from `FADE` behind the
      surface on, and 0 outside of the picture.
    """
    positions, distances = project(local.camera, points)
    # Of pixels that show nothing, the depth means nothing: the others' alone is averaged.
    opacity, product = jnp.moveaxis(
        sample_map(jnp.concatenate([local.weight, local.weight * local.depth], axis=-1), positions), -1, 0
    )
    seen = opacity > 1e-3
    behind = jnp.where(seen, distances - product / jnp.where(seen, opacity, 1.0), 0.0)
    visibility = jnp.where(seen, opacity * jnp.clip(2 - behind / (FADE * box_warp), 0, 1), 0.0)
    return positions, behind, visibility


def sample_map(table: jax.Array, positions: jax.Array) -> jax.Array:
    """Bilinear lookups [M, C] in float32 in a map [H, W, C], at positions [M, 2]: (x, y), in units of its sides.

    Pixel centres are at halves, and outside is zero.
    """
    points = jnp.concatenate([2 * positions - 1, jnp.zeros_like(positions[:, :1])], axis=-1)
    return sample_planes(table[None, None], points, ((0, 1, 2),), depth_interpolation=False)[0]


def check_branch(local: LocalBranch | LocalMix, channels: int, name: str) -> None:
    """Raises InputError unless a branch's arrays, or those of each of a mix, fit each other and `channels`."""
    if isinstance(local, LocalMix):
        if np.shape(local.shares) != (len(local.branches),) or not local.branches:
            raise InputError(
                f"{name}.shares must be one for each of 1 or more branches, got {np.shape(local.shares)} for "
                f"{len(local.branches)}"
            )
        for field in ("groups", "trust"):
            value = getattr(local, field)
            if (value is None) != (local.groups is None) or (
                value is not None and np.shape(value) != (len(local.branches),)
            ):
                raise InputError(
                    f"{name}.{field} must be one for each branch, or absent as the other, got {np.shape(value)}"
                )
        for i, branch in enumerate(local.branches):
            check_branch(branch, channels, f"{name}.branches[{i}]")
        return
    features, hidden = np.shape(local.features)[-1:], np.shape(local.hidden_bias)
    side, low = np.shape(local.features)[:1], np.shape(local.depth)[:1]
    width = features[0] + EXTRA if features else 0
    wanted = {
        "features": (*side, *side, *features),
        "depth": (*low, *low, 1),
        "weight": (*low, *low, 1),
        "camera": (25,),
        "hidden_kernel": (width, *hidden),
        "hidden_bias": hidden[:1],
        "film_kernel": (*hidden, 2 * channels),
        "film_bias": (2 * channels,),
    }
    for field, shape in wanted.items():
        value = getattr(local, field)
        if value.shape != shape or not jnp.issubdtype(value.dtype, jnp.floating):
            raise InputError(f"{name}.{field} must be floats {list(shape)}, got {value.dtype} {list(value.shape)}")


def _wide(x):
    return x.astype(jnp.float32)
