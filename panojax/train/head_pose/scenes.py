"""Training pictures made on the device: drawn heads put before surroundings, with what hides, blurs and lights them.

A picture has up to `SLOTS` heads. Half of the pictures show one as the network sees it on its second look, which it
fills; the others show any number of any size, or none.
"""

import concurrent.futures
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from panojax.photo.head_pose import HEAD_SHARE, INPUT_SIDE, LOOK_SHARE

SLOTS = 3
LEVELS = 4  # of the heads' pictures, each half the one before
CLOSE = 0.55  # share of the pictures that show one head as on the second look
# Share of these that have one: the second look must know a chair from a head, too. A network that had seen 0.97 took
# textures for heads there.
CLOSE_HEAD = 0.8
SMALLEST, LARGEST = 24.0, 180.0  # pixels that a head's square has in the others
LEAST_HEAD = 12.0  # pixels of the head itself, below which it is neither asked for nor denied
SEEN, HIDDEN = 0.5, 0.25  # shares of the head that are visible: asked for; neither; denied below
LYING = 0.1  # share of the heads that lie on their side or upside down, which are denied


class Scene(NamedTuple):
    """A picture and its heads."""

    picture: jax.Array  # [INPUT_SIDE, INPUT_SIDE, 3] in [-1, 1]
    centre: jax.Array  # [SLOTS, 2] x, y in pixels
    side: jax.Array  # [SLOTS] of the square that the framing HEADS shows, in pixels
    rotation: jax.Array  # [SLOTS, 3, 3] from the head's axes to the camera's
    wanted: jax.Array  # [SLOTS] 1 where there is a head to be found
    doubtful: jax.Array  # [SLOTS] 1 where there is one that need not be found


