"""A part of one head in another, where each texel's owner is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import two_balls
from two_balls import LEFT, RADIUS

import panojax
from panojax import api
from panojax.editing.region import soften
from panojax.encoders.encoder_config import light
from panojax.errors import InputError
from panojax.generators.generator import Head
from panojax.inversion.pipeline import Parts
from panojax.params import abstract_arrays

copy = jax.jit(functools.partial(panojax.edit, fuse=False, border=1))


@pytest.fixture(scope="module")
def region(params):
    return panojax.solid_region(params, LEFT.astype(np.float32), np.full(3, RADIUS, np.float32))


@pytest.fixture(scope="module")
def reference():
    """The left ball alone, larger, in other colours."""
    return two_balls.head(3.0, balls=(LEFT + 0.02,))


def test_a_part_is_copied_and_all_else_stays(params, head, reference, region):
    """Exactly the reference's texels inside, exactly the source's from two texels outside on, neither in between."""
    found = copy(params, head, reference, region)
    weights = np.broadcast_to(np.asarray(soften(region, 1))[:, None], found.planes.shape[:4])
    assert 0.01 < np.mean(weights == 1) < np.mean(weights > 0) < 0.5
    np.testing.assert_array_equal(found.planes[weights == 0], head.planes[weights == 0])
    np.testing.assert_array_equal(found.planes[weights == 1], reference.planes[weights == 1])
    between = np.asarray(found.planes[..., 1])[(weights > 0) & (weights < 1)]
    assert ((between > 1) & (between < 3)).all()
    np.testing.assert_array_equal(found.ws, head.ws)
    assert found.occluded_planes is None and found.background is None


def test_jit_is_eager_and_vmap_a_loop(params, head, reference, region):
    want = copy(params, head, reference, region)
    eager = panojax.edit(params, head, reference, region, fuse=False, border=1)
    np.testing.assert_allclose(eager.planes, want.planes, atol=1e-6)
    regions = jnp.stack([region, jnp.zeros_like(region)])
    several = jax.vmap(lambda region: copy(params, head, reference, region))(regions)
    np.testing.assert_array_equal(several.planes[0], want.planes)
    np.testing.assert_array_equal(several.planes[1], head.planes)


def test_heads_that_are_looked_up_twice(params, head, reference, region):
    """Of a source of two tri-grids both stay outside and both get the part; of a reference the whole is copied."""
    hole = head.planes.at[..., :16, :].set(0)
    source = Head(hole, head.ws, occluded_planes=head.planes + 2)
    found = copy(params, source, Head(0 * reference.planes, head.ws, occluded_planes=reference.planes), region)
    weights = np.broadcast_to(np.asarray(soften(region, 1))[:, None], found.planes.shape[:4])
    for name in ("planes", "occluded_planes"):
        ours, was = np.asarray(getattr(found, name)), np.asarray(getattr(source, name))
        np.testing.assert_array_equal(ours[weights == 0], was[weights == 0])
        np.testing.assert_array_equal(ours[weights == 1], np.asarray(reference.planes)[weights == 1])


def test_fusing_encodes_what_the_camera_shows_of_the_part(params, head, reference, region, monkeypatch):
    """With a stand-in for rendering and encoders: its texels come where the part is seen, and nowhere else."""
    camera = panojax.look_at(0.7)
    encoded = Head(jnp.full_like(head.planes, 7.0), head.ws)
    hidden = np.ones(head.planes.shape[:4], np.float32)
    hidden[:, 0] = 0  # seen: the first depth slice

    def render(_, blended, label):
        np.testing.assert_array_equal(label, camera)
        np.testing.assert_array_equal(blended.planes, plain.planes)
        return panojax.View(*[jnp.full((8, 8, 3), 1.5)] * 5)

    def invert(_, image, label, *, threshold, return_parts):
        assert float(image.max()) == 1 and threshold == 0.3 and return_parts
        np.testing.assert_array_equal(label, camera)
        return None, Parts(encoded, head, hidden)

    plain = copy(params, head, reference, region)
    monkeypatch.setattr(api, "render", render)
    monkeypatch.setattr(api, "invert", invert)
    config = panojax.Config(params.config.generator, light())
    both = params.replace(config=config)
    found = panojax.edit(both, head, reference, region, border=1, camera=camera, threshold=0.3)
    inside = np.asarray(region) == 1
    np.testing.assert_array_equal(np.asarray(found.planes)[:, 0][inside], 7)
    np.testing.assert_array_equal(found.planes[:, 1], plain.planes[:, 1])
    outside = np.asarray(soften(region, 1)) == 0
    np.testing.assert_array_equal(np.asarray(found.planes)[:, 0][outside], np.asarray(head.planes)[:, 0][outside])


def test_shapes_at_the_released_size():
    """A mask of 512 pixels from four sides, and a part copied."""
    config = panojax.Config(panojax.GeneratorConfig())
    params = panojax.Params(abstract_arrays(config)["generator"], config=config)
    planes, ws = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (config.generator.field.shape, (14, 512)))

    def transfer(params, head, masks, cameras):
        region = panojax.find_region(params, head, masks, cameras)
        return region, panojax.edit(params, head, head, region, fuse=False)

    views = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((4, 512, 512), (4, 25)))
    region, found = jax.eval_shape(transfer, params, Head(planes, ws), *views)
    assert region.shape == (3, 256, 256) and found.planes.shape == (3, 3, 256, 256, 32)


def test_bad_input_is_named(params, head, reference, region):
    edit = functools.partial(panojax.edit, params)
    for call, message in (
        (lambda: edit(head, reference, 0 * region), "region must hold at least one texel, got an empty one"),
        (lambda: edit(head, reference, region[:2]), r"region must be floats \[3, 32, 32\], got float32 \(2, 32, 32\)"),
        (lambda: edit(head, reference, region), "fuse needs a model with two encoders, got a generator alone"),
        (lambda: edit(head, reference, region, border=-1, fuse=False), "border must be 0 texels or more, got -1"),
        (
            lambda: edit(head, reference.replace(planes=head.planes[..., :2]), region),
            r"reference.planes must be floats \[3, 2, 32, 32, 4\], got float32 \(3, 2, 32, 32, 2\)",
        ),
        (lambda: edit(head.replace(ws=head.ws[:, :3]), reference, region), r"source.ws must be floats \[any, 16\]"),
    ):
        with pytest.raises(InputError, match=message):
            call()
