"""What more photos of one person are worth: drawn test heads from 1, 2, 3, 5 and 8 photos, and from wrong cameras.

    python benchmarks/several_photos.py draw --out HEADS --identities 32 --assets ASSETS
    python benchmarks/several_photos.py measure --heads HEADS --out RESULTS
    python benchmarks/several_photos.py page --results RESULTS --docs docs

`draw` needs the extra `heads`, `measure` the extra `losses`. Each head is seen in 8 photos and from 36 other cameras
all around, at four elevations. `measure` writes a file a head and goes on where it was stopped; `page` writes the
figure and the tables of docs/several_photos.md.
"""

import argparse
import itertools
import json
import math
import pathlib
import re
import sys
import time

import numpy as np

PHOTOS = ((0, 0), (90, 0), (180, 0), (-45, 5), (-90, 0), (45, 5), (135, 0), (-135, 0))  # yaw and elevation, degrees
VIEWS = tuple((10 * i + 5, (-15, 0, 15, 30)[i % 4]) for i in range(36))
COUNTS = (1, 2, 3, 5, 8)
WRONG_DEGREES, WRONG_PERCENT = 4.0, 3.0
PAGE, START, END = (
    "several_photos.md",
    "<!-- benchmarks/several_photos.py writes from here on -->",
    "<!-- up to here -->",
)


def draw(options: argparse.Namespace) -> int:
    """HEADS/000031.npz: rgba uint8 [44, S, S, 4] and labels [44, 25], first of `VIEWS`, then of `PHOTOS`."""
    from panojax.synthetic.cameras import camera_label
    from panojax.synthetic.editions import draw_person, open_renderer
    from panojax.synthetic.splits import split_of

    options.out.mkdir(parents=True, exist_ok=True)
    angles = [(math.remainder(math.radians(yaw), 2 * math.pi), math.radians(up)) for yaw, up in (*VIEWS, *PHOTOS)]
    labels = [camera_label(*pair) for pair in angles]
    numbers = (number for number in range(10**6) if split_of(number) == options.split)
    renderer = open_renderer(options.edition, options.size)
    try:
        for number, _ in zip(numbers, range(options.identities)):
            path = options.out / f"{number:06d}.npz"
            if not path.exists():
                draw_person(renderer, options.assets, options.seed, number)
                rgba = np.stack([renderer.view(label).rgba for label in labels])
                np.savez(path, rgba=rgba, labels=np.stack(labels).astype(np.float32))
                print(path, flush=True)
    finally:
        renderer.close()
    return 0


def measure(options: argparse.Namespace) -> int:
    """RESULTS/000031.json: LPIPS and identity of every view, by how the head was made."""
    import jax

    import panojax
    from panojax.commands.cli import keep_compiled_programs
    from panojax.losses.perception import load_perception

    keep_compiled_programs()
    params, perception = panojax.load(options.checkpoint), load_perception("alex", "sface")
    side = params.config.generator.image_resolution
    options.out.mkdir(parents=True, exist_ok=True)

    @jax.jit
    def compare(params, perception, head, label, true):
        seen = jax.numpy.clip(panojax.render(params, head, label).image, -1, 1)[None]
        one, other = (perception.embed(x)[0] for x in (seen, true[None]))
        cosine = jax.numpy.vdot(one, other) / jax.numpy.linalg.norm(one) / jax.numpy.linalg.norm(other)
        return perception.distance(seen, true[None])[0], cosine

    views = range(options.first_view, len(VIEWS), options.every)
    for path in sorted(options.heads.glob("*.npz"))[: options.limit]:
        target = options.out / f"{path.stem}.json"
        rows = json.loads(target.read_text()) if target.exists() else {}
        images, labels = _on_white(path, side)
        photos, cameras = images[len(VIEWS) :], labels[len(VIEWS) :]
        wrong = _wrong_cameras(cameras[:3], int(path.stem))
        cases = {str(k): (photos[:k], cameras[:k]) for k in COUNTS}
        cases |= {"3, wrong": (photos[:3], wrong), "3, refined": (photos[:3], wrong)}
        for case, (pictures, given) in cases.items():
            if case in rows or (options.cases and case not in options.cases):
                continue
            begun = time.time()
            if case == "3, refined":
                given, moves = panojax.refine_cameras(params, pictures, wrong, perception=perception)
                rows["cameras"] = _camera_errors(wrong, given, cameras[:3], moves)
            head = jax.block_until_ready(panojax.invert_many(params, pictures, np.asarray(given)))
            seconds = time.time() - begun
            pairs = [compare(params, perception, head, labels[i], images[i]) for i in views]
            lpips, identity = ([float(x) for x in column] for column in zip(*pairs))
            yaws = [VIEWS[i][0] for i in views]
            rows[case] = {"yaw": yaws, "lpips": lpips, "identity": identity, "seconds": seconds}
            target.write_text(json.dumps(rows))
            print(f"{path.stem} {case}: LPIPS {np.mean(lpips):.4f}, {seconds:.1f} s", flush=True)
    return 0


