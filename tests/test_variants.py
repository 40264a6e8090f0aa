"""The public functions give the same with `jit`, without, and as an entry of a `vmap`."""

import chex
import jax
import local_model
import numpy as np
import pytest
import recipe
from absl.testing import parameterized

import panojax

CAMERAS = np.stack([panojax.look_at(yaw) for yaw in (0.0, 0.5)])


def map_latent(params, z, _):
    return panojax.map_latent(params, z)


def generate_and_render(params, z, camera):
    head = panojax.generate(params, z, truncation=0.7)
    return head, panojax.render(params, head, camera)


def interpolate(params, z, _):
    first, second = (panojax.generate(params, sign * z) for sign in (1, -1))
    return panojax.interpolate(params, first, second, 0.25)


@pytest.mark.usefixtures("quick_compilation")
class VariantsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(map_latent, generate_and_render, interpolate)
    def test_equals_an_entry_of_a_batch(self, function):
        params = local_model.params().generator_only()
        z = recipe.normal("variants/z", (2, params.config.generator.z_dim))
        batch = jax.jit(jax.vmap(function, in_axes=(None, 0, 0)))(params, z, CAMERAS)
        alone = self.variant(function)(params, z[1], CAMERAS[1])
        chex.assert_tree_all_finite(alone)
        # Float32 rounds its sums in another order; pictures lie in [-1, 1].
        chex.assert_trees_all_close(alone, jax.tree.map(lambda x: x[1], batch), atol=1e-4, rtol=1e-4)
