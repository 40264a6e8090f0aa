"""How fast the pipeline feeds a prepared set: `python -m panojax.data.speed FOLDER`."""

import dataclasses
import pathlib
import sys
import time

import tyro

from panojax.commands.process import run_process
from panojax.data.pipeline import PipelineConfig, make_batches
from panojax.data.records import RecordSet, open_set
from panojax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Speed:
    """What `measure_speed` found.

    Attributes:
      images_per_second: by the clock, with whatever else the machine does.
      cpu_seconds: of this process per image, all threads together; its inverse is what one free core can do.
    """

    images_per_second: float
    cpu_seconds: float


def measure_speed(records: RecordSet, config: PipelineConfig, batches: int = 60) -> Speed:
    """Feeds `batches` batches after as many as the pipeline makes ahead, so that none was ready before."""
    if batches < 1:
        raise InputError(f"batches must be at least 1, got {batches}")
    feed = make_batches({"set": records}, config)
    for _ in range(config.prefetch + 1):
        next(feed)
    clock, cpu = time.perf_counter(), time.process_time()
    for _ in range(batches):
        next(feed)
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    feed.close()
    return Speed(batches * config.batch_size / clock, cpu / (batches * config.batch_size))


def command(
    folder: tyro.conf.Positional[pathlib.Path],
    split: str = "train",
    batch_size: int = 32,
    resolution: int = 256,
    threads: int = 4,
    batches: int = 60,
) -> None:
    """Prints images per second: float32 batches, half of them mirrored, composed on white where the set has masks.

    Args:
        folder: A prepared set.
        split: Its split.
        batch_size: Images per batch.
        resolution: Side of the images in pixels.
        threads: Threads that make batches.
        batches: Batches to time.
    """
    records = open_set(folder, split)
    background = (255, 255, 255) if "mask" in records.fields else None
    config = PipelineConfig(batch_size=batch_size, resolution=resolution, threads=threads, background=background)
    speed = measure_speed(records, config, batches)
    print(
        f"{speed.images_per_second:.0f} images per second; {1000 * speed.cpu_seconds:.2f} ms of CPU per image, "
        f"{1 / speed.cpu_seconds:.0f} images per second and free core"
    )


def main(arguments: list[str] | None = None) -> int:
    """The command line; 2 for input that cannot be used."""

    def body() -> None:
        tyro.cli(command, args=arguments, prog="python -m panojax.data.speed")

    return run_process(body, "")


if __name__ == "__main__":
    sys.exit(main())
