"""Small image networks stored as a list of operations beside their weights, run by JAX.

The face detector, the face mesh and the portrait segmenter are small and use a dozen operations between them. Running
these here keeps the photo path free of a second runtime: it works wherever JAX does. `pack.py` makes the files.
"""

import dataclasses
import functools
import importlib.resources
import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from panojax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Network:
    """A packed network.

    Attributes:
      steps: what to compute, in order: (operation, the inputs' names, the output's name, the weights' names, options).
      weights: {name: array}; convolution kernels are HWIO.
      inputs: names of the inputs, each [H, W, C].
      outputs: names of the outputs.
    """

    steps: tuple[tuple[str, tuple[str, ...], str, tuple[str, ...], dict[str, Any]], ...]
    weights: dict[str, np.ndarray]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def save(path: Any, network: Network) -> None:
    """Writes a network to a path or an open file as one .npz: its weights in float16 and its steps as JSON."""
    graph = {"steps": network.steps, "inputs": network.inputs, "outputs": network.outputs}
    arrays: dict[str, Any] = {f"weight/{name}": array.astype(np.float16) for name, array in network.weights.items()}
    np.savez_compressed(path, graph=np.frombuffer(json.dumps(graph).encode(), np.uint8), **arrays)


def load(path: Any) -> Network:
    """Reads what `save` wrote, from a path or an open file; weights become float32."""
    with np.load(path) as file:
        graph = json.loads(file["graph"].tobytes())
        weights = {key.removeprefix("weight/"): file[key].astype(np.float32) for key in file.files if key != "graph"}
    steps = tuple((op, tuple(i), out, tuple(w), options) for op, i, out, w, options in graph["steps"])
    return Network(steps, weights, tuple(graph["inputs"]), tuple(graph["outputs"]))


@functools.cache
def shipped(name: str, package: str = "panojax.photo") -> Any:
    """A network that a package ships, as a function from image [H, W, 3] to {output: array}, compiled once a size."""
    with (importlib.resources.files(package) / "weights" / f"{name}.npz").open("rb") as file:
        network = load(file)
    weights = {key: jnp.asarray(value) for key, value in network.weights.items()}
    compiled = jax.jit(lambda weights, image: apply(dataclasses.replace(network, weights=weights), image))
    return lambda image: jax.device_get(compiled(weights, image))


def apply(network: Network, image: jax.Array) -> dict[str, jax.Array]:
    """Runs a network of one input.

    Args:
      network: its `weights` may be traced.
      image: [H, W, C] in the network's own range.

    Returns:
      {output name: [H', W', C']}.
    """
    if image.ndim != 3:
        raise InputError(f"image must be [H, W, C], got shape {image.shape}")
    values = {network.inputs[0]: image[None]}
    for op, inputs, output, weights, options in network.steps:
        arguments = [values[name] for name in inputs] + [network.weights[name] for name in weights]
        values[output] = OPERATIONS[op](*arguments, **options)
    return {name: values[name][0] for name in network.outputs}


def conv(x, kernel, bias, *, stride, padding, groups=1):
    """NHWC convolution; `padding` is "SAME", "VALID" or ((top, bottom), (left, right))."""
    dimensions = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(
        x, kernel, stride, padding, dimension_numbers=dimensions, feature_group_count=groups
    )
    return y + bias


def conv_transpose(x, kernel, bias, *, stride, padding):
    """Transposed convolution with the kernel as stored for the forward direction, not flipped."""
    y = jax.lax.conv_transpose(x, kernel, stride, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y + bias


def max_pool(x, *, window, stride, padding):
    """Maximum over windows [height, width]."""
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, *window, 1), (1, *stride, 1), padding)


def resize(x, *, factor, method):
    """Enlarges by a whole number; "nearest", or "linear" with pixels taken as areas (half-pixel centres)."""
    n, height, width, c = x.shape
    return jax.image.resize(x, (n, height * factor, width * factor, c), method)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "mul": lambda x, y: x * y,
    "relu": lambda x: jnp.maximum(x, 0),
    "relu6": lambda x: jnp.clip(x, 0, 6),
    "prelu": lambda x, slope: jnp.where(x > 0, x, x * slope),
    "hard_swish": lambda x: x * jnp.clip(x + 3, 0, 6) / 6,
    "sigmoid": jax.nn.sigmoid,
    "conv": conv,
    "conv_transpose": conv_transpose,
    "max_pool": max_pool,
    "mean": lambda x: x.mean((1, 2), keepdims=True),
    "pad": lambda x, *, widths: jnp.pad(x, widths),
    "resize": resize,
}
