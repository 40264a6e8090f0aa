"""A head as Gaussian splats: flat discs on its surface, in the layout of 3D Gaussian splatting's .ply files."""

import dataclasses
import os
import pathlib

import numpy as np
from scipy.spatial.transform import Rotation

from panojax.disk.staging import replaced_when_done
from panojax.errors import InputError
from panojax.export.colours import gather_colours
from panojax.export.surface import Surface, sample_surface
from panojax.export.views import Views
from panojax.render.splatting import SH0

# The spherical harmonics of degree 1 are SH1 (-y, z, -x) of the direction in which a splat is seen.
SH1 = 0.4886025119029199
MAX_SPLATS = 5_000_000
# A disc's standard deviation in spacings of the samples: the least that leaves no holes. Wider ones blur.
SPREAD = 0.7
THICKNESS = 0.1
OPACITY = 0.98
# From y up, face along +z, to COLMAP's habit that 3DGS's files and viewers follow: y down, face along -z.
TO_3DGS = np.diag([1.0, -1.0, -1.0])


@dataclasses.dataclass(frozen=True)
class Splats:
    """K Gaussians.

    Attributes:
      centres: float32 [K, 3] in world units, y up.
      normals: float32 [K, 3], unit length, across the discs.
      colours: float32 [K, 3], sRGB, in [0, 1] or, where fitted, somewhat beyond.
      scales: float32 [K, 3], standard deviations along two directions of a disc and across it, in world units.
      rotations: float32 [K, 4], unit quaternions (w, x, y, z) that turn the z axis into the normal.
      opacity: float32 [K] in (0, 1).
      slopes: float32 [K, 3, 3], what a colour (second axis) gains by the unit direction (last axis) in which the splat
        is seen; None where it looks the same from all sides.
    """

    centres: np.ndarray
    normals: np.ndarray
    colours: np.ndarray
    scales: np.ndarray
    rotations: np.ndarray
    opacity: np.ndarray
    slopes: np.ndarray | None = None


def splats_from_surface(surface: Surface, views: Views, *, count: int = 100_000, progress: bool = False) -> Splats:
    """Evenly spread discs on a surface in the colours that pictures show there, see `gather_colours`.

    Args:
      count: how many; a disc is as large as their spacing asks for.
      progress: show a bar on stderr.

    Raises:
      InputError: the count is out of range, or no picture shows the surface.
    """
    check_splats(count)
    centres, normals = sample_surface(surface, count)
    colours, _ = gather_colours(surface, centres, normals, views, progress=progress)
    spread = SPREAD * np.sqrt(surface.areas.sum() / count)
    scales = np.broadcast_to(spread * np.array([1, 1, THICKNESS]), (count, 3))
    return Splats(
        centres.astype(np.float32),
        normals.astype(np.float32),
        colours / np.float32(255),
        scales.astype(np.float32),
        towards(normals).astype(np.float32),
        np.full(count, OPACITY, np.float32),
    )


def check_splats(count: int) -> None:
    """Raises InputError for a number of splats out of range."""
    if not 1 <= count <= MAX_SPLATS:
        raise InputError(f"splats must be 1 to {MAX_SPLATS}, got {count}")


def towards(normals: np.ndarray) -> np.ndarray:
    """Unit quaternions [K, 4] (w, x, y, z) of the shortest turns from the z axis to unit normals [K, 3]."""
    x, y, z = normals.T
    # Of the half way; opposite the z axis, any half turn in the plane will do.
    quaternions = np.stack([1 + z, -y, x, np.zeros_like(z)], axis=-1)
    quaternions[z < -1 + 1e-9] = (0, 1, 0, 0)
    return quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)


def write_splats(
    splats: Splats, path: str | os.PathLike, *, degree: int = 0, y_up: bool = False, overwrite: bool = False
) -> None:
    """Writes a binary .ply as 3D Gaussian splatting does.

    Its properties, all float32: x y z, nx ny nz, f_dc_0..2 (colour by `SH0`), f_rest_* (by `SH1` the slopes, all else
    zeros), opacity (a logit), scale_0..2 (natural logarithms), rot_0..3 (w, x, y, z).

    Args:
      degree: of the spherical harmonics, 0 to 3. The original viewer only opens 3, with 45 f_rest numbers a splat.
      y_up: keep the head's axes; else y points down and the face looks along -z, as viewers of such files expect.
      overwrite: replace a file that is there.

    Raises:
      InputError: another suffix or degree, or the file exists.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() != ".ply":
        raise InputError(f"path must end in .ply, got {str(path)!r}")
    if degree not in range(4):
        raise InputError(f"degree of the spherical harmonics must be 0 to 3, got {degree}")
    turn = np.eye(3) if y_up else TO_3DGS
    rotations = Rotation.from_matrix(turn) * Rotation.from_quat(splats.rotations, scalar_first=True)
    columns: dict[str, np.ndarray] = {}
    columns |= zip("xyz", (splats.centres @ turn.T).T)
    columns |= zip(("nx", "ny", "nz"), (splats.normals @ turn.T).T)
    columns |= {f"f_dc_{i}": channel for i, channel in enumerate(((splats.colours - 0.5) / SH0).T)}
    columns |= {f"f_rest_{i}": column for i, column in enumerate(_harmonics(splats, turn, degree).T)}
    columns |= {"opacity": np.log(splats.opacity / (1 - splats.opacity))}
    columns |= {f"scale_{i}": axis for i, axis in enumerate(np.log(splats.scales).T)}
    columns |= {f"rot_{i}": part for i, part in enumerate(rotations.as_quat(scalar_first=True).T)}
    with replaced_when_done(path, overwrite=overwrite) as partial:
        partial.write_bytes(ply_bytes(columns))


def _harmonics(splats: Splats, turn: np.ndarray, degree: int) -> np.ndarray:
    """f_rest [K, 3 ((degree + 1)^2 - 1)], all of red first, in axes turned by `turn` [3, 3]."""
    rest = np.zeros((len(splats.centres), 3, (degree + 1) ** 2 - 1))
    if degree and splats.slopes is not None:
        x, y, z = np.moveaxis(splats.slopes @ turn.T, -1, 0)
        rest[..., :3] = np.stack([-y, z, -x], axis=-1) / SH1
    return rest.reshape(len(rest), -1)


def ply_bytes(columns: dict[str, np.ndarray]) -> bytes:
    """A binary .ply of vertices: columns [K] by their names, bytes as uchar and all others as float32."""
    types = {name: "u1" if column.dtype == np.uint8 else "<f4" for name, column in columns.items()}
    table = np.empty(len(next(iter(columns.values()))), list(types.items()))
    for name, column in columns.items():
        table[name] = column
    properties = [f"property {'uchar' if types[name] == 'u1' else 'float'} {name}" for name in columns]
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}", *properties, "end_header", ""]
    return "\n".join(lines).encode() + table.tobytes()
