"""Sorts the files of released encoders: what belongs to which network in a state dict, and the average latent."""

import pathlib
from collections.abc import Mapping

import numpy as np

from panojax.converters.read import Checkpoint, listed, read_tensors, unwrap_state_dict
from panojax.encoders.encoder_config import EncoderConfig
from panojax.errors import InputError
from panojax.generators.generator_config import GeneratorConfig

GROUPS = ("psp_encoder", "triplanenet_encoder")
_ALIASES = {"encoder": "psp_encoder"}  # pSp's own name
_AVERAGE = "latent_avg"
_LATENT = 512


def split_encoder_state(state_dict: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Splits the state dict of a TriPlaneNet-like file into those of its two encoders.

    Args:
      state_dict: {PyTorch name: array}, with names "psp_encoder.*" (in pSp's own files "encoder.*") and
        "triplanenet_encoder.*". It may be wrapped as `unwrap_state_dict` knows. The frozen generator, "decoder.*", is
        left out, as it is read from its own file, and so is a "latent_avg", see `own_average`.

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
        group = _ALIASES.get(group, group)
        if group == "decoder" or _AVERAGE in (str(name), rest):
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


def encoder_config(groups: Mapping[str, Mapping[str, np.ndarray]], shape: GeneratorConfig) -> EncoderConfig:
    """The released encoders' configuration for a generator, with what the file's shapes say of the F stage.

    These are the channels of its input, whether its head sees the planes (TriPlaneNet v2), and how it doubles its
    resolution: TriPlaneNet v2 does without pixel shuffles unless it was trained with `--use_pixelshuffle`.
    """
    state = groups["triplanenet_encoder"]
    channels = shape.field.channels

    def size(name: str, axis: int, default: int) -> int:
        array = state.get(name)
        return default if array is None or array.ndim <= axis else array.shape[axis]

    return EncoderConfig(
        n_styles=shape.num_ws,
        w_dim=shape.w_dim,
        offset_in_channels=size("input_layer.0.weight", 1, 6),
        planes_channels=channels if any(name.startswith("final_head_two.") for name in state) else 0,
        out_channels=channels,
        pixel_shuffle=size("up2.conv.double_conv.0.weight", 0, 384) != 768,
    )


def without_average(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A state dict less the mean style code that `own_average` finds in it."""
    return {name: array for name, array in state_dict.items() if name.rpartition(".")[-1] != _AVERAGE}


def own_average(checkpoint: Checkpoint) -> np.ndarray | None:
    """The mean style code that an encoder's file brings along, beside its state dict or in it: float32, or None.

    Raises:
      InputError: as `read_latent_average`.
    """
    inside = {name: x for name, x in checkpoint.state_dict.items() if name.rpartition(".")[-1] == _AVERAGE}
    found = checkpoint.beside.get(_AVERAGE, next(iter(inside.values()), None))
    return None if found is None else _checked(found)


def read_latent_average(path: str | pathlib.Path) -> np.ndarray:
    """Reads the mean of w that the encoders' codes are offsets from.

    Args:
      path: a .npy file, or a checkpoint with one tensor or with a "latent_avg" among others.

    Returns:
      Float32 [512], or [L, 512] with a row for each of the generator's layers (or one for all), as it is stored; a
      batch of one is taken off.

    Raises:
      InputError: the file cannot be read, holds no such tensor, or one of another shape or with NaN or infinity in it.
    """
    tensors = read_tensors(path)
    average = tensors.get("latent_avg", next(iter(tensors.values())) if len(tensors) == 1 else None)
    if average is None:
        raise InputError(f"{path}: expected one tensor or latent_avg, got {listed(tensors)}")
    try:
        return _checked(average)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _checked(average: np.ndarray) -> np.ndarray:
    average = average[0] if average.ndim == 3 and len(average) == 1 else average
    if average.ndim not in (1, 2) or average.shape[-1] != _LATENT or not average.size:
        raise InputError(f"expected latent_avg of shape [512], [1, 512] or [L, 512], got {list(average.shape)}")
    with np.errstate(over="ignore"):
        average = average.astype(np.float32)
    if not np.isfinite(average).all():
        raise InputError("expected a finite latent_avg, got NaN or infinity")
    return average
