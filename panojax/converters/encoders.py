"""Sorts the files of released encoders: what belongs to which network in a state dict, and the average latent."""

import pathlib
from collections.abc import Mapping

import numpy as np

from panojax.converters.read import listed, read_tensors, unwrap_state_dict
from panojax.errors import InputError

GROUPS = ("psp_encoder", "triplanenet_encoder")
_LATENT = 512


def split_encoder_state(state_dict: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Splits the state dict of a TriPlaneNet-like file into those of its two encoders.

    Args:
      state_dict: {PyTorch name: array}, with names "psp_encoder.*" and "triplanenet_encoder.*". It may lie under
        "state_dict", and every name may start with "module.". The frozen generator, "decoder.*", is left out: it is
        read from its own file.

    Returns:
      {"psp_encoder": {name: array}, "triplanenet_encoder": {name: array}}, the names without the group's.

    Raises:
      InputError: lists at once the groups that are unknown or missing and the entries that are not finite arrays.
    """
    groups: dict[str, dict[str, np.ndarray]] = {group: {} for group in GROUPS}
    unknown: dict[str, None] = {}
    broken: list[str] = []
    for name, array in unwrap_state_dict(state_dict).items():
        group, _, rest = str(name).partition(".")
        if group == "decoder":
            continue
        if group not in groups or not rest:
            unknown[group] = None
        elif not isinstance(array, np.ndarray) or not np.isfinite(array).all():
            broken.append(name)
        else:
            groups[group][rest] = array
    missing = [group for group in GROUPS if not groups[group] and not any(n.startswith(f"{group}.") for n in broken)]
    report = [("missing groups", missing), ("unknown groups", unknown), ("entries that are not finite arrays", broken)]
    if any(names for _, names in report):
        lines = "; ".join(f"{kind}: {listed(names)}" for kind, names in report if names)
        raise InputError(f"state_dict: expected {' and '.join(f'{group}.*' for group in GROUPS)}, got {lines}")
    return groups


def read_latent_average(path: str | pathlib.Path) -> np.ndarray:
    """Reads the mean of w that the encoders' codes are offsets from.

    Args:
      path: a .npy file, or a checkpoint with one tensor or with a "latent_avg" among others.

    Returns:
      Float32 [512], or [L, 512] with a row for each of the generator's layers (or one for all), as it is stored.

    Raises:
      InputError: the file cannot be read, holds no such tensor, or one of another shape or with NaN or infinity in it.
    """
    tensors = read_tensors(path)
    average = tensors.get("latent_avg", next(iter(tensors.values())) if len(tensors) == 1 else None)
    if average is None:
        raise InputError(f"{path}: expected one tensor or latent_avg, got {listed(tensors)}")
    if average.ndim not in (1, 2) or average.shape[-1] != _LATENT or not average.size:
        raise InputError(f"{path}: expected latent_avg of shape [512], [1, 512] or [L, 512], got {list(average.shape)}")
    with np.errstate(over="ignore"):
        average = average.astype(np.float32)
    if not np.isfinite(average).all():
        raise InputError(f"{path}: expected a finite latent_avg, got NaN or infinity")
    return average
