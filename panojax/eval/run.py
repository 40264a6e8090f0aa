"""Runs an inversion protocol on one or more sets: jobs, their records, and the results of all of them.

results = run_inversion(sets, methods, params, networks, ...)
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from panojax.errors import InputError
from panojax.eval.feature_networks import Networks
from panojax.eval.methods import OPTIMISATIONS, Inverter, Method, OptimisationOptions, load_models
from panojax.eval.reconstruction import Job, Measuring, Worker, average, distances
from panojax.eval.records import Record, Records, claim, digest, weights_digest, write_record
from panojax.eval.samples import Sample
from panojax.eval.view_figures import MEASURES
from panojax.files.head_file import model_mark
from panojax.losses.perception import Perception
from panojax.params import Params

REFERENCE, COST = "_reference", "cost"  # no method's folder starts with "_"


@dataclasses.dataclass(frozen=True)
class Run:
    """Where and how a protocol runs; none of it changes a number.

    Attributes:
      out: folder of the results.
      devices: that share the samples.
      shard: (this process's index, how many share the samples and the folder).
      cost: whether to measure each method's time and memory.
    """

    out: pathlib.Path
    devices: Sequence[Any]
    shard: tuple[int, int] = (0, 1)
    cost: bool = True

    def __post_init__(self):
        index, count = self.shard
        if not 0 <= index < count:
            raise InputError(f"shard must be INDEX/COUNT with INDEX from 0 to COUNT - 1, got {index}/{count}")


def run_inversion(
    run: Run,
    protocol: str,
    sets: Mapping[str, Sequence[Sample]],
    methods: Sequence[Method],
    params: Params,
    networks: Networks,
    *,
    perception: Perception,
    measuring: Measuring,
    optimisation: OptimisationOptions,
    data: Mapping[str, Any] | None = None,
) -> dict[str, Any] | None:
    """Inverts every sample by every method, or what of it has no record yet.

    Args:
      sets: {name: samples}.
      params: the generator's model, and the encoders of methods that name none.
      perception: of the optimisations.
      data: options that say how the samples are read; results with others are not mixed with these.

    Returns:
      The results as JSON-able data, or None where other shards have not done their samples yet:
      {"protocol", "networks", "sets": {name: {"samples", "floor": {group: ...}, "methods": {title: {"kind", "seconds",
      "memory_mib", "groups": {group: {measure: mean}}, "distances": {group: ...}}}}}}

    Raises:
      InputError: the models do not fit one another, or `run.out` holds other results.
    """
    models = load_models(methods, params)
    measures = {"measures": list(MEASURES)}
    claim(run.out, {"protocol": protocol, **measures, **(data or {}), **settings(params, networks, measuring)})
    workers = [
        Worker(jax.device_put(params.generator_only(), device), networks.on(device), measuring, device)
        for device in run.devices
    ]
    results: dict[str, Any] = {"protocol": protocol, "networks": networks.names, "sets": {}}
    missing = 0
    for name, samples in sets.items():
        folder = run.out / "records" / name
        claim(folder, {"samples": len(samples), "names": digest(*(sample.name for sample in samples))})
        jobs = {sample.name: Job(i, sample) for i, sample in enumerate(samples)}
        references = Records(folder / REFERENCE, jobs)
        references.fill([worker.reference for worker in workers], label=f"{name}: references", shard=run.shard)
        filled = {}
        for method in methods:
            model = models[method.folder]
            claim(folder / method.folder, _method_settings(method, model, optimisation))
            records = Records(folder / method.folder / "samples", jobs)
            placed = [
                Inverter(method, jax.device_put(model, d), jax.device_put(perception, d), optimisation)
                for d in run.devices
            ]
            if run.cost and run.shard[0] == 0:
                _measure_cost(folder / method.folder, placed[0], samples[0], measuring, run.devices[0])
            does = [
                functools.partial(_method_job, worker, inverter, references)
                for worker, inverter in zip(workers, placed)
            ]
            records.fill(does, label=f"{name}: {method.title}", shard=run.shard)
            filled[method] = records
        missing += len(references.missing()) + sum(len(records.missing()) for records in filled.values())
        if not missing:
            results["sets"][name] = summary(folder, references, filled)
    return None if missing else results


def settings(params: Params, networks: Networks, options: Any) -> dict[str, Any]:
    """What the numbers of a protocol depend on, besides its samples and methods."""
    mark = model_mark(params)
    return {
        "model": digest(str(mark.config), weights_digest(params.generator)),
        "dtype": params.config.generator.dtype,
        "networks": networks.names,
        **dataclasses.asdict(options),
    }


def summary(folder: pathlib.Path, references: Records, methods: Mapping[Method, Records]) -> dict[str, Any]:
    """The results of one set, from its records."""
    first = references.read_all()
    rows = {}
    for method, records in methods.items():
        own = records.read_all()
        row: dict[str, Any] = {"kind": method.kind, "optimisation": method.kind in OPTIMISATIONS}
        cost = folder / method.folder / f"{COST}.npz"
        if cost.exists():
            with np.load(cost) as file:
                row |= {name: float(file[name]) for name in file.files}
        rows[method.title] = row | {"groups": average(own), "distances": distances(first, own)}
    return {"samples": len(first), "floor": distances(first, None), "methods": rows}


def _method_job(worker: Worker, inverter: Inverter, references: Records, job: Job) -> Record:
    return worker.method(job, inverter, references.read(job.sample.name))


def _measure_cost(folder: pathlib.Path, inverter: Inverter, sample: Sample, measuring: Measuring, device: Any) -> None:
    """Seconds and MiB of the first sample, on one device with nothing else on it."""
    path = folder / f"{COST}.npz"
    if path.exists():
        return
    with jax.default_device(device):
        portrait = sample.load(measuring.size)[0]
        arguments = portrait.image, portrait.camera, jax.random.key(measuring.seed)
        cost = {"seconds": inverter.seconds(*arguments), "memory_mib": inverter.memory(*arguments)}
    write_record(path, {name: np.array(value) for name, value in cost.items()})


def _method_settings(method: Method, model: Params, optimisation: OptimisationOptions) -> dict[str, Any]:
    if method.kind in OPTIMISATIONS:
        return {"kind": method.kind, **dataclasses.asdict(optimisation)}
    return {"kind": method.kind, "encoders": weights_digest(model.encoders)}
