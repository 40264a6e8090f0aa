"""One encoder as pure functions of its configuration and variables. The dual encoder is two of them."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from panojax import kernels
from panojax.encoders.encoder_config import EncoderConfig
from panojax.encoders.initial import draw_variables
from panojax.encoders.local_encoder import LocalEncoder
from panojax.encoders.offsets import OFFSET_LAYERS, TrigridEncoder
from panojax.encoders.psp import GradualStyleEncoder
from panojax.errors import InputError
from panojax.fields.local_branch import EXTRA
from panojax.nn.ir_se import TrunkConfig


def encode_styles(config: EncoderConfig, variables: Any, image: jax.Array, *, train: bool = False) -> Any:
    """The W+ stage.

    Args:
      config: the encoder.
      variables: {"psp_encoder": {"params", "batch_stats"}, ...}, as `init_encoder` gives.
      image: portraits [N, R, R, 3], RGB in [-1, 1], R = config.resolution.
      train: whether batch norms use the batch and update their running statistics.

    Returns:
      Codes [N, n_styles, w_dim] in config.dtype, to which the caller adds the mean w. In training
      (codes, `batch_stats`), the latter the W+ stage's collection as updated.

    Raises:
      InputError: `image` has another shape; in training, the batch is too small for a batch norm.
    """
    _expect("image", image, (config.resolution, config.resolution, 3))
    return _apply(_style_encoder(config), variables["psp_encoder"], image, train=train)


def encode_offsets(
    config: EncoderConfig,
    variables: Any,
    x: jax.Array,
    planes: jax.Array | None = None,
    *,
    train: bool = False,
) -> Any:
    """The F stage.

    Args:
      config: the encoder.
      variables: {"triplanenet_encoder": {"params", "batch_stats"}, ...}, as `init_encoder` gives.
      x: [N, R, R, offset_in_channels], R = config.resolution: the W+ stage's rendering, then the portrait minus it
        (and, with 9 channels, the mirrored portrait minus the rendering at the mirrored camera).
      planes: [N, R, R, planes_channels] if the configuration has such, channels in PyTorch's order; else None.
      train: whether batch norms use the batch and update their running statistics.

    Returns:
      Offsets [N, R, R, out_channels] in config.dtype, channels ordered as in PyTorch's [N, out_channels, R, R]. In
      training (offsets, `batch_stats`), the latter the F stage's collection as updated.

    Raises:
      InputError: `x` or `planes` have another shape, or `planes` is given where none is expected or the reverse.
    """
    _expect("x", x, (config.resolution, config.resolution, config.offset_in_channels))
    if (planes is None) != (config.planes_channels == 0):
        given = "None" if planes is None else f"an array of shape {planes.shape}"
        raise InputError(f"planes must have config.planes_channels = {config.planes_channels} channels, got {given}")
    if planes is not None:
        _expect("planes", planes, (config.resolution, config.resolution, config.planes_channels))
    return _apply(_offset_encoder(config), variables["triplanenet_encoder"], x, planes, train=train)


def encode_local(config: EncoderConfig, variables: Any, x: jax.Array, *, train: bool = False) -> Any:
    """The local branch's network, where config.local_features is not 0.

    Args:
      config: the encoder.
      variables: {"local_encoder": {"params", "batch_stats"}, ...}, as `init_encoder` gives.
      x: [N, R, R, 4], R = config.resolution: the portrait minus the rendering of its head, and the rendered depth from
        the box's middle, in halves of its side and times the opacity.
      train: whether batch norms use the batch and update their running statistics.

    Returns:
      Features [N, R, R, local_features] in config.dtype, and the parameters that use them, see `LocalEncoder`. In
      training (features, parameters, `batch_stats`), the latter this network's collection as updated.

    Raises:
      InputError: `x` has another shape, or the encoder has no local branch.
    """
    if not config.local_features:
        raise InputError("config.local_features must be positive for a local branch, got 0")
    _expect("x", x, (config.resolution, config.resolution, 4))
    output = _apply(_local_encoder(config), variables["local_encoder"], x, train=train)
    return (*output[0], output[1]) if train else output


def init_encoder(config: EncoderConfig, key: jax.Array) -> dict[str, Any]:
    """Random variables {"psp_encoder": {"params", "batch_stats"}, "triplanenet_encoder": {"params", "batch_stats"}}.

    With a local branch also "local_encoder", whose last layer starts at zero.

    Convs start by He's rule, but for the F stage's last, which starts at a hundredth of it; the style heads' linear
    layers start at a tenth of theirs, or at zero where they predict differences. So an untrained encoder's inversion is
    close to the mean head. Not to be jitted.
    """
    return draw_variables(_init_modules, (config,), key, functools.partial(_kernel_std, config))


def call_networks(config: EncoderConfig, variables: dict[str, Any]) -> None:
    """Calls each network of one encoder on blank pictures: for `kernels.prepare`."""
    image, x, planes, local = _blank_inputs(config)
    encode_styles(config, variables, image)
    encode_offsets(config, variables, x, planes)
    if config.local_features:
        encode_local(config, variables, local)


def reorder_offsets(variables: dict[str, Any], order: np.ndarray) -> dict[str, Any]:
    """Variables whose offsets have their channels in another order: offsets[..., order]."""
    name = "triplanenet_encoder"
    return {**variables, name: kernels.reorder_outputs(variables[name], order, layers=OFFSET_LAYERS)}


def abstract_encoder(config: EncoderConfig) -> dict[str, Any]:
    """What `init_encoder` gives, as `jax.ShapeDtypeStruct`s: a template to convert or restore into."""
    return jax.tree.map(lambda x: x, _abstract_encoder(config))  # a caller may change the dictionaries


@functools.lru_cache(maxsize=8)  # a second or two of tracing
def _abstract_encoder(config: EncoderConfig) -> dict[str, Any]:
    return jax.eval_shape(lambda: _init_modules(config))


def _init_modules(config: EncoderConfig) -> dict[str, Any]:
    key = jax.random.key(0)
    image, x, planes, local = _blank_inputs(config)
    variables = {
        "psp_encoder": _style_encoder(config).init(key, image),
        "triplanenet_encoder": _offset_encoder(config).init(key, x, planes),
    }
    if config.local_features:
        variables["local_encoder"] = _local_encoder(config).init(key, local)
    return variables


def _blank_inputs(config: EncoderConfig) -> tuple[jax.Array, jax.Array, jax.Array | None, jax.Array]:
    """Of the W+ stage, of the F stage two, and of the local branch."""
    image, x, planes, local = (
        jnp.zeros((1, config.resolution, config.resolution, channels))
        for channels in (3, config.offset_in_channels, config.planes_channels, 4)
    )
    return image, x, planes if config.planes_channels else None, local


def _kernel_std(config: EncoderConfig, path: tuple[str, ...], shape: tuple[int, ...]) -> float | None:
    if path[-1] != "kernel":
        return None
    if path[0] == "local_encoder":
        return 0.0 if path[-2] == "film" else math.sqrt(2 / math.prod(shape[:-1]))
    if len(shape) == 2:  # an equalised layer of the style heads, which divides by sqrt(inputs) itself
        return 0.0 if config.deltas and path[2] != "styles.0" else 0.1
    std = math.sqrt(2 / math.prod(shape[:-1]))
    return 0.01 * std if path[-2] in ("final_head.4", "final_head_two.4") else std


def _style_encoder(config: EncoderConfig) -> GradualStyleEncoder:
    return GradualStyleEncoder(config.trunk, config.n_styles, config.w_dim, config.numerics, config.deltas)


def _offset_encoder(config: EncoderConfig) -> TrigridEncoder:
    sizes = config.trunk, config.out_channels, config.head_width
    return TrigridEncoder(*sizes, config.numerics, config.pixel_shuffle)


def _local_encoder(config: EncoderConfig) -> LocalEncoder:
    half = tuple(max(16, width // 32 * 16) for width in config.trunk.widths)
    trunk = TrunkConfig((1, 1, 1, 1), half, config.trunk.squeeze_excite)  # type: ignore[arg-type]
    sizes = config.local_features, config.local_features + EXTRA, config.local_hidden, 2 * config.local_channels
    return LocalEncoder(trunk, *sizes, config.head_width, config.numerics)


def _apply(module, variables, *inputs, train):
    if not train:
        return module.apply(variables, *inputs)
    output, updated = module.apply(variables, *inputs, train=True, mutable=["batch_stats"])
    return output, updated["batch_stats"]


def _expect(name: str, array: jax.Array, shape: tuple[int, ...]) -> None:
    if array.ndim != 4 or array.shape[1:] != shape:
        raise InputError(f"{name} must be [N, {', '.join(map(str, shape))}], got {array.shape}")
