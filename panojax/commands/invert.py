"""`panojax invert`: from a photo to a head, seen from all sides."""

import dataclasses
import pathlib
from typing import Annotated, Any, Literal

import tyro

from panojax.errors import InputError

MOST_WORKERS = 64
TUNED = "tuned_model"  # folder of the generator that PTI tuned, beside the head


@dataclasses.dataclass(frozen=True)
class Options:
    """Turn a photo into a head that can be seen from every side.

    A photo is aligned first: its face is found, cropped as the model expects, and its camera estimated. Writes
    input.png, reconstruction.png, sheet.png, turntable.mp4, head.npz, report.json and, with --mesh, a coloured mesh;
    --method pti also writes tuned_model/, which `panojax render` finds beside head.npz.

    Of several photos, or a folder's, each gets such a folder in OUT. Those that cannot be used are reported and the
    others go on; run again, it does only what is missing or has changed. Several GPUs share the work. With --together
    they show one person, of whom one head is made; so do the frames of a video.

    For example:
        panojax invert astronaut --out astronaut_head
        panojax invert me.jpg --out me --mesh
        panojax invert photos --out heads --video none
        panojax invert front.jpg left.jpg back.jpg --together --out me
        panojax invert talk.mp4 --together --out me
    """

    photo: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO [PHOTO ...]")]
    """Pictures, folders of pictures, or the word "astronaut": the portrait that comes with scikit-image; with
    --together also videos."""
    out: pathlib.Path
    """Folder for the results, new or empty; for several photos, maybe filled by an earlier run."""
    checkpoint: str = "default"
    """Folder that `panojax convert` wrote, or "default"."""
    camera: str | None = None
    """Camera of an aligned crop: "front", 25 numbers with commas between (--camera=-0.98,...), or a .json file with
    them; in a dataset.json the picture's name is looked up. Implies --aligned."""
    camera_convention: Literal["opencv", "opengl", "colmap"] = "opencv"
    """What --camera is converted from: camera-to-world with x right, y down, z forward (opencv, panojax's own) or with
    y up, z backward (opengl), or world-to-camera (colmap)."""
    aligned: bool = False
    """The picture is an aligned, square crop; without --camera it is seen from the front."""
    together: bool = False
    """The photos show one person, of whom one head is made; of videos, sharp frames from all around are taken."""
    refine: bool = True
    """With --together, move the photos' cameras a little, until they agree."""
    face: str = "largest"
    """Which face of the photo: "largest", "center", "only", or a number counted from the left, from 0."""
    framing: Literal["auto", "panohead", "heads"] = "auto"
    """How the model's training pictures were cropped: as the checkpoint says, as PanoHead's, or as the synthetic heads
    of `panojax heads`."""
    method: Literal["encoders", "wplus", "pti"] = "encoders"
    """By the checkpoint's two encoders; or, which needs none, by optimising style codes for this photo (wplus), and
    then the generator around them (pti)."""
    stitching: Literal["texel", "sample"] = "texel"
    """How the two encoders' heads are joined: texel by texel once, or at every lookup."""
    steps: int = 500
    """Steps of the codes' optimisation; pti then takes as many for the generator."""
    lpips: Literal["vgg", "alex", "none"] = "vgg"
    """Network of an optimisation's perceptual loss; its weights come with "panojax[losses]"."""
    frames: int = 72
    """Frames of the turntable."""
    fps: int = 24
    """Frames of the turntable in a second."""
    pitch: float = 0.0
    """Pitch of the sheet's and the turntable's cameras in degrees; positive looks from below."""
    video: Literal["mp4", "webp", "none"] = "mp4"
    """Format of the turntable."""
    mesh: bool = False
    """Also write a mesh with coloured vertices."""
    mesh_format: Literal["ply", "glb"] = "glb"
    """Format of the mesh."""
    mesh_resolution: int | None = None
    """Grid points of the mesh along each side; by default two a texel, at most 256."""
    mesh_level: float | None = None
    """Density at the mesh's surface; by default 10, or that of half the greatest opacity where it is lower."""
    mesh_largest: bool = True
    """Keep only the largest connected piece of the mesh."""
    workers: int | None = None
    """Of a folder, photos at once on each device: while one is aligned or written, another is inverted. By default two,
    and one where they are optimised, which takes much memory."""
    half: bool = False
    """Store head.npz in half precision, at half the size."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute type."""
    overwrite: bool = False
    """Replace results of the same names in the folder."""


