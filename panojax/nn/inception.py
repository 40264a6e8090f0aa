"""Inception-v3 as the Frechet inception distance uses it: the network of `pt_inception-2015-12-05.pth`.

It differs from torchvision's in its pooling branches (average pools do not count the padding, the last block's pools by
maximum), in its 1008 classes and in how pictures are resized. Module names are the checkpoint's.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from panojax.errors import InputError


@struct.dataclass
class InceptionFeatures:
    """What the metrics read."""

    block0: jax.Array
    """After the first max pool, [N, 73, 73, 64]."""
    block2: jax.Array
    """Before the second reduction, [N, 17, 17, 768]."""
    pool3: jax.Array
    """The features of FID and KID, [N, 2048]."""
    logits: jax.Array
    """[N, 1008]."""
    unbiased_logits: jax.Array
    """Logits without the last bias, as the Inception score takes them, [N, 1008]."""


class ConvUnit(nn.Module):
    """Convolution without bias, batch norm with running statistics, ReLU."""

    features: int
    size: tuple[int, int]
    stride: int = 1
    same: bool = True

    @nn.compact
    def __call__(self, x):
        padding = [((k - 1) // 2,) * 2 if self.same else (0, 0) for k in self.size]
        # Full float32 where GPUs would round to TF32: these are figures to report.
        conv = nn.Conv(self.features, self.size, self.stride, padding, use_bias=False, precision="highest", name="conv")
        x = conv(x)
        return nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-3, name="bn")(x))


_max_pool = functools.partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2))


def _chain(x, *steps):
    """Applies units named and sized by (name, features, (height, width)[, stride]); a stride of 2 pads nothing."""
    for name, features, size, *stride in steps:
        x = ConvUnit(features, size, *stride, same=not stride, name=name)(x)
    return x


def _average(x):
    return nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)


class MixedA(nn.Module):
    """Inception block at 35 x 35: 1x1, 5x5, double 3x3 and pooling branches."""

    pool_features: int

    @nn.compact
    def __call__(self, x):
        branches = [
            _chain(x, ("branch1x1", 64, (1, 1))),
            _chain(x, ("branch5x5_1", 48, (1, 1)), ("branch5x5_2", 64, (5, 5))),
            _chain(x, ("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)), ("branch3x3dbl_3", 96, (3, 3))),
            _chain(_average(x), ("branch_pool", self.pool_features, (1, 1))),
        ]
        return jnp.concatenate(branches, axis=-1)


class MixedB(nn.Module):
    """Reduction from 35 x 35 to 17 x 17."""

    @nn.compact
    def __call__(self, x):
        branches = [
            _chain(x, ("branch3x3", 384, (3, 3), 2)),
            _chain(
                x, ("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)), ("branch3x3dbl_3", 96, (3, 3), 2)
            ),
            _max_pool(x),
        ]
        return jnp.concatenate(branches, axis=-1)


class MixedC(nn.Module):
    """Inception block at 17 x 17, its 7 x 7 kernels factorised; `width` is that of the inner convolutions."""

    width: int

    @nn.compact
    def __call__(self, x):
        width, across, down = self.width, (1, 7), (7, 1)
        branches = [
            _chain(x, ("branch1x1", 192, (1, 1))),
            _chain(x, ("branch7x7_1", width, (1, 1)), ("branch7x7_2", width, across), ("branch7x7_3", 192, down)),
            _chain(
                x,
                ("branch7x7dbl_1", width, (1, 1)),
                ("branch7x7dbl_2", width, down),
                ("branch7x7dbl_3", width, across),
                ("branch7x7dbl_4", width, down),
                ("branch7x7dbl_5", 192, across),
            ),
            _chain(_average(x), ("branch_pool", 192, (1, 1))),
        ]
        return jnp.concatenate(branches, axis=-1)


class MixedD(nn.Module):
    """Reduction from 17 x 17 to 8 x 8."""

    @nn.compact
    def __call__(self, x):
        branches = [
            _chain(x, ("branch3x3_1", 192, (1, 1)), ("branch3x3_2", 320, (3, 3), 2)),
            _chain(
                x,
                ("branch7x7x3_1", 192, (1, 1)),
                ("branch7x7x3_2", 192, (1, 7)),
                ("branch7x7x3_3", 192, (7, 1)),
                ("branch7x7x3_4", 192, (3, 3), 2),
            ),
            _max_pool(x),
        ]
        return jnp.concatenate(branches, axis=-1)


class MixedE(nn.Module):
    """Inception block at 8 x 8; `max_branch` pools its last branch by maximum, as the very last block does."""

    max_branch: bool

    @nn.compact
    def __call__(self, x):
        single = _chain(x, ("branch3x3_1", 384, (1, 1)))
        double = _chain(x, ("branch3x3dbl_1", 448, (1, 1)), ("branch3x3dbl_2", 384, (3, 3)))
        pooled = nn.max_pool(x, (3, 3), padding="SAME") if self.max_branch else _average(x)
        branches = [
            _chain(x, ("branch1x1", 320, (1, 1))),
            _chain(single, ("branch3x3_2a", 384, (1, 3))),
            _chain(single, ("branch3x3_2b", 384, (3, 1))),
            _chain(double, ("branch3x3dbl_3a", 384, (1, 3))),
            _chain(double, ("branch3x3dbl_3b", 384, (3, 1))),
            _chain(pooled, ("branch_pool", 192, (1, 1))),
        ]
        return jnp.concatenate(branches, axis=-1)


class Classifier(nn.Module):
    """Linear layer that returns its output with and without the bias."""

    classes: int = 1008

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.classes))
        bias = self.param("bias", nn.initializers.zeros, (self.classes,))
        logits = jnp.matmul(x, kernel, precision="highest")
        return logits + bias, logits


class FIDInception(nn.Module):
    """Inception-v3 for FID, KID and the Inception score. Variables: `params` and `batch_stats`, both frozen."""

    @nn.compact
    def __call__(self, image) -> InceptionFeatures:
        """image [N, H, W, 3] with values in [0, 1], of any size: it is resized to 299 x 299.

        The resize is bilinear without antialiasing, whatever the scale: the metric is defined so.

        Raises:
          InputError: the shape is another.
        """
        if image.ndim != 4 or image.shape[-1] != 3:
            raise InputError(f"image must be [N, H, W, 3], got {image.shape}")
        x = jax.image.resize(image, (image.shape[0], 299, 299, 3), "linear", antialias=False)
        x = ConvUnit(32, (3, 3), 2, same=False, name="Conv2d_1a_3x3")(2 * x - 1)
        x = ConvUnit(32, (3, 3), same=False, name="Conv2d_2a_3x3")(x)
        x = ConvUnit(64, (3, 3), name="Conv2d_2b_3x3")(x)
        x = block0 = _max_pool(x)
        x = ConvUnit(80, (1, 1), name="Conv2d_3b_1x1")(x)
        x = ConvUnit(192, (3, 3), same=False, name="Conv2d_4a_3x3")(x)
        x = _max_pool(x)
        for name, pool_features in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
            x = MixedA(pool_features, name=name)(x)
        x = MixedB(name="Mixed_6a")(x)
        for name, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
            x = MixedC(width, name=name)(x)
        block2 = x
        x = MixedD(name="Mixed_7a")(x)
        x = MixedE(max_branch=False, name="Mixed_7b")(x)
        x = MixedE(max_branch=True, name="Mixed_7c")(x)
        pool3 = jnp.mean(x, axis=(1, 2))
        logits, unbiased = Classifier(name="fc")(pool3)
        return InceptionFeatures(block0=block0, block2=block2, pool3=pool3, logits=logits, unbiased_logits=unbiased)
