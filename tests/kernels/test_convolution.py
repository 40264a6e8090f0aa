"""Convolutions as products of matrices, and one for each kernel, against the plain one."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from panojax.kernels import convolution
from panojax.kernels.convolution import MatrixKernel, as_array, conv, conv_by_rows, pointwise


@pytest.mark.parametrize(("features", "size", "stride"), [(3, 1, 1), (8, 1, 2), (8, 3, 1), (8, 3, 2)])
def test_products_and_sums_are_convolutions(features, size, stride):
    x, rows = (recipe.normal(name, shape) for name, shape in (("x", (2, 8, 6, 5)), ("r", (features, size, size, 5))))
    dims, pad = ("NHWC", "OHWI", "NHWC"), [(size // 2,) * 2] * 2
    want = jax.lax.conv_general_dilated(x, rows, (stride, stride), pad, dimension_numbers=dims)
    np.testing.assert_allclose(conv_by_rows(x, rows, stride), want, atol=1e-5)


@pytest.mark.parametrize("moving", [(0, 0), (0, None), (None, 0)], ids=["both", "pictures", "kernels"])
@pytest.mark.parametrize("features", [16, 24])
def test_convolutions_of_many_are_a_loop(features, moving, monkeypatch):
    """Kernels of as many features as inputs share one convolution of groups, others have one each."""
    monkeypatch.setattr(convolution, "_FEW", 0)
    x = jnp.asarray(recipe.normal("x", (2, 3, 8, 8, 16)))
    rows = 0.1 * jnp.asarray(recipe.normal("rows", (2, features, 3, 3, 16)))

    def loss(x, rows):
        return jnp.sum(jnp.sin(conv_by_rows(x, rows)))

    arguments = [value if axis == 0 else value[0] for value, axis in zip((x, rows), moving)]
    pairs = [[value[i] if axis == 0 else value for value, axis in zip(arguments, moving)] for i in range(2)]
    many = jax.jit(jax.vmap(conv_by_rows, moving))
    groups = 2 if features == 16 and moving == (0, 0) else 1
    counts = re.findall(r"feature_group_count = (\d)", many.lower(*arguments).as_text())
    assert counts == ([str(groups)] if features == 16 or moving[1] is None else ["1", "1"])
    want = np.stack([conv_by_rows(*pair) for pair in pairs])
    np.testing.assert_allclose(many(*arguments), want, atol=1e-5)
    slopes = jax.vmap(jax.grad(loss, (0, 1)), moving)(*arguments)
    for got, want in zip(slopes, zip(*(jax.grad(loss, (0, 1))(*pair) for pair in pairs))):
        np.testing.assert_allclose(got, np.stack(want), atol=1e-4)
    _, change = jax.jvp(jax.vmap(conv_by_rows, moving), arguments, arguments)
    np.testing.assert_allclose(change, 2 * many(*arguments), atol=1e-4)


@pytest.mark.parametrize("output_first", [False, True])
def test_matrix_kernels_take_an_arrays_place(output_first):
    x, kernel = (jnp.asarray(recipe.normal(name, shape)) for name, shape in (("x", (2, 8, 6, 5)), ("k", (3, 3, 5, 8))))
    matrix = MatrixKernel(jnp.moveaxis(kernel, -1, 0) if output_first else kernel, output_first)
    np.testing.assert_array_equal(as_array(matrix), kernel)
    np.testing.assert_array_equal(jnp.asarray(matrix), kernel)  # as layers of others read it
    np.testing.assert_allclose(conv(x, matrix, 2), conv(x, kernel, 2), atol=1e-5)
    pixel = MatrixKernel(matrix.array[:, :1, :1] if output_first else kernel[:1, :1], output_first)
    np.testing.assert_allclose(pointwise(x, pixel), conv(x, kernel[:1, :1]), atol=1e-5)
