"""Style heads at once against one after the other."""

import jax
import jax.numpy as jnp
import numpy as np
import recipe

from panojax.kernels.style_heads import apply_heads

WIDTH, CODE = 4, 6


def head(i, depth):
    def layer(name, *shape):
        return {"kernel": recipe.normal(f"{i}/{name}/k", shape), "bias": recipe.normal(f"{i}/{name}/b", shape[-1:])}

    convs = {f"convs.{2 * n}": layer(n, 3, 3, WIDTH, WIDTH) for n in range(depth)}
    return convs | {"linear": layer("linear", WIDTH, CODE)}


def one(head, x):
    """The plain form."""
    for n in range(len(head) - 1):
        layer = head[f"convs.{2 * n}"]
        dims = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(x, layer["kernel"], (2, 2), ((1, 1), (1, 1)), dimension_numbers=dims)
        x = jax.nn.leaky_relu(x + layer["bias"], 0.01)
    return x[:, 0, 0] @ (head["linear"]["kernel"] / np.sqrt(WIDTH)) + head["linear"]["bias"]


def test_heads_at_once_are_the_heads():
    depths = [1, 0, 3, 2, 3, 1]
    maps = {k: jnp.asarray(recipe.normal(f"map{k}", (2, 2**k, 2**k, WIDTH))) for k in (3, 2, 1, 0)}
    heads = [head(i, depth) for i, depth in enumerate(depths)]
    got = jax.jit(lambda heads, maps: apply_heads(heads, maps, "float32"))(heads, list(maps.values()))
    for codes, parameters, depth in zip(got, heads, depths, strict=True):
        assert recipe.relative_error(codes, np.asarray(one(parameters, maps[depth]))) < 1e-5
