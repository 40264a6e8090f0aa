"""Encoders' variables as inference reads them: what can be made of them alone is made once."""

from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from panojax.encoders.offsets import OFFSET_LAYERS
from panojax.encoders.styles import join_heads
from panojax.fields.representation import Representation
from panojax.nn.ir_se import INPUT_LAYER
from panojax.nn.pointwise import EPSILON


def fold(variables: Any, dtype: str, field: Representation) -> dict[str, Any]:
    """One network's {"params", "batch_stats"} as {"params", "folded"}, whose results are the same.

    Batch norms become a gain and a shift, style heads `StyleWeights`; convolutions' kernels are in `dtype`, but
    for the first one's. Offsets get their channels in the order of `field.reordered`.
    """
    params, stats = flatten_dict(variables["params"]), flatten_dict(variables["batch_stats"])
    _, order = field.reordered()
    folded = {}
    for norm in {path[:-1] for path in stats}:
        gain = jax.lax.rsqrt(stats[*norm, "var"] + EPSILON) * params.pop((*norm, "scale"))
        folded[*norm, "gain"] = gain
        folded[*norm, "shift"] = params.pop((*norm, "bias")) - stats[*norm, "mean"] * gain
    heads = {path: params.pop(path) for path in list(params) if path[0].startswith("styles.")}
    for path, leaf in params.items():
        if path[-1] == "kernel" and leaf.ndim == 4 and path[-2] != INPUT_LAYER:
            params[path] = leaf.astype(dtype)
        if path[0] in OFFSET_LAYERS and order is not None:
            params[path] = params[path][..., order]
    folded = unflatten_dict(folded)
    if heads:
        trees = unflatten_dict(heads)
        folded["styles"] = join_heads([trees[f"styles.{i}"] for i in range(len(trees))], dtype)
    return {"params": unflatten_dict(params), "folded": folded}
