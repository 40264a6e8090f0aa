"""PanoHead's tri-discriminator, which judges the picture, the raw picture and the mask under a camera.

PyTorch counterpart: MaskDualDiscriminatorV2, on StyleGAN2's residual blocks. Module names are PyTorch's.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from panojax.errors import InputError
from panojax.kernels.activations import clamp, lrelu
from panojax.kernels.convolution import conv
from panojax.nn.stylegan2 import FullyConnected, normalize_2nd_moment, resize

_FIR = np.array([1, 3, 3, 1], np.float32) / 8
_SQRT_HALF = math.sqrt(0.5)

# Arguments of the PyTorch constructor: those without effect, and those that our network has at one value only.
_IGNORED = {"seg_resolution"}
_FIXED = {
    "img_channels": (3,),
    "seg_channels": (1,),
    "disc_c_noise": (0,),
    "architecture": ("resnet",),
    "block_kwargs": ({}, {"freeze_layers": 0}),
    "mapping_kwargs": ({},),
}


def downsampling_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """StyleGAN2's down-sampling convolution: [N, H, W, I] by kernel [k, k, I, O] -> [N, H / 2, W / 2, O].

    The [1, 3, 3, 1] / 8 filter and the kernel compose into one kernel of side k + 3, run with stride 2; k is 1 or 3, H
    and W are even. PyTorch counterpart: conv2d_resample(down=2).
    """
    size = kernel.shape[0]
    spread = np.stack([np.convolve(_FIR, tap) for tap in np.eye(size, dtype=np.float32)], axis=-1)
    composed = jnp.einsum("as,bt,stio->abio", spread, spread, kernel, precision=jax.lax.Precision.HIGHEST)
    padding = [((size + 1) // 2,) * 2] * 2
    return jax.lax.conv_general_dilated(
        x, composed.astype(x.dtype), (2, 2), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def minibatch_std(x: jax.Array, group_size: int) -> jax.Array:
    """Appends one channel to x [N, H, W, C]: the mean standard deviation within each group of samples.

    Sample i belongs to group i % (N / group_size); a batch smaller than `group_size` is one group.

    Raises:
      InputError: N is not a multiple of the group size.
    """
    n, h, w, c = x.shape
    group = min(group_size, n)
    if n % group:
        raise InputError(f"the batch must be a multiple of the minibatch-std group {group}, got {n}")
    grouped = x.astype(jnp.float32).reshape(group, n // group, h, w, c)
    variance = jnp.mean(jnp.square(grouped - grouped.mean(axis=0)), axis=0)
    deviation = jnp.mean(jnp.sqrt(variance + 1e-8), axis=(1, 2, 3))
    channel = jnp.broadcast_to(jnp.tile(deviation, group)[:, None, None, None], (n, h, w, 1))
    return jnp.concatenate([x, channel.astype(x.dtype)], axis=-1)


class ConvLayer(nn.Module):
    """Equalised convolution with bias, lrelu, gain and clip: [N, H, W, I] -> [N, H', W', features].

    Attributes:
      size: side of the kernel, 1 or 3.
      down: halve the resolution.
      linear: no bias, activation or clip; only the gain.
      gain: factor on the output.
      clamp: the output is clipped to +-clamp * gain; None does not clip.
    """

    features: int
    size: int = 3
    down: bool = False
    linear: bool = False
    gain: float = 1.0
    clamp: float | None = None

    @nn.compact
    def __call__(self, x):
        fan_in = self.size**2 * x.shape[-1]
        kernel = self.param(
            "kernel", nn.initializers.normal(1.0), (self.size, self.size, x.shape[-1], self.features)
        ) / math.sqrt(fan_in)
        x = downsampling_conv(x, kernel) if self.down else conv(x, kernel)
        if self.linear:
            return x * self.gain
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x = lrelu(x + bias.astype(x.dtype)) * self.gain
        return x if self.clamp is None else clamp(x, self.clamp * self.gain)


class DiscriminatorBlock(nn.Module):
    """A residual block that halves the resolution: x [N, H, W, I] -> [N, H / 2, W / 2, features].

    Attributes:
      from_rgb: width of a first 1 x 1 convolution, in the block that reads the picture.
    """

    features: int
    from_rgb: int | None = None
    clamp: float | None = None

    @nn.compact
    def __call__(self, x):
        if self.from_rgb:
            x = ConvLayer(self.from_rgb, size=1, clamp=self.clamp, name="fromrgb")(x)
        skip = ConvLayer(self.features, size=1, down=True, linear=True, gain=_SQRT_HALF, name="skip")(x)
        x = ConvLayer(x.shape[-1], clamp=self.clamp, name="conv0")(x)
        return skip + ConvLayer(self.features, down=True, gain=_SQRT_HALF, clamp=self.clamp, name="conv1")(x)


class LabelMapping(nn.Module):
    """Camera label [N, c_dim] -> projection vector [N, features], by eight layers and no z."""

    features: int
    layers: int = 8

    @nn.compact
    def __call__(self, label):
        x = normalize_2nd_moment(FullyConnected(self.features, name="embed")(label))
        for i in range(self.layers):
            x = FullyConnected(self.features, lr_multiplier=0.01, activate=True, name=f"fc{i}")(x)
        return x


class Epilogue(nn.Module):
    """The last 4 x 4 block: x [N, 4, 4, C] -> [N, features]."""

    features: int
    group_size: int = 4
    clamp: float | None = None

    @nn.compact
    def __call__(self, x):
        channels = x.shape[-1]
        x = ConvLayer(channels, clamp=self.clamp, name="conv")(minibatch_std(x, self.group_size))
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)  # the rows of fc are ordered channel, height, width
        x = FullyConnected(channels, activate=True, name="fc")(x)
        return FullyConnected(self.features, name="out")(x)


class TriDiscriminator(nn.Module):
    """Logits of a picture, its raw rendering and its mask under a camera label.

    The defaults are the released configuration.

    Attributes:
      resolution: height and width of the picture, a power of two, at least 8.
      c_dim: width of the camera label.
      channel_base: channels at resolution r are min(channel_base // r, channel_max).
      channel_max: see `channel_base`.
      clamp: clip of the convolutions' outputs; None does not clip.
      group_size: samples per group of the minibatch standard deviation.
      dtype: compute type of the `low_precision` finest blocks; the rest is float32.
      low_precision: see `dtype`.
    """

    resolution: int = 512
    c_dim: int = 25
    channel_base: int = 32768
    channel_max: int = 512
    clamp: float | None = 256.0
    group_size: int = 4
    dtype: str = "float32"
    low_precision: int = 4

    @nn.compact
    def __call__(self, image, image_raw, mask, label):
        """Logits [N], float32; greater is more like a photograph.

        Args:
          image: [N, R, R, 3] in [-1, 1], R the resolution.
          image_raw: the rendering before super-resolution, [N, r, r, 3] in [-1, 1].
          mask: [N, r, r, 1] in [0, 1].
          label: camera labels, [N, c_dim].

        Raises:
          InputError: a shape does not fit.
        """
        self._check(image, image_raw, mask, label)
        parts = [image, resize(image_raw, self.resolution), resize(2 * mask - 1, self.resolution)]
        x = jnp.concatenate(parts, axis=-1)
        blocks = int(math.log2(self.resolution)) - 2
        for i in range(blocks):
            side = self.resolution >> i
            x = DiscriminatorBlock(
                self._channels(side // 2), None if i else self._channels(side), self.clamp, name=f"b{side}"
            )(x.astype(self.dtype if i < self.low_precision else jnp.float32))
        width = self._channels(4)
        features = Epilogue(width, self.group_size, self.clamp, name="b4")(x.astype(jnp.float32))
        projection = LabelMapping(width, name="mapping")(label)
        return jnp.sum(features * projection, axis=-1) / math.sqrt(width)

    def _channels(self, resolution):
        return min(self.channel_base // resolution, self.channel_max)

    def _check(self, image, image_raw, mask, label):
        n, r = image.shape[0], self.resolution
        if r < 8 or r & (r - 1):
            raise InputError(f"resolution must be a power of two and at least 8, got {r}")
        if image.shape != (n, r, r, 3):
            raise InputError(f"image must be [N, {r}, {r}, 3], got {image.shape}")
        for name, array, channels in (("image_raw", image_raw, 3), ("mask", mask, 1)):
            if array.ndim != 4 or array.shape[0] != n or array.shape[-1] != channels:
                raise InputError(f"{name} must be [{n}, r, r, {channels}], got {array.shape}")
        if label.shape != (n, self.c_dim):
            raise InputError(f"label must be [{n}, {self.c_dim}], got {label.shape}")


def grow(parameters: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters whose new finest block hands on what the finest of a discriminator of half the resolution saw.

    A random block in front of a discriminator makes it forget all that it knew. This one keeps both signs of each
    input, from which rectified layers give the input itself, halves it and applies the earlier `fromrgb`; its other
    channels stay random, and begin with no weight. So pictures without finer detail are judged as they were before, to
    how they are filtered.

    Args:
      parameters: random ones of a `TriDiscriminator`.
      earlier: of another one. Where it is not half as large, or has other channels, or the new block is too narrow for
        both signs, `parameters` come back as they are.
    """
    side = _finest(parameters)
    block, before = parameters[f"b{side}"], earlier.get(f"b{side // 2}", {}).get("fromrgb")
    inputs, width = block["fromrgb"]["kernel"].shape[2:]
    features = block["conv1"]["kernel"].shape[-1]
    signs = 2 * inputs
    if before is None or before["kernel"].shape != (1, 1, inputs, features) or width < signs:
        return dict(parameters)
    both = np.kron(np.eye(inputs), [[1, -1]])  # [inputs, signs]
    back = both.T / (1.2 * math.sqrt(2))  # lrelu(x) - lrelu(-x) = 1.2 sqrt(2) x

    from_rgb, conv0, conv1 = (
        {name: np.array(x) for name, x in block[layer].items()} for layer in ("fromrgb", "conv0", "conv1")
    )
    fan_in = math.sqrt(9 * width)
    from_rgb["kernel"][0, 0, :, :signs] = math.sqrt(inputs) * both
    conv0["kernel"][..., :signs] = 0
    conv0["kernel"][1, 1, :signs, :signs] = fan_in * back @ both
    conv1["kernel"][:] = 0
    # The block's gain of sqrt(1/2) is made good before the activation, which is homogeneous.
    conv1["kernel"][1, 1, :signs] = fan_in * back @ (math.sqrt(2 / inputs) * np.asarray(before["kernel"][0, 0]))
    conv1["bias"][:] = math.sqrt(2) * np.asarray(before["bias"])
    skip = {"kernel": np.zeros_like(block["skip"]["kernel"])}
    grown = {"fromrgb": from_rgb, "conv0": conv0, "conv1": conv1, "skip": skip}
    return {**parameters, f"b{side}": grown}


def _finest(parameters):
    """The resolution that a discriminator's parameters read."""
    return max(int(name[1:]) for name in parameters if name[1:].isdecimal())


def from_torch(init_kwargs: Mapping[str, Any], *, dtype: str = "float32") -> TriDiscriminator:
    """The discriminator of a PyTorch pickle's `D` from its constructor's arguments.

    Raises:
      InputError: an argument is missing, or has a value that changes the network in a way ours does not follow.
    """
    missing = [name for name in ("c_dim", "img_resolution") if name not in init_kwargs]
    if missing:
        raise InputError(
            f"init_kwargs lacks {', '.join(missing)}; it has {', '.join(sorted(init_kwargs)) or 'nothing'}"
        )
    kwargs = {k: v for k, v in init_kwargs.items() if k not in _IGNORED}
    epilogue = dict(kwargs.pop("epilogue_kwargs", {}))
    network = TriDiscriminator(
        resolution=kwargs.pop("img_resolution"),
        c_dim=kwargs.pop("c_dim"),
        channel_base=kwargs.pop("channel_base", 32768),
        channel_max=kwargs.pop("channel_max", 512),
        clamp=kwargs.pop("conv_clamp", 256),
        group_size=epilogue.pop("mbstd_group_size", 4),
        dtype=dtype,
        low_precision=kwargs.pop("num_fp16_res", 4),
    )
    unknown = [f"{k} = {v!r}" for k, v in kwargs.items() if k not in _FIXED or v not in _FIXED[k]]
    unknown += [f"epilogue_kwargs.{k} = {v!r}" for k, v in epilogue.items()]
    if unknown:
        raise InputError(f"the tri-discriminator has no {', '.join(unknown)}")
    return network
