"""Identity networks against PyTorch's outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from panojax.converters.layout import from_state_dict
from panojax.errors import InputError
from panojax.nn.arcface import (
    ArcFaceConfig,
    abstract_arcface,
    face_crop,
    identity_embedding,
    ir101,
    ir_se50,
)
from panojax.nn.ir_se import TrunkConfig


def portraits():
    return np.clip(0.5 * recipe.normal("arcface/image", (2, 3, 256, 256)), -1, 1).transpose(0, 2, 3, 1)


def embeddings(tag, config, face):
    variables = from_state_dict(abstract_arcface(config), recipe.state_dict(tag), what=tag)
    return jax.jit(identity_embedding, static_argnums=0)(config, variables, face)


def test_face_crop():
    got = np.asarray(face_crop(portraits())).transpose(0, 3, 1, 2)[:, :, ::4, ::4]
    assert recipe.relative_error(got, recipe.golden("arcface_ir_se50")["pooled"]) < 1e-6


def test_face_crop_of_other_sizes():
    """A picture of 512 whose 2 x 2 blocks are constant is the picture of 256; one of 128 is enlarged."""
    image = portraits()[0]
    large = image.repeat(2, 0).repeat(2, 1)
    np.testing.assert_allclose(face_crop(large), face_crop(image), atol=1e-6)
    small = image[:128, :128]
    np.testing.assert_allclose(face_crop(small), face_crop(small.repeat(2, 0).repeat(2, 1)), atol=1e-6)


def test_ir_se50():
    """Float32 on a CPU: 1e-6 when written; 1e-5 leaves room for other orders of summation."""
    got = embeddings("arcface_ir_se50", ir_se50(affine=False), face_crop(portraits()))
    assert recipe.relative_error(got, recipe.golden("arcface_ir_se50")["embedding"]) < 1e-5


def test_ir101():
    """Float32 on a CPU: 4e-6 when written, after 49 bottlenecks."""
    face = np.clip(0.5 * recipe.normal("arcface_ir101/image", (1, 3, 112, 112)), -1, 1).transpose(0, 2, 3, 1)
    got = embeddings("arcface_ir101", ir101(), face)
    assert recipe.relative_error(got, recipe.golden("arcface_ir101")["embedding"]) < 1e-5


def test_the_released_loss_network_has_an_affine_last_norm():
    def last(config):
        return abstract_arcface(config)["params"].get("output_layer.4", {})

    assert set(last(ir_se50())) == {"scale", "bias"}
    assert set(last(ir_se50(affine=False))) == set(last(ir101())) == set()


def test_bfloat16_embeddings_are_float32_and_of_unit_length():
    trunk = TrunkConfig((1, 1, 1, 1), (16, 16, 16, 16))
    exact = ArcFaceConfig(trunk, affine=True, embedding_dim=24)
    rough = ArcFaceConfig(trunk, affine=True, embedding_dim=24, dtype="bfloat16")
    variables = jax.tree_util.tree_map_with_path(
        lambda path, leaf: 0.1 * recipe.normal(jax.tree_util.keystr(path), leaf.shape) + (path[-1].key == "var"),
        abstract_arcface(exact),
    )
    face = face_crop(portraits())
    embed = jax.jit(identity_embedding, static_argnums=0)
    got = embed(rough, variables, face)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(np.linalg.norm(got, axis=-1), 1, rtol=1e-6)
    assert recipe.relative_error(got, embed(exact, variables, face)) < 0.02


@pytest.mark.parametrize("shape", [(112, 112, 3), (1, 256, 256, 3), (1, 112, 112, 1)])
def test_faces_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match=r"face must be \[N, 112, 112, 3\], got \("):
        identity_embedding(ir101(), {}, jnp.zeros(shape))
