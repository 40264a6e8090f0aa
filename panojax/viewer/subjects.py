"""The heads of a viewer: from files, from photos with the parts they were stitched from, or from seeds."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from panojax import api
from panojax.camera import front
from panojax.editing import latent
from panojax.generators.generator import Head
from panojax.params import Params

STITCHED, VISIBLE, OCCLUDED = "stitched", "E1, visible", "E2, occluded"
move_head = jax.jit(latent.move_head)


@dataclasses.dataclass(frozen=True)
class Subject:
    """One person in a viewer.

    Attributes:
      name: short, for titles.
      heads: by their titles: the head alone, or stitched, the visible encoder's and the occluded encoder's.
      camera: label [25] that the mask is of: the photo's, or the front.
      mask: [*field.cells], 1 = not seen from the camera.
      z: the latent [z_dim] of a generated head, or None.
    """

    name: str
    heads: Mapping[str, Head]
    camera: np.ndarray
    mask: jax.Array
    z: jax.Array | None = None


def from_head(params: Params, head: Head, name: str) -> Subject:
    """A subject of a head alone. What no file keeps, the photo's camera, is taken to be the front."""
    params, head = on_device((params.generator_only(), head))
    camera = np.asarray(front())
    return Subject(name, {STITCHED: head}, camera, _mask(params, head, jnp.asarray(camera)))


def from_latent(params: Params, z: np.ndarray, truncation: float, name: str) -> Subject:
    """A subject of a head generated from a latent z [z_dim]."""
    params, latent = on_device((params.generator_only(), jnp.asarray(z)))
    head = _generate(params, latent, truncation)
    return dataclasses.replace(from_head(params, head, name), z=latent)


def from_photo(
    params: Params, image: np.ndarray, camera: np.ndarray, name: str, *, stitching: str = "texel"
) -> Subject:
    """Inverts an aligned portrait [S, S, 3] in [-1, 1] seen from a label [25], and keeps the parts.

    Raises:
      InputError: the model has no encoders, see `panojax.invert`.
    """
    invert = jax.jit(api.invert, static_argnames=("stitching", "return_parts"))
    head, parts = invert(params, image, camera, stitching=stitching, return_parts=True)
    if parts is None:  # of one encoder
        label = jnp.asarray(camera, jnp.float32)
        return Subject(name, {STITCHED: head}, np.asarray(camera), _mask(params.generator_only(), head, label))
    heads = {STITCHED: head, VISIBLE: parts.visible, OCCLUDED: parts.occluded}
    return Subject(name, heads, np.asarray(camera), parts.mask)


def from_photos(params: Params, images: np.ndarray, cameras: np.ndarray, frontal: int, name: str) -> Subject:
    """Inverts K aligned portraits [K, S, S, 3] of one person, seen from labels [K, 25], into one head.

    Camera and mask are those of the portrait `frontal`.

    Raises:
      InputError: see `panojax.invert_many`.
    """
    head = api.invert_many(params, images, cameras)
    camera = np.asarray(cameras[frontal])
    return Subject(name, {STITCHED: head}, camera, _mask(params.generator_only(), head, jnp.asarray(camera)))


def on_device(tree: Any) -> Any:
    """Arrays, bound to the first device: bound and free ones would make JAX compile everything twice."""
    return jax.device_put(tree, jax.local_devices()[0])


@jax.jit
def _mask(params: Params, head: Head, camera: jax.Array) -> jax.Array:
    return api.occlusion_mask(params, api.render(params, head, camera), camera)


def edited(
    params: Params, subject: Subject, truncation: float | None, directions: Mapping[str, np.ndarray], strengths: Mapping
) -> Subject:
    """A subject with other style codes.

    Along directions, a tri-grid moves by as much as the generator's does, so that what the encoders added to it stays.

    Args:
      truncation: generated heads are made again with it; None leaves them as they are.
      directions: {name: [L, w_dim]}.
      strengths: {name: number}, how far along each.
    """
    params, heads = params.generator_only(), dict(subject.heads)
    if truncation is not None and subject.z is not None:
        heads = {STITCHED: _generate(params, subject.z, truncation)}
    moved = [strengths[name] * directions[name] for name in directions if strengths.get(name)]
    if moved:
        step = jnp.asarray(sum(moved), jnp.float32)
        heads = {title: move_head(params, head, step) for title, head in heads.items()}
    return dataclasses.replace(subject, heads=heads)


@jax.jit
def _generate(params: Params, z: jax.Array, truncation: jax.Array) -> Head:
    return api.generate(params, z, truncation=truncation)
