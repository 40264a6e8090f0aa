"""Renames and transposes a PyTorch state dict into a Flax variable tree.

Our modules carry the names of their PyTorch counterparts, so one rule serves every network: the path of a leaf, joined
by dots, is the PyTorch name, but for the leaf's own name and layout. What does not fit is gathered and reported at
once.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from panojax.errors import InputError, printable

# Flax leaf -> PyTorch leaf. Leaves that are not listed keep their name (bias, const, noise_const, w_avg, ...).
_LEAVES = {
    "kernel": "weight",
    "in_proj_kernel": "in_proj_weight",
    "scale": "weight",
    "negative_slope": "weight",
    "mean": "running_mean",
    "var": "running_var",
}

# Buffers that no network reads: the FIR filter is a constant of ours, batch counts serve only a momentum of None, the
# deviation of the training set's labels is a note that EG3D's and PanoHead's training leaves in the generator, and
# Swin's distances, indices and masks follow from its sizes.
IGNORED = re.compile(
    r"(^|\.)(resample_filter|num_batches_tracked|dataset_label_std"
    r"|relative_coords_table|relative_position_index|attn_mask)$"
)


def torch_name(path: tuple[str, ...]) -> str:
    """The PyTorch name of a leaf at `path` in one collection: ("b4", "conv1", "kernel") -> "b4.conv1.weight"."""
    *modules, leaf = path
    return ".".join([*modules, _LEAVES.get(leaf, leaf)])


def to_flax(array: np.ndarray, leaf: str) -> np.ndarray:
    """OIHW -> HWIO and OI -> IO for kernels, CHW -> HWC for a learned `const`, [heads, 1, 1] -> [heads] for a
    `logit_scale`; anything else as it is."""
    if leaf == "kernel" and array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    if leaf in ("kernel", "in_proj_kernel") and array.ndim == 2:
        return array.T
    if leaf == "logit_scale" and array.ndim == 3:
        return array[:, 0, 0] if array.shape[1:] == (1, 1) else array
    if leaf == "const" and array.ndim == 3:
        return array.transpose(1, 2, 0)
    return array


def from_state_dict(template: Any, state_dict: Mapping[str, np.ndarray], *, what: str) -> Any:
    """Fills `template` from `state_dict`.

    Args:
      template: variables {collection: tree} with shaped leaves, as `jax.eval_shape(module.init, ...)` gives.
      state_dict: {PyTorch name: array}.
      what: the network's name, for the error.

    Returns:
      The template's tree with float32 NumPy leaves.

    Raises:
      InputError: lists every missing, unused, mis-shaped and non-finite tensor at once.
    """
    tree, report = fit(template, state_dict)
    if report:
        raise InputError(f"{what}: the state dict does not fit the network: {report}")
    return tree


def fit(template: Any, state_dict: Mapping[str, np.ndarray]) -> tuple[Any, str]:
    """As `from_state_dict`, but returns the report (empty where all fits) beside the tree, to join reports."""
    left = {name for name in state_dict if not IGNORED.search(name)}
    missing, misshaped, broken = [], [], []

    def leaf(key_path, expected):
        path = tuple(str(k.key) for k in key_path)[1:]
        name = torch_name(path)
        if name not in left:
            missing.append(f"{name} {tuple(expected.shape)}")
            return None
        left.discard(name)
        array = to_flax(np.asarray(state_dict[name]), path[-1])
        if array.shape != tuple(expected.shape):
            misshaped.append(f"{name}: expected {tuple(expected.shape)} in our layout, got {array.shape}")
            return None
        array = np.array(array, np.float32, order="C")
        if not np.isfinite(array).all():
            broken.append(name)
        return array

    tree = jax.tree_util.tree_map_with_path(leaf, template)
    unused = sorted(map(printable, left))
    kinds = [("missing", missing), ("unused", unused), ("mis-shaped", misshaped), ("not finite", broken)]
    return tree, "; ".join(f"{len(names)} {kind}: {', '.join(names)}" for kind, names in kinds if names)
