"""Networks of one architecture at once, against one after the other."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from panojax.kernels.convolution import MatrixKernel, conv
from panojax.kernels.stacked import join, on_each, part

X = jnp.asarray(recipe.normal("x", (2, 3, 8, 8, 16)))
NETWORKS = [
    {"layer": {"kernel": jnp.asarray(recipe.normal(f"k{i}", (3, 3, 16, 24))), "bias": jnp.full(24, float(i))}}
    for i in range(2)
]


def network(variables, x, more):
    layer = variables["layer"]
    return conv(x, layer["kernel"]) + layer["bias"] + (0 if more is None else more["shift"])


def one_after_the_other(more):
    data = [(X[i], None if more is None else part(more, i)) for i in range(2)]
    return jnp.stack([network(variables, *one) for variables, one in zip(NETWORKS, data)])


@pytest.mark.parametrize("more", [None, {"shift": jnp.array([3.0, 4.0])}])
def test_each_network_gets_its_own(more):
    stacked = join(*NETWORKS)
    got = jax.jit(lambda *arguments: on_each(network, 2, *arguments))(stacked, X, more)
    np.testing.assert_allclose(got, one_after_the_other(more), atol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, part(stacked, 1), NETWORKS[1])


def test_accelerators_take_all_at_once(monkeypatch):
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, cpu, default: default(*args))
    got = on_each(network, 2, join(*NETWORKS), X, None)
    np.testing.assert_allclose(got, one_after_the_other(None), atol=1e-4)


def test_a_single_network_is_not_stacked():
    got = on_each(network, 1, NETWORKS[0], X[:1], None)
    np.testing.assert_array_equal(got, network(NETWORKS[0], X[0], None)[None])


def test_what_is_prepared_for_accelerators_is_traced_once():
    """Also by a GPU's program there are products of matrices, and on a CPU's the networks come in a loop."""

    def lowered(variables, platform):
        call = jax.jit(lambda *arguments: on_each(network, 2, *arguments, None))
        return call.trace(variables, X).lower(lowering_platforms=(platform,)).as_text()

    def count(text, name):
        return len(re.findall(rf"stablehlo\.{name}\b", text))

    plain, prepared = join(*NETWORKS), join(*NETWORKS)
    prepared["layer"]["kernel"] = MatrixKernel(jnp.moveaxis(plain["layer"]["kernel"], -1, 1), output_first=True)
    for variables, platform, loops, products in (
        (plain, "cpu", 1, 0),
        (plain, "cuda", 0, 1),
        (prepared, "cuda", 0, 1),
        (prepared, "cpu", 0, 1),
    ):
        text = lowered(variables, platform)
        assert (count(text, "while"), count(text, "dot_general")) == (loops, products)
    got = on_each(network, 2, prepared, X, None)
    np.testing.assert_allclose(got, one_after_the_other(None), atol=1e-4)
