"""What the encoders' training optimises: the configuration of one step."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from panojax.errors import InputError, check_choice
from panojax.losses.terms import PAPER, EncoderWeights
from panojax.train.encoder.proxy import ProxyWeights

RENDERER = "renderer"
"""Name, among an encoder's networks, of the generator's parts that learn with it."""


@dataclasses.dataclass(frozen=True)
class StepConfig:
    """One step of an encoder, and of its critic if it has one. The defaults are the paper's encoder 1."""

    space: Literal["w+", "z+", "z"] = "w+"
    """What the W+ stage predicts: codes relative to the mean w, or latents that the mapping turns into codes (one for
    each layer, or one for all), at the front camera with truncation 0.85 (paper, Table 4 and appendix A)."""
    offsets: bool = True
    """Whether there is an F stage. False is pSp; the paper's encoders into Z and Z+ have none either."""
    learn: str = "all"
    """What learns: all networks ("all"), or the one of a stage of the encoder by its name, or the local branch's
    ("local", `encoder.local_features`). The others stay as they started, and stages after it do not run."""
    tune: tuple[Literal["decoder", "superresolution"], ...] = ()
    """Parts of the generator that learn as well, towards photos: see `encoder.tuning`. Not beside a critic."""
    tune_scale: float = 0.5
    """Their steps are so many times the encoder's."""
    release: tuple[tuple[int, int], ...] = ()
    """Pairs of a step and a number: from that step on so many style codes are their own; before, and until the first
    pair, the rest are the first code. None: all are, or as `delta_start` says (e4e)."""
    critic: Literal["none", "image", "trigrid", "trigrid-occluded", "trigrid-beside", "codes"] = "none"
    """What judges the encoded heads (paper, Table 3): nothing (encoder 1), pictures of them from cameras all around,
    their tri-grids, or their tri-grids where the portrait does not see (encoder 2). "trigrid-beside" (ours) shows these
    beside a coarse mean of what the portrait sees, so that hair of another colour is told apart. "codes" judges their
    style codes, each on its own (e4e)."""
    critic_space: Literal["z+", "z"] = "z+"
    """Latents of the heads that the critic takes for real: one for each layer, as in the paper, or one for all."""
    critic_widths: tuple[int, ...] = (64, 128, 256, 512)
    """Features of its convolutions but the last (paper, Table 6)."""
    losses: tuple[tuple[str, float, Callable[..., Any]], ...] = ()
    """Losses of your own, (name, weight, function of `objective.Rendered`); from Python, not from the command line."""
    weights: EncoderWeights = PAPER
    """Weights of LPIPS, L2 and identity on the final picture (paper, Eq. 5)."""
    loss_resolution: int = 256
    """Side of the pictures that are compared, pooled from the generator's."""
    style_weight: float = 0.0
    """Weight of the same loss on the W+ stage's own picture. The paper's Eq. 5 has none; TriPlaneNet gives both
    pictures the loss."""
    proxy: ProxyWeights = dataclasses.field(default_factory=ProxyWeights)
    """Losses of the generator's samples in the batch, besides those that photos have (E3DGE)."""
    view_weight: float = 0.0
    """Weight of the same loss at another true view of the head, which folders of `panojax heads` have: for the first
    half of the photos in a batch. These keep their light, but for `augment.both_views`."""
    mirror_weight: float = 0.0
    """Share of `view_weight` for photos without another view: their mirrored picture is one, times the angle between
    both cameras, at most 1 radian."""
    identity_yaw: float = 180.0
    """Identities are compared from cameras within so many degrees of the front: from behind there is no face."""
    rendered: bool = True
    """Whether heads are rendered and compared. False: of samples alone, all of them proxies, the style codes are
    learned: a start for a run that renders, at several times as many samples a second."""
    delta_weight: float = 0.0
    """Weight of the summed distances of the style codes from the first one (e4e)."""
    delta_start: int = 20_000
    """Where the encoder predicts its codes as differences from the first (`encoder.deltas`): steps after which the
    second code may differ. Until then all are the first one."""
    delta_interval: int = 2_000
    """Every so many steps after that, the next code may differ."""
    adversarial_weight: float = 0.001
    """Weight of the encoder's adversarial loss (paper, Eq. 6)."""
    r1_weight: float = 10.0
    """The critic's R1 penalty is half of this times the squared gradient."""
    r1_interval: int = 16
    """R1 is computed every so many steps, times as much."""
    mask_threshold: float = 0.5
    """Opacity above which a pixel of the encoder's rendering is a surface that the portrait sees."""
    learning_rate: float = 1e-4
    """Of the encoder."""
    critic_learning_rate: float = 1e-4
    """Of the critic."""
    decay_start: int = 0
    """Step from which both learning rates fall, if `decay_steps` is not 0."""
    decay_steps: int = 0
    """Over so many steps they fall to 0, along half a cosine; 0 keeps them as they are."""
    centralized: bool = True
    """Whether Ranger centralises the gradients of kernels."""
    accumulate: int = 1
    """The batch is worked through in so many equal parts; their gradients are averaged. Batch norms see the parts."""
    jitter: bool = True
    """Draw the samples along the final picture's rays at random in their strata, not at the middles."""
    recompute: bool = False
    """Keep neither the networks' nor the renderer's activations for the backward pass: less memory, a third slower."""
    freeze_batch_norm: bool = False
    """Normalise with the running statistics and leave them as they are, to fine-tune with very small batches."""

    def __post_init__(self):
        check_choice("space", self.space, ("w+", "z+", "z"))
        if list(self.release) != sorted(self.release) or any(step < 0 or codes < 1 for step, codes in self.release):
            raise InputError(f"release must be pairs of a step and a number of codes, both rising, got {self.release}")
        critics = ("none", "image", "trigrid", "trigrid-occluded", "trigrid-beside", "codes")
        check_choice("critic", self.critic, critics)
        check_choice("critic_space", self.critic_space, ("z+", "z"))
        for part in self.tune:
            check_choice("tune", part, ("decoder", "superresolution"))
        if len(set(self.tune)) < len(self.tune) or (self.tune and (self.critic != "none" or not self.rendered)):
            raise InputError(
                "tune must name parts once, of a step that renders and has no critic, got "
                f"{', '.join(self.tune)} with critic {self.critic!r} and rendered {self.rendered}"
            )
        if self.tune and self.space != "w+":
            raise InputError(f"tune must be empty in space {self.space}: only encoders into W+ make a model")
        if self.tune_scale <= 0:
            raise InputError(f"tune_scale must be positive, got {self.tune_scale}")
        if not 0 <= self.mirror_weight <= 1:
            raise InputError(f"mirror_weight must be between 0 and 1, got {self.mirror_weight}")
        if not 0 < self.identity_yaw <= 180:
            raise InputError(f"identity_yaw must be above 0 and at most 180, got {self.identity_yaw}")
        for name in ("accumulate", "r1_interval", "loss_resolution", "delta_interval"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "critic_learning_rate"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("decay_start", "decay_steps"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.offsets and self.space != "w+":
            raise InputError(f"space {self.space} goes with offsets False: an F stage leaves the generator's range")
        if not self.rendered and (not self.proxy.code or self.critic != "none" or self.learn != "all"):
            raise InputError(
                "rendered False needs a weight proxy.code, no critic and learn all, got "
                f"{self.proxy.code}, {self.critic!r} and {self.learn!r}: nothing but codes is learned"
            )
        if self.style_weight and not self.offsets:
            raise InputError("style_weight must be 0 without an F stage: there is one picture only")
