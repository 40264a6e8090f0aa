"""Files of settings that no golden file has, converted, against the originals' rules in NumPy: before and after."""

import dataclasses
import functools

import jax
import numpy as np
import numpy_original as original
import pytest
import recipe
import scenes

import panojax
from panojax.camera import look_at
from panojax.converters.generator_settings import generator_config
from panojax.fields.trigrid import PLANE_AXES
from panojax.generators import generator

TOLERANCE = 2e-5  # float32 against float64
PANOHEAD = np.eye(3)[[(0, 1, 2), (0, 2, 1), (1, 2, 0)]]
EG3D = np.eye(3)[[(0, 1, 2), (0, 2, 1), (2, 0, 1)]]
FIXED = np.eye(3)[[(0, 1, 2), (0, 2, 1), (2, 1, 0)]]
INIT = {
    "z_dim": 16,
    "c_dim": 25,
    "w_dim": 32,
    "img_resolution": 128,
    "img_channels": 3,
    "sr_num_fp16_res": 4,
    "mapping_kwargs": {"num_layers": 2},
    "sr_kwargs": {"channel_base": 256, "channel_max": 16, "fused_modconv_default": "inference_only"},
    "channel_base": 256,
    "channel_max": 16,
    "fused_modconv_default": "inference_only",
    "num_fp16_res": 0,
    "conv_clamp": None,
    "architecture": "skip",
}
OPTIONS = {
    "image_resolution": 128,
    "disparity_space_sampling": False,
    "clamp_mode": "softplus",
    "superresolution_module": "training.superresolution.SuperresolutionHybrid2X",
    "c_gen_conditioning_zero": False,
    "gpc_reg_prob": 0.7,
    "c_scale": 1,
    "superresolution_noise_mode": "none",
    "density_reg": 0,
    "density_reg_p_dist": 0.004,
    "reg_type": "l1",
    "decoder_lr_mul": 1,
    "decoder_activation": "none",
    "use_torgb_raw": True,
    "triplane_size": 16,
    "triplane_depth": 3,
    "trans_reg": 10,
    "use_background": True,
    "sr_antialias": True,
    "depth_resolution": 8,
    "depth_resolution_importance": 0,
    "ray_start": 2.25,
    "ray_end": 3.3,
    "box_warp": 1,
    "avg_camera_radius": 2.7,
    "avg_camera_pivot": [0, 0, 0.2],
    "density_noise": 0,
}
# EG3D has none of these; its planes are made smaller here.
EG3D_OPTIONS = {
    k: v for k, v in OPTIONS.items() if k not in ("triplane_depth", "use_torgb_raw", "use_background", "trans_reg")
}
EG3D_OPTIONS |= {"decoder_activation": "sigmoid"}
Z, CAMERA = recipe.normal("original/z", (16,)), np.asarray(look_at(0.4, 0.2), np.float64)


@dataclasses.dataclass
class File:
    """A pickle, what ours makes of it, and its twin."""

    params: panojax.Params
    twin: original.Original


def made(tmp_path, init=INIT, options=OPTIONS, axes=PANOHEAD, *, loud=1.0, **attributes):
    config = generator_config(init, options, plane_axes=np.asarray(axes))
    state = original.random_state(config, "original", loud=loud)
    path = tmp_path / "network.pkl"
    original.write_pickle(path, state, init, options, plane_axes=axes, **attributes)
    return File(panojax.convert(path, tmp_path / "converted"), original.Original(state, init, options, axes))


@functools.partial(jax.jit, static_argnames="config")
def our_pictures(config, variables, w, camera, uniforms):
    ws = jax.numpy.broadcast_to(w, (1, config.num_ws, config.w_dim))
    heads = generator.make_heads(config, variables, generator.synthesize(config, variables, ws), ws)
    rendered = generator.render_volume(config, variables, heads, camera[None], uniforms)
    return generator.finish(config, variables, rendered, heads)


def relative(got, want):
    """The relative error, or the absolute one where nothing is seen."""
    return recipe.relative_error(got, want) if np.any(want) else float(np.linalg.norm(got))


