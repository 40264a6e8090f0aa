"""Models and scenes that the core's tests share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import recipe

import panojax
from panojax.camera import camera_rays
from panojax.config import Config
from panojax.converters.generator_settings import generator_config
from panojax.converters.layout import from_state_dict
from panojax.encoders.encoder_config import light
from panojax.generators import networks
from panojax.generators.generator_config import GeneratorConfig
from panojax.params import Params, random_params

# Jitted once for all test files, which use the same few shapes.
generate = jax.jit(panojax.generate, static_argnames="cutoff")
render = jax.jit(panojax.render, static_argnames=("resolution", "density_noise"))
invert = jax.jit(panojax.invert, static_argnames=("stitching", "return_parts"))


def tiny_config(*, offset_channels: int = 6, encoders: bool = True, **changes) -> Config:
    """A model small enough to compile in seconds: 128 px pictures, a 16 x 16 x 3 tri-grid, 32 px encoders."""
    options = {
        "z_dim": 16,
        "w_dim": 24,
        "channel_base": 256,
        "channel_max": 16,
        "plane_resolution": 16,
        "plane_features": 8,
        "decoder_hidden": 16,
        "image_resolution": 128,
        "superresolution": "2X",
        "superresolution_channels": (8, 8),
        "rendering_resolution": 16,
        "depth_samples": 8,
        "importance_samples": 8,
        "crop_margin": 0.3,
    }
    generator = GeneratorConfig(**(options | changes))
    if not encoders:
        return Config(generator)
    encoder = light(
        resolution=32,
        n_styles=generator.num_ws,
        w_dim=generator.w_dim,
        out_channels=generator.field.channels,
        offset_in_channels=offset_channels,
        head_width=16,
        widths=(16, 16, 16, 16),
        depths=(1, 1, 1, 1),
    )
    return Config(generator, encoder)


@functools.cache
def tiny_params(*, solid: bool = True, **options) -> Params:
    """`tiny_config` filled at random; `solid` makes its heads an opaque bar, so that views have a front and a back."""
    params = random_params(tiny_config(**options))
    return make_solid(params) if solid else params


def make_solid(params: Params) -> Params:
    """`params` with densities that are about 60 everywhere within the crop: an opaque upright bar, 0.4 wide."""
    layer = params.generator["params"]["decoder"]["net.2"]
    layer = {
        "kernel": layer["kernel"].at[:, 0].multiply(0.1),
        "bias": layer["bias"].at[0].set(60.0),
    }
    decoder = params.generator["params"]["decoder"] | {"net.2": layer}
    generator = params.generator | {"params": params.generator["params"] | {"decoder": decoder}}
    return params.replace(generator=generator)


def golden_generator(tag: str) -> tuple[GeneratorConfig, dict]:
    """The configuration and the variables of a golden generator."""
    manifest = recipe.manifest(tag)
    config = generator_config(manifest["init_kwargs"], manifest["rendering_kwargs"])
    template = jax.eval_shape(lambda key: networks.init(config, key), jax.random.key(0))
    return config, jax.device_put(from_state_dict(template, recipe.state_dict(tag), what=tag))


def golden_uniforms(tag: str, config: GeneratorConfig, n: int, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """The draws of a golden rendering: coarse [n, R * R, S] and fine [n, R * R, S_fine]."""
    rays = resolution**2
    coarse = recipe.uniform(f"{tag}/u_coarse/{resolution}", (n, rays, config.depth_samples, 1))[..., 0]
    fine = recipe.uniform(f"{tag}/u_fine/{resolution}", (n * rays, config.importance_samples))
    return coarse, fine.reshape(n, rays, -1)


def to_nchw(pictures) -> np.ndarray:
    """[N, H, W, C] -> [N, C, H, W], as the golden files have it."""
    return np.asarray(pictures).transpose(0, 3, 1, 2)


def portraits(n: int, side: int = 32) -> np.ndarray:
    """Smooth pictures [n, side, side, 3] in [-1, 1]."""
    coarse = jnp.asarray(recipe.normal("core/portraits", (n, 6, 6, 3)))
    return np.asarray(jnp.clip(jax.image.resize(coarse, (n, side, side, 3), "cubic") * 0.6, -1, 1))


def sphere_view(camera, resolution: int, radius: float = 0.28) -> tuple[np.ndarray, np.ndarray]:
    """The analytic depth and weight [R, R] of an opaque sphere in the origin."""
    origins, directions = (np.asarray(a, np.float64) for a in camera_rays(jnp.asarray(camera), resolution))
    along = -np.sum(origins * directions, -1)
    inside = along**2 - np.sum(origins**2, -1) + radius**2
    depth = np.where(inside > 0, along - np.sqrt(np.maximum(inside, 0)), 3.3)
    shape = (resolution, resolution)
    return depth.reshape(shape).astype(np.float32), (inside > 0).reshape(shape).astype(np.float32)


def psnr(got, want, span: float = 2.0) -> float:
    """Peak signal-to-noise ratio in dB of pictures that span `span`."""
    error = np.mean((np.asarray(got, np.float64) - np.asarray(want, np.float64)) ** 2)
    return float(10 * np.log10(span**2 / error))
