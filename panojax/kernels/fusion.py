"""What XLA is to make in one kernel or in one order, where left alone it chooses worse."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

from panojax.kernels.differentiation import unless_differentiated

BLOCK = 8192  # points whose features a CPU's caches hold


def weighted_sum(x: jax.Array, weights: jax.Array) -> jax.Array:
    """x [..., C] @ weights [C], on accelerators as a sum in the kernel that makes x, which need not be written."""
    return jax.lax.platform_dependent(x, weights, cpu=jnp.matmul, default=_weighted_sum)


def _weighted_sum(x, weights):
    # Without the barrier XLA would make x, and sum, anew for each use.
    return jax.lax.optimization_barrier(jnp.sum(x * weights, axis=-1))


def written_in_order(x: jax.Array) -> jax.Array:
    """x [N, ...] as it is: by a flat barrier, XLA for GPUs writes it in the order of its axes at once.

    Left alone it writes what x was transposed from, and then transposes.
    """
    return jax.lax.optimization_barrier(x.reshape(len(x), -1)).reshape(x.shape)


def rows_first(x: jax.Array) -> jax.Array:
    """x as it is, laid out in memory in the order of its axes, whatever the layout that XLA would choose."""
    return with_layout_constraint(x, Layout(tuple(range(x.ndim))))


def by_blocks(query: Callable[..., Any], static: Any, *data: Any) -> Any:
    """`query(static, *trees, points)`, of arrays [M, ...] for points [M, 3]; on CPUs block by block of points.

    Where a gradient is wanted, and where points do not divide into blocks, all at once.

    Args:
      query: whose results for a point do not depend on the other points.
      static: hashable.
      data: trees of arrays, and the points last.
    """
    if jax.default_backend() == "cpu" and math.gcd(len(data[-1]), BLOCK) >= BLOCK // 4:
        return unless_differentiated(functools.partial(_by_platform, query), query)(static, *data)
    return query(static, *data)


def _by_platform(query, static, *data):
    """What a process with CPUs alone compiles may be for GPUs, too; one with a GPU need not trace both."""
    cpu, default = functools.partial(_in_turn, query, static), functools.partial(query, static)
    return jax.lax.platform_dependent(*data, cpu=cpu, default=default)


def _in_turn(query, static, *data):
    *trees, points = data
    blocks = points.reshape(-1, math.gcd(len(points), BLOCK), points.shape[-1])
    results = jax.lax.map(functools.partial(query, static, *trees), blocks)
    return jax.tree.map(lambda x: x.reshape(len(points), *x.shape[2:]), results)
