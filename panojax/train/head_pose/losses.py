"""What the network is trained to say of a scene: where heads are, how large, and how they are turned."""

from typing import Any

import jax
import jax.numpy as jnp

from panojax.photo.head_pose import HEAD_SHARE, HEAT, INPUT_SIDE, PLACE, STRIDE, TURN, UNIT
from panojax.train.head_pose.scenes import Scene

CELLS = INPUT_SIDE // STRIDE
SPREAD = 0.09  # sides of the square: standard deviation of the middle's mark
NEAR = 0.25  # of the mark, above which cells tell size and rotation
WEIGHTS = {HEAT: 1.0, "centre": 5.0, "size": 2.0, TURN: 1.0}


def scene_losses(outputs: dict[str, jax.Array], scene: Scene) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Sums over the cells of one picture, and what they are to be divided by: ({name: sum}, {name: weight}).

    `heat` is CenterNet's focal loss (Zhou et al., 2019); `centre` the distance in sides of the square; `size` that of
    logarithms; `turn` the Frobenius distance of rotations, 2 sqrt(2) |sin(angle / 2)|.
    """
    cells = jnp.stack(jnp.meshgrid(*((jnp.arange(CELLS, dtype=jnp.float32) + 0.5) * STRIDE,) * 2), -1)
    away = scene.centre[:, None, None] - cells  # [slots, n, n, 2]
    distance = jnp.sum(away**2, -1)
    sigma = jnp.maximum(SPREAD * scene.side, STRIDE / 2)[:, None, None]
    marks = jnp.exp(-0.5 * distance / sigma**2) * scene.wanted[:, None, None]
    at = (jnp.abs(away).max(-1) <= STRIDE / 2) & (scene.wanted[:, None, None] > 0)
    doubtful = (distance < (0.5 * HEAD_SHARE * scene.side[:, None, None]) ** 2) & (scene.doubtful[:, None, None] > 0)
    middle, mark = at.any(0), marks.max(0)
    logits = outputs[HEAT][..., 0]
    p = jax.nn.sigmoid(logits)
    positive = -((1 - p) ** 2) * jax.nn.log_sigmoid(logits) * middle
    negative = -((1 - mark) ** 4) * p**2 * jax.nn.log_sigmoid(-logits) * ~middle * ~(doubtful.any(0) & (mark < NEAR))

    chosen = marks.argmax(0)
    weight = jnp.where(mark > NEAR, mark, 0.0)
    pick = jax.nn.one_hot(chosen, len(scene.side), axis=0)  # [slots, n, n]
    wanted_place = jnp.einsum("snm,snmc->nmc", pick, away) / STRIDE
    side = jnp.einsum("snm,s->nm", pick, scene.side)
    off = jnp.sqrt(jnp.sum((outputs[PLACE][..., :2] - wanted_place) ** 2, -1) + 1e-4) * STRIDE / side
    size = jnp.abs(outputs[PLACE][..., 2] - jnp.log(side / UNIT))
    wanted_turn = jnp.einsum("snm,sij->nmij", pick, scene.rotation)
    turn = jnp.sqrt(jnp.sum((rotations(outputs[TURN]) - wanted_turn) ** 2, (-2, -1)) + 1e-4)
    length = jnp.sum((jnp.linalg.norm(outputs[TURN].reshape(CELLS, CELLS, 2, 3) + 1e-6, axis=-1) - 1) ** 2, -1)
    total = weight.sum()
    sums = {
        HEAT: jnp.sum(positive + negative),
        "centre": jnp.sum(off * weight),
        "size": jnp.sum(size * weight),
        TURN: jnp.sum((turn + 0.05 * length) * weight),
    }
    return sums, {HEAT: middle.sum() + 0.2, "centre": total, "size": total, TURN: total}


def total_loss(outputs: dict[str, jax.Array], scenes: Scene) -> tuple[jax.Array, dict[str, Any]]:
    """The loss of a batch [N, ...], and its parts."""
    sums, weights = jax.vmap(scene_losses)(outputs, scenes)
    parts = {name: jnp.sum(value) / jnp.maximum(jnp.sum(weights[name]), 1.0) for name, value in sums.items()}
    return sum((WEIGHTS[name] * value for name, value in parts.items()), jnp.float32(0)), parts


def rotations(turn: jax.Array) -> jax.Array:
    """[..., 3, 3] whose first two columns are turn [..., 6], made perpendicular; `rotation_from` is its NumPy twin."""
    first, second = turn[..., :3], turn[..., 3:]
    first = first * jax.lax.rsqrt(jnp.sum(first**2, -1, keepdims=True) + 1e-8)
    second = second - jnp.sum(first * second, -1, keepdims=True) * first
    second = second * jax.lax.rsqrt(jnp.sum(second**2, -1, keepdims=True) + 1e-8)
    return jnp.stack([first, second, jnp.cross(first, second)], -1)
