"""Readers to batches by Grain: shuffled, mirrored, on one background, mixed by ratio, in an order that a seed fixes.

    readers = {"ffhq": open_set("sets/eg3d_folder/ffhq"), "heads": open_heads("raw/heads")}
    batches = make_batches(readers, PipelineConfig(batch_size=32), weights={"ffhq": 3, "heads": 1})
    batch = next(batches)               # {"image": [32, 256, 256, 3], "camera": [32, 25], ...}
    state = batches.get_state()         # JSON; set_state on an equal pipeline goes on with the very next batch

Grain's elements are whole steps: a step's number becomes its rows (`order`), rows become pictures (`picture_store`),
read ahead by threads or processes. Step k depends on the seed and k alone. Process i of n takes the i-th part of each
step, so that n processes of batch size b see together what one of n * b sees.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from panojax.data.balance import shown_rows
from panojax.data.batch_maker import FIELDS, NEEDS, BatchMaker
from panojax.data.order import Choice, Order, Stream
from panojax.data.picture_store import PictureStore, SizedPictures
from panojax.data.reader import Reader
from panojax.errors import InputError, check_choice
from panojax.extras import need

# What is taken from all rows at once, which a generator has not.
_KNOWN = {"head", "other_image", "other_mask", "other_camera", "pose", "more_poses", "row"}
# What only changes the speed.
_SPEED = ("threads", "prefetch", "workers", "cache_gigabytes")


class Source(Protocol):
    """Where training gets its batches: an endless iterator that can be stopped and continued.

    A batch is {"image": float32 [n, R, R, 3] in [-1, 1], "camera": float32 [n, 25]}, maybe with "mask": [n, R, R, 1] in
    [0, 1] and another view of each head, "other_image" and "other_camera": NumPy arrays, this process's samples.
    """

    def __next__(self) -> Any:
        """The next batch."""

    def get_state(self) -> Any:
        """What `set_state` needs to go on after the last batch given, as JSON."""

    def set_state(self, state: Any) -> None:
        """Goes on from there."""


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    """What batches hold and how they are made."""

    batch_size: int = 16
    """Samples per batch of this process."""
    resolution: int = 256
    """Side of the pictures, in pixels. Prepare sets at this size: resizing costs time."""
    fields: tuple[str, ...] = ("image", "camera")
    """What a batch holds, see `batch_maker`."""
    background: tuple[int, int, int] | None = None
    """Compose pictures on this colour (red, green, blue in 0..255; white is 255, 255, 255) by their masks. None leaves
    pictures as they are stored."""
    mirror: float | Literal["both"] = 0.5
    """Share of samples that are mirrored, label included; "both" shows each as often mirrored as not in every epoch."""
    shuffle: bool = True
    """False keeps the readers' order."""
    epochs: int | None = None
    """How often to go through the readers; None never ends. With several, the first that ends ends all."""
    drop_remainder: bool = True
    """False gives a smaller last batch where `epochs` is a number."""
    dtype: Literal["float32", "uint8"] = "float32"
    """Of image and mask: "float32" in [-1, 1] and [0, 1], or the bytes in 0..255."""
    seed: int = 0
    """Fixes the order and which samples are mirrored."""
    cache_gigabytes: float = 4.0
    """Pictures are kept in memory, as bytes at this resolution, where they take no more than this."""
    threads: int = 4
    """Threads that make batches. Decoding leaves Python's lock, so a few per core are enough."""
    prefetch: int = 8
    """Batches made ahead."""
    workers: int = 0
    """Processes that make batches instead of threads of this one, for hosts with many cores; 0 for none. They keep no
    pictures."""

    def __post_init__(self):
        check_choice("dtype", self.dtype, ("float32", "uint8"))
        for name, least in (("batch_size", 1), ("resolution", 1), ("threads", 1), ("prefetch", 1), ("workers", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.epochs is not None and self.epochs < 1:
            raise InputError(f"epochs must be at least 1 or None, got {self.epochs}")
        if self.mirror != "both" and not (isinstance(self.mirror, int | float) and 0 <= self.mirror <= 1):
            raise InputError(f'mirror must lie in 0..1 or be "both", got {self.mirror!r}')
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed must lie in 0..2**32 - 1, got {self.seed}")
        if not self.cache_gigabytes >= 0:
            raise InputError(f"cache_gigabytes must not be negative, got {self.cache_gigabytes}")
        if not self.fields or not set(self.fields) <= set(FIELDS):
            raise InputError(f"fields must be some of {', '.join(FIELDS)}, got {', '.join(self.fields)}")
        colour = self.background
        if colour is not None and (len(colour) != 3 or not all(isinstance(c, int) and 0 <= c <= 255 for c in colour)):
            raise InputError(f"background must be three integers in 0..255 or None, got {colour}")


class Batches:
    """A `Source` of batches from readers, by `make_batches`.

    Attributes:
      stores: the readers' pictures, in their order.
    """

    def __init__(self, steps: Any, config: PipelineConfig, pipeline: str, stores: Sequence[PictureStore]):
        self.stores = tuple(stores)
        self._steps, self._config, self._pipeline = steps, config, pipeline
        self._iterator: Any = None
        self.seek(0)

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        if self._iterator is None:
            self._iterator = iter(_ahead(self._steps[self._position :], self._config))
        batch: dict[str, np.ndarray] = next(self._iterator)
        self._position += 1
        return batch

    @property
    def position(self) -> int:
        """The number of the batch that comes next."""
        return self._position

    def seek(self, position: int) -> None:
        """Goes to a batch by its number: any batch can be made without those before it."""
        self.close()
        self._position = position

    def get_state(self) -> dict[str, Any]:
        """Where the iterator is, as JSON: what `set_state` needs to go on with the batch that would come next.

        Processes that are in step have equal states: saving one of them is enough.
        """
        return {"pipeline": self._pipeline, "position": self._position}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes to where `get_state` was called.

        Raises:
          InputError: the state is of a pipeline with other readers, options or processes.
        """
        if not isinstance(state, Mapping) or state.keys() != {"pipeline", "position"}:
            raise InputError(f"state must be what get_state returned, got {str(state)[:80]}")
        if state["pipeline"] != self._pipeline:
            raise InputError(
                f"state must be of a pipeline with these sources, options and batch size ({self._pipeline}), "
                f"got one of {state['pipeline']}"
            )
        self.seek(int(state["position"]))

    def close(self) -> None:
        """Stops the threads or processes that make batches ahead."""
        if self._iterator is not None:
            self._iterator.close()
        self._iterator = None


def make_batches(
    readers: Mapping[str, Reader],
    config: PipelineConfig,
    *,
    weights: Mapping[str, float] | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> Batches:
    """An iterator over the batches of one process.

    Args:
      readers: by name, also with rows left out or repeated (`balance.Resampled`).
      config: what batches hold.
      weights: by the readers' names, how many samples of each come for one another; None takes them evenly. The mix is
        by count, not by chance: any run of samples is as mixed as it can be.
      process_index, process_count: `jax.process_index()` and `jax.process_count()` where several train together.

    Returns:
      Batches of what `config.fields` names, see `batch_maker`.

    Raises:
      InputError: grain is missing; there is no reader, one lacks a field that is needed or has fewer samples than there
        are processes, weights are not of the readers, or the process is none of them.
    """
    grain = need("grain", "feeding training")
    shares = _check(readers, config, weights, process_index, process_count)
    shown = [shown_rows(reader) for reader in readers.values()]
    order = Order(
        [_stream(base, rows, share, config) for (base, rows), share in zip(shown, shares)],
        config.batch_size * process_count,
        seed=config.seed,
        mirror=config.mirror,
        shuffle=config.shuffle,
        epochs=config.epochs,
        others=_others(config),
        poses=3 if "more_poses" in config.fields else int("pose" in config.fields),
    )
    stores = _stores(shown, config)
    steps = grain.MapDataset.range(_count_steps(order, config, process_count))
    steps = steps.map(functools.partial(_choose, order=order, process=(process_index, process_count)))
    steps = steps.map(BatchMaker(stores, fields=config.fields, dtype=config.dtype))
    return Batches(steps, config, fingerprint(readers, config, shares, order.batch), stores)


def fingerprint(readers: Mapping[str, Reader], config: PipelineConfig, shares: Sequence[float], batch: int) -> str:
    """A digest of all that decides which samples come when, the same in all processes, however many.

    What only changes the speed is left out.
    """
    told = [[name, repr(reader)] for name, reader in readers.items()]
    options = {name: value for name, value in dataclasses.asdict(config).items() if name not in _SPEED}
    return hashlib.sha256(json.dumps([told, options | {"batch_size": batch}, list(shares)]).encode()).hexdigest()[:16]


def _ahead(steps: Any, config: PipelineConfig) -> Any:
    """An iterable over steps that makes some ahead."""
    grain = need("grain", "feeding training")
    if not config.workers:
        return steps.to_iter_dataset(
            grain.ReadOptions(num_threads=config.threads, prefetch_buffer_size=config.prefetch)
        )
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # Grain's processes read absl's flags
    one_by_one = steps.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=1))
    buffers = max(1, config.prefetch // config.workers)
    return one_by_one.mp_prefetch(grain.MultiprocessingOptions(config.workers, buffers)).map(_own)


def _own(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The batch in this process's own memory, so that what the workers share is free again."""
    return {name: np.array(values) for name, values in batch.items()}


def _stream(base: Reader, rows: np.ndarray, share: float, config: PipelineConfig) -> Stream:
    if base.endless:
        return Stream(None, share=share)
    return Stream(rows, base.heads if _others(config) else None, share)


def _stores(shown: Sequence[tuple[Reader, np.ndarray]], config: PipelineConfig) -> list[PictureStore]:
    """The stores of readers, of which so many rows are shown."""
    fields = set(config.fields)
    depth, mask = bool({"depth", "depths"} & fields), bool({"mask", "other_mask", "pixels"} & fields)
    picture_bytes = config.resolution**2 * (6 if depth else 4)
    kept_bytes = picture_bytes * sum(len(np.unique(rows)) for _, rows in shown)
    keep = not config.workers and kept_bytes <= 1e9 * config.cache_gigabytes
    return [
        PictureStore(
            SizedPictures(base, config.resolution, config.background, mask, depth), keep=keep and not base.endless
        )
        for base, _ in shown
    ]


def _count_steps(order: Order, config: PipelineConfig, process_count: int) -> int:
    """All processes make as many batches, the last of equal parts."""
    if order.samples is None:
        return 2**48
    whole, rest = divmod(order.samples, order.batch)
    return whole + (not config.drop_remainder and rest >= process_count)


def _choose(step: int, order: Order, process: tuple[int, int]) -> Choice:
    """What a process shows at a step."""
    index, count = process
    there = order.batch if order.samples is None else min(order.batch, order.samples - int(step) * order.batch)
    share = there // count
    return order(int(step), slice(index * share, (index + 1) * share))


def _others(config: PipelineConfig) -> bool:
    return bool({"other_image", "other_camera"} & set(config.fields))


def _needed(config: PipelineConfig) -> tuple[str, ...]:
    """Fields that readers must have."""
    own = [NEEDS[name] for name in config.fields if name in NEEDS]
    return tuple(dict.fromkeys((*own, *(() if config.background is None else ("mask",)))))


def _check(
    readers: Mapping[str, Reader],
    config: PipelineConfig,
    weights: Mapping[str, float] | None,
    process_index: int,
    process_count: int,
) -> list[float]:
    """The weights in the readers' order; an InputError for arguments that make no pipeline."""
    if not readers:
        raise InputError("sources must hold at least one source, got none")
    if not 0 <= process_index < process_count:
        raise InputError(f"process_index must lie in 0..{process_count - 1}, got {process_index}")
    for name, reader in readers.items():
        if missing := sorted(set(_needed(config)) - set(reader.fields)):
            raise InputError(f"source {name} must have {', '.join(missing)}, got {', '.join(reader.fields)}")
        if len(reader) < process_count:
            raise InputError(f"source {name} must have a sample per process, got {len(reader)} for {process_count}")
        if reader.endless and config.workers:
            raise InputError(f"workers must be 0 with the generator as source {name}, got {config.workers}")
        if reader.endless and (known := _KNOWN & set(config.fields)):
            raise InputError(f"fields must not name {', '.join(sorted(known))} with the generator as source {name}")
    if weights is None:
        return [1.0] * len(readers)
    if weights.keys() != readers.keys() or not all(weight > 0 for weight in weights.values()):
        raise InputError(f"weights must be positive for {', '.join(readers)}, got {dict(weights)}")
    return [float(weights[name]) for name in readers]
