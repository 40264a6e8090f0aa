"""Small ONNX graphs as differentiable JAX functions of their weights and one input.

    graph, params = read_onnx("face.onnx")
    outputs = run(graph, params, x)  # jit-, vmap- and grad-able; params is a pytree of float32 arrays

Constants are worked out once, when the file is read: quantised weights become float32 then. The operators known are
those of face-recognition networks; a file that needs another is refused when it is read.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from panojax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Node:
    """One operator: its type, the names of what it reads ("" for an absent option) and of its first output."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """Operators in order of execution. Hashable by identity, so it may be a static argument or closed over."""

    input: str
    input_shape: tuple[int | None, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]


def read_onnx(path: str | pathlib.Path) -> tuple[Graph, dict[str, np.ndarray]]:
    """Reads a graph of one input.

    Returns:
      The graph, without what could be worked out now, and {name: float32 array} of what it reads besides its input.

    Raises:
      InputError: the package `onnx` is missing, the file is no ONNX model, the graph has several inputs, or operators
        that are not known (all of them are listed).
    """
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
            constants[node.output] = _FOLDED[node.op](
                node.attributes, *(constants[name] if name else None for name in node.inputs)
            )
        else:
            nodes.append(node)
    unknown = sorted({node.op for node in nodes if node.op not in _OPERATORS})
    if unknown:
        raise InputError(f"{path} needs operators that are not known on computed values: {', '.join(unknown)}")
    # Dropout's ratio and the like are not read.
    nodes = [dataclasses.replace(n, inputs=n.inputs[:1]) if n.op in _IDENTITIES else n for n in nodes]
    used = {name for node in nodes for name in node.inputs}
    params = {name: np.asarray(array, np.float32) for name, array in constants.items() if name in used}
    dims = inputs[0].type.tensor_type.shape.dim
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
    return Graph(inputs[0].name, shape, tuple(o.name for o in model.graph.output), tuple(nodes)), params


def run(graph: Graph, params: Mapping[str, Any], x: jax.Array) -> tuple[jax.Array, ...]:
    """The graph's outputs for x, in the layout that the file asks for (pictures are NCHW). The batch size is free.

    Raises:
      InputError: x has another shape than the graph's input, batch aside.
    """
    expected = graph.input_shape
    if x.ndim != len(expected) or any(e not in (None, n) for e, n in zip(expected[1:], x.shape[1:])):
        shape = ", ".join("?" if n is None else str(n) for n in expected[1:])
        raise InputError(f"{graph.input} must be [N, {shape}], got {x.shape}")
    values = {**params, graph.input: x}
    for node in graph.nodes:
        arguments = [values[name] if name else None for name in node.inputs]
        values[node.output] = _OPERATORS[node.op](node.attributes, *arguments)
    return tuple(values[name] for name in graph.outputs)


def _load(path):
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise InputError("reading an ONNX file needs the package onnx: pip install onnx") from error
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
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor)


def _attribute(attribute):
    from onnx import TensorProto, helper

    value = helper.get_attribute_value(attribute)
    return _to_array(value) if isinstance(value, TensorProto) else value


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


def _conv(attributes, x, kernel, bias=None):
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise InputError(f"a convolution's auto_pad must be NOTSET, got {attributes['auto_pad'].decode()}")
    rank = x.ndim - 2
    pads = attributes.get("pads", [0] * 2 * rank)
    y = jax.lax.conv_general_dilated(
        x,
        kernel,
        attributes.get("strides", [1] * rank),
        list(zip(pads[:rank], pads[rank:])),
        rhs_dilation=attributes.get("dilations", [1] * rank),
        feature_group_count=attributes.get("group", 1),
    )
    return y if bias is None else y + bias.reshape(-1, *[1] * rank)


def _batch_norm(attributes, x, scale, bias, mean, variance):
    shape = (-1, *[1] * (x.ndim - 2))
    gain = scale * jax.lax.rsqrt(variance + attributes.get("epsilon", 1e-5))
    return (x - mean.reshape(shape)) * gain.reshape(shape) + bias.reshape(shape)


def _gemm(attributes, a, b, c=0.0):
    a = a.T if attributes.get("transA") else a
    b = b.T if attributes.get("transB") else b
    return attributes.get("alpha", 1.0) * (a @ b) + attributes.get("beta", 1.0) * c


def _flatten(attributes, x):
    axis = attributes.get("axis", 1)
    return x.reshape(int(np.prod(x.shape[:axis])), -1)


# Worked out when a file is read, in NumPy.
_FOLDED: dict[str, Callable[..., Any]] = {
    "Constant": lambda attributes: attributes["value"],
    "DequantizeLinear": _dequantize,
    "Reshape": lambda attributes, x, shape: x.reshape([int(n) for n in shape]),
}

_IDENTITIES = ("Dropout", "Identity")

_OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": lambda attributes, a, b: a + b,
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "Dropout": lambda attributes, x: x,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "Identity": lambda attributes, x: x,
    "Mul": lambda attributes, a, b: a * b,
    "PRelu": lambda attributes, x, slope: jnp.where(x >= 0, x, slope * x),
    "Relu": lambda attributes, x: jax.nn.relu(x),
    "Sub": lambda attributes, a, b: a - b,
}
