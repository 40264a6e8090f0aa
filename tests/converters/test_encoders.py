"""The files of released encoders, sorted into networks."""

import pathlib

import numpy as np
import pytest
import recipe

from panojax.converters.encoders import read_latent_average, split_encoder_state
from panojax.errors import InputError

DATA = pathlib.Path(__file__).parent / "data"


def encoder_state():
    names = ["psp_encoder.input_layer.0.weight", "psp_encoder.a", "triplanenet_encoder.a", "decoder.backbone.w_avg"]
    return {name: recipe.normal(name, (2, 3)) for name in names}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {f"module.{name}": array for name, array in state.items()},
        lambda state: {"state_dict": state, "step": 3},
        lambda state: {"state_dict": {f"module.{name}": array for name, array in state.items()}},
    ],
)
def test_split(wrap):
    state = encoder_state()
    got = split_encoder_state(wrap(state))
    assert list(got) == ["psp_encoder", "triplanenet_encoder"]
    assert list(got["psp_encoder"]) == ["input_layer.0.weight", "a"]
    assert list(got["triplanenet_encoder"]) == ["a"]
    for group, entries in got.items():
        for name, array in entries.items():
            assert array is state[f"{group}.{name}"]


def test_split_reports_everything_at_once():
    """Unknown and missing groups and arrays that are not finite, in one message."""
    state = encoder_state() | {"discriminator.a": np.zeros(2), "psp_encoder.b": np.array([1, np.nan], np.float16)}
    state |= {"psp_encoder.c": np.array([np.inf]), "psp_encoder": np.zeros(1), "psp_encoder.count": np.array(3)}
    del state["triplanenet_encoder.a"]
    with pytest.raises(InputError) as caught:
        split_encoder_state(state)
    message = str(caught.value)
    assert "missing groups: triplanenet_encoder;" in message
    assert "unknown groups: discriminator, psp_encoder;" in message
    assert message.endswith("entries that are not finite arrays: psp_encoder.b, psp_encoder.c")


def test_split_of_nothing():
    with pytest.raises(InputError, match="missing groups: psp_encoder, triplanenet_encoder"):
        split_encoder_state({})


@pytest.mark.parametrize("shape", [(512,), (1, 512), (14, 512)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_latent_average(tmp_path, shape, dtype):
    want = recipe.normal("latent_avg", shape).astype(dtype)
    np.save(tmp_path / "latent_avg.npy", want)
    got = read_latent_average(tmp_path / "latent_avg.npy")
    assert got.dtype == np.float32 and np.array_equal(got, want.astype(np.float32))


def test_latent_average_from_torch():
    assert np.array_equal(read_latent_average(DATA / "latent_avg.pt"), recipe.normal("latent_avg", (1, 512)))


@pytest.mark.parametrize(
    "array, message",
    [
        (np.zeros((512, 1), np.float32), r"expected latent_avg of shape .*, got \[512, 1\]"),
        (np.zeros((2, 14, 512), np.float32), r"got \[2, 14, 512\]"),
        (np.zeros((0, 512), np.float32), r"got \[0, 512\]"),
        (np.zeros((), np.float32), r"got \[\]"),
        (np.full(512, np.nan, np.float32), "NaN or infinity"),
        (np.full(512, 1e300), "NaN or infinity"),
    ],
)
def test_latent_average_refuses(tmp_path, array, message):
    np.save(tmp_path / "latent_avg.npy", array)
    with pytest.raises(InputError, match=message):
        read_latent_average(tmp_path / "latent_avg.npy")


def test_latent_average_among_many_tensors():
    with pytest.raises(InputError, match=r"expected one tensor or latent_avg, got grid, transposed, .* and 6 more"):
        read_latent_average(DATA / "tensors_zip.pt")
