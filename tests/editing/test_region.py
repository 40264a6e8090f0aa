"""Regions of masks and of solids, in a scene whose texels are known."""

import jax
import numpy as np
import pytest
import two_balls
from two_balls import LEFT, RADIUS, RIGHT, disc

import panojax
from panojax.camera import look_at
from panojax.editing.region import show_region, soften
from panojax.errors import InputError

YAWS = np.array([0.0, np.pi / 2, np.pi, -np.pi / 2])
CAMERAS = np.asarray(look_at(YAWS))
TEXEL = 1 / two_balls.SIDE
find = jax.jit(panojax.find_region)


def masks_of(ball):
    """The pictures' pixels [4, 128, 128] nearer to a ball's projection than its radius and a little."""
    side = (np.arange(128) + 0.5) / 128
    masks = []
    for label in CAMERAS.astype(np.float64):
        pose, lens = label[:16].reshape(4, 4), label[16:].reshape(3, 3)
        x, y, z = (ball - pose[:3, 3]) @ pose[:3, :3]
        u, v = lens[0, 0] * x / z + 0.5, lens[1, 1] * y / z + 0.5
        reach = lens[0, 0] * (RADIUS + 0.02) / z
        masks.append((side[None, :] - u) ** 2 + (side[:, None] - v) ** 2 < reach**2)
    return np.array(masks, np.float32)


@pytest.mark.parametrize(("ball", "other"), [(LEFT, RIGHT), (RIGHT, LEFT)])
def test_masks_from_all_around_find_one_ball(params, head, ball, other):
    """Its rim on every plane, and nothing farther than two texels from it; from some sides it hides the other one."""
    region = np.asarray(find(params, head, masks_of(ball), CAMERAS, threshold=0.5))
    assert region.shape == (3, 32, 32) and set(np.unique(region)) == {0, 1}
    for plane in range(3):
        rim = disc(plane, ball, RADIUS) & ~disc(plane, ball, RADIUS - TEXEL)
        assert region[plane][rim].mean() > 0.9, plane
        assert not region[plane][~disc(plane, ball, RADIUS + 2.5 * TEXEL)].any(), plane
        assert not region[plane][disc(plane, other)].any(), plane


def test_one_view_finds_what_it_shows(params, head):
    """From the front: the whole shadow on the plane that faces it, and of the others the front half."""
    masks, cameras = np.zeros((4, 128, 128), np.float32), np.repeat(CAMERAS[:1], 4, axis=0)
    masks[0] = masks_of(LEFT)[0]
    region = np.asarray(find(params, head, masks, cameras, threshold=0.2))
    assert region[0][disc(0, LEFT, RADIUS)].mean() > 0.95
    depths = (np.arange(32) + 0.5) / 32 - 0.5
    front, back = depths > LEFT[2] + 2 * TEXEL, depths < LEFT[2] - 2 * TEXEL
    for plane in (1, 2):  # rows run along z
        assert region[plane][front].any() and not region[plane][back].any()


def test_an_empty_mask_finds_nothing(params, head):
    assert not np.asarray(find(params, head, np.zeros((4, 128, 128), np.float32), CAMERAS, threshold=0.5)).any()


def test_solids(params):
    ball = panojax.solid_region(params, LEFT.astype(np.float32), np.full(3, RADIUS, np.float32))
    np.testing.assert_array_equal(ball, np.stack([disc(plane, LEFT) for plane in range(3)]))
    box = np.asarray(panojax.solid_region(params, np.zeros(3), np.array([0.25, 0.5, 0.125]), shape="box"))
    assert [box[plane].sum() for plane in range(3)] == [16 * 32, 16 * 8, 32 * 8]
    assert box[0, :, 8:24].all() and box[1, 12:20, 8:24].all() and box[2, 12:20].all()


def test_a_region_is_seen_where_it_lies(params, head):
    """All three planes of the left ball are inside, none of the right one."""
    region = panojax.solid_region(params, LEFT.astype(np.float32), np.full(3, RADIUS + 0.05, np.float32))
    seen = np.asarray(jax.jit(lambda camera: show_region(params, head, region, camera))(CAMERAS[0]))
    left, right = (masks_of(ball)[0].reshape(32, 4, 32, 4).mean((1, 3)) > 0.99 for ball in (LEFT, RIGHT))
    assert np.median(seen[left]) > 0.95 and seen[right].max() < 0.05


@pytest.mark.parametrize("border", [0, 2])
def test_borders(border):
    """1 inside, exactly 0 from a distance of 2 * border texels on, falling in between."""
    region = np.zeros((3, 32, 32), np.float32)
    region[:, 12:20, 10:18] = 1
    weights = np.asarray(soften(region, border))
    assert (weights[region == 1] == 1).all()
    outside = np.ones_like(region, bool)
    outside[:, 12 - 2 * border : 20 + 2 * border, 10 - 2 * border : 18 + 2 * border] = False
    assert (weights[outside] == 0).all()
    assert (np.diff(weights[0, 15, 17:30]) <= 0).all() and (weights >= 0).all()
    assert (weights[:, 0] == 0).all() and (np.asarray(soften(np.ones((3, 8, 8), np.float32), border)) == 1).all()


@pytest.mark.parametrize(
    ("masks", "cameras", "message"),
    [
        (np.zeros((1, 64, 64)), CAMERAS[:1], r"masks must be floats \[any, 128, 128\].* got float32 \(1, 64, 64\)"),
        (np.zeros((128, 128)), CAMERAS[:1], r"masks must be .* got float32 \(128, 128\)"),
        (np.zeros((1, 128, 128), bool), CAMERAS[:1], r"masks must be floats .* got bool"),
        (np.zeros((2, 128, 128)), CAMERAS[:1], "cameras must be one for each of 1 or more masks, got 1 for 2 masks"),
        (np.zeros((0, 128, 128)), CAMERAS[:0], "got 0 for 0 masks"),
        (np.zeros((1, 128, 128)), CAMERAS[0], r"cameras must be .* got float32 \(25,\)"),
    ],
)
def test_masks_that_do_not_fit(params, head, masks, cameras, message):
    with pytest.raises(InputError, match=message):
        panojax.find_region(params, head, masks, cameras)


def test_solids_that_do_not_fit(params):
    with pytest.raises(InputError, match=r"radii must be floats \[3\]"):
        panojax.solid_region(params, np.zeros(3), np.ones(2))
    with pytest.raises(InputError, match="shape must be one of ellipsoid, box"):
        panojax.solid_region(params, np.zeros(3), np.ones(3), shape="cone")
