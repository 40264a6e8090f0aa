"""The configuration of one encoder (styles and tri-grid offsets) and its presets."""

import dataclasses

from panojax.errors import InputError
from panojax.nn.ir_se import TrunkConfig
from panojax.nn.layers import Numerics


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """One encoder: the W+ stage and the F stage. The defaults are the released sizes."""

    resolution: int = 256
    """Height and width of both stages' input and of the offsets; a power of two, at least 32."""
    n_styles: int = 14
    """Style codes per image: three coarse, four middle, the rest fine."""
    w_dim: int = 512
    """Length of a style code."""
    deltas: bool = False
    """Whether the codes after the first are predicted as differences from it (e4e), or all on their own (pSp)."""
    offset_in_channels: int = 6
    """Channels of the F stage's input: 6 for the rendering and the residual, 9 with the mirrored residual as well."""
    planes_channels: int = 0
    """Channels of the planes that the F stage's head also sees (TriPlaneNet v2); 0 if it sees none."""
    pixel_shuffle: bool = True
    """Whether the F stage doubles its resolution by pixel shuffles; else it repeats pixels, and its decoder is as wide
    as the trunk (TriPlaneNet v2 without `--use_pixelshuffle`)."""
    out_channels: int = 288
    """Channels of the offsets: planes * features * depth, 3 * 32 * 3 in PanoHead."""
    head_width: int = 96
    """Channels inside the F stage's last three convs, which run at full resolution; 96 in the released networks."""
    local_features: int = 0
    """Channels of the local branch's map over the portrait (E3DGE); 0 for no local branch. 32 suits the released
    sizes."""
    local_hidden: int = 64
    """Hidden width of the local branch's layers, which work on points."""
    local_channels: int = 32
    """Channels of a tri-grid lookup, which the local branch scales and shifts; 32 in PanoHead."""
    trunk: TrunkConfig = dataclasses.field(default_factory=TrunkConfig)
    """The trunk, of which each stage has its own copy. The widths of heads and decoder follow from its widths."""
    dtype: str = "float32"
    """Of activations and products: "float32" or "bfloat16". Batch norms compute in float32 either way."""
    param_dtype: str = "float32"
    """Of stored parameters."""
    axis_name: str | None = None
    """The mapped axis over which batch norms average in training; None: over the whole (under `jit`, global) batch."""

    def __post_init__(self):
        if self.resolution < 32 or self.resolution & (self.resolution - 1):
            raise InputError(f"resolution must be a power of two, at least 32, got {self.resolution}")
        positive = ("n_styles", "w_dim", "offset_in_channels", "out_channels", "head_width")
        for name in (*positive, "local_hidden", "local_channels"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("planes_channels", "local_features"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must not be negative, got {getattr(self, name)}")
        Numerics(self.dtype, self.param_dtype)  # checks both

    @property
    def numerics(self) -> Numerics:
        """What the layers need to know of dtypes and axes."""
        return Numerics(self.dtype, self.param_dtype, self.axis_name)


def released(*, dtype: str = "float32") -> EncoderConfig:
    """The released sizes: IR-SE-50 trunks, 256 px, 14 styles of 512, offsets of 288 channels (tri-grid depth 3).

    252 million parameters. Use it with released weights, or to train on FFHQ and LPFF.
    """
    return EncoderConfig(dtype=dtype)


def light(
    *,
    resolution: int = 64,
    n_styles: int = 14,
    w_dim: int = 512,
    out_channels: int = 288,
    offset_in_channels: int = 6,
    head_width: int = 48,
    widths: tuple[int, int, int, int] = (16, 32, 64, 128),
    depths: tuple[int, int, int, int] = (2, 2, 2, 2),
    dtype: str = "float32",
) -> EncoderConfig:
    """A quarter of the released widths and a third of their depths, for small generators, tests and CPUs.

    10 million parameters at 64 px, 12 at 128, 14 at 256, most in the style heads. Released weights do not fit it.
    """
    return EncoderConfig(
        resolution=resolution,
        n_styles=n_styles,
        w_dim=w_dim,
        offset_in_channels=offset_in_channels,
        out_channels=out_channels,
        head_width=head_width,
        trunk=TrunkConfig(depths=depths, widths=widths),
        dtype=dtype,
    )
