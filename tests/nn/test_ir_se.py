"""The trunk: one bottleneck against loops, and which features the taps give."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from panojax.errors import InputError
from panojax.nn.ir_se import Bottleneck, TrunkConfig, trunk_features
from panojax.nn.layers import Numerics


def random_like(template):
    """Parameters and statistics of a template: names decide the draws, variances are positive."""

    def leaf(path, shaped):
        draw = recipe.normal(jax.tree_util.keystr(path), shaped.shape)
        return 1 + draw**2 if path[-1].key == "var" else 0.5 * draw

    return jax.tree_util.tree_map_with_path(leaf, template)


def conv_twin(x, kernel, stride):
    """A padded convolution without bias: x [H, W, I], kernel [K, K, I, O]."""
    pad = kernel.shape[0] // 2
    x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    size = [(n - kernel.shape[0]) // stride + 1 for n in x.shape[:2]]
    out = np.zeros((*size, kernel.shape[-1]))
    for i, j in itertools.product(*map(range, size)):
        window = x[i * stride : i * stride + kernel.shape[0], j * stride : j * stride + kernel.shape[1]]
        out[i, j] = np.tensordot(window, kernel, 3)
    return out


def bottleneck_twin(x, variables, stride):
    """One example [H, W, C] through the unit, in float64 and in eval mode."""
    params = jax.tree.map(np.float64, variables["params"])
    stats = jax.tree.map(np.float64, variables["batch_stats"])

    def norm(x, name):
        gain = params[name]["scale"] / np.sqrt(stats[name]["var"] + 1e-5)
        return (x - stats[name]["mean"]) * gain + params[name]["bias"]

    y = conv_twin(norm(x, "res_layer.0"), params["res_layer.1"]["kernel"], 1)
    y = np.maximum(y, 0) + params["res_layer.2"]["negative_slope"] * np.minimum(y, 0)
    y = norm(conv_twin(y, params["res_layer.3"]["kernel"], stride), "res_layer.4")
    if "res_layer.5" in params:
        excite = params["res_layer.5"]
        weight = np.maximum(y.mean((0, 1)) @ excite["fc1"]["kernel"][0, 0], 0) @ excite["fc2"]["kernel"][0, 0]
        y = y / (1 + np.exp(-weight))
    if "shortcut_layer.0" in params:
        return y + norm(conv_twin(x, params["shortcut_layer.0"]["kernel"], stride), "shortcut_layer.1")
    return y + x[::stride, ::stride]


@pytest.mark.parametrize("squeeze_excite", [False, True])
@pytest.mark.parametrize("inputs, stride, size", [(32, 1, 5), (32, 2, 6), (32, 2, 5), (16, 2, 6)])
def test_bottleneck(inputs, stride, size, squeeze_excite):
    unit = Bottleneck(32, stride, squeeze_excite, Numerics())
    x = recipe.normal("x", (2, size, size, inputs))
    variables = random_like(jax.eval_shape(lambda: unit.init(jax.random.key(0), x, train=False)))
    got = unit.apply(variables, x, train=False)
    want = [bottleneck_twin(example, variables, stride) for example in x]
    assert recipe.relative_error(got, want) < 1e-5


class Trunk(nn.Module):
    config: TrunkConfig
    taps: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        return trunk_features(self.config, x, self.taps, train=False, numerics=Numerics())


def test_taps_come_in_the_order_asked_for():
    trunk = Trunk(TrunkConfig(depths=(2, 1, 1, 1), widths=(16, 32, 48, 64)), (4, 0, 1, 2, 3))
    features, variables = jax.eval_shape(trunk.init_with_output, jax.random.key(0), jnp.zeros((2, 64, 32, 5)))
    assert [f.shape for f in features] == [(2, 4, 2, 64), *[(2, 32, 16, 16)] * 2, (2, 16, 8, 32), (2, 8, 4, 48)]
    assert set(variables["params"]) == {*(f"input_layer.{i}" for i in range(3)), *(f"body.{i}" for i in range(5))}


@pytest.mark.parametrize(
    "depths, ends", [((3, 4, 14, 3), (2, 6, 20, 23)), ((3, 13, 30, 3), (2, 15, 45, 48)), ((1, 1, 1, 1), (0, 1, 2, 3))]
)
def test_stage_ends(depths, ends):
    assert TrunkConfig(depths=depths).stage_ends == ends


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"depths": (3, 4, 3)}, r"depths must be 4 values, each a whole number, got \(3, 4, 3\)"),
        ({"depths": (3, 4, 0, 3)}, "depths must be 1 to 256, got 0"),
        ({"widths": (16, 32, 64)}, r"widths must be 4 values, each a whole number, got \(16, 32, 64\)"),
        ({"widths": (8, 32, 64, 128)}, "widths must be 16 to 8192, got 8"),
        ({"widths": (24, 32, 64, 128)}, "widths must be four positive multiples of 16"),
    ],
)
def test_impossible_trunks_are_refused(kwargs, message):
    with pytest.raises(InputError, match=message):
        TrunkConfig(**kwargs)
