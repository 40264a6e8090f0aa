import numpy as np

from panojax.synthetic import paint, pictures, scene
from panojax.synthetic.cameras import camera_label, pixel_directions
from panojax.synthetic.meshes import make_surface
from panojax.synthetic.render import orthographic, projection, sphere_directions, surround
from panojax.synthetic.sampling import sample_light


def test_lowered_arms_stay_in_the_cube_and_the_head_stays_put():
    rng = np.random.default_rng(0)
    points = rng.uniform(-2.5, 2.5, (500, 3)).astype(np.float32)
    moved = scene.lower_arms(points)
    assert np.abs(moved[:, 0]).max() <= scene.WIDEST[0] + 1e-6
    near = np.abs(points[:, 0]) <= scene.WIDEST[1]
    np.testing.assert_array_equal(moved[near], points[near])
    assert (moved[~near, 1] <= points[~near, 1]).all() and moved[:, 1].mean() < points[:, 1].mean() - 0.1
    order = np.argsort(points[:, 0])
    assert (np.diff(moved[order, 0]) >= -1e-6).all()


def test_skin_keeps_its_luminance_and_gets_a_hue_of_skin():
    picture = np.zeros((32, 32, 4), np.uint8)
    picture[...] = (93, 41, 24, 255)
    tint = (0.9, 1.0, 1.1)
    mean = pictures.picture_mean(picture)
    red, green, blue = mean * pictures.skin_colour(picture, tint)
    assert abs(red / green - pictures.RED_GREEN[1]) < 1e-6
    assert pictures.GREEN_BLUE[0] - 1e-6 <= green / blue <= pictures.GREEN_BLUE[1] + 1e-6
    weights = np.array([0.2126, 0.7152, 0.0722])
    np.testing.assert_allclose(weights @ [red, green, blue], weights @ (mean * tint))


def test_darker_scenes_are_exposed_more():
    light = sample_light(np.random.default_rng(1))
    dark, bright = (scene.camera_gain(light, (value,) * 3) for value in (0.05, 0.5))
    assert dark[1] > bright[1] and dark[1] * 0.05 < bright[1] * 0.5


def test_strands_follow_the_texture():
    square = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    positions = np.array([[0, 0, 0], [0, 0, 2], [0, 5, 2], [0, 5, 0]], np.float32)  # v runs along y
    surface = make_surface(square, square, uv)
    np.testing.assert_allclose(scene.strand_tangents(positions, surface), [[0, 1, 0]] * 4, atol=1e-6)
    mirrored = make_surface(square, square, uv * [-1, 1])
    np.testing.assert_allclose(scene.strand_tangents(positions, mirrored), [[0, 1, 0]] * 4, atol=1e-6)


def test_hair_normals_point_outward():
    rng = np.random.default_rng(2)
    positions, normals = (rng.normal(size=(100, 3)).astype(np.float32) for _ in range(2))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    assert ((scene.outward_normals(positions, normals) * positions).sum(axis=1) > 0).all()


def test_scalp_and_beard_lie_where_they_should():
    forehead, crown, nape, chin, nose = [0, 7.7, 1.5], [0, 8.49, 0.6], [0, 6.4, -0.2], [0, 6.25, 1.5], [0, 7.0, 1.75]
    rest = np.array([forehead, crown, nape, chin, nose], np.float32)
    none = np.zeros(len(rest))
    np.testing.assert_allclose(paint.scalp_weights(rest, none, 0.0), [0, 1, 0, 0, 0], atol=0.02)
    np.testing.assert_allclose(paint.beard_weights(rest, none, none, 1.0), [0, 0, 0, 1, 0], atol=0.05)
    assert paint.beard_weights(rest, none, none + 1, 1.0).max() < 1e-6  # no beard on lips
    receding = np.array([[0, 8.2, 1.3]], np.float32)
    assert paint.scalp_weights(receding, none[:1], 30.0)[0] < paint.scalp_weights(receding, none[:1], 0.0)[0]


def test_projection_puts_a_pixels_ray_on_that_pixel():
    label, size = camera_label(0.7, 0.4), 8
    eye = label[:16].reshape(4, 4)[:3, 3]
    for row, column in [(0, 0), (2, 6), (7, 3)]:
        point = eye + 2.5 * pixel_directions(label, size)[row, column]
        clip = projection(label) @ np.append(point, 1)
        x, y, z = clip[:3] / clip[3]
        np.testing.assert_allclose([(x + 1) / 2 * size - 0.5, (y + 1) / 2 * size - 0.5], [column, row], atol=1e-9)
        assert -1 < z < 1


def test_shadow_cameras_look_away_from_the_light():
    for direction in sphere_directions(9):
        matrix = orthographic(direction)
        near, far = (matrix @ np.append(step * direction, 1) for step in (0.3, -0.3))
        assert near[2] < far[2]
        np.testing.assert_allclose(near[:2], far[:2], atol=1e-12)


def test_surround_is_brighter_above_and_its_directions_are_even():
    directions = sphere_directions(200)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    assert np.abs(directions.mean(axis=0)).max() < 0.01
    light = sample_light(np.random.default_rng(0))
    assert (surround(light, directions) > 0).all()
