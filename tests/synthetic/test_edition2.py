"""The second edition's heads. What needs the assets or OpenGL is skipped where they are not (see conftest.py)."""

import dataclasses
import json

import numpy as np
import pytest

from panojax.errors import InputError
from panojax.synthetic import editions, splits
from panojax.synthetic.agreement import view_disagreement
from panojax.synthetic.cameras import camera_label, unproject
from panojax.synthetic.edition2 import accessories, growth, hair, lighting, shapes, styles, volume
from panojax.synthetic.edition2.people import as_json
from panojax.synthetic.edition2.render import Renderer, ribbon_vertices
from panojax.synthetic.edition2.sampling import sample_person
from panojax.synthetic.edition2.scene import build_body, build_head, head_solid
from panojax.synthetic.edition2.solid import Solid
from panojax.synthetic.render import DEPTH_STEPS
from panojax.synthetic.scene import PARTS

NUMBERS = range(300)


@pytest.fixture(scope="module")
def people():
    return [sample_person(5, number) for number in NUMBERS]


@pytest.fixture(scope="module")
def drawer(real_assets):
    try:
        made = Renderer(96, supersample=2)
    except InputError as error:
        pytest.skip(f"no OpenGL here: {error}")
    yield made
    made.close()


def ball(radius: float) -> Solid:
    """The distance to a ball about the origin, on the grid of `Solid`."""
    from panojax.synthetic.edition2.solid import grid_points

    points, _ = grid_points()
    length = np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), 1e-6)
    return Solid(np.concatenate([length - radius, points / length], axis=-1).astype(np.float32))


def with_style(person, cut: str, texture: str, seed: int = 0, **wear):
    form = styles.sample_style(np.random.default_rng(seed), cut, texture)
    own = dataclasses.replace(person.hair, style=f"{cut}/{texture}", form=form)
    bare = {"hat": "", "glasses": "", "earrings": ""} | wear
    return dataclasses.replace(person, hair=own, wear=dataclasses.replace(person.wear, **bare))


def test_people_are_a_function_of_seed_and_number(people):
    assert sample_person(5, 17) == people[17] and sample_person(6, 17) != people[17]
    assert json.loads(json.dumps(as_json(people[3])))["hair"]["form"]["cut"] == people[3].hair.form.cut


def test_shapes_and_skins_are_the_first_editions(people):
    from panojax.synthetic.sampling import sample_identity

    for number in range(5):
        first = sample_identity(5, number)
        assert (first.shape, first.skin) == (people[number].shape, people[number].skin)


def test_there_are_300_combinations_of_cut_and_texture():
    combinations = styles.combinations()
    assert len(set(combinations)) >= 300
    drawn = [styles.sample_style(np.random.default_rng(i), *names) for i, names in enumerate(combinations)]
    assert [(style.cut, style.texture) for style in drawn] == combinations


def test_held_out_cuts_are_worn_by_test_heads_only(people):
    for person in people:
        if person.split != "test":
            assert person.hair.form.cut not in styles.TEST_ONLY_CUTS
    tested = [sample_person(5, n) for n in range(1200) if splits.split_of(n) == "test"]
    assert {p.hair.form.cut for p in tested} >= set(styles.TEST_ONLY_CUTS)


def test_a_fifth_wears_something(people):
    shares = [bool(p.wear.glasses or p.wear.hat or p.wear.earrings) for p in people]
    assert 0.15 < np.mean(shares) < 0.4
    assert {p.wear.hat for p in people} - {""} and {p.wear.glasses for p in people} - {""}
    assert 0.5 < np.mean([bool(p.light.environment) for p in people]) < 0.85


def test_pushed_points_are_outside():
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.3, 0.3, (400, 3)).astype(np.float32)
    moved = ball(0.2).push(points, np.float32(0.01))
    assert np.linalg.norm(moved, axis=1).min() > 0.2
    far = np.linalg.norm(points, axis=1) > 0.23
    np.testing.assert_array_equal(moved[far], points[far])


