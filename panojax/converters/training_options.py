"""What of ours does the work of each option of PanoHead's, EG3D's and TriPlaneNet's training scripts, as data.

docs/converting.md is written from it (`training_table`), and a test compares the values with those of our presets.
"""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class TrainingOption:
    """One option of a script."""

    name: str
    fields: tuple[str, ...] = ()
    """Fields of the preset that take its place: `panohead512`'s (`GeneratorRun`) or `paper`'s (`RunConfig`)."""
    note: str = ""
    value: Any = None
    """What the first field has in the preset, where the script's own command or default sets it; None: not compared."""


def _option(name: str, *fields: str, note: str = "", value: Any = None) -> TrainingOption:
    return TrainingOption(name, fields, note, value)


_BYTES = "our type of numbers: `model.dtype` or `discriminator.dtype`"
_NONE = "none: "

# Of PanoHead's train.py and EG3D's alike. The values are those of PanoHead's released command.
_COMMON = (
    _option("outdir", "workdir"),
    _option("gpus", note="all devices of the process; `distributed` for several hosts"),
    _option("batch", "batch", value=32),
    _option("gamma", "step.r1_weight", value=1.0),
    _option("cond", note="labels are always used: cameras are needed to render"),
    _option("mirror", "mirror", value=True),
    _option("aug", note=_NONE + "the released command has `noaug`, and PanoHead's loss refuses the others"),
    _option("resume", "start"),
    _option("freezed", note=_NONE + "all layers of the discriminator learn, as the default has it"),
    _option("p", note=_NONE + "goes with `aug`"),
    _option("target", note=_NONE + "goes with `aug`"),
    _option("batch-gpu", "step.accumulate", note="parts of a batch; swaps and groups stay within a part"),
    _option("cbase", "model.channel_base", "discriminator.channel_base", value=32768),
    _option("cmax", "model.channel_max", "discriminator.channel_max", value=512),
    _option("glr", "step.learning_rate", value=0.0025),
    _option("dlr", "step.discriminator_learning_rate", value=0.002),
    _option("map-depth", "model.mapping_layers", value=2),
    _option("mbstd-group", "discriminator.group_size", value=4),
    _option("desc", note="the name of `workdir`"),
    _option("metrics", note="`python -m panojax.eval panohead`, after training"),
    _option("kimg", "kimg", value=25_000.0),
    _option("tick", "log_every", note="in steps"),
    _option("snap", "save_every", "picture_every", note="in steps"),
    _option("seed", "seed", value=0),
    _option("nobench", note=_NONE + "XLA tunes its own kernels"),
    _option("workers", note=_NONE + "pictures are kept as bytes, see `data_on_device`"),
    _option("dry-run", note="`--help` shows the options and their values"),
    _option("neural_rendering_resolution_initial", "step.rendering_start", note="None: `model.rendering_resolution`"),
    _option("neural_rendering_resolution_final", "model.rendering_resolution", value=64),
    _option("neural_rendering_resolution_fade_kimg", "step.rendering_kimg", note="in multiples of 8", value=1000.0),
    _option("blur_fade_kimg", "step.blur_kimg", note="at batch 32, in proportion to the batch", value=200.0),
    _option("gen_pose_cond", "model.zero_conditioning", note="its opposite", value=False),
    _option("c-scale", "model.camera_scale", value=1.0),
    _option("c-noise", note=_NONE + "the scripts do not read it"),
    _option("gpc_reg_prob", "step.conditioning_swap", value=0.7),
    _option("gpc_reg_fade_kimg", "step.conditioning_swap_kimg", value=1000.0),
    _option("disc_c_noise", note=_NONE + "a discriminator with noise on its labels is refused; the default is 0"),
    _option("sr_noise_mode", "model.superresolution_noise", value="none"),
    _option("resume_blur", note="a run that starts from another goes on with its count of pictures"),
    _option("sr_num_fp16_res", "model.superresolution_clamp", note="above 0; " + _BYTES, value=256.0),
    _option("g_num_fp16_res", "model.conv_clamp", note="0: no clip; above 0: 256; " + _BYTES),
    _option("d_num_fp16_res", "discriminator.clamp", note="above 0; " + _BYTES, value=256.0),
    _option("sr_first_cutoff", note=_NONE + "the scripts do not read it"),
    _option("sr_first_stopband", note=_NONE + "the scripts do not read it"),
    _option("style_mixing_prob", "step.style_mixing", value=0.0),
    _option("sr-module", "model.superresolution", value="8XDC"),
    _option("density_reg", "step.density_weight", value=0.0),
    _option("density_reg_every", "step.density_interval", value=4),
    _option("density_reg_p_dist", "step.density_distance", value=0.004),
    _option("reg_type", note="`l1` is ours; " + _NONE + "l1-alt, the monotonic ones and total-variation"),
    _option("decoder_lr_mul", "model.decoder_lr_multiplier", value=1.0),
)

