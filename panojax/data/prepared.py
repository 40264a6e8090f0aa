"""Photos from sets that `python -m panojax.data` prepared, by their Grain pipeline, for the training loop."""

import pathlib
from collections.abc import Sequence
from typing import Literal

from panojax.data.balance import Resampled, YawBalance, balance_yaw
from panojax.data.pipeline import Batches, PipelineConfig, make_batches
from panojax.data.records import RecordSet, open_set, read_cameras
from panojax.errors import InputError

WHITE = (255, 255, 255)


def open_prepared(
    folders: Sequence[str | pathlib.Path],
    batch: int,
    resolution: int,
    *,
    part: Literal["train", "validation"],
    seed: int = 0,
    mirror: bool = True,
    max_copies: float = 1.0,
    masks: bool = False,
    processes: tuple[int, int] = (0, 1),
) -> Batches:
    """Endless batches of pictures on white and cameras, mixed by the sets' sizes.

    Args:
      folders: each holds one prepared set.
      batch: samples of the whole batch; this process gives `batch / processes` of them.
      resolution: side of the pictures.
      part: "validation" takes a set's split of that name, or else "test", in the order of its records.
      seed: of order and mirroring.
      mirror: mirror half of the pictures, with their cameras.
      masks: batches have "mask" as well, where the sets have masks.
      max_copies: records of rare yaws come up to so many times as often as others.
      processes: (this one's index, how many).

    Raises:
      InputError: a folder holds no set or several, a set has no such split, or some sets have masks and others not.
    """
    index, count = processes
    if batch % count:
        raise InputError(f"batch must be a multiple of the {count} processes, got {batch}")
    sets = {str(folder): _open_part(folder, part) for folder in folders}
    masked = {name: "mask" in source.fields for name, source in sets.items()}
    if len(set(masked.values())) > 1:
        without = ", ".join(name for name, has in masked.items() if not has)
        raise InputError(f"data must have masks in all sets or in none, got none in {without}")
    sources: dict[str, RecordSet | Resampled] = dict(sets)
    if max_copies > 1:
        balance = YawBalance(max_copies=max_copies)
        sources = {name: balance_yaw(source, read_cameras(source), balance) for name, source in sets.items()}
    have_masks = all(masked.values())
    config = PipelineConfig(
        batch_size=batch // count,
        resolution=resolution,
        fields=("image", "camera", "mask") if masks and have_masks else ("image", "camera"),
        background=WHITE if have_masks else None,
        mirror=0.5 if mirror else 0.0,
        shuffle=part == "train",
        seed=seed,
    )
    weights = {name: float(len(source)) for name, source in sources.items()}
    return make_batches(sources, config, weights=weights, process_index=index, process_count=count)


def _open_part(folder: str | pathlib.Path, part: str) -> RecordSet:
    try:
        return open_set(folder, part)
    except InputError:
        if part != "validation":
            raise
        return open_set(folder, "test")
