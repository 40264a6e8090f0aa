"""The configuration of a generator."""

import dataclasses
import math

from panojax.errors import InputError, check_choice
from panojax.fields.representation import Representation
from panojax.fields.trigrid import PLANE_AXES, Axes, TriGrid, check_axes
from panojax.schema import check_budget, check_config

# Module name after "SuperresolutionHybrid" -> (input side, widths of the two blocks, does each block up-sample).
SUPERRESOLUTION = {
    "2X": (64, (128, 64), (False, True)),
    "4X": (128, (128, 64), (False, True)),
    "8X": (128, (128, 64), (True, True)),
    "8XDC": (128, (256, 128), (True, True)),
}


# Of the numbers that a file or a user may give.
RANGES = {
    "z_dim": (1, 2**14),
    "c_dim": (25, 25),
    "w_dim": (1, 2**14),
    "mapping_layers": (1, 64),
    "channel_base": (4, 2**20),
    "channel_max": (4, 2**13),
    "plane_resolution": (4, 4096),
    "plane_depth": (1, 256),
    "plane_features": (1, 1024),
    "decoder_hidden": (1, 2**13),
    "decoder_lr_multiplier": (1e-6, 1e6),
    "camera_scale": (-1e6, 1e6),
    "image_resolution": (4, 8192),
    "superresolution_channels": (1, 2**13),
    "superresolution_clamp": (0, 1e9),
    "conv_clamp": (0, 1e9),
    "mapping_embedding": (1, 2**14),
    "mapping_width": (1, 2**14),
    "mapping_lr_multiplier": (1e-6, 1e6),
    "density_noise": (0, 1e6),
    "rendering_resolution": (2, 1024),
    "ray_start": (0, 1e4),
    "ray_end": (1e-4, 1e4),
    "depth_samples": (4, 4096),
    "importance_samples": (0, 4096),
    "box_warp": (1e-3, 1e3),
    "crop_margin": (0, 1e3),
    "cull_clouds": (0, 1),
    "binarize_clouds": (0, 1),
    "camera_radius": (1e-2, 1e3),
    "camera_pivot": (-1e3, 1e3),
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
    mapping_embedding: int | None = None
    """Width of the mappings' embedded label; None: of their codes."""
    mapping_width: int | None = None
    """Width of the mappings' layers but the last; None: of their codes."""
    mapping_lr_multiplier: float = 0.01
    """Learning-rate multiplier of the mapping's layers."""
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
    plane_axes: Axes = PLANE_AXES["panohead"]
    """Per plane, the coordinates (x 0, y 1, z 2) along its width, height and depth; or three rows whose products with a
    point are these, for planes that do not lie along the axes."""
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
    conv_clamp: float | None = None
    """Activations of the backbone and the background are clipped to this range; None clips nothing."""
    antialias: bool = True
    """Average what a smaller picture leaves out where features, raw picture and background are reduced."""
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
    density_noise: float = 0.0
    """Deviation of the noise on densities that `render` adds where it is given a key: of snapshots taken before the
    training's noise had faded."""
    camera_radius: float = 2.7
    """Distance of the usual cameras from their pivot, in world units."""
    camera_pivot: tuple[float, float, float] = (0.0, 0.0, 0.2)
    """Point that the training cameras look at."""
    representation: Representation | None = None
    """A 3D representation of your own in place of the tri-grid, which `plane_*` and `depth_interpolation` describe."""
    dtype: str = "float32"
    """Compute type of convolutions and stored planes: "float32" or "bfloat16". Rays and marching stay float32."""

    def __post_init__(self):
        check_config(self, RANGES, ("auto",))
        self._check_budget()
        check_choice("superresolution", self.superresolution, SUPERRESOLUTION)
        check_choice("superresolution_noise", self.superresolution_noise, ("none", "const", "random"))
        check_choice("decoder_activation", self.decoder_activation, ("none", "lrelu", "sigmoid"))
        check_choice("dtype", self.dtype, ("float32", "bfloat16"))
        if self.plane_resolution & (self.plane_resolution - 1):
            raise InputError(f"plane_resolution must be a power of two, got {self.plane_resolution}")
        if (self.ray_start == "auto") != (self.ray_end == "auto"):
            raise InputError(f'ray_start and ray_end are both "auto" or neither, got {self.ray_start}, {self.ray_end}')
        for name in ("conv_clamp", "superresolution_clamp"):
            if (getattr(self, name) or 0) < 0:
                raise InputError(f"{name} must not be negative, got {getattr(self, name)}")
        check_axes(self.plane_axes)
        widest = max(self.plane_resolution, 2 * self.superresolution_input if self.background else 0)
        if self.channel_base < widest:
            raise InputError(f"channel_base must be at least {widest} for these sizes, got {self.channel_base}")
        if not self.depth_interpolation and self.plane_depth != 1:
            raise InputError(f"bilinear lookups need plane_depth 1, got {self.plane_depth}")
        if self.image_resolution != self.superresolution_input * self.superresolution_factor:
            raise InputError(
                f"image_resolution must be {self.superresolution_input * self.superresolution_factor} "
                f"for superresolution {self.superresolution}, got {self.image_resolution}"
            )

    def _check_budget(self) -> None:
        """Refuses sizes that are possible each for itself, but whose products no machine holds."""
        w, texels = self.w_dim, 3 * self.plane_depth * self.plane_resolution**2 * self.plane_features
        widths = [min(max(1, self.channel_base // 2**i), self.channel_max) for i in range(2, 13)]
        convs = sum(18 * width**2 + 3 * w * width for width in widths)
        mapping = self.mapping_layers * w**2 + 2 * w * (self.z_dim + self.c_dim + w)
        samples = self.rendering_resolution**2 * (self.depth_samples + self.importance_samples)
        check_budget(
            the_generator=4 * (convs + mapping),
            plane_resolution_x_depth_x_features=4 * texels,
            rendering_resolution_x_samples_x_features=4 * samples * self.plane_features,
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
    def field(self) -> Representation:
        """The 3D representation."""
        if self.representation is not None:
            return self.representation
        return TriGrid(
            size=self.plane_resolution,
            depth=self.plane_depth,
            width=self.plane_features,
            axes=self.plane_axes,
            depth_interpolation=self.depth_interpolation,
        )

    @property
    def num_ws(self) -> int:
        """Style codes of the backbone: one per convolution and one for the last ToRGB."""
        return count_ws(self.field.resolution)


def count_ws(resolution: int) -> int:
    """Style codes of a synthesis network that ends at `resolution`."""
    return 2 * int(math.log2(resolution)) - 2
