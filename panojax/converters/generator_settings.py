"""The configuration of a generator from what its PyTorch pickle carries."""

import numbers
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from panojax.converters.options import check_options
from panojax.converters.read import listed
from panojax.errors import InputError, check_choice
from panojax.fields.trigrid import PLANE_AXES, Axes
from panojax.generators.generator_config import SUPERRESOLUTION, GeneratorConfig


def generator_config(
    init_kwargs: Mapping[str, Any],
    rendering_kwargs: Mapping[str, Any],
    *,
    neural_rendering_resolution: int = 64,
    plane_axes: str | np.ndarray | None = None,
) -> GeneratorConfig:
    """The configuration of a PyTorch generator from what its pickle carries.

    Args:
      init_kwargs: the constructor's arguments (`z_dim`, `mapping_kwargs`, `channel_base`, ...).
      rendering_kwargs: `ray_start`, `box_warp`, `superresolution_module`, ...
      neural_rendering_resolution: the pickled attribute of that name.
      plane_axes: the renderer's `plane_axes` [3, 3, 3], which pickles carry, or a name of `PLANE_AXES`; None takes
        "panohead" where `rendering_kwargs` has a `triplane_depth`, else "eg3d", the axes of EG3D's first networks.

    Raises:
      InputError: names the missing key, or all options that no network of ours has and what each would need.
    """
    kwargs, options = dict(init_kwargs), dict(rendering_kwargs)

    def need(source, name, where):
        if name not in source:
            raise InputError(f"{where} lacks {name!r}; it has {listed(sorted(source)) if source else 'nothing'}")
        return source[name]

    module = str(need(options, "superresolution_module", "rendering_kwargs")).rsplit(".", 1)[-1]
    superresolution = module.removeprefix("SuperresolutionHybrid")
    check_choice("superresolution_module", superresolution, SUPERRESOLUTION)
    panohead = "triplane_depth" in options
    check_options(kwargs, options)
    mapping = kwargs.get("mapping_kwargs") or {}
    # Golden files' short form leaves out what is None in released networks; the constructor's own default is 256.
    clamp = kwargs.get("conv_clamp", None if "mapping_layers" in kwargs else 256)
    pivot = options.get("avg_camera_pivot", (0, 0, 0))
    x, y, z = pivot if isinstance(pivot, list | tuple) and len(pivot) == 3 else [None] * 3

    def number(name, kind, value):
        """A value from the file by `kind`, which is called with a number."""
        if isinstance(value, bool) and kind is bool:
            return value
        if not isinstance(value, numbers.Real) or not abs(value) < 2**63 or (kind is int and value != int(value)):
            raise InputError(f"{name} must be a number, got {value!r:.60}")
        return kind(value)

    def option(name: str, kind: Callable, *default):
        """A number among the rendering options; without a default, it must be there."""
        return number(name, kind, options.get(name, *default) if default else need(options, name, "rendering_kwargs"))

    def argument(name: str, *default):
        return number(name, int, kwargs.get(name, *default) if default else need(kwargs, name, "init_kwargs"))

    def distance(name):
        value = need(options, name, "rendering_kwargs")
        return value if value == "auto" else number(name, float, value)

    def width(name):
        value = mapping.get(name)
        return None if value is None else number(name, int, value)

    return GeneratorConfig(
        z_dim=argument("z_dim"),
        c_dim=argument("c_dim"),
        w_dim=argument("w_dim"),
        mapping_layers=number("num_layers", int, kwargs.get("mapping_layers", mapping.get("num_layers", 8))),
        mapping_embedding=width("embed_features"),
        mapping_width=width("layer_features"),
        mapping_lr_multiplier=number("lr_multiplier", float, mapping.get("lr_multiplier", 0.01)),
        channel_base=argument("channel_base", 32768),
        channel_max=argument("channel_max", 512),
        plane_resolution=option("triplane_size", int, 256),
        plane_depth=option("triplane_depth", int, 1),
        plane_axes=_axes(plane_axes, "panohead" if panohead else "eg3d"),
        depth_interpolation=panohead,
        decoder_activation=options.get("decoder_activation", "sigmoid"),
        decoder_lr_multiplier=option("decoder_lr_mul", float, 1),
        raw_to_rgb=option("use_torgb_raw", bool, False),
        background=option("use_background", bool, False),
        camera_adaptation=panohead,
        camera_scale=option("c_scale", float, 0),  # as the originals read it
        zero_conditioning=option("c_gen_conditioning_zero", bool, False),
        image_resolution=argument("img_resolution"),
        superresolution=superresolution,
        superresolution_channels=SUPERRESOLUTION[superresolution][1],
        superresolution_noise=options.get("superresolution_noise_mode", "none"),
        superresolution_clamp=256.0 if argument("sr_num_fp16_res", 0) > 0 else None,
        conv_clamp=None if clamp is None else _clip(number("conv_clamp", float, clamp)),
        antialias=option("sr_antialias", bool, True),
        rendering_resolution=number("neural_rendering_resolution", int, neural_rendering_resolution),
        ray_start=distance("ray_start"),
        ray_end=distance("ray_end"),
        depth_samples=option("depth_resolution", int),
        importance_samples=option("depth_resolution_importance", int, 0),
        box_warp=option("box_warp", float, 1),
        crop_margin=0.1 if panohead else None,
        disparity_sampling=option("disparity_space_sampling", bool, False),
        white_back=option("white_back", bool, False),
        cull_clouds=number("cull_clouds", float, options.get("cull_clouds") or 0),
        binarize_clouds=number("binarize_clouds", float, options.get("binarize_clouds") or 0),
        density_noise=number("density_noise", float, options.get("density_noise") or 0),
        camera_radius=option("avg_camera_radius", float, 2.7),
        camera_pivot=tuple(number("avg_camera_pivot", float, value) for value in (x, y, z)),
    )


def _clip(clamp: float) -> float | None:
    """The range of a layer's clip; a negative one is none, as the layer's kernel reads it."""
    return None if clamp < 0 else clamp


def _axes(given: str | np.ndarray | None, usual: str) -> Axes:
    """Axes by name, or those of the renderer's `plane_axes`: a point's coordinates are its product with the inverse."""
    if given is None or isinstance(given, str):
        name = given or usual
        check_choice("plane_axes", name, PLANE_AXES)
        return PLANE_AXES[name]
    planes = np.asarray(given, np.float64)
    if planes.shape != (3, 3, 3) or not np.isfinite(planes).all() or np.abs(np.linalg.det(planes)).min() < 1e-6:
        raise InputError(f"renderer.plane_axes must be three invertible 3 x 3 matrices, got shape {planes.shape}")
    rows = np.linalg.inv(planes).swapaxes(1, 2)
    found: list[Any] = []
    for plane in rows:
        order = plane.argmax(axis=1)
        permuted = np.abs(np.eye(3)[order] - plane).max() < 1e-6
        found.append(tuple(map(int, order)) if permuted else tuple(tuple(map(float, row)) for row in plane))
    return tuple(found)