def errors(file, *, side=12, camera=CAMERA, **before):
    """Relative errors of ours against the twin by picture; `before` are fields as conversion would have had them."""
    config, options = file.params.config.generator, file.twin.options
    w = file.twin.mapping("backbone.mapping", Z, camera)
    coarse = recipe.uniform("original/coarse", (side * side, options["depth_resolution"]))
    fine = recipe.uniform("original/fine", (side * side, options["depth_resolution_importance"]))
    want = file.twin.pictures(w, camera, coarse, fine)
    seen = np.abs(want["weight"]) > 1e-6  # float32 has no depth where less is seen

    def error(config):
        uniforms = coarse[None], fine[None]
        view = our_pictures(config, file.params.generator, np.float32(w), np.float32(camera), uniforms)
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(view))
        got = {name: scenes.to_nchw(getattr(view, name))[0] for name in ("image", "raw", "depth", "weight")}
        return {name: relative(*(x * seen if name == "depth" else x for x in (got[name], want[name]))) for name in got}

    after = error(config)
    print({"after": after} | ({"before": error(dataclasses.replace(config, **before))} if before else {}))
    return (error(dataclasses.replace(config, **before)) if before else None), after


@pytest.mark.parametrize(
    ("axes", "options", "name", "change"),
    [
        (FIXED, EG3D_OPTIONS, "eg3d-fixed", 0.01),
        (EG3D, EG3D_OPTIONS, "eg3d", None),
        (PANOHEAD, OPTIONS, "panohead", None),
        (PANOHEAD[[1, 2, 0]], OPTIONS, None, 0.01),
        (-FIXED, OPTIONS, None, 0.01),
        (np.linalg.qr(recipe.normal("turned", (3, 3, 3)))[0] * [[[1.0]], [[0.8]], [[1.3]]], OPTIONS, None, 0.01),
    ],
    ids=["eg3d corrected", "eg3d", "panohead", "reordered", "mirrored", "oblique"],
)
def test_planes_have_the_renderers_axes(tmp_path, axes, options, name, change):
    """Pictures by `renderer.plane_axes` of the pickle; `change` is what they were off by before, at least."""
    file = made(tmp_path, options=options, axes=axes)
    usual = "panohead" if options is OPTIONS else "eg3d"
    if name is not None:
        assert file.params.config.generator.plane_axes == PLANE_AXES[name]
    before, after = errors(file, plane_axes=PLANE_AXES[usual])
    assert max(after.values()) <= TOLERANCE
    assert change is None or before["raw"] > change
    assert panojax.load(tmp_path / "converted").config == file.params.config


def test_axes_that_are_none_are_refused(tmp_path):
    with pytest.raises(
        panojax.InputError, match=r"renderer.plane_axes must be three invertible 3 x 3 matrices, got shape"
    ):
        generator_config(INIT, OPTIONS, plane_axes=np.zeros((3, 3, 3)))
    with pytest.raises(
        panojax.InputError, match="plane_axes must hold three coordinates or three independent rows a plane"
    ):
        panojax.GeneratorConfig(plane_axes=((0, 1, 2), (0, 2, 1), (0, 0, 1)))


@pytest.mark.parametrize(("clamp", "loud"), [(0.5, 1.0), (256, 3000.0), ("absent", 3000.0), (-1, 1.0)])
def test_convolutions_are_clipped(tmp_path, clamp, loud):
    """Backbone and background; where the key is absent, the original's blocks clip to 256."""
    init = {k: v for k, v in INIT.items() if k != "conv_clamp" or clamp != "absent"}
    file = made(tmp_path, init | ({} if clamp == "absent" else {"conv_clamp": clamp}), loud=loud)
    if clamp == -1:
        assert file.params.config.generator.conv_clamp is None
        file.twin.kwargs = init
        assert max(errors(file)[1].values()) <= TOLERANCE
        return
    before, after = errors(file, conv_clamp=None)
    assert max(after.values()) <= TOLERANCE
    assert before["image"] > 0.02


def test_the_super_resolution_is_clipped_to_256_after_the_gain(tmp_path):
    """Not to 256 sqrt(2), which is where ours clipped."""
    file = made(tmp_path, loud=1.0)
    params = file.params.generator["params"]
    params["superresolution"]["block0"]["conv1"]["bias"] += 300.0
    file.twin.state["superresolution.block0.conv1.bias"] += 300.0
    before, after = errors(file, superresolution_clamp=256.0 * np.sqrt(2))
    assert max(after.values()) <= TOLERANCE
    assert before["image"] > 1e-3


def test_plain_resizing(tmp_path):
    """`sr_antialias` False, where 80 x 80 features and raw pictures shrink to 64 x 64, and a background to 12 x 12."""
    file = made(tmp_path, options=OPTIONS | {"sr_antialias": False, "depth_resolution": 4})
    for side, name in ((80, "image"), (12, "raw")):
        before, after = errors(file, side=side, antialias=True)
        assert max(after.values()) <= TOLERANCE
        assert before[name] > 0.01


