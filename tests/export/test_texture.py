"""Baked textures: the layout's texels, and a .glb read back by pygltflib and looked at by a ray caster."""

import io
import sys

import numpy as np
import pygltflib
import pytest
import scenes
import trimesh
from export_scene import ball_picture, ball_surface, ball_views, cast
from PIL import Image

from panojax.camera import look_at
from panojax.errors import InputError
from panojax.export import Views, bake_texture, shown_surface, simplify, write_obj, write_textured
from panojax.export.colours import sample_picture
from panojax.export.mesh import Mesh
from panojax.export.texture import fill, texels, unwrap


def test_texels_of_a_square_of_two_triangles():
    uv = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    faces = np.array([[0, 1, 2], [0, 3, 2]])  # one of them turns the other way round
    rows, columns, face, barycentric = texels(uv, faces, 6, 8)
    assert sorted(zip(rows, columns)) == [(r, c) for r in range(6) for c in range(8)]
    found = np.einsum("mk,mki->mi", barycentric, uv[faces[face]])
    np.testing.assert_allclose(found, np.stack([(columns + 0.5) / 8, (rows + 0.5) / 6], -1), atol=1e-12)
    assert barycentric.min() > -1e-9


def test_texels_of_flat_triangles_and_of_none():
    uv = np.array([[0.0, 0], [1, 1], [0.5, 0.5], [0.51, 0.51], [0.52, 0.51], [0.52, 0.52]])
    rows, *_ = texels(uv, np.array([[0, 1, 2], [3, 4, 5]]), 4, 4)
    assert len(rows) == 0


def read_glb(path):
    """Positions, faces, uv and texture of a .glb, by pygltflib and the glTF 2.0 specification."""
    file = pygltflib.GLTF2().load(str(path))
    [primitive] = file.meshes[0].primitives
    blob = file.binary_blob()

    def view(index):
        part = file.bufferViews[index]
        return blob[part.byteOffset : part.byteOffset + part.byteLength]

    def accessor(index):
        record = file.accessors[index]
        kind = {pygltflib.FLOAT: np.float32, pygltflib.UNSIGNED_INT: np.uint32}[record.componentType]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[record.type]
        data = np.frombuffer(view(record.bufferView)[record.byteOffset or 0 :], kind, record.count * width)
        return data.reshape(-1, width)

    material = file.materials[primitive.material]
    texture = file.textures[material.pbrMetallicRoughness.baseColorTexture.index]
    image = Image.open(io.BytesIO(view(file.images[texture.source].bufferView)))
    assert material.extensions == {"KHR_materials_unlit": {}}
    assert "KHR_materials_unlit" in file.extensionsUsed
    attributes = primitive.attributes
    return (
        accessor(attributes.POSITION),
        accessor(primitive.indices).reshape(-1, 3).astype(int),
        accessor(attributes.TEXCOORD_0),
        accessor(attributes.NORMAL),
        np.asarray(image.convert("RGB")),
    )


@pytest.fixture(scope="module")
def baked():
    ball = ball_surface()
    mesh = Mesh(
        ball.vertices.astype(np.float32), ball.faces.astype(np.int32), np.zeros((len(ball.vertices), 3), np.uint8), 0
    )
    return bake_texture(simplify(mesh, 700), ball_views(), size=160)


def test_glb_looks_like_the_pictures(baked, tmp_path):
    write_textured(baked, tmp_path / "ball.glb")
    positions, faces, uv, normals, texture = read_glb(tmp_path / "ball.glb")
    assert np.sum(positions * normals, -1).min() > 0
    assert uv.min() >= 0 and uv.max() <= 1
    for yaw, pitch in ((0.4, 0.2), (3.3, -0.5)):  # between the cameras that the texture is from
        label = np.asarray(look_at(yaw, pitch))
        expected, weight = ball_picture(label, 48)
        face, barycentric = cast(positions, faces, label, 48)
        hit = face >= 0
        assert np.mean(hit == (weight.ravel() > 0)) > 0.98  # triangles cut the rim
        at = np.einsum("mk,mki->mi", barycentric[hit], uv[faces[face[hit]]].astype(float))
        both = weight.ravel()[hit] > 0
        got = sample_picture(texture, at)[both]
        assert scenes.psnr(got, expected.reshape(-1, 3)[hit][both], span=255) > 45


