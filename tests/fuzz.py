"""Damages files of every kind that panojax reads, and looks how they are refused.

    python tests/fuzz.py --seconds 600 --seed 0

Bits are flipped, files cut, blanked, lengthened and replaced by FIFOs and endless devices, and every field of their
JSON gets odd values. Whatever is read must be read, or refused by an InputError of one line: within a minute, with less
than 2 GB of memory. What is not is printed with the round's number, which `--only ROUND` repeats.
"""

import argparse
import collections
import dataclasses
import faulthandler
import io
import json
import os
import pathlib
import random
import resource
import shutil
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import panojax
from panojax.commands.arguments import read_camera
from panojax.config import from_json, to_json
from panojax.converters.generator_settings import generator_config
from panojax.converters.read import read_array, read_checkpoint, read_tensors
from panojax.data import eg3d_folder
from panojax.disk.reading import read_bytes, read_json
from panojax.editing.directions import read_directions, save_directions
from panojax.encoders.encoder_config import light
from panojax.files import packed
from panojax.files.head_file import read_head, save_head
from panojax.files.image_file import read_image
from panojax.params import random_params, tiny
from panojax.synthetic import storage
from panojax.synthetic.render import View
from panojax.train.checkpoints import Checkpoints
from panojax.train.encoder.presets import tiny as tiny_run
from panojax.train.export import read_run
from panojax.train.loop import remember

