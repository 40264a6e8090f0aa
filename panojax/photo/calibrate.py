"""Where the numbers of `pose.py` and `framing.py` come from; run it again to fit other data.

python -m panojax.photo.calibrate face PHOTO... --out face.npz    # the mean face of these photos
python -m panojax.photo.calibrate framing DIR [--distance MM]     # the framing of DIR/dataset.json's crops
python -m panojax.photo.calibrate check DIR [--framing heads]     # how far `align` is from DIR/dataset.json
"""

import argparse
import json
import math
import pathlib
import sys

import numpy as np
import tqdm
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

from panojax.files.image_file import read_image
from panojax.photo.crop import Square
from panojax.photo.detect import choose_face, detect_faces
from panojax.photo.framing import HEADS, PANOHEAD, Framing, label_angles, square_and_camera
from panojax.photo.pose import DEPTH, OUTER_EYE_LEFT, OUTER_EYE_RIGHT, HeadPose, face_mesh, fit_pose, similarity
from panojax.terminal.process import run_process

PUPILS_MM = 63.0
INNER_EYE_LEFT, INNER_EYE_RIGHT = 133, 362
FOREHEAD, CHIN = 10, 152


def mean_of_meshes(meshes: np.ndarray, rounds: int = 10) -> np.ndarray:
    """The mean face [468, 3] of meshes [n, 468, 3] as `face_mesh` gives them: aligned to each other, made symmetric.

    Its origin is the mean of its points, x goes from eye to eye, y through forehead and chin, and its pupils (the
    middles between the corners of each eye) are 63 mm apart.
    """
    meshes = np.asarray(meshes, np.float64) * (1, -1, -DEPTH)  # y up, z out of the picture
    mean = meshes[0] - meshes[0].mean(0)
    for _ in range(rounds):
        fits = [similarity(mean, mesh) for mesh in meshes]
        mean = np.mean(
            [(mesh - shift) / scale @ rotation for mesh, (rotation, scale, shift) in zip(meshes, fits)], axis=0
        )
        mean -= mean.mean(0)
    mean = mean @ _axes(mean).T
    mirrored = mean * (-1, 1, 1)
    _, partner = linear_sum_assignment(((mean[:, None] - mirrored) ** 2).sum(-1))
    for _ in range(rounds):
        mean = (mean + mirrored[partner]) / 2
        mean = (mean - mean.mean(0)) @ _axes(mean).T
        mirrored = mean * (-1, 1, 1)
    pupils = [mean[[a, b]].mean(0) for a, b in ((OUTER_EYE_LEFT, INNER_EYE_LEFT), (OUTER_EYE_RIGHT, INNER_EYE_RIGHT))]
    return mean * (PUPILS_MM / np.linalg.norm(pupils[1] - pupils[0]))


def fit_framing(
    poses: list[HeadPose], cameras: np.ndarray, squares: list[Square], *, distance: float = math.inf
) -> tuple[Framing, dict[str, float]]:
    """The framing of pictures whose crop and camera are known.

    Args:
      poses: of each picture's head.
      cameras: labels [n, 25], all of the same radius and focal length.
      squares: what each label's crop shows, in the pixels of `poses`.
      distance: see `Framing`; it cannot be told from these.

    Returns:
      framing: by least squares (centre), medians (across) and the mean rotation (tilt).
      residuals: medians over the pictures: `centre` and `scale` as shares of the crop, `tilt` in degrees.
    """
    matrices = np.asarray(cameras, np.float64)[:, :16].reshape(-1, 4, 4)
    estimated = np.stack([pose.rotation for pose in poses])
    turn = Rotation.from_matrix(estimated.transpose(0, 2, 1) @ matrices[:, :3, :3].transpose(0, 2, 1))
    tilts = turn.as_rotvec(degrees=True)[:, 0]
    tilt = float(turn.mean().as_rotvec(degrees=True)[0])

    sides = np.array([square.side for square in squares])
    scales = np.array([pose.scale for pose in poses])
    middles = np.array([(square.x, square.y) for square in squares]) - np.array([pose.face for pose in poses])
    shares = (
        (scales / sides)[:, None, None] * estimated[:, :2, 1:] * (1, -1)
    )  # of the crop, for a millimetre above, behind
    (above, behind), *_ = np.linalg.lstsq(shares.reshape(-1, 2), (middles / sides[:, None]).ravel(), rcond=None)
    off = shares @ (above, behind) - middles / sides[:, None]
    depth = estimated[:, 2, 1:] @ (above, -behind)
    across = sides / (scales * (1 - depth / distance))
    framing = Framing(
        across=float(np.median(across)),
        above=float(above),
        behind=float(behind),
        tilt=tilt,
        distance=distance,
        radius=float(np.median(np.linalg.norm(matrices[:, :3, 3], axis=1))),
        focal=float(np.median(np.asarray(cameras)[:, 16])),
    )
    residuals = {
        "centre": float(np.median(np.linalg.norm(off, axis=1))),
        "scale": float(np.median(np.abs(across / framing.across - 1))),
        "tilt": float(np.median(np.abs(tilts - tilt))),
    }
    return framing, residuals


