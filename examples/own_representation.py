"""A 3D representation of your own: voxels. Generator, renderer, masks, stitching and training take it as it is.

config = dataclasses.replace(generator_config, representation=VoxelGrid(16, 4))
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp

from panojax.fields.representation import Representation


@dataclasses.dataclass(frozen=True)
class VoxelGrid(Representation):
    """Planes are voxels [D, H, W, C] along z, y and x, looked up trilinearly, zeros outside."""

    size: int = 16
    width: int = 4

    @property
    def shape(self) -> tuple[int, ...]:
        """[D, H, W, C]."""
        return (self.size, self.size, self.size, self.width)

    @property
    def resolution(self) -> int:
        """H = W = D."""
        return self.size

    @property
    def channels(self) -> int:
        """D * C: the networks' picture has a layer of voxels in a row."""
        return self.size * self.width

    def from_image(self, image: jax.Array) -> jax.Array:
        """[..., H, W, D * C] -> [..., D, H, W, C]."""
        *lead, height, width, _ = image.shape
        return jnp.moveaxis(image.reshape(*lead, height, width, self.size, self.width), -2, -4)

    def to_image(self, planes: jax.Array) -> jax.Array:
        """[..., D, H, W, C] -> [..., H, W, D * C]."""
        layers_last = jnp.moveaxis(planes, -4, -2)
        return layers_last.reshape(*layers_last.shape[:-2], -1)

    def look_up(self, planes: jax.Array, points: jax.Array) -> jax.Array:
        """Features [M, C] of points [M, 3] in [-1, 1]."""
        first, rest = self._corners(points)
        total = jnp.zeros((len(points), planes.shape[-1]))
        for corner in itertools.product(range(2), repeat=3):
            index = first + jnp.array(corner)
            weight = jnp.prod(jnp.where(jnp.array(corner) == 1, rest, 1 - rest), axis=-1)
            weight = jnp.where(jnp.all((index >= 0) & (index < self.size), axis=-1), weight, 0.0)
            x, y, z = jnp.moveaxis(jnp.clip(index, 0, self.size - 1), -1, 0)
            total += weight[:, None] * planes[z, y, x].astype(jnp.float32)
        return total

    def unseen(self, points: jax.Array, valid: jax.Array) -> jax.Array:
        """[D, H, W]: 0 for the voxels that lookups of valid points [M, M, 3] read, else 1."""
        first, _ = self._corners(points.reshape(-1, 3))
        mask = jnp.ones(self.cells)
        for corner in itertools.product(range(2), repeat=3):
            index = first + jnp.array(corner)
            inside = jnp.all((index >= 0) & (index < self.size), axis=-1) & valid.reshape(-1)
            x, y, z = jnp.moveaxis(jnp.where(inside[:, None], index, self.size), -1, 0)
            mask = mask.at[z, y, x].set(0.0, mode="drop")
        return mask

    def _corners(self, points):
        """The first voxel (x, y, z) around points [M, 3], and how far they are on towards the next."""
        position = ((points + 1) * self.size - 1) / 2
        first = jnp.floor(position)
        return first.astype(jnp.int32), position - first
