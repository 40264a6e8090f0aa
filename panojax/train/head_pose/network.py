"""The network of `panojax.photo.head_pose` as a graph, and the weights it is trained by.

Kernels are trained in a scaled and standardised form (Brock et al., 2021, "Characterizing signal propagation to close
the performance gap in unnormalized ResNets"), which takes the place of norms and is plain weights afterwards.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from panojax.nn.graph import Graph
from panojax.photo.head_pose import HEAT, PLACE, TURN

OUTPUTS = {HEAT: 1, PLACE: 3, TURN: 6}
RELU_GAIN = 1.7139  # sqrt(2 / (1 - 1 / pi)): with it, a rectified standard normal has variance 1 again
START_SCORE = 0.02  # of every place, so that the first steps are not spent on saying "no head"


@dataclasses.dataclass(frozen=True)
class Widths:
    """Sizes of the network: channels at a half, a quarter, ... of the picture's side, and residual blocks at each."""

    channels: tuple[int, ...] = (16, 32, 64, 96, 128)
    blocks: tuple[int, ...] = (0, 0, 2, 2, 1)
    neck: int = 64


def init_network(widths: Widths, seed: int) -> Graph:
    """A residual network down to a 32nd of the picture's side and up again to an eighth.

    Picture [H, W, 3] in [-1, 1] with sides of a multiple of 32 -> `heat` [H / 8, W / 8, 1], `place` [.., 3] and `turn`
    [.., 6], see `panojax.photo.head_pose`. Its weights are of the trained form; `plain_weights` makes those that it
    runs with.
    """
    rng = np.random.default_rng(seed)
    steps: list[Any] = []
    weights: dict[str, np.ndarray] = {}

    def conv(source: str, name: str, inputs: int, outputs: int, *, size: int = 3, stride: int = 1, gain: float = 1.0):
        # Only the direction matters, but Adam's steps are as large as the usual ones relative to the usual size.
        spread = np.float32((size * size * inputs) ** -0.5)
        weights[f"{name}/kernel"] = rng.standard_normal((size, size, inputs, outputs), np.float32) * spread
        weights[f"{name}/gain"] = np.full(outputs, gain, np.float32)
        weights[f"{name}/bias"] = np.zeros(outputs, np.float32)
        options = {"stride": [stride, stride], "padding": "SAME"}
        steps.append(("conv", (source,), name, (f"{name}/kernel", f"{name}/bias"), options))
        return name

    def relu(name: str) -> str:
        steps.append(("relu", (name,), f"{name}/relu", (), {}))
        return f"{name}/relu"

    def add(one: str, other: str, name: str) -> str:
        steps.append(("add", (one, other), name, (), {}))
        return name

    def block(source: str, name: str, channels: int) -> str:
        inner = relu(conv(source, f"{name}a", channels, channels))
        return relu(add(source, conv(inner, f"{name}b", channels, channels, gain=0.2), name))

    value, levels = "image", []
    for level, (inputs, outputs) in enumerate(zip((3, *widths.channels), widths.channels)):
        value = relu(conv(value, f"down{level}", inputs, outputs, stride=2))
        for number in range(widths.blocks[level]):
            value = block(value, f"block{level}{number}", outputs)
        levels.append((value, outputs))
    value, channels = levels[-1]
    value = relu(conv(value, "top", channels, widths.neck, size=1))
    for level in (3, 2):  # a sixteenth and an eighth of the side
        steps.append(("resize", (value,), f"wide{level}", (), {"factor": 2, "method": "nearest"}))
        source, channels = levels[level]
        lateral = conv(source, f"lateral{level}", channels, widths.neck, size=1)
        value = block(relu(add(f"wide{level}", lateral, f"sum{level}")), f"neck{level}", widths.neck)
    for name, outputs in OUTPUTS.items():
        conv(value, name, widths.neck, outputs, size=1, gain=0.3)
    weights[f"{HEAT}/bias"] += np.log(START_SCORE / (1 - START_SCORE)).astype(np.float32)
    return Graph(tuple(steps), weights, ("image",), tuple(OUTPUTS))


def plain_weights(weights: dict[str, Any]) -> dict[str, jax.Array]:
    """The weights that the graph runs with: of each output channel mean 0, and the sum of squares (1.7 gain)^2."""
    plain = {}
    for name, value in weights.items():
        if name.endswith("/kernel"):
            gain = weights[name.removesuffix("kernel") + "gain"]
            fan = np.prod(value.shape[:3])
            centred = value - value.mean((0, 1, 2))
            spread = jnp.sqrt(jnp.mean(centred**2, (0, 1, 2)) * fan + 1e-6)
            plain[name] = centred / spread * gain * RELU_GAIN
        elif not name.endswith("/gain"):
            plain[name] = value
    return plain


def trained_form(plain: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights of the trained form that `plain_weights` makes these of: training goes on from a finished network."""
    weights = {}
    for name, value in plain.items():
        weights[name] = np.asarray(value, np.float32)
        if name.endswith("/kernel"):
            spread = np.sqrt(np.mean((value - value.mean((0, 1, 2))) ** 2, (0, 1, 2)) * np.prod(value.shape[:3]))
            weights[name.removesuffix("kernel") + "gain"] = (spread / RELU_GAIN).astype(np.float32)
    return weights
