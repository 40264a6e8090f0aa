"""What a viewer shows: pictures against direct renderings, edits against the generator, files read back."""

import dataclasses
import io

import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from PIL import Image

import panojax
from panojax.editing.directions import read_directions
from panojax.errors import InputError
from panojax.generators.generator import Head
from panojax.inversion.pipeline import Parts
from panojax.viewer.picture import TINT, TINT_STRENGTH, compose
from panojax.viewer.quality import Quality
from panojax.viewer.scene import Panel, Request
from panojax.viewer.subjects import STITCHED, edited, from_photo, move_head

FULL, COARSE = Quality(16, True), Quality(16, False)
FRONT, BACK = (np.asarray(panojax.look_at(yaw)) for yaw in (0.0, np.pi))
ONE, OTHER = Panel(0, STITCHED), Panel(1, STITCHED)


def request(camera=FRONT, panels=(ONE,), **options):
    return Request(camera=tuple(camera.tolist()), aspect=options.pop("aspect", 1.0), panels=panels, **options)


def test_titles(scene):
    assert scene.panels() == {ONE: "seed 1", OTHER: "kept"}
    parts = dataclasses.replace(scene.subjects[0], heads={"stitched": None, "E1, visible": None})
    both = type(scene)(scene.params, [parts, scene.subjects[1]])
    assert list(both.panels().values()) == ["seed 1: stitched", "seed 1: E1, visible", "kept"]


@pytest.mark.parametrize("quality", [COARSE, FULL])
def test_pictures_show_the_bar(scene, quality):
    """Beside it, where there is nothing, one colour; on it, the head's, others in front than behind."""
    front, back = (scene.picture(request(camera, (OTHER,)), quality).astype(int) for camera in (FRONT, BACK))
    assert front.shape == (128, 128, 3)
    side, middle = (slice(24, 104), slice(0, 12)), (slice(24, 104), slice(40, 88))
    assert front[side].std((0, 1)).max() < 2
    assert front[middle].std((0, 1)).max() > 5
    assert np.abs(front - back)[side].max() < 4 and np.abs(front - back)[middle].mean() > 1


def test_side_by_side(scene):
    row = scene.picture(request(panels=(ONE, OTHER), aspect=3.0), COARSE)
    assert row.shape == (128, 384, 3)
    left, right = (scene.picture(request(panels=(panel,)), COARSE) for panel in (ONE, OTHER))
    np.testing.assert_array_equal(row[40:, 32:160], left[40:])  # below the titles
    np.testing.assert_array_equal(row[40:, 224:352], right[40:])
    assert (row[:, :32] == 255).all()


def test_narrow_windows_show_whole_pictures():
    red = np.full((8, 8, 3), (255, 0, 0), np.uint8)
    window = compose([red], ["title"], 0.5, 32)
    assert window.shape == (64, 32, 3)
    assert (window[16:48] == (255, 0, 0)).all() and (window[:16] == 255).all() and (window[48:] == 255).all()


def test_stale_requests_are_not_drawn(scene):
    assert scene.picture(request(), FULL, stale=lambda: True) is None


def test_tint_is_on_the_side_that_the_photo_hides(scene):
    """Nothing in front, nearly all of the bar behind, and never the background."""
    for camera, low, high in ((FRONT, 0.0, 0.25), (BACK, 0.75, 1.0)):
        plain, tinted = (scene.picture(request(camera, (OTHER,), tint=tint), COARSE) for tint in (False, True))
        red = 127.5 + 127.5 * np.array(TINT)
        share = np.linalg.norm(tinted - plain.astype(float), axis=-1) / np.linalg.norm(red - plain, axis=-1)
        assert low <= np.median(share[40:88, 48:80]) / TINT_STRENGTH <= high
        assert share[:, :8].max() < 0.02


def test_truncation_makes_the_head_again(params, scene):
    before, after = (edited(params, scene.subjects[0], part, {}, {}).heads[STITCHED] for part in (0.7, 0.2))
    average = params.generator["constants"]["backbone.mapping"]["w_avg"]
    np.testing.assert_allclose((after.ws - average) / 0.2, (before.ws - average) / 0.7, atol=1e-4)
    np.testing.assert_allclose(before.planes, scene.subjects[0].heads[STITCHED].planes, atol=1e-5)
    kept = edited(params, scene.subjects[1], 0.2, scene.directions, {"smile": 0.0})
    assert kept.heads[STITCHED] is scene.subjects[1].heads[STITCHED]


