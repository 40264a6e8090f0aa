"""The configuration of a generator from what its PyTorch pickle carries."""

from collections.abc import Mapping
from typing import Any

from panojax.errors import InputError, check_choice
from panojax.generators.generator_config import PLANE_AXES, SUPERRESOLUTION, GeneratorConfig


def generator_config(
    init_kwargs: Mapping[str, Any],
    rendering_kwargs: Mapping[str, Any],
    *,
    neural_rendering_resolution: int = 64,
    plane_axes: str | None = None,
) -> GeneratorConfig:
    """The configuration of a PyTorch generator from what its pickle carries.

    Args:
      init_kwargs: the constructor's arguments (`z_dim`, `mapping_kwargs`, `channel_base`, ...).
      rendering_kwargs: `ray_start`, `box_warp`, `superresolution_module`, ...
      neural_rendering_resolution: the pickled attribute of that name.
      plane_axes: a name of `PLANE_AXES`; None takes "panohead" where `rendering_kwargs` has a `triplane_depth`, else
        "eg3d". Checkpoints trained with EG3D's corrected planes need "eg3d-fixed"; nothing in the file tells.

    Raises:
      InputError: names the missing key or the value that no network of ours has.
    """
    kwargs, options = dict(init_kwargs), dict(rendering_kwargs)

    def need(source, name, where):
        if name not in source:
            raise InputError(f"{where} lacks {name!r}; it has {', '.join(sorted(source)) or 'nothing'}")
        return source[name]

    module = need(options, "superresolution_module", "rendering_kwargs").rsplit(".", 1)[-1]
    superresolution = module.removeprefix("SuperresolutionHybrid")
    check_choice("superresolution_module", superresolution, SUPERRESOLUTION)
    panohead = "triplane_depth" in options
    axes = plane_axes or ("panohead" if panohead else "eg3d")
    check_choice("plane_axes", axes, PLANE_AXES)
    mapping = kwargs.get("mapping_kwargs", {})
    return GeneratorConfig(
        z_dim=need(kwargs, "z_dim", "init_kwargs"),
        c_dim=need(kwargs, "c_dim", "init_kwargs"),
        w_dim=need(kwargs, "w_dim", "init_kwargs"),
        mapping_layers=kwargs.get("mapping_layers", mapping.get("num_layers", 8)),
        channel_base=kwargs.get("channel_base", 32768),
        channel_max=kwargs.get("channel_max", 512),
        plane_resolution=options.get("triplane_size", 256),
        plane_depth=options.get("triplane_depth", 1),
        plane_axes=PLANE_AXES[axes],
        depth_interpolation=panohead,
        decoder_activation=options.get("decoder_activation", "sigmoid"),
        decoder_lr_multiplier=float(options.get("decoder_lr_mul", 1)),
        raw_to_rgb=bool(options.get("use_torgb_raw", False)),
        background=bool(options.get("use_background", False)),
        camera_adaptation=panohead,
        camera_scale=float(options.get("c_scale", 1)),
        zero_conditioning=bool(options.get("c_gen_conditioning_zero", False)),
        image_resolution=need(kwargs, "img_resolution", "init_kwargs"),
        superresolution=superresolution,
        superresolution_channels=SUPERRESOLUTION[superresolution][1],
        superresolution_noise=options.get("superresolution_noise_mode", "none"),
        superresolution_clamp=256.0 if kwargs.get("sr_num_fp16_res", 0) > 0 else None,
        rendering_resolution=int(neural_rendering_resolution),
        ray_start=_distance(need(options, "ray_start", "rendering_kwargs")),
        ray_end=_distance(need(options, "ray_end", "rendering_kwargs")),
        depth_samples=int(need(options, "depth_resolution", "rendering_kwargs")),
        importance_samples=int(options.get("depth_resolution_importance", 0)),
        box_warp=float(options.get("box_warp", 1)),
        crop_margin=0.1 if panohead else None,
        disparity_sampling=bool(options.get("disparity_space_sampling", False)),
        white_back=bool(options.get("white_back", False)),
        cull_clouds=float(options.get("cull_clouds") or 0),
        binarize_clouds=float(options.get("binarize_clouds") or 0),
        camera_radius=float(options.get("avg_camera_radius", 2.7)),
        camera_pivot=_point(options.get("avg_camera_pivot", (0, 0, 0))),
    )


def _point(values) -> tuple[float, float, float]:
    x, y, z = values
    return float(x), float(y), float(z)


def _distance(value):
    return value if value == "auto" else float(value)
