"""Samples in order, and lookups along the last axis.

Plain forms: `jnp.argsort` and `jnp.take_along_axis`, `jnp.searchsorted`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def in_rising_order(function: Callable[..., Any], values: jax.Array, keys: jax.Array) -> tuple[Any, ...]:
    """`function(values, keys)` of arrays [..., S] put in the order of rising keys along the last axis.

    Args:
      function: to (x [..., S], *others).

    Returns:
      (x, *others), x in the order that was given.
    """
    by_counting, by_sorting = (functools.partial(way, function) for way in (_by_counting, _by_sorting))
    return jax.lax.platform_dependent(values, keys, cpu=by_counting, default=by_sorting)


def _by_sorting(function, values, keys):
    index = jax.lax.broadcasted_iota(jnp.int32, keys.shape, keys.ndim - 1)
    keys, values, order = jax.lax.sort((keys, values, index), num_keys=1)
    found, *others = function(values, keys)
    _, found = jax.lax.sort((order, found), num_keys=1)
    return found, *others


def _by_counting(function, values, keys):
    """The same where sorting is slow: a sample's place is the number of those before it."""
    fixed = jax.lax.stop_gradient(keys)
    index = jnp.arange(keys.shape[-1])

    def count(i, places):
        other = jax.lax.dynamic_slice_in_dim(fixed, i, 1, axis=-1)
        return places + jnp.where(i < index, other <= fixed, other < fixed)

    places = jax.lax.fori_loop(0, keys.shape[-1], count, jnp.zeros(keys.shape, jnp.int32))
    rising = (jnp.put_along_axis(jnp.zeros_like(x), places, x, axis=-1, inplace=False) for x in (values, keys))
    found, *others = function(*rising)
    return jnp.take_along_axis(found, places, axis=-1), *others


def count_up_to(rising: jax.Array, values: jax.Array) -> jax.Array:
    """How many of `rising` [..., S] are at most each of values [..., F]: [..., F], by binary search."""
    size = 1 << rising.shape[-1].bit_length()
    padded = jnp.concatenate([rising, jnp.full((*rising.shape[:-1], size - rising.shape[-1]), jnp.inf)], axis=-1)
    count = jnp.zeros(values.shape, jnp.int32)
    while size > 1:
        size //= 2
        more = count + size
        count = jnp.where(pick(padded, more - 1) <= values, more, count)
    return count


def pick(table: jax.Array, index: jax.Array) -> jax.Array:
    """`jnp.take_along_axis` along the last axis, in bounds; from one flat table, so that XLA for GPUs makes it where it
    is used."""
    flat = jnp.ravel(table)
    first = jnp.arange(flat.size // table.shape[-1], dtype=jnp.int32).reshape(*table.shape[:-1], 1) * table.shape[-1]
    return flat.at[first + index].get(mode="promise_in_bounds", wrap_negative_indices=False)
