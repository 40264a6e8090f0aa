"""Configurations from files: wrong types, impossible sizes and products that no memory holds are refused at once."""

import dataclasses
import json
import time

import numpy as np
import pytest

from panojax.config import Config, from_json, to_json
from panojax.encoders.encoder_config import EncoderConfig, released
from panojax.errors import InputError
from panojax.generators.generator_config import GeneratorConfig
from panojax.params import tiny
from panojax.schema import check_type
from panojax.train.encoder.presets import PRESETS
from panojax.train.encoder.run_config import RunConfig
from panojax.train.generator.gan_presets import PRESETS as GENERATOR_PRESETS
from panojax.train.generator.gan_presets import GeneratorRun

ODD = [
    None,
    "512",
    "x",
    [],
    {},
    [1, 2, 3],
    True,
    -1,
    0,
    2**31,
    10**12,
    10**400,
    0.5,
    -1e9,
    1e308,
    float("nan"),
    float("inf"),
]


def fields(data, path=()):
    """Paths of all values in nested dicts."""
    for name, value in data.items():
        yield (*path, name)
        if isinstance(value, dict):
            yield from fields(value, (*path, name))


def changed(data, path, value):
    copy = json.loads(json.dumps(data))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return copy


@pytest.mark.parametrize("path", list(fields(to_json(tiny()))), ids=".".join)
def test_no_value_of_any_field_gives_anything_but_a_config_or_one_line(path):
    """Neither another exception, nor work that takes long, nor sizes that no machine holds."""
    data = to_json(tiny())
    for value in ODD:
        start = time.perf_counter()
        try:
            config = from_json(Config, changed(data, path, value))
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 400
            assert str(path[-1]) in str(error) or path in (("generator",), ("encoder",)) or "must" in str(error)
        else:
            assert hash(config) == hash(from_json(Config, json.loads(json.dumps(to_json(config)))))
            assert np.prod([float(n) for n in config.generator.field.shape]) < 2**32
        assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    "options, message",
    [
        ({"z_dim": "512"}, "z_dim must be a whole number, got '512'"),
        ({"box_warp": "x"}, "box_warp must be a number, got 'x'"),
        ({"box_warp": 0}, "box_warp must be 0.001 to 1000, got 0"),
        ({"box_warp": float("nan")}, "box_warp must be 0.001 to 1000, got nan"),
        ({"mapping_layers": 10_000_000}, "mapping_layers must be 1 to 64"),
        ({"depth_samples": 10**12}, "depth_samples must be 4 to 4096"),
        ({"rendering_resolution": -1}, "rendering_resolution must be 2 to 1024"),
        ({"rendering_resolution": 0}, "rendering_resolution must be 2 to 1024"),
        ({"ray_start": float("nan")}, "ray_start must be 0 to 10000, got nan"),
        ({"ray_start": "now", "ray_end": "now"}, "ray_start must be a number or 'auto', got 'now'"),
        ({"white_back": "False"}, "white_back must be true or false, got 'False'"),
        ({"background": 1}, "background must be true or false, got 1"),
        ({"camera_pivot": (0, 0)}, "camera_pivot must be 3 values, each a number"),
        ({"plane_resolution": 4096, "plane_depth": 64}, "plane resolution x depth x features must take at most 16 GiB"),
        ({"rendering_resolution": 1024, "depth_samples": 4096}, "rendering resolution x samples x features must take"),
    ],
)
def test_what_a_generator_cannot_be(options, message):
    with pytest.raises(InputError) as caught:
        dataclasses.replace(GeneratorConfig(), **options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_styles": 10_000_000}, "n_styles must be 1 to 64"),
        ({"n_styles": 64, "w_dim": 2**14, "resolution": 4096}, "must take at most 16 GiB"),
        ({"resolution": "256"}, "resolution must be a whole number"),
    ],
)
def test_what_an_encoder_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(EncoderConfig(), **options)


def test_all_presets_are_within_the_ranges_and_come_back():
    """The released sizes and every preset of the training commands."""
    assert (
        from_json(Config, json.loads(json.dumps(to_json(Config(GeneratorConfig(), released()))))).encoder == released()
    )
    for presets, cls in ((PRESETS, RunConfig), (GENERATOR_PRESETS, GeneratorRun)):
        for preset in presets.values():
            assert from_json(cls, json.loads(json.dumps(to_json(preset())))) == preset()


def test_unknown_and_missing_names_are_told():
    with pytest.raises(InputError, match="GeneratorConfig has no colour: the checkpoint is of another version"):
        from_json(GeneratorConfig, {"colour": 1})
    with pytest.raises(InputError, match="Config must have generator, got nothing"):
        from_json(Config, {})


def test_numpy_numbers_are_numbers():
    check_type("numpy", np.int64(3), int)
    check_type("numpy", np.float32(3), float)
    with pytest.raises(InputError, match="numpy must be a whole number"):
        check_type("numpy", np.float32(3), int)
