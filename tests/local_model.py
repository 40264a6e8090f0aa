"""A model with a local branch that compiles in seconds."""

import dataclasses
import functools

import micro
import scenes

from panojax.config import Config
from panojax.encoders.encoder_config import light
from panojax.params import Params, random_params


@functools.cache
def params(*, planes: int = 4, depth: int = 1) -> Params:
    """`micro_generator` with 16 x 16 renderings of an opaque bar, and two encoders of 32 px.

    Its planes have `depth` slices of `planes` x `planes` texels.
    """
    options = {"rendering_resolution": 16, "depth_samples": 12, "crop_margin": 0.3}
    options |= {"plane_resolution": planes, "plane_depth": depth}
    generator = dataclasses.replace(micro.micro_generator().config.generator, **options)
    sizes = {"widths": (16, 16, 16, 16), "depths": (1, 1, 1, 1), "head_width": 16}
    encoder = light(resolution=32, n_styles=generator.num_ws, w_dim=16, out_channels=12 * depth, **sizes)
    encoder = dataclasses.replace(encoder, local_features=6, local_hidden=8, local_channels=4)
    return scenes.make_solid(random_params(Config(generator, encoder)))
