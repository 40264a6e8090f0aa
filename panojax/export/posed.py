"""Pictures with their cameras as other programs read them: nerfstudio's transforms.json, COLMAP's text files."""

import json
import math
import os
import pathlib

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.spatial.transform import Rotation

from panojax.errors import InputError
from panojax.export.splats import ply_bytes
from panojax.export.views import Views, world_to_camera
from panojax.files.image_file import write_image
from panojax.terminal.bars import bar

# From OpenCV's camera axes (x right, y down, z forward) to OpenGL's (x right, y up, z backward).
TO_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
# The least opacity at which a pixel tells the head's colour, before a known background and before another one.
FEW, MOST = 0.4, 0.9


def write_transforms(
    folder: str | os.PathLike, views: Views, points: np.ndarray, colours: np.ndarray, *, progress: bool = False
) -> None:
    """Writes a data set for nerfstudio and instant-ngp: transforms.json, points.ply and images/0000.png, ...

    A frame's `transform_matrix` is cam2world with OpenGL's camera axes; the world stays as it is (y up, the face looks
    along +z, a unit box around the origin). Intrinsics are in pixels, with pixel centres at halves. Pictures are RGBA,
    not premultiplied; alpha is the head's opacity. points.ply is a start for splatting.

    Args:
      folder: holds no such files yet.
      points: [M, 3] on the surface, in world units; colours [M, 3] in [0, 255].
      progress: show a bar on stderr.

    Raises:
      InputError: the files exist, or cameras have several intrinsics, or oblique pixels.
    """
    folder, side = pathlib.Path(folder), views.images.shape[1]
    fx, fy, cx, cy = _shared_lens(views)
    names = _write_pictures(folder / "images", views, progress)
    frames = [
        {"file_path": f"images/{name}", "transform_matrix": opengl_matrix(label).tolist()}
        for name, label in zip(names, views.labels)
    ]
    record = {
        "camera_model": "OPENCV",
        "w": side,
        "h": side,
        "fl_x": fx * side,
        "fl_y": fy * side,
        "cx": cx * side,
        "cy": cy * side,
        **dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0),
        "camera_angle_x": 2 * math.atan(0.5 / fx),
        "camera_angle_y": 2 * math.atan(0.5 / fy),
        "aabb_scale": 1,
        "up": [0, 1, 0],
        "ply_file_path": "points.ply",
        "frames": frames,
    }
    columns = dict(zip("xyz", points.T)) | dict(zip(("red", "green", "blue"), _bytes(colours).T))
    (folder / "points.ply").write_bytes(ply_bytes(columns))
    (folder / "transforms.json").write_text(json.dumps(record, indent=1) + "\n")


def write_colmap(
    folder: str | os.PathLike, views: Views, points: np.ndarray, colours: np.ndarray, *, progress: bool = False
) -> None:
    """Writes a COLMAP model as text: sparse/0/{cameras,images,points3D}.txt and images/0000.png, ...

    One PINHOLE camera in pixels, with pixel centres at halves; poses world to camera in OpenCV's axes, rotations as
    quaternions (w, x, y, z). Points have no observations, errors are 0. Pictures are RGBA as in `write_transforms`.

    Args, errors: as in `write_transforms`.
    """
    folder, side = pathlib.Path(folder), views.images.shape[1]
    lens = " ".join(_text(value * side) for value in _shared_lens(views))
    names = _write_pictures(folder / "images", views, progress)
    images = []
    for number, (name, label) in enumerate(zip(names, views.labels), 1):
        rotation, translation = world_to_camera(label)
        quaternion = Rotation.from_matrix(rotation).as_quat(scalar_first=True, canonical=True)
        pose = " ".join(_text(value) for value in (*quaternion, *translation))
        images += [f"{number} {pose} 1 {name}", ""]
    dots = [
        f"{number} {' '.join(_text(value) for value in point)} {' '.join(map(str, colour))} 0"
        for number, (point, colour) in enumerate(zip(points.tolist(), _bytes(colours).tolist()), 1)
    ]
    model = folder / "sparse" / "0"
    model.mkdir(parents=True, exist_ok=True)
    _write_lines(model / "cameras.txt", "CAMERA_ID MODEL WIDTH HEIGHT FX FY CX CY", [f"1 PINHOLE {side} {side} {lens}"])
    _write_lines(model / "images.txt", "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then its points", images)
    _write_lines(model / "points3D.txt", "POINT3D_ID X Y Z R G B ERROR", dots)


def opengl_matrix(label: np.ndarray) -> np.ndarray:
    """cam2world [4, 4] of a camera label [25] with OpenGL's camera axes."""
    return np.asarray(label[:16], np.float64).reshape(4, 4) @ TO_OPENGL


def rgba(image: np.ndarray, opacity: np.ndarray, background: float | None = None) -> np.ndarray:
    """A picture uint8 [H, H, 3] with an opacity [R, R] as its alpha, and the head's own colours: uint8 [H, H, 4].

    See `straight_colours`.
    """
    alpha = Image.fromarray(opacity.astype(np.float32)).resize(image.shape[1::-1], Image.Resampling.BILINEAR)
    alpha = np.clip(np.asarray(alpha), 0, 1)
    colours = straight_colours(image.astype(np.float32), alpha, background)
    return np.round(np.concatenate([colours, 255 * alpha[..., None]], axis=-1)).astype(np.uint8)


def straight_colours(image: np.ndarray, alpha: np.ndarray, background: float | None) -> np.ndarray:
    """The colours of what is before a background, not mixed with it: c of c alpha + background (1 - alpha).

    Where alpha is too low to tell, or the background is not known, pixels take the nearest colour that is.

    Args:
      image: [H, W, 3] in [0, 255]; alpha [H, W] in [0, 1].
      background: its colour, or None.
    """
    known = alpha >= (FEW if background is not None else MOST) * min(1.0, float(alpha.max()))
    if not known.any() or alpha.max() <= 0:
        return image
    colours = image
    if background is not None:
        share = np.maximum(alpha, 1e-3)[..., None]
        colours = np.clip((image - background * (1 - share)) / share, 0, 255)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return colours[tuple(nearest)]


def _write_pictures(folder: pathlib.Path, views: Views, progress: bool) -> list[str]:
    """Writes the pictures and gives their names."""
    names = [f"{number:04d}.png" for number in range(len(views.images))]
    shown = bar(names, desc="pictures", hidden=not progress)
    for name, image, opacity in zip(shown, views.images, views.opacity):
        write_image(folder / name, rgba(image, opacity, views.background))
    return names


def _shared_lens(views: Views) -> tuple[float, float, float, float]:
    """Focal lengths and principal point of all cameras, in units of the picture's side."""
    lenses = np.asarray(views.labels[:, 16:], np.float64).reshape(-1, 3, 3)
    if np.abs(lenses - lenses[0]).max() > 1e-6 or abs(lenses[0, 0, 1]) > 1e-6:
        raise InputError("cameras must share their intrinsics and have no skew, got others")
    lens = lenses[0]
    return float(lens[0, 0]), float(lens[1, 1]), float(lens[0, 2]), float(lens[1, 2])


def _write_lines(path: pathlib.Path, title: str, lines: list[str]) -> None:
    path.write_text("\n".join([f"# {title}", *lines, ""]))


def _bytes(colours: np.ndarray) -> np.ndarray:
    return np.round(np.clip(colours, 0, 255)).astype(np.uint8)


def _text(value: float) -> str:
    return f"{value + 0.0:.9g}"  # no -0