GOLDEN = pathlib.Path(__file__).parent / "golden"
MEMORY = 2 * 2**30  # bytes
PATIENCE = 60  # seconds
ODD: list[Any] = [None, "", "512", "x" * 5000, "\0", [], {}, [[]], True, -1, 0, 2**31, 10**12, 10**400, 0.5, 1e308]
ODD += [float("nan"), float("inf"), -1e9, "auto", "../..", "/dev/zero", [1, 2, 3], {"a": {"b": [1]}}]


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of files: `make` writes a folder of good ones, `read` reads them."""

    make: Callable[[pathlib.Path], Any]
    read: Callable[[pathlib.Path], Any]


def model() -> panojax.Params:
    """A model of some kilobytes."""
    generator = dataclasses.replace(
        tiny().generator, z_dim=8, w_dim=16, channel_base=128, channel_max=8, plane_resolution=8, plane_features=4
    )
    generator = dataclasses.replace(generator, decoder_hidden=8, superresolution_channels=(4, 4))
    widths = {"widths": (16, 16, 16, 16), "depths": (1, 1, 1, 1), "head_width": 16}
    encoder = light(resolution=32, n_styles=generator.num_ws, w_dim=16, out_channels=36, **widths)
    return random_params(panojax.Config(generator, encoder))


def kinds() -> dict[str, Kind]:
    """All of them, by name."""
    params = model()
    config = params.config.generator
    head = panojax.Head(planes=jnp.zeros(config.field.shape), ws=jnp.zeros((config.num_ws, config.w_dim)))
    picture = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    camera = np.asarray(panojax.look_at(0.3)).tolist()
    state = {"a": jnp.arange(999.0), "step": jnp.int32(3)}

    def head_record(folder: pathlib.Path) -> None:
        save_head(head, folder / "head.npz", params=params)
        with np.load(folder / "head.npz") as arrays:
            (folder / "record.json").write_bytes(arrays["model"].tobytes())
        (folder / "head.npz").unlink()

    def read_record(folder: pathlib.Path) -> None:
        """The head's file, whose record is what the JSON beside it says."""
        record = np.frombuffer(read_bytes(folder / "record.json", limit=2**20), np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, model=record, planes=np.asarray(head.planes), ws=np.asarray(head.ws))
        made = folder.parent / "made.npz"
        made.write_bytes(buffer.getvalue())
        read_head(made)

    def options(folder: pathlib.Path) -> None:
        found = read_checkpoint(GOLDEN / "panohead_mini.pkl")
        texts = {"init_kwargs": found.init_kwargs, "rendering_kwargs": found.rendering_kwargs, "resolution": 64}
        (folder / "options.json").write_text(json.dumps(texts))

    def read_options(folder: pathlib.Path) -> None:
        found = read_json(folder / "options.json")
        if not isinstance(found, dict) or not all(
            isinstance(found.get(name), dict) for name in ("init_kwargs", "rendering_kwargs")
        ):
            return  # the reader gives nothing else
        resolution = found.get("resolution")
        generator_config(found["init_kwargs"], found["rendering_kwargs"], neural_rendering_resolution=resolution)

    def safetensors(folder: pathlib.Path) -> None:
        header = json.dumps({"a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
        (folder / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(24))

    def dataset(folder: pathlib.Path) -> None:
        for name in ("a.png", "b.jpg"):
            Image.fromarray(picture).save(folder / name)
        (folder / "dataset.json").write_text(json.dumps({"labels": [["a.png", camera], ["b.jpg", camera]]}))

    def pictures(folder: pathlib.Path) -> None:
        for suffix in ("png", "jpg", "webp", "tiff", "gif", "bmp", "ppm", "tga", "jp2"):
            Image.fromarray(picture).save(folder / f"a.{suffix}")

    def training(folder: pathlib.Path) -> None:
        with Checkpoints(folder / "checkpoints") as checkpoints:
            for step in (1, 2):
                checkpoints.save(step, state, {"position": step}, validation=1.0 / step)

    def resume(folder: pathlib.Path) -> None:
        with Checkpoints(folder / "checkpoints") as checkpoints:
            restored, source, step = checkpoints.restore(state)
        assert source == {"position": step}
        np.testing.assert_array_equal(restored["a"], np.arange(999.0))

    def run(folder: pathlib.Path) -> None:
        remember(folder, tiny_run(), free=frozenset(), model=params.config)

    def read_config(folder: pathlib.Path) -> None:
        read_run(folder)
        remember(folder, tiny_run(), free=frozenset(), model=params.config)

    def identity(folder: pathlib.Path) -> None:
        grey = np.zeros((16, 16), np.uint8)
        view = View(rgba=np.zeros((16, 16, 4), np.uint8), depth=grey.astype(np.uint16), parts=grey)
        storage.write_identity(folder / "000001.zip", {"split": "train"}, np.array([camera], np.float32), [view])

    def loaded(folder: pathlib.Path) -> None:
        found = panojax.load(folder / "model")
        same = jax.tree.map(lambda a, b: bool((a == b).all()), found.generator, params.generator)
        assert all(jax.tree.leaves(same)), "a damaged checkpoint was loaded"

    def config_json(folder: pathlib.Path) -> None:
        from_json(panojax.Config, read_json(folder / "config.json"))

    return {
        "checkpoint": Kind(lambda folder: panojax.save(params, folder / "model"), loaded),
        "packed": Kind(
            lambda folder: packed.write_packed(folder, params.config, params.generator, params.encoders), panojax.load
        ),
        "head": Kind(lambda f: save_head(head, f / "a.npz", params=params), lambda f: read_head(f / "a.npz")),
        "head record": Kind(head_record, read_record),
        "pickle": Kind(
            lambda folder: shutil.copy(GOLDEN / "panohead_mini.pkl", folder / "a.pkl"),
            lambda folder: read_checkpoint(folder / "a.pkl"),
        ),
        "pickle's options": Kind(options, read_options),
        "safetensors": Kind(safetensors, lambda folder: read_tensors(folder / "a.safetensors")),
        "npy": Kind(lambda f: np.save(f / "a.npy", np.eye(3)), lambda f: read_array(f / "a.npy")),
        "dataset.json": Kind(dataset, lambda f: eg3d_folder.plan(eg3d_folder.FolderOptions(f, "x", size=16))),
        "pictures": Kind(pictures, lambda folder: [_either(read_image, path) for path in folder.iterdir()]),
        "training checkpoint": Kind(training, resume),
        "training config": Kind(run, read_config),
        "model config": Kind(lambda f: (f / "config.json").write_text(json.dumps(to_json(params.config))), config_json),
        "identity": Kind(identity, lambda folder: storage.read_identity(folder / "000001.zip")),
        "directions": Kind(
            lambda f: save_directions({"age": np.ones((config.num_ws, 16))}, f / "a.npz", params=params),
            lambda f: read_directions(f / "a.npz", params),
        ),
        "camera": Kind(
            lambda f: (f / "a.json").write_text(json.dumps({"labels": [["a.png", camera]]})),
            lambda f: read_camera(str(f / "a.json"), "a.png"),
        ),
    }


def _either(read: Callable[[Any], Any], path: pathlib.Path) -> None:
    try:
        read(path)
    except panojax.InputError as error:
        _check_line(error)


def _check_line(error: Exception) -> None:
    text = str(error)
    assert text and "\n" not in text and len(text) < 3000, f"not one line: {text[:300]!r}"


def damage(path: pathlib.Path, rng: random.Random) -> str:
    """Changes a file in some way; says how."""
    data = bytearray(path.read_bytes())
    ways = ["bits", "cut", "blank", "longer", "odd", "odd", "odd", "gone", "empty", "special"]
    way = rng.choice(ways)
    if way == "odd":
        try:
            path.write_text(json.dumps(_odd(json.loads(data), rng)))
            return "odd value"
        except (ValueError, RecursionError):
            way = "bits"
    if way == "bits" and data:
        for _ in range(rng.choice((1, 1, 1, 4, 64))):
            data[rng.randrange(min(len(data), rng.choice((64, 4096, len(data)))))] ^= 1 << rng.randrange(8)
    elif way == "cut":
        del data[rng.randrange(len(data) + 1) :]
    elif way == "blank" and data:
        start = rng.randrange(len(data))
        stop = min(len(data), start + rng.choice((1, 8, 512)))
        data[start:stop] = bytes([rng.choice((0, 255))]) * (stop - start)
    elif way == "longer":
        data += rng.randbytes(rng.choice((1, 512)))
    elif way == "empty":
        data = bytearray()
    elif way in ("gone", "special"):
        path.unlink()
        if way == "special":
            made = rng.choice((os.mkfifo, os.mkdir, lambda p: os.symlink("/dev/zero", p), lambda p: os.symlink(p, p)))
            made(path)
        return way
    path.write_bytes(data)
    return way


def _odd(value: Any, rng: random.Random) -> Any:
    """JSON with an odd value somewhere."""
    if isinstance(value, dict) and value and rng.random() < 0.95:
        name = rng.choice(list(value))
        if rng.random() < 0.05:
            return {other: part for other, part in value.items() if other != name}
        return value | {name: _odd(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        i = rng.randrange(len(value))
        return [*value[:i], _odd(value[i], rng), *value[i + 1 :]]
    return rng.choice(ODD)


def fuzz(seconds: float, seed: int, only: int | None = None, names: list[str] | None = None) -> int:
    """Damages and reads in turn for a time; the number of faults, which are printed."""
    found = {name: kind for name, kind in kinds().items() if not names or name in names}
    faults, counts = 0, collections.Counter[str]()
    with tempfile.TemporaryDirectory() as base:
        good = {name: pathlib.Path(base, "good", name) for name in found}
        for name, kind in found.items():
            good[name].mkdir(parents=True)
            kind.make(good[name])
            kind.read(good[name])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        end, number = time.monotonic() + seconds, -1 if only is None else only - 1
        while time.monotonic() < end and (only is None or number < only):
            number += 1
            name = list(found)[number % len(found)]
            rng = random.Random(f"{seed} {number}")
            folder = pathlib.Path(base, "bad")
            shutil.copytree(good[name], folder)
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            path = rng.choice(files)
            how = f"round {number}, {name}, {path.relative_to(folder)}: {damage(path, rng)}"
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            start = time.monotonic()
            try:
                found[name].read(folder)
                counts[f"{name}: read"] += 1
            except panojax.InputError as error:
                counts[f"{name}: refused"] += 1
                try:
                    _check_line(error)
                except AssertionError as wrong:
                    faults += 1
                    print(f"{how}: {wrong}", flush=True)
            except Exception:
                faults += 1
                print(f"{how}\n{traceback.format_exc()}", flush=True)
            if time.monotonic() - start > PATIENCE / 6:
                print(f"{how}: took {time.monotonic() - start:.1f} s", flush=True)
            faulthandler.cancel_dump_traceback_later()
            shutil.rmtree(folder)
            used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            if used > max(before, MEMORY):
                faults, before = faults + 1, used
                print(f"{how}: {used / 2**30:.2f} GB of memory", flush=True)
    for name in sorted(counts):
        print(f"{name:32} {counts[name]:6}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{sum(counts.values())} rounds, {faults} faults, {peak:.2f} GB at most")
    return faults


def main() -> int:
    """The command line; 1 where a fault was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="ROUND", help="repeat this round alone")
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="only these")
    options = parser.parse_args()
    return int(fuzz(options.seconds, options.seed, options.only, options.kinds) > 0)


if __name__ == "__main__":
    sys.exit(main())
