"""The network that finds heads from all sides: heads drawn, then trained, then measured.

    python benchmarks/head_pose.py all --seconds 600 --assets ASSETS --panoramas DIR --work W --out OUT --devices 1
    python benchmarks/head_pose.py draw-test --out TEST --assets ASSETS
    python benchmarks/head_pose.py measure --heads TEST --panoramas DIR --out RESULTS

`all` is one call of a machine that is lent for so many seconds: it draws heads for a third of it, trains for what is
left and writes OUT/head_pose.npz, which belongs in panojax/photo/weights. `draw-test` draws test heads with hair that
no training head has, all around; `measure` puts them before surroundings that were not trained with, aligns these
photos with the network that the package has, writes a file a head (and goes on where it was stopped), and prints the
table of docs/photos.md. DIR holds panoramas in latitude and longitude, such as `panoramas` makes of an npm package.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import time

import numpy as np

STEP, ELEVATIONS = 10, (0, -10, 10, 20, 5, -20)  # degrees: of the turntable, and of the heads in turn
PHOTO = 384  # pixels
WITHOUT_PEOPLE = (
    *("brick", "cell", "chelsea", "chessboard_GRAY", "clock_motion", "coffee", "coins", "grass", "gravel", "horse"),
    *("hubble_deep_field", "ihc", "logo", "microaneurysms", "moon", "motorcycle_left", "motorcycle_right", "page"),
    *("phantom", "retina", "rocket", "text"),
)
LEAST_SCORE = 0.05  # of what is written down
MEETING = 20.0, 80.0  # degrees of yaw within which the two methods meet


def panoramas(options: argparse.Namespace) -> int:
    """OUT/forest.png, ...: the environments of an archive pmndrs-assets-*.tgz of npm, CC0, as 8-bit pictures."""
    import re
    import tarfile

    from panojax.files.image_file import write_image
    from panojax.synthetic.assets import environment_pixels

    with tarfile.open(options.archive) as package:
        for member in package:
            match = re.fullmatch(r"package/hdri/(\w+)\.exr\.js", member.name)
            if match and (handle := package.extractfile(member)):
                light = np.nan_to_num(environment_pixels(handle.read().decode()), posinf=6e4).clip(0, 6e4)
                light = light / (2.2 * np.percentile(light.mean(-1), 60) + 1e-6)
                tone = np.clip(1.2 * light / (1 + 0.4 * light), 0, 1) ** (1 / 2.2)
                write_image(options.out / f"{match[1]}.png", np.float32(2 * tone - 1), overwrite=True)
    return 0


def draw_test(options: argparse.Namespace) -> int:
    """OUT/000067.npz: rgba uint8 [36, S, S, 4] and labels [36, 25], around test heads with held-out hair."""
    from panojax.synthetic.cameras import camera_label
    from panojax.synthetic.edition2.sampling import sample_person
    from panojax.synthetic.edition2.styles import TEST_ONLY_CUTS
    from panojax.synthetic.editions import draw_person, open_renderer
    from panojax.synthetic.splits import split_of

    options.out.mkdir(parents=True, exist_ok=True)
    numbers = (
        number
        for number in range(10**6)
        if split_of(number) == "test" and sample_person(options.seed, number).hair.form.cut in TEST_ONLY_CUTS
    )
    renderer = open_renderer(2, options.size)
    try:
        for i, number in zip(range(options.identities), numbers):
            path = options.out / f"{number:06d}.npz"
            if not path.exists():
                up = math.radians(ELEVATIONS[i % len(ELEVATIONS)])
                yaws = [math.remainder(math.radians(a), 2 * math.pi) for a in range(-180, 180, options.step)]
                labels = np.array([camera_label(yaw, up) for yaw in yaws])
                draw_person(renderer, options.assets, options.seed, number)
                np.savez_compressed(path, rgba=np.stack([renderer.view(label).rgba for label in labels]), labels=labels)
                print(path, flush=True)
    finally:
        renderer.close()
    return 0


def measure(options: argparse.Namespace) -> int:
    """RESULTS/000067.json, RESULTS/none.json, and the table of all that are done."""
    from panojax.train.head_pose.run import HELD_OUT_PANORAMAS
    from panojax.train.head_pose.surroundings import draw_surroundings, read_panoramas

    found = read_panoramas(options.panoramas)
    kept = [found[name] for name in HELD_OUT_PANORAMAS if name in found]
    grounds = draw_surroundings(400, 10**6, kept)
    options.out.mkdir(parents=True, exist_ok=True)
    place = options.out / "none.json"
    if not place.exists():
        place.write_text(json.dumps({"false": false_heads(options.pictures, grounds)}))
    for path in sorted(options.heads.glob("*.npz"))[: options.limit]:
        place = options.out / f"{path.stem}.json"
        if not place.exists():
            begun = time.time()
            place.write_text(json.dumps(_measure_head(path, grounds, options.every)))
            print(f"{place}: {time.time() - begun:.0f} s", file=sys.stderr, flush=True)
    print(table(options.out))
    return 0


def false_heads(pictures: int, grounds: np.ndarray) -> list[list[float]]:
    """Scores of what is taken for heads in pictures without people: half parts of scikit-image's, half textures."""
    import skimage.data

    from panojax.photo.crop import Square, cut
    from panojax.photo.head_pose import find_heads

    folder = pathlib.Path(skimage.data.__file__).parent
    paths = [path for name in WITHOUT_PEOPLE if (path := next(folder.glob(f"{name}.*"), None))]
    rng = np.random.default_rng(0)
    scores = []
    for i in range(pictures):
        if i % 2:
            picture = grounds[i % len(grounds)] / np.float32(127.5) - 1
        else:
            picture = _as_photo(paths[i // 2 % len(paths)])
            if i // 2 >= len(paths):  # whole ones first
                height, width = picture.shape[:2]
                side = min(height, width) * rng.uniform(0.25, 1)
                middle = (rng.uniform(side / 2, n - side / 2) for n in (width, height))
                picture = cut(picture, Square(*middle, side), 256)
        heads = find_heads(picture) or find_heads(picture, threshold=LEAST_SCORE)
        scores.append([round(head.score, 4) for head in heads])
    return scores


def _as_photo(path):
    from panojax.files.image_file import read_image

    rgb, alpha = read_image(path)
    return rgb if alpha is None else rgb * alpha[..., None] + (1 - alpha[..., None])


def _measure_head(path: pathlib.Path, grounds: np.ndarray, every: int) -> list[dict[str, float]]:
    """A row a view: what is true, and how far off the network and `align` are."""
    import jax

    from panojax.errors import InputError
    from panojax.photo import HEADS, align
    from panojax.photo.framing import label_angles
    from panojax.photo.head_pose import SURE, find_heads

    data = np.load(path)
    rows = []
    for i in range(0, len(data["labels"]), every):
        photo, square = make_photo(jax.random.key(1000 * int(path.stem) + i), data["rgba"][i], grounds)
        label = data["labels"][i].astype(np.float32)
        true = np.degrees(label_angles(label))
        row = {"yaw": true[0], "elevation": true[1]}
        heads = find_heads(photo) or find_heads(photo, threshold=LEAST_SCORE)
        near = [head for head in heads if math.dist(head.centre, (square.x, square.y)) < 0.3 * square.side]
        best = max(near, key=lambda head: head.score, default=None)
        row["score"] = best.score if best else 0.0
        if best and best.score >= SURE:
            row |= {f"network_{k}": v for k, v in _errors(best.rotation, best, label, square).items()}
        try:
            aligned = align(photo, framing=HEADS, size=64)
        except InputError as error:
            row["refused"] = str(error)
        else:
            from panojax.photo.crop import Square
            from panojax.photo.pose import pose_turn

            report = aligned.report
            crop = Square(*report.centre, report.crop_size, math.radians(report.roll))
            turn = pose_turn(crop.roll) @ aligned.camera[:16].reshape(4, 4)[:3, :3].T
            row["method"] = report.method
            row |= {f"align_{k}": v for k, v in _errors(turn, crop, label, square).items()}
        rows.append({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
    return rows


def _errors(turn, found, label, square) -> dict[str, float]:
    """Degrees, and shares of the crop's side, that a rotation and a crop are off."""
    from panojax.photo.pose import pose_angles, pose_turn

    true = pose_turn(square.roll) @ label[:16].reshape(4, 4)[:3, :3].T.astype(np.float64)
    angles, wanted = (np.degrees(pose_angles(one)) for one in (turn, true))
    yaw, elevation, roll = (angles - wanted + 180) % 360 - 180
    x, y = getattr(found, "centre", None) or (found.x, found.y)
    cosine = (np.trace(turn @ true.T) - 1) / 2
    return {
        "yaw": float(yaw),
        "elevation": float(elevation),
        "roll": float(roll),
        "turn": math.degrees(math.acos(max(-1.0, min(1.0, float(cosine))))),
        "centre": math.hypot(x - square.x, y - square.y) / square.side,
        "side": found.side / square.side - 1,
    }


def make_photo(key, rgba: np.ndarray, grounds: np.ndarray):
    """A drawn view as a photo float32 [PHOTO, PHOTO, 3] in [-1, 1]: leaning, in its own light, with the body going on
    below, before some surroundings; and the square that the view was."""
    import jax
    import jax.numpy as jnp

    from panojax.photo.crop import Square
    from panojax.train.head_pose.scenes import draw_head, make_atlas, texture

    global _compose  # compiled once
    if "_compose" not in globals():

        def compose(key, atlas, grounds):
            keys = jax.random.split(key, 3)
            draws = jax.random.uniform(keys[0], (5,))
            side = PHOTO * (0.4 + 0.4 * draws[0])
            room = jnp.maximum(PHOTO - 0.9 * side, 0) / 2
            centre = PHOTO / 2 + room * (2 * draws[1:3] - 1)
            roll = jnp.radians(20) * (draws[3] - 0.5)
            grid = jnp.stack(jnp.meshgrid(*(jnp.arange(PHOTO, dtype=jnp.float32) + 0.5,) * 2), -1)
            one = jnp.ones(1)
            place = {"centre": centre[None], "side": side[None], "roll": roll[None], "mirrored": 0 * one}
            place |= {"below": 3 * one, "beside": 0.3 * one, "wider": 0.6 * one}
            colour, alpha = draw_head(keys[1], atlas, place, 0, grid)
            return texture(keys[2], grounds, grid) * (1 - alpha) + colour, centre, side, roll

        _compose = jax.jit(compose)
    photo, centre, side, roll = jax.device_get(_compose(key, make_atlas(rgba[None])[0], grounds))
    return np.clip(photo, -1, 1), Square(float(centre[0]), float(centre[1]), float(side), float(roll))


def table(results: pathlib.Path) -> str:
    """The table, in Markdown."""
    from panojax.photo.head_pose import SURE

    heads = [json.loads(path.read_text()) for path in sorted(results.glob("[0-9]*.json"))]
    rows = [row for head in heads for row in head]
    none = [max(scores, default=0.0) for scores in json.loads((results / "none.json").read_text())["false"]]
    false = sum(score >= SURE for score in none)
    lines = [f"{len(heads)} test heads with held-out hair, {len(rows)} photos.", ""]
    lines += ["| yaw | found | yaw error | elevation | roll | centre | scale | aligned | yaw error | centre | scale |"]
    lines += ["|" + "---|" * 11]
    for low, high in ((0, 30), (30, 60), (60, 90), (90, 120), (120, 150), (150, 181), (0, 181)):
        some = [row for row in rows if low <= abs(row["yaw"]) < high]
        seen, aligned = ([row for row in some if f"{kind}_yaw" in row] for kind in ("network", "align"))
        told = [f"{low} to {min(high, 180)}", f"{len(seen) / max(len(some), 1):.1%}"]
        told += [f"{_median(seen, f'network_{name}'):.1f}" for name in ("yaw", "elevation", "roll")]
        told += [f"{_median(seen, f'network_{name}'):.1%}" for name in ("centre", "side")]
        told += [f"{len(aligned) / max(len(some), 1):.1%}", f"{_median(aligned, 'align_yaw'):.1f}"]
        told += [f"{_median(aligned, f'align_{name}'):.1%}" for name in ("centre", "side")]
        lines.append(f"| {' | '.join(told)} |")
    off = np.abs([row.get("align_yaw", 180.0) for row in rows])
    far = np.percentile(off, 95)
    crops = [max(row["align_centre"], abs(row["align_side"])) for row in rows if "align_side" in row]
    accepted, step = len(crops) / len(rows), meeting_step(heads)
    lines += ["", "| wanted | here | holds |", "|---|---|---|"]
    for wanted, here, holds in (
        ("median error of yaw at all yaws <= 5 degrees", f"{np.median(off):.1f}", np.median(off) <= 5),
        ("95% within 15 degrees", f"95% within {far:.1f}", far <= 15),
        ("no step > 4 degrees where the methods meet", f"{step:.1f}", step <= 4),
        ("false heads per picture <= 0.01", f"{false} in {len(none)}", false <= 0.01 * len(none)),
        ("aligned >= 98%", f"{accepted:.1%}", accepted >= 0.98),
        ("crops within 4% of the truth (median)", f"{np.median(crops):.1%}", np.median(crops) <= 0.04),
    ):
        lines.append(f"| {wanted} | {here} | {'yes' if holds else 'no'} |")
    scores = [row["score"] for row in rows]
    worst = ", ".join(f"{share}% below {np.percentile(scores, share):.2f}" for share in (1, 2, 5))
    best = ", ".join(f"{score:.2f}" for score in sorted(none)[-5:])
    lines += [
        "",
        f"Scores of heads: {worst}; the highest of pictures without people: {best} (a head is one from {SURE}).",
    ]
    return "\n".join(lines)


def meeting_step(heads: list[list[dict[str, float]]]) -> float:
    """Degrees: the largest step between neighbouring views of a turntable, where the methods meet, of the median yaw
    error of `align`, signed so that positive is too far from the front."""
    low, high = MEETING
    errors: dict[int, list[float]] = {}
    for row in (row for rows in heads for row in rows):
        number = round(abs(row["yaw"]) / STEP)
        if "align_yaw" in row and low <= STEP * number <= high:
            errors.setdefault(number, []).append(math.copysign(1, row["yaw"]) * row["align_yaw"])
    medians = [float(np.median(errors[yaw])) for yaw in sorted(errors)]
    return float(np.abs(np.diff(medians)).max()) if len(medians) > 1 else math.nan


def _median(rows, name):
    return float(np.median(np.abs([row[name] for row in rows]))) if rows else math.nan


MARGIN = 45  # seconds of writing and a first look


def all_steps(options: argparse.Namespace) -> int:
    """Heads, where there are none, then training for what is left of the call, and the network."""
    from generator_piece import draw

    from panojax.train.command import exit_code
    from panojax.train.head_pose import run

    until = time.time() + options.seconds
    heads, drawn = options.work / "heads", options.work / "drawn"
    options.out.mkdir(parents=True, exist_ok=True)
    if not drawn.exists():
        command = [sys.executable, __file__, "draw-test", "--assets", options.assets, "--out", options.out / "test"]
        testing = subprocess.Popen([*map(str, command), "--identities", str(options.test_identities)])
        draw(argparse.Namespace(**{**vars(options), "out": str(heads), "seconds": options.seconds / 3, "start": 0}))
        testing.wait()
        drawn.touch()
    config = run.HeadPoseConfig(
        heads=(heads,),
        out=options.out / "head_pose.npz",
        panoramas=options.panoramas,
        seconds=max(until - time.time() - MARGIN, 5),
        batch=options.batch,
        start=options.start_from,
        surroundings=options.surroundings,
        seed=options.seed,
        overwrite=True,
    )
    code = exit_code(lambda: run.write(config))
    if code == 0:
        first_look(config)
    return code


def first_look(config) -> None:
    """Prints how far off rotations are in scenes of validation heads before held-out surroundings."""
    import jax.numpy as jnp

    from panojax.nn.graph import load
    from panojax.train.head_pose import run
    from panojax.train.head_pose.scenes import make_atlas
    from panojax.train.head_pose.surroundings import draw_surroundings, read_panoramas

    pictures, turns = run.read_heads(config.heads, "validation")
    found = {} if config.panoramas is None else read_panoramas(config.panoramas)
    grounds = draw_surroundings(200, 10**6, [found[name] for name in run.HELD_OUT_PANORAMAS if name in found])
    drawn = run.Drawn(*map(jnp.asarray, (make_atlas(pictures), turns, grounds)))
    off = run.close_errors(load(config.out), drawn)
    told = ", ".join(f"{share}% {np.percentile(off, share):.1f}" for share in (50, 75, 90, 95))
    print(f"degrees of rotation wrong, {len(off)} heads in scenes of validation heads, one look: {told}", flush=True)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("panoramas")
    step.add_argument("--archive", type=pathlib.Path, required=True, help="pmndrs-assets-*.tgz, from `npm pack`")
    step.add_argument("--out", type=pathlib.Path, required=True)
    step.set_defaults(run=panoramas)
    step = steps.add_parser("draw-test")
    step.add_argument("--out", type=pathlib.Path, required=True)
    step.add_argument("--assets", type=pathlib.Path, required=True)
    step.add_argument("--identities", type=int, default=24)
    step.add_argument("--seed", type=int, default=301)
    step.add_argument("--size", type=int, default=256)
    step.add_argument("--step", type=int, default=STEP, help="degrees")
    step.set_defaults(run=draw_test)
    step = steps.add_parser("measure")
    step.add_argument("--heads", type=pathlib.Path, required=True)
    step.add_argument("--panoramas", type=pathlib.Path, required=True)
    step.add_argument("--out", type=pathlib.Path, required=True)
    step.add_argument("--limit", type=int)
    step.add_argument("--every", type=int, default=1, help="take every so manieth view")
    step.add_argument("--pictures", type=int, default=200, help="without people")
    step.set_defaults(run=measure)
    step = steps.add_parser("all")
    step.add_argument("--seconds", type=float, required=True, help="of the whole call")
    step.add_argument("--work", type=pathlib.Path, required=True)
    step.add_argument("--out", type=pathlib.Path, required=True)
    step.add_argument("--assets", required=True)
    step.add_argument("--panoramas", type=pathlib.Path)
    step.add_argument("--devices", type=int, default=0, help="GPUs whose OpenGL is used in turn; 0: EGL's choice")
    step.add_argument("--batch", type=int, default=256)
    step.add_argument("--start-from", type=pathlib.Path, help="a network to go on from")
    numbers = {"identities": 6000, "seed": 300, "views": 8, "size": 160, "surroundings": 6000, "test_identities": 12}
    for field, default in numbers.items():
        step.add_argument(f"--{field.replace('_', '-')}", type=int, default=default)
    step.set_defaults(run=all_steps)
    options = parser.parse_args()
    return options.run(options)


if __name__ == "__main__":
    sys.exit(main())
