"""Every option of the originals is used, known to have no effect, or refused by name, as docs/converting.md says."""

import dataclasses
import pathlib
import re

import pytest
import recipe

import panojax
from panojax.commands import info
from panojax.converters.generator_settings import generator_config
from panojax.converters.options import GROUPS, option_table, sort_options
from panojax.converters.training_options import SCRIPTS, training_table
from panojax.errors import InputError
from panojax.generators.generator_config import GeneratorConfig
from panojax.train.encoder.presets import paper
from panojax.train.generator.gan_presets import panohead512

DOCS = pathlib.Path(panojax.__file__).parent.parent / "docs" / "converting.md"
INIT, RENDERING = (recipe.manifest("panohead_mini")[name] for name in ("init_kwargs", "rendering_kwargs"))

# Another value of each option that is used: the file's, and what the field then has.
CHANGES = {
    "init_kwargs.z_dim": (48, 48),
    "init_kwargs.c_dim": (25, 25),
    "init_kwargs.w_dim": (256, 256),
    "init_kwargs.img_resolution": (128, 128),
    "init_kwargs.sr_num_fp16_res": (0, None),
    "init_kwargs.mapping_layers": (3, 3),
    "synthesis_kwargs.channel_base": (512, 512),
    "synthesis_kwargs.channel_max": (32, 32),
    "synthesis_kwargs.conv_clamp": (4, 4.0),
    "mapping_kwargs.num_layers": (5, 5),
    "mapping_kwargs.embed_features": (7, 7),
    "mapping_kwargs.layer_features": (9, 9),
    "mapping_kwargs.lr_multiplier": (0.1, 0.1),
    "rendering_kwargs.superresolution_module": ("training.superresolution.SuperresolutionHybrid2X", "2X"),
    "rendering_kwargs.superresolution_noise_mode": ("random", "random"),
    "rendering_kwargs.sr_antialias": (False, False),
    "rendering_kwargs.c_gen_conditioning_zero": (True, True),
    "rendering_kwargs.c_scale": (0.5, 0.5),
    "rendering_kwargs.triplane_size": (32, 32),
    "rendering_kwargs.triplane_depth": (2, 2),
    "rendering_kwargs.use_torgb_raw": (False, False),
    "rendering_kwargs.use_background": (False, False),
    "rendering_kwargs.decoder_activation": ("lrelu", "lrelu"),
    "rendering_kwargs.decoder_lr_mul": (0.5, 0.5),
    "rendering_kwargs.ray_start": (2.35, 2.35),
    "rendering_kwargs.ray_end": (3.4, 3.4),
    "rendering_kwargs.depth_resolution": (12, 12),
    "rendering_kwargs.depth_resolution_importance": (6, 6),
    "rendering_kwargs.disparity_space_sampling": (True, True),
    "rendering_kwargs.box_warp": (2, 2.0),
    "rendering_kwargs.white_back": (True, True),
    "rendering_kwargs.cull_clouds": (0.5, 0.5),
    "rendering_kwargs.binarize_clouds": (0.4, 0.4),
    "rendering_kwargs.density_noise": (0.3, 0.3),
    "rendering_kwargs.avg_camera_radius": (1.7, 1.7),
    "rendering_kwargs.avg_camera_pivot": ([0, 0, 0.1], (0.0, 0.0, 0.1)),
}
OPTIONS = [(group, option) for group, options in GROUPS.items() for option in options]


def changed(group, name, value):
    """The small generator's options with one other value."""
    init, rendering = dict(INIT), dict(RENDERING)
    if group in ("init_kwargs", "synthesis_kwargs"):
        init[name] = value
    elif group == "rendering_kwargs":
        rendering[name] = value
    else:
        init[group] = {name: value}
    if group == "mapping_kwargs":
        del init["mapping_layers"]
    return init, rendering


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=[f"{group}.{option.name}" for group, option in OPTIONS])
def test_what_becomes_of_each_option(group, option):
    """A used one reaches its field; one without effect changes no field; of the others a second value is refused."""
    full = f"{group}.{option.name}"
    if full in CHANGES:
        value, want = CHANGES[full]
        config = generator_config(*changed(group, option.name, value))
        assert getattr(config, option.field) == want
        if full not in ("init_kwargs.c_dim", "init_kwargs.img_resolution", "rendering_kwargs.superresolution_module"):
            assert getattr(generator_config(INIT, RENDERING), option.field) != want
        return
    assert option.field is None or option.only is not None
    if option.only is not None:
        before = generator_config(*changed(group, option.name, option.only[0]))
        with pytest.raises(InputError) as caught:
            generator_config(*changed(group, option.name, "other"))
        shown = str(caught.value)
        place = "init_kwargs" if group == "synthesis_kwargs" else group
        assert f"{place}.{option.name} = 'other' needs {option.note}" in shown and "\n" not in shown
        assert before == generator_config(*changed(group, option.name, option.only[-1]))
        return
    if option.name not in GROUPS:
        values = (generator_config(*changed(group, option.name, value)) for value in (1, 3))
        assert len(set(values)) == 1


