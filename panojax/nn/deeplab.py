"""DeepLabv3 on a dilated ResNet-101 (Chen et al. 2017), which PanoHead's mask error takes the person's mask from.

The network of torchvision's `deeplabv3_resnet101_coco-586e9e4e.pth`, whose module names ours are. Its auxiliary
classifier serves training alone and is left out.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from panojax.errors import InputError

CLASSES = 21  # those of Pascal VOC
PERSON = 15
STAGES = ((64, 3, 1, 1, 1), (128, 4, 2, 1, 1), (256, 23, 1, 1, 2), (512, 3, 1, 2, 4))
"""Of each stage: inner width, blocks, stride, dilation of the first block, dilation of the others."""
RATES = (12, 24, 36)
_MEAN, _STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


def person_probability(network: "DeepLabV3", variables: Any, image: jax.Array) -> jax.Array:
    """How likely each pixel of pictures [N, H, W, 3] in [-1, 1] shows a person: [N, H, W] in [0, 1]."""
    logits: Any = network.apply(variables, image)
    return nn.softmax(logits)[..., PERSON]


class DeepLabV3(nn.Module):
    """Class scores of pictures. Variables: `params` and `batch_stats`, both frozen.

    Attributes:
      stages: see `STAGES`; tests take a smaller network.
      width: channels of the head.
    """

    stages: tuple[tuple[int, int, int, int, int], ...] = STAGES
    width: int = 256

    @nn.compact
    def __call__(self, image):
        """image [N, H, W, 3] in [-1, 1] -> logits [N, H, W, 21].

        Raises:
          InputError: the shape is another.
        """
        if image.ndim != 4 or image.shape[-1] != 3:
            raise InputError(f"image must be [N, H, W, 3], got {image.shape}")
        x = ((image + 1) / 2 - _MEAN) / _STD
        x = nn.relu(_norm("backbone.bn1")(_conv(64, 7, stride=2, name="backbone.conv1")(x)))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for number, (width, blocks, stride, first, later) in enumerate(self.stages, 1):
            for i in range(blocks):
                block = functools.partial(Bottleneck, width, name=f"backbone.layer{number}.{i}")
                x = block(stride, first, project=True)(x) if i == 0 else block(1, later)(x)
        x = Pyramid(self.width, name="classifier.0")(x)
        x = nn.relu(_norm("classifier.2")(_conv(self.width, 3, name="classifier.1")(x)))
        x = nn.Conv(CLASSES, (1, 1), name="classifier.4")(x)
        return jax.image.resize(x, (*image.shape[:3], CLASSES), "linear", antialias=False)


class Bottleneck(nn.Module):
    """1x1, 3x3 (strided, dilated) and 1x1 convolutions beside a shortcut, which `project` convolves."""

    width: int
    stride: int
    dilation: int
    project: bool = False

    @nn.compact
    def __call__(self, x):
        y = nn.relu(_norm("bn1")(_conv(self.width, 1, name="conv1")(x)))
        y = nn.relu(_norm("bn2")(_conv(self.width, 3, self.stride, self.dilation, name="conv2")(y)))
        y = _norm("bn3")(_conv(4 * self.width, 1, name="conv3")(y))
        if self.project:
            x = _norm("downsample.1")(_conv(4 * self.width, 1, self.stride, name="downsample.0")(x))
        return nn.relu(x + y)


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1, three dilated 3x3 and one convolution of the mean, joined by a 1x1."""

    width: int

    @nn.compact
    def __call__(self, x):
        branches = [nn.relu(_norm("convs.0.1")(_conv(self.width, 1, name="convs.0.0")(x)))]
        for i, rate in enumerate(RATES, 1):
            y = _conv(self.width, 3, dilation=rate, name=f"convs.{i}.0")(x)
            branches.append(nn.relu(_norm(f"convs.{i}.1")(y)))
        mean = _conv(self.width, 1, name="convs.4.1")(jnp.mean(x, axis=(1, 2), keepdims=True))
        branches.append(jnp.broadcast_to(nn.relu(_norm("convs.4.2")(mean)), branches[0].shape))
        x = _conv(self.width, 1, name="project.0")(jnp.concatenate(branches, axis=-1))
        return nn.relu(_norm("project.1")(x))


def _conv(features: int, side: int, stride: int = 1, dilation: int = 1, *, name: str) -> nn.Conv:
    padding = dilation * (side // 2)
    return nn.Conv(
        features, (side, side), stride, padding, kernel_dilation=dilation, use_bias=False, name=name
    )  # fmt: skip


def _norm(name: str) -> nn.BatchNorm:
    return nn.BatchNorm(use_running_average=True, epsilon=1e-5, name=name)
