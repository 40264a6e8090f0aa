"""Small image networks as a list of operations beside their weights, run by JAX: jit-, vmap- and grad-able.

    graph = load("face.npz")
    outputs = apply(graph, image)  # {name: [H', W', C']} of one picture
    outputs = run(graph, weights, images)  # of a batch, of any weights of these shapes

The face detector, the face mesh, the segmenters and the face recognition of losses are small and use two dozen
operations between them. Running these here takes no second runtime: it works wherever JAX does, and has gradients.
`files/onnx_file` reads graphs from ONNX files, `photo/pack` from those of TFLite.
"""

import dataclasses
import functools
import importlib.resources
import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from panojax.errors import InputError

Step = tuple[str, tuple[str, ...], str, tuple[str, ...], dict[str, Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """A network. Hashable by identity, so it may be a static argument or closed over.

    Attributes:
      steps: what to compute, in order: (operation, names of what it reads, the output's name, names of further inputs
        that are weights, options). An operation is one of `OPERATIONS`; "" is an optional input that is absent.
      weights: {name: array}; convolution kernels are HWIO, or OIHW where the step's option `layout` is "NCHW".
      inputs: names of the inputs; `run` takes the first.
      outputs: names of the outputs.
      input_shape: [N, ...] of the first input where it is fixed; None there is any number.
    """

    steps: tuple[Step, ...]
    weights: Mapping[str, np.ndarray]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    input_shape: tuple[int | None, ...] | None = None


def save(path: Any, graph: Graph) -> None:
    """Writes a graph to a path or an open file as one .npz: its weights in float16 and its steps as JSON."""
    told = {"steps": graph.steps, "inputs": graph.inputs, "outputs": graph.outputs}
    arrays: dict[str, Any] = {f"weight/{name}": array.astype(np.float16) for name, array in graph.weights.items()}
    np.savez_compressed(path, graph=np.frombuffer(json.dumps(told).encode(), np.uint8), **arrays)


def load(path: Any) -> Graph:
    """Reads what `save` wrote, from a path or an open file; weights become float32."""
    with np.load(path) as file:
        told = json.loads(file["graph"].tobytes())
        weights = {key.removeprefix("weight/"): file[key].astype(np.float32) for key in file.files if key != "graph"}
    steps = tuple((op, tuple(i), out, tuple(w), options) for op, i, out, w, options in told["steps"])
    return Graph(steps, weights, tuple(told["inputs"]), tuple(told["outputs"]))


@functools.cache
def shipped(package: str, name: str) -> Any:
    """A network that a package ships, as a function from image [H, W, 3] to {output: array}, compiled once a size."""
    with (importlib.resources.files(package) / "weights" / f"{name}.npz").open("rb") as file:
        graph = load(file)
    weights = jax.device_put(graph.weights)
    compiled = jax.jit(lambda weights, image: apply(dataclasses.replace(graph, weights=weights), image))
    return lambda image: jax.device_get(compiled(weights, image))


def apply(graph: Graph, image: jax.Array) -> dict[str, jax.Array]:
    """Runs a graph on one picture.

    Args:
      graph: its `weights` may be traced.
      image: [H, W, C] in the network's own range.

    Returns:
      {output name: [H', W', C']}.
    """
    if image.ndim != 3:
        raise InputError(f"image must be [H, W, C], got shape {image.shape}")
    outputs = run(graph, graph.weights, image[None])
    return {name: output[0] for name, output in zip(graph.outputs, outputs)}


def run(graph: Graph, weights: Mapping[str, Any], x: jax.Array) -> tuple[jax.Array, ...]:
    """The graph's outputs for a batch x, in the layout that its steps work in. The batch size is free.

    Raises:
      InputError: x has another shape than the graph's input, batch aside.
    """
    expected = graph.input_shape
    if expected and (x.ndim != len(expected) or any(e not in (None, n) for e, n in zip(expected[1:], x.shape[1:]))):
        shape = ", ".join("?" if n is None else str(n) for n in expected[1:])
        raise InputError(f"{graph.inputs[0]} must be [N, {shape}], got {x.shape}")
    values = {**weights, graph.inputs[0]: x}
    for operation, inputs, output, used, options in graph.steps:
        arguments = [values[name] if name else None for name in (*inputs, *used)]
        values[output] = OPERATIONS[operation](*arguments, **options)
    return tuple(values[name] for name in graph.outputs)


def conv(x, kernel, bias=None, *, stride, padding, groups=1, dilation=(1, 1), layout="NHWC"):
    """Convolution; `padding` is "SAME", "VALID" or ((top, bottom), (left, right)), `layout` "NHWC" or "NCHW"."""
    dimensions = (layout, "HWIO" if layout == "NHWC" else "OIHW", layout)
    y = jax.lax.conv_general_dilated(
        x,
        kernel,
        stride,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=dimensions,
        feature_group_count=groups,
    )
    if bias is None:
        return y
    return y + (bias if layout == "NHWC" else bias[:, None, None])


def conv_transpose(x, kernel, bias, *, stride, padding):
    """Transposed convolution with the kernel as stored for the forward direction, not flipped."""
    y = jax.lax.conv_transpose(x, kernel, stride, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y + bias


def batch_norm(x, scale, bias, mean, variance, *, epsilon):
    """Of x [N, C, ...] by fixed statistics [C]."""
    shape = (-1, *[1] * (x.ndim - 2))
    gain = scale * jax.lax.rsqrt(variance + epsilon)
    return (x - mean.reshape(shape)) * gain.reshape(shape) + bias.reshape(shape)


def gemm(a, b, c=0.0, *, alpha, beta, transposed):
    """alpha a b + beta c; `transposed` says which of a and b are transposed before."""
    a, b = (x.T if turned else x for x, turned in zip((a, b), transposed))
    return alpha * (a @ b) + beta * c


def max_pool(x, *, window, stride, padding):
    """Maximum over windows [height, width]."""
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, *window, 1), (1, *stride, 1), padding)


def resize(x, *, factor, method):
    """Enlarges by a whole number; "nearest", or "linear" with pixels taken as areas (half-pixel centres)."""
    n, height, width, c = x.shape
    return jax.image.resize(x, (n, height * factor, width * factor, c), method)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "identity": lambda x: x,
    "relu": jax.nn.relu,
    "relu6": lambda x: jnp.clip(x, 0, 6),
    "prelu": lambda x, slope: jnp.where(x >= 0, x, slope * x),
    "hard_swish": lambda x: x * jnp.clip(x + 3, 0, 6) / 6,
    "sigmoid": jax.nn.sigmoid,
    "conv": conv,
    "conv_transpose": conv_transpose,
    "batch_norm": batch_norm,
    "gemm": gemm,
    "flatten": lambda x, *, axis: x.reshape(int(np.prod(x.shape[:axis])), -1),
    "max_pool": max_pool,
    "mean": lambda x: x.mean((1, 2), keepdims=True),
    "pad": lambda x, *, widths: jnp.pad(x, widths),
    "resize": resize,
}
