"""What an edit changed, seen from many sides."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from panojax import api
from panojax.generators.generator import Head
from panojax.params import Params


@struct.dataclass
class Changes:
    """Differences between two heads, one number a camera [V].

    Attributes:
      picture: root mean square of the difference of the pictures, as a share of their span, where it is looked at.
      depth: mean distance between the surfaces along rays that hit both, in world units; 0 where none does.
      silhouette: intersection over union of the opaque pixels.
      identity: cosine of the faces' embeddings, or None.
    """

    picture: jax.Array
    depth: jax.Array
    silhouette: jax.Array
    identity: jax.Array | None = None


def compare_heads(
    params: Params,
    before: Head,
    after: Head,
    cameras: jax.Array,
    *,
    where: jax.Array | None = None,
    embed: Callable[[jax.Array], jax.Array] | None = None,
) -> Changes:
    """Compares a head before and after an edit.

    Args:
      cameras: labels [V, 25].
      where: [V, S, S] in [0, 1], the pixels at which pictures are compared; None is all.
      embed: pictures [N, S, S, 3] to embeddings [N, E], such as `panojax.losses.perception.Perception.embed`, for the
        change of identity; None leaves it out.
    """
    cameras = api.check_array("cameras", cameras, (None, 25))
    side = params.config.generator.image_resolution
    if where is None:
        where = jnp.ones((len(cameras), side, side))
    where = api.check_array("where", where, (len(cameras), side, side))

    def compare(view):
        camera, mask = view
        one, other = (api.render(params, head, camera) for head in (before, after))
        apart = jnp.square(other.image - one.image).mean(-1)
        solid, still = one.weight > 0.5, other.weight > 0.5
        both, either = (solid & still).sum(), (solid | still).sum()
        depth = jnp.sum(jnp.where(solid & still, jnp.abs(one.depth - other.depth), 0.0))
        identity = None
        if embed is not None:
            faces = embed(jnp.stack([one.image, other.image]))
            faces = faces / jnp.linalg.norm(faces, axis=-1, keepdims=True)
            identity = jnp.sum(faces[0] * faces[1])
        picture = jnp.sqrt(jnp.sum(apart * mask) / jnp.maximum(mask.sum(), 1)) / 2
        silhouette = jnp.where(either > 0, both / jnp.maximum(either, 1), 1.0)
        return Changes(picture, depth / jnp.maximum(both, 1), silhouette, identity)

    return jax.lax.map(compare, (cameras, where))
