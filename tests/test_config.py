import dataclasses
import json

import jax
import pytest
import recipe
import scenes

from panojax.config import Config, from_json, to_json
from panojax.converters.generator_settings import generator_config
from panojax.encoders.encoder_config import EncoderConfig, released
from panojax.errors import InputError
from panojax.generators.generator_config import PLANE_AXES, GeneratorConfig, count_ws


def manifest(tag):
    loaded = recipe.manifest(tag)
    return loaded["init_kwargs"], loaded["rendering_kwargs"]


def test_the_defaults_are_the_released_generator():
    assert generator_config(*manifest("panohead_full")) == GeneratorConfig()
    assert GeneratorConfig().num_ws == 14 and GeneratorConfig().field.shape == (3, 3, 256, 256, 32)
    assert [count_ws(r) for r in (4, 8, 64, 256)] == [2, 4, 10, 14]


def test_options_of_the_small_generators():
    mini = generator_config(*manifest("panohead_mini"), neural_rendering_resolution=128)
    assert (mini.z_dim, mini.channel_base, mini.plane_resolution) == (64, 1024, 64)
    assert (mini.superresolution, mini.superresolution_channels, mini.rendering_resolution) == ("2X", (128, 64), 128)
    eg3d = generator_config(*manifest("eg3d_mini"))
    assert (eg3d.plane_depth, eg3d.decoder_activation, eg3d.ray_start) == (1, "sigmoid", "auto")
    assert eg3d.zero_conditioning and not eg3d.background and not eg3d.raw_to_rgb
    assert generator_config(*manifest("panohead_sr4x")).superresolution == "4X"


def test_eg3d_checkpoints_have_no_depth():
    """EG3D's own options: no `triplane_depth`, so bilinear lookups, no crop, no camera adaptation, EG3D's planes."""
    init, rendering = manifest("eg3d_mini")
    rendering = {k: v for k, v in rendering.items() if not k.startswith(("triplane", "use_", "decoder_act"))}
    rendering |= {"cull_clouds": 0.5, "white_back": True}
    init = {k: v for k, v in init.items() if k != "mapping_layers"} | {"mapping_kwargs": {"num_layers": 3}}
    config = generator_config(init, rendering)
    assert config.plane_depth == 1 and not config.depth_interpolation and config.crop_margin is None
    assert config.plane_resolution == 256 and config.mapping_layers == 3 and not config.camera_adaptation
    assert config.cull_clouds == 0.5 and config.white_back and config.plane_axes == PLANE_AXES["eg3d"]
    assert generator_config(init, rendering, plane_axes="eg3d-fixed").plane_axes == PLANE_AXES["eg3d-fixed"]


@pytest.mark.parametrize("name", ["z_dim", "c_dim", "w_dim", "img_resolution"])
def test_missing_arguments_are_named(name):
    init, rendering = manifest("panohead_mini")
    with pytest.raises(
        InputError, match=f"^init_kwargs lacks '{name}'; it has c_dim|^init_kwargs lacks 'c_dim'; it has"
    ):
        generator_config({k: v for k, v in init.items() if k != name}, rendering)


@pytest.mark.parametrize("name", ["superresolution_module", "ray_start", "ray_end", "depth_resolution"])
def test_missing_options_are_named(name):
    init, rendering = manifest("panohead_mini")
    with pytest.raises(InputError, match=f"^rendering_kwargs lacks '{name}'; it has "):
        generator_config(init, {k: v for k, v in rendering.items() if k != name})
    with pytest.raises(InputError, match=r"^rendering_kwargs lacks 'superresolution_module'; it has nothing"):
        generator_config(init, {})


def test_unknown_modules_are_named():
    init, rendering = manifest("panohead_mini")
    with pytest.raises(InputError, match="superresolution_module must be one of 2X, 4X, 8X, 8XDC, got '3X'"):
        generator_config(init, rendering | {"superresolution_module": "superresolution.SuperresolutionHybrid3X"})
    with pytest.raises(InputError, match="plane_axes must be one of panohead, eg3d, eg3d-fixed, got 'xyz'"):
        generator_config(init, rendering, plane_axes="xyz")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"superresolution": "16X"}, "superresolution must be one of 2X, 4X, 8X, 8XDC, got '16X'"),
        ({"superresolution_noise": "some"}, "superresolution_noise must be one of none, const, random, got 'some'"),
        ({"decoder_activation": "relu"}, "decoder_activation must be one of none, lrelu, sigmoid, got 'relu'"),
        ({"dtype": "float16"}, "dtype must be one of float32, bfloat16, got 'float16'"),
        ({"channel_max": 2}, "channel_max must be 4 to 8192, got 2"),
        ({"plane_resolution": 100}, "plane_resolution must be a power of two, got 100"),
        ({"ray_start": "auto"}, 'ray_start and ray_end are both "auto" or neither, got auto, 3.3'),
        ({"depth_samples": 3}, "depth_samples must be 4 to 4096, got 3"),
        ({"depth_interpolation": False}, "bilinear lookups need plane_depth 1, got 3"),
        ({"image_resolution": 256}, "image_resolution must be 512 for superresolution 8XDC, got 256"),
    ],
)
def test_values_that_no_network_has(changes, message):
    with pytest.raises(InputError, match=message):
        GeneratorConfig(**changes)


@pytest.mark.parametrize(
    "config",
    [
        GeneratorConfig(),
        GeneratorConfig(ray_start="auto", ray_end="auto", crop_margin=None, superresolution_clamp=None),
        Config(GeneratorConfig()),
        Config(GeneratorConfig(dtype="bfloat16"), released(dtype="bfloat16")),
        scenes.tiny_config(offset_channels=9),
    ],
    ids=["released", "nones", "generator", "encoders", "tiny"],
)
def test_json_round_trip(config):
    text = json.dumps(to_json(config))
    back = from_json(type(config), json.loads(text))
    assert back == config and hash(back) == hash(config)


def test_json_of_another_version():
    data = to_json(Config(GeneratorConfig()))
    data["generator"]["wings"] = 2
    with pytest.raises(InputError, match="GeneratorConfig has no wings: the checkpoint is of another version"):
        from_json(Config, data)
    with pytest.raises(InputError, match="GeneratorConfig must be a mapping, got int"):
        from_json(Config, {"generator": 3})
    assert from_json(GeneratorConfig, {"z_dim": 7}) == GeneratorConfig(z_dim=7)


def test_configurations_are_static():
    config = scenes.tiny_config()
    assert dataclasses.replace(config) == config and {config: 1}[scenes.tiny_config()] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.generator.z_dim = 3
    assert jax.jit(lambda c, x: x * c.generator.z_dim, static_argnums=0)(config, 2.0) == 32
    assert isinstance(config.encoder, EncoderConfig)
