"""How many photos of a folder `panojax invert` turns into heads in a second, from files to files.

    python benchmarks/folder.py photos --out PHOTOS --count 400
    python benchmarks/folder.py time --photos PHOTOS --work W --gpus 1 2 --workers 1 2 4 --out folder.json

`photos` makes photos of scikit-image's astronaut, each scaled, turned, mirrored and lit another way. `time` runs the
command in a process of its own for each number of GPUs and of workers, over so many photos that each GPU has
`--each`, without videos; the programs are compiled by a run over a few photos before. It prints photos a second over
the photos after the first ones, what the process's cores did, and the seconds that a photo takes step by step.
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import time

import numpy as np
from PIL import Image, ImageEnhance

SIDE = 1024
FIRST = 4  # photos a GPU that are not counted: what starts and compiles


def photos(options: argparse.Namespace) -> None:
    """PHOTOS/0000.jpg and so on."""
    import skimage.data

    source = Image.fromarray(skimage.data.astronaut())
    options.out.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(0)
    for number in range(options.count):
        image = source.rotate(draws.uniform(-15, 15), Image.Resampling.BICUBIC, fillcolor=(90, 90, 90))
        left, top, right, bottom = draws.uniform(0, 60, 4)
        image = image.crop((int(left), int(top), 512 - int(right), 512 - int(bottom))).resize((SIDE, SIDE))
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draws.random() < 0.5 else image
        image = ImageEnhance.Brightness(image).enhance(draws.uniform(0.7, 1.2))
        image.save(options.out / f"{number:04d}.jpg", quality=92)
    print(f"{options.out}: {options.count} photos of {SIDE} px")


def run(files: list[pathlib.Path], gpus: int, workers: int, options: argparse.Namespace) -> tuple[float, float, list]:
    """Seconds, processor seconds and reports of the command over some photos."""
    folder = options.work / "heads"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "panojax", "invert", *map(str, files), "--out", str(folder), "--video", "none"]
    command += ["--workers", str(workers), "--dtype", options.dtype, "--checkpoint", options.checkpoint]
    place = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(gpus)))} if gpus else {"JAX_PLATFORMS": "cpu"}
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=os.environ | place, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, processor, [json.loads(path.read_text()) for path in sorted(folder.glob("*/report.json"))]


def measure(options: argparse.Namespace) -> None:
    """A row for each number of GPUs (0: the CPU) and workers."""
    found = sorted(options.photos.glob("*.jpg"))
    rows = []
    if options.each <= FIRST or len(found) < options.each * max(options.gpus):
        sys.exit(f"there must be more than {FIRST} photos a GPU, and --each for all of them, got {len(found)} photos")
    for gpus in options.gpus:
        few, many = found[: FIRST * max(gpus, 1)], found[: options.each * max(gpus, 1)]
        run(few, gpus, 1, options)  # compiles
        for workers in options.workers:
            start, idle, _ = run(few, gpus, workers, options)
            seconds, processor, reports = run(many, gpus, workers, options)
            if len(reports) < len(many):
                sys.exit(f"of {len(many)} photos {len(many) - len(reports)} were left out: the rate would count them")
            rate = (len(many) - len(few)) / (seconds - start)
            cores = (processor - idle) / (seconds - start)
            steps = {name: statistics.median(one["seconds"][name] for one in reports) for name in reports[0]["seconds"]}
            rows.append({"gpus": gpus, "workers": workers, "photos": len(many), "photos_per_second": rate} | steps)
            rows[-1]["cores_busy"] = cores
            told = ", ".join(f"{name} {value:.2f}" for name, value in steps.items())
            print(
                f"{gpus} GPUs, {workers} workers each: {rate:.2f} photos/s, {cores:.1f} cores busy; s: {told}",
                flush=True,
            )
            options.out.write_text(json.dumps(rows, indent=1) + "\n")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("photos")
    step.add_argument("--out", type=pathlib.Path, required=True)
    step.add_argument("--count", type=int, default=400)
    step = steps.add_parser("time")
    step.add_argument("--photos", type=pathlib.Path, required=True)
    step.add_argument("--work", type=pathlib.Path, required=True)
    step.add_argument("--gpus", type=int, nargs="+", default=[1, 2], help="0: the CPU")
    step.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    step.add_argument("--each", type=int, default=200, help="photos a GPU")
    step.add_argument("--checkpoint", default="default")
    step.add_argument("--dtype", default="float32")
    step.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    {"photos": photos, "time": measure}[options.step](options)


if __name__ == "__main__":
    main()