def test_resampled_curves_end_where_they_are_cut():
    line = np.linspace(0, 1, 11, dtype=np.float32)
    curves = np.stack([0 * line, -line, 0 * line], axis=1)[None].repeat(3, axis=0)
    heights = np.array([-0.35, -0.8, -2.0], np.float32)
    ends = growth.level_cut(curves, heights)
    np.testing.assert_allclose(ends, [0.35, 0.8, 1.0], atol=1e-5)
    cut = growth.resample(curves, ends, 7)
    np.testing.assert_allclose(cut[:, -1, 1], [-0.35, -0.8, -1.0], atol=1e-5)
    np.testing.assert_allclose(cut[:, 0], 0, atol=1e-6)


def test_frames_are_at_right_angles_to_the_curve():
    rng = np.random.default_rng(1)
    curves = np.cumsum(rng.normal(0, 1, (6, 9, 3)), axis=1).astype(np.float32)
    first, second = growth.frames(curves, growth.unit(rng.normal(size=(6, 3)).astype(np.float32)))
    tangent = growth.unit(np.gradient(curves, axis=1).astype(np.float32))
    for across in (first, second):
        np.testing.assert_allclose((across * tangent).sum(-1), 0, atol=1e-4)
    np.testing.assert_allclose((first * second).sum(-1), 0, atol=1e-4)


def test_light_thins_towards_the_middle_of_hair():
    rng = np.random.default_rng(2)
    start = rng.normal(size=(3000, 3))
    start = (0.15 * start / np.linalg.norm(start, axis=1, keepdims=True)).astype(np.float32)
    curves = start[:, None] * np.linspace(0.7, 1, 6, dtype=np.float32)[None, :, None]
    strands = growth.Strands("hair", curves, 0.006, np.ones((3000, 3), np.float32))
    (light,) = volume.hair_ambient([strands], ball(0.02), np.ones((len(volume.DIRECTIONS), 3), np.float32))
    assert light[:, 0].mean() < 0.9 * light[:, -1].mean() and light.min() > 0 and light.max() <= 1.001


def test_splitting_a_key_keeps_the_light():
    radiance = np.full((lighting.ROWS, lighting.COLUMNS, 3), 0.5)
    radiance[8, 20] = 6.0
    split = lighting.split_key(radiance)
    directions, _ = lighting.map_directions()
    assert split.key @ directions[8, 20] > 0.999
    whole = lighting.irradiance(radiance, directions[8, 20])
    rest = lighting.irradiance(split.radiance, directions[8, 20])
    np.testing.assert_allclose(rest + split.key_colour, whole, rtol=0.02)


def test_ribbons_are_strips_with_a_thin_end():
    points = np.cumsum(np.ones((2, 4, 3), np.float32), axis=1)
    strands = growth.Strands("hair", points, 0.01, np.ones((2, 3), np.float32), None, 0.25)
    positions, halves = ribbon_vertices(strands, np.zeros((2, 4, 3), np.float32))
    assert len(positions) == 2 * 10 * 3 * 4
    values = np.frombuffer(halves, np.float16).reshape(2, 10, 12)
    np.testing.assert_array_equal(values[0, :, 4], [-1, -1, 1, -1, 1, -1, 1, -1, 1, 1])
    assert values[0, 0, 11] == 1 and values[0, -1, 11] == 0.25


def test_lens_outlines_are_as_large_as_their_frames():
    for frame, (wide, high, *_rest) in accessories.FRAMES.items():
        at = accessories.outline(frame)
        assert 0.9 * wide < at[:, 0].max() < 1.25 * wide and 0.9 * high < at[:, 1].max() < 1.5 * high


def test_tubes_have_the_radius_they_were_given():
    path = np.stack([np.linspace(0, 1, 5), np.zeros(5), np.zeros(5)], 1).astype(np.float32)
    points, triangles = shapes.tube(path, 0.1)
    np.testing.assert_allclose(np.linalg.norm(points[:, 1:], axis=1), 0.1, atol=1e-5)
    assert triangles.max() == len(points) - 1


