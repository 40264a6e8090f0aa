"""Sources to batches: shuffled, mirrored, composed on a colour, mixed by ratio, in an order that a seed fixes.

    sources = {"ffhq": open_set("sets/eg3d_folder/ffhq"), "heads": open_set("sets/heads")}
    batches = make_batches(sources, PipelineConfig(batch_size=32), weights={"ffhq": 3, "heads": 1})
    batch = next(batches)               # {"image": [32, 256, 256, 3], "camera": [32, 25], ...}
    state = batches.get_state()         # JSON; set_state on an equal pipeline goes on with the very next batch

An epoch of a source shows each of its samples once, in an order of its own. Process i of n takes samples i, i + n, ...
of that order, so that n processes of batch size b see, per step, the samples that one of n * b sees (with several
sources: the same samples of each source in the long run).
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from absl import flags
from PIL import Image

from panojax.data import pictures
from panojax.data.generated import GeneratedHeads
from panojax.data.records import Source
from panojax.errors import InputError, check_choice
from panojax.extras import need

if TYPE_CHECKING:
    import grain

FIELDS = ("image", "camera", "mask", "depth")


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    """What batches hold and how they are made."""

    batch_size: int = 16
    """Samples per batch of this process."""
    resolution: int = 256
    """Side of the pictures, in pixels. Prepare sets at this size: resizing costs time."""
    fields: tuple[str, ...] = ("image", "camera")
    """What a batch holds: "image" and "camera", and "mask" or "depth" where all sources have them."""
    background: tuple[int, int, int] | None = None
    """Compose pictures on this colour (red, green, blue in 0..255; white is 255, 255, 255) by their masks. None leaves
    pictures as they are stored."""
    mirror: float = 0.5
    """Share of samples that are mirrored, label included."""
    shuffle: bool = True
    """False keeps the sources' order."""
    epochs: int | None = None
    """How often to go through the sources; None never ends. With several sources, the first that ends ends all."""
    drop_remainder: bool = True
    """False gives a smaller last batch where `epochs` is a number."""
    dtype: Literal["float32", "uint8"] = "float32"
    """Of image and mask: "float32" in [-1, 1] and [0, 1], or the bytes in 0..255."""
    seed: int = 0
    """Fixes the order and which samples are mirrored."""
    threads: int = 4
    """Threads that make batches. Decoding leaves Python's lock, so a few per core are enough."""
    prefetch: int = 8
    """Batches made ahead."""
    workers: int = 0
    """Processes that make batches instead of threads of this one, for hosts with many cores; 0 for none."""

    def __post_init__(self):
        check_choice("dtype", self.dtype, ("float32", "uint8"))
        for name, least in (("batch_size", 1), ("resolution", 1), ("threads", 1), ("prefetch", 1), ("workers", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.epochs is not None and self.epochs < 1:
            raise InputError(f"epochs must be at least 1 or None, got {self.epochs}")
        if not 0 <= self.mirror <= 1:
            raise InputError(f"mirror must lie in 0..1, got {self.mirror}")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed must lie in 0..2**32 - 1, got {self.seed}")
        if not {"image", "camera"} <= set(self.fields) <= set(FIELDS):
            raise InputError(f"fields must be image, camera and maybe mask or depth, got {', '.join(self.fields)}")
        colour = self.background
        if colour is not None and (len(colour) != 3 or not all(isinstance(c, int) and 0 <= c <= 255 for c in colour)):
            raise InputError(f"background must be three integers in 0..255 or None, got {colour}")


class Batches(Iterator):
    """An iterator over batches whose state can be saved and restored, from `make_batches`."""

    def __init__(self, dataset: "grain.IterDataset", pipeline: str):
        self._iterator = iter(dataset)
        self._pipeline = pipeline

    def __next__(self) -> dict[str, np.ndarray]:
        return next(self._iterator)

    def get_state(self) -> dict[str, Any]:
        """Where the iterator is, as JSON: what `set_state` needs to go on with the batch that would come next.

        Processes that are in step have equal states: saving one of them is enough.
        """
        return {"pipeline": self._pipeline, "iterator": self._iterator.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes to where `get_state` was called.

        Raises:
          InputError: the state is of a pipeline with other sources, options or processes.
        """
        if not isinstance(state, Mapping) or state.keys() != {"pipeline", "iterator"}:
            raise InputError(f"state must be what get_state returned, got {str(state)[:80]}")
        if state["pipeline"] != self._pipeline:
            raise InputError(
                f"state must be of a pipeline with these sources, options and processes ({self._pipeline}), "
                f"got one of {state['pipeline']}"
            )
        self._iterator.set_state(state["iterator"])

    def close(self) -> None:
        """Stops the threads or processes that make batches ahead."""
        self._iterator.close()


def make_batches(
    sources: Mapping[str, Source],
    config: PipelineConfig,
    *,
    weights: Mapping[str, float] | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> Batches:
    """An iterator over the batches of one process.

    Args:
      sources: by name; prepared sets (`records.open_set`), also balanced ones (`balance.balance_yaw`), and generators
        (`generated.GeneratedHeads`).
      config: what batches hold.
      weights: by the sources' names, how many samples of each come for one another; None takes them evenly. The mix is
        by count, not by chance: any run of samples is as mixed as it can be.
      process_index, process_count: `jax.process_index()` and `jax.process_count()` where several train together.

    Returns:
      Batches {"image": [B, R, R, 3], "camera": float32 [B, 25], "mask": [B, R, R, 1], "depth": float32 [B, R, R, 1]}
      as `config.fields` and `config.dtype` say. Depths are in world units along the pixel's ray, 0 for nothing.

    Raises:
      InputError: there is no source, one lacks a field that is needed or has fewer samples than there are processes,
        weights are not of the sources, or the process is none of them.
    """
    grain = need("grain", "feeding training")
    shares = _check(sources, config, weights, process_index, process_count)
    streams = [
        _stream(source, config, place, process_index, process_count) for place, source in enumerate(sources.values())
    ]
    mixed = grain.MapDataset.mix(streams, weights=shares) if len(streams) > 1 else streams[0]
    batched = mixed.batch(
        config.batch_size, drop_remainder=config.drop_remainder, batch_fn=functools.partial(_collate, config=config)
    )
    pipeline = fingerprint(sources, config, shares, process_count)
    if config.workers:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain's processes read absl's flags
        dataset = batched.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=1))
        buffers = max(1, config.prefetch // config.workers)
        return Batches(dataset.mp_prefetch(grain.MultiprocessingOptions(config.workers, buffers)).map(_own), pipeline)
    options = grain.ReadOptions(num_threads=config.threads, prefetch_buffer_size=config.prefetch)
    return Batches(batched.to_iter_dataset(options), pipeline)


def fingerprint(sources: Mapping[str, Source], config: PipelineConfig, shares: Sequence[float], count: int) -> str:
    """A digest of all that decides which samples come when, the same in all `count` processes.

    What only changes the speed is left out.
    """
    told = [[name, repr(source)] for name, source in sources.items()]
    options = {name: value for name, value in dataclasses.asdict(config).items() if name not in ("threads", "prefetch")}
    return hashlib.sha256(json.dumps([told, options, list(shares), count]).encode()).hexdigest()[:16]


def _stream(
    source: Source, config: PipelineConfig, place: int, process_index: int, process_count: int
) -> "grain.MapDataset":
    """The prepared samples of one process from one source, in their order."""
    order_seed, mirror_seed = (int(s) for s in np.random.SeedSequence([config.seed, place]).generate_state(2))
    # A generator's samples are independent draws: no need to shuffle them, and a process makes only its own.
    generated = isinstance(source, GeneratedHeads)
    part = source.shard(process_index, process_count) if isinstance(source, GeneratedHeads) else source
    dataset = need("grain", "feeding training").MapDataset.range(len(part))
    if config.shuffle and not generated:
        dataset = dataset.shuffle(seed=order_seed)
    dataset = dataset.map(functools.partial(_prepare, source=part, config=config))
    if config.mirror:
        dataset = dataset.random_map(functools.partial(_maybe_mirror, share=config.mirror), seed=mirror_seed)
    dataset = dataset.repeat(config.epochs)
    if generated or process_count == 1:
        return dataset
    # As many samples for each process, so that all make as many batches.
    return dataset[: len(dataset) // process_count * process_count][process_index::process_count]


def _prepare(index: int, source: Source, config: PipelineConfig) -> dict[str, np.ndarray]:
    """A sample composed on the background, at the resolution, with the fields that batches hold."""
    sample = source.sample(int(index), _needed(config))
    if config.background is not None:
        sample["image"] = pictures.compose(sample["image"], sample["mask"], config.background)
    return {name: _resize(name, sample[name], config.resolution) for name in config.fields}


def _resize(name: str, pixels: np.ndarray, size: int) -> np.ndarray:
    if name == "camera" or pixels.shape[:2] == (size, size):
        return pixels
    if name == "depth":
        rows, columns = (((np.arange(size) + 0.5) * side / size).astype(np.int64) for side in pixels.shape[:2])
        return pixels[rows[:, None], columns]
    resized = np.asarray(pictures.resize(Image.fromarray(pixels[..., 0] if name == "mask" else pixels), size))
    return resized[..., None] if name == "mask" else resized


def _maybe_mirror(sample: dict[str, np.ndarray], rng: np.random.Generator, share: float) -> dict[str, np.ndarray]:
    return pictures.mirror(sample) if rng.random() < share else sample


def _collate(samples: Sequence[dict[str, np.ndarray]], config: PipelineConfig) -> dict[str, np.ndarray]:
    """Samples stacked, bytes as numbers where `config.dtype` asks."""
    batch = {name: [sample[name] for sample in samples] for name in config.fields}
    floats = {"image": (2, -1), "mask": (1, 0)} if config.dtype == "float32" else {}
    return {name: _to_floats(rows, *floats[name]) if name in floats else np.stack(rows) for name, rows in batch.items()}


def _to_floats(rows: Sequence[np.ndarray], span: float, least: float) -> np.ndarray:
    """Bytes [...], stacked, as float32 in least..least + span. Row by row, so that the work stays in the cache."""
    stacked = np.empty((len(rows), *rows[0].shape), np.float32)
    for row, pixels in zip(stacked, rows):
        np.multiply(pixels, np.float32(span / 255), out=row)
        if least:
            row += np.float32(least)
    return stacked


def _own(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The batch in this process's own memory, so that what the workers share is free again."""
    return {name: np.array(values) for name, values in batch.items()}


def _needed(config: PipelineConfig) -> tuple[str, ...]:
    """Fields that samples must have."""
    return tuple(dict.fromkeys((*config.fields, *(() if config.background is None else ("mask",)))))


def _check(
    sources: Mapping[str, Source],
    config: PipelineConfig,
    weights: Mapping[str, float] | None,
    process_index: int,
    process_count: int,
) -> list[float]:
    """The weights in the sources' order; an InputError for arguments that make no pipeline."""
    if not sources:
        raise InputError("sources must hold at least one source, got none")
    if not 0 <= process_index < process_count:
        raise InputError(f"process_index must lie in 0..{process_count - 1}, got {process_index}")
    for name, source in sources.items():
        if missing := sorted(set(_needed(config)) - set(source.fields)):
            raise InputError(f"source {name} must have {', '.join(missing)}, got {', '.join(source.fields)}")
        if len(source) < process_count:
            raise InputError(f"source {name} must have a sample per process, got {len(source)} for {process_count}")
        if config.workers and isinstance(source, GeneratedHeads):
            raise InputError(f"workers must be 0 with the generator as source {name}, got {config.workers}")
    if weights is None:
        return [1.0] * len(sources)
    if weights.keys() != sources.keys() or not all(weight > 0 for weight in weights.values()):
        raise InputError(f"weights must be positive for {', '.join(sources)}, got {dict(weights)}")
    return [float(weights[name]) for name in sources]
