import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from panojax.errors import InputError
from panojax.files.onnx_file import read_onnx
from panojax.nn.graph import run

onnx = pytest.importorskip("onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper

KERNEL = recipe.normal("onnx/kernel", (4, 1, 3, 3))
SCALE, BIAS, MEAN = (recipe.normal(f"onnx/{name}", (4,)) for name in ("scale", "bias", "mean"))
VARIANCE, SLOPE = 0.5 + recipe.uniform("onnx/var", (4,)), recipe.uniform("onnx/slope", (4, 1, 1))
MATRIX = np.arange(-80, 80).reshape(2, 80).astype(np.int8)
MATRIX_SCALE, MATRIX_ZERO = recipe.uniform("onnx/ms", (2, 5)), np.array([[1, 0, -3, 2, 4], [0, 5, 0, 0, 1]], np.int8)


def save(path, nodes, constants, *, inputs=("data",), shape=(1, 2, 7, 5)):
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in inputs]
    graph = helper.make_graph(
        nodes,
        "test",
        values,
        [helper.make_tensor_value_info(nodes[-1].output[0], onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


@pytest.fixture
def network(tmp_path):
    """A grouped, strided, padded convolution; batch norm; PReLU; a block-quantised linear layer."""
    node = helper.make_node
    nodes = [
        node("Constant", [], ["flag"], value=numpy_helper.from_array(np.array(True))),
        node("DequantizeLinear", ["q", "q_scale", "q_zero"], ["wide"], axis=1, block_size=16),
        node("Reshape", ["wide", "wide_shape"], ["matrix"]),
        node("Sub", ["data", "shift"], ["x0"]),
        node("Mul", ["x0", "factor"], ["x1"]),
        node("Conv", ["x1", "kernel"], ["x2"], group=2, strides=[2, 1], pads=[1, 0, 2, 1], kernel_shape=[3, 3]),
        node("BatchNormalization", ["x2", "scale", "bias", "mean", "variance"], ["x3"], epsilon=1e-3),
        node("PRelu", ["x3", "slope"], ["x4"]),
        node("Dropout", ["x4", "", "flag"], ["x5"]),
        node("Flatten", ["x5"], ["x6"]),
        node("Gemm", ["x6", "matrix", "offset"], ["out"], transB=1, alpha=0.5),
    ]
    constants = {
        "shift": np.float32(0.5),
        "factor": np.float32(2.0),
        "kernel": KERNEL,
        "scale": SCALE,
        "bias": BIAS,
        "mean": MEAN,
        "variance": VARIANCE,
        "slope": SLOPE,
        "q": MATRIX,
        "q_scale": MATRIX_SCALE,
        "q_zero": MATRIX_ZERO,
        "wide_shape": np.array([2, 80], np.int64),
        "offset": np.array([1.0, -1.0], np.float32),
    }
    return save(tmp_path / "net.onnx", nodes, constants, inputs=["data", "unread"], shape=(1, 2, 7, 6))


def by_hand(x):
    """The network of the fixture in NumPy loops."""
    x = 2.0 * (x.astype(np.float64) - 0.5)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 1)))
    y = np.zeros((len(x), 4, 4, 5))
    for o, i, j in np.ndindex(4, 4, 5):
        y[:, o, i, j] = (padded[:, o // 2, 2 * i : 2 * i + 3, j : j + 3] * KERNEL[o, 0]).sum((1, 2))
    channel = (slice(None), None, None)
    y = (y - MEAN[channel]) / np.sqrt(VARIANCE[channel] + 1e-3) * SCALE[channel] + BIAS[channel]
    return np.where(y >= 0, y, SLOPE * y).reshape(len(x), -1)


def test_outputs_equal_numpy(network):
    graph, params = read_onnx(network)
    x = recipe.normal("onnx/x", (3, 2, 7, 6))
    (got,) = jax.jit(lambda params, x: run(graph, params, x))(params, x)
    features = by_hand(x)
    matrix = np.zeros((2, features.shape[1]))
    for o, i in np.ndindex(matrix.shape):
        matrix[o, i] = (float(MATRIX[o, i]) - MATRIX_ZERO[o, i // 16]) * MATRIX_SCALE[o, i // 16]
    assert recipe.relative_error(got, 0.5 * features @ matrix.T + [1.0, -1.0]) < 1e-6


def test_only_what_is_needed_is_kept(network):
    graph, params = read_onnx(network)
    assert [step[0] for step in graph.steps][:3] == ["sub", "mul", "conv"]
    assert set(params) == {
        *("shift", "factor", "kernel", "scale", "bias", "mean", "variance", "slope", "matrix", "offset")
    }
    assert {array.dtype for array in params.values()} == {np.dtype(np.float32)}


def test_gradient_equals_differences(network):
    graph, params = read_onnx(network)
    x, direction = (recipe.normal(f"onnx/{name}", (1, 2, 7, 6)) for name in ("x", "d"))

    def compare(params, x, direction):
        def loss(x):
            return jnp.sum(run(graph, params, x)[0])

        differences = (loss(x + 1e-6 * direction) - loss(x - 1e-6 * direction)) / 2e-6
        return jnp.sum(jax.grad(loss)(x) * direction), differences

    with jax.enable_x64(True):
        params, x, direction = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), (params, x, direction))
        got, expected = jax.jit(compare)(params, x, direction)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_dequantisation_per_axis_and_per_tensor(tmp_path):
    q = np.arange(-6, 6, dtype=np.int8).reshape(1, 3, 2, 2)
    scale = np.array([0.5, 1.0, 2.0], np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale"], ["a"], axis=1),
        helper.make_node("DequantizeLinear", ["q", "one", "zero"], ["b"]),
        helper.make_node("Add", ["data", "a"], ["x"]),
        helper.make_node("Add", ["x", "b"], ["out"]),
    ]
    constants = {"q": q, "scale": scale, "one": np.float32(0.25), "zero": np.int8(4)}
    graph, params = read_onnx(save(tmp_path / "q.onnx", nodes, constants, shape=("N", 3, 2, 2)))
    (got,) = run(graph, params, jnp.zeros((1, 3, 2, 2)))
    np.testing.assert_allclose(got, q * scale[:, None, None] + 0.25 * (q.astype(np.float32) - 4))


def test_bad_files_and_inputs_are_named(tmp_path, network):
    text = tmp_path / "text.onnx"
    text.write_text("no model")
    with pytest.raises(InputError, match=r"text\.onnx, which is none"):
        read_onnx(text)
    with pytest.raises(InputError, match="which is not there"):
        read_onnx(tmp_path / "absent.onnx")
    softmax = save(tmp_path / "s.onnx", [helper.make_node("Softmax", ["data"], ["o"])], {})
    two = save(tmp_path / "two.onnx", [helper.make_node("Add", ["data", "more"], ["o"])], {}, inputs=["data", "more"])
    with pytest.raises(InputError, match="should have one input, got data, more"):
        read_onnx(two)
    with pytest.raises(InputError, match="not known on computed values: Softmax"):
        read_onnx(softmax)
    graph, params = read_onnx(network)
    with pytest.raises(InputError, match=r"data must be \[N, 2, 7, 6\], got \(1, 7, 6, 2\)"):
        run(graph, params, jnp.zeros((1, 7, 6, 2)))
