"""The tri-grid: three axis-aligned planes with D depth slices each. One slice is EG3D's tri-plane.

Planes are [3, D, H, W, C]. A point with coordinates in [-1, 1] reads each plane trilinearly, texel centres at half
pixels, zeros outside, and takes the mean. `axes` says per plane which coordinate (0 x, 1 y, 2 z) runs along W, H and D;
or it holds three rows whose products with the point do.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from panojax.arrays import AnyArray, Bool, Float
from panojax.errors import InputError, check_choice
from panojax.fields.representation import Representation
from panojax.kernels.lookup import sample_planes, texel_coordinates
from panojax.nn.blur import gaussian_blur

Axes = tuple[tuple[int, int, int] | tuple[tuple[float, float, float], ...], ...]

# Which coordinate runs along (width, height, depth) of each plane.
PLANE_AXES: dict[str, Axes] = {
    "panohead": ((0, 1, 2), (0, 2, 1), (1, 2, 0)),
    "eg3d": ((0, 1, 2), (0, 2, 1), (2, 0, 1)),
    "eg3d-fixed": ((0, 1, 2), (0, 2, 1), (2, 1, 0)),
}


@dataclasses.dataclass(frozen=True)
class TriGrid(Representation):
    """A tri-grid's layout. Source: EG3D (Chan et al. 2022), and PanoHead (An et al. 2023) for D > 1."""

    size: int = 256
    """H = W, in texels."""
    depth: int = 3
    """D; 1 is a tri-plane."""
    width: int = 32
    """C."""
    axes: Axes = PLANE_AXES["panohead"]
    """Per plane, the coordinates along its width, height and depth; or rows whose products with a point are these."""
    depth_interpolation: bool = True
    """Interpolate along the depth, too. False: bilinear lookups, for EG3D's own tri-planes."""
    order: str = "network"
    """Of the image's channels: "network", (plane, channel, slice), as StyleGAN2's backbone in PanoHead makes them; or
    "texel", (plane, slice, channel), in which a texel's lie in a row."""

    def __post_init__(self):
        check_choice("order", self.order, ("network", "texel"))

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """[3, D, H, W, C]."""
        return (len(self.axes), self.depth, self.size, self.size, self.width)

    @property
    def resolution(self) -> int:
        """H."""
        return self.size

    @property
    def channels(self) -> int:
        """3 * C * D."""
        return len(self.axes) * self.width * self.depth

    def from_image(self, image: Float[AnyArray, "*batch R R channels"]) -> Float[jax.Array, " *batch_and_shape"]:
        """[..., H, W, 3 * C * D] -> [..., 3, D, H, W, C]."""
        return planes_from_image(image, self.depth, by_texel=self.order == "texel")

    def to_image(self, planes: Float[AnyArray, " *batch_and_shape"]) -> Float[jax.Array, "*batch R R channels"]:
        """[..., 3, D, H, W, C] -> [..., H, W, 3 * C * D]."""
        return image_from_planes(planes, by_texel=self.order == "texel")

    def look_up(self, planes: Float[AnyArray, "*cells C"], points: Float[AnyArray, "M 3"]) -> Float[jax.Array, "M C"]:
        """Features [M, C]: the mean over the planes' trilinear lookups."""
        return sample_trigrid(planes, points, self.axes, depth_interpolation=self.depth_interpolation)

    def look_up_stitched(
        self,
        visible: Float[AnyArray, "*cells C"],
        occluded: Float[AnyArray, "*cells C"],
        points: Float[AnyArray, "M 3"],
    ) -> Float[jax.Array, "M C"]:
        """Features [M, C]: on each plane `visible`'s lookup where it is not zero, else `occluded`'s; then the mean."""
        return select_trigrid(visible, occluded, points, self.axes, depth_interpolation=self.depth_interpolation)

    def unseen(self, points: Float[AnyArray, "M M 3"], valid: Bool[AnyArray, "M M"]) -> Float[jax.Array, " *cells"]:
        """[3, D, H, W]; single texels that are left out between visible ones are closed."""
        return unseen_texels(points, valid, self.cells, self.axes, depth_interpolation=self.depth_interpolation)

    def fitted(self, points: Float[AnyArray, "M M 3"]) -> Float[jax.Array, " *cells"]:
        """[3, D, H, W]: on the first plane, which faces the front, a soft mask of the surface's texels, the same for
        each slice; the other planes wholly. Source: GOAE (Yuan et al. 2023), section 3.3."""
        place = texel_coordinates(points.reshape(-1, 3), self.cells, self.axes[:1])[0]
        column, row, _ = jnp.clip(jnp.floor(place + 0.5).astype(jnp.int32), 0, self.size - 1).T
        # Borders are mirrored, as torchvision does.
        blur = functools.partial(gaussian_blur, sigma=1.5, radius=4, axes=(0, 1), border="reflect")
        mask = blur(jnp.zeros((self.size, self.size)).at[row, column].set(1.0))
        mask = blur(jnp.where(mask > 0.35, 1.0, mask))
        return jnp.ones(self.cells).at[0].set(mask)

    def reordered(self) -> tuple["TriGrid", np.ndarray | None]:
        """By texel, if it is not."""
        if self.order == "texel":
            return self, None
        return dataclasses.replace(self, order="texel"), texel_order(self.channels, self.depth)

    @property
    def areas(self) -> tuple[int, ...]:
        """[3, H, W]: a texel's column is its slices."""
        return (len(self.axes), self.size, self.size)

    def area_of(self, cells: Float[AnyArray, " *cells"]) -> Float[jax.Array, " *area"]:
        """[3, D, H, W] -> [3, H, W]."""
        return jnp.sum(cells, axis=1)

    def fill_area(self, area: jax.Array) -> jax.Array:
        """[..., 3, H, W] -> [..., 3, 1, H, W]."""
        return area[..., None, :, :]

    def solid_area(
        self, centre: Float[AnyArray, " 3"], radii: Float[AnyArray, " 3"], shape: str
    ) -> Bool[jax.Array, " *area"]:
        """The solid's shadow on each plane, [3, H, W]."""
        texels = (np.arange(self.size, dtype=np.float32) + 0.5) / self.size * 2 - 1
        shadows = []
        for along in self.axes:
            across, down, _ = axis_rows(along).astype(np.float32)
            x, y = (texels - row @ centre for row in (across, down))
            x, y = x[None, :], y[:, None]
            if shape == "box":
                shadows.append((jnp.abs(x) <= np.abs(across) @ radii) & (jnp.abs(y) <= np.abs(down) @ radii))
            else:  # an ellipse, whose matrix is the inverse of the rows' products
                xx, xy, yy = ((a * b) @ radii**2 for a, b in ((across, across), (across, down), (down, down)))
                shadows.append(yy * x**2 - 2 * xy * x * y + xx * y**2 <= xx * yy - xy**2)
        return jnp.stack(shadows)

    @property
    def reads(self) -> int:
        """3."""
        return len(self.axes)