def label_errors(
    poses: list[HeadPose], cameras: np.ndarray, squares: list[Square], framing: Framing
) -> dict[str, np.ndarray]:
    """How far the squares and cameras that follow from poses are from the known ones, [n] each.

    Returns:
      yaw, elevation, roll: differences in degrees; roll is that of the square.
      centre, scale: distance of the centres and difference of the sides, as shares of the known side.
    """
    found = [square_and_camera(pose, framing) for pose in poses]
    angles, known = (np.degrees([label_angles(c) for c in labels]) for labels in ([c for _, c in found], cameras))
    turn = (angles - known + 180) % 360 - 180
    return {
        "yaw": turn[:, 0],
        "elevation": turn[:, 1],
        "roll": np.degrees([square.roll for square, _ in found]) + turn[:, 2],
        "centre": np.array([np.hypot(a.x - b.x, a.y - b.y) / b.side for (a, _), b in zip(found, squares)]),
        "scale": np.array([a.side / b.side - 1 for (a, _), b in zip(found, squares)]),
    }


def _axes(face):
    """Unit axes [3, 3] of a face: from eye to eye, up from chin to forehead, and out of it."""
    across = face[OUTER_EYE_RIGHT] - face[OUTER_EYE_LEFT]
    across /= np.linalg.norm(across)
    up = face[FOREHEAD] - face[CHIN]
    up -= across * (up @ across)
    up /= np.linalg.norm(up)
    return np.stack([across, up, np.cross(across, up)])


def _pose(path):
    """The size of a picture [H, W, C] and the mesh of its largest face, or None where there is none."""
    rgb, _ = read_image(path)
    faces = detect_faces(rgb)
    return (rgb.shape, face_mesh(rgb, choose_face(faces, "largest", rgb.shape))[0]) if faces else None


def _folder(folder):
    """Poses, cameras [n, 25] and squares of the pictures with a face in an EG3D folder, and how many have none."""
    labels = json.loads((folder / "dataset.json").read_text())["labels"]
    found = [(_pose(folder / name), label) for name, label in tqdm.tqdm(labels)]
    seen = [(shape, fit_pose(points), label) for (shape, points), label in (row for row in found if row[0])]
    squares = [Square(shape[1] / 2, shape[0] / 2, shape[1]) for shape, _, _ in seen]
    return [pose for _, pose, _ in seen], np.array([label for *_, label in seen]), squares, len(found) - len(seen)


def main() -> None:
    """Fits or checks what the command line names."""
    prog = "python -m panojax.photo.calibrate"
    parser = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    face = commands.add_parser("face")
    face.add_argument("photos", nargs="+")
    face.add_argument("--out", required=True)
    framing = commands.add_parser("framing")
    framing.add_argument("folder", type=pathlib.Path)
    framing.add_argument("--distance", type=float, default=math.inf)
    check = commands.add_parser("check")
    check.add_argument("folder", type=pathlib.Path)
    check.add_argument("--framing", choices=("panohead", "heads"), default="panohead")
    arguments = parser.parse_args()
    if arguments.command == "face":
        meshes = [found[1] for photo in arguments.photos if (found := _pose(photo))]
        np.savez_compressed(arguments.out, points=mean_of_meshes(np.stack(meshes)).astype(np.float32))
        return
    poses, cameras, squares, without = _folder(arguments.folder)
    print(f"{len(poses)} pictures with a face, {without} without")
    if arguments.command == "framing":
        fitted, residuals = fit_framing(poses, cameras, squares, distance=arguments.distance)
        print(fitted)
        print("medians of what is left:", ", ".join(f"{name} {value:.4f}" for name, value in residuals.items()))
        return
    errors = label_errors(poses, cameras, squares, {"panohead": PANOHEAD, "heads": HEADS}[arguments.framing])
    turned = np.abs(np.degrees([label_angles(camera)[0] for camera in cameras]))
    for low, high in ((0, 15), (15, 30), (30, 45), (45, 60), (60, 90), (0, 60)):
        chosen = (turned >= low) & (turned < high)
        if chosen.any():
            medians = (f"{name} {np.median(np.abs(values[chosen])):.3f}" for name, values in errors.items())
            print(f"yaw {low} to {high}, {chosen.sum()} pictures, medians:", ", ".join(medians))


if __name__ == "__main__":
    sys.exit(run_process(main, ""))
