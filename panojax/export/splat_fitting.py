"""Splats fitted to pictures of a head: positions, sizes, turns, colours and opacities by gradient descent."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from panojax.errors import InputError
from panojax.export.splats import Splats
from panojax.export.views import Views
from panojax.nn.blur import gaussian_blur
from panojax.render.splatting import SH0, TILE, Gaussians, splat, tile_capacity
from panojax.terminal.bars import bar

MAX_STEPS = 100_000
# What Adam changes at a step, at first and at last. Positions are in spacings of the splats.
RATES = Gaussians(means=0.05, log_scales=0.02, rotations=0.01, f_dc=0.02, slopes=0.002, logits=0.05)
LAST = 0.05
# A deviation in pixels over which a Gaussian would reach beyond its tile and the next.
WIDEST = TILE / 3
WEIGHT_OF_STRUCTURE = 0.2  # of the loss, as in 3D Gaussian splatting
WEIGHT_OF_OPACITY = 0.1


def fit_splats(
    splats: Splats, views: Views, *, steps: int = 1_000, degree: int = 0, seed: int = 0, progress: bool = False
) -> Splats:
    """Splats that look more like the pictures than those on the surface that they start from.

    Each step takes one picture, at random without repeats within a pass, and one step of Adam on L1 and D-SSIM of the
    colours and L1 of the opacity. Where the colour behind the head is not known, only what is opaque counts.

    Args:
      splats: `splats_from_surface`.
      steps: of gradient descent.
      degree: of spherical harmonics, 0 or 1: 1 lets colours change with the direction that they are seen from.
      progress: show a bar on stderr.

    Returns:
      As many splats, in the same order.

    Raises:
      InputError: steps or degree out of range, or a value became not finite.
    """
    check_steps(steps)
    if degree not in (0, 1):
        raise InputError(f"degree of fitted spherical harmonics must be 0 or 1, got {degree}")
    side, count = views.images.shape[1], len(splats.centres)
    spacing = float(np.median(splats.scales.max(axis=-1)))
    widest = _widest(splats, views, side)
    rates = dataclasses.replace(RATES, means=RATES.means * spacing, slopes=RATES.slopes * degree)
    schedule = optax.exponential_decay(1.0, max(steps, 1), LAST)
    optimiser = optax.chain(optax.scale_by_adam(b2=0.99), optax.scale_by_learning_rate(schedule))
    gaussians = from_splats(splats)
    state = optimiser.init(gaussians)
    step = functools.partial(
        _step, optimiser=optimiser, side=side, capacity=tile_capacity(count, side), behind=views.background
    )
    order = _order(len(views.labels), steps, seed)
    with bar(order, desc="fitting splats", unit="step", hidden=not progress) as shown:
        for index in shown:
            view = views.labels[index].astype(np.float32), views.images[index], views.opacity[index]
            gaussians, state, loss = step(gaussians, state, rates, np.float32(np.log(widest)), *view)
    if steps and not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gaussians)):
        raise InputError(f"splats must stay finite while they are fitted, got a loss of {float(loss)}")
    return to_splats(gaussians, splats.normals)


def check_steps(steps: int) -> None:
    """Raises InputError for a number of steps out of range."""
    if not 0 <= steps <= MAX_STEPS:
        raise InputError(f"steps of the fit must be 0 to {MAX_STEPS}, got {steps}")


def _order(count, steps, seed):
    """Numbers of the pictures of all steps: passes over all, each in another order."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(count) for _ in range(-(-steps // count))] or [np.zeros(0, int)])[:steps]


def _widest(splats, views, side):
    """The largest deviation, in world units, that no picture shows wider than `WIDEST` pixels."""
    distance = np.linalg.norm(views.labels[:, [3, 7, 11]], axis=-1).min()
    nearest = max(distance - np.linalg.norm(splats.centres, axis=-1).max(), 0.1 * distance)
    return WIDEST * nearest / (side * views.labels[:, 16].max())


@functools.partial(jax.jit, static_argnames=("optimiser", "side", "capacity", "behind"), donate_argnums=(0, 1))
def _step(gaussians, state, rates, widest, label, image, opacity, *, optimiser, side, capacity, behind):
    """One step of Adam by one picture uint8 [S, S, 3] and its opacity [R, R]."""
    target = image.astype(jnp.float32) / 255
    opaque = jax.image.resize(opacity, (side, side), "linear")

    def loss(gaussians):
        picture, cover = splat(gaussians, label, side, capacity)
        if behind is None:
            solid = (opaque > 0.98)[..., None]
            seen, wanted = picture * solid, target * solid
        else:
            seen, wanted = picture + (1 - cover)[..., None] * (behind / 255), target
        structure = 1 - jnp.mean(structural_similarity(seen, wanted))
        colour = (1 - WEIGHT_OF_STRUCTURE) * jnp.mean(jnp.abs(seen - wanted)) + WEIGHT_OF_STRUCTURE * structure
        return colour + WEIGHT_OF_OPACITY * jnp.mean(jnp.abs(cover - opaque))

    value, gradients = jax.value_and_grad(loss)(gaussians)
    updates, state = optimiser.update(gradients, state, gaussians)
    scaled = jax.tree.map(lambda update, rate: rate * update, updates, rates)
    moved = optax.apply_updates(gaussians, scaled)
    return moved.replace(log_scales=jnp.minimum(moved.log_scales, widest)), state, value


def structural_similarity(a: jax.Array, b: jax.Array) -> jax.Array:
    """SSIM at each pixel of pictures [S, S, C] in [0, 1], by a Gaussian window of 11 pixels and deviation 1.5.

    Source: Wang et al., "Image quality assessment", 2004, with K1 = 0.01, K2 = 0.03; pixels beyond the border are 0.
    """
    blur = functools.partial(gaussian_blur, sigma=1.5, radius=5, axes=(0, 1), border="constant")
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    light = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return light * (2 * covariance + c2) / (var_a + var_b + c2)


def from_splats(splats: Splats) -> Gaussians:
    """Splats as numbers without bounds."""
    opacity = splats.opacity.astype(np.float32)
    arrays = Gaussians(
        means=splats.centres,
        log_scales=np.log(splats.scales),
        rotations=splats.rotations,
        f_dc=(splats.colours - 0.5) / SH0,
        slopes=splats.slopes if splats.slopes is not None else np.zeros((len(splats.centres), 3, 3)),
        logits=np.log(opacity / (1 - opacity)),
    )
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), arrays)


def to_splats(gaussians: Gaussians, outward: np.ndarray) -> Splats:
    """The splats again; their normals are the shortest axes, on the side of `outward` [K, 3]."""
    g = jax.tree.map(np.asarray, gaussians)
    rotations = g.rotations / np.linalg.norm(g.rotations, axis=-1, keepdims=True)
    scales = np.exp(g.log_scales)
    shortest = np.eye(3, dtype=np.float32)[scales.argmin(axis=-1)]
    w, v = rotations[:, :1], rotations[:, 1:]
    normals = shortest + 2 * np.cross(v, np.cross(v, shortest) + w * shortest)  # turned by the quaternion
    normals *= np.where((normals * outward).sum(-1, keepdims=True) < 0, -1, 1)
    return Splats(
        centres=g.means,
        normals=normals.astype(np.float32),
        colours=0.5 + SH0 * g.f_dc,
        scales=scales,
        rotations=rotations,
        opacity=np.clip(1 / (1 + np.exp(-g.logits)), 1e-6, 1 - 1e-6).astype(np.float32),
        slopes=g.slopes,
    )
