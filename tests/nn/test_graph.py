"""Each operation against a loop, and the shipped networks' inputs and outputs."""

import numpy as np
import pytest

from panojax.errors import InputError
from panojax.nn import graph
from panojax.nn.graph import Graph, apply, load, save, shipped

rng = np.random.default_rng(0)


def slow_conv(x, kernel, bias, stride, groups):
    """Valid convolution of [H, W, C] by loops."""
    height, width, inputs, outputs = kernel.shape
    rows, columns = ((n - k) // stride + 1 for n, k in zip(x.shape, (height, width)))
    y = np.zeros((rows, columns, outputs)) + bias
    for row in range(rows):
        for column in range(columns):
            for output in range(outputs):
                first = output // (outputs // groups) * inputs
                window = x[row * stride :, column * stride :, first : first + inputs][:height, :width]
                y[row, column, output] += (window * kernel[..., output]).sum()
    return y


@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (1, 4), (2, 2)])
def test_conv_is_the_loop(stride, groups):
    x, kernel, bias = rng.normal(size=(7, 8, 4)), rng.normal(size=(3, 2, 4 // groups, 8)), rng.normal(size=8)
    got = graph.conv(
        *(a.astype(np.float32) for a in (x[None], kernel, bias)),
        stride=[stride, stride],
        padding="VALID",
        groups=groups,
    )
    np.testing.assert_allclose(got[0], slow_conv(x, kernel, bias, stride, groups), atol=1e-5)  # float32 sums


def test_conv_transpose_scatters_each_pixel():
    x, kernel = rng.normal(size=(3, 4, 2)), rng.normal(size=(2, 2, 2, 5))
    expected = np.zeros((6, 8, 5))
    for row in range(3):
        for column in range(4):
            flipped = kernel[::-1, ::-1]  # `pack` stores TFLite's kernel flipped
            expected[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] += np.einsum(
                "i,hwio->hwo", x[row, column], flipped
            )
    got = graph.conv_transpose(
        x[None].astype(np.float32), kernel.astype(np.float32), np.zeros(5, np.float32), stride=[2, 2], padding="SAME"
    )
    np.testing.assert_allclose(got[0], expected, atol=1e-5)


def test_pool_resize_and_activations():
    x = rng.normal(size=(1, 4, 6, 3)).astype(np.float32)
    pooled = graph.max_pool(x, window=[2, 2], stride=[2, 2], padding="VALID")
    np.testing.assert_array_equal(pooled, x.reshape(1, 2, 2, 3, 2, 3).max((2, 4)))
    np.testing.assert_array_equal(graph.resize(x, factor=2, method="nearest"), x.repeat(2, 1).repeat(2, 2))
    run = graph.OPERATIONS
    np.testing.assert_allclose(run["prelu"](x, np.float32(0.25)), np.where(x > 0, x, 0.25 * x))
    np.testing.assert_allclose(run["hard_swish"](x), x * np.clip(x / 6 + 0.5, 0, 1), atol=1e-6)
    np.testing.assert_allclose(run["mean"](x)[:, 0, 0], x.mean((1, 2)), atol=1e-6)
    np.testing.assert_array_equal(run["pad"](x, widths=[[0, 0], [0, 0], [0, 0], [0, 2]])[..., 3:], 0)


def test_saved_networks_come_back(tmp_path):
    kernel = np.float16(rng.normal(size=(1, 1, 3, 2))).astype(np.float32)
    options = {"stride": [1, 1], "padding": [[1, 0], [0, 1]]}
    steps = (("conv", ("in",), "a", ("k", "b"), options), ("relu", ("a",), "out", (), {}))
    made = Graph(steps, {"k": kernel, "b": np.ones(2, np.float32)}, ("in",), ("out",))
    save(str(tmp_path / "net.npz"), made)
    again = load(tmp_path / "net.npz")
    x = rng.normal(size=(4, 5, 3)).astype(np.float32)
    assert again.steps == made.steps
    np.testing.assert_array_equal(apply(again, x)["out"], apply(made, x)["out"])
    assert apply(made, x)["out"].shape == (5, 6, 2)
    with pytest.raises(InputError, match=r"image must be \[H, W, C\], got shape \(4, 5\)"):
        apply(made, x[..., 0])


def test_shipped_networks_have_their_shapes():
    outputs = shipped("panojax.photo", "yunet")(np.zeros((640, 640, 3), np.float32))
    assert {name: value.shape for name, value in outputs.items()} == {
        f"{head}_{stride}": (640 // stride, 640 // stride, channels)
        for head, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
        for stride in (8, 16, 32)
    }
    assert shipped("panojax.photo", "mesh")(np.zeros((192, 192, 3), np.float32))["213"].size == 3 * 468
    mask = shipped("panojax.photo", "selfie")(np.zeros((256, 256, 3), np.float32))["249"]
    assert mask.shape == (256, 256, 1) and 0 <= mask.min() <= mask.max() <= 1


def test_a_packed_onnx_graph_computes_what_it_says(tmp_path):
    onnx = pytest.importorskip("onnx")
    from panojax.photo.pack import from_onnx

    kernel = rng.integers(-9, 9, (4, 3, 3, 3), np.int8)
    scale, zero = np.float32(0.125), np.int8(1)
    make = onnx.helper
    constants = {"q": kernel, "s": scale, "z": zero, "b": np.ones(4, np.float32)}
    proto = make.make_graph(
        [
            make.make_node("DequantizeLinear", ["q", "s", "z"], ["k"]),
            make.make_node("Conv", ["x", "k", "b"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
            make.make_node("Relu", ["y"], ["out"]),
        ],
        "tiny",
        [make.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [make.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [1, 4, 4, 4])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(make.make_model(proto), tmp_path / "tiny.onnx")
    x = rng.normal(size=(8, 8, 3)).astype(np.float32)
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    weights = (kernel.astype(np.float32) - 1) * 0.125
    expected = np.maximum(slow_conv(padded, weights.transpose(2, 3, 1, 0), 1.0, 2, 1), 0)
    np.testing.assert_allclose(apply(from_onnx(str(tmp_path / "tiny.onnx")), x)["out"], expected, atol=1e-5)
