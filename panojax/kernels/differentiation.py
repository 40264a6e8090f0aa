"""Functions that have a faster way to their results than the one that is differentiated."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.custom_derivatives import SymbolicZero


def unless_differentiated(fast: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    """A function of (static, *trees): `fast` computes it, `plain` where a gradient is wanted, with the same result.

    Args:
      fast, plain: take a hashable and trees of arrays. Of `plain`, only arrays that move have a tangent.
    """

    @functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
    def call(static, *trees):
        return fast(static, *trees)

    @functools.partial(call.defjvp, symbolic_zeros=True)
    def differentiate(static, primals, tangents):
        values, tree = jax.tree.flatten(primals)
        changes = jax.tree.leaves(tangents, is_leaf=lambda leaf: isinstance(leaf, SymbolicZero))
        moving = [i for i, change in enumerate(changes) if not isinstance(change, SymbolicZero)]

        def of_moving(*moved):
            found = dict(zip(moving, moved))
            return plain(static, *tree.unflatten([found.get(i, value) for i, value in enumerate(values)]))

        return jax.jvp(of_moving, [values[i] for i in moving], [changes[i] for i in moving])

    return call
