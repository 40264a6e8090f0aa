"""What a 3D representation must say of itself: the seam between networks that make heads and all that reads them.

A representation is a frozen, hashable object without arrays. It says how many channels the networks make, turns their
image into planes (the stored array), looks points up, tells which cells a view leaves unseen, and blends two heads.
Nothing outside this folder knows how planes are laid out. `TriGrid` is the package's own; another is a subclass, given
as `GeneratorConfig(representation=...)`.
"""

import abc

import jax
import jax.numpy as jnp
import numpy as np

from panojax.arrays import AnyArray, Bool, Float
from panojax.errors import InputError

LEVELS = 16  # that `Representation.shown` tells apart


class Representation(abc.ABC):
    """Subclasses are frozen dataclasses. `...` are leading axes: of a batch, or none.

    Cells are what a view can show or hide: the planes without their last axis, which holds features.
    """

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of the planes of one head: the cells' axes, then C features."""

    @property
    @abc.abstractmethod
    def resolution(self) -> int:
        """Side R of the image [..., R, R, channels] that networks make, and texels along the box's side: a power of
        two, at least 4."""

    @property
    @abc.abstractmethod
    def channels(self) -> int:
        """Of that image."""

    @property
    def features(self) -> int:
        """C, of a lookup."""
        return self.shape[-1]

    @property
    def cells(self) -> tuple[int, ...]:
        """Shape of an occlusion mask."""
        return self.shape[:-1]

    @abc.abstractmethod
    def from_image(self, image: Float[AnyArray, "*batch R R channels"]) -> Float[jax.Array, " *batch_and_shape"]:
        """Planes [..., *shape] of the networks' image [..., R, R, channels]."""

    @abc.abstractmethod
    def to_image(self, planes: Float[AnyArray, " *batch_and_shape"]) -> Float[jax.Array, "*batch R R channels"]:
        """The inverse of `from_image`: what encoders and critics see of planes."""

    @abc.abstractmethod
    def look_up(self, planes: Float[AnyArray, "*cells C"], points: Float[AnyArray, "M 3"]) -> Float[jax.Array, "M C"]:
        """Features [M, C'] in float32 of points [M, 3], the box being [-1, 1]; planes [*cells, C'] with any C'."""

    @abc.abstractmethod
    def unseen(self, points: Float[AnyArray, "M M 3"], valid: Bool[AnyArray, "M M"]) -> Float[jax.Array, " *cells"]:
        """Which cells a view does not show.

        Args:
          points: [M, M, 3] of the surface that the view shows, in the picture's order, the box being [-1, 1].
          valid: bool [M, M], whether there is one.

        Returns:
          float32 [*cells], 1 = occluded, 0 = visible: what the lookups of valid points read is visible.
        """

    def fitted(self, points: Float[AnyArray, "M M 3"]) -> Float[jax.Array, " *cells"]:
        """How far planes that were fitted to one view are to be trusted, where other planes are at hand to blend with.

        Args:
          points: [M, M, 3] of the surface that the view shows, the box being [-1, 1].

        Returns:
          float32 [*cells] in [0, 1], 1 = wholly. Here: the cells that the view shows.
        """
        return 1 - self.unseen(points, jnp.ones(points.shape[:-1], bool))

    def shown(
        self, points: Float[AnyArray, "M M 3"], values: Float[AnyArray, "M M"], valid: Bool[AnyArray, "M M"]
    ) -> Float[jax.Array, " *cells"]:
        """The greatest of the values, in [0, 1], at the points whose lookups read a cell: [*cells], 0 where none do.

        Args:
          points, valid: as `unseen` takes them.
          values: [M, M]; rounded to a `LEVELS`th.
        """
        steps = (jnp.arange(LEVELS, dtype=jnp.float32) + 0.5) / LEVELS
        above = jax.lax.map(lambda step: 1 - self.unseen(points, valid & (values >= step)), steps)
        return jnp.mean(above, axis=0)

    def look_up_stitched(
        self,
        visible: Float[AnyArray, "*cells C"],
        occluded: Float[AnyArray, "*cells C"],
        points: Float[AnyArray, "M 3"],
    ) -> Float[jax.Array, "M C"]:
        """Features [M, C]: `visible`'s where they are not zero, else `occluded`'s. Source: the dual encoder's second
        stitching rule."""
        seen = self.look_up(visible, points)
        return jnp.where(seen != 0, seen, self.look_up(occluded, points))

    def masked(self, planes: Float[AnyArray, " *any"], mask: Float[AnyArray, " *mask"]) -> Float[jax.Array, " *any"]:
        """Planes [..., *shape] times a mask [..., *cells].

        Raises:
          InputError: their shapes do not fit.
        """
        if planes.ndim < len(self.shape) or mask.shape != planes.shape[:-1]:
            raise InputError(
                f"planes must be [..., {', '.join(map(str, self.shape))}] and masks as large without the last axis, "
                f"got {planes.shape} and {mask.shape}"
            )
        return planes * mask[..., None].astype(planes.dtype)

    def blend(
        self, visible: Float[AnyArray, "*any C"], occluded: Float[AnyArray, "*any C"], mask: Float[AnyArray, " *any"]
    ) -> Float[jax.Array, "*any C"]:
        """T = (1 - O) T1 + O T2 of planes [..., *shape], with O [..., *cells]. Source: the dual encoder's Eq. 4."""
        return self.masked(visible, 1 - mask) + self.masked(occluded, mask)

    def critic_image(
        self, planes: Float[AnyArray, " *any"], mask: Float[AnyArray, " *mask"]
    ) -> Float[jax.Array, "*batch R R channels"]:
        """What a critic sees [..., R, R, channels] of planes [..., *shape] where masks [..., *cells] are 1: O T."""
        return self.to_image(self.masked(planes, mask))

    def reordered(self) -> tuple["Representation", np.ndarray | None]:
        """The same representation, of images whose channels are in another order that is quicker to read, and that
        order: image[..., order] is its image. None: there is no quicker one."""
        return self, None

    # Parts of a head are edited in areas: a share in [0, 1] for each of some columns of cells.

    @property
    def areas(self) -> tuple[int, ...]:
        """Shape of an area."""
        raise InputError(f"parts are edited in tri-grids, got a {type(self).__name__}")

    def area_of(self, cells: Float[AnyArray, " *cells"]) -> Float[jax.Array, " *area"]:
        """What an area's columns hold in sum: [*cells] -> [*areas]."""
        raise InputError(f"parts are edited in tri-grids, got a {type(self).__name__}")

    def fill_area(self, area: jax.Array) -> jax.Array:
        """An area [..., *areas] for each of its cells, to be broadcast: [..., *cells] but for axes of 1."""
        raise InputError(f"parts are edited in tri-grids, got a {type(self).__name__}")

    def solid_area(
        self, centre: Float[AnyArray, " 3"], radii: Float[AnyArray, " 3"], shape: str
    ) -> Bool[jax.Array, " *area"]:
        """The area of a "box" or an "ellipsoid" with its axes along the box's, the box being [-1, 1]: bool."""
        raise InputError(f"parts are edited in tri-grids, got a {type(self).__name__}")

    @property
    def reads(self) -> int:
        """How many columns a lookup reads, of which each has an equal share."""
        return 1
