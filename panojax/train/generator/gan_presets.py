"""A generator's training run: its configuration and its presets.

    python -m panojax.train.generator PRESET --workdir DIR --data FOLDER ...

Every field of `GeneratorRun` is an option of that command (`--step.blur-kimg 0`); a preset is a set of defaults.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

from panojax.errors import InputError, check_choice
from panojax.generators.generator_config import GeneratorConfig
from panojax.train.generator.gan_config import DiscriminatorConfig, FitConfig, GanConfig
from panojax.train.generator.gan_state import Objective


@dataclasses.dataclass(frozen=True)
class GeneratorRun:
    """One run. The defaults are PanoHead's released setting."""

    workdir: str = ""
    """Folder of the run: checkpoints, log, pictures, and the finished `model/`."""
    data: tuple[str, ...] = ()
    """Folders of `panojax heads`, of pictures in EG3D's layout (`dataset.json`) with masks, and sets with masks that
    `python -m panojax.data` made; mixed by their sizes."""
    masks: str | None = None
    """Folder inside each of those in EG3D's layout with foreground masks; None: their pictures have alpha channels."""
    background: Literal["white", "kept"] = "kept"
    """White behind the head, or what the photos have there; a generator without a background needs white."""
    mirror: bool = True
    """Show every picture mirrored as well, with its camera."""
    back_repeat: int = 4
    """Pictures from behind are shown so many times as often."""
    back_degrees: float = 90.0
    """What counts as behind: yaws beyond this."""
    data_on_device: Literal["auto", "yes", "no"] = "auto"
    """Keep all pictures, as bytes, on each device, where batches are gathered, or in the host's memory."""
    device_gigabytes: float = 30.0
    """"auto" takes the device up to so many gigabytes of pictures."""
    cache_gigabytes: float = 100.0
    """Pictures that are not on the devices are kept in the host's memory up to so many gigabytes; more are read from
    disk for each batch."""
    stage: Literal["gan", "fit"] = "gan"
    """Adversarial training, or the warm start, which reconstructs the data's own heads."""
    model: GeneratorConfig = dataclasses.field(default_factory=GeneratorConfig)
    """The generator."""
    discriminator: DiscriminatorConfig = dataclasses.field(default_factory=DiscriminatorConfig)
    """The discriminator."""
    step: GanConfig = dataclasses.field(default_factory=GanConfig)
    """Losses, schedules and optimisers."""
    fit: FitConfig = dataclasses.field(default_factory=FitConfig)
    """Those of the warm start."""
    start: tuple[str, ...] = ()
    """Where to start from: another run's folder, or the files of a `generator_export`; none: at random."""
    batch: int = 32
    """Real pictures a step, over all devices."""
    kimg: float = 25_000.0
    """Thousands of real pictures that this run shows."""
    minutes: float | None = None
    """Stop after so many minutes of training, with a checkpoint; the same command goes on."""
    seed: int = 0
    """Of everything random."""
    log_every: int = 64
    """Steps between lines of the log; R1 is in each where it is a multiple of its interval."""
    save_every: int = 4_000
    """Steps between checkpoints."""
    picture_every: int = 2_000
    """Steps between pictures; 0 for none."""
    picture_seeds: int = 8
    """Heads in a picture, eight views each."""
    keep: int = 2
    """Newest checkpoints that are kept."""
    distributed: bool = False
    """Join the other processes by `jax.distributed`, which finds them on Slurm, Kubernetes and TPU pods."""
    coordinator: str | None = None
    """Elsewhere: address of process 0, "host:port"."""
    processes: int | None = None
    """Elsewhere: how many there are."""
    process: int | None = None
    """Elsewhere: this one's index."""

    def __post_init__(self):
        check_choice("background", self.background, ("white", "kept"))
        check_choice("stage", self.stage, ("gan", "fit"))
        check_choice("data_on_device", self.data_on_device, ("auto", "yes", "no"))
        for name in ("back_repeat", "batch", "log_every", "save_every", "picture_seeds", "keep"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.kimg <= 0 or (self.minutes is not None and self.minutes <= 0):
            raise InputError(f"kimg and minutes must be positive, got {self.kimg} and {self.minutes}")
        group = min(self.discriminator.group_size, self.batch // self.step.accumulate)
        if self.batch % (self.step.accumulate * max(group, 1)):
            raise InputError(
                f"batch must be a multiple of {self.step.accumulate * group} (accumulate x minibatch-std group), "
                f"got {self.batch}"
            )
        if self.discriminator.resolution > self.model.image_resolution:
            raise InputError(
                f"discriminator.resolution must be at most the generator's {self.model.image_resolution}, "
                f"got {self.discriminator.resolution}"
            )
        if self.background == "kept" and not self.model.background:
            raise InputError('background must be "white" for a generator without a background, got "kept"')

    @property
    def steps(self) -> int:
        """Steps that show `kimg` thousand pictures."""
        return math.ceil(1000 * self.kimg / self.batch)

    @property
    def objective(self) -> Objective:
        """What is static in a step at the final rendering resolution."""
        return Objective(self.model, self.discriminator, self.step)


def panohead512() -> GeneratorRun:
    """PanoHead's released setting: 512 px, 25,000 kimg in batches of 32, meant for eight GPUs.

    python -m panojax.train.generator panohead512 --workdir DIR --data FFHQ LPFF K_HAIRSTYLE --masks masks

    54 million parameters in the generator, 31 million in the discriminator. The second stage renders
    at 128: `--model.rendering-resolution 128 --start DIR`, with a folder of its own.
    """
    return GeneratorRun()


def heads256() -> GeneratorRun:
    """256 px heads of `panojax heads`, rendered at 64; the last of three stages that start from one another.

    python -m panojax.train.generator heads64 --workdir R64 --data HEADS
    python -m panojax.train.generator heads128 --workdir R128 --data HEADS --start R64
    python -m panojax.train.generator heads256 --workdir R256 --data HEADS --start R128

    The generator has 7.63 million parameters (and 0.21 million constants): tri-grid 128 x 128 x 3 of 16 features, z and
    w of 256 numbers, no background but white, no camera adaptation (the heads' cameras are exact) and no camera
    conditioning (who is seen does not depend on from where). In half precision 15.7 MB; with two encoders of the
    encoders' preset `heads`, 35.5 MB.
    """
    return _heads(256, rendering=64, samples=32, superresolution="4X", kimg=2_000.0, batch=32)


def heads128() -> GeneratorRun:
    """The second stage of `heads256`: 128 px, rendered at 64, tri-grid 128."""
    return _heads(128, rendering=64, samples=32, superresolution="2X", kimg=2_000.0, batch=32, r1_weight=0.5)


def heads64() -> GeneratorRun:
    """The first stage of `heads256`: 128 px pictures rendered at 32, judged at 64; tri-grid 64."""
    run = _heads(64, rendering=32, samples=24, superresolution="2X", kimg=4_000.0, batch=64, r1_weight=0.25)
    return dataclasses.replace(
        run,
        model=dataclasses.replace(run.model, plane_resolution=64),
        step=dataclasses.replace(run.step, density_noise_kimg=100.0),
    )


def tiny() -> GeneratorRun:
    """A minute on a CPU: 16 px. It shows that everything runs.

    python -m panojax.train.generator tiny --workdir DIR --data HEADS
    """
    model = GeneratorConfig(
        z_dim=16,
        w_dim=16,
        channel_base=256,
        channel_max=16,
        plane_resolution=8,
        plane_features=8,
        decoder_hidden=16,
        decoder_activation="sigmoid",
        raw_to_rgb=False,
        background=False,
        image_resolution=128,
        superresolution="2X",
        superresolution_channels=(4, 4),
        rendering_resolution=16,
        depth_samples=8,
        importance_samples=8,
        white_back=True,
        camera_pivot=(0.0, 0.0, 0.0),
    )
    return GeneratorRun(
        background="white",
        back_repeat=1,
        model=model,
        discriminator=DiscriminatorConfig(resolution=16, channel_base=256, channel_max=16, clamp=None),
        step=GanConfig(density_noise_kimg=1.0, blur_kimg=0.0, conditioning_swap_kimg=1.0),
        batch=4,
        kimg=1.0,
        log_every=16,
        save_every=100,
        picture_every=100,
        picture_seeds=2,
    )


PRESETS: dict[str, Callable[[], GeneratorRun]] = {
    "panohead512": panohead512,
    "heads256": heads256,
    "heads128": heads128,
    "heads64": heads64,
    "tiny": tiny,
}


def _heads(
    resolution: int,
    *,
    rendering: int,
    samples: int,
    superresolution: str,
    kimg: float,
    batch: int,
    r1_weight: float = 1.0,
) -> GeneratorRun:
    """`r1_weight` falls with the resolution: the squared gradient is a sum over pixels."""
    model = GeneratorConfig(
        z_dim=256,
        w_dim=256,
        channel_base=16384,
        channel_max=256,
        plane_resolution=128,
        plane_features=16,
        decoder_activation="sigmoid",
        raw_to_rgb=False,
        background=False,
        camera_adaptation=False,
        zero_conditioning=True,
        image_resolution=max(resolution, 128),
        superresolution=superresolution,
        superresolution_channels=(128, 64),
        rendering_resolution=rendering,
        ray_start=2.25,
        ray_end=3.2,
        depth_samples=samples,
        importance_samples=samples,
        white_back=True,
        camera_pivot=(0.0, 0.0, 0.0),
        dtype="bfloat16",
    )
    return GeneratorRun(
        background="white",
        back_repeat=1,
        model=model,
        discriminator=DiscriminatorConfig(
            resolution=resolution, channel_base=8192, channel_max=256, dtype="bfloat16", low_precision=5
        ),
        step=GanConfig(
            r1_weight=r1_weight,
            r1_mask_weight=r1_weight,
            density_noise_kimg=0.0,
            blur_kimg=0.0,
            noise="none",
            fresh_fakes=False,
        ),
        batch=batch,
        kimg=kimg,
    )
