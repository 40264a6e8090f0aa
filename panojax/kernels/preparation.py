"""Preparation: what operations make of their weights alone is made once, and kept in the weights' place.

An operation says by `once` what it makes of weights. `prepare` traces a call of a network, in which nothing is
computed, notes which weights come to which `once`, and makes it of them. The network is then called with the tree that
`prepare` gives as with the one before: it has the same paths, and no layer asks which of the two it got. Layers that
know nothing of `once` keep their weights, and so do weights that come to one with these and to another with those.
A weight that comes to `once` must be read nowhere else.
"""

import collections
import contextlib
import contextvars
import functools
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

import jax
from flax import struct


@struct.dataclass
class Prepared:
    """What was made of weights. It stands where the first of them stood in the tree; where others did is None."""

    value: Any


class _Use(NamedTuple):
    """Leaves that came to a `once`, by their places among all leaves, and what it makes of them."""

    places: tuple[int, ...]
    tree: Any
    make: Callable[..., Any]
    keep: Callable[[Any], Any]


class _Watch:
    """Notes the uses of `leaves` while a call of a network is traced."""

    def __init__(self, leaves: list[Any]):
        self.leaves = leaves
        self.places = {id(leaf): place for place, leaf in enumerate(leaves)}
        self.uses: dict[tuple[int, ...], _Use] = {}

    def note(self, weights: Any, make: Callable[..., Any], keep: Callable[[Any], Any]) -> None:
        leaves, tree = jax.tree.flatten(weights)
        if all(id(leaf) in self.places for leaf in leaves):  # else they were changed before, which nothing notes
            places = tuple(self.places[id(leaf)] for leaf in leaves)
            self.uses.setdefault(places, _Use(places, tree, make, keep))


_watch: contextvars.ContextVar[_Watch | None] = contextvars.ContextVar("_watch", default=None)


def once(make: Callable[..., Any], *weights: Any, keep: Callable[[Any], Any] = lambda value: value) -> Any:
    """`make(*weights)`; of prepared weights, what was kept of it.

    Args:
      make: of the weights alone, pure.
      weights: trees of arrays as they are among a network's variables.
      keep: turns what `make` gave into what is kept, where the operation also takes another form of it.
    """
    for leaf in jax.tree.leaves(weights, is_leaf=_is_prepared):
        if _is_prepared(leaf):
            return leaf.value
    watch = _watch.get()
    if watch is not None:
        watch.note(weights, make, keep)
    return make(*weights)


def prepare(call: Callable[[Any, Any], Any], config: Hashable, variables: Any, *, count: int | None = None) -> Any:
    """Variables that give the same results in less time.

    Args:
      call: of (config, variables): calls all networks whose variables these are, on data of their usual types.
      config: static configuration.
      variables: tree of arrays.
      count: of networks whose variables are stacked along a leading axis (`kernels.stacked`); None: they are not.

    Returns:
      The tree with `Prepared` weights, on this process's default device's terms. It can be neither trained nor saved.
    """
    leaves, structure = jax.tree.flatten(variables)
    tree: Any = structure
    first = 0 if count is None else 1
    types = tuple((leaf.shape[first:], leaf.dtype) for leaf in leaves)
    return tree.unflatten(_maker(call, config, tree, types, count is not None, jax.default_backend())(leaves))


def is_prepared(variables: Any) -> bool:
    """Whether `prepare` made any of these."""
    return any(map(_is_prepared, jax.tree.leaves(variables, is_leaf=_is_prepared)))


def _is_prepared(leaf: Any) -> bool:
    return isinstance(leaf, Prepared)


@functools.lru_cache(maxsize=64)
def _maker(call, config, tree, types, stacked, backend):
    """A jitted function from leaves to prepared ones. `backend` is what the uses' `keep` may depend on."""
    del backend
    uses = _uses(call, config, tree, types)

    @jax.jit
    def make_all(leaves):
        leaves = list(leaves)
        for use in uses:
            made = _made(use)
            value = (jax.vmap(made) if stacked else made)(*(leaves[place] for place in use.places))
            for place in use.places:
                leaves[place] = None
            leaves[use.places[0]] = Prepared(value)
        return leaves

    return make_all


def _made(use: _Use) -> Callable[..., Any]:
    return lambda *leaves: use.keep(use.make(*use.tree.unflatten(leaves)))


def _uses(call, config, tree, types) -> list[_Use]:
    found: list[_Use] = []

    def traced(leaves):
        # Without `jit` within, which would pass other tracers on than those of the leaves.
        with _watching(leaves) as watch, jax.disable_jit():
            call(config, tree.unflatten(leaves))
        found.extend(watch.uses.values())

    jax.eval_shape(traced, [jax.ShapeDtypeStruct(*one) for one in types])
    times = collections.Counter(place for use in found for place in use.places)
    return [use for use in found if all(times[place] == 1 for place in use.places)]


@contextlib.contextmanager
def _watching(leaves: list[Any]) -> Iterator[_Watch]:
    watch = _Watch(leaves)
    token = _watch.set(watch)
    try:
        yield watch
    finally:
        _watch.reset(token)


@functools.partial(jax.jit, static_argnames="layers")
def reorder_outputs(variables: Any, order: jax.Array, *, layers: tuple[str, ...]) -> Any:
    """Variables whose layers of these names give their output channels in another order: output[..., order].

    Args:
      order: [O], for each channel which one it was.
      layers: names; their "kernel" [..., O] and "bias" [O] change, what lies deeper does not.
    """

    def one(path, leaf):
        names = [key.key for key in path[-2:]]
        return leaf[..., order] if names[0] in layers and names[1] in ("kernel", "bias") else leaf

    return jax.tree.map_with_path(one, variables)