def run(options: Options) -> None:
    """Runs the command. InputError says what is wrong with its input; nothing is written then."""
    from panojax.commands import results
    from panojax.disk.staging import output_folder

    results.check_turn(options.frames, options.pitch, options.fps)
    if options.steps < 1:
        raise InputError(f"steps must be at least 1, got {options.steps}")
    if options.workers is not None and not 1 <= options.workers <= MOST_WORKERS:
        raise InputError(f"workers must be between 1 and {MOST_WORKERS}, got {options.workers}")
    if options.mesh:
        results.check_mesh(options.mesh_resolution)
    check_photos(options)
    if options.together:
        from panojax.commands.invert_together import invert_together

        invert_together(options)
        return
    if len(options.photo) > 1 or pathlib.Path(options.photo[0]).is_dir():
        from panojax.commands.invert_folder import invert_folder

        invert_folder(options)
        return
    seconds: dict[str, float] = {}
    with output_folder(options.out, overwrite=options.overwrite) as folder:
        report = invert_photo(options.photo[0], options, load(options, seconds), folder, seconds)
    print(f"{options.out}: {', '.join(report['files'])}")


def check_photos(options: Options) -> None:
    """Raises InputError for photos or a camera that are not there, before the model is loaded."""
    from panojax.commands.arguments import read_camera
    from panojax.commands.portrait import ASTRONAUT
    from panojax.data.pictures import picture_side
    from panojax.files.video_file import is_video
    from panojax.photo import read_image

    if not options.photo:
        raise InputError("photo must name a picture or a folder of pictures, got none")
    for photo in options.photo:
        if photo != ASTRONAUT and not pathlib.Path(photo).exists():
            raise InputError(f"photo must be a picture or a folder of pictures, got {photo!r}, which does not exist")
        if is_video(photo) and not options.together:
            raise InputError(
                f"photo must be a picture or a folder of pictures, got the video {photo!r}: add --together"
            )
    if options.camera is None and options.camera_convention != "opencv":
        raise InputError(f"camera-convention goes with --camera, got {options.camera_convention} without one")
    [first, *others] = options.photo
    if not others and first != ASTRONAUT and pathlib.Path(first).is_file() and not is_video(first):
        side = picture_side(pathlib.Path(first))
        if side is None:
            read_image(first)  # says why
        if options.camera is not None:
            read_camera(options.camera, first, convention=options.camera_convention, side=side)


@dataclasses.dataclass(frozen=True)
class Model:
    """What all photos share: parameters, and the perceptual loss of an optimisation or None."""

    params: Any
    perception: Any


def load(options: Options, seconds: dict[str, float]) -> Model:
    """The model that the options name."""
    from panojax.commands.arguments import load_model

    encoders = options.method == "encoders"
    perception = None if encoders else _perception(options.lpips)
    params = load_model(options.checkpoint, seconds, dtype=options.dtype)
    if encoders and params.config.encoder is None:
        raise InputError(
            f"checkpoint must hold two encoders to invert a photo, {options.checkpoint} has none: "
            "--method wplus and pti need none"
        )
    return Model(params, perception)


def invert_photo(
    photo: str, options: Options, model: Model, folder: pathlib.Path, seconds: dict[str, float]
) -> dict[str, Any]:
    """Inverts the photo and writes all files to `folder`; the report."""
    from panojax.photo import write_image
    from panojax.terminal.progress import step

    params = model.params
    portrait = read_portrait(photo, options, params.config, seconds)
    write_image(folder / "input.png", portrait.image)
    with step("inverting", seconds):
        if options.method == "encoders":
            head = _encode(options, params, portrait)
        else:
            params, head = optimise(options, model.perception, params.generator_only(), portrait.image, portrait.camera)
        keep_head(options, params, head, folder)
    mesh = write_views(options, params, head, portrait, folder, seconds)
    own = {"photo": pathlib.Path(photo).name, "request": request(options, photo), **seen_from(portrait)}
    return write_report(options, params, folder, own | {"mesh": mesh, "seconds": seconds})


def seen_from(portrait: Any) -> dict[str, Any]:
    """A report's part on a portrait's camera."""
    return {
        "camera": rounded(portrait.camera),
        "camera_source": portrait.source,
        "alignment": portrait.report and dataclasses.asdict(portrait.report),
    }


def rounded(camera: Any) -> list[float]:
    """A camera label as reports have it."""
    return [round(float(value), 6) for value in camera]


def write_report(options: Options, params: Any, folder: pathlib.Path, own: dict[str, Any]) -> dict[str, Any]:
    """Writes report.json, last of a folder's files, and gives it: `own` and what is said of every head."""
    import json

    from panojax.files.head_file import model_mark

    encoders, config = options.method == "encoders", params.config.generator
    report = {
        "panojax": panojax_version(),
        **own,
        "model": {"image_resolution": config.image_resolution, "weights": model_mark(params).weights},
        "method": options.method,
        "stitching": options.stitching if encoders else None,
        "steps": None if encoders else options.steps,
        "files": sorted([*(path.name for path in folder.iterdir()), "report.json"]),
    }
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    return report


def keep_head(options: Options, params: Any, head: Any, folder: pathlib.Path) -> None:
    """Writes the head, and the model where it is the head's own."""
    from panojax.files.checkpoint import save
    from panojax.files.head_file import save_head

    own = TUNED if options.method == "pti" else None
    if own is not None:
        save(params, folder / own)
    dtype = "float16" if options.half else "float32"
    save_head(head, folder / "head.npz", params=params, dtype=dtype, checkpoint=own)


