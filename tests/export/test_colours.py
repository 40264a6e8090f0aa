"""Colours gathered by visibility, against a ball whose pictures are exact."""

import dataclasses

import numpy as np
import pytest
from export_scene import RADIUS, ball_surface, ball_views, colour

from panojax.camera import look_at
from panojax.errors import InputError
from panojax.export import closed_surface, gather_colours, sample_surface, shown_surface
from panojax.export.colours import sample_picture


def test_colours_of_the_ball():
    points, normals = sample_surface(ball_surface(), 2000)
    found, seen = gather_colours(ball_surface(), points, normals, ball_views())
    error = np.abs(found - colour(points))
    assert seen.all()
    # Half a pixel is 1.7 of 255 where the colours change fastest, and the mesh lies a little inside the ball.
    assert np.median(error) < 1 and np.quantile(error, 0.99) < 4


def test_what_no_picture_shows_takes_the_nearest_colour():
    views = ball_views()
    front = dataclasses.replace(views, labels=views.labels[:1], images=views.images[:1], opacity=views.opacity[:1])
    points, normals = sample_surface(ball_surface(), 2000)
    found, seen = gather_colours(ball_surface(), points, normals, front)
    towards = points @ np.array(views.labels[0, [3, 7, 11]]) / RADIUS / 2.7
    assert seen[towards > 0.35].all() and not seen[towards < 0.1].any()
    rim = colour(points[seen & (towards < 0.4)])
    hidden = found[towards < -0.2]
    assert (hidden >= rim.min(0) - 25).all() and (hidden <= rim.max(0) + 25).all()


def test_what_no_picture_shows_is_left_away():
    """The ball from the front is half a ball; a crease stays, and from all around nothing goes."""
    ball, views = ball_surface(), ball_views()
    front = dataclasses.replace(views, labels=views.labels[:1], images=views.images[:1], opacity=views.opacity[:1])
    half = shown_surface(ball, front)
    towards = half.vertices @ np.array(views.labels[0, [3, 7, 11]]) / RADIUS / 2.7
    assert 0 < towards.min() < 0.35 and 0.3 < half.areas.sum() / ball.areas.sum() < 0.5
    points, normals = sample_surface(half, 2000)
    _, seen = gather_colours(half, points, normals, front)
    assert seen.mean() > 0.99
    assert len(shown_surface(ball, views).faces) == len(ball.faces)
    blind = views.opacity[:1].copy()
    side = blind.shape[-1]
    blind[0, side // 2 : side // 2 + 2, side // 2 : side // 2 + 2] = 0  # a few triangles of which nothing is known
    holed = shown_surface(ball, dataclasses.replace(front, opacity=blind))
    assert len(holed.faces) == len(half.faces)
    nothing = dataclasses.replace(front, opacity=0 * blind + np.float32(1e-9) * (blind > 2))
    with pytest.raises(InputError, match="views must show the surface, got none that does"):
        shown_surface(ball, nothing)


def test_a_point_behind_another_part_takes_no_colour_from_it():
    """A small ball between the camera and a large one: the picture shows red there, the large ball is not red."""
    ball = ball_surface()
    small = (ball.vertices * 0.3) + (0, 0, 0.5)
    both = closed_surface(np.concatenate([ball.vertices, small]), np.concatenate([ball.faces, ball.faces + len(small)]))
    label = np.asarray(look_at(0.0))
    image = np.full((64, 64, 3), (0, 0, 200), np.uint8)
    columns, rows = np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5)
    covered = np.hypot(columns - 32, rows - 32) < 64 * float(label[16]) * 0.3 * RADIUS / (2.7 - 0.5)
    image[covered] = (200, 0, 0)
    views = dataclasses.replace(
        ball_views(), labels=label[None], images=image[None], opacity=np.ones((1, 64, 64), np.float32)
    )
    points, normals = sample_surface(ball, 3000)
    found, seen = gather_colours(both, points, normals, views)
    shadow = (np.hypot(points[:, 0], points[:, 1]) < 0.07) & (points[:, 2] > 0)
    lit = (np.hypot(points[:, 0], points[:, 1]) > 0.12) & (points[:, 2] > 0.1)
    assert shadow.sum() > 40 and not seen[shadow].any()
    assert seen[lit].all()
    # The picture's pixels on the small ball's edge are between red and blue.
    assert found[lit, 0].max() < 1 and found[:, 0].max() < 100


def test_pixels_of_the_background_hardly_count():
    """Where opacity is low, the other pictures decide."""
    views = ball_views()
    images, opacity = views.images.copy(), views.opacity.copy()
    images[0], opacity[0] = 255, 0.2 * opacity[0]
    points, normals = sample_surface(ball_surface(), 1000)
    found, _ = gather_colours(
        ball_surface(), points, normals, dataclasses.replace(views, images=images, opacity=opacity)
    )
    assert np.abs(found - colour(points)).max() < 8


def test_bilinear_samples():
    picture = np.arange(12.0).reshape(3, 4, 1)
    at = np.array([[0.125, 0.5 / 3], [0.25, 0.5 / 3], [0.375, 0.5], [0.999, 0.999]])
    np.testing.assert_allclose(sample_picture(picture, at)[:, 0], [0, 0.5, 5, 11], atol=1e-6)


def test_refuses_views_of_something_else():
    views = ball_views()
    nothing = dataclasses.replace(views, opacity=np.zeros_like(views.opacity))
    points, normals = sample_surface(ball_surface(), 10)
    with pytest.raises(InputError, match="views must show the surface"):
        gather_colours(ball_surface(), points, normals, nothing)
