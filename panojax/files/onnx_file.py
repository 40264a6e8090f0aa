"""ONNX files as graphs that `nn/graph` runs.

    graph, weights = read_onnx("face.onnx")
    outputs = run(graph, weights, x)

Constants are worked out once, when the file is read: quantised weights become float32 then. The operators known are
those of face-recognition networks; a file that needs another is refused when it is read.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from panojax.errors import InputError
from panojax.extras import need
from panojax.nn.graph import Graph


@dataclasses.dataclass(frozen=True)
class Node:
    """One operator: its type, the names of what it reads ("" for an absent option) and of its first output."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Model:
    """An ONNX graph whose constants have been worked out.

    Attributes:
      nodes: the operators of what is computed from the input, in order.
      constants: {name: array}, those that were worked out among them.
      input, input_shape: the one input that is read; None is a free axis.
      outputs: names.
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, np.ndarray]
    input: str
    input_shape: tuple[int | None, ...]
    outputs: tuple[str, ...]


def read_onnx(path: str | pathlib.Path) -> tuple[Graph, dict[str, np.ndarray]]:
    """Reads a graph of one input. Pictures are NCHW, as the file asks.

    Returns:
      The graph without weights, and {name: float32 array} of what it reads besides its input.

    Raises:
      InputError: the package `onnx` is missing, the file is no ONNX model, the graph has several inputs, or operators
        that are not known (all of them are listed).
    """
    model = read_model(path)
    unknown = sorted({node.op for node in model.nodes if node.op not in _STEPS})
    if unknown:
        raise InputError(f"{path} needs operators that are not known on computed values: {', '.join(unknown)}")
    steps = []
    for node in model.nodes:
        operation, options = _STEPS[node.op](node.attributes)
        # Dropout's ratio and the like are not read.
        inputs = node.inputs[:1] if operation == "identity" else node.inputs
        steps.append((operation, inputs, node.output, (), options))
    used = {name for step in steps for name in step[1]}
    weights = {name: np.asarray(array, np.float32) for name, array in model.constants.items() if name in used}
    return Graph(tuple(steps), {}, (model.input,), model.outputs, model.input_shape), weights


def read_model(path: str | pathlib.Path) -> Model:
    """Reads an ONNX file and works out its constants. InputError as of `read_onnx`, but for unknown operators."""
    model = _load(path)
    constants = {tensor.name: _to_array(tensor) for tensor in model.graph.initializer}
    # A file may declare inputs that nothing reads, such as the weights that quantised ones have replaced.
    read = {name for node in model.graph.node for name in node.input}
    inputs = [value for value in model.graph.input if value.name in read - constants.keys()]
    if len(inputs) != 1:
        raise InputError(f"{path} should have one input, got {', '.join(i.name for i in inputs) or 'none'}")
    nodes = []
    for proto in model.graph.node:
        attributes = {a.name: _attribute(a) for a in proto.attribute}
        node = Node(proto.op_type, tuple(proto.input), proto.output[0], attributes)
        if node.op in _FOLDED and all(name in constants for name in node.inputs if name):
            arguments = [constants[name] if name else None for name in node.inputs]
            constants[node.output] = _FOLDED[node.op](node.attributes, *arguments)
        else:
            nodes.append(node)
    dims = inputs[0].type.tensor_type.shape.dim
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
    return Model(tuple(nodes), constants, inputs[0].name, shape, tuple(o.name for o in model.graph.output))


def _load(path):
    onnx = need("onnx", "reading an ONNX file")
    from google.protobuf.message import DecodeError

    if not pathlib.Path(path).is_file():
        raise InputError(f"expected an ONNX file, got {path}, which is not there")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise InputError(f"expected an ONNX file, got {path}, which is none") from error
    if not model.graph.node:
        raise InputError(f"expected an ONNX file, got {path}, which has no graph")
    return model


def _to_array(tensor):
    return need("onnx.numpy_helper", "reading an ONNX file").to_array(tensor)


def _attribute(attribute):
    onnx = need("onnx", "reading an ONNX file")
    value = onnx.helper.get_attribute_value(attribute)
    return _to_array(value) if isinstance(value, onnx.TensorProto) else value


def _dequantize(attributes, quantized, scale, zero_point=None):
    """(q - zero point) * scale, each per tensor, per slice of `axis` or per block of `block_size` along it."""
    axis, block = attributes.get("axis", 1), attributes.get("block_size", 0)

    def spread(values):
        if block:
            return np.repeat(values, block, axis=axis).take(range(quantized.shape[axis]), axis=axis)
        if values.size == 1:
            return values.reshape(())
        shape = [1] * quantized.ndim
        shape[axis] = -1
        return values.reshape(shape)

    shifted = quantized.astype(np.float32)
    if zero_point is not None:
        shifted = shifted - spread(zero_point.astype(np.float32))
    return shifted * spread(scale)


def conv_options(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `nn.graph.conv` that a Conv's attributes say, its layout aside."""
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise InputError(f"a convolution's auto_pad must be NOTSET, got {attributes['auto_pad'].decode()}")
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    return {
        "stride": list(attributes.get("strides", (1, 1))),
        "padding": ((top, bottom), (left, right)),
        "groups": attributes.get("group", 1),
        "dilation": tuple(attributes.get("dilations", (1, 1))),
    }


def _gemm_options(attributes):
    transposed = (bool(attributes.get("transA")), bool(attributes.get("transB")))
    return {"alpha": attributes.get("alpha", 1.0), "beta": attributes.get("beta", 1.0), "transposed": transposed}


# Worked out when a file is read, in NumPy.
_FOLDED: dict[str, Callable[..., Any]] = {
    "Constant": lambda attributes: attributes["value"],
    "DequantizeLinear": _dequantize,
    "Reshape": lambda attributes, x, shape: x.reshape([int(n) for n in shape]),
}

# An operator's attributes -> (operation of `nn.graph`, options).
_STEPS: dict[str, Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]]]] = {
    "Add": lambda _: ("add", {}),
    "BatchNormalization": lambda attributes: ("batch_norm", {"epsilon": attributes.get("epsilon", 1e-5)}),
    "Conv": lambda attributes: ("conv", conv_options(attributes) | {"layout": "NCHW"}),
    "Dropout": lambda _: ("identity", {}),
    "Flatten": lambda attributes: ("flatten", {"axis": attributes.get("axis", 1)}),
    "Gemm": lambda attributes: ("gemm", _gemm_options(attributes)),
    "Identity": lambda _: ("identity", {}),
    "Mul": lambda _: ("mul", {}),
    "PRelu": lambda _: ("prelu", {}),
    "Relu": lambda _: ("relu", {}),
    "Sub": lambda _: ("sub", {}),
}