def write_views(
    options: Options, params: Any, head: Any, portrait: Any, folder: pathlib.Path, seconds: dict[str, float]
) -> dict[str, Any] | None:
    """Writes what shows a head beside its portrait: sheet, turntable and mesh, whose numbers come back."""
    from panojax.commands import results
    from panojax.commands.arguments import turn
    from panojax.export.turntable import render_views, where
    from panojax.files.output import contact_sheet
    from panojax.photo import write_image
    from panojax.terminal.progress import step

    config = params.config.generator
    with step("rendering the sheet", seconds):
        frames = 0 if options.video == "none" else options.frames
        occupied = where(params, head, 13 + frames)
        reconstruction = next(render_views(params, head, portrait.camera[None], occupied=occupied))
        write_image(folder / "reconstruction.png", reconstruction)
        titles, cameras = turn(12, options.pitch, config)
        pictures = [results.at_size(portrait.image, config.image_resolution), reconstruction]
        pictures += render_views(params, head, cameras, occupied=occupied)
        write_image(folder / "sheet.png", contact_sheet(pictures, ["input", "reconstruction", *titles], columns=7))
    if options.video != "none":
        path = folder / f"turntable.{options.video}"
        with step("rendering the turntable", seconds):
            frames, pitch, fps = options.frames, options.pitch, options.fps
            results.write_turntable(path, params, head, frames=frames, pitch=pitch, fps=fps, occupied=occupied)
    mesh = None
    if options.mesh:
        path = folder / f"mesh.{options.mesh_format}"
        with step("extracting the mesh", seconds):
            mesh = results.write_head_mesh(
                path,
                params,
                head,
                resolution=options.mesh_resolution,
                level=options.mesh_level,
                largest=options.mesh_largest,
            )
    return mesh


def request(options: Options, photo: str) -> str:
    """SHA-256 of what a head is made of: the photo's size and time of change, and the options that say how.

    A digest, so that reports, which people pass on, tell nothing of their folders.
    """
    import hashlib
    import json

    from panojax.photo.folder import stamp

    chosen = dataclasses.asdict(options)
    for name in ("photo", "out", "overwrite", "workers"):
        del chosen[name]
    text = json.dumps({"photo": stamp(photo), "options": chosen}, default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _perception(lpips: str) -> Any:
    """The perceptual loss of an optimisation. InputError says what to install where its weights are missing."""
    from panojax.losses.perception import load_perception

    try:
        return load_perception(lpips, "none")
    except InputError as error:
        raise InputError(f"{error}, or --lpips none does without") from error


def _encode(options: Options, params: Any, portrait: Any) -> Any:
    """The head by the dual encoder."""
    import jax

    import panojax

    head = panojax.invert(params, portrait.image, portrait.camera, stitching=options.stitching)
    return jax.block_until_ready(head)


def optimise(
    options: Options, perception: Any, params: Any, image: Any, camera: Any, *, together: bool = False
) -> tuple[Any, Any]:
    """The model that renders the head, which is its own after PTI, and the head; arguments as `invert_wplus`."""
    from panojax.inversion.optimize import ProjectionConfig, TuningConfig, invert_pti, invert_wplus
    from panojax.terminal.bars import bar
    from panojax.terminal.progress import is_quiet

    pti = options.method == "pti"
    config, tuning = ProjectionConfig(steps=options.steps), TuningConfig(steps=options.steps)
    total = (1 + pti) * options.steps
    with bar(total=total, desc=options.method, unit="step", hidden=is_quiet()) as shown:

        def show(done: int, loss: float) -> None:
            shown.set_postfix(loss=f"{loss:.4f}")
            shown.update(done - shown.n)

        common: dict[str, Any] = {"perception": perception, "config": config, "progress": show, "together": together}
        if pti:
            return invert_pti(params, image, camera, tuning=tuning, **common)
        return params, invert_wplus(params, image, camera, **common)


def read_portrait(photo: str, options: Options, config: Any, seconds: dict[str, float]) -> Any:
    """The portrait for a model, as large as its pictures or smaller, with its camera."""
    from panojax.commands.portrait import align_photo, read_aligned
    from panojax.terminal.progress import note, say, step

    if options.aligned or options.camera is not None:
        with step("reading the picture", seconds):
            return read_aligned(
                photo,
                options.camera,
                config.generator.image_resolution,
                convention=options.camera_convention,
            )
    with step("aligning the photo", seconds):
        portrait = align_photo(photo, config, face=options.face, framing=options.framing)
    say(portrait.report.summary())
    for warning in portrait.report.warnings:
        note(warning)
    return portrait


def panojax_version() -> str:
    """`panojax.__version__`."""
    import panojax

    return panojax.__version__
