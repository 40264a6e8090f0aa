"""The style encoders against PyTorch's outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from panojax.converters.layout import from_state_dict
from panojax.encoders.encoder_config import released
from panojax.encoders.psp import GradualStyleEncoder, LastLayerEncoder
from panojax.nn.ir_se import TrunkConfig

RELEASED = released().trunk


@pytest.mark.parametrize(
    "tag, image, network",
    [
        ("psp_gradual_style_encoder", "psp/image", GradualStyleEncoder(RELEASED, 14, 512)),
        ("psp_w_encoder", "psp_w/image", LastLayerEncoder(RELEASED, 512)),
    ],
)
def test_released_network(tag, image, network):
    """Float32 on a CPU: 5e-7 when written; 1e-5 leaves room for other orders of summation."""
    x = np.clip(0.5 * recipe.normal(image, (1, 3, 256, 256)), -1, 1).transpose(0, 2, 3, 1)
    template = jax.eval_shape(network.init, jax.random.key(0), x)
    variables = from_state_dict(template, recipe.state_dict(tag), what=tag)
    codes = jax.jit(network.apply)(variables, x)
    want = recipe.golden(tag)["codes"]
    assert codes.shape == want.shape
    assert recipe.relative_error(codes, want) < 1e-5


@pytest.mark.parametrize("resolution, convs", [(32, (1, 2, 3)), (64, (2, 3, 4)), (256, (4, 5, 6))])
def test_heads_reduce_their_map_to_a_point(resolution, convs):
    """Three styles read the coarse map, four the middle one, the rest the fine one, with as many convs as halvings."""
    network = GradualStyleEncoder(TrunkConfig((1, 1, 1, 1), (16, 32, 48, 64)), 9, 20)
    image = jnp.zeros((2, resolution, resolution, 3))
    codes, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), image)
    assert codes.shape == (2, 9, 20)
    found = [len(variables["params"][f"styles.{i}"]) - 1 for i in range(9)]
    assert found == [convs[0]] * 3 + [convs[1]] * 4 + [convs[2]] * 2


@pytest.mark.parametrize("n_styles", [1, 3, 5, 7, 8])
def test_any_number_of_styles(n_styles):
    network = GradualStyleEncoder(TrunkConfig((1, 1, 1, 1), (16, 16, 16, 16)), n_styles, 8)
    codes, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert codes.shape == (1, n_styles, 8)
