"""Real heads: needs PANOJAX_HEAD_ASSETS and an EGL with OpenGL 3.3 (software will do)."""

import dataclasses

import numpy as np
import pytest

from panojax.synthetic import splits, storage
from panojax.synthetic.agreement import HEAD_WIDTH, view_disagreement
from panojax.synthetic.cameras import camera_label, sample_cameras, unproject
from panojax.synthetic.generate import generate_heads, make_identity
from panojax.synthetic.render import DEPTH_STEPS
from panojax.synthetic.sampling import HAIR_STYLES, sample_identity
from panojax.synthetic.scene import PARTS, build_scene
from panojax.synthetic.storage import read_identity


@pytest.fixture(scope="module")
def head(renderer, real_assets):
    _, labels, views = make_identity(renderer, real_assets, 3, 104, 10)
    depth = np.stack([view.depth for view in views]).astype(np.float32) / DEPTH_STEPS
    return labels, views, depth


def test_all_views_lie_on_one_surface(head):
    labels, _, depth = head
    nearest, to_surface = view_disagreement(labels, depth)
    assert nearest < 0.01
    assert to_surface < 0.004


def test_labels_two_degrees_off_are_noticed(head):
    labels, _, depth = head
    wrong = labels.copy()
    c, s = np.cos(np.radians(2)), np.sin(np.radians(2))
    for label in wrong[::2]:
        label[:12] = (np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ label[:12].reshape(3, 4)).reshape(-1)
    assert view_disagreement(wrong, depth)[1] > 2 * view_disagreement(labels, depth)[1]


def test_mask_depth_and_parts_agree(head):
    for view in head[1]:
        alpha, seen = view.rgba[..., 3], view.depth > 0
        assert (alpha[seen] >= 127).all() and (view.parts[seen] > 0).all() and (view.parts[~seen] == 0).all()
        assert seen[alpha == 255].mean() > 0.99
        assert (alpha[0] == 0).all(), "the top of the head is inside the picture"
        assert ((alpha > 0) & (alpha < 255)).sum() > 20, "edges are soft"
        assert view.parts.max() < len(PARTS)


def test_the_head_is_centred_and_as_wide_as_a_head(renderer, real_assets):
    identity = sample_identity(3, 100)
    bald = dataclasses.replace(identity, hair=dataclasses.replace(identity.hair, style="bald"))
    renderer.load(build_scene(real_assets, bald))
    label = camera_label(0.0, 0.0)
    view = renderer.view(label)
    points = unproject(view.depth.astype(np.float32) / DEPTH_STEPS, label)
    brows = points[np.abs(points[:, 1] - 0.08) < 0.02]
    assert abs(np.ptp(brows[:, 0]) / HEAD_WIDTH - 1) < 0.25
    assert abs(brows[:, 0].max() + brows[:, 0].min()) < 0.03
    assert (points[points[:, 1] > 0.1, 2] > 0).mean() > 0.9  # the camera at yaw 0 sees the face


@pytest.mark.parametrize("style", HAIR_STYLES)
def test_every_style_has_hair_on_top_and_none_adrift(renderer, real_assets, style):
    identity = sample_identity(3, 101)
    hair = dataclasses.replace(identity.hair, style=style, cut=1000.0, scalp=1.0, fur_length=6.0)
    renderer.load(build_scene(real_assets, dataclasses.replace(identity, hair=hair)))
    label = camera_label(0.3, 0.5)
    view = renderer.view(label)
    on_hair = view.parts == PARTS.index("hair")
    if style == "bald":
        assert not on_hair.any()
        return
    assert on_hair.sum() > 0.08 * on_hair.size
    points = unproject(np.where(on_hair, view.depth, 0).astype(np.float32) / DEPTH_STEPS, label)
    assert np.abs(points[:, [0, 2]]).max() < 0.5, "hair stays inside the generator's cube"


@pytest.mark.parametrize("edition", [1, 2])
def test_process_count_and_order_do_not_change_a_byte(renderer, real_assets, tmp_path, edition):
    one = generate_heads(3, 2, 64, 21, tmp_path / "one", 1, assets=real_assets, edition=edition)
    two = generate_heads(3, 2, 64, 21, tmp_path / "two", 2, assets=real_assets, edition=edition)
    late = generate_heads(1, 2, 64, 21, tmp_path / "late", 1, assets=real_assets, start=2, edition=edition)
    for path in storage.list_identities(one):
        assert (two / path.name).read_bytes() == path.read_bytes()
    assert (late / "000002.zip").read_bytes() == (one / "000002.zip").read_bytes()
    assert (two / "dataset.json").read_bytes() == (one / "dataset.json").read_bytes()
    assert read_identity(one / "000001.zip").identity["split"] == splits.split_of(1)


def test_identities_differ(renderer, real_assets):
    pictures = []
    for number in (100, 101):
        renderer.load(build_scene(real_assets, sample_identity(3, number)))
        pictures.append(renderer.view(sample_cameras(np.random.default_rng(0), 1)[0]).rgba.astype(float))
    assert np.abs(pictures[0] - pictures[1]).mean() > 3
