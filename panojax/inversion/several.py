"""Several portraits of one person to one head.

The first encoder makes a head of each portrait. Texels of these are blended: each portrait counts by what it shows,
how frontally it shows it, its sharpness, and a weight of the caller's. What no portrait shows comes from the second
encoder, of the most frontal one. Style codes and background are that one's, too. The local branch has a feature map of
each.

Portraits go through the encoders one after another, so that memory does not grow with them.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from panojax.arrays import AnyArray, Float
from panojax.camera import unpack
from panojax.config import Config
from panojax.encoders import dual
from panojax.encoders.stage import Context, Estimate, Stage, run
from panojax.fields.local_branch import SHARPENED, share_branches
from panojax.files.head_file import MAX_BRANCHES
from panojax.generators.generator import Head, head_frontality
from panojax.inversion.pipeline import inference_context, of_one, stitch, visible_half
from panojax.inversion.stages import stages_of
from panojax.losses.perception import Perception
from panojax.nn.stylegan2 import pool

MAX_PHOTOS = MAX_BRANCHES  # of one head, each of which every later view looks at
SHARPNESS_SIDE = 128  # pixels a side at which pictures' sharpness is compared
BLUNTEST = 0.2  # the least weight that want of sharpness leaves
FACE_ANGLE = 40.0  # degrees from the front up to which identities are compared


def invert_together(
    config: Config,
    variables: Any,
    encoders: Any,
    images: Float[AnyArray, "K S S 3"],
    labels: Float[AnyArray, "K 25"],
    weights: Float[AnyArray, " K"],
    *,
    stitching: str = "texel",
    threshold: float | jax.Array = 0.5,
) -> Head:
    """One head, unbatched, of portraits [K, S, S, 3] seen from labels [K, 25].

    Args:
      config: of generator and encoder.
      variables: the generator's.
      encoders: `Params.encoders`.
      weights: [K], how much each portrait counts besides what it shows and how sharp it is.
      stitching, threshold: as in `pipeline.reconstruct`.
    """
    context, both = inference_context(config, variables, encoders, images, labels)
    occluded = dual.part(both, dual.OCCLUDED) if context.count == 2 else None
    context, visible = visible_half(context, both)
    # Only the ratios of weights count.
    trust = weights / jnp.maximum(jnp.max(weights), 1e-30) * sharpness(images)
    options: dict[str, Any] = {"stitching": stitching, "threshold": threshold}
    return reconstruct_together(context, stages_of(config.encoder), visible, trust, occluded=occluded, **options)


def reconstruct_together(
    context: Context,
    stages: tuple[Stage, ...],
    variables: Mapping[str, Any],
    trust: jax.Array,
    *,
    occluded: Mapping[str, Any] | None = None,
    stitching: str = "texel",
    threshold: float | jax.Array = 0.5,
) -> Head:
    """`pipeline.reconstruct` of one person's portraits: the head of all of them, unbatched.

    Args:
      context: of one encoder, its rows the portraits.
      stages: the encoder's. Of the joined ones, what they make of a head's `local` is kept.
      variables: {stage's name: its network's} of the visible encoder.
      trust: [K], how much each portrait counts besides how frontally it shows a cell.
      occluded: those of the encoder that fills in what no portrait shows; None is the visible one.
    """
    alone = tuple(stage for stage in stages if not stage.joined)
    joined = tuple(stage for stage in stages if stage.joined)
    model, portraits = context.model.generator, (context.pictures, context.labels)
    frontal = most_frontal(context.labels, trust)
    field = model.field

    def encode(networks: Mapping[str, Any], picture: jax.Array, label: jax.Array) -> Head:
        return run(alone, of_one(context, picture, label), networks)[0].heads

    def add(sums, row):
        planes, shares = sums
        picture, label, weight = row
        head = encode(variables, picture, label)
        seen = head_frontality(model, context.generator, head, label[None], threshold=threshold)[0]
        share = weight * seen**SHARPENED
        sums = planes + field.masked(head.planes[0].astype(jnp.float32), share), shares + share
        return sums, jax.tree.map(lambda x: x[0], dataclasses.replace(head, planes=None))

    nothing = jnp.zeros(field.shape, jnp.float32), jnp.zeros(field.cells, jnp.float32)
    (planes, shares), rests = jax.lax.scan(add, nothing, (*portraits, trust))
    hidden = encode(variables if occluded is None else occluded, *(x[frontal] for x in portraits))
    hidden = jax.tree.map(lambda x: x[0], hidden)
    seen = shares > 0
    planes = planes / jnp.where(seen, shares, 1.0)[..., None]
    visible = jax.tree.map(lambda x: x[frontal], rests)
    visible = dataclasses.replace(visible, planes=planes.astype(hidden.planes.dtype))
    head = stitch(field, visible, hidden, 1 - seen.astype(jnp.float32), rule=stitching)
    return dataclasses.replace(head, local=_localize(context, joined, variables, head, trust)) if joined else head


def most_frontal(labels: Float[AnyArray, "K 25"], trust: Float[AnyArray, " K"]) -> jax.Array:
    """Which of the cameras [K, 25] that are trusted looks most into the face, along -z."""
    forward = unpack(labels)[0][:, 2, 2]
    return jnp.argmin(jnp.where(trust > 0, forward, 2.0))


def sharpness(images: Float[AnyArray, "K S S 3"]) -> Float[jax.Array, " K"]:
    """How sharp pictures are, of the sharpest: `BLUNTEST` to 1. A picture's contrast between neighbouring pixels, by
    its Laplacian at 128 pixels a side, as a share of its contrast."""
    grey = jnp.mean(pool(images.astype(jnp.float32), min(SHARPNESS_SIDE, images.shape[1])), axis=-1)
    padded = jnp.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
    around = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    share = jnp.std(around - 4 * grey, axis=(1, 2)) / jnp.maximum(jnp.std(grey, axis=(1, 2)), 1e-3)
    return jnp.clip(share / jnp.maximum(jnp.max(share), 1e-6), BLUNTEST, 1.0)


def odd_one(
    perception: Perception, images: Float[AnyArray, "K S S 3"], cameras: Float[AnyArray, "K 25"]
) -> tuple[int, float] | None:
    """The portrait that is least like the others, where it seems to show somebody else.

    Faces are compared that are seen from at most `FACE_ANGLE` degrees.

    Args:
      perception: with an identity network.
      images: K portraits, RGB in [-1, 1].
      cameras: their labels.

    Returns:
      Its place, and the median of its identity's distances (1 - cosine) from the others'; None where all may be one
      person's, or fewer than two show their face.
    """
    toward = -np.asarray(cameras)[:, 10]
    faces = [int(i) for i in np.argsort(-toward, kind="stable") if toward[i] > math.cos(math.radians(FACE_ANGLE))]
    if len(faces) < 2:
        return None
    embeddings = np.concatenate([np.asarray(_embed(perception, jnp.asarray(images[i])[None])) for i in faces])
    embeddings = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    distances = 1 - embeddings @ embeddings.T
    typical = [float(np.median(np.delete(row, i))) for i, row in enumerate(distances)]
    # Of two alike, as when there are but two, the less frontal one.
    odd = max(range(len(faces)), key=lambda i: (round(typical[i], 6), i))
    return (faces[odd], typical[odd]) if typical[odd] > perception.same_person else None


_embed = jax.jit(Perception.embed)


def _localize(context, joined, variables, head, trust):
    """The local branches that the joined stages give the head of each portrait, as one."""

    def branch(portrait):
        estimate = Estimate(jax.tree.map(lambda x: x[None], head))
        return run(joined, of_one(context, *portrait), variables, estimate)[0].heads.local

    locals_ = jax.lax.map(branch, (context.pictures, context.labels))
    if locals_ is None:
        return None
    alone = jax.tree.map(lambda x: x[:, 0], locals_)
    return share_branches(tuple(dual.part(alone, i) for i in range(len(trust))), trust)
