"""`panojax edit`: a part of another head, or a move along directions of the style codes."""

import dataclasses
import math
import pathlib
from typing import Annotated, Any, Literal

import tyro

from panojax.errors import InputError

# Views from which the segmenter finds a part.
VIEWS = 8


@dataclasses.dataclass(frozen=True)
class Options:
    """Change a head that `invert` or `generate` stored.

    HEAD REFERENCE: a part of the reference takes its place in the head: what --mask shows, --part names, --ellipsoid or
    --box encloses. HEAD --strength NAME=NUMBER: the head moves along directions that come with the default model, or
    of --directions, a file that `python -m panojax.train.directions` wrote. Writes head.npz, sheet.png with views
    before and after, and report.json with the change at each yaw.

    For example:
        panojax edit me --strength age=2 --out older
        panojax edit me other --part hair --out new_hair
    """

    head: Annotated[pathlib.Path, tyro.conf.Positional, tyro.conf.arg(metavar="HEAD")]
    """File of the head to change (.npz)."""
    out: pathlib.Path
    """Folder for the results, new or empty."""
    reference: Annotated[pathlib.Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[REFERENCE]")] = None
    """File of the head that the part comes from, made by the same model."""
    mask: tuple[pathlib.Path, ...] = ()
    """Pictures that are white where the reference shows the part, as large as the model's pictures."""
    camera: tuple[str, ...] = ()
    """Camera of each mask: "front", a yaw or yaw and pitch in degrees (90 or 90,10), 25 numbers, or a .json file."""
    camera_convention: Literal["opencv", "opengl", "colmap"] = "opencv"
    """What cameras of masks are converted from: camera-to-world with x right, y down, z forward (opencv, panojax's own)
    or with y up, z backward (opengl), or world-to-camera (colmap)."""
    source_mask: tuple[pathlib.Path, ...] = ()
    """Likewise for what the part covers on the head itself, such as longer hair that has to go."""
    source_camera: tuple[str, ...] = ()
    """Camera of each source mask."""
    part: Literal["hair", "skin", "eyes", "clothes"] | None = None
    """Take the masks of both heads from the part segmenter, from eight sides."""
    ellipsoid: tuple[float, float, float, float, float, float] | None = None
    """Centre x y z and radii in world units, where the head's box has sides of 1 around the origin."""
    box: tuple[float, float, float, float, float, float] | None = None
    """Centre x y z and half sides, likewise."""
    threshold: float = 0.5
    """Share of what rests on a texel that must lie under the masks."""
    source_threshold: float | None = None
    """Likewise on the head itself; lower takes more of the old part away, such as long hair before jaw and neck. By
    default as --threshold."""
    border: int | None = None
    """Texels of the soft border; by default one for every 128 of the tri-grid's side."""
    fuse: bool = True
    """Encode the result again under the region, by the checkpoint's encoders; --no-fuse only copies."""
    directions: pathlib.Path | None = None
    """File of directions (.npz); by default those that come with the default model."""
    strength: tuple[str, ...] = ()
    """How far along each direction, in standard deviations: NAME=NUMBER."""
    yaw: tuple[float, ...] = (0.0, 45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0)
    """Angles around the head in degrees at which the sheet shows and the report compares it."""
    identity: Literal["none", "sface"] = "none"
    """Also report how alike the faces are before and after, by a network that comes with "panojax[losses]"."""
    checkpoint: str | None = None
    """Folder of the model that made the heads; by default the one that the head's file names, or else "default"."""
    half: bool = False
    """Store head.npz in half precision, at half the size."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute type."""
    overwrite: bool = False
    """Replace results of the same names in the folder."""


def run(options: Options) -> None:
    """Runs the command. InputError says what is wrong with its input; nothing is written then."""
    from panojax.disk.staging import output_folder

    check(options)
    with output_folder(options.out, overwrite=options.overwrite) as folder:
        _edit(options, folder)
        names = sorted(path.name for path in folder.iterdir())
    print(f"{options.out}: {', '.join(names)}")


def check(options: Options) -> None:
    """Raises InputError for options that say no edit or several, before anything slow starts."""
    from panojax.commands.arguments import view_grid
    from panojax.generators.generator_config import GeneratorConfig

    view_grid(options.yaw, (0.0,), GeneratorConfig())
    moves = options.directions is not None or bool(options.strength)
    if (options.reference is None) != moves:
        got = "both" if moves else "neither"
        raise InputError(f"a reference or --strength must say how to edit, got {got}")
    given = [name for name in ("mask", "part", "ellipsoid", "box") if getattr(options, name)]
    if moves:
        parse_strengths(options.strength)
        if given:
            raise InputError(f"a part must come with a reference and without --strength, got --{given[0]}")
        return
    if len(given) != 1 or (options.source_mask and not options.mask):
        raise InputError(
            "one of --mask (with --source-mask, maybe), --part, --ellipsoid and --box must say which part, "
            f"got {', '.join(given) or 'none'}"
        )
    for name in ("mask", "source_mask"):
        masks, cameras = getattr(options, name), getattr(options, name.replace("mask", "camera"))
        if len(masks) != len(cameras):
            option = name.replace("mask", "camera").replace("_", "-")
            raise InputError(
                f"--{option} must be given once for each of the {len(masks)} masks, got {len(cameras)}: "
                f"--{option} front where a mask is of the front view"
            )
    for name in ("threshold", "source_threshold"):
        share = getattr(options, name)
        if share is not None and not 0 <= share < 1:
            raise InputError(f"{name} must be a share from 0 to below 1, got {share}")
    for name in ("ellipsoid", "box"):
        solid = getattr(options, name)
        if solid and not (all(map(math.isfinite, solid)) and min(solid[3:]) > 0):
            raise InputError(f"{name} must be a centre and three positive radii, got {' '.join(map(str, solid))}")


def parse_strengths(strengths: tuple[str, ...]) -> dict[str, float]:
    """{name: number} of texts such as "age=-1.5"."""
    found = {}
    for text in strengths:
        name, _, number = text.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            found[name] = math.nan
        if not name or not math.isfinite(found[name]):
            raise InputError(f"strength must be NAME=NUMBER, got {text!r:.80}")
    if not found:
        raise InputError("strength must be given with --directions, such as --strength age=2, got none")
    return found


def read_mask(path: pathlib.Path, size: int) -> Any:
    """A mask float32 [size, size] in [0, 1] from a picture of that size, see `files.mask_file`."""
    from panojax.files import mask_file

    mask = mask_file.read_mask(path, whole_head=False)
    if mask.shape != (size, size):
        height, width = mask.shape
        raise InputError(
            f"mask must be {size} x {size} pixels, as the model's pictures, got {path}, {width} x {height}"
        )
    return mask


def mask_camera(text: str, mask: pathlib.Path, config: Any, *, convention: str = "opencv") -> Any:
    """The label float32 [25] of a mask: what `read_camera` reads, or "yaw" or "yaw,pitch" in degrees."""
    from panojax.commands.arguments import read_camera, view_grid

    try:
        angles = [float(part) for part in text.split(",")]
    except ValueError:
        angles = []
    if 1 <= len(angles) <= 2:
        yaw, pitch = (*angles, 0.0)[:2]
        return view_grid((yaw,), (pitch,), config)[1][0]
    return read_camera(text, str(mask), convention=convention, side=config.image_resolution)


def _edit(options: Options, folder: pathlib.Path) -> None:
    """Does the work and writes all files to `folder`."""
    import json

    import numpy as np

    from panojax.commands.arguments import load_heads, view_grid
    from panojax.commands.invert import panojax_version
    from panojax.commands.results import thumbnail
    from panojax.export.turntable import render_views
    from panojax.files.head_file import save_head
    from panojax.files.output import contact_sheet
    from panojax.losses.perception import load_perception
    from panojax.photo import write_image
    from panojax.terminal.progress import step

    seconds: dict[str, float] = {}
    perception = None if options.identity == "none" else load_perception("none", options.identity)
    paths = [path for path in (options.head, options.reference) if path is not None]
    params, heads = load_heads(paths, options.checkpoint, seconds, dtype=options.dtype)
    yaws = list(dict.fromkeys(options.yaw))
    titles, (_, cameras) = [f"{yaw:g}°" for yaw in yaws], view_grid(yaws, (0.0,), params.config.generator)
    if options.reference is None:
        edited, region = _move(options, params, heads[0], seconds), None
    else:
        edited, region = _transfer(options, params, heads, seconds)
    dtype = "float16" if options.half else "float32"
    save_head(edited, folder / "head.npz", params=params, dtype=dtype)
    with step("comparing", seconds):
        shown = None if region is None else _shown(params, (heads[0], edited), region, cameras)
        changes = _changes(params, heads[0], edited, shown, cameras, perception)
    with step("rendering the sheet", seconds):
        pictures, names = [], []
        for name, head in [*zip(("before", "reference"), heads), ("after", edited)]:
            pictures += [thumbnail(view, 256) for view in render_views(params, head, cameras)]
            names += [f"{name}, {titles[0]}", *titles[1:]]
        if shown is not None:
            pictures += [thumbnail(np.stack([share * 2 - 1] * 3, axis=-1), 256) for share in np.asarray(shown)]
            names += [f"region, {titles[0]}", *titles[1:]]
        write_image(folder / "sheet.png", contact_sheet(pictures, names, columns=len(yaws)))
    report = {
        "panojax": panojax_version(),
        "head": options.head.name,
        "reference": options.reference and options.reference.name,
        "strength": None if options.reference else parse_strengths(options.strength),
        "region": None if region is None else [round(float(share), 4) for share in np.mean(region, axis=(1, 2))],
        "fused": options.fuse if options.reference else None,
        "yaws": yaws,
        "changes": changes,
        "seconds": seconds,
    }
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")


def _move(options: Options, params: Any, head: Any, seconds: dict[str, float]) -> Any:
    """The head moved along all directions that have a strength."""
    import jax

    import panojax
    from panojax.editing.directions import own_directions, read_directions
    from panojax.terminal.progress import step

    strengths = parse_strengths(options.strength)
    if options.directions is not None:
        directions, source = read_directions(options.directions, params), str(options.directions)
    else:
        directions, source = own_directions(params), "the default model"
        if not directions:
            raise InputError("directions must be given: only heads of the default model have some that come with it")
    if unknown := sorted(set(strengths) - set(directions)):
        known = ", ".join(directions)
        raise InputError(f"strength must name directions of {source}, {known}; got {', '.join(unknown)}")
    with step("moving", seconds):
        whole = sum(strength * directions[name] for name, strength in strengths.items())
        return jax.block_until_ready(jax.jit(panojax.move_head)(params.generator_only(), head, whole))


def _transfer(options: Options, params: Any, heads: list[Any], seconds: dict[str, float]) -> tuple[Any, Any]:
    """The head with the reference's part, and the region [3, H, W]."""
    import functools

    import jax

    import panojax
    from panojax.editing.region import check_region
    from panojax.terminal.progress import step

    if options.fuse and params.config.encoder is None:
        raise InputError("checkpoint must hold two encoders to fuse the parts, got a generator alone: --no-fuse copies")
    with step("finding the region", seconds):
        region = check_region(params, _region(options, params, heads))
    edit = jax.jit(functools.partial(panojax.edit, border=options.border, fuse=options.fuse))
    with step("editing", seconds):
        return jax.block_until_ready(edit(params, *heads, region)), region


def _region(options: Options, params: Any, heads: list[Any]) -> Any:
    """The union of the regions on the reference and on the head itself."""
    import functools

    import jax.numpy as jnp
    import numpy as np

    import panojax
    from panojax.commands.arguments import turn
    from panojax.editing.parts import part_masks

    config, model = params.config.generator, params.generator_only()
    for shape in ("ellipsoid", "box"):
        if solid := getattr(options, shape):
            centre, radii = jnp.array(solid, jnp.float32).reshape(2, 3)
            return panojax.solid_region(params, centre, radii, shape=shape)
    regions = []
    given = (options.source_mask, options.source_camera), (options.mask, options.camera)
    own = options.threshold if options.source_threshold is None else options.source_threshold
    for head, (paths, cameras), threshold in zip(heads, given, (own, options.threshold)):
        if options.part:
            _, labels = turn(VIEWS, 0.0, config)
            masks = jnp.asarray(part_masks(params, head, labels, options.part))
        elif paths:
            masks = jnp.stack([read_mask(path, config.image_resolution) for path in paths])
            convention = options.camera_convention
            found = [mask_camera(text, path, config, convention=convention) for text, path in zip(cameras, paths)]
            labels = np.stack(found)
        else:
            continue
        regions.append(panojax.find_region(model, head, masks, jnp.asarray(labels), threshold=threshold))
    return functools.reduce(jnp.maximum, regions)


def _shown(params: Any, heads: tuple[Any, Any], region: Any, cameras: Any) -> Any:
    """How much each pixel of two heads rests on a region, whichever is more: [V, S, S] in [0, 1]."""
    import jax
    import jax.numpy as jnp

    from panojax.editing.region import show_region
    from panojax.nn.stylegan2 import resize

    @jax.jit
    def show(params, head, region, cameras):
        return jax.lax.map(lambda camera: show_region(params, head, region, camera), cameras)

    shown = jnp.maximum(*(show(params.generator_only(), head, region, cameras) for head in heads))
    return resize(shown[..., None], params.config.generator.image_resolution)[..., 0]


def _changes(params: Any, before: Any, after: Any, shown: Any, cameras: Any, perception: Any) -> dict[str, list[float]]:
    """`compare_heads` at each camera, the pictures where less than half of a pixel rests on the region."""
    import jax
    import jax.numpy as jnp

    from panojax.editing.measure import compare_heads

    @jax.jit
    def compare(params, before, after, cameras, where, perception):
        return compare_heads(params, before, after, cameras, where=where, embed=perception and perception.embed)

    where = None if shown is None else (shown < 0.5).astype(jnp.float32)
    found = compare(params.generator_only(), before, after, cameras, where, perception)
    values = {name: getattr(found, name) for name in ("picture", "depth", "silhouette", "identity")}
    return {name: [round(float(x), 5) for x in value] for name, value in values.items() if value is not None}