@pytest.mark.parametrize(
    "mapping",
    [
        {"num_layers": 3, "embed_features": 7, "layer_features": 20},
        {"num_layers": 2, "layer_features": 9, "lr_multiplier": 0.01},
        {},
    ],
)
def test_mapping_options(tmp_path, mapping):
    init = INIT | {"mapping_kwargs": mapping}
    file = made(tmp_path, init)
    config, variables = file.params.config.generator, file.params.generator
    for truncation in (1.0, 0.6):
        ws = generator.map_latent(config, variables, Z[None], np.float32(CAMERA)[None], truncation=truncation)
        want = file.twin.mapping("backbone.mapping", Z, CAMERA, truncation)
        assert recipe.relative_error(ws[0, 0], want) <= TOLERANCE


@pytest.mark.parametrize(
    ("changes", "scale"),
    [({}, 1), ({"c_scale": 0.3}, 0.3), ({"c_scale": None}, 0), ({"c_gen_conditioning_zero": True}, 1)],
    ids=["whole", "scaled", "absent", "zero"],
)
def test_camera_adaptation(tmp_path, changes, scale):
    """The translation is added to the label as given, with truncation; an absent `c_scale` is 0."""
    options = {k: v for k, v in (OPTIONS | changes).items() if v is not None}
    file = made(tmp_path, options=options)
    config, variables = file.params.config.generator, file.params.generator
    assert config.camera_scale == scale
    for truncation in (1.0, 0.6):
        label, delta = generator.adapt_camera(
            config, variables, Z[None], np.float32(CAMERA)[None], truncation=truncation
        )
        want, moved = file.twin.adapted(Z, CAMERA, truncation)
        assert recipe.relative_error(delta[0], moved) <= TOLERANCE
        assert recipe.relative_error(label[0], want) <= TOLERANCE
    w = generator.map_latent(config, variables, Z[None], np.float32(CAMERA)[None])[0, 0]
    conditioning = np.zeros(25) if options["c_gen_conditioning_zero"] else CAMERA
    assert recipe.relative_error(w, file.twin.mapping("backbone.mapping", Z, conditioning)) <= TOLERANCE


@pytest.mark.parametrize("importance", [0, 8])
@pytest.mark.parametrize(("turn", "options"), [("towards", OPTIONS), ("away", OPTIONS), ("away", EG3D_OPTIONS)])
def test_rays_from_entry_to_exit(tmp_path, turn, options, importance):
    """`ray_start` "auto"; "away", every ray misses the box, and the original's -1 and -2 are its limits: no NaN."""
    options = options | {"ray_start": "auto", "ray_end": "auto", "depth_resolution_importance": importance}
    file = made(tmp_path, options=options, axes=EG3D if "triplane_depth" not in options else PANOHEAD)
    camera = CAMERA.copy()
    if turn == "away":
        camera[[3, 7, 11]] += [0, 9, 0]
    after = errors(file, side=6, camera=camera)[1]
    assert max(after.values()) <= 1e-4  # weights below zero add up to small sums


def test_positional_arguments_and_other_attributes(tmp_path):
    """`_init_args` in the constructor's order; the rendering resolution; the buffer that training leaves."""
    config = generator_config(INIT, OPTIONS)
    state = original.random_state(config, "original") | {"dataset_label_std": np.ones(25, np.float32)}
    order = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")
    init = {k: v for k, v in INIT.items() if k not in order}
    args = tuple(INIT[name] for name in order)
    path = tmp_path / "network.pkl"
    original.write_pickle(path, state, init, OPTIONS, init_args=args, neural_rendering_resolution=32)
    params = panojax.convert(path, tmp_path / "converted")
    assert params.config.generator == dataclasses.replace(config, rendering_resolution=32)


def test_nothing_is_written_of_a_file_with_unknown_options(tmp_path):
    """All of them are named in one line."""
    state = original.random_state(generator_config(INIT, OPTIONS), "original")
    path, out = tmp_path / "network.pkl", tmp_path / "converted"
    original.write_pickle(
        path, state, INIT | {"use_noise": False}, OPTIONS | {"clamp_mode": "relu"}, plane_axes=PANOHEAD
    )
    with pytest.raises(panojax.InputError) as caught:
        panojax.convert(path, out)
    assert "init_kwargs.use_noise = False needs" in str(caught.value) and "\n" not in str(caught.value)
    assert "rendering_kwargs.clamp_mode = 'relu' needs marching" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["network.pkl"]
