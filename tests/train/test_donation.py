"""Each array of a donated state leaves its memory to its own successor.

Where a state has an array twice, or one that its step does not read, the pairs shift, and XLA must copy at the right
moment. On CUDA jaxlib 0.11.2 did not.
"""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import pytest

from panojax.config import Config
from panojax.inversion.spaces import fit_encoder
from panojax.losses.perception import Perception
from panojax.params import abstract_generator
from panojax.train.encoder.presets import tiny
from panojax.train.encoder.state import Frozen, abstract_state
from panojax.train.encoder.steps import adversarial_step, encoder_step
from panojax.train.generator import gan_presets as generator_presets
from panojax.train.generator import gan_steps as generator_steps
from panojax.train.generator.fit import abstract_run_state, fit_step
from panojax.train.generator.gan_state import abstract_state as abstract_gan

KEY = jax.eval_shape(lambda: jax.random.key(0))


def arrays(**shapes):
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}


def check(step, state, *inputs):
    lowered = jax.jit(step, donate_argnums=0).lower(state, *inputs).as_text()
    signature = lowered[lowered.index("@main(") :].split(" {\n")[0]
    pairs = re.findall(r"%arg(\d+): [^%]*?tf\.aliasing_output = (\d+)", signature)
    numbers = [str(i) for i in range(len(jax.tree.leaves(state)))]
    assert pairs == list(zip(numbers, numbers))


@pytest.mark.parametrize("name", ["generator_step", "density_step", "r1_step", "fit_step"])
def test_generator(name):
    run = generator_presets.tiny()
    side = run.objective.discriminator.resolution
    batch = arrays(image=(4, side, side, 3), mask=(4, side, side, 1), camera=(4, 25), pose=(4, 25))
    if name == "fit_step":
        run = dataclasses.replace(run, stage="fit", fit=dataclasses.replace(run.fit, heads=2))
        step = functools.partial(fit_step, fit=run.fit)
        state, batch = abstract_run_state(run), batch | {"identity": jax.ShapeDtypeStruct((4,), jnp.int32)}
    else:
        step, state = getattr(generator_steps, name), abstract_gan(run.objective)
    check(functools.partial(step, objective=run.objective), state, batch, KEY)


@pytest.mark.parametrize("critic", ["none", "trigrid-occluded"])
def test_encoders(critic):
    run, model = tiny(), generator_presets.tiny().model
    config = dataclasses.replace(run.step, critic=critic)
    sizes = Config(model, fit_encoder(model, run.encoder, "w+"))
    average = jax.ShapeDtypeStruct((model.num_ws, model.w_dim), jnp.float32)
    frozen = Frozen(abstract_generator(model), average, Perception(), config=sizes)
    side = max(config.loss_resolution, run.encoder.resolution)
    step = functools.partial(encoder_step if critic == "none" else adversarial_step, config=config)
    check(step, abstract_state(sizes, config), frozen, arrays(image=(4, side, side, 3), camera=(4, 25)), KEY)
