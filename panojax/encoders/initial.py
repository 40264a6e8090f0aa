"""Random variables of a network, all its kernels cut from one draw: to compile hundreds would take minutes on a CPU."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

Path = tuple[str, ...]


def draw_variables(
    make: Callable[[], Any], key: jax.Array, deviation: Callable[[Path, tuple[int, ...]], float | None]
) -> dict[str, Any]:
    """What `make` gives, but for the kernels, which are normal.

    Args:
      make: makes the variables, pure; a network's `init` with inputs and any key.
      key: draws the kernels.
      deviation: the kernels' by path and shape; None for leaves that stay as `make` has them.
    """
    shapes = flatten_dict(jax.eval_shape(make))
    chosen = {path: deviation(path, leaf.shape) for path, leaf in shapes.items()}
    kernels = [path for path in shapes if chosen[path] is not None]
    variables = jax.jit(lambda: {path: leaf for path, leaf in flatten_dict(make()).items() if chosen[path] is None})()
    ends = np.cumsum([shapes[path].size for path in kernels])
    draws: Any = jax.random.normal(key, (int(ends[-1]),))
    if not isinstance(draws, jax.core.Tracer):
        draws = np.asarray(draws)  # which cuts without compiling
    for path, start, end in zip(kernels, [0, *ends], ends):
        shape, dtype = shapes[path].shape, shapes[path].dtype
        variables[path] = jnp.asarray(chosen[path] * draws[start:end].reshape(shape), dtype)
    tree: dict[str, Any] = unflatten_dict(variables)
    return tree
