"""Encoders' variables as inference reads them: what can be made of them alone is made once."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from flax.traverse_util import flatten_dict, unflatten_dict

from panojax.encoders.layers import windows
from panojax.encoders.pointwise import EPSILON


def fold(variables: Any, dtype: str) -> dict[str, Any]:
    """One network's {"params", "batch_stats"} as {"params", "folded"}, whose results are the same.

    Batch norms become a gain and a shift, and the style heads `StyleWeights`; convolutions' kernels are in `dtype`.
    """
    params, stats = flatten_dict(variables["params"]), flatten_dict(variables["batch_stats"])
    folded = {}
    for norm in {path[:-1] for path in stats}:
        gain = jax.lax.rsqrt(stats[*norm, "var"] + EPSILON) * params.pop((*norm, "scale"))
        folded[*norm, "gain"] = gain
        folded[*norm, "shift"] = params.pop((*norm, "bias")) - stats[*norm, "mean"] * gain
    params = {
        path: leaf.astype(dtype) if path[-1] == "kernel" and leaf.ndim == 4 else leaf for path, leaf in params.items()
    }
    heads = {path: params.pop(path) for path in list(params) if path[0].startswith("styles.")}
    folded = unflatten_dict(folded)
    if heads:
        trees = unflatten_dict(heads)
        folded["styles"] = fold_styles([trees[f"styles.{i}"] for i in range(len(trees))])
    return {"params": unflatten_dict(params), "folded": folded}


@struct.dataclass
class StyleWeights:
    """The style heads of `GradualStyleEncoder`, in groups that compute at once.

    A head of k halving convs joins where the maps have a side of 2^k, after those that joined before it.

    Attributes:
      first: {k: (kernel [9 C, heads * C], bias [heads * C])} of the convs that read one of the trunk's maps.
      later: {k: (kernel [heads, 9 C, C], bias [heads, 1, 1, 1, C])} of the convs of sides 2^k that read a conv.
      linear: (kernel [heads, C, w_dim], bias [heads, 1, w_dim]), the equalised learning rate's gain within.
      order: the heads in the order in which they joined.
    """

    first: dict[int, tuple[jax.Array, jax.Array]]
    later: dict[int, tuple[jax.Array, jax.Array]]
    linear: tuple[jax.Array, jax.Array]
    order: tuple[int, ...] = struct.field(pytree_node=False)


def fold_styles(heads: list[dict[str, Any]]) -> StyleWeights:
    """`StyleWeights` of the heads' parameters."""
    depths = [sum(name.startswith("convs.") for name in head) for head in heads]
    order = sorted(range(len(heads)), key=lambda i: (-depths[i], i))

    def layers(k, first):
        """The convs that read maps of side 2^k, as their head's first or not, in the order of joining."""
        names = [(i, depths[i] - k) for i in order if depths[i] >= k and (depths[i] == k) == first]
        return [heads[i][f"convs.{2 * n}"] for i, n in names]

    def rows(layer):
        return layer["kernel"].reshape(-1, layer["kernel"].shape[-1])

    first, later = {}, {}
    for k in range(max(depths), 0, -1):
        if group := layers(k, True):
            first[k] = (
                jnp.concatenate([rows(layer) for layer in group], axis=1),
                jnp.concatenate([layer["bias"] for layer in group]),
            )
        if group := layers(k, False):
            bias = jnp.stack([layer["bias"] for layer in group])
            later[k] = jnp.stack([rows(layer) for layer in group]), bias[:, None, None, None]
    linear = [heads[i]["linear"] for i in order]
    kernel = jnp.stack([layer["kernel"] for layer in linear])
    bias = jnp.stack([layer["bias"] for layer in linear])[:, None]
    return StyleWeights(first, later, (kernel / math.sqrt(kernel.shape[1]), bias), tuple(order))


def apply_styles(weights: StyleWeights, maps: list[jax.Array], dtype: str) -> list[jax.Array]:
    """The codes [N, w_dim] of all heads from the trunk's maps [N, 2^k, 2^k, C], finest first."""
    by_side = {x.shape[1]: x.astype(dtype) for x in maps}
    channels = maps[0].shape[-1]
    heads = jnp.zeros((0, len(maps[0]), max(by_side), max(by_side), channels), dtype)
    for k in range(max(by_side).bit_length() - 1, 0, -1):
        groups = []
        if k in weights.later:
            kernel, bias = (value.astype(dtype) for value in weights.later[k])
            taps = jax.vmap(lambda x: windows(x, 3, 2))(heads)
            groups.append(jnp.einsum("gnhwi,gio->gnhwo", taps, kernel) + bias)
        if k in weights.first:
            kernel, bias = (value.astype(dtype) for value in weights.first[k])
            new = windows(by_side[2**k], 3, 2) @ kernel + bias
            groups.append(jnp.moveaxis(new.reshape(*new.shape[:3], -1, channels), 3, 0))
        if groups:
            heads = jax.nn.leaky_relu(jnp.concatenate(groups), 0.01)
    without = len(weights.order) - len(heads)
    if without:  # heads that read a map of one pixel
        heads = jnp.concatenate([heads, jnp.broadcast_to(by_side[1], (without, *by_side[1].shape))])
    kernel, bias = (value.astype(dtype) for value in weights.linear)
    codes = jnp.einsum("gni,gio->gno", heads[:, :, 0, 0], kernel) + bias
    return [codes[weights.order.index(i)] for i in range(len(weights.order))]
