"""`panojax invert --together`: several photos of a person, or a video's frames, to one head."""

import json
import re

import imageio_ffmpeg
import jax
import local_model
import numpy as np
import pytest
import scenes
import skimage.data
from PIL import Image

import panojax
from panojax.camera import look_at
from panojax.commands import invert_together as together
from panojax.commands.cli import main
from panojax.errors import InputError
from panojax.files.image_file import write_image
from panojax.files.output import write_video
from panojax.files.packed import write_packed
from panojax.files.video_file import read_frames
from panojax.inversion import doubts

NAMES = ("front.png", "left.png", "back.png")
YAWS = (0.0, 1.5, 3.1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    params = local_model.params()
    write_packed(folder, params.config, params.generator, params.encoders)
    return folder


@pytest.fixture
def crops(tmp_path):
    """Three aligned crops of several sizes with their labels; {name: path}, and the labels' file."""
    for name, picture, side in zip(NAMES, scenes.portraits(3, 64), (64, 48, 64)):
        write_image(tmp_path / name, picture[:side, :side])
    labels = [[name, np.asarray(look_at(yaw)).tolist()] for name, yaw in zip(NAMES, YAWS)]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    return [str(tmp_path / name) for name in NAMES], str(tmp_path / "dataset.json")


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """A video in which the astronaut comes into focus twice."""
    face = Image.fromarray(skimage.data.astronaut())
    soft = np.asarray(face.resize((64, 64)).resize((512, 512)))
    path = tmp_path_factory.mktemp("video") / "talk.mp4"
    write_video(path, [soft, soft, np.asarray(face), soft, soft, soft, soft, np.asarray(face)], fps=8)
    return path


def run(*arguments, model):
    options = ["--together", "--checkpoint", str(model), "--video", "none"]
    return main(["invert", *map(str, arguments), *options])


def error_of(capsys, *arguments, model):
    assert run(*arguments, model=model) == 2
    # A slow machine has lines of progress before it.
    [line] = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    return line


def test_three_photos_make_one_head(model, crops, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(together, "identity_network", lambda **_: None)
    photos, labels = crops
    out = tmp_path / "me"
    assert run(*photos, "--camera", labels, "--out", out, model=model) == 0
    said = capsys.readouterr().out
    assert "one head of 3 photos, 0 left out" in said and "cameras moved by" in said
    assert {path.name for path in out.iterdir()} == {
        *("input.png", "photos.png", "reconstruction.png", "sheet.png", "head.npz", "report.json")
    }
    report = json.loads((out / "report.json").read_text())
    assert [row["photo"] for row in report["photos"]] == list(NAMES) and report["frontal"] == "front.png"
    assert all(0 <= row["moved_degrees"] <= 21 and 0 <= row["moved_percent"] <= 8.01 for row in report["photos"])
    head = panojax.load_head(out / "head.npz", panojax.load(model))
    assert len(head.local.branches) == 3


def test_without_refining_it_is_invert_many(model, crops, tmp_path, monkeypatch):
    monkeypatch.setattr(together, "identity_network", lambda **_: None)
    photos, labels = crops
    assert run(*photos, "--camera", labels, "--out", tmp_path / "me", "--no-refine", model=model) == 0
    params = panojax.load(model)
    found = panojax.load_head(tmp_path / "me" / "head.npz", params)
    shown, left_out = together.read_all(
        together.Options(photo=tuple(photos), out=tmp_path, camera=labels), photos, params.config, {}
    )
    images = np.stack([together.results.at_size(one.portrait.image, 128) for one in shown])
    head = panojax.invert_many(params, images, np.stack([one.portrait.camera for one in shown]))
    assert not left_out
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(head), strict=True):
        np.testing.assert_array_equal(a, b)


def test_photos_that_are_of_no_use_are_named(model, crops, tmp_path, capsys, monkeypatch):
    """A picture twice, one that cannot be read, and one of somebody else."""
    monkeypatch.setattr(together, "identity_network", lambda **_: together.Perception())
    monkeypatch.setattr(doubts, "odd_one", lambda perception, images, cameras: (1, 0.91))
    photos, labels = crops
    again = tmp_path / "again.png"
    again.write_bytes((tmp_path / NAMES[0]).read_bytes())
    (tmp_path / "broken.png").write_bytes(b"no picture")
    data = json.loads((tmp_path / "dataset.json").read_text())
    data["labels"] += [["again.png", data["labels"][0][1]], ["broken.png", data["labels"][0][1]]]
    (tmp_path / "dataset.json").write_text(json.dumps(data))
    given = [*photos[:2], again, tmp_path / "broken.png", "--camera", labels, "--no-refine"]
    assert run(*given, "--out", tmp_path / "me", model=model) == 0
    said = capsys.readouterr().out
    assert "note: broken.png was left out: " in said
    assert "note: photo again.png is the same picture as front.png and counts once" in said
    assert "note: photo left.png seems to show another person than the others: its identity distance is 0.91" in said
    assert "one head of 2 photos, 1 left out" in said
    report = json.loads((tmp_path / "me" / "report.json").read_text())
    assert list(report["left_out"]) == ["broken.png"] and len(report["warnings"]) == 1


def test_cameras_that_contradict_the_photos_are_named():
    moves = together.Moves(*[np.zeros(3)] * 2, np.array([False, True, False]), *[np.zeros(3)] * 2)
    [warning] = doubts.contradictions(NAMES, moves)
    assert warning.startswith("photo left.png: its camera contradicts what it shows")


def test_of_fifty_photos_the_sharpest_all_around_are_taken(capsys):
    image, rng = scenes.portraits(1, 64)[0], np.random.RandomState(0)
    shown = []
    for i in range(50):
        picture = image * 0.5 + (0.3 if i % 3 == 0 else 0.01) * rng.uniform(-1, 1, image.shape).astype(np.float32)
        camera = np.asarray(look_at(-170 + 7 * i, degrees=True))
        shown.append(together.Shown(f"{i}.jpg", together.Portrait(picture, camera, "given")))
    kept = together._sharpest(shown, together.MAX_PHOTOS, "photo")
    assert "note: photo: 50 are more than 16, taken are the 16 sharpest over all yaws" in capsys.readouterr().out
    numbers = [int(one.name[:-4]) for one in kept]
    assert len(numbers) == 16 and all(i % 3 == 0 for i in numbers) and max(np.diff(numbers)) <= 6


def test_both_optimisations_fit_all_photos(model, crops, tmp_path):
    photos, labels = crops
    for method in ("wplus", "pti"):
        out = tmp_path / method
        given = [*photos, "--camera", labels, "--no-refine", "--method", method, "--steps", 2, "--lpips", "none"]
        assert run(*given, "--out", out, model=model) == 0
        assert json.loads((out / "report.json").read_text())["method"] == method
        assert (out / "tuned_model").is_dir() == (method == "pti")


def test_what_cannot_be_done_is_one_line(model, crops, talk, tmp_path, capsys):
    photos, labels = crops
    out = ("--out", tmp_path / "out")
    line = error_of(capsys, *photos, "--camera", "front", *out, model=model)
    assert "camera must be a .json file with a label for each of 3 aligned photos together, got 'front'" in line
    assert "aligned photos together, got none" in error_of(capsys, *photos, "--aligned", *out, model=model)
    assert "got the video" in error_of(capsys, talk, "--camera", labels, *out, model=model)
    line = error_of(capsys, *photos, *out, model=model)
    assert "photo must show a person's face, none of 3 could be used: front.png: photo must show a head" in line
    assert main(["invert", str(talk), *map(str, out)]) == 2
    assert "add --together" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_video_s_sharp_frames_make_a_head(model, talk, tmp_path, capsys):
    assert run(talk, "--out", tmp_path / "me", model=model) == 0
    report = json.loads((tmp_path / "me" / "report.json").read_text())
    # The head does not turn, so that one frame is enough: one of the two in focus.
    [row] = report["photos"]
    seconds = float(re.fullmatch(r"talk\.mp4 at ([0-9.]+) s", row["photo"])[1])
    assert min(abs(seconds - 0.25), abs(seconds - 0.875)) < 0.1


def test_a_video_without_a_face_is_said_in_one_line(model, tmp_path, capsys):
    noise = np.random.RandomState(0).randint(0, 255, (8, 64, 64, 3), np.uint8)
    write_video(tmp_path / "noise.mp4", noise, fps=8)
    line = error_of(capsys, tmp_path / "noise.mp4", "--out", tmp_path / "out", model=model)
    assert re.search(r"noise\.mp4: video must show a face plainly, got none in [1-9]\d* of its frames", line)
    (tmp_path / "text.mp4").write_text("no video")
    line = error_of(capsys, tmp_path / "text.mp4", "--out", tmp_path / "out", model=model)
    assert "video must be one that ffmpeg can read" in line and not (tmp_path / "out").exists()


def test_frames_are_read_upright_reduced_and_evenly(tmp_path):
    ramp = [np.full((48, 96, 3), 4 * i, np.uint8) for i in range(60)]
    write_video(tmp_path / "ramp.mp4", ramp, fps=30)
    frames = list(read_frames(tmp_path / "ramp.mp4", most=10, side=48))
    assert 9 <= len(frames) <= 10 and all(frame.shape == (24, 48, 3) for _, frame in frames)
    seconds, levels = zip(*((seconds, frame.mean()) for seconds, frame in frames))
    np.testing.assert_allclose(np.array(levels) / 4 / 30, seconds, atol=0.15)
    assert len(list(read_frames(tmp_path / "ramp.mp4", fastest=15))) in (30, 31)


def test_playlists_are_no_videos(tmp_path):
    """ffmpeg would open the files that they name."""
    write_video(tmp_path / "a.mp4", [np.zeros((16, 16, 3), np.uint8)] * 4)
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile {tmp_path / 'a.mp4'}\n")
    with pytest.raises(InputError, match="video must be one that ffmpeg can read"):
        list(read_frames(tmp_path / "list.mp4"))
    with pytest.raises(InputError, match="video must be a file"):
        list(read_frames(tmp_path / "none.mp4"))


def test_videos_without_ffmpeg(tmp_path, monkeypatch):
    def missing():
        raise RuntimeError("No ffmpeg exe could be found.")

    (tmp_path / "a.mp4").write_bytes(b"")
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    with pytest.raises(InputError, match=r"needs ffmpeg, which is not there: install it$"):
        list(read_frames(tmp_path / "a.mp4"))
