"""What the generator's training optimises: the discriminator's sizes and the configuration of one step.

The defaults are PanoHead's released setting. Counts of pictures are in kimg, thousands of real pictures shown.
"""

import dataclasses
from typing import Literal

from panojax.errors import InputError, check_choice
from panojax.train.generator.discriminator import TriDiscriminator


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig:
    """Sizes of the tri-discriminator."""

    resolution: int = 512
    """Side of the pictures that are judged; larger ones of the generator are pooled to it."""
    channel_base: int = 32768
    """At resolution r it has min(channel_base // r, channel_max) channels."""
    channel_max: int = 512
    """See `channel_base`."""
    clamp: float | None = 256.0
    """Convolutions' outputs are clipped to this range."""
    group_size: int = 4
    """Samples per group of the minibatch standard deviation; the batch must divide by it."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute type of the `low_precision` finest blocks; the others are float32."""
    low_precision: int = 4
    """See `dtype`."""

    def network(self, c_dim: int) -> TriDiscriminator:
        """The module, for camera labels of `c_dim` numbers."""
        return TriDiscriminator(c_dim=c_dim, **dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """The warm start: reconstruction of the data's own heads."""

    image: float = 1.0
    """Weight of the absolute difference of the pictures, averaged over `levels`."""
    raw: float = 1.0
    """Weight of the squared difference of the raw pictures."""
    mask: float = 1.0
    """Weight of the squared difference of the masks."""
    depth: float = 1.0
    """Weight of the absolute difference of the depths, in world units; sets of `panojax heads` have them."""
    levels: int = 3
    """Pictures are compared at so many resolutions, each half the one before."""
    learning_rate: float = 0.002
    """Of the generator."""
    code_learning_rate: float = 0.01
    """Of the heads' latents."""
    heads: int = 0
    """Latents; set from the data."""


@dataclasses.dataclass(frozen=True)
class GanConfig:
    """One step of generator and discriminator."""

    learning_rate: float = 0.0025
    """Of the generator's Adam, before the correction for lazy regularisation."""
    generator_wait: int = 0
    """So many steps the generator stays as it is while the discriminator learns, where that starts at random or is an
    earlier one's; one that grows from a smaller run's keeps what it knows (`discriminator.grow`) and needs none."""
    generator_warmup: int = 0
    """Over so many steps after that the generator's learning rate grows from 0."""
    discriminator_learning_rate: float = 0.002
    """Likewise of the discriminator's."""
    r1_weight: float = 1.0
    """Gamma: R1 on picture and raw picture is half of this times the squared gradient."""
    r1_mask_weight: float = 1.0
    """Likewise on the mask."""
    r1_interval: int = 16
    """R1 is an update of its own at every so many steps, times as much."""
    adaptation_weight: float = 10.0
    """Of the camera self-adaptation's squared mean translation."""
    density_weight: float = 0.0
    """Of the total variation of the densities, |density(x) - density(x + offset)|; 0 in the released setting."""
    density_interval: int = 4
    """The total variation is an update of its own at every so many steps, times as much. The generator's Adam is
    corrected for it where its weight is not 0."""
    density_distance: float = 0.004
    """Standard deviation of the offsets, in world units."""
    density_points: int = 1000
    """Points a head."""
    density_region: Literal["cube", "box"] = "cube"
    """Where these lie: in [-1, 1]^3 whatever the box, as the original draws them; or in the box that the planes cover,
    so that each counts (ours: in a box of side 1, 8 times as many of them, and a penalty some 6 times as large)."""
    conditioning_swap: float = 0.7
    """Chance that a head is conditioned on the camera of another sample of the batch, once it has fallen from 1. (The
    released file's name says 0.8.)"""
    conditioning_swap_kimg: float = 1000.0
    """It falls linearly over so many kimg; 0: from the start."""
    background_swap: float = 0.2
    """Chance that a head stands before the background of another sample of the batch."""
    style_mixing: float = 0.0
    """Chance that a batch's finer codes, from a random layer on, come from other latents."""
    density_noise: float = 1.0
    """Standard deviation of the noise on densities at the start."""
    density_noise_kimg: float = 200.0
    """It fades linearly over so many kimg; 0: there is none."""
    blur_sigma: float = 10.0
    """Width, in pixels, of the blur of what is judged, at the start."""
    blur_kimg: float = 200.0
    """It fades linearly over so many kimg at batch 32, in proportion to the batch; 0: there is none."""
    blur: Literal["panohead", "even"] = "panohead"
    """How: "panohead" filters final pictures, real and made, and the real raw ones by exp2(-(x / width)^2) cut at 3
    widths, black beyond the border, and takes R1 by the filtered pictures. "even" (ours) treats made raw pictures as
    real ones, so that blur does not tell them apart, by a Gaussian that is normalised at the border, and takes R1 by
    the pictures themselves."""
    rendering_start: int | None = None
    """Rendering resolution at the start; None: the generator's own throughout."""
    rendering_kimg: float = 1000.0
    """Over so many kimg it grows linearly to the generator's own, in multiples of 8 (each compiles anew)."""
    ema_kimg: float = 10.0
    """Half-life of the averaged generator at batch 32; in proportion to the batch."""
    ema_rampup: float = 0.05
    """It is at most this share of the pictures shown so far."""
    w_average_decay: float = 0.998
    """Of the running means of style codes and of camera translations, which truncation uses."""
    noise: Literal["random", "const", "none"] = "random"
    """Noise of the backbone and the background."""
    fresh_fakes: bool = True
    """The discriminator judges heads of new latents by the updated generator. False: those of the generator's own
    half of the step, which is cheaper by one pass of the generator."""
    accumulate: int = 1
    """The batch is worked through in so many equal parts, whose gradients are averaged. Swaps and groups of the
    minibatch standard deviation stay within a part."""
    recompute: bool = False
    """Keep no activations of the tri-grid's lookups for the backward pass: less memory, slower."""

    def __post_init__(self):
        check_choice("noise", self.noise, ("random", "const", "none"))
        check_choice("blur", self.blur, ("panohead", "even"))
        check_choice("density_region", self.density_region, ("cube", "box"))
        for name in ("r1_interval", "density_interval", "density_points", "accumulate"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("generator_wait", "generator_warmup"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("learning_rate", "discriminator_learning_rate", "ema_kimg"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("conditioning_swap", "background_swap", "style_mixing", "w_average_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        for field in dataclasses.fields(self):
            if field.name.endswith(("_weight", "_kimg", "_sigma", "density_noise")) and getattr(self, field.name) < 0:
                raise InputError(f"{field.name} must not be negative, got {getattr(self, field.name)}")
        if self.rendering_start is not None and self.rendering_start < 8:
            raise InputError(f"rendering_start must be at least 8, got {self.rendering_start}")
