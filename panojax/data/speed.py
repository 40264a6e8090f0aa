"""How fast the data path feeds folders of any kind: `python -m panojax.data.speed FOLDER...`."""

import dataclasses
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import Literal

import numpy as np
import tyro

from panojax.data.opening import open_folders, share_weights
from panojax.data.picture_store import WHITE
from panojax.data.pipeline import PipelineConfig, make_batches
from panojax.data.reader import Reader
from panojax.errors import InputError
from panojax.terminal.process import run_function

# What batches hold for whom: encoders take numbers, with masks and other views where they need them; generators bytes.
KINDS = {
    "encoder": ("image", "camera"),
    "views": ("image", "camera", "mask", "other_image", "other_camera"),
    "generator": ("pixels", "camera", "pose", "head", "mirrored"),
}


@dataclasses.dataclass(frozen=True)
class Speed:
    """What `measure_speed` found.

    Attributes:
      images_per_second: by the clock, with whatever else the machine does.
      cpu_seconds: of this process per image, all threads together; its inverse is what one free core can do. Work of
        `workers`, which are processes of their own, is not in it.
    """

    images_per_second: float
    cpu_seconds: float


def measure_speed(readers: Mapping[str, Reader], config: PipelineConfig, batches: int = 60) -> Speed:
    """Feeds `batches` batches after as many as the pipeline makes ahead, so that none was ready before.

    Where the configuration keeps pictures in memory, they are read before.
    """
    if batches < 1:
        raise InputError(f"batches must be at least 1, got {batches}")
    feed = make_batches(readers, config, weights=share_weights(readers))
    for store in feed.stores:
        if store.keep:
            store.fill(np.arange(len(store)))
    for _ in range(config.prefetch + 1):
        next(feed)
    clock, cpu = time.perf_counter(), time.process_time()
    for _ in range(batches):
        next(feed)
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    feed.close()
    return Speed(batches * config.batch_size / clock, cpu / (batches * config.batch_size))


def command(
    folders: tyro.conf.Positional[tuple[pathlib.Path, ...]],
    part: Literal["train", "validation"] = "train",
    masks: str | None = None,
    kind: Literal["encoder", "views", "generator"] = "encoder",
    batch_size: int = 32,
    resolution: int = 256,
    memory: float = 0.0,
    threads: int = 4,
    workers: int = 0,
    batches: int = 60,
) -> None:
    """Prints images per second: half of them mirrored, composed on white where there are masks.

    For example:

        python -m panojax.data.speed HEADS --resolution 64 --memory 4

    Args:
        folders: In EG3D's layout, of `panojax heads`, or prepared sets.
        part: Which part of them.
        masks: Folder of masks inside those in EG3D's layout.
        kind: What batches hold: pictures and cameras for an encoder, masks and other views as well, or bytes for a
            generator.
        batch_size: Images per batch.
        resolution: Side of the images in pixels.
        memory: Read from memory where the pictures take at most so many gigabytes, otherwise from disk.
        threads: Threads that make batches.
        workers: Processes that make them instead.
        batches: Batches to time.
    """
    readers = open_folders(folders, part=part, masks=masks)
    masked = all("mask" in reader.fields for reader in readers.values())
    config = PipelineConfig(
        batch_size=batch_size,
        resolution=resolution,
        fields=KINDS[kind],
        background=WHITE if masked else None,
        cache_gigabytes=memory,
        threads=threads,
        workers=workers,
    )
    speed = measure_speed(readers, config, batches)
    print(
        f"{speed.images_per_second:.0f} images per second; {1000 * speed.cpu_seconds:.3f} ms of CPU per image, "
        f"{1 / speed.cpu_seconds:.0f} images per second and free core"
    )


def main(arguments: list[str] | None = None) -> int:
    """The command line; 2 for input that cannot be used."""
    return run_function(command, "python -m panojax.data.speed", arguments)


if __name__ == "__main__":
    sys.exit(main())
