"""From portraits to heads: the one pipeline, of inference and of training, for any number of encoders.

Each encoder makes a head of the portrait by its stages (`stages.py`). Of two, the depth of the first, visible one's
head, seen from the portrait's camera, tells which cells the portrait shows; there its planes are kept, elsewhere the
second, occluded one's. What the joined head still misses of the portrait may become features of its pixels (the
stages that are `joined`).

Source: dual-encoder inversion (Bilecen et al. 2024), section 3.3.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from panojax import kernels
from panojax.arrays import AnyArray, Float
from panojax.config import Config
from panojax.encoders import dual
from panojax.encoders.stage import Context, Estimate, Stage, run
from panojax.fields.representation import Representation
from panojax.generators.generator import Head, head_occlusion
from panojax.inversion.stages import stages_of
from panojax.nn.stylegan2 import pool


@struct.dataclass
class Parts:
    """What `invert` stitched.

    Attributes:
      visible: the head of the encoder that is faithful to the portrait.
      occluded: the head of the encoder that is plausible where the portrait shows nothing.
      mask: [*field.cells], for a tri-grid [3, D, H, W]: 1 = occluded from the portrait's camera.
    """

    visible: Head
    occluded: Head
    mask: jax.Array


def reconstruct(
    context: Context,
    stages: tuple[Stage, ...],
    variables: Mapping[str, Any],
    *,
    occluded: Mapping[str, Any] | None = None,
    stitching: str = "texel",
    threshold: float | jax.Array = 0.5,
    train: Collection[str] = (),
) -> tuple[Estimate, Parts | None, dict[str, Any]]:
    """Heads of portraits.

    Args:
      context: of one encoder, or of two that share one call (`count` 2, variables stacked, rows of the visible one
        first).
      stages: the encoder's.
      variables: {stage's name: its network's}.
      occluded: those of a second, finished encoder that runs after the first, whose heads then are the visible ones.
      stitching: see `stitch`.
      threshold: opacity above which a pixel of the visible head's rendering is foreground.
      train: names of the stages that learn.

    Returns:
      The estimate, what was stitched (None of one encoder; neither part has passed the joined stages), and {name:
      batch_stats as updated} of the stages that learn.
    """
    alone = tuple(stage for stage in stages if not stage.joined)
    joined = tuple(stage for stage in stages if stage.joined)
    estimate, stats = run(alone, context, variables, train=train)
    parts = None
    if context.count == 2:
        context, heads = first_half(context), _halves(estimate.heads)
        parts = _parts(context, *heads, threshold)
        estimate, variables = Estimate(heads[0]), dual.part(variables, dual.VISIBLE)
    elif occluded is not None:
        hidden, _ = run(alone, context, occluded)
        parts = _parts(context, estimate.heads, hidden.heads, threshold)
    if parts is not None:
        head = stitch(context.model.generator.field, parts.visible, parts.occluded, parts.mask, rule=stitching)
        estimate = dataclasses.replace(estimate, heads=head)
    estimate, more = run(joined, context, variables, estimate, train=train)
    return estimate, parts, stats | more


def _parts(context: Context, visible: Head, occluded: Head, threshold: float | jax.Array) -> Parts:
    model = context.model.generator
    mask = head_occlusion(model, context.generator, visible, context.labels, threshold=threshold)
    return Parts(visible, occluded, mask)


def stitch(
    field: Representation, visible: Head, occluded: Head, mask: Float[AnyArray, " *cells"], *, rule: str = "texel"
) -> Head:
    """Joins two heads: `visible` where mask [..., *field.cells] is 0, `occluded` where it is 1.

    "texel" blends the planes, T = (1 - O) T1 + O T2. "sample" keeps both and lets every lookup choose: the visible
    one where it is not zero, else the occluded one. Background, raw RGB and super-resolution take the visible head's
    codes.
    """
    if rule == "sample":
        kept = field.masked(visible.planes, 1 - mask)
        return dataclasses.replace(visible, planes=kept, occluded_planes=occluded.planes)
    return dataclasses.replace(visible, planes=field.blend(visible.planes, occluded.planes, mask))


def invert_batch(
    config: Config,
    variables: Any,
    encoders: Any,
    images: Float[AnyArray, "N S S 3"],
    labels: Float[AnyArray, "N 25"],
    *,
    stitching: str = "texel",
    threshold: float | jax.Array = 0.5,
) -> tuple[Head, Parts | None]:
    """Heads of portraits [N, S, S, 3] seen from labels [N, 25], and the parts they are stitched from, not localised.

    Args:
      config: of generator and encoder.
      variables: the generator's.
      encoders: `Params.encoders`.
    """
    context, both = inference_context(config, variables, encoders, images, labels)
    stages = stages_of(config.encoder)
    estimate, parts, _ = reconstruct(context, stages, both, stitching=stitching, threshold=threshold)
    return estimate.heads, parts


def localize_parts(
    config: Config, variables: Any, encoders: Any, parts: Parts | None, images: jax.Array, labels: jax.Array
) -> Parts | None:
    """The parts of `invert_batch`, each head after its own encoder's joined stages."""
    joined = tuple(stage for stage in stages_of(config.encoder) if stage.joined)
    if parts is None or not joined:
        return parts
    context, both = inference_context(config, variables, encoders, images, labels)
    visible, occluded = (
        run(joined, first_half(context), dual.part(both, which), Estimate(heads))[0].heads
        for heads, which in ((parts.visible, dual.VISIBLE), (parts.occluded, dual.OCCLUDED))
    )
    return dataclasses.replace(parts, visible=visible, occluded=occluded)


def inference_context(
    config: Config, variables: Any, encoders: Any, images: jax.Array, labels: jax.Array
) -> tuple[Context, Any]:
    """What stages read of portraits [N, S, S, 3] from labels [N, 25], and the variables of one encoder, or stacked."""
    encoder: Any = config.encoder
    both = kernels.unpack(encoders["both"])
    count = config.encoders
    pictures = pool(images, encoder.resolution)
    if count == 1:
        both = dual.part(both, 0)
    else:
        pictures = jnp.broadcast_to(pictures, (count, *pictures.shape)).reshape(-1, *pictures.shape[1:])
        labels = jnp.concatenate([labels] * count)
    return Context(variables, encoders["latent_average"], pictures, labels, model=config, count=count), both


def first_half(context: Context) -> Context:
    """The context of the first of `count` encoders alone."""
    rows = len(context.labels) // context.count
    return dataclasses.replace(context, pictures=context.pictures[:rows], labels=context.labels[:rows], count=1)


def visible_half(context: Context, both: Any) -> tuple[Context, Any]:
    """The context and the variables of the visible encoder alone; where there is one encoder, as they are."""
    if context.count == 1:
        return context, both
    return first_half(context), dual.part(both, dual.VISIBLE)


def of_one(context: Context, picture: jax.Array, label: jax.Array) -> Context:
    """The context of one portrait [R, R, 3]."""
    return dataclasses.replace(context, pictures=picture[None], labels=label[None])


def _halves(heads: Head) -> tuple[Head, Head]:
    """Of heads [2 N]: the first encoder's N, and the second's."""
    halves = jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[1:]), heads)
    return dual.part(halves, dual.VISIBLE), dual.part(halves, dual.OCCLUDED)