def test_every_field_that_files_decide_is_in_the_table():
    """What is left is our own, or follows from other options."""
    taken = {option.field for _, option in OPTIONS}
    ours = {"plane_features", "plane_axes", "depth_interpolation", "decoder_hidden", "camera_adaptation", "crop_margin"}
    ours |= {"superresolution_channels", "rendering_resolution", "representation", "dtype"}
    assert {field.name for field in dataclasses.fields(GeneratorConfig)} == ours | taken - {None}


def test_unknown_options_are_refused_at_once_and_nothing_is_written(tmp_path):
    init = INIT | {"wings": 2, "sr_kwargs": {"use_noise": False}, "mapping_kwargs": {"activation": "relu"}}
    rendering = RENDERING | {"clamp_mode": "relu", "projector": "skinning"}
    with pytest.raises(InputError) as caught:
        panojax.from_torch({}, init, rendering)
    assert str(caught.value) == (
        "the file has options that change what the network computes and that ours lacks: "
        "init_kwargs.wings = 2 needs a network that has such an option; "
        "mapping_kwargs.activation = 'relu' needs mapping layers of another activation; "
        "sr_kwargs.use_noise = False needs synthesis layers without noise inputs; "
        "rendering_kwargs.clamp_mode = 'relu' needs marching with another activation of densities; "
        "rendering_kwargs.projector = 'skinning' needs a network that has such an option"
    )


@pytest.mark.parametrize(
    ("group", "name", "value", "message"),
    [
        ("rendering_kwargs", "ray_start", None, "ray_start must be a number, got None"),
        ("rendering_kwargs", "box_warp", "wide", "box_warp must be a number, got 'wide'"),
        ("rendering_kwargs", "avg_camera_pivot", 3, "avg_camera_pivot must be a number, got None"),
        ("init_kwargs", "z_dim", 2.5, "z_dim must be a number, got 2.5"),
        ("init_kwargs", "z_dim", 10**400, "z_dim must be a number, got 1000"),
        ("init_kwargs", "mapping_kwargs", 3, "mapping_kwargs = 3 needs a dict"),
        ("synthesis_kwargs", "conv_clamp", float("nan"), "conv_clamp must be a number, got nan"),
    ],
)
def test_values_of_another_kind_are_named(group, name, value, message):
    with pytest.raises(InputError, match=message):
        generator_config(*changed(group, name, value))


def test_info_lists_the_three_groups(capsys):
    info.run(info.Options(str(recipe.GOLDEN / "panohead_mini.pkl")))
    shown = capsys.readouterr().out
    used, rest = shown.split(" options used\n")[1].split(" options without effect at inference\n")
    ignored = rest.split(" attributes\n")[0]
    assert "  rendering_kwargs.sr_antialias: true\n" in used and "  init_kwargs.conv_clamp: null\n" in used
    assert '  rendering_kwargs.trans_reg: "10: of training alone"\n' in ignored
    assert "renderer.plane_axes: [[[1.0, 0.0, 0.0]" in shown and "options refused" not in shown
    found = sort_options(INIT | {"architecture": "resnet"}, RENDERING)
    assert found.refused == {"init_kwargs.architecture": ("resnet", "resnet and orig synthesis blocks")}


def resolved(root, path):
    """The value at a dotted path of a preset."""
    for name in path.split("."):
        root = getattr(root, name)
    return root


@pytest.mark.parametrize("script", SCRIPTS)
def test_training_options_have_the_value_of_the_original_command(script):
    """Where ours is a field, the preset has the value of PanoHead's released command or of TriPlaneNet's defaults."""
    names = [option.name for option in SCRIPTS[script]]
    assert len(set(names)) == len(names)
    for option in SCRIPTS[script]:
        preset = paper() if script.startswith("TriPlaneNet") else panohead512()
        values = [resolved(preset, path) for path in option.fields]
        if option.value is not None and script != "EG3D":
            assert values[0] == option.value, (script, option.name)
        assert option.note or option.fields, option.name


def test_the_page_holds_the_tables_of_the_code():
    page = DOCS.read_text()
    for mark, table in (("constructors", option_table()), ("training scripts", training_table())):
        found = re.search(rf"<!-- {mark} -->\n(.*?)\n<!-- end -->", page, re.S)
        assert found is not None and found[1] == table, f"write the table of {mark} anew"


def test_tables_count():
    """All of the originals' options: of the constructors, of each script."""
    assert {group: len(options) for group, options in GROUPS.items()} == {
        "init_kwargs": 10,
        "synthesis_kwargs": 11,
        "mapping_kwargs": 7,
        "sr_kwargs": 11,
        "rendering_kwargs": 30,
    }
    assert {name: len(options) for name, options in SCRIPTS.items()} == {
        "PanoHead": 73,
        "EG3D": 53,
        "TriPlaneNet": 26,
        "TriPlaneNet v2": 44,
    }