def test_directions_move_a_generated_head_as_the_generator_does(params, scene):
    """From one truncation to another along a direction: the head that is generated there."""
    before, after = (edited(params, scene.subjects[0], part, {}, {}).heads[STITCHED] for part in (0.7, 0.2))
    direction = {"home": np.asarray(before.ws - after.ws) / 2}
    found = edited(params, scene.subjects[0], 0.7, direction, {"home": -2.0}).heads[STITCHED]
    for name in ("ws", "planes"):
        np.testing.assert_allclose(getattr(found, name), getattr(after, name), atol=1e-4)


def test_moving_keeps_what_encoders_added_and_zeros_of_stitched_heads(params, scene):
    plain = scene.subjects[0].heads[STITCHED]
    step = jnp.asarray(scene.directions["smile"])
    moved = move_head(scene.params, plain, step)
    offset = jnp.ones_like(plain.planes)
    hole = plain.planes.at[:, :, :4].set(0) + offset.at[:, :, :4].set(0)
    stitched = Head(hole, plain.ws, occluded_planes=plain.planes + 2)
    both = move_head(scene.params, stitched, step)
    np.testing.assert_allclose(both.planes[:, :, 4:], moved.planes[:, :, 4:] + 1, atol=1e-4)
    assert not both.planes[:, :, :4].any()
    np.testing.assert_allclose(both.occluded_planes, moved.planes + 2, atol=1e-4)


def test_photos_keep_both_encoders_heads(params, monkeypatch):
    def invert(params, image, camera, *, stitching, return_parts):
        assert stitching == "sample" and return_parts
        heads = [Head(planes=image + i, ws=camera) for i in range(3)]
        return heads[0], Parts(heads[1], heads[2], mask=image[..., 0])

    monkeypatch.setattr("panojax.api.invert", invert)
    subject = from_photo(params, np.zeros((4, 4, 3), np.float32), BACK, "me", stitching="sample")
    assert list(subject.heads) == ["stitched", "E1, visible", "E2, occluded"]
    assert [float(head.planes.max()) for head in subject.heads.values()] == [0, 1, 2]
    assert subject.mask.shape == (4, 4) and subject.z is None
    np.testing.assert_array_equal(subject.camera, BACK)


def test_snapshot_turntable_and_mesh(scene):
    both = request(panels=(ONE, OTHER), aspect=1.7)
    snapshot = np.asarray(Image.open(io.BytesIO(scene.snapshot(both))))
    assert snapshot.shape == (128, 256, 3)
    np.testing.assert_array_equal(snapshot[:, 128:][40:], scene.picture(request(panels=(OTHER,)), FULL)[40:])
    parts = []
    video = scene.turntable(both, 3, 10, parts.append)
    assert video[4:8] == b"ftyp" and parts == [1 / 3, 2 / 3, 1]
    mesh = trimesh.load(io.BytesIO(scene.mesh(both)), file_type="glb", force="mesh")
    np.testing.assert_allclose(np.abs(mesh.vertices).max(0), (0.2, 0.5, 0.2), atol=0.04)


def test_directions_are_read(params, tmp_path):
    shape = (params.config.generator.num_ws, params.config.generator.w_dim)
    np.savez(tmp_path / "a.npz", age=np.ones(shape[1]), hair=np.ones(shape, np.float32))
    found = read_directions(tmp_path / "a.npz", params)
    assert list(found) == ["age", "hair"]
    assert all(array.shape == shape and array.dtype == np.float32 for array in found.values())


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "1 to 64 arrays, .* has 0"),
        ({"age": np.ones(3)}, r"has age: float64 \[3\]"),
        ({"age": np.ones(24, int)}, "has age: int64"),
        ({"age": np.full(24, np.nan)}, "finite"),
    ],
)
def test_directions_that_do_not_fit(params, tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=message):
        read_directions(tmp_path / "a.npz", params)


def test_no_directions_at_all(params, tmp_path):
    with pytest.raises(InputError, match=r"directions must be an .npz file"):
        read_directions(tmp_path / "none.npz", params)
    (tmp_path / "a.npz").write_text("hello")
    with pytest.raises(InputError, match=r"directions must be an .npz file"):
        read_directions(tmp_path / "a.npz", params)
