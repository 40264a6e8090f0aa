"""Occlusion masks of analytic scenes and of rendered heads."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scenes
from scipy import ndimage

import panojax
from panojax.camera import camera_rays, look_at, orbit
from panojax.fields.trigrid import PLANE_AXES, TriGrid, _without_repeats
from panojax.inversion.pipeline import stitch
from panojax.render.occlusion import occlusion_mask

AXES = PLANE_AXES["panohead"]
SHAPE = (3, 3, 64, 64)
DIRECTIONS = look_at(np.arange(12) * np.pi / 6, np.tile([0.0, 0.6, -0.6, 1.1], 3))
SPHERE = 0.28


def field(shape, **options):
    _, depth, side, _ = shape
    return TriGrid(size=side, depth=depth, axes=AXES, **options)


@functools.cache
def masks(shape=SHAPE, *, batch=False, threshold=0.5, **options):
    one = functools.partial(occlusion_mask, field(shape, **options), threshold=threshold)
    return jax.jit(jax.vmap(one) if batch else one)


def visible(*args, **options):
    return np.asarray(masks(**options)(*args)) == 0


def corners(points, shape, *, depth_interpolation=True):
    """[3, D, H, W] bool: texels that the lookups of points [M, 3] in the world read, corner by corner."""
    read = np.zeros(shape, bool)
    for plane, order in enumerate(AXES):
        size = np.array(shape[:0:-1])
        texel = ((points[:, list(order)] * 2 + 1) * size - 1) / 2
        for offset in np.ndindex(2, 2, 2 if depth_interpolation else 1):
            corner = np.floor(texel).astype(int) + offset
            if not depth_interpolation:
                corner[:, 2] = 0
            w, h, d = corner[np.all((corner >= 0) & (corner < size), axis=1)].T
            read[plane, d, h, w] = True
    return read


def unproject(depth, weight, camera):
    """Points [M, 3] of the foreground pixels."""
    origins, directions = (np.asarray(a, np.float64) for a in camera_rays(jnp.asarray(camera), len(depth)))
    points = origins + np.asarray(depth, np.float64).reshape(-1, 1) * directions
    return points[np.asarray(weight).reshape(-1) > 0.5]


def half_shell(camera, resolution, margin):
    """Texels [3, D, H, W] that the visible half of the sphere reads, `margin` pixels inside its silhouette."""
    points = np.random.RandomState(0).standard_normal((300_000, 3))
    points *= SPHERE / np.linalg.norm(points, axis=1, keepdims=True)
    matrix, lens = np.split(np.asarray(camera, np.float64), [16])
    matrix, focal, eye = matrix.reshape(4, 4), lens[0] * resolution, matrix[[3, 7, 11]]
    points = points[np.sum(points * (eye - points), axis=1) > 0]
    seen = (points - eye) @ matrix[:3, :3]
    from_centre = np.linalg.norm(focal * seen[:, :2] / seen[:, 2:], axis=1)
    silhouette = focal * SPHERE / np.sqrt(eye @ eye - SPHERE**2)
    return corners(points[from_centre < silhouette - margin], SHAPE)


@pytest.mark.parametrize("resolution", [32, 64])
def test_a_sphere_gives_a_solid_half_shell(resolution):
    """From 12 directions, on every plane and slice: no pinhole where the sphere is well inside its silhouette (1.5
    pixels, less a texel's border), and nothing beyond a texel around the half that faces the camera.
    """
    views = [scenes.sphere_view(camera, resolution, SPHERE) for camera in DIRECTIONS]
    got = np.asarray(masks(batch=True)(*map(np.stack, zip(*views)), DIRECTIONS))
    assert got.shape == (12, *SHAPE) and got.dtype == np.float32 and set(np.unique(got)) == {0, 1}
    window = np.ones((1, 1, 3, 3))
    for (depth, weight), camera, mask in zip(views, DIRECTIONS, got):
        inner = ndimage.binary_erosion(half_shell(camera, resolution, margin=1.5), window)
        outer = ndimage.binary_dilation(half_shell(camera, resolution, margin=0.0), window)
        assert inner.any(axis=(1, 2, 3)).all() and not np.any(inner & (mask == 1))
        assert not np.any((mask == 0) & ~outer)
        # The far half of the sphere is hidden, but for its rim.
        assert np.mean(mask[corners(-unproject(depth, weight, camera), SHAPE)]) > 0.5


def test_vmap_is_a_loop():
    views = [scenes.sphere_view(camera, 32, SPHERE) for camera in DIRECTIONS[:4]]
    batch = masks(batch=True)(*map(np.stack, zip(*views)), DIRECTIONS[:4])
    for (depth, weight), camera, mask in zip(views, DIRECTIONS, batch):
        np.testing.assert_array_equal(mask, masks()(depth, weight, camera))
        np.testing.assert_array_equal(mask, masks()(depth[..., None], weight[..., None], camera))


def test_jit_is_eager_without_callbacks():
    depth, weight = map(jnp.asarray, scenes.sphere_view(DIRECTIONS[1], 32, SPHERE))
    eager = occlusion_mask(field(SHAPE), depth, weight, DIRECTIONS[1])
    np.testing.assert_array_equal(masks()(depth, weight, DIRECTIONS[1]), eager)
    program = str(jax.make_jaxpr(masks())(depth, weight, DIRECTIONS[1]))
    assert "callback" not in program and "infeed" not in program


@pytest.mark.parametrize("shape, depth_interpolation, texels", [(SHAPE, True, 8), ((3, 1, 64, 64), False, 4)])
def test_one_pixel_shows_what_its_lookup_reads(shape, depth_interpolation, texels):
    depth, weight = np.full((16, 16), 2.63, np.float32), np.zeros((16, 16), np.float32)
    weight[6, 9] = 1
    camera = look_at(0.4, 0.1)
    got = visible(depth, weight, camera, shape=shape, depth_interpolation=depth_interpolation)
    want = corners(unproject(depth, weight, camera), shape, depth_interpolation=depth_interpolation)
    assert want.sum() == 3 * texels
    np.testing.assert_array_equal(got, want)


def test_tri_planes_without_depth_interpolation():
    """D = 1: every point shows the four texels above it, however far from the plane."""
    shape = (3, 1, 64, 64)
    depth, weight = scenes.sphere_view(DIRECTIONS[1], 32, SPHERE)
    got = visible(depth, weight, DIRECTIONS[1], shape=shape, depth_interpolation=False)
    read = corners(unproject(depth, weight, DIRECTIONS[1]), shape, depth_interpolation=False)
    assert got[read].all() and 0.1 < got.mean() < 0.5
    grown = ndimage.binary_dilation(read, np.ones((1, 1, 5, 5)))
    assert not np.any(got & ~grown)


def test_no_foreground_hides_everything():
    depth = np.full((16, 16), 2.7, np.float32)
    assert not visible(depth, np.zeros((16, 16), np.float32), look_at(0.0)).any()
    assert not visible(np.full((16, 16), 9.0, np.float32), np.ones((16, 16), np.float32), look_at(0.0)).any()
    half = np.full((16, 16), 0.5, np.float32)
    assert not visible(depth, half, look_at(0.0)).any() and visible(depth, half, look_at(0.0), threshold=0.4).any()


def test_more_foreground_never_hides_a_texel():
    depth, _ = scenes.sphere_view(DIRECTIONS[2], 32, SPHERE)
    draws = np.random.RandomState(0).random_sample((32, 32))
    before = np.zeros(SHAPE, bool)
    for share in (0.05, 0.3, 0.6, 0.9, 1.0):
        now = visible(depth, (draws < share).astype(np.float32), DIRECTIONS[2])
        assert not np.any(before & ~now) and now.sum() > before.sum()
        before = now


def test_a_jump_of_depth_is_not_bridged():
    """Two walls, 40 cm apart in depth, side by side: the plane over x and z is empty between them."""
    depth, weight = np.full((32, 32), 2.5, np.float32), np.ones((32, 32), np.float32)
    depth[:, 16:] = 2.9
    over_x_and_z = visible(depth, weight, look_at(0.0))[1].any(axis=(0, 2))
    assert over_x_and_z[42:46].any() and over_x_and_z[17:22].any()  # z = 0.2 and -0.2
    assert not over_x_and_z[26:38].any()


def test_a_slope_is_bridged():
    depth = np.broadcast_to(np.linspace(2.5, 2.9, 32, dtype=np.float32), (32, 32))
    over_x_and_z = visible(depth, np.ones((32, 32), np.float32), look_at(0.0))[1].any(axis=0)
    columns = np.flatnonzero(over_x_and_z.any(axis=0))
    assert len(columns) > 30 and (np.diff(columns) == 1).all()
    assert over_x_and_z.any(axis=1)[20:43].all()
    gaps = ndimage.label(over_x_and_z, np.ones((3, 3)))[1]
    assert gaps == 1


def test_each_cell_keeps_a_point():
    """Runs of equal cells along rows and columns shrink, and none is lost."""
    cells = np.random.RandomState(0).randint(0, 40, (3, 12, 12)).repeat(3, axis=1).repeat(2, axis=2).astype(np.int32)
    left = np.asarray(_without_repeats(jnp.asarray(cells), 39))  # 39: none
    for before, after in zip(cells, left):
        assert set(after.ravel()) == set(before.ravel())
        assert np.sum(after != 39) <= np.sum(before != 39) / 6
    np.testing.assert_array_equal(left[left != 39], cells[left != 39])


def test_masks_of_rendered_heads():
    """The depth of `panojax.render`: what a view shows is near what its pixels read, and on the camera's side."""
    params = scenes.tiny_params()
    head = scenes.generate(params, np.ones(16, np.float32))
    mask = jax.jit(panojax.occlusion_mask)
    heights = []
    for camera in orbit(4)[::2]:
        view = scenes.render(params, head, camera)
        got = np.asarray(mask(params, view, camera))
        assert got.shape == params.config.generator.field.cells
        read = corners(unproject(view.depth, view.weight, camera), got.shape)
        assert read.any() and not np.any(got[read])
        heights.append(np.mean(np.nonzero(got[1] == 0)[1]))  # rows of the plane over x and z
    front, back = heights
    assert front > 7.5 + 2 and back < 7.5 - 2


def test_stitching():
    planes = [np.random.RandomState(i).standard_normal((2, 3, 1, 4, 4, 2)).astype(np.float32) for i in range(2)]
    seen, hidden = (panojax.Head(planes=p, ws=np.full((2, 5, 4), i)) for i, p in enumerate(planes))
    mask = (np.random.RandomState(2).random_sample((2, 3, 1, 4, 4)) > 0.5).astype(np.float32)
    texel = stitch(TriGrid(), seen, hidden, mask)
    np.testing.assert_array_equal(texel.planes, np.where(mask[..., None] == 1, planes[1], planes[0]))
    np.testing.assert_array_equal(texel.ws, seen.ws)
    assert texel.occluded_planes is None
    sample = stitch(TriGrid(), seen, hidden, mask, rule="sample")
    np.testing.assert_array_equal(sample.planes, np.where(mask[..., None] == 1, 0, planes[0]))
    np.testing.assert_array_equal(sample.occluded_planes, planes[1])