_PANOHEAD = (
    _option(
        "cfg", "model.box_warp", "model.camera_radius", "model.camera_pivot", note="rays and cameras of `ffhq`", value=1
    ),
    _option("img_data", "data"),
    _option("seg_data", "masks"),
    _option("gamma_seg", "step.r1_mask_weight", value=1.0),
    _option("resume_kimg", note="the count of pictures is read from the run that `start` names"),
    _option("g_architecture", note="`skip` alone"),
    _option("density_noise_fade_kimg", "step.density_noise_kimg", value=200.0),
    _option("decoder_activation", "model.decoder_activation", value="none"),
    _option("use_torgb_raw", "model.raw_to_rgb", value=True),
    _option("use_background", "model.background", value=True),
    _option("bcg_reg_prob", "step.background_swap", value=0.2),
    _option("disc_module", note="`MaskDualDiscriminatorV2` alone"),
    _option("seg_resolution", note=_NONE + "MaskDualDiscriminatorV2 does not read it"),
    _option("seg_channels", note="1"),
    _option("triplane_size", "model.plane_resolution", value=256),
    _option("triplane_depth", "model.plane_depth", value=3),
    _option("trans_reg", "step.adaptation_weight", value=10.0),
    _option("max_yaw", note="leave pictures out of the data's folder; the released command has 180"),
    _option("min_yaw", note="leave pictures out of the data's folder; the released command has 0"),
    _option("back_repeat", "back_repeat", value=4),
    _option("ray_start", "model.ray_start", value=2.25),
    _option("ray_end", "model.ray_end", value=3.3),
)

_EG3D = (
    _option("cfg", "model.box_warp", "model.camera_radius", "model.camera_pivot", note="rays and cameras"),
    _option("data", "data"),
)

_IDENTITY = "of `step.weights`, for the final picture"
_STYLED = "`step.style_weight` times those of the final picture"
_TRIPLANENET = (
    _option("exp_dir", "workdir"),
    _option("device", note=_NONE + "all devices of the process"),
    _option("n_styles", "encoder.n_styles", note="fitted to the generator", value=14),
    _option("batch_size", "batch"),
    _option("test_batch_size", note="that of training"),
    _option("workers", note=_NONE + "Grain's own"),
    _option("test_workers", note=_NONE + "Grain's own"),
    _option("learning_rate_psp", "step.learning_rate", value=1e-4),
    _option("learning_rate_triplane", "step.learning_rate", value=1e-4),
    _option("optim_name_psp", note="Ranger alone"),
    _option("optim_name_triplane", note="Ranger alone"),
    _option("add_triplanenet", note="a run of `psp`, then one that starts from it"),
    _option("stop_psp", note=_NONE + "both stages learn throughout"),
    _option("lpips_lambda_psp", "step.style_weight", note=_STYLED),
    _option("lpips_lambda_triplane", "step.weights.lpips", note="TriPlaneNet's are its preset's"),
    _option("id_lambda_psp", "step.style_weight", note=_STYLED),
    _option("id_lambda_triplane", "step.weights.identity", note="TriPlaneNet's are its preset's"),
    _option("l2_lambda_psp", "step.style_weight", note=_STYLED),
    _option("l1_lambda_triplane", "step.weights.l2", note="squared, not smooth-L1"),
    _option("checkpoint_path", "start"),
    _option("max_steps", "steps"),
    _option("image_interval", "picture_every"),
    _option("board_interval", "log_every", value=50),
    _option("val_interval", "save_every", note="validated before each checkpoint"),
    _option("save_interval", "save_every"),
    _option("use_wandb", note=_NONE + "log.jsonl"),
)

_MIRRORED = _NONE + "the mirrored view is seen as input; it has no loss"
_TRIPLANENET_V2 = (
    _option("use_pixelshuffle", "encoder.pixel_shuffle"),
    _option("batch_size_after_triplanenet", "batch", note="of the run that starts then"),
    _option("batch_size_after_discriminator", "batch", note="of the run that starts then"),
    _option("batch_size_after_pspstop", "batch", note="of the run that starts then"),
    _option("use_discriminator", "step.critic", note="`image`; of pictures from all around"),
    _option("learning_rate_dis", "step.critic_learning_rate", value=1e-4),
    _option("add_discriminator", note="a run of its own that starts from the one without"),
    _option("lpips_lambda_psp_mirror", note=_MIRRORED),
    _option("lpips_lambda_triplane_mirror", note=_MIRRORED),
    _option("id_lambda_psp_mirror", note=_MIRRORED),
    _option("id_lambda_triplane_mirror", note=_MIRRORED),
    _option("l2_lambda_psp_mirror", note=_MIRRORED),
    _option("l1_lambda_triplane_mirror", note=_MIRRORED),
    _option("mirror_lambda", note=_MIRRORED),
    _option("normalize_mirror", note=_MIRRORED),
    _option("adv_lambda", "step.adversarial_weight"),
    _option("d_r1_gamma", "step.r1_weight", value=10.0),
    _option("d_reg_every", "step.r1_interval", value=16),
)

SCRIPTS: dict[str, tuple[TrainingOption, ...]] = {
    "PanoHead": _COMMON + _PANOHEAD,
    "EG3D": _COMMON + _EG3D,
    "TriPlaneNet": _TRIPLANENET,
    "TriPlaneNet v2": _TRIPLANENET + _TRIPLANENET_V2,
}


def training_table() -> str:
    """The scripts' options as a Markdown table."""
    rows: dict[tuple[str, TrainingOption], list[str]] = {}
    for script, options in SCRIPTS.items():
        for option in options:
            rows.setdefault((option.name, option), []).append(script)
    lines = ["| script | option | what takes its place |", "|---|---|---|"]
    for (name, option), scripts in rows.items():
        fields = ", ".join(f"`{field}`" for field in option.fields)
        value = "" if option.value is None else f" = {option.value}"
        told = f"{fields}{value}" + (f": {option.note}" if fields and option.note else option.note)
        lines.append(f"| {', '.join(scripts)} | `--{name}` | {told} |")
    return "\n".join(lines)
