"""Static configuration: frozen, hashable, JSON in and out."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from panojax.encoders.config import EncoderConfig
from panojax.errors import InputError

# Module name after "SuperresolutionHybrid" -> (input side, widths of the two blocks, does each block up-sample).
SUPERRESOLUTION = {
    "2X": (64, (128, 64), (False, True)),
    "4X": (128, (128, 64), (False, True)),
    "8X": (128, (128, 64), (True, True)),
    "8XDC": (128, (256, 128), (True, True)),
}

# Which coordinate runs along (width, height, depth) of each plane.
PLANE_AXES = {
    "panohead": ((0, 1, 2), (0, 2, 1), (1, 2, 0)),
    "eg3d": ((0, 1, 2), (0, 2, 1), (2, 0, 1)),
    "eg3d-fixed": ((0, 1, 2), (0, 2, 1), (2, 1, 0)),
}


@dataclasses.dataclass(frozen=True)
class GeneratorConfig:
    """A PanoHead or EG3D generator. The defaults are PanoHead's released configuration."""

    z_dim: int = 512
    """Width of the latent z."""
    c_dim: int = 25
    """Width of the camera label that conditions the mapping."""
    w_dim: int = 512
    """Width of a style code."""
    mapping_layers: int = 2
    """Fully connected layers of the mapping network after the embedding."""
    channel_base: int = 32768
    """The backbone has min(channel_base // r, channel_max) channels at resolution r, the background half the base."""
    channel_max: int = 512
    """See `channel_base`."""
    plane_resolution: int = 256
    """Height and width of a plane, in texels."""
    plane_depth: int = 3
    """Depth slices D of a plane; 1 is a tri-plane."""
    plane_features: int = 32
    """Channels of a texel."""
    plane_axes: tuple[tuple[int, int, int], ...] = PLANE_AXES["panohead"]
    """Per plane, the coordinates (x 0, y 1, z 2) along its width, height and depth."""
    depth_interpolation: bool = True
    """Interpolate along the planes' depth (PanoHead). False: bilinear lookups, for EG3D's own tri-planes."""
    decoder_hidden: int = 64
    """Hidden width of the decoder."""
    decoder_activation: str = "none"
    """Activation of the decoder's features: "none", "lrelu" or "sigmoid"."""
    decoder_lr_multiplier: float = 1.0
    """Learning-rate multiplier of the decoder's layers."""
    raw_to_rgb: bool = True
    """Take the raw picture from a ToRGB layer (PanoHead) and not from the first three features (EG3D)."""
    background: bool = True
    """Synthesise a background behind the head."""
    camera_adaptation: bool = True
    """The generator has the camera self-adaptation network (`t_mapping`)."""
    camera_scale: float = 1.0
    """Factor on the conditioning label."""
    zero_conditioning: bool = False
    """Replace the conditioning label by zeros."""
    image_resolution: int = 512
    """Height and width of the final picture."""
    superresolution: str = "8XDC"
    """"2X", "4X", "8X" or "8XDC"."""
    superresolution_channels: tuple[int, int] = (256, 128)
    """Widths of the two super-resolution blocks."""
    superresolution_noise: str = "none"
    """Noise of the super-resolution: "none", "const" or "random"."""
    superresolution_clamp: float | None = 256.0
    """Activations of the super-resolution are clipped to this range."""
    rendering_resolution: int = 64
    """Height and width of the volume rendering (`neural_rendering_resolution`)."""
    ray_start: float | str = 2.25
    """Distance at which rays start, in world units, or "auto": where they enter the box."""
    ray_end: float | str = 3.3
    """Distance at which rays end, or "auto": where they leave the box."""
    depth_samples: int = 48
    """Stratified samples per ray."""
    importance_samples: int = 48
    """Importance samples per ray; 0 for none."""
    box_warp: float = 1.0
    """Side of the cube that the planes cover, in world units, centred on the origin."""
    crop_margin: float | None = 0.1
    """Space with |x| or |z| within this distance of the box's side is empty (PanoHead). None crops nothing (EG3D)."""
    disparity_sampling: bool = False
    """Spread the stratified samples evenly in disparity and not in depth."""
    white_back: bool = False
    """Rays that hit nothing give white features."""
    cull_clouds: float = 0.0
    """Points whose opacity over a unit length is below this are empty; 0 keeps all."""
    binarize_clouds: float = 0.0
    """Points whose opacity over a unit length is below this are empty, all others solid; 0 keeps the densities."""
    camera_radius: float = 2.7
    """Distance of the usual cameras from their pivot, in world units."""
    camera_pivot: tuple[float, float, float] = (0.0, 0.0, 0.2)
    """Point that the training cameras look at."""
    dtype: str = "float32"
    """Compute type of convolutions and stored planes: "float32" or "bfloat16". Rays and marching stay float32."""

    def __post_init__(self):
        check_choice("superresolution", self.superresolution, SUPERRESOLUTION)
        check_choice("superresolution_noise", self.superresolution_noise, ("none", "const", "random"))
        check_choice("decoder_activation", self.decoder_activation, ("none", "lrelu", "sigmoid"))
        check_choice("dtype", self.dtype, ("float32", "bfloat16"))
        for name in ("plane_resolution", "image_resolution", "channel_base", "channel_max"):
            if getattr(self, name) < 4:
                raise InputError(f"{name} must be at least 4, got {getattr(self, name)}")
        if self.plane_resolution & (self.plane_resolution - 1):
            raise InputError(f"plane_resolution must be a power of two, got {self.plane_resolution}")
        if (self.ray_start == "auto") != (self.ray_end == "auto"):
            raise InputError(f'ray_start and ray_end are both "auto" or neither, got {self.ray_start}, {self.ray_end}')
        if self.depth_samples < 4:
            raise InputError(f"depth_samples must be at least 4, got {self.depth_samples}")
        if not self.depth_interpolation and self.plane_depth != 1:
            raise InputError(f"bilinear lookups need plane_depth 1, got {self.plane_depth}")
        if self.image_resolution != self.superresolution_input * self.superresolution_factor:
            raise InputError(
                f"image_resolution must be {self.superresolution_input * self.superresolution_factor} "
                f"for superresolution {self.superresolution}, got {self.image_resolution}"
            )

    @property
    def superresolution_input(self) -> int:
        """Side of the super-resolution's input."""
        return SUPERRESOLUTION[self.superresolution][0]

    @property
    def superresolution_factor(self) -> int:
        """Output side over input side."""
        return 2 ** sum(SUPERRESOLUTION[self.superresolution][2])

    @property
    def num_ws(self) -> int:
        """Style codes of the backbone: one per convolution and one for the last ToRGB."""
        return count_ws(self.plane_resolution)

    @property
    def planes_shape(self) -> tuple[int, int, int, int, int]:
        """[3, D, H, W, C]."""
        return (3, self.plane_depth, self.plane_resolution, self.plane_resolution, self.plane_features)


