"""Ranger: RAdam with optional gradient centralisation, inside a lookahead (the encoders' optimiser).

params = synced(variables["params"])
optimiser = ranger(1e-4)
state = optimiser.init(params)
updates, state = optimiser.update(jax.grad(loss)(params.fast), state, params)
params = optax.apply_updates(params, updates)  # evaluate with params.slow
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

from panojax.kernels.fusion import rows_first
from panojax.train.flat import Flat, flatten


def centralize() -> optax.GradientTransformation:
    """Subtracts from each gradient of rank 2 or more its mean over all axes but the last, the output channels.

    Gradient centralisation (Yong et al. 2020) for kernels laid out as HWIO and IO. `optax.centralize` averages over all
    axes but the first, which is right for PyTorch's OIHW.
    """

    def centre(gradient):
        if gradient.ndim < 2:
            return gradient
        return gradient - jnp.mean(gradient, axis=tuple(range(gradient.ndim - 1)), keepdims=True)

    return optax.stateless(lambda updates, params: jax.tree.map(centre, updates))


def scale_by_radam(
    b1: float = 0.95, b2: float = 0.999, eps: float = 1e-5, *, threshold: float = 5.0
) -> optax.GradientTransformation:
    """Rectified Adam (Liu et al. 2020) as the reference Ranger computes it.

    While the approximated length of the moving average is at most `threshold`, the update is the bias-corrected first
    moment. After that it is r(t) * m / (sqrt(v) + eps): `eps` joins the second moment before its bias correction, where
    `optax.scale_by_radam` adds it after. With small gradients that is a difference in the first thousand steps.
    """
    sizes, warm_up = _step_sizes(b1, b2, threshold)

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), mu=zeros, nu=jax.tree.map(jnp.copy, zeros))

    def update(gradients, state, params=None):
        del params
        count = optax.safe_increment(state.count)
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, gradients)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, gradients)
        size = jnp.asarray(sizes)[jnp.minimum(count, len(sizes)) - 1]
        updates = jax.tree.map(
            lambda m, v: (size * m / jnp.where(count > warm_up, jnp.sqrt(v) + eps, 1.0)).astype(m.dtype), mu, nu
        )
        return updates, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def _step_sizes(b1, b2, threshold):
    """Factors of steps 1, 2, ..., until they no longer change in float32, and how many of them are not rectified.

    In float64, once: at small t the length is a difference of numbers near 2 / (1 - b2).
    """
    t = np.arange(1, math.ceil(math.log(1e-10) / math.log(max(b1, b2))) + 2, dtype=np.float64)
    longest = 2 / (1 - b2) - 1
    length = longest - 2 * t * b2**t / (1 - b2**t)
    rectified = length > threshold
    n = np.where(rectified, length, longest)
    factor = (1 - b2**t) * (n - 4) / (longest - 4) * (n - 2) / n * longest / (longest - 2)
    sizes = np.sqrt(np.where(rectified, factor, 1.0)) / (1 - b1**t)
    return sizes.astype(np.float32), int(np.sum(~rectified))


def ranger(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.95,
    b2: float = 0.999,
    eps: float = 1e-5,
    *,
    centralized: bool = True,
    sync_period: int = 6,
    slow_step_size: float = 0.5,
) -> optax.GradientTransformation:
    """The Ranger optimiser. Its parameters are `optax.LookaheadParams`, made by `synced`, of a tree or a `Flat` one.

    Gradients are a tree in either case.

    Args:
      learning_rate: a number or a schedule of the step.
      b1, b2, eps: see `scale_by_radam`.
      centralized: centralise the gradients of kernels.
      sync_period: every so many steps the slow parameters move and the fast ones return to them.
      slow_step_size: how far the slow parameters move towards the fast ones.
    """
    fast = optax.chain(
        centralize() if centralized else optax.identity(),  # before `as_stored`: means of what cuDNN wrote in a row
        optax.stateless(lambda updates, params: as_stored(updates)),
        optax.stateless(lambda updates, params: flatten(updates) if isinstance(params, Flat) else updates),
        scale_by_radam(b1, b2, eps),
        optax.scale_by_learning_rate(learning_rate),
    )
    return optax.lookahead(fast, sync_period, slow_step_size)


def synced(params: optax.Params) -> optax.LookaheadParams:
    """Lookahead parameters whose fast and slow sides are equal and share no buffer, so that a step may donate them.

    `optax.LookaheadParams.init_synced` gives both sides the same arrays.
    """
    return optax.LookaheadParams(fast=params, slow=jax.tree.map(jnp.copy, params))


def as_stored(gradients: optax.Updates) -> optax.Updates:
    """The same gradients, laid out in memory as parameters are, rows first.

    cuDNN makes the gradients of convolutions with the output channels first. XLA would take the whole update to that
    layout, parameters and optimiser state too, and back: for Ranger about twice the traffic. Here only the gradients
    are transposed, within the update's kernels.
    """
    return jax.tree.map(rows_first, gradients)
