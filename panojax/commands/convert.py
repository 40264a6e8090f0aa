"""`panojax convert`: from PyTorch checkpoints to one of ours."""

import dataclasses
import pathlib
from typing import Annotated, Literal

import tyro


@dataclasses.dataclass(frozen=True)
class Options:
    """Convert PanoHead's or EG3D's checkpoint, with two encoders where they are given, without PyTorch.

    Nothing in the files is executed, and nothing is written unless everything fits. Options that change what a network
    computes and that ours lacks are refused by name: docs/converting.md lists them all.

    For example:
        panojax convert network.pkl --out panohead
    """

    ckpt: Annotated[pathlib.Path, tyro.conf.Positional, tyro.conf.arg(metavar="CKPT")]
    """Network pickle of the generator (.pkl), or TriPlaneNet's file of one."""
    out: pathlib.Path
    """Checkpoint folder, new or empty."""
    visible: pathlib.Path | None = None
    """File of the encoder that is faithful to the photo (.pt); it comes with --occluded."""
    occluded: pathlib.Path | None = None
    """File of the encoder that fills what the photo does not show."""
    latent_average: pathlib.Path | None = None
    """Mean style code that the encoders start from (.pt or .npy); by default the encoders' files' own, or else computed
    from the generator. GOAE's codes start from the generator's own."""
    goae: pathlib.Path | None = None
    """File of GOAE's encoder (encoder_FFHQ.pt), in place of the two."""
    afa: pathlib.Path | None = None
    """File of GOAE's network that changes the backbone's features (afa_FFHQ.pt); it comes with --goae."""
    network: str = "G_ema"
    """Which network of the pickle."""
    plane_axes: Literal["panohead", "eg3d", "eg3d-fixed"] | None = None
    """How coordinates run along the planes; by default as the pickle's renderer has it, and of files without one as in
    PanoHead or in EG3D's first networks."""


def run(options: Options) -> None:
    """Runs the command. InputError says what is wrong with its input; nothing is written then."""
    import panojax
    from panojax.params import count
    from panojax.terminal.progress import step

    with step("converting", {}):
        params = panojax.convert(
            options.ckpt,
            options.out,
            visible=options.visible,
            occluded=options.occluded,
            latent_average=options.latent_average,
            goae=options.goae,
            afa=options.afa,
            network=options.network,
            plane_axes=options.plane_axes,
        )
    parts = "generator and encoders" if params.encoders is not None else "generator"
    print(f"{options.out}: {parts}, {(count(params.generator) + count(params.encoders)) / 1e6:.1f} million numbers")
