"""Presets of the encoders' training: sets of defaults for `RunConfig`.

python -m panojax.train.encoder PRESET --workdir DIR --stage e1 ...
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from panojax.data.augment import photos
from panojax.data.drawn import SampleConfig
from panojax.encoders.encoder_config import light, released
from panojax.encoders.goae import GoaeEncoder, small
from panojax.losses.terms import EncoderWeights
from panojax.train.encoder.proxy import ProxyWeights
from panojax.train.encoder.run_config import RunConfig
from panojax.train.encoder.step_config import StepConfig


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


def heads2() -> RunConfig:
    """The second edition's: light encoders that read 128 px, and photos from all around; the losses see every side.

    python -m panojax.train.encoder heads2 --workdir DIR --generator HEADS256 --data HEADS REAL --shares 7 1 --masks .

    For `heads256` they have 8.0 million parameters each. Half of the drawn heads are also compared from another
    true side, in the same light, and all samples are; real portraits (a folder in EG3D's layout) from their mirrored
    side, weakly. Coarse colours count by themselves: what no view shows had no colour of its own to keep, and in the
    first edition turned dark.
    """
    weights = EncoderWeights(colour=0.5)
    proxy = ProxyWeights(code=0.1, depth=0.5, view=1.0)
    return dataclasses.replace(
        heads(),
        batch=32,
        steps=100_000,
        encoder=light(resolution=128, widths=(32, 64, 96, 96), depths=(2, 3, 4, 3), head_width=64),
        max_yaw=180.0,
        near_repeat=3,
        sample_ratio=0.25,
        samples=SampleConfig(latent="z", truncation=0.8, yaw_degrees=180.0, yaw_power=1.6),
        augment=dataclasses.replace(photos(), both_views=True),
        dtype="bfloat16",
        step=dataclasses.replace(
            heads().step,
            critic_space="z",
            identity_yaw=75.0,
            mirror_weight=0.2,
            proxy=proxy,
            view_weight=1.0,
            weights=weights,
        ),
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
    "heads2": heads2,
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