def make_atlas(rgba: np.ndarray) -> np.ndarray:
    """Pictures uint8 [M, S, S, 4], S a multiple of 8, with smaller copies beside: [M, S, 3 S / 2, 4], premultiplied."""
    side = rgba.shape[1]
    atlas = np.zeros((len(rgba), side, side * 3 // 2, 4), np.uint8)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(lambda i: _fill(atlas[i : i + 64], rgba[i : i + 64]), range(0, len(rgba), 64)))
    return atlas


def _fill(atlas, rgba):
    alpha = rgba[..., 3:].astype(np.float32) / 255
    level = np.concatenate([rgba[..., :3] * alpha, rgba[..., 3:]], -1)
    side, top = rgba.shape[1], 0
    for number in range(LEVELS):
        if number:
            level = (level[:, ::2, ::2] + level[:, 1::2, ::2] + level[:, ::2, 1::2] + level[:, 1::2, 1::2]) / 4
        left, below = (0, 0) if number == 0 else (side, top)
        width = level.shape[1]
        atlas[:, below : below + width, left : left + width] = level + 0.5
        top += width if number else 0


def compose(key: jax.Array, atlas: jax.Array, rotations: jax.Array, grounds: jax.Array) -> Scene:
    """One training picture.

    Args:
      key: of all that is random.
      atlas: of M drawn heads, see `make_atlas`.
      rotations: [M, 3, 3] of these from the head's axes to the camera's.
      grounds: surroundings, uint8 [B, G, G, 3].
    """
    keys = jax.random.split(key, 8)
    close = jax.random.uniform(keys[0]) < CLOSE
    numbers = jax.random.randint(keys[1], (SLOTS,), 0, len(atlas))
    place = _places(keys[2], close)
    grid = jnp.stack(jnp.meshgrid(*(jnp.arange(INPUT_SIDE, dtype=jnp.float32) + 0.5,) * 2), -1)
    picture = _ground(keys[3], grounds, atlas, grid)
    head_keys = jax.random.split(keys[4], SLOTS)
    covered: list[jax.Array] = []
    for slot in range(SLOTS):  # the last is nearest
        colour, alpha = draw_head(head_keys[slot], atlas[numbers[slot]], place, slot, grid)
        alpha = alpha * place["there"][slot]
        picture = picture * (1 - alpha) + colour * place["there"][slot]
        core = jnp.sum((grid - place["centre"][slot]) ** 2, -1) < (0.5 * HEAD_SHARE * place["side"][slot]) ** 2
        covered = [left * (1 - alpha[..., 0]) for left in covered] + [core.astype(jnp.float32)]
    cover, hiding = _occluder(keys[5], grounds, grid, place)
    picture = picture * (1 - hiding) + cover * hiding
    bars = _bars(keys[6], grid, close)
    picture = photograph(keys[7], picture)
    picture = jnp.where(bars, picture, 0.0)
    shares = []
    for slot in range(SLOTS):
        left = covered[slot] * (1 - hiding[..., 0]) * bars[..., 0]
        area = math.pi * (0.5 * HEAD_SHARE * place["side"][slot]) ** 2
        shares.append(jnp.sum(left) / area)
    seen = jnp.stack(shares)
    rotation = jax.vmap(turned)(rotations[numbers], place["roll"], place["mirrored"])
    there = place["there"] * (seen > HIDDEN) * (place["lying"] == 0)
    sure = (seen > SEEN) & (place["side"] * HEAD_SHARE > LEAST_HEAD)
    inside = jnp.all((place["centre"] > 0) & (place["centre"] < INPUT_SIDE), -1)
    wanted = there * sure * inside
    return Scene(picture, place["centre"], place["side"], rotation, wanted, there * (1 - sure * inside))


def _places(key, close) -> dict[str, jax.Array]:
    """Where heads are: there, centre, side, roll, mirrored, lying; [SLOTS] each."""
    draws = jax.random.uniform(key, (10, SLOTS))
    usual = INPUT_SIDE * LOOK_SHARE
    size = jnp.exp(jnp.log(SMALLEST) + draws[0] * jnp.log(LARGEST / SMALLEST))
    first = jnp.arange(SLOTS) == 0
    one = close & first
    side = jnp.where(one, usual * jnp.exp(0.32 * (2 * draws[0] - 1)), size)
    middle = jnp.stack([draws[1], draws[2]], -1) * 1.1 - 0.05
    near = 0.5 + 0.11 * (2 * jnp.stack([draws[1], draws[2]], -1) - 1)
    centre = jnp.where(one[:, None], near, middle) * INPUT_SIDE
    there = jnp.where(close, jnp.where(first, CLOSE_HEAD, 0.12), 0.36) > draws[3]
    lean = jnp.radians(13.0) * jax.scipy.special.ndtri(jnp.clip(draws[4], 1e-3, 1 - 1e-3))
    lying = draws[5] < LYING
    roll = jnp.where(lying, jnp.pi * (0.45 + 1.1 * draws[4]), lean)
    # How far clothes go on below and beside the drawn picture.
    torso = {"below": 1.8 * jnp.maximum(draws[6] - 0.15, 0), "beside": 0.5 * draws[7], "wider": 1.2 * draws[8]}
    return {
        "there": there.astype(jnp.float32),
        "centre": centre,
        "side": side,
        "roll": roll,
        "mirrored": (draws[9] < 0.5).astype(jnp.float32),
        "lying": lying.astype(jnp.float32),
        **torso,
    }


def draw_head(key, atlas, place, slot, grid):
    """Premultiplied colour [H, W, 3] in [-1, 1] times alpha, and alpha [H, W, 1], of a head in the picture."""
    size = atlas.shape[0]
    side, roll = place["side"][slot], place["roll"][slot]
    cosine, sine = jnp.cos(roll), jnp.sin(roll)
    away = (grid - place["centre"][slot]) / side
    u = cosine * away[..., 0] + sine * away[..., 1]
    v = cosine * away[..., 1] - sine * away[..., 0] + 0.5
    u = u / (1 + place["wider"][slot] * jnp.maximum(v - 1, 0))
    u = jnp.where(place["mirrored"][slot] > 0, -u, u) + 0.5
    low = v > 0.85
    inside = (jnp.abs(u - 0.5) < jnp.where(low, 0.5 + place["beside"][slot], 0.5)) & (v > 0)
    inside &= v < 1 + place["below"][slot]
    level = jnp.clip(jnp.floor(jnp.log2(size / side)), 0, LEVELS - 1)
    width = size / 2**level
    left = jnp.where(level > 0, size, 0)
    top = jnp.where(level > 0, size - 2 * width, 0)  # sizes size / 2, size / 4, ... one below the other
    x = jnp.clip(u * width - 0.5, 0, width - 1.001) + left
    y = jnp.clip(v * width - 0.5, 0, width - 1.001) + top
    rgba = _bilinear(atlas, x, y) / 255 * inside[..., None]
    draws = jax.random.normal(key, (9,))
    alpha = rgba[..., 3:]
    gain = jnp.exp(0.25 * draws[0] + 0.07 * draws[1:4])
    slope = 1 + 0.25 * (draws[4] * (u - 0.5) + draws[5] * (v - 0.5))[..., None]
    light = jnp.clip(rgba[..., :3] * gain * jnp.clip(slope, 0.3, 2) + 0.03 * draws[6] * alpha, 0, alpha)
    return 2 * light - alpha, alpha


def _ground(key, grounds, atlas, grid):
    """Surroundings [H, W, 3] in [-1, 1]: one picture, or two with an edge between, or much enlarged hair or cloth."""
    keys = jax.random.split(key, 4)
    first, second = (texture(k, grounds, grid) for k in keys[:2])
    draws = jax.random.uniform(keys[2], (8,))
    angle = 2 * jnp.pi * draws[0]
    edge = (grid[..., 0] - 64) * jnp.cos(angle) + (grid[..., 1] - 64) * jnp.sin(angle) > 100 * (draws[1] - 0.5)
    picture = jnp.where((edge & (draws[2] < 0.25))[..., None], second, first)
    head = atlas[jax.random.randint(keys[3], (), 0, len(atlas))]
    size = head.shape[0]
    corner = size * (0.1 + 0.7 * draws[3:5])
    step = size * (0.06 + 0.12 * draws[5]) / INPUT_SIDE
    at = jnp.clip(corner + grid * step, 0, size - 1.001)
    rgba = _bilinear(head, at[..., 0], at[..., 1]) / 255
    near = picture * (1 - rgba[..., 3:]) + 2 * rgba[..., :3] - rgba[..., 3:]
    return jnp.where(draws[6] < 0.08, near, picture)


def texture(key, grounds, grid):
    """A random part of a random picture of the surroundings, turned, mirrored, of other colours: [H, W, 3]."""
    draws = jax.random.uniform(key, (16,))
    ground = grounds[(draws[0] * len(grounds)).astype(jnp.int32)]
    size, side = ground.shape[0], grid.shape[0]
    angle = 0.35 * (2 * draws[1] - 1)
    step = size / side * (0.35 + 0.65 * draws[2])
    away = grid - side / 2
    x = step * (away[..., 0] * jnp.cos(angle) - away[..., 1] * jnp.sin(angle)) * jnp.where(draws[3] < 0.5, -1, 1)
    y = step * (away[..., 0] * jnp.sin(angle) + away[..., 1] * jnp.cos(angle))
    room = size / 2 - step * side / 2
    x, y = (z + size / 2 + room * (2 * d - 1) for z, d in ((x, draws[4]), (y, draws[5])))
    colour = _bilinear(ground, jnp.clip(x, 0, size - 1.001), jnp.clip(y, 0, size - 1.001)) / 127.5 - 1
    gain = jnp.exp(0.3 * (2 * draws[6] - 1) + 0.12 * (2 * draws[7:10] - 1))
    return jnp.clip(colour * gain + 0.3 * (2 * draws[10] - 1), -1, 1)


def _occluder(key, grounds, grid, place):
    """What is held before some heads, an ellipse, a bar or a corner: its picture [H, W, 3], where it is [H, W, 1]."""
    keys = jax.random.split(key, 3)
    draws = jax.random.uniform(keys[0], (10,))
    slot = (draws[0] * SLOTS).astype(jnp.int32)
    side = place["side"][slot]
    angle = 2 * jnp.pi * draws[1]
    reach = side * (0.1 + 0.5 * draws[2])
    away = grid - place["centre"][slot] - reach * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
    turn = jnp.pi * draws[3]
    x = away[..., 0] * jnp.cos(turn) + away[..., 1] * jnp.sin(turn)
    y = away[..., 1] * jnp.cos(turn) - away[..., 0] * jnp.sin(turn)
    radii = side * (0.06 + 0.24 * draws[4:6])
    ellipse = (x / radii[0]) ** 2 + (y / radii[1]) ** 2 < 1
    bar = jnp.abs(x) < 0.12 * side * draws[6] + 1
    beyond = away[..., 0] * jnp.cos(angle) + away[..., 1] * jnp.sin(angle) > 0
    kind = (draws[7] * 3).astype(jnp.int32)
    shape = jnp.select([kind == 0, kind == 1], [ellipse, bar], beyond) & (draws[8] < 0.35)
    return texture(keys[1], grounds, grid), shape[..., None].astype(jnp.float32)


def _bars(key, grid, close):
    """Where the picture is [H, W, 1]: what lies beyond a photo's border is grey, often on two sides."""
    draws = jax.random.uniform(key, (6,))
    most = jnp.where(close, 0.3, 0.45) * INPUT_SIDE
    width = most * draws[:4] * (draws[4] < 0.4)
    upright = draws[5] < 0.5  # bars beside, or above and below
    width = width * jnp.where(close | (upright == jnp.array([True, True, False, False])), 1, 0)
    x, y = grid[..., 0], grid[..., 1]
    far = INPUT_SIDE
    return ((x > width[0]) & (x < far - width[1]) & (y > width[2]) & (y < far - width[3]))[..., None]


def photograph(key, picture):
    """Exposure, contrast, colours, blur and noise of a camera."""
    keys = jax.random.split(key, 2)
    draws = jax.random.uniform(keys[0], (10,))
    grey = picture.mean(-1, keepdims=True)
    saturation = jnp.where(draws[0] < 0.12, 0.0, 0.6 + 0.8 * draws[1])
    picture = grey + (picture - grey) * saturation
    level = jnp.clip((picture + 1) / 2, 1e-3, 1) ** jnp.exp(0.5 * (2 * draws[2] - 1))
    picture = (2 * level - 1) * (0.6 + 0.7 * draws[3]) + 0.3 * (2 * draws[4] - 1) + 0.1 * (2 * draws[5:8] - 1)
    sigma = jnp.where(draws[8] < 0.5, 0.1, 0.1 + 1.9 * draws[9] ** 2)
    taps = jnp.exp(-0.5 * (jnp.arange(-4, 5) / sigma) ** 2)
    taps = taps / taps.sum()
    side = picture.shape[0]
    for axis in (0, 1):
        padded = jnp.pad(picture, [(4, 4) if a == axis else (0, 0) for a in range(3)], mode="edge")
        shifted = [jax.lax.slice_in_dim(padded, i, i + side, axis=axis) for i in range(9)]
        picture = jnp.tensordot(taps, jnp.stack(shifted), 1)
    strength = 0.08 * jax.random.uniform(keys[1]) ** 3
    picture = picture + strength * jax.random.normal(jax.random.fold_in(keys[1], 1), picture.shape)
    return jnp.clip(picture, -1, 1)


def turned(rotation, roll, mirrored):
    """The rotation of a head that was mirrored, then turned clockwise in the picture."""
    flip = jnp.diag(jnp.array([-1.0, 1.0, 1.0]))
    rotation = jnp.where(mirrored > 0, flip @ rotation @ flip, rotation)
    cosine, sine = jnp.cos(roll), jnp.sin(roll)
    return jnp.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]) @ rotation


def _bilinear(picture: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """picture [H, W, C] at x, y [...] in pixels, 0 at the first one's centre, all within it; float32 [..., C]."""
    column, row = jnp.floor(x).astype(jnp.int32), jnp.floor(y).astype(jnp.int32)
    right, below = (x - column)[..., None], (y - row)[..., None]
    corner = [picture[row + i, column + j].astype(jnp.float32) for i in (0, 1) for j in (0, 1)]
    upper = corner[0] * (1 - right) + corner[1] * right
    lower = corner[2] * (1 - right) + corner[3] * right
    return upper * (1 - below) + lower * below
