"""A training run's configuration.

    python -m panojax.train.encoder PRESET --workdir DIR --stage e1 ...

Every field of `RunConfig` is an option of that command (`--step.learning-rate 2e-4`); a preset is a set of defaults.
"""

import dataclasses
from typing import Literal

from panojax.data.augment import AugmentConfig
from panojax.data.drawn import SampleConfig
from panojax.encoders.encoder_config import EncoderConfig, released
from panojax.encoders.goae import GoaeEncoder
from panojax.errors import InputError, check_choice
from panojax.inversion.stages import stages_of
from panojax.train.encoder.step_config import StepConfig


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """One stage of training. The defaults are the paper's encoder 1."""

    workdir: str = ""
    """Folder of the run: `e1/` and `e2/` with checkpoints, log and pictures, and the finished `model/`."""
    stage: Literal["e1", "e2"] = "e1"
    """Encoder 1 (visible) or 2 (occluded). Encoder 2 gets the critic "trigrid-occluded" if `step.critic` is "none" and
    `plain_e2` is not set."""
    plain_e2: bool = False
    """Train encoder 2 without a critic (paper, Table 3, first row)."""
    generator: str = "default"
    """Checkpoint folder of the generator, as `panojax convert` writes it, "default" or "random"."""
    data: tuple[str, ...] = ()
    """Folders of pictures in EG3D's layout (`dataset.json`), of `panojax heads`, and sets that `python -m
    panojax.data` made; mixed by their sizes. None: the generator's samples alone."""
    masks: str | None = None
    """Folder inside each data folder with foreground masks; None: alpha channels, or no background. Prepared sets have
    their own."""
    shares: tuple[float, ...] = ()
    """How many pictures of each data folder come for one another, in the folders' order; none: as many as there are.
    """
    mirror: bool = True
    """Mirror half of the pictures, with their cameras."""
    held_out: float = 0.1
    """Share of the pictures that is only validated on; prepared sets and heads have splits of their own."""
    max_copies: float = 6.0
    """Photos of rare yaws are shown up to so many times as often as others (LPFF's rebalancing); 1 shows all alike, as
    heads always are."""
    max_yaw: float = 180.0
    """Pictures of `panojax heads` from farther around than so many degrees are left out."""
    near_repeat: int = 1
    """Pictures of `panojax heads` from within 60 degrees of the front are shown so many times as often as others."""
    cache_gigabytes: float = 16.0
    """Pictures stay in memory once they were read, as bytes at the loss's resolution, where all of them take no more
    than this."""
    sample_ratio: float = 0.0
    """Share of each batch that is drawn from the generator (paper, Table 4: "Real imgs. + Z+"); 1 without `data`."""
    samples: SampleConfig = dataclasses.field(default_factory=SampleConfig)
    """Which samples these are."""
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    """Other light, and damage that the encoder is to see through; the defaults change nothing."""
    encoder: EncoderConfig | GoaeEncoder = dataclasses.field(default_factory=released)
    """The encoder's sizes; codes and offsets are fitted to the generator."""
    step: StepConfig = dataclasses.field(default_factory=StepConfig)
    """Losses, critic and optimiser."""
    lpips: Literal["alex", "vgg", "none"] = "alex"
    """Network of the perceptual loss."""
    identity: str = "sface"
    """Network of the identity loss: "sface", the path of `model_ir_se50.pth` (the paper's ArcFace), or "none"."""
    start: str | None = None
    """Stage folder whose best encoder this one starts from (encoder 2 from `DIR/e1`, say), or a model's, of which it is
    the stage's own; None: at random. Or the name of a stage's export, NAME for NAME.000, NAME.001, ...: one of the same
    stage goes on, at its step and with its optimiser and critic (`encoder_export`)."""
    occluded: str | None = None
    """Stage folder or model of a finished encoder 2: the local branch, learning alone, then sees the heads of both
    encoders stitched, as inversion has them; None: encoder 1's."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of activations and products; parameters, batch norms, marching and losses are float32 either way."""
    batch: int = 3
    """Pictures a step, over all devices."""
    steps: int = 500_000
    """Steps of the stage."""
    minutes: float | None = None
    """Stop after so many minutes of training, with a checkpoint; the same command goes on."""
    seed: int = 0
    """Of everything random."""
    log_every: int = 50
    """Steps between lines of the log."""
    save_every: int = 5_000
    """Steps between checkpoints; before each, the encoder is validated."""
    picture_every: int = 5_000
    """Steps between pictures; 0 for none."""
    validation_batches: int = 32
    """Batches of the held-out part that are validated on."""
    keep: int = 2
    """Newest checkpoints that are kept, besides the best one."""
    divergence: float = 10.0
    """The run stops where the logged loss is this many times the lowest so far."""
    distributed: bool = False
    """Join the other processes by `jax.distributed`, which finds them on Slurm, Kubernetes and TPU pods."""
    coordinator: str | None = None
    """Elsewhere: address of process 0, "host:port"."""
    processes: int | None = None
    """Elsewhere: how many there are."""
    process: int | None = None
    """Elsewhere: this one's index."""

    def __post_init__(self):
        check_choice("stage", self.stage, ("e1", "e2"))
        check_choice("dtype", self.dtype, ("float32", "bfloat16"))
        for name in ("batch", "steps", "log_every", "save_every", "validation_batches", "keep", "near_repeat"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.sample_ratio <= 1:
            raise InputError(f"sample_ratio must be between 0 and 1, got {self.sample_ratio}")
        if self.shares and (len(self.shares) != len(self.data) or min(self.shares) <= 0):
            raise InputError(f"shares must be positive, one a data folder, got {self.shares} for {len(self.data)}")
        if self.max_copies < 1:
            raise InputError(f"max_copies must be at least 1, got {self.max_copies}")
        if not 0 < self.max_yaw <= 180:
            raise InputError(f"max_yaw must be above 0 and at most 180, got {self.max_yaw}")
        if self.minutes is not None and self.minutes <= 0:
            raise InputError(f"minutes must be positive, got {self.minutes}")
        if self.divergence <= 1:
            raise InputError(f"divergence must be above 1, got {self.divergence}")
        if self.stage == "e1" and self.step.critic not in ("none", "codes"):
            raise InputError(f"encoder 1 has no such critic, got step.critic {self.step.critic!r}: say stage e2")
        branch = getattr(self.encoder, "local_features", 0)
        if self.step.learn == "local" and not branch:
            raise InputError('step.learn "local" needs a local branch, got encoder.local_features 0')
        if self.step.tune and self.stage == "e2":
            raise InputError(f"step.tune goes with stage e1, got {', '.join(self.step.tune)} with e2")
        self._check_learner()
        if self.occluded is not None and (self.stage, self.step.learn) != ("e1", "local"):
            raise InputError(f"occluded goes with stage e1 and learn local, got {self.stage} and {self.step.learn}")
        if branch and self.step.space != "w+":
            raise InputError(
                f"encoder.local_features must be 0 in space {self.step.space}: it leaves the generator's range"
            )
        if self.step.proxy.enabled and not self.drawn:
            raise InputError("step.proxy needs samples of the generator in the batch, got sample_ratio 0")
        if not self.step.rendered and self.drawn < self.batch:
            raise InputError(
                f"step.rendered False needs sample_ratio 1, got {self.sample_ratio}: a photo's codes are not known"
            )

    def _check_learner(self) -> None:
        """That what learns alone is a stage, and stands on ones that learned."""
        if self.step.learn in ("all", "local"):
            return
        names = [stage.name for stage in stages_of(self.encoder, space=self.step.space, offsets=self.step.offsets)]
        if self.step.learn not in names:
            raise InputError(f"step.learn must be all, local or one of {', '.join(names)}, got {self.step.learn!r}")
        if self.step.learn != names[0] and self.start is None:
            raise InputError(
                f"step.learn {self.step.learn} needs start, a run or a model in which {names[0]} has learned, got none"
            )

    @property
    def objective(self) -> StepConfig:
        """`step`, with encoder 2's critic."""
        if self.stage == "e1" or self.plain_e2 or self.step.critic != "none":
            return self.step
        return dataclasses.replace(self.step, critic="trigrid-occluded")

    @property
    def drawn(self) -> int:
        """Samples of the generator in each batch."""
        return self.batch if not self.data else round(self.sample_ratio * self.batch)
