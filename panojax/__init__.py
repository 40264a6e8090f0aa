"""Single-image 360-degree head reconstruction in JAX.

params = panojax.load()
head = panojax.invert(params, "portrait.jpg")
view = panojax.render(params, head, panojax.orbit(120)[30])
"""

import importlib
from typing import TYPE_CHECKING, Any

from panojax.api import (
    generate,
    invert,
    invert_many,
    map_latent,
    occlusion_mask,
    refine_cameras,
    render,
    synthesize,
)
from panojax.camera import look_at, mirror, orbit
from panojax.config import Config
from panojax.converters.convert import convert, from_torch
from panojax.editing.latent import interpolate, move_head
from panojax.editing.region import find_region, solid_region
from panojax.editing.transfer import edit
from panojax.encoders.encoder_config import EncoderConfig
from panojax.errors import InputError
from panojax.fields.local_branch import LocalBranch
from panojax.files.checkpoint import load, save
from panojax.files.head_file import load_head, save_head
from panojax.files.image_file import write_image
from panojax.generators.generator import Head, View
from panojax.generators.generator_config import GeneratorConfig
from panojax.inversion.pipeline import Parts
from panojax.params import Params, prepare

if TYPE_CHECKING:
    __version__: str
    from panojax.export.mesh import extract_mesh, write_mesh
    from panojax.export.points import point_cloud
    from panojax.photo.portrait import align

# What brings SciPy and more with it is imported when it is asked for.
_LATER = {
    "align": "panojax.photo.portrait",
    "extract_mesh": "panojax.export.mesh",
    "point_cloud": "panojax.export.points",
    "write_mesh": "panojax.export.mesh",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _installed_version()
    if name not in _LATER:
        raise AttributeError(f"module 'panojax' has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATER, "__version__"])


def _installed_version() -> str:
    """The installed version, or "source" where panojax runs from its sources, uninstalled."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("panojax")
    except PackageNotFoundError:
        return "source"


__all__ = [
    "Config",
    "EncoderConfig",
    "GeneratorConfig",
    "Head",
    "InputError",
    "LocalBranch",
    "Params",
    "Parts",
    "View",
    "align",
    "convert",
    "edit",
    "extract_mesh",
    "find_region",
    "from_torch",
    "generate",
    "interpolate",
    "invert",
    "invert_many",
    "load",
    "load_head",
    "look_at",
    "map_latent",
    "mirror",
    "move_head",
    "occlusion_mask",
    "orbit",
    "point_cloud",
    "prepare",
    "refine_cameras",
    "render",
    "save",
    "save_head",
    "solid_region",
    "synthesize",
    "write_image",
    "write_mesh",
]