@dataclasses.dataclass(frozen=True)
class Config:
    """A model: a generator and, where it can invert pictures, the shape of its two encoders."""

    generator: GeneratorConfig
    encoder: EncoderConfig | None = None
    framing: str = "panohead"
    """How its training pictures were cropped, and photos are to be: as PanoHead's, or "heads", the synthetic ones."""

    def __post_init__(self):
        check_choice("framing", self.framing, ("panohead", "heads"))
        encoder, channels = self.encoder, self.generator.plane_features
        if encoder is not None and encoder.local_features and encoder.local_channels != channels:
            raise InputError(
                f"encoder.local_channels must be the generator's plane_features, {channels}, "
                f"got {encoder.local_channels}"
            )


def count_ws(resolution: int) -> int:
    """Style codes of a synthesis network that ends at `resolution`."""
    return 2 * int(math.log2(resolution)) - 2


def from_torch(
    init_kwargs: Mapping[str, Any],
    rendering_kwargs: Mapping[str, Any],
    *,
    neural_rendering_resolution: int = 64,
    plane_axes: str | None = None,
) -> GeneratorConfig:
    """The configuration of a PyTorch generator from what its pickle carries.

    Args:
      init_kwargs: the constructor's arguments (`z_dim`, `mapping_kwargs`, `channel_base`, ...).
      rendering_kwargs: `ray_start`, `box_warp`, `superresolution_module`, ...
      neural_rendering_resolution: the pickled attribute of that name.
      plane_axes: a name of `PLANE_AXES`; None takes "panohead" where `rendering_kwargs` has a `triplane_depth`, else
        "eg3d". Checkpoints trained with EG3D's corrected planes need "eg3d-fixed"; nothing in the file tells.

    Raises:
      InputError: names the missing key or the value that no network of ours has.
    """
    kwargs, options = dict(init_kwargs), dict(rendering_kwargs)

    def need(source, name, where):
        if name not in source:
            raise InputError(f"{where} lacks {name!r}; it has {', '.join(sorted(source)) or 'nothing'}")
        return source[name]

    module = need(options, "superresolution_module", "rendering_kwargs").rsplit(".", 1)[-1]
    superresolution = module.removeprefix("SuperresolutionHybrid")
    check_choice("superresolution_module", superresolution, SUPERRESOLUTION)
    panohead = "triplane_depth" in options
    axes = plane_axes or ("panohead" if panohead else "eg3d")
    check_choice("plane_axes", axes, PLANE_AXES)
    mapping = kwargs.get("mapping_kwargs", {})
    return GeneratorConfig(
        z_dim=need(kwargs, "z_dim", "init_kwargs"),
        c_dim=need(kwargs, "c_dim", "init_kwargs"),
        w_dim=need(kwargs, "w_dim", "init_kwargs"),
        mapping_layers=kwargs.get("mapping_layers", mapping.get("num_layers", 8)),
        channel_base=kwargs.get("channel_base", 32768),
        channel_max=kwargs.get("channel_max", 512),
        plane_resolution=options.get("triplane_size", 256),
        plane_depth=options.get("triplane_depth", 1),
        plane_axes=PLANE_AXES[axes],
        depth_interpolation=panohead,
        decoder_activation=options.get("decoder_activation", "sigmoid"),
        decoder_lr_multiplier=float(options.get("decoder_lr_mul", 1)),
        raw_to_rgb=bool(options.get("use_torgb_raw", False)),
        background=bool(options.get("use_background", False)),
        camera_adaptation=panohead,
        camera_scale=float(options.get("c_scale", 1)),
        zero_conditioning=bool(options.get("c_gen_conditioning_zero", False)),
        image_resolution=need(kwargs, "img_resolution", "init_kwargs"),
        superresolution=superresolution,
        superresolution_channels=SUPERRESOLUTION[superresolution][1],
        superresolution_noise=options.get("superresolution_noise_mode", "none"),
        superresolution_clamp=256.0 if kwargs.get("sr_num_fp16_res", 0) > 0 else None,
        rendering_resolution=int(neural_rendering_resolution),
        ray_start=_distance(need(options, "ray_start", "rendering_kwargs")),
        ray_end=_distance(need(options, "ray_end", "rendering_kwargs")),
        depth_samples=int(need(options, "depth_resolution", "rendering_kwargs")),
        importance_samples=int(options.get("depth_resolution_importance", 0)),
        box_warp=float(options.get("box_warp", 1)),
        crop_margin=0.1 if panohead else None,
        disparity_sampling=bool(options.get("disparity_space_sampling", False)),
        white_back=bool(options.get("white_back", False)),
        cull_clouds=float(options.get("cull_clouds") or 0),
        binarize_clouds=float(options.get("binarize_clouds") or 0),
        camera_radius=float(options.get("avg_camera_radius", 2.7)),
        camera_pivot=_point(options.get("avg_camera_pivot", (0, 0, 0))),
    )


def _point(values) -> tuple[float, float, float]:
    x, y, z = values
    return float(x), float(y), float(z)


def _distance(value):
    return value if value == "auto" else float(value)


def check_choice(name: str, value: Any, choices: typing.Collection) -> None:
    """Raises InputError unless `value` is one of `choices`."""
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")


def to_json(config: Any) -> dict:
    """A configuration as nested dicts and lists."""
    return dataclasses.asdict(config)


def from_json(cls: type, data: Mapping[str, Any]) -> Any:
    """The inverse of `to_json` for the dataclass `cls`. Unknown names are an InputError; absent ones take defaults."""
    if not isinstance(data, Mapping):
        raise InputError(f"{cls.__name__} must be a mapping, got {type(data).__name__}")
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise InputError(f"{cls.__name__} has no {', '.join(unknown)}: the checkpoint is of another version")
    return cls(**{name: _value(hints[name], value) for name, value in data.items()})


def _value(hint, value):
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        nested = [h for h in typing.get_args(hint) if dataclasses.is_dataclass(h)]
        return _value(nested[0], value) if nested and value is not None else value
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast(type, hint), value)
    if isinstance(value, list):
        return tuple(_value(None, v) for v in value)
    return value
