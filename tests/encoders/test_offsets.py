"""The F stage against PyTorch's outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import recipe

from panojax.converters.layout import from_state_dict
from panojax.encoders.encoder_config import released
from panojax.encoders.offsets import TrigridEncoder
from panojax.nn.ir_se import TrunkConfig


def offsets_of(tag, network, *inputs):
    """The network's offsets as the golden files keep them: PyTorch's order, every 9th channel and 8th pixel."""
    inputs = [array.transpose(0, 2, 3, 1) for array in inputs]
    template = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    variables = from_state_dict(template, recipe.state_dict(tag), what=tag)
    offsets = jax.jit(network.apply)(variables, *inputs)
    assert offsets.shape == (1, 256, 256, network.out_channels)
    return np.asarray(offsets).transpose(0, 3, 1, 2)[:, ::9, ::8, ::8]


def test_released_network():
    """Float32 on a CPU: 3e-7 when written; 1e-5 leaves room for other orders of summation."""
    x = np.clip(0.5 * recipe.normal("trigrid_encoder/image", (1, 6, 256, 256)), -1, 1)
    got = offsets_of("trigrid_encoder", TrigridEncoder(released().trunk, 288), x)
    assert recipe.relative_error(got, recipe.golden("trigrid_encoder")["offsets"]) < 1e-5


def test_triplanenet_v2():
    """Its output is planes + offsets; compared without the planes, so that their size hides no error of the offsets."""
    x = np.clip(0.5 * recipe.normal("triplanenet_v2/image", (1, 9, 256, 256)), -1, 1)
    planes = recipe.normal("triplanenet_v2/planes", (1, 96, 256, 256))
    got = offsets_of("triplanenet_v2_encoder", TrigridEncoder(released().trunk, 96), x, planes)
    want = recipe.golden("triplanenet_v2_encoder")["planes"] - planes[:, ::9, ::8, ::8]
    assert recipe.relative_error(got, want) < 1e-5


def test_widths_follow_from_the_trunks():
    network = TrigridEncoder(TrunkConfig((1, 1, 2, 1), (16, 32, 64, 128)), 24, head_width=40)
    x, planes = jnp.zeros((2, 48, 48, 6)), jnp.zeros((2, 48, 48, 7))
    offsets, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), x, planes)
    kernels = {
        name: leaf["double_conv.1"]["kernel"].shape for name, leaf in variables["params"].items() if "up" in name
    }
    assert offsets.shape == (2, 48, 48, 24)
    assert kernels == {
        "up1.conv": (3, 3, 256, 128),
        "up2.conv": (3, 3, 96, 96),
        "up3.conv": (3, 3, 56, 64),
        "up4.conv": (3, 3, 32, 24),
    }
    assert variables["params"]["final_head_two.0"]["kernel"].shape == (3, 3, 6 + 7, 40)
