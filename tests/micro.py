"""A generator that compiles in seconds, for tests of what is done with it and not of its pictures."""

from panojax.config import Config
from panojax.generators.generator_config import GeneratorConfig
from panojax.params import Params, random_params


def micro_generator() -> Params:
    """Pictures of 128 px from planes of 4 x 4 texels and two style codes."""
    config = GeneratorConfig(
        z_dim=8,
        w_dim=16,
        mapping_layers=1,
        channel_base=64,
        channel_max=8,
        plane_resolution=4,
        plane_depth=1,
        plane_features=4,
        decoder_hidden=8,
        raw_to_rgb=False,
        background=False,
        camera_adaptation=False,
        image_resolution=128,
        superresolution="2X",
        superresolution_channels=(4, 4),
        rendering_resolution=4,
        depth_samples=4,
        importance_samples=0,
        crop_margin=None,
    )
    return random_params(Config(config))
