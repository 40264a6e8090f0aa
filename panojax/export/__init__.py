"""Heads for other programs: textured meshes, Gaussian splats, and posed pictures. `panojax export` writes them all."""

from panojax.export.colours import gather_colours, shown_surface
from panojax.export.posed import write_colmap, write_transforms
from panojax.export.splat_fitting import fit_splats
from panojax.export.splats import Splats, splats_from_surface, write_splats
from panojax.export.surface import Surface, closed_surface, sample_surface, simplify
from panojax.export.texture import TexturedMesh, bake_texture, write_obj, write_textured
from panojax.export.views import Views, surround, take_views

__all__ = [
    "Splats",
    "Surface",
    "TexturedMesh",
    "Views",
    "bake_texture",
    "closed_surface",
    "fit_splats",
    "gather_colours",
    "sample_surface",
    "shown_surface",
    "simplify",
    "splats_from_surface",
    "surround",
    "take_views",
    "write_colmap",
    "write_obj",
    "write_splats",
    "write_textured",
    "write_transforms",
]
