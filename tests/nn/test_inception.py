import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from panojax.converters.layout import from_state_dict
from panojax.errors import InputError
from panojax.nn.inception import FIDInception


@pytest.fixture(scope="module")
def outputs():
    network = FIDInception()
    template = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    variables = from_state_dict(template, recipe.state_dict("fid_inception"), what="Inception")
    image = recipe.uniform("fid_inception/image", (2, 3, 96, 96)).transpose(0, 2, 3, 1)
    return jax.jit(network.apply)(variables, image), variables


def test_features(outputs):
    features, _ = outputs
    golden = recipe.golden("fid_inception")
    assert recipe.relative_error(features.block0.transpose(0, 3, 1, 2)[:, ::8, ::9, ::9], golden["block0"]) < 1e-5
    assert recipe.relative_error(features.block2.transpose(0, 3, 1, 2)[:, ::32, ::3, ::3], golden["block2"]) < 1e-5
    assert recipe.relative_error(features.pool3, golden["pool3"]) < 1e-5


def test_shapes_and_logits(outputs):
    features, variables = outputs
    assert features.block0.shape == (2, 73, 73, 64)
    assert features.block2.shape == (2, 17, 17, 768)
    fc = variables["params"]["fc"]
    expected = np.asarray(features.pool3, np.float64) @ fc["kernel"]
    assert recipe.relative_error(features.unbiased_logits, expected) < 1e-5
    assert recipe.relative_error(features.logits, expected + fc["bias"]) < 1e-5


def test_other_shapes_are_refused():
    with pytest.raises(InputError, match=r"image must be \[N, H, W, 3\], got \(2, 3, 96, 96\)"):
        FIDInception().init(jax.random.key(0), jnp.zeros((2, 3, 96, 96)))
