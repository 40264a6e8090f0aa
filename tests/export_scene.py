"""A coloured ball whose pictures are known exactly, and slow readers' eyes: a ray caster and a splatter in NumPy."""

import functools

import jax.numpy as jnp
import numpy as np
import scenes

from panojax.camera import camera_rays, orbit
from panojax.export import Views, closed_surface
from panojax.export.mesh import surface_at
from panojax.generators.generator import Head

RADIUS = 0.28
GREY = 40


def colour(points):
    """Colours [M, 3] in [0, 255] of directions [M, 3]: every side has its own."""
    x, y, z = (points / np.linalg.norm(points, axis=-1, keepdims=True)).T
    return 127.5 + 90 * np.stack([np.sin(2 * x + z), np.cos(2 * y - x), np.sin(2 * z + 1.5 * y)], axis=-1)


def bar_params():
    """The solid tiny model, of fewer networks still: its heads are an upright bar, 0.4 wide and as high as the box."""
    return scenes.tiny_params(encoders=False, background=False, plane_resolution=8)


def bar_head():
    """A head of this model, drawn without its networks."""
    config, rng = bar_params().config.generator, np.random.default_rng(5)
    planes, ws = rng.normal(size=config.field.shape), rng.normal(size=(config.num_ws, config.w_dim))
    return Head(jnp.asarray(planes, jnp.float32), jnp.asarray(ws, jnp.float32))


def rays(label, side):
    """Origin [3] and unit directions [side * side, 3] through the pixel centres."""
    origins, directions = camera_rays(jnp.asarray(label), side)
    return np.asarray(origins[0], np.float64), np.asarray(directions, np.float64)


def ball_picture(label, side):
    """The exact picture uint8 [side, side, 3] of the ball before grey, and its opacity [side, side]."""
    depth, weight = scenes.sphere_view(label, side, RADIUS)
    origin, directions = rays(label, side)
    points = origin + depth.reshape(-1, 1) * directions
    image = np.where(weight.reshape(-1, 1) > 0, colour(points), GREY)
    return np.round(image).astype(np.uint8).reshape(side, side, 3), weight


@functools.cache
def ball_views(count=6, side=96, pitches=(-0.6, 0.6)):
    """Pictures of the ball on turns at each pitch in radians."""
    labels = np.concatenate([np.asarray(orbit(count, pitch=pitch)) for pitch in pitches])
    images, opacity = zip(*(ball_picture(label, side) for label in labels))
    return Views(labels, np.stack(images), np.stack(opacity))


@functools.cache
def ball_surface(resolution=28):
    """The ball by marching cubes."""
    index = np.stack(np.mgrid[:resolution, :resolution, :resolution], -1) - (resolution - 1) / 2
    step = 2.4 * RADIUS / resolution
    vertices, faces = surface_at(RADIUS / step - np.linalg.norm(index, axis=-1).astype(np.float32), 0.0)
    return closed_surface((vertices - (resolution - 1) / 2) * step, faces)


def cast(vertices, faces, label, side):
    """What each pixel's ray hits first: triangles [side * side], -1 for none, and barycentric coordinates [.., 3].

    Source: Moller and Trumbore, every ray against every triangle.
    """
    origin, directions = rays(label, side)
    a, b, c = (np.asarray(vertices, np.float64)[faces[:, corner]] for corner in range(3))
    edges, to_a = (b - a, c - a), origin - a
    q = np.cross(to_a, edges[0])
    face, barycentric = np.full(len(directions), -1), np.zeros((len(directions), 3))
    for start in range(0, len(directions), 512):
        some = directions[start : start + 512]
        p = np.cross(some[:, None], edges[1])
        scale = np.sum(edges[0] * p, -1)
        with np.errstate(divide="ignore", invalid="ignore"):
            u, v = np.sum(to_a * p, -1) / scale, some @ q.T / scale
            distance = np.sum(edges[1] * q, -1) / scale
        hit = (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (distance > 0) & (np.abs(scale) > 1e-14)
        first = np.where(hit, distance, np.inf).argmin(1)
        row = np.arange(len(some))
        face[start : start + 512] = np.where(hit[row, first], first, -1)
        u, v = u[row, first], v[row, first]
        barycentric[start : start + 512] = np.stack([1 - u - v, u, v], axis=-1)
    return face, barycentric


def splat(centres, covariances, colours, opacity, label, side, behind=GREY, low_pass=0.1):
    """A picture [side, side, 3] of Gaussians [K]: projected by the local affine map, blended from front to back.

    Source: EWA splatting, as in 3D Gaussian splatting, each Gaussian on every pixel within four deviations.
    """
    pose = np.linalg.inv(np.asarray(label[:16], np.float64).reshape(4, 4))
    focal = float(label[16]) * side
    points = centres @ pose[:3, :3].T + pose[:3, 3]
    picture, light = np.zeros((side, side, 3)), np.ones((side, side))
    for index in np.argsort(points[:, 2]):
        x, y, z = points[index]
        jacobian = np.array([[focal / z, 0, -focal * x / z**2], [0, focal / z, -focal * y / z**2]]) @ pose[:3, :3]
        covariance = jacobian @ covariances[index] @ jacobian.T + low_pass * np.eye(2)
        middle = focal * np.array([x, y]) / z + side / 2
        reach = 4 * np.sqrt(np.diag(covariance))
        low = np.clip(np.floor(middle - reach), 0, side).astype(int)
        high = np.clip(np.ceil(middle + reach), 0, side).astype(int)
        columns, rows = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
        offset = np.stack([columns, rows], -1) - middle
        power = np.einsum("...i,ij,...j->...", offset, np.linalg.inv(covariance), offset)
        alpha = np.minimum(opacity[index] * np.exp(-power / 2), 0.99)
        window = slice(low[1], high[1]), slice(low[0], high[0])
        picture[window] += (light[window] * alpha)[..., None] * colours[index]
        light[window] *= 1 - alpha
    return picture + light[..., None] * behind


def smooth_picture(label, side):
    """The exact picture [side, side, 3] of the ball, its rim smooth: the mean of 4 x 4 rays a pixel."""
    fine, _ = ball_picture(label, 4 * side)
    return fine.reshape(side, 4, side, 4, 3).mean((1, 3))
