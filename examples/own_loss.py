"""A loss of your own: a function of what was rendered, and a line of a configuration."""

import jax
import jax.numpy as jnp

from panojax.nn.stylegan2 import pool
from panojax.train.encoder.objective import Rendered
from panojax.train.encoder.step_config import StepConfig


def silhouette(rendered: Rendered) -> jax.Array:
    """Squared difference of the rendered and the true foreground mask [N, R, R, 1]: one number a sample."""
    mask = rendered.view.mask
    true = pool(rendered.batch["mask"], mask.shape[1])
    return jnp.mean(jnp.square(mask - true), axis=(1, 2, 3))


WITH_SILHOUETTE = StepConfig(losses=(("silhouette", 0.1, silhouette),))
