"""Edits in the space of style codes. A head keeps what encoders added to its tri-grid, so it stays the same person."""

import dataclasses

import jax
import jax.numpy as jnp

from panojax.api import check_array, check_finite, check_head
from panojax.editing.transfer import whole_planes
from panojax.fields.local_branch import mix_branches
from panojax.generators import generator
from panojax.generators.generator import Head
from panojax.params import Params


def move_head(params: Params, head: Head, direction: jax.Array, strength: float | jax.Array = 1.0) -> Head:
    """A head whose style codes moved along a direction.

    Its tri-grid moves by as much as the generator's does between the two codes, so that the offset that the F stage
    added stays, and the edit shows from every view.

    Args:
      direction: [L, w_dim], or [w_dim] for all codes alike.
      strength: how far, in lengths of the direction; 0 gives the head itself.

    Source: E3DGE's view-consistent editing.
    """
    check_head(params, head)
    config = params.config.generator
    shape = (config.num_ws, config.w_dim)
    check_array("head.ws", head.ws, shape)
    shared = jnp.ndim(direction) == 1
    direction = check_array("direction", direction, shape[1:] if shared else shape)
    check_finite("direction", direction)
    check_finite("strength", strength)
    if is_number(strength, 0):
        return head
    ws = head.ws + strength * direction
    before, after = _generate(params, jnp.stack([head.ws, ws]))
    change = (after - before).astype(config.dtype)
    moved = dataclasses.replace(head, planes=head.planes + change, ws=ws)
    moved = _with_background(params, moved, [((ws == head.ws).all(), head)])
    if head.occluded_planes is None:
        return moved
    # Lookups take the occluded grid where the first one is zero, so its zeros must stay.
    planes = jnp.where(head.planes == 0, head.planes, moved.planes)
    return dataclasses.replace(moved, planes=planes, occluded_planes=head.occluded_planes + change)


def interpolate(params: Params, first: Head, second: Head, share: float | jax.Array) -> Head:
    """The head between two: style codes on the line between theirs, and as much of each one's offset.

    Args:
      share: of the second head; 0 gives the first one itself, 1 the second. Outside of [0, 1] the line goes on.

    Returns:
      A Head with one tri-grid: of two that are looked up in turn, it has the whole; and with the local branches of
      both, each with its own camera, if they have any.
    """
    check_head(params, first, "first")
    check_head(params, second, "second")
    config = params.config.generator
    a, b = (
        check_array(f"{name}.ws", head.ws, (config.num_ws, config.w_dim))
        for name, head in (("first", first), ("second", second))
    )
    check_finite("share", share)
    if is_number(share, 0) or is_number(share, 1):
        return second if is_number(share, 1) else first
    share = jnp.asarray(share, jnp.float32)
    ws = (1 - share) * a + share * b
    made_first, made_second, between = _generate(params, jnp.stack([a, b, ws]))
    offsets = [
        whole_planes(head).astype(jnp.float32) - made for head, made in ((first, made_first), (second, made_second))
    ]
    planes = (between + (1 - share) * offsets[0] + share * offsets[1]).astype(config.dtype)
    # A traced share may be an end, too, where sums of differences are not exact.
    ends = [(share == 0, first), (share == 1, second)]
    for here, head in ends:
        planes = jnp.where(here, whole_planes(head).astype(planes.dtype), planes)
    local = mix_branches(first.local, second.local, share)
    return _with_background(params, Head(planes, ws, first.background, local=local), ends)


def is_number(value, number: int) -> bool:
    """Whether a value is known, not traced, and this number."""
    return not isinstance(value, jax.core.Tracer) and jnp.ndim(value) == 0 and float(value) == number


def _generate(params, ws):
    """The generator's own planes [N, *field.shape] of codes [N, L, w_dim], in float32."""
    return generator.synthesize(params.config.generator, params.generator, ws).astype(jnp.float32)


def _with_background(params, head, known):
    """A head with its codes' background, where it keeps one: that of a known head where the condition says so."""
    if head.background is None:
        return head
    made = generator.background(params.config.generator, params.generator, head.ws[None])[0]
    for here, other in known:
        if other.background is not None:
            made = jnp.where(here, other.background.astype(made.dtype), made)
    return dataclasses.replace(head, background=made)
