"""What becomes of the options of PanoHead's, EG3D's and TriPlaneNet's constructors, as data.

`convert` refuses what is not listed here, `panojax info` shows it, and docs/converting.md is written from it (see
`option_table`); the options of their training scripts are in `training_options`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from panojax.errors import InputError, printable


@dataclasses.dataclass(frozen=True)
class Option:
    """One keyword argument of a constructor, or key of a dict that it is given."""

    name: str
    field: str | None
    """The field of `GeneratorConfig` that takes it; None where it has no effect on what a trained network computes."""
    note: str
    """Why it has no effect; of those with one value only, what another would need; else what there is to say."""
    only: tuple[Any, ...] | None = None
    """The values that our networks have; None: any that the field takes."""

    def fits(self, value: Any) -> bool:
        """Whether our networks have this value."""
        value = list(value) if isinstance(value, tuple) else value
        return self.only is None or any(isinstance(value, type(known)) and value == known for known in self.only)


_MIXED = "which layers run in float16 on a GPU; our type of numbers is chosen when a model is loaded"
_FUSED = "how the same convolution is computed"
_TRAINING = "of training alone"
_LAYERS = (
    Option("architecture", None, "resnet and orig synthesis blocks", ("skip",)),
    Option("resample_filter", None, "another filter in up-sampling convolutions and skips", ([1, 3, 3, 1],)),
    Option("fused_modconv_default", None, _FUSED),
    Option("fp16_channels_last", None, "the layout of float16 arrays"),
    Option("kernel_size", None, "kernels that are not 3 x 3", (3,)),
    Option("use_noise", None, "synthesis layers without noise inputs", (True,)),
    Option("activation", None, "synthesis layers of another activation", ("lrelu",)),
)

GROUPS: dict[str, tuple[Option, ...]] = {
    "init_kwargs": (
        Option("z_dim", "z_dim", ""),
        Option("c_dim", "c_dim", "cameras that are no 25 numbers", (25,)),
        Option("w_dim", "w_dim", ""),
        Option("img_resolution", "image_resolution", ""),
        Option("img_channels", None, "the super-resolution makes three channels whatever it says"),
        Option("sr_num_fp16_res", "superresolution_clamp", "above 0, its activations are clipped to +-256"),
        Option("mapping_layers", "mapping_layers", "short for `mapping_kwargs.num_layers`, in golden files"),
        Option("mapping_kwargs", None, "a group of its own"),
        Option("sr_kwargs", None, "a group of its own"),
        Option("rendering_kwargs", None, "a group of its own"),
    ),
    "synthesis_kwargs": (
        Option("channel_base", "channel_base", ""),
        Option("channel_max", "channel_max", ""),
        Option("num_fp16_res", None, _MIXED),
        Option("conv_clamp", "conv_clamp", "of backbone and background; 256 where it is absent"),
        *_LAYERS,
    ),
    "mapping_kwargs": (
        Option("num_layers", "mapping_layers", "8 where it is absent"),
        Option("embed_features", "mapping_embedding", "None: as wide as the codes"),
        Option("layer_features", "mapping_width", "None: as wide as the codes"),
        Option("activation", None, "mapping layers of another activation", ("lrelu",)),
        Option("last_activation", None, "a last mapping layer of another activation", (None,)),
        Option("lr_multiplier", "mapping_lr_multiplier", "of the codes' mapping; the camera's has 1"),
        Option("w_avg_beta", None, "how fast the mean code follows in training"),
    ),
    "sr_kwargs": (
        Option("num_fp16_res", None, "the constructors ignore it"),
        Option("conv_clamp", None, "the constructors ignore it: `sr_num_fp16_res` decides"),
        Option("channel_base", None, "the constructors ignore it: the module's widths are fixed"),
        Option("channel_max", None, "the constructors ignore it: the module's widths are fixed"),
        *_LAYERS,
    ),
    "rendering_kwargs": (
        Option("superresolution_module", "superresolution", "2X, 4X, 8X and 8XDC"),
        Option("superresolution_noise_mode", "superresolution_noise", ""),
        Option("sr_antialias", "antialias", "False: plain bilinear where features, raw picture or background shrink"),
        Option("c_gen_conditioning_zero", "zero_conditioning", ""),
        Option("c_scale", "camera_scale", "0 where it is absent"),
        Option("triplane_size", "plane_resolution", "EG3D has none: 256"),
        Option("triplane_depth", "plane_depth", "EG3D has none: 1, and lookups that ignore it"),
        Option("use_torgb_raw", "raw_to_rgb", ""),
        Option("use_background", "background", ""),
        Option("decoder_activation", "decoder_activation", "EG3D has none: sigmoid"),
        Option("decoder_lr_mul", "decoder_lr_multiplier", ""),
        Option("ray_start", "ray_start", ""),
        Option("ray_end", "ray_end", ""),
        Option("depth_resolution", "depth_samples", ""),
        Option("depth_resolution_importance", "importance_samples", ""),
        Option("disparity_space_sampling", "disparity_sampling", ""),
        Option("box_warp", "box_warp", ""),
        Option("white_back", "white_back", ""),
        Option("cull_clouds", "cull_clouds", "an argument of PanoHead's renderer"),
        Option("binarize_clouds", "binarize_clouds", "an argument of PanoHead's renderer"),
        Option("density_noise", "density_noise", "left by training before it faded; drawn where `render` has a key"),
        Option("avg_camera_radius", "camera_radius", ""),
        Option("avg_camera_pivot", "camera_pivot", ""),
        Option("clamp_mode", None, "marching with another activation of densities", ("softplus",)),
        Option("image_resolution", None, "a note: `img_resolution` decides"),
        Option("gpc_reg_prob", None, _TRAINING),
        Option("density_reg", None, _TRAINING),
        Option("density_reg_p_dist", None, _TRAINING),
        Option("reg_type", None, _TRAINING),
        Option("trans_reg", None, _TRAINING),
    ),
}


@dataclasses.dataclass(frozen=True)
class Sorted:
    """Options of a file by what becomes of them, each named "group.key": value."""

    used: dict[str, Any]
    ignored: dict[str, tuple[Any, str]]
    """With the reason."""
    refused: dict[str, tuple[Any, str]]
    """With what would be needed."""


def sort_options(init_kwargs: Mapping[str, Any], rendering_kwargs: Mapping[str, Any]) -> Sorted:
    """What becomes of a generator's options.

    Args:
      init_kwargs: the constructor's arguments, its dicts of further arguments among them.
      rendering_kwargs: of the network; where it has none, those in `init_kwargs`.
    """
    own = {option.name for option in GROUPS["init_kwargs"]}
    groups = {
        "init_kwargs": {name: value for name, value in init_kwargs.items() if name in own},
        "synthesis_kwargs": {name: value for name, value in init_kwargs.items() if name not in own},
        "mapping_kwargs": init_kwargs.get("mapping_kwargs") or {},
        "sr_kwargs": init_kwargs.get("sr_kwargs") or {},
        "rendering_kwargs": rendering_kwargs,
    }
    found = Sorted({}, {}, {})
    for group, values in groups.items():
        if not isinstance(values, Mapping):
            found.refused[group] = values, "a dict"
            continue
        known = {option.name: option for option in GROUPS[group]}
        for name, value in values.items():
            option, full = known.get(name), f"{'init_kwargs' if group == 'synthesis_kwargs' else group}.{name}"
            if option is None:
                found.refused[full] = value, "a network that has such an option"
            elif not option.fits(value):
                found.refused[full] = value, option.note
            elif option.field is not None:
                found.used[full] = value
            elif name not in GROUPS:
                found.ignored[full] = value, option.note if option.only is None else "the only value that ours has"
    return found


def check_options(init_kwargs: Mapping[str, Any], rendering_kwargs: Mapping[str, Any]) -> None:
    """Raises InputError that lists at once the options that no network of ours has, and what each would need."""
    refused = sort_options(init_kwargs, rendering_kwargs).refused
    if refused:
        lines = "; ".join(
            f"{printable(name)} = {_short(value)} needs {note}" for name, (value, note) in refused.items()
        )
        raise InputError(f"the file has options that change what the network computes and that ours lacks: {lines}")


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def option_table() -> str:
    """The constructors' options as a Markdown table."""
    lines = ["| group | option | what becomes of it |", "|---|---|---|"]
    for group, options in GROUPS.items():
        for option in options:
            lines.append(f"| {group} | `{option.name}` | {_fate(option)} |")
    return "\n".join(lines)


def _fate(option: Option) -> str:
    if option.only is not None:
        values = " or ".join(f"`{value!r}`" for value in option.only)
        taken = f"`GeneratorConfig.{option.field}`, " if option.field else ""
        return f"{taken}{values} only; another value is refused by name: it needs {option.note}"
    if option.field is None:
        return option.note if option.note == "a group of its own" else f"no effect: {option.note}"
    return f"`GeneratorConfig.{option.field}`" + (f": {option.note}" if option.note else "")
