"""The golden files' recipe: weights and inputs drawn by name from NumPy's frozen legacy generator."""

import json
import pathlib
import zlib

import numpy as np

GOLDEN = pathlib.Path(__file__).parent / "golden"


def _draws(name):
    return np.random.RandomState(zlib.crc32(name.encode()))


def normal(name, shape):
    """Standard-normal float32 draws, the same on every machine."""
    return _draws(name).standard_normal(tuple(shape)).astype(np.float32)


def uniform(name, shape):
    """Float32 draws from [0, 1), the same on every machine."""
    return _draws(name).random_sample(tuple(shape)).astype(np.float32)


def manifest(tag):
    """The manifest of a golden file: `init_kwargs`, maybe `rendering_kwargs`, and `tensors`."""
    return json.loads((GOLDEN / f"{tag}.manifest.json").read_text())


def golden(tag):
    """The stored outputs of a golden file, {name: array}."""
    with np.load(GOLDEN / f"{tag}.npz") as file:
        return dict(file)


def state_dict(tag):
    """The PyTorch-layout state dict of a golden file, {name: float32 array}."""
    return {row["name"]: _tensor(**row) for row in manifest(tag)["tensors"]}


def _tensor(name, shape, offset=0.0, scale=1.0, first_row_scale=1.0, value=None):
    if value is not None:
        return np.asarray(value, np.float32).reshape(shape)
    array = (offset + scale * _draws(name).standard_normal(tuple(shape))).astype(np.float32)
    if first_row_scale != 1.0:
        array[0] *= first_row_scale
    return array


def relative_error(got, want):
    """||got - want|| / ||want||."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))
