"""The heads of a viewer: from files, from photos with the parts they were stitched from, or from seeds."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from panojax import api
from panojax.camera import front
from panojax.converters.array_file import read_npz
from panojax.errors import InputError
from panojax.generator import Head, make_heads
from panojax.params import Params

MAX_DIRECTIONS = 64
STITCHED, VISIBLE, OCCLUDED = "stitched", "E1, visible", "E2, occluded"


@dataclasses.dataclass(frozen=True)
class Subject:
    """One person in a viewer.

    Attributes:
      name: short, for titles.
      heads: by their titles: the head alone, or stitched, the visible encoder's and the occluded encoder's.
      camera: label [25] that the mask is of: the photo's, or the front.
      mask: [3, D, H, W], 1 = not seen from the camera.
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
    heads = {STITCHED: head, VISIBLE: parts.visible, OCCLUDED: parts.occluded}
    return Subject(name, heads, np.asarray(camera), parts.mask)


def on_device(tree: Any) -> Any:
    """Arrays, bound to the first device: bound and free ones would make JAX compile everything twice."""
    return jax.device_put(tree, jax.local_devices()[0])


@jax.jit
def _mask(params: Params, head: Head, camera: jax.Array) -> jax.Array:
    return api.occlusion_mask(params, api.render(params, head, camera), camera)


def read_directions(path: str | os.PathLike, params: Params) -> dict[str, np.ndarray]:
    """Directions in the space of style codes, by their names.

    Args:
      path: an .npz of floats [w_dim], the same for all codes, or [L, w_dim].

    Returns:
      {name: float32 [L, w_dim]} in the file's order.

    Raises:
      InputError: there is no such file, it is broken, or its arrays do not fit the model.
    """
    shape = (params.config.generator.num_ws, params.config.generator.w_dim)
    path = pathlib.Path(path)
    try:
        arrays = read_npz(path.read_bytes(), limit=2**28)
    except OSError as error:
        raise InputError(f"directions must be an .npz file, got {str(path)!r}: {error.strerror}") from error
    except InputError as error:
        raise InputError(f"directions must be an .npz file, got {str(path)!r}: {error}") from error
    if not 0 < len(arrays) <= MAX_DIRECTIONS:
        raise InputError(f"directions must be 1 to {MAX_DIRECTIONS} arrays, {path} has {len(arrays)}")
    for name, array in arrays.items():
        if array.dtype.kind != "f" or array.shape not in (shape, shape[1:]) or not np.isfinite(array).all():
            raise InputError(
                f"directions must be finite floats [{shape[1]}] or {list(shape)}, {path} has {name}: "
                f"{array.dtype} {list(array.shape)}"
            )
    return {name: np.broadcast_to(array, shape).astype(np.float32) for name, array in arrays.items()}


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


def move_head(params: Params, head: Head, step: jax.Array) -> Head:
    """A head whose style codes [L, w_dim] moved by `step` [L, w_dim]; see `edited`."""
    change, made = _change(params, head.ws, step)
    if head.occluded_planes is None:
        return dataclasses.replace(made, planes=head.planes + change)
    # Lookups take the occluded grid where the first one is zero, so its zeros must stay.
    planes = jnp.where(head.planes == 0, head.planes, head.planes + change)
    return dataclasses.replace(made, planes=planes, occluded_planes=head.occluded_planes + change)


@jax.jit
def _change(params: Params, ws: jax.Array, step: jax.Array) -> tuple[jax.Array, Head]:
    """What a step from style codes adds to their tri-grid, and the head there."""
    config, moved = params.config.generator, ws + step
    before, after = (
        planes.astype(jnp.float32) for planes in (api.synthesize(params, ws), api.synthesize(params, moved))
    )
    made = make_heads(config, params.generator, after[None].astype(config.dtype), moved[None])
    return (after - before).astype(config.dtype), jax.tree.map(lambda x: x[0], made)