def axis_rows(along: Sequence) -> np.ndarray:
    """One plane's entry of `axes` as rows [3, 3]: a point's coordinates on the plane are their products with it."""
    return np.eye(3)[list(along)] if isinstance(along[0], int) else np.asarray(along, np.float64)


def check_axes(axes: Axes) -> None:
    """Raises InputError unless each plane has three independent directions."""
    try:
        rows = np.stack([axis_rows(along) for along in axes])
    except (TypeError, ValueError, IndexError):
        rows = np.zeros(0)
    if rows.shape[1:] != (3, 3) or not np.isfinite(rows).all() or np.abs(np.linalg.det(rows)).min() < 1e-6:
        raise InputError(f"plane_axes must hold three coordinates or three independent rows a plane, got {axes}")


def planes_from_image(image: jax.Array, depth: int, *, by_texel: bool = False) -> jax.Array:
    """[..., H, W, 3 * C * D] in the networks' channel order (plane, channel, slice) -> planes [..., 3, D, H, W, C].

    `by_texel` takes images whose channels are in the order `texel_order` instead.
    """
    *lead, h, w, channels = image.shape
    n, features = len(lead), channels // (3 * depth)
    if by_texel:
        return jnp.moveaxis(image.reshape(*lead, h, w, 3, depth, features), (n + 2, n + 3), (n, n + 1))
    split = image.reshape(*lead, h, w, 3, features, depth)
    return split.transpose(*range(n), n + 2, n + 4, n, n + 1, n + 3)


def image_from_planes(planes: jax.Array, *, by_texel: bool = False) -> jax.Array:
    """The inverse of `planes_from_image`."""
    *lead, _, _, h, w, _ = planes.shape
    n = len(lead)
    slices_last = (n, n + 1, n + 4) if by_texel else (n, n + 4, n + 1)
    return planes.transpose(*range(n), n + 2, n + 3, *slices_last).reshape(*lead, h, w, -1)