def _on_white(path: pathlib.Path, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures [44, side, side, 3] in [-1, 1] and labels [44, 25] of a drawn head."""
    from panojax.nn.stylegan2 import pool

    data = np.load(path)
    rgba = data["rgba"].astype(np.float32)
    alpha = rgba[..., 3:] / 255
    images = (rgba[..., :3] / np.float32(127.5) - 1) * alpha + 1 - alpha
    return np.concatenate([np.asarray(pool(one[None], side)) for one in images]), data["labels"]


def _wrong_cameras(cameras: np.ndarray, number: int) -> np.ndarray:
    """Cameras turned about each of the world's axes by N(0, 4 degrees), and heads N(0, 3%) larger."""
    from panojax.inversion.refine import move_camera

    rng = np.random.default_rng(number)
    changes = np.zeros((len(cameras), 6), np.float32)
    changes[:, :3] = rng.normal(0, math.radians(WRONG_DEGREES), (len(cameras), 3))
    changes[:, 3] = rng.normal(0, WRONG_PERCENT / 100, len(cameras))
    return np.stack([np.asarray(move_camera(label, change)) for label, change in zip(cameras, changes)])


def _camera_errors(wrong, refined, true, moves) -> dict[str, list[float]]:
    """Degrees between directions, and percent of size, that cameras are off before and after refining."""

    def off(labels):
        turns = np.asarray(labels)[:, :16].reshape(-1, 4, 4)[:, :3, :3]
        cosines = (np.einsum("kij,kij->k", turns, true[:, :16].reshape(-1, 4, 4)[:, :3, :3]) - 1) / 2
        sizes = 100 * np.abs(np.log(np.asarray(labels)[:, 16] / true[:, 16]))
        return np.degrees(np.arccos(np.clip(cosines, -1, 1))).tolist(), sizes.tolist()

    (degrees, percent), (degrees_after, percent_after) = off(wrong), off(refined)
    return {
        "degrees": degrees,
        "percent": percent,
        "degrees_after": degrees_after,
        "percent_after": percent_after,
        "moved_degrees": np.asarray(moves.degrees).tolist(),
        "moved_percent": np.asarray(moves.percent).tolist(),
    }


def page(options: argparse.Namespace) -> int:
    """The figure and the tables, from the results of all heads that are done."""
    from panojax.disk.staging import replaced_when_done
    from panojax.eval.figures import write_curves

    heads = [json.loads(path.read_text()) for path in sorted(options.results.glob("*.json"))]
    heads = [rows for rows in heads if "3, refined" in rows]
    if not heads:
        print(f"{options.results} has no head that is done", file=sys.stderr)
        return 2
    figures = summarise(heads)
    angles = sorted({abs(_signed(yaw)) // 30 * 30 + 15 for yaw in heads[0]["1"]["yaw"]})
    curves = {
        f"{case} photo{'s' if case != '1' else ''}": [_mean(heads, case, "lpips", a - 15, a + 15) for a in angles]
        for case in map(str, COUNTS)
    }
    write_curves(
        options.docs / "several_photos.svg",
        "LPIPS at unseen views",
        angles,
        curves,
        axis="degrees from the front photo",
    )
    text = "\n".join(_tables(heads, figures))
    path = options.docs / PAGE
    before, _, rest = path.read_text().partition(START)
    after = rest.partition(END)[2]
    with replaced_when_done(path, overwrite=True) as partial:
        partial.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}")
    print(text)
    return 0


def summarise(heads: list[dict]) -> dict[str, dict[str, float]]:
    """{case: {"lpips", "back", "identity", "face"}}: means over all views, LPIPS from 90 to 180 degrees, identity over
    all views and up to 60 degrees."""
    cases = [*map(str, COUNTS), "3, wrong", "3, refined"]
    return {
        case: {
            "lpips": _mean(heads, case, "lpips", 0, 180),
            "back": _mean(heads, case, "lpips", 90, 180),
            "identity": _mean(heads, case, "identity", 0, 180),
            "face": _mean(heads, case, "identity", 0, 60),
        }
        for case in cases
    }


def _tables(heads: list[dict], figures: dict[str, dict[str, float]]) -> list[str]:
    views = len(heads[0]["1"]["yaw"])
    lines = [
        "![LPIPS by the angle from the front, of 1 to 8 photos](several_photos.svg)",
        "",
        f"{len(heads)} drawn test heads, {views} unseen views each.",
        "",
        "| photos | LPIPS, all views | LPIPS, 90° to 180° | identity, all views | identity, up to 60° |",
        "|---|---|---|---|---|",
    ]
    for case, row in figures.items():
        lines.append(f"| {case} | {row['lpips']:.4f} | {row['back']:.4f} | {row['identity']:.3f} | {row['face']:.3f} |")
    one, three = figures["1"], figures["3"]
    gain = one["lpips"] - three["lpips"]
    lost = {name: figures[f"3, {name}"]["lpips"] - three["lpips"] for name in ("wrong", "refined")}
    falls, rises = (
        all(sign * (figures[str(b)][name] - figures[str(a)][name]) < 0 for a, b in itertools.pairwise(COUNTS))
        for name, sign in (("lpips", 1), ("identity", -1))
    )
    cameras = [rows["cameras"] for rows in heads]
    off = {name: np.mean([row[name] for row in cameras]) for name in cameras[0]}
    loses = f"gain {gain:.4f}, loss {lost['refined']:.4f} refined, {lost['wrong']:.4f} not"
    lines += [
        "",
        "| claim | here | holds |",
        "|---|---|---|",
        f"| LPIPS falls with each further photo | the table | {_yes(falls)} |",
        f"| identity rises with each further photo | the table | {_yes(rises)} |",
        "| three photos (front, a side, the back): LPIPS at 90° to 180° at least 30% below one photo's | "
        f"{100 * (1 - three['back'] / one['back']):.0f}% below | {_yes(three['back'] <= 0.7 * one['back'])} |",
        "| cameras wrong by N(0, 4°) and 3%: refined, the loss against true ones is under a third of that gain | "
        f"{loses} | {_yes(lost['refined'] < gain / 3)} |",
        "",
        f"Cameras were off by {off['degrees']:.1f}° and {off['percent']:.1f}% on average, and by "
        f"{off['degrees_after']:.1f}° and {off['percent_after']:.1f}% after refining.",
    ]
    return lines


def _mean(heads: list[dict], case: str, figure: str, low: float, high: float) -> float:
    values = [
        value
        for rows in heads
        for yaw, value in zip(rows[case]["yaw"], rows[case][figure])
        if low <= abs(_signed(yaw)) <= high
    ]
    return float(np.mean(values)) if values else float("nan")


def _signed(yaw: float) -> float:
    return (yaw + 180) % 360 - 180


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def main() -> int:
    parser = argparse.ArgumentParser(description=re.split(r"\n\n", __doc__ or "")[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("draw")
    one.add_argument("--out", type=pathlib.Path, required=True)
    one.add_argument("--assets", type=pathlib.Path, required=True)
    one.add_argument("--identities", type=int, default=32)
    one.add_argument("--seed", type=int, default=5)
    one.add_argument("--size", type=int, default=256)
    one.add_argument("--edition", type=int, default=2, help="of the heads: the model's own training heads' edition")
    one.add_argument("--split", default="test")
    one.set_defaults(run=draw)
    one = commands.add_parser("measure")
    one.add_argument("--heads", type=pathlib.Path, required=True)
    one.add_argument("--out", type=pathlib.Path, required=True)
    one.add_argument("--checkpoint", default="default")
    one.add_argument("--limit", type=int)
    one.add_argument("--cases", nargs="*", help='some of 1, 2, 3, 5, 8, "3, wrong" and "3, refined"; all by default')
    one.add_argument("--every", type=int, default=1, help="take every so manieth of the 36 views")
    one.add_argument("--first-view", type=int, default=0)
    one.set_defaults(run=measure)
    one = commands.add_parser("page")
    one.add_argument("--results", type=pathlib.Path, required=True)
    one.add_argument("--docs", type=pathlib.Path, default=pathlib.Path("docs"))
    one.set_defaults(run=page)
    options = parser.parse_args()
    return options.run(options)


if __name__ == "__main__":
    sys.exit(main())
