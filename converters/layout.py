"""Renames and transposes a PyTorch state dict into a Flax variable tree.

Our modules carry the names of their PyTorch counterparts, so one rule serves every network: the path of a leaf, joined by
dots, is the PyTorch name, but for the leaf's own name and layout, which `_LEAVES` lists. What does not fit is gathered and
reported at once.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from panojax.errors import InputError

# Flax leaf -> PyTorch leaf. Leaves that are not listed keep their name (bias, const, noise_const, w_avg, ...).
_LEAVES = {"kernel": "weight", "scale": "weight", "negative_slope": "weight", "mean": "running_mean", "var": "running_var"}

# Buffers that hold nothing learned: the FIR filter is a constant of ours, batch counts serve only a momentum of None.
IGNORED = re.compile(r"(^|\.)(resample_filter|num_batches_tracked)$")


def torch_name(path: tuple[str, ...]) -> str:
    """The PyTorch name of a leaf at `path` in one collection: ("b4", "conv1", "kernel") -> "b4.conv1.weight"."""
    *modules, leaf = path
    return ".".join([*modules, _LEAVES.get(leaf, leaf)])


def to_flax(array: np.ndarray, leaf: str) -> np.ndarray:
    """OIHW -> HWIO and OI -> IO for a `kernel`, CHW -> HWC for a learned `const`; anything else as it is."""
    if leaf == "kernel" and array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    if leaf == "kernel" and array.ndim == 2:
        return array.T
    if leaf == "const" and array.ndim == 3:
        return array.transpose(1, 2, 0)
    return array


def from_state_dict(template: Any, state_dict: Mapping[str, np.ndarray], *, what: str, prefix: str = "") -> Any:
    """Fills `template` from `state_dict`.

    Args:
      template: variables {collection: tree} with shaped leaves, as `jax.eval_shape(module.init, ...)` gives.
      state_dict: {PyTorch name: array}.
      what: the network's name, for the error.
      prefix: names of the state dict that start so (with its dot) are this network's; others are not looked at.

    Returns:
      The template's tree with float32 NumPy leaves.

    Raises:
      InputError: lists every missing, unused and mis-shaped name at once.
    """
    left = {k.removeprefix(prefix): k for k in state_dict if k.startswith(prefix) and not IGNORED.search(k)}
    missing, misshaped = [], []

    def leaf(key_path, expected):
        path = tuple(str(k.key) for k in key_path)[1:]
        name = torch_name(path)
        if name not in left:
            missing.append(f"{prefix}{name} {tuple(expected.shape)}")
            return None
        array = np.asarray(state_dict[left.pop(name)])
        laid_out = to_flax(array, path[-1])
        if laid_out.shape != tuple(expected.shape):
            misshaped.append(f"{prefix}{name}: expected {tuple(expected.shape)} in our layout, got {laid_out.shape}")
        return np.ascontiguousarray(laid_out, np.float32)

    tree = jax.tree_util.tree_map_with_path(leaf, template)
    report = [("missing", missing), ("unused", sorted(left.values())), ("mis-shaped", misshaped)]
    if any(names for _, names in report):
        lines = "; ".join(f"{len(names)} {kind}: {', '.join(names)}" for kind, names in report if names)
        raise InputError(f"{what}: the state dict does not fit the network: {lines}")
    return tree
