"""Reference-based editing: a part of one head takes the place of the same part of another.

Heads share the tri-grid's canonical space, so a part is moved by copying texels.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from panojax import api
from panojax.camera import front
from panojax.editing.region import check_region, show_region, soften
from panojax.errors import InputError
from panojax.fields.local_branch import LocalBranch, LocalMix
from panojax.generators.generator import Head
from panojax.nn.stylegan2 import resize
from panojax.params import Params


def edit(
    params: Params,
    source: Head,
    reference: Head,
    region: jax.Array,
    *,
    border: int | None = None,
    fuse: bool = True,
    camera: jax.Array | None = None,
    threshold: float = 0.5,
) -> Head:
    """`source` with a part of `reference`.

    The tri-grids are blended by the softened region. Fusing then lets the visible encoder see the result: where
    `camera` shows the part, its texels become those encoded from the rendering, which has source and reference under
    one light and without a seam; what the camera does not show stays as it was copied.

    Args:
      source, reference: heads of this model.
      region: [3, H, W] in [0, 1], from `find_region`, `solid_region`, or several of them by `jnp.maximum`.
      border: texels; the blend falls to 0 within twice as many around the region, and further out the source's
        tri-grid stays exactly as it was. None is one for every 128 texels of a plane's side, at least 1.
      fuse: encode the result again; the model needs encoders.
      camera: label [25] from which it is encoded; None is the front.
      threshold: opacity above which a pixel of that rendering is foreground.

    Returns:
      A Head with the source's codes and background; with its local branch too, if it has one and nothing is fused, but
      for what its portrait shows of the region. The source itself where the reference is the same there, so that there
      is nothing to bring.

    Raises:
      InputError: a head or the region has another shape than the model's, the region is empty (which a trace does not
        know), or there are no encoders to fuse by.

    Source: dual-encoder inversion, section 5.3.
    """
    api.check_head(params, source, "source")
    api.check_head(params, reference, "reference")
    region = check_region(params, region)
    api.check_finite("threshold", threshold)
    if fuse and (params.config.encoder is None or params.config.encoders != 2):
        found = "a generator alone" if params.config.encoder is None else "one encoder"
        raise InputError(f"fuse needs a model with two encoders, got {found}: fuse=False only copies")
    border = max(1, region.shape[-1] // 128) if border is None else border
    if border < 0:
        raise InputError(f"border must be 0 texels or more, got {border}")
    field = params.config.generator.field
    weights = field.fill_area(soften(region.astype(jnp.float32), border))
    ours, theirs = whole_planes(source), whole_planes(reference)
    same = jnp.all(jnp.where(weights[..., None] > 0, ours == theirs, True))
    if fuse and not isinstance(same, jax.core.Tracer) and bool(same):
        return source
    head = blend(source, theirs, weights)
    head = dataclasses.replace(head, local=forget_region(params, source, region))
    if not fuse:
        return _unless(same, source, head)
    camera = front() if camera is None else camera
    image = jnp.clip(api.render(params, head, camera).image, -1, 1).astype(jnp.float32)
    _, parts = api.invert(params, image, camera, threshold=threshold, return_parts=True)
    seen = soften(1 - parts.mask, 0 if border == 0 else 1)
    fused = blend(head, whole_planes(parts.visible), weights * seen)
    # A local branch then holds what the new head misses of the edited picture, no longer of the photo.
    fused = dataclasses.replace(fused, local=parts.visible.local)
    return _unless(same, source, fused)


def forget_region(params: Params, head: Head, region: jax.Array) -> Any:
    """A head's local branch without what its portrait shows of a region, which would be painted on what comes there."""
    if head.local is None:
        return None

    bare = dataclasses.replace(head, local=None)  # as that of which a branch keeps depth and opacity

    def forget(branch: LocalBranch) -> LocalBranch:
        shown, all_there_is = (show_region(params, bare, x, branch.camera) for x in (region, jnp.ones_like(region)))
        side = branch.weight.shape[-3]
        # A pixel rests on several columns of cells, of three planes say. One of them alone is mostly the shadow of
        # what lies elsewhere.
        reads = params.config.generator.field.reads
        alone = 1 / reads if reads > 1 else 0.0
        share = resize((shown / jnp.maximum(all_there_is, 1e-3))[None, ..., None], side)[0]
        covered = jnp.clip((share - alone) / (1 - alone), 0, 1)
        return dataclasses.replace(branch, weight=branch.weight * (1 - covered).astype(branch.weight.dtype))

    if isinstance(head.local, LocalMix):
        return dataclasses.replace(head.local, branches=tuple(map(forget, head.local.branches)))
    return forget(head.local)


def _unless(same: jax.Array, source: Head, edited: Head) -> Head:
    """`edited`, or `source` where that is the same."""
    if jax.tree.map(jnp.shape, source) != jax.tree.map(jnp.shape, edited):
        return edited
    return jax.tree.map(lambda old, new: jnp.where(same, old, new), source, edited)


def blend(head: Head, planes: jax.Array, weights: jax.Array) -> Head:
    """A head with other planes where weights, broadcast to [*field.cells], are 1 and its own where they are 0."""
    weights = weights[..., None].astype(head.planes.dtype)
    ours = whole_planes(head)
    mixed = ours + weights * (planes - ours)
    if head.occluded_planes is None:
        return dataclasses.replace(head, planes=mixed)
    inside = weights > 0
    kept = {name: jnp.where(inside, mixed, getattr(head, name)) for name in ("planes", "occluded_planes")}
    return dataclasses.replace(head, **kept)


def whole_planes(head: Head) -> jax.Array:
    """A head's planes [*field.shape]; of two, the occluded one where the other is zero."""
    if head.occluded_planes is None:
        return head.planes
    return jnp.where(head.planes == 0, head.occluded_planes, head.planes)
