"""Data parallelism: one mesh axis over all devices of all processes, batches split over it, everything else the same.

Under `jit` the compiler works out the rest, so means over a batch, those of batch norms included, are global.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from panojax.errors import InputError


def data_mesh(devices: Any = None) -> Mesh:
    """A mesh of one axis "data" over `devices`, or over all there are."""
    return Mesh(np.asarray(jax.devices() if devices is None else devices), ("data",))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The first axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Copies a tree that is the same in every process to all devices. Typed keys are left to `run_key`."""
    return jax.tree.map(lambda x: _place(np.asarray(x), mesh), tree)


def placed_template(abstract: Any, mesh: Mesh) -> Any:
    """A tree of `jax.ShapeDtypeStruct`s that asks for copies on all devices."""
    same = replicated(mesh)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=same), abstract)


def run_key(seed: int, mesh: Mesh, stream: int = 0) -> jax.Array:
    """The key of one of the seed's streams, on all devices."""
    make = jax.jit(lambda: jax.random.fold_in(jax.random.key(seed), stream), out_shardings=replicated(mesh))
    key: jax.Array = make()
    return key


def traced_over(mesh: Mesh, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, traced under a mesh, so that what it is made of can ask for arrays on all of its devices."""

    @functools.wraps(function)
    def under(*args, **kwargs):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*args, **kwargs)

    return under


def shard_batch(batch: dict[str, Any], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's samples {name: [n, ...]} as its part of the batch {name: [n * processes, ...]}.

    Raises:
      InputError: the samples do not divide among the process's devices.
    """
    share = len(mesh.local_devices)
    for name, x in batch.items():
        if len(x) % share:
            raise InputError(f"{name}: {len(x)} samples a process do not divide among its {share} devices")
    sharding = batch_sharding(mesh)
    return {name: jax.make_array_from_process_local_data(sharding, np.asarray(x)) for name, x in batch.items()}


def _place(array, mesh):
    return jax.make_array_from_callback(array.shape, replicated(mesh), lambda index: array[index])
