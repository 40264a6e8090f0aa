"""The loss networks by name, and what is wrong with a file in their place."""

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from panojax.errors import InputError
from panojax.losses.perception import load_perception


def test_networks_that_are_left_out_tell_nothing_apart():
    perception = load_perception("none", "none")
    image = jnp.zeros((2, 8, 8, 3))
    np.testing.assert_array_equal(perception.distance(image, image + 1), np.zeros(2))
    np.testing.assert_array_equal(perception.embed(image), np.ones((2, 1)))


def test_other_files_are_no_arcface(tmp_path):
    with pytest.raises(InputError, match=r'"sface", "none" or the path of model_ir_se50\.pth, got .*nowhere'):
        load_perception("none", str(tmp_path / "nowhere.pth"))
    save_file({"input_layer.0.weight": np.zeros((64, 3, 3, 3), np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"ArcFace IR-SE-50: .*missing"):
        load_perception("none", str(tmp_path / "other.safetensors"))
