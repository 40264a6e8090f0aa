"""pSp's style heads: from the trunk's maps to style codes, all heads of a map's size at once.

A head of k halving convs reads a map of side 2^k. Plain form: one head after the other, each 3x3 convs of stride 2 and
an equalised linear layer. A head's weights outweigh its few pixels, and the 70 or so such convs of all heads would be
bound by launches on a GPU, in training above all.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from panojax.kernels.convolution import as_array, windows
from panojax.kernels.preparation import once


def apply_heads(heads: list[dict[str, Any]], maps: list[jax.Array], dtype: str) -> list[jax.Array]:
    """Style codes of all heads.

    Args:
      heads: of each, {"convs.0", "convs.2", ..., "linear": {"kernel", "bias"}}, kernels [3, 3, C, C] and [C, w_dim].
      maps: [N, 2^k, 2^k, C], all that heads of k convs read, the largest first.
      dtype: of products and codes.

    Returns:
      Codes [N, w_dim] in the order of `heads`.
    """
    weights = once(functools.partial(join_heads, dtype=dtype), heads)
    by_side = {x.shape[1]: x.astype(dtype) for x in maps}
    count, top, _, channels = maps[0].shape
    x = jnp.zeros((0, count, top, top, channels), dtype)
    for k in range(max(by_side).bit_length() - 1, 0, -1):
        groups = []
        if k in weights.later:
            kernel, bias = weights.later[k]
            taps = jax.vmap(lambda x: windows(x, 3, 2))(x)
            groups.append(jnp.einsum("gnhwi,gio->gnhwo", taps, kernel) + bias)
        if k in weights.first:
            kernel, bias = weights.first[k]
            new = windows(by_side[2**k], 3, 2) @ kernel + bias
            groups.append(jnp.moveaxis(new.reshape(*new.shape[:3], -1, channels), 3, 0))
        if groups:
            x = jax.nn.leaky_relu(jnp.concatenate(groups), 0.01)
    pixels = x[:, :, 0, 0]
    if len(x) < len(weights.order):  # the rest have no convs: their map is a pixel
        rest = len(weights.order) - len(x)
        pixels = jnp.concatenate([pixels, jnp.broadcast_to(by_side[1][:, 0, 0], (rest, count, channels))])
    kernel, bias = weights.linear
    codes = jnp.einsum("gni,gio->gno", pixels, kernel) + bias
    return [codes[weights.order.index(i)] for i in range(len(weights.order))]


@struct.dataclass
class StyleWeights:
    """The parameters of all heads, in groups that compute at once.

    A head joins where the maps have the side of its own, after those that joined before it.

    Attributes:
      first: {k: (kernel [9 C, heads * C], bias [heads * C])} of the convs that read one of the trunk's maps.
      later: {k: (kernel [heads, 9 C, C], bias [heads, 1, 1, 1, C])} of the convs of maps of side 2^k that read a conv.
      linear: (kernel [heads, C, w_dim], bias [heads, 1, w_dim]), the equalised learning rate's gain within.
      order: the heads in the order in which they joined.
    """

    first: dict[int, tuple[jax.Array, jax.Array]]
    later: dict[int, tuple[jax.Array, jax.Array]]
    linear: tuple[jax.Array, jax.Array]
    order: tuple[int, ...] = struct.field(pytree_node=False)


def join_heads(heads: list[dict[str, Any]], dtype: str) -> StyleWeights:
    """The weights of heads in the compute type."""
    depths = [len(head) - 1 for head in heads]
    order = sorted(range(len(heads)), key=lambda i: (-depths[i], i))

    def layers(k: int, first: bool) -> list[dict[str, jax.Array]]:
        """Kernels [9 C, C] and biases of the convs that read maps of side 2^k, as their head's first or not."""
        names = [(i, depths[i] - k) for i in order if depths[i] >= k and (depths[i] == k) == first]
        found = [heads[i][f"convs.{2 * n}"] for i, n in names]
        rows = [{name: as_array(x).astype(dtype) for name, x in layer.items()} for layer in found]
        return [{name: x.reshape(-1, x.shape[-1]) for name, x in layer.items()} for layer in rows]

    first, later = {}, {}
    for k in range(max(depths), 0, -1):
        if group := layers(k, True):
            kernel, bias = (jnp.concatenate([layer[name] for layer in group], axis=1) for name in ("kernel", "bias"))
            first[k] = kernel, bias[0]
        if group := layers(k, False):
            kernel, bias = (jnp.stack([layer[name] for layer in group]) for name in ("kernel", "bias"))
            later[k] = kernel, bias[:, :, None, None]
    linear = [heads[i]["linear"] for i in order]
    kernel, bias = (jnp.stack([layer[name] for layer in linear]) for name in ("kernel", "bias"))
    kernel = (kernel / math.sqrt(kernel.shape[1])).astype(dtype)
    return StyleWeights(first, later, (kernel, bias[:, None].astype(dtype)), tuple(order))
