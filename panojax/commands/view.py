"""`panojax view`: heads in a browser."""

import dataclasses
import pathlib
import threading
from typing import Annotated, Any, Literal

import tyro

from panojax.errors import InputError
from panojax.extras import need
from panojax.terminal.process import end_now

MAX_KEPT = 12  # of a page's earlier heads


@dataclasses.dataclass(frozen=True)
class Options:
    """Look at heads in a browser: orbit with the mouse, compare, edit, save pictures, videos and meshes.

    Photos that are dropped on the page become heads, which --folder keeps with their photos; without heads to show, the
    page opens with those that are there. A photo that is named here is inverted first, and its head shown beside those
    of both encoders. Ctrl-C ends the server.

    For example:
        panojax view
        panojax view me other
        panojax view photo.jpg --seeds 0-3
    """

    heads: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[HEAD|PHOTO ...]")] = ()
    """Files of heads (.npz) or folders that `panojax invert` wrote, or photos (or the word "astronaut")."""
    checkpoint: str | None = None
    """Folder of the model that made the heads; by default the one that the first head's file names, or else
    "default"."""
    folder: pathlib.Path = pathlib.Path("panojax_heads")
    """Folder for photos that are dropped on the page, and for their heads; made when the first one comes."""
    seeds: str | None = None
    """Also heads from latents: numbers and ranges, such as 0-3,7."""
    truncation: float = 0.7
    """Of the heads from latents, at first."""
    directions: pathlib.Path | None = None
    """File (.npz) of directions in the space of style codes, each an array by its name: a slider for each. By default
    those that come with the default model, for its heads."""
    aligned: bool = False
    """The photos are aligned, square crops; without --camera they are seen from the front."""
    camera: str | None = None
    """Camera of aligned crops, as `panojax invert` takes it. Implies --aligned."""
    camera_convention: Literal["opencv", "opengl", "colmap"] = "opencv"
    """What --camera is converted from: camera-to-world with x right, y down, z forward (opencv, panojax's own) or with
    y up, z backward (opengl), or world-to-camera (colmap)."""
    face: str = "largest"
    """Which face of a photo: "largest", "center", "only", or a number counted from the left, from 0."""
    framing: Literal["auto", "panohead", "heads"] = "auto"
    """How the model's training pictures were cropped: as the checkpoint says, as PanoHead's, or as the synthetic heads
    of `panojax heads`."""
    stitching: Literal["texel", "sample"] = "texel"
    """How the two encoders' heads are joined: texel by texel once, or at every lookup."""
    host: str = "127.0.0.1"
    """Address to listen at; by default browsers on other machines cannot reach it. Others need the token that is part
    of the address that is printed."""
    port: int = 8080
    """Port to listen at; 0 is any that is free."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute type."""


def run(options: Options) -> None:
    """Runs the command until Ctrl-C. InputError says what is wrong with its input."""
    from panojax.viewer.guard import Guard

    guard = Guard(options.host)
    server, page = start(options, guard)
    code = 0
    try:
        if page.takes_photos:
            print(f"photos and heads are kept in {page.gallery.folder}")
        print(f"{guard.url(server.get_port())} (Ctrl-C ends it)", flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        print(flush=True)
    except SystemExit as stop:  # SIGTERM
        code = int(stop.code or 0)
    page.stop()
    server.stop()
    if _threads_go_on():
        end_now(code)
    if code:
        raise SystemExit(code)


def _threads_go_on() -> bool:
    """Whether a thread of the page is still at work, in a call of XLA say, which nothing can end."""
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("panojax view")]
    for thread in ours:
        thread.join(0.5)
    return any(thread.is_alive() for thread in ours)


