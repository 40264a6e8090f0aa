"""A packed tree is the tree."""

import jax
import jax.numpy as jnp
import numpy as np

from panojax.kernels import pack, unpack


def test_round_trip():
    tree = {
        "bias": jnp.arange(6.0).reshape(2, 3),
        "half": jnp.ones((2, 3), jnp.bfloat16),
        "kernel": jnp.arange(24.0).reshape(2, 3, 4),
        "none": None,
        "slope": {"of": jnp.arange(8.0).reshape(2, 4)},
    }
    packed = pack(tree)
    assert len(jax.tree.leaves(packed)) == 3 and packed.vectors.shape == (2, 7)
    for got in (unpack(packed), jax.jit(unpack)(packed)):
        assert jax.tree.structure(got) == jax.tree.structure(tree)
        jax.tree.map(np.testing.assert_array_equal, got, tree)
    assert unpack(tree) is tree