@pytest.mark.parametrize("cut", ["side_part", "long_middle", "afro", "ponytail_side", "box_braids", "bowl"])
def test_strands_lie_outside_the_head(real_assets, cut):
    person = with_style(sample_person(3, 101), cut, styles.CUTS[cut][2][-1])
    body = build_body(real_assets, person)
    solid = head_solid(body, person.shirt)
    ground = growth.hair_ground(real_assets, body.points, body.normals, 5)
    pieces = hair.head_hair(person.hair, ground, solid, body.marks, np.zeros(len(ground.top), bool))
    assert sum(len(piece.points) for piece in pieces) > 3000
    for piece in pieces:
        depth = solid.look(piece.points[:, 2:])[0]
        assert np.isfinite(piece.points).all() and (depth < -0.012).mean() < 0.004  # 6 mm
        if cut == "long_middle":
            assert np.median(piece.points[:, -1, 1] - piece.points[:, 0, 1]) < -0.2, "long hair falls"


def outlines(drawer, assets, person) -> np.ndarray:
    drawer.load(build_head(assets, person))
    return np.stack([drawer.view(camera_label(yaw, 0.1)).rgba[..., 3] > 127 for yaw in (0.0, 1.5)])


def test_silhouettes_of_styles_differ(drawer, real_assets):
    chosen = styles.combinations()[::14]
    person = dataclasses.replace(sample_person(3, 101), light=sample_person(3, 100).light)
    seen = [outlines(drawer, real_assets, with_style(person, *names)) for names in chosen]
    for i, first in enumerate(seen):
        for second in seen[:i]:
            assert 1 - (first & second).sum() / (first | second).sum() > 0.005


def test_views_agree_and_masks_are_sound(drawer, real_assets):
    person = with_style(sample_person(3, 104), "side_part", "straight")
    drawer.load(build_head(real_assets, person))
    labels = np.stack([camera_label(0.63 * i, 0.1 * (i % 3)) for i in range(10)])
    views = [drawer.view(label) for label in labels]
    depth = np.stack([view.depth for view in views]).astype(np.float32) / DEPTH_STEPS
    nearest, to_surface = view_disagreement(labels, depth)
    assert nearest < 0.012 and to_surface < 0.004
    for view in views:
        alpha, seen = view.rgba[..., 3], view.depth > 0
        assert (alpha[seen] >= 127).all() and (view.parts[seen] > 0).all() and (view.parts[~seen] == 0).all()
        assert seen[alpha == 255].mean() > 0.99 and ((alpha > 0) & (alpha < 255)).sum() > 20


def test_hats_and_glasses_are_labelled_and_hats_hide_hair(drawer, real_assets):
    bare = with_style(sample_person(3, 107), "afro", "coily")
    label = camera_label(0.0, 0.3)
    drawer.load(build_head(real_assets, bare))
    before = drawer.view(label).parts
    assert not np.isin(before, [PARTS.index("hat"), PARTS.index("glasses")]).any()
    worn = dataclasses.replace(bare, wear=dataclasses.replace(bare.wear, hat="beanie", glasses="square"))
    worn = dataclasses.replace(
        worn, hair=dataclasses.replace(worn.hair, form=styles.below_hat(worn.hair.form, "beanie"))
    )
    drawer.load(build_head(real_assets, worn))
    view = drawer.view(label)
    counts = [(view.parts == PARTS.index(name)).sum() for name in ("hat", "glasses", "hair")]
    assert counts[0] > 500 and counts[1] > 20 and counts[2] < 0.3 * (before == PARTS.index("hair")).sum()
    top = unproject(np.where(view.parts == PARTS.index("hat"), view.depth, 0).astype(np.float32) / DEPTH_STEPS, label)
    assert top[:, 1].min() > 0.0, "the hat is above the eyes"


def test_behind_hair_is_as_light_as_before_under_even_light(drawer, real_assets):
    person = with_style(sample_person(3, 101), "bob_chin", "straight")
    even = (0.8, 0.8, 0.8)
    light = dataclasses.replace(
        person.light, environment="", colours=((0.0,) * 3,) * 3, sky=even, ground=even, exposure=0.0
    )
    drawer.load(build_head(real_assets, dataclasses.replace(person, light=light)))
    shades = []
    for yaw in (0.0, np.pi):
        view = drawer.view(camera_label(yaw, 0.1))
        shades.append(view.rgba[view.parts == PARTS.index("hair")][:, :3].mean(axis=0))
    np.testing.assert_allclose(shades[0], shades[1], atol=10)


def test_editions_are_checked():
    with pytest.raises(InputError, match="edition must be one of"):
        editions.open_renderer(3, 64)