def start(options: Options, guard: Any = None) -> tuple[Any, Any]:
    """Loads what is to be seen and gives the running server, whose requests `guard` looks at, and its page."""
    from panojax.commands import results
    from panojax.commands.arguments import load_model, parse_seeds
    from panojax.editing.directions import own_directions, read_directions
    from panojax.terminal.progress import step
    from panojax.viewer.app import check_address, serve
    from panojax.viewer.gallery import Gallery
    from panojax.viewer.page import MAX_HEADS, SHOWN, Page, kept_before
    from panojax.viewer.quality import full_quality, moving_qualities
    from panojax.viewer.scene import Request, Scene

    seeds = () if options.seeds is None else parse_seeds(options.seeds)
    if len(options.heads) + len(seeds) > MAX_HEADS:
        raise InputError(f"heads and seeds must be at most {MAX_HEADS}, got {len(options.heads) + len(seeds)}")
    results.check_truncation(options.truncation, None)
    need("viser", "the viewer")
    results.check_mesh(None)
    check_address(options.host, options.port)
    _check_heads(options)
    params = load_model(_checkpoint(options), {}, dtype=options.dtype)
    directions = read_directions(options.directions, params) if options.directions else own_directions(params)
    gallery, alone = Gallery(options.folder), not options.heads and not seeds
    if alone and params.config.encoder is None:
        raise InputError(
            f"checkpoint must hold encoders to make heads of photos, {_checkpoint(options)} has none; or heads or "
            "--seeds be given, got neither"
        )
    before, thumbnails = kept_before(gallery, params, MAX_KEPT) if alone else ([], {})
    scene = Scene(params, [*before, *_from_files(options, params), *_from_seeds(options, params, seeds)], directions)
    if scene.subjects:
        with step("compiling", {}):
            panel = next(iter(scene.panels()))
            request = Request(tuple(scene.subjects[0].camera.tolist()), 1.0, (panel,))
            for quality in (*moving_qualities(scene.config), full_quality(scene.config)):
                scene.picture(request, quality)
    page = Page(scene, gallery, shown=1 if alone else SHOWN)
    page.thumbnails |= thumbnails
    server = serve(page, host=options.host, port=options.port, truncation=options.truncation, guard=guard)
    return server, page


def _is_head(text: str) -> bool:
    path = pathlib.Path(text)
    return path.suffix.lower() == ".npz" or path.is_dir()


def _check_heads(options: Options) -> None:
    """Raises InputError for heads and photos that are not there, before the model is loaded."""
    from panojax.commands.arguments import head_file
    from panojax.commands.portrait import ASTRONAUT

    for text in options.heads:
        if _is_head(text):
            head_file(text)
        elif text != ASTRONAUT and not pathlib.Path(text).is_file():
            raise InputError(f"heads must be files of heads or photos, got {text!r}, which does not exist")


def _checkpoint(options: Options) -> str:
    """The model's folder: the one that is asked for, or that the first head's file names."""
    from panojax.commands.arguments import head_file
    from panojax.files.checkpoint import DEFAULT
    from panojax.files.head_file import own_checkpoint

    first = next(filter(_is_head, options.heads), None)
    return options.checkpoint or str((first and own_checkpoint(head_file(first))) or DEFAULT)


def _from_files(options: Options, params: Any) -> list[Any]:
    """The heads of files, and of photos with their parts."""
    from panojax.commands.arguments import head_file
    from panojax.commands.portrait import align_photo, read_aligned
    from panojax.files.head_file import load_head
    from panojax.terminal.progress import note, step
    from panojax.viewer.subjects import from_head, from_photo

    subjects, size = [], params.config.generator.image_resolution
    for text in options.heads:
        if _is_head(text):
            path = head_file(text)
            subjects.append(from_head(params, load_head(path, params), head_name(path)))
            continue
        name = pathlib.Path(text).stem
        if params.config.encoder is None:
            raise InputError(f"checkpoint must hold encoders to invert {text}, {_checkpoint(options)} has none")
        with step(f"inverting {name}", {}):
            if options.aligned or options.camera is not None:
                portrait = read_aligned(text, options.camera, size, convention=options.camera_convention)
            else:
                portrait = align_photo(text, params.config, face=options.face, framing=options.framing)
            subjects.append(from_photo(params, portrait.image, portrait.camera, name, stitching=options.stitching))
        for warning in portrait.report.warnings if portrait.report else ():
            note(warning)
    return subjects


def head_name(path: pathlib.Path) -> str:
    """What a head is called: its folder, where the file has the name that all have, else its file."""
    folder = path.absolute().parent.name
    return folder if path.stem == "head" and folder else path.stem


def _from_seeds(options: Options, params: Any, seeds: tuple[int, ...]) -> list[Any]:
    """Heads from latents."""
    from panojax.commands.generate import latent
    from panojax.viewer.subjects import from_latent

    z_dim = params.config.generator.z_dim
    return [from_latent(params, latent(seed, z_dim), options.truncation, f"seed {seed}") for seed in seeds]