def test_texture_is_filled_beside_the_charts(baked):
    assert baked.seen > 0.98
    # The ball has no dark colours, and an unfilled texel would be black.
    assert baked.texture.min() > 30


def test_little_of_a_texture_is_filler():
    """As of a head whose shoulders lie below the pictures: only what they show is laid out, and charts fill most."""
    views = ball_views()
    some = Views(views.labels[:2], views.images[:2], views.opacity[:2])
    whole = simplify(ball_surface(), 700)
    shown = simplify(shown_surface(ball_surface(), some), 700)
    filler = [1 - bake_texture(surface, some, size=160).seen for surface in (whole, shown)]
    assert filler[0] > 0.3 and filler[1] < 0.02
    _, faces, uv, (height, width) = unwrap(shown, 512)
    rows, *_ = texels(uv, faces, height, width)
    assert len(rows) / (height * width) > 0.5
    corners = uv[faces] * (width, height)
    sides, world = corners[:, 1:] - corners[:, :1], shown.vertices[shown.faces]
    flat = np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0])
    round_ = np.linalg.norm(np.cross(world[:, 1] - world[:, 0], world[:, 2] - world[:, 0]), axis=-1)
    stretch = flat / round_ / (flat.sum() / round_.sum())
    assert np.quantile(stretch, 0.05) > 0.5 and np.quantile(stretch, 0.95) < 2


def test_refuses(baked, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"must end in \.glb"):
        write_textured(baked, tmp_path / "ball.obj")
    with pytest.raises(InputError, match="64 to 8192 texels a side, got 9"):
        bake_texture(ball_surface(), ball_views(), size=9)
    (tmp_path / "a.glb").write_text("mine")
    with pytest.raises(InputError, match="must not exist yet"):
        write_textured(baked, tmp_path / "a.glb")
    monkeypatch.setitem(sys.modules, "xatlas", None)
    with pytest.raises(InputError, match=r"pip install 'panojax\[export\]'"):
        bake_texture(ball_surface(), ball_views())
    assert [path.name for path in tmp_path.iterdir()] == ["a.glb"]


def test_obj_is_the_glb_in_three_files(baked, tmp_path):
    write_obj(baked, tmp_path / "ball.obj")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ball.mtl", "ball.obj", "ball.png"]
    shape = trimesh.load(tmp_path / "ball.obj", process=False)
    np.testing.assert_allclose(shape.vertices, baked.vertices, atol=1e-5)
    np.testing.assert_array_equal(shape.faces, baked.faces)
    np.testing.assert_allclose(shape.visual.uv, np.stack([baked.uv[:, 0], 1 - baked.uv[:, 1]], -1), atol=1e-5)
    np.testing.assert_array_equal(np.asarray(shape.visual.material.image.convert("RGB")), baked.texture)
    with pytest.raises(InputError, match="must not exist yet"):
        write_obj(baked, tmp_path / "ball.obj")
    with pytest.raises(InputError, match=r"must end in \.obj"):
        write_obj(baked, tmp_path / "ball.glb")


def test_fill_goes_on_smoothly_and_keeps_what_is_known():
    rows, columns = np.mgrid[:37, :50]
    ramp = np.stack([rows, columns, rows + columns], -1).astype(np.float32)
    known = (rows % 12 < 3) | (columns % 9 < 2)
    found = fill(np.where(known[..., None], ramp, 0), known)
    np.testing.assert_array_equal(found[known], ramp[known])
    assert np.abs(found - ramp).max() < 6 and np.abs(np.diff(found, axis=0)).max() < 6
    np.testing.assert_array_equal(fill(ramp, np.zeros((37, 50), bool)), ramp)