def texel_order(channels: int, depth: int) -> np.ndarray:
    """The networks' channels [3 * C * D] in the order (plane, slice, channel), which has a texel's in a row.

    Weights that make planes are reordered once, so that no call need reorder what they make.
    """
    return np.arange(channels).reshape(3, -1, depth).swapaxes(1, 2).ravel()


def sample_trigrid(
    planes: jax.Array, points: jax.Array, axes: Sequence[Sequence[Any]], *, depth_interpolation: bool = True
) -> jax.Array:
    """Features [M, C] in float32 of points [M, 3] in [-1, 1]: the mean over the planes [3, D, H, W, C].

    PyTorch counterpart: grid_sample(padding_mode="zeros", align_corners=False) on each plane.
    """
    return _mean(sample_planes(planes, points, axes, depth_interpolation=depth_interpolation))


def select_trigrid(
    visible: jax.Array,
    occluded: jax.Array,
    points: jax.Array,
    axes: Sequence[Sequence[Any]],
    *,
    depth_interpolation: bool = True,
) -> jax.Array:
    """Features [M, C]: on each plane `visible`'s lookup where it is not zero, else `occluded`'s; then the mean.

    `visible` is zero in the texels that the input view does not see. Source: the dual encoder's second stitching rule.
    """
    seen = sample_planes(visible, points, axes, depth_interpolation=depth_interpolation)
    hidden = sample_planes(occluded, points, axes, depth_interpolation=depth_interpolation)
    return _mean(jnp.where(seen != 0, seen, hidden))


def _mean(features):
    """[3, M, C] -> [M, C]. On CPUs `jnp.mean` would keep XLA from making one loop of this and the lookups."""
    first, *others = features
    return sum(others, first) / len(features)


def unseen_texels(
    points: jax.Array,
    valid: jax.Array,
    shape: Sequence[int],
    axes: Sequence[Sequence[Any]],
    *,
    depth_interpolation: bool = True,
) -> jax.Array:
    """Texels [3, D, H, W] that the trilinear lookups of valid points [M, M, 3] do not read: 1, else 0.

    Single texels left out between others are closed.
    """
    planes, slices, height, width = shape
    cell = jnp.floor(texel_coordinates(points.reshape(-1, 3), shape, axes)).astype(jnp.int32) + 1
    if not depth_interpolation:
        cell = cell.at[..., 2].set(1)
    # Cell i lies between texels i - 1 and i, so planes of n texels have n + 1 cells; points outside them are dropped.
    size = jnp.array([width, height, slices], jnp.int32)
    inside = jnp.all((cell >= 0) & (cell <= size), axis=-1) & valid.reshape(-1)
    plane = jnp.arange(planes, dtype=jnp.int32)[:, None]
    row = ((plane * (slices + 1) + cell[..., 2]) * (height + 1) + cell[..., 1]) * (width + 1) + cell[..., 0]
    cells = jnp.zeros(planes * (slices + 1) * (height + 1) * (width + 1), bool)
    row = jnp.where(inside, row, cells.size).reshape(planes, *valid.shape)
    cells = cells.at[_without_repeats(row, cells.size)].set(True, mode="drop")
    visible = cells.reshape(planes, slices + 1, height + 1, width + 1)
    # A texel is visible where a cell beside it is.
    for axis in (1, 2, 3):
        n = visible.shape[axis]
        low, high = (jax.lax.slice_in_dim(visible, i, n - 1 + i, axis=axis) for i in (0, 1))
        visible = low | high
    return 1.0 - _close(visible.astype(jnp.float32))


def _without_repeats(row: jax.Array, nothing: int) -> jax.Array:
    """Cells of points [3, M, M] with `nothing` in place of those that the point to the left or above has, too.

    Of each cell at least one point stays. Most points have such a neighbour, and a GPU writes them one by one.
    """
    left, above = ((0, 0, 0), (0, 0, 0), (1, -1, 0)), ((0, 0, 0), (1, -1, 0), (0, 0, 0))
    repeats = [jax.lax.pad(row, jnp.int32(nothing), shift) == row for shift in (left, above)]
    return jnp.where(repeats[0] | repeats[1], nothing, row)


def _close(mask: jax.Array) -> jax.Array:
    """Morphological closing by 3 x 3 texels of masks [3, D, H, W] in {0, 1}: fills pinholes, grows nothing else."""
    window, strides = (1, 1, 3, 3), (1, 1, 1, 1)
    grown = jax.lax.reduce_window(mask, mask.dtype.type(0), jax.lax.max, window, strides, "SAME")
    return jax.lax.reduce_window(grown, mask.dtype.type(1), jax.lax.min, window, strides, "SAME")
