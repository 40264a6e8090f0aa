"""SHA-256 of arrays and of JSON, so that a flipped bit is noticed when it is read."""

import concurrent.futures
import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

Sums = dict[str, str]


def array_sums(tree: Any) -> Sums:
    """{path: SHA-256 (hex) of type, shape and bytes} of a tree's arrays that this process holds whole.

    Named tuples and the dicts that checkpoints give back for them have the same paths. Many arrays are hashed at once:
    1 GB takes about a second and a half of one core.
    """
    leaves = {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    whole = {name: leaf for name, leaf in leaves.items() if getattr(leaf, "is_fully_addressable", True) or _same(leaf)}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(whole, pool.map(_sum, whole.values())))


def differing(tree: Any, sums: Mapping[str, Any]) -> list[str]:
    """Names of a tree's arrays whose sums are others than `sums` says. Arrays without a sum there are not looked at."""
    return sorted(name for name, digest in array_sums(tree).items() if sums.get(name, digest) != digest)


def json_sum(value: Any) -> str:
    """SHA-256 (hex) of a JSON value, whatever the order of its names."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def own_sum(record: Mapping[str, Any]) -> str:
    """The checksum of a checkpoint's record, the arrays' checksums included, less its own entry "sum"."""
    return json_sum({name: value for name, value in record.items() if name != "sum"})


def path_name(path: Any) -> str:
    """A leaf's path as text, the same for named tuples, sequences and the dicts that they are stored as."""
    return "/".join(map(_key_name, path))


def _key_name(key: Any) -> str:
    return str(next(getattr(key, name) for name in ("key", "name", "idx") if hasattr(key, name)))


def _same(leaf: Any) -> bool:
    return bool(leaf.is_fully_replicated)


def _sum(leaf: Any) -> str:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        leaf = leaf.addressable_data(0)
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
