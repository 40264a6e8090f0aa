"""A training run's configuration and its presets.

    python -m panojax.train.encoder PRESET --workdir DIR --stage e1 ...

Every field of `RunConfig` is an option of that command (`--step.learning-rate 2e-4`); a preset is a set of defaults.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from panojax.data.augment import AugmentConfig, photos
from panojax.data.drawn import SampleConfig
from panojax.encoders.encoder_config import EncoderConfig, light, released
from panojax.encoders.goae import GoaeEncoder, small
from panojax.errors import InputError, check_choice
from panojax.inversion.stages import stages_of
from panojax.losses.terms import EncoderWeights
from panojax.train.encoder.proxy import ProxyWeights
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
    mirror: bool = True
    """Mirror half of the pictures, with their cameras."""
    held_out: float = 0.1
    """Share of the pictures that is only validated on; prepared sets and heads have splits of their own."""
    max_copies: float = 6.0
    """Photos of rare yaws are shown up to so many times as often as others (LPFF's rebalancing); 1 shows all alike, as
    heads always are."""
    max_yaw: float = 180.0
    """Pictures of `panojax heads` from farther around than so many degrees are left out."""
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
    the stage's own; None: at random."""
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
        for name in ("batch", "steps", "log_every", "save_every", "validation_batches", "keep"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.sample_ratio <= 1:
            raise InputError(f"sample_ratio must be between 0 and 1, got {self.sample_ratio}")
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
        self._check_learner()
        if self.occluded is not None and (self.stage, self.step.learn) != ("e1", "local"):
            raise InputError(f"occluded goes with stage e1 and learn local, got {self.stage} and {self.step.learn}")
        if branch and self.step.space != "w+":
            raise InputError(
                f"encoder.local_features must be 0 in space {self.step.space}: it leaves the generator's range"
            )
        if self.step.proxy.enabled and not self.drawn:
            raise InputError("step.proxy needs samples of the generator in the batch, got sample_ratio 0")
        if self.step.view_weight and self.drawn == self.batch:
            raise InputError("step.view_weight needs photos in the batch, got data () or sample_ratio 1")
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


def paper() -> RunConfig:
    """The paper's setting: FFHQ and LPFF, 500k steps of 3 pictures, learning rate 1e-4.

    python -m panojax.train.encoder paper --workdir DIR --generator PANOHEAD --data FFHQ LPFF --stage e1
    python -m panojax.train.encoder paper --workdir DIR --generator PANOHEAD --data FFHQ LPFF --stage e2

    Expect LPIPS 0.10 and L2 0.017 of the dual encoder on held-out pictures (Table 1). `--identity model_ir_se50.pth`
    gives the paper's identity loss.
    """
    return RunConfig()


def large_batch() -> RunConfig:
    """32 pictures a step in bfloat16 and a learning rate of 3e-4, for one large GPU or several.

    50k steps see as many pictures as the paper's 500k.

    python -m panojax.train.encoder large-batch --workdir DIR --generator PANOHEAD --data FFHQ LPFF --stage e1
    """
    return RunConfig(
        batch=32,
        steps=50_000,
        dtype="bfloat16",
        save_every=1_000,
        picture_every=1_000,
        step=StepConfig(learning_rate=3e-4, critic_learning_rate=3e-4, recompute=True),
    )


def heads() -> RunConfig:
    """A generator of 256 px heads and light encoders that read 64 px, for the synthetic heads of `panojax.synthetic`.

    python -m panojax.train.encoder heads --workdir DIR --generator HEADS --data HEADS_FOLDER --stage e1

    The light encoders start at random and train on half real pictures and half samples, whose heads are seen from
    all sides in front, both augmented as photos are. For `heads256` they have 4.95 million parameters each: with it
    35.5 MB in half precision. The critic's word has 50 times the paper's weight: in some thousand steps 0.001 would
    hardly be heard.
    """
    return RunConfig(
        batch=16,
        steps=40_000,
        encoder=light(resolution=64, widths=(16, 32, 64, 96)),
        max_yaw=90.0,
        sample_ratio=0.5,
        samples=SampleConfig(latent="z", truncation=0.8),
        augment=photos(),
        save_every=1_000,
        picture_every=1_000,
        step=StepConfig(learning_rate=3e-4, critic_learning_rate=3e-4, style_weight=0.5, adversarial_weight=0.05),
    )


def psp() -> RunConfig:
    """The baseline pSp (Richardson et al. 2021): the W+ stage alone, otherwise as `paper`.

    python -m panojax.train.encoder psp --workdir DIR --generator PANOHEAD --data FFHQ LPFF

    The dual encoder's Table 1 has LPIPS 0.15, L2 0.028.
    """
    return RunConfig(step=StepConfig(offsets=False))


def e4e() -> RunConfig:
    """The baseline e4e (Tov et al. 2021): codes as differences from the first, released one by one, and their critic.

    python -m panojax.train.encoder e4e --workdir DIR --generator PANOHEAD --data FFHQ LPFF

    The weights 2e-4 of the differences and 0.1 of the critic, its rate 2e-5 and the release of a code every 2,000 steps
    from step 20,000 on are the authors'. Their critic sees a pool of earlier codes, ours the batch's.

    The dual encoder's Table 1 has LPIPS 0.24, L2 0.064.
    """
    return RunConfig(
        encoder=dataclasses.replace(released(), deltas=True),
        step=StepConfig(
            offsets=False, critic="codes", adversarial_weight=0.1, delta_weight=2e-4, critic_learning_rate=2e-5
        ),
    )


def triplanenet_v1() -> RunConfig:
    """The baseline TriPlaneNet v1 (Bhattarai et al. 2024): encoder 1's networks, and the loss on both pictures.

    python -m panojax.train.encoder triplanenet-v1 --workdir DIR --generator PANOHEAD --data FFHQ LPFF
    """
    return RunConfig(step=StepConfig(style_weight=1.0))


def triplanenet() -> RunConfig:
    """The baseline TriPlaneNet v2 (Bhattarai et al. 2024): mirrored residual, planes seen by the F stage, both losses.

    python -m panojax.train.encoder triplanenet --workdir DIR --generator PANOHEAD --data FFHQ LPFF

    The dual encoder's Table 1 has LPIPS 0.10, L2 0.017.
    """
    encoder = dataclasses.replace(released(), offset_in_channels=9, planes_channels=288)
    return RunConfig(encoder=encoder, step=StepConfig(style_weight=1.0))


def tiny() -> RunConfig:
    """Minutes on a CPU: a small random generator's own samples, L2 alone. It shows that everything runs.

    python -m panojax.train.encoder tiny --workdir DIR
    """
    return RunConfig(
        generator="random",
        batch=4,
        steps=200,
        encoder=light(resolution=32, widths=(16, 16, 16, 16), depths=(1, 1, 1, 1), head_width=16),
        samples=SampleConfig(latent="z", yaw_degrees=20.0, pitch_degrees=5.0),
        lpips="none",
        identity="none",
        log_every=10,
        save_every=100,
        picture_every=100,
        validation_batches=1,
        step=StepConfig(
            weights=EncoderWeights(lpips=0.0, l2=1.0, identity=0.0),
            loss_resolution=64,
            learning_rate=2e-3,
            critic_learning_rate=3e-3,
            critic_widths=(32, 64, 64, 64),
        ),
    )


def e3dge() -> RunConfig:
    """E3DGE (Lan et al. 2023) on a tri-grid: `paper` with a local branch, and a third of each batch proxies.

    python -m panojax.train.encoder e3dge --workdir DIR --generator PANOHEAD --data FFHQ LPFF --stage e1

    The proxies' codes, geometry and second views teach what photos, of which one view is known, cannot. The log's
    `proxy/view` tells whether the branch's detail also serves where the camera moved.
    """
    return RunConfig(
        encoder=dataclasses.replace(released(), local_features=32),
        sample_ratio=1 / 3,
        step=StepConfig(proxy=ProxyWeights(code=1.0, density=0.1, feature=0.1, depth=1.0, view=1.0)),
    )


def tiny_e3dge() -> RunConfig:
    """`tiny` with a local branch, and proxies alone: minutes on a CPU, to see that it learns.

    python -m panojax.train.encoder tiny-e3dge --workdir DIR
    """
    run = tiny()
    encoder: Any = run.encoder
    weights = ProxyWeights(code=1.0, density=0.1, feature=0.1, depth=1.0, view=1.0, points=64)
    return dataclasses.replace(
        run,
        encoder=dataclasses.replace(encoder, local_features=8, local_hidden=16),
        step=dataclasses.replace(run.step, proxy=weights),
    )


def goae() -> RunConfig:
    """The baseline GOAE (Yuan et al. 2023): codes by a transformer, then another feature map in the backbone.

    python -m panojax.train.encoder goae --workdir DIR --generator PANOHEAD --data FFHQ LPFF
    python -m panojax.train.encoder goae --workdir AFA --generator PANOHEAD --data FFHQ LPFF \
        --step.learn goae_features --start DIR/e1

    The first command trains the codes: their base alone, then coarse, mid and fine ones, released at `step.release`.
    The second trains AFA, with the codes as they are. When each group comes is ours: the authors' code has options.

    The dual encoder's Table 1 has LPIPS 0.09, L2 0.015 and a Frechet distance of 169, the best and the worst there.
    """
    release = ((20_000, 4), (40_000, 7), (60_000, 14))
    return RunConfig(encoder=GoaeEncoder(), step=StepConfig(learn="goae_codes", release=release))


def tiny_goae() -> RunConfig:
    """`tiny` with GOAE's encoder: minutes on a CPU.

    python -m panojax.train.encoder tiny-goae --workdir DIR
    python -m panojax.train.encoder tiny-goae --workdir AFA --step.learn goae_features --start DIR/e1
    """
    run = tiny()
    step = dataclasses.replace(run.step, learn="goae_codes", release=((40, 4), (70, 7), (100, 14)))
    return dataclasses.replace(run, encoder=small(), step=step)


PRESETS: dict[str, Callable[[], RunConfig]] = {
    "paper": paper,
    "large-batch": large_batch,
    "heads": heads,
    "psp": psp,
    "e4e": e4e,
    "triplanenet-v1": triplanenet_v1,
    "triplanenet": triplanenet,
    "e3dge": e3dge,
    "goae": goae,
    "tiny": tiny,
    "tiny-e3dge": tiny_e3dge,
    "tiny-goae": tiny_goae,
}
