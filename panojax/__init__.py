"""Single-image 360-degree head reconstruction in JAX.

params = panojax.load("checkpoint")
head = panojax.invert(params, image, camera)
view = panojax.render(params, head, panojax.orbit(120)[30])
"""

from panojax.api import generate, invert, map_latent, occlusion_mask, render, synthesize
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
from panojax.generators.generator import Head, View
from panojax.generators.generator_config import GeneratorConfig
from panojax.inversion.pipeline import Parts
from panojax.params import Params

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
    "convert",
    "edit",
    "find_region",
    "from_torch",
    "generate",
    "interpolate",
    "invert",
    "load",
    "look_at",
    "map_latent",
    "mirror",
    "move_head",
    "occlusion_mask",
    "orbit",
    "render",
    "save",
    "solid_region",
    "synthesize",
]
