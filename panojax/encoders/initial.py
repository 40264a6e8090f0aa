"""Random variables of a network, all its kernels cut from one draw: to compile hundreds would take minutes on a CPU."""

import functools
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

Path = tuple[str, ...]


def draw_variables(
    make: Callable[..., Any],
    about: tuple[Hashable, ...],
    key: jax.Array,
    deviation: Callable[[Path, tuple[int, ...]], float | None],
) -> dict[str, Any]:
    """What `make` gives, but for the kernels, which are normal.

    Args:
      make: makes the variables, a pure function of `about`; a network's `init` with inputs and any key.
      about: its arguments; what it gives of the last ones is kept.
      key: draws the kernels.
      deviation: the kernels' by path and shape; None for leaves that stay as `make` has them.
    """
    shapes = _shapes(make, about)
    chosen = {path: deviation(path, leaf.shape) for path, leaf in shapes.items()}
    kernels = [path for path in shapes if chosen[path] is not None]
    others = frozenset(path for path in shapes if chosen[path] is None)
    ends = np.cumsum([shapes[path].size for path in kernels])
    draws: Any = jax.random.normal(key, (int(ends[-1]),))
    if isinstance(draws, jax.core.Tracer):
        variables = _only(make(*about), others)
    else:
        draws = np.asarray(draws)  # which cuts without compiling
        variables = {path: np.array(leaf) for path, leaf in _made(make, about, others).items()}
    for path, start, end in zip(kernels, [0, *ends], ends):
        shape, dtype = shapes[path].shape, shapes[path].dtype
        variables[path] = (chosen[path] * draws[start:end].reshape(shape)).astype(dtype)
    tree: dict[str, Any] = unflatten_dict(variables)
    return jax.device_put(tree)  # `jnp.asarray` would compile a program for each shape


@functools.lru_cache(maxsize=16)
def _shapes(make: Callable[..., Any], about: tuple[Hashable, ...]) -> dict[Path, jax.ShapeDtypeStruct]:
    shapes: dict[Path, jax.ShapeDtypeStruct] = flatten_dict(jax.eval_shape(lambda: make(*about)))
    return shapes


@functools.lru_cache(maxsize=16)
def _made(make: Callable[..., Any], about: tuple[Hashable, ...], paths: frozenset[Path]) -> dict[Path, np.ndarray]:
    """The leaves of these paths."""
    leaves: dict[Path, np.ndarray] = jax.device_get(jax.jit(lambda: _only(make(*about), paths))())
    return leaves


def _only(tree: Any, paths: frozenset[Path]) -> dict[Path, Any]:
    return {path: leaf for path, leaf in flatten_dict(tree).items() if path in paths}
