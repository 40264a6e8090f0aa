"""The public functions give the same with `jit`, without, and as an entry of a `vmap`."""

import dataclasses
import functools

import chex
import jax
import numpy as np
import recipe
import scenes
from absl.testing import parameterized
from micro import micro_generator

import panojax
from panojax.config import Config
from panojax.encoders.encoder_config import light
from panojax.params import random_params

CAMERAS = np.stack([panojax.look_at(yaw) for yaw in (0.0, 0.5)])


@functools.cache
def model():
    """`micro_generator` with a background, and two encoders of 32 px: of few operations, as each is compiled alone."""
    generator = dataclasses.replace(micro_generator().config.generator, background=True, channel_base=128)
    sizes = {"widths": (16, 16, 16, 16), "depths": (1, 1, 1, 1), "head_width": 16}
    channels = generator.field.channels
    encoder = light(resolution=32, n_styles=generator.num_ws, w_dim=generator.w_dim, out_channels=channels, **sizes)
    return random_params(Config(generator, encoder))


def generate(params, z, camera):
    head = panojax.generate(params, z, truncation=0.7)
    return head, panojax.render(params, head, camera)


def invert(params, portrait, camera):
    return panojax.invert(params, portrait, camera, return_parts=True)


class VariantsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.named_parameters(("generate", generate), ("invert", invert))
    def test_equals_an_entry_of_a_batch(self, function):
        params = model()
        inputs = scenes.portraits(2) if function is invert else recipe.normal("z", (2, params.config.generator.z_dim))
        batch = jax.jit(jax.vmap(function, in_axes=(None, 0, 0)))(params, inputs, CAMERAS)
        alone = self.variant(function)(params, inputs[1], CAMERAS[1])
        chex.assert_tree_all_finite(alone)
        for got, want in zip(jax.tree.leaves(alone), jax.tree.leaves(batch), strict=True):
            assert recipe.relative_error(got, want[1]) < 1e-5 or np.abs(got - want[1]).max() < 1e-5
