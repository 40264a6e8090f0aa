"""The default model's page: figures of a tiny model, drawn once, and the part of the page that tells of them."""

import json
import math
import pathlib
import re

import jax
import numpy as np
import pytest
from eval_sets import micro_model, write_heads
from PIL import Image

from panojax import camera
from panojax.commands.portrait import Portrait
from panojax.eval import default_model, gallery
from panojax.eval.default_model import END, PAGE, START, PageConfig, binned, make_page
from panojax.eval.figures import write_jpeg
from panojax.eval.reconstruction import MAX_SHOWN
from panojax.eval.samples import heads_samples
from panojax.export.turntable import render_views
from panojax.files import packed
from panojax.params import Params

NAMED = default_model.ASTRONAUT
ASTRONAUT = np.full((20, 30, 3), 77, np.uint8)


@pytest.fixture(scope="module")
def params() -> Params:
    return micro_model()


@pytest.fixture(scope="module")
def model(params, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    about = {"generator": {"kimg": 1552.5}, "visible": {"steps": 7}}
    packed.write_packed(folder, params.config, params.generator, params.encoders, about=about)
    return folder


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    return write_heads(tmp_path_factory.mktemp("heads") / "set")


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Two pieces of a generator, two of encoder 1, of which the second counts its steps anew, and one of encoder 2."""
    folder = tmp_path_factory.mktemp("logs")
    names = {
        "g0": [{"step": i, "kimg": i / 2, "generator": 1.0, "discriminator": 2.0} for i in range(1, 100)],
        "g1": [{"step": i, "kimg": 50 + i, "generator": 3.0, "discriminator": 1.0} for i in range(1, 100)],
        "a0": [{"step": i, "l2": 0.5, "lpips": 0.4} for i in (10, 20, 30)] + [{"step": 30, "validation/l2": 0.6}],
        "a1": [{"step": i, "l2": 0.25, "lpips": None} for i in (10, 20)],
        "b": [{"step": i, "l2": 0.1, "critic/loss": 0.7} for i in (10, 20)],
    }
    paths = []
    for name, lines in names.items():
        paths.append(folder / f"{name}.jsonl")
        paths[-1].write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tuple(paths)


@pytest.fixture(scope="module")
def made(model, heads, logs, tmp_path_factory):
    """The page's folder, made with a photo that needs no alignment, and the tables of an evaluation."""
    out, results = tmp_path_factory.mktemp("page"), tmp_path_factory.mktemp("results")
    for name in default_model.TABLES:
        (results / name).write_text(f"Caption of {name}.\n\n| a |\n|---|\n| 1 |\n")
    (out / PAGE).write_text(f"# Mine\n\nProse.\n\n{START}\n\nold\n\n{END}\n\nMore prose.\n")
    photos = tmp_path_factory.mktemp("photos")
    for i in range(3):
        Image.new("RGB", (8, 8), (80 * i, 0, 0)).save(photos / f"{i}.png")
    shown = {"portraits": (str(photos),), "part": "all", "portraits_shown": 2}
    config = PageConfig(out, str(model), heads, logs=logs, results=results, seeds="0-2", inversions=2, **shown)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "astronaut_sheet", lambda params: ASTRONAUT)
        patch.setattr(gallery, "align_photo", seen_from_the_front)
        make_page(config)
    return config


def seen_from_the_front(photo, config, *, face):
    """A photo's crop as if it had been aligned, in a colour of its own."""
    colour = -1.0 if photo == NAMED else (int(pathlib.Path(photo).stem) + 1) * 2 / 3 - 1
    side = config.encoder.resolution
    return Portrait(np.full((side, side, 3), colour, np.float32), np.asarray(camera.front()), "known", None)


def size_of(path):
    with Image.open(path) as image:
        return image.size


def test_figures_are_there_and_small(made):
    names = {"samples", "truncation", "interpolation", "inversions", "failures", "astronaut", "portraits"}
    pictures = {path.stem.removeprefix("default_model_"): path for path in made.out.glob("*.jpg")}
    assert pictures.keys() == names
    assert all(path.stat().st_size <= default_model.MAX_BYTES for path in pictures.values())
    sizes = {name: size_of(path) for name, path in pictures.items()}
    # Seeds two a line, so two lines of 16; three seeds at six psi; seven shares at three yaws.
    assert sizes["samples"] == (16 * 98 + 2, 2 * (96 + 16 + 2))
    assert sizes["truncation"] == (6 * 130 + 2, 3 * (128 + 16 + 2))
    assert sizes["portraits"] == (12 * 98 + 2, 96 + 16 + 2)  # two photos, one line of twelve
    assert sizes["interpolation"] == (7 * 130 + 2, 3 * (128 + 16 + 2))
    assert not [path for path in made.out.iterdir() if path.name.startswith(".")]


def test_heads_turn_below_their_photos(made, params):
    with Image.open(made.out / default_model.TURNING) as image:
        side = min(224, params.config.generator.image_resolution)
        assert image.size == (3 * side, 2 * side) and 2 <= image.n_frames <= 48  # equal ones are joined
        frames = []
        for i in (0, image.n_frames // 2):
            image.seek(i)
            frames.append(np.asarray(image.convert("RGB"), np.float32))
    assert abs(frames[0][: side // 2].reshape(-1, 3, side, 3)[:, :, side // 4].mean((0, 2)) - [0, 85, 170]).max() < 9
    np.testing.assert_allclose(frames[0][:side], frames[1][:side], atol=12)
    assert np.abs(frames[0][side:] - frames[1][side:]).mean() > 1


def test_the_page_keeps_what_others_wrote(made):
    page = (made.out / PAGE).read_text()
    assert page.startswith(f"# Mine\n\nProse.\n\n{START}\n") and page.endswith(f"{END}\n\nMore prose.\n")
    assert "old" not in page and page.count(START) == page.count(END) == 1
    shown = re.findall(r"\]\((\S+)\)", page)
    assert set(shown) == {path.name for path in made.out.iterdir()} - {PAGE}
    assert "Caption of true_views.md." in page and "| trained | generator 1552.5 kimg, visible 7 steps |" in page


def test_what_is_drawn_is_not_drawn_again(made, params, model, tmp_path, monkeypatch):
    """Only the missing figure is, where a run was stopped; all are for another model."""
    drawn = []
    monkeypatch.setattr(gallery, "turning_frames", lambda *_: drawn.append("turning"))
    for name in ("samples", "truncation", "interpolation", "inversion", "astronaut", "portraits"):
        monkeypatch.setattr(gallery, f"{name}_sheet", lambda *_, name=name: (drawn.append(name), ASTRONAUT)[1])
    make_page(made)
    assert drawn == []
    (made.out / "default_model_truncation.jpg").write_bytes(b"half")
    before = (made.out / PAGE).read_text()
    make_page(made)
    assert drawn == ["truncation"]
    assert (made.out / PAGE).read_text() == before
    other = jax.tree.map(lambda x: x + 0.01, params.generator)
    packed.write_packed(tmp_path / "other", params.config, other, params.encoders)
    make_page(PageConfig(tmp_path / "page", str(tmp_path / "other"), made.heads, seeds="0-2", inversions=2))
    assert drawn[1:] == ["samples", "truncation", "interpolation", "inversion", "inversion", "astronaut"]
    assert (tmp_path / "page" / PAGE).read_text().startswith("# The default model\n")


def test_generators_alone_have_no_inversions(params, heads, tmp_path, monkeypatch):
    for name in ("samples", "truncation", "interpolation"):
        monkeypatch.setattr(gallery, f"{name}_sheet", lambda *_: ASTRONAUT)
    alone = params.generator_only()
    packed.write_packed(tmp_path / "model", alone.config, alone.generator)
    files = make_page(PageConfig(tmp_path / "page", str(tmp_path / "model"), heads, seeds="5"))
    assert [path.stem for path in files] == [f"default_model_{n}" for n in ("samples", "truncation", "interpolation")]
    page = (tmp_path / "page" / PAGE).read_text()
    assert "astronaut" not in page and "encoders" not in page


def test_samples_are_views_of_their_seeds(params):
    """The cell of a seed and a yaw is that view, drawn on its own."""
    sheet = gallery.samples_sheet(params, (4, 9), side=128)
    _, cameras = gallery.turn(8, 0.0, params.config.generator)
    for seed, left in ((4, 0), (9, 8)):
        (view,) = render_views(params, gallery.sample(params, seed, 0.7), cameras[2:3])
        gap, strip = 2, 16
        x = gap + (left + 2) * (128 + gap)
        cell = sheet[strip : strip + 128, x : x + 128]
        assert np.abs(cell.astype(int) - gallery.thumbnail(view, 128)).max() <= 1


def test_inversions_lie_below_the_truth(params, heads):
    """Two lines, the first of which starts with the portrait as the set has it."""
    samples = heads_samples(heads, angles=default_model.ANGLES)[:1]
    sheet = gallery.inversion_sheet(params, samples)
    pictures = samples[0].load(128)
    columns = 1 + min(1 + MAX_SHOWN, len(pictures))
    assert sheet.shape == (2 * (128 + 16 + 2), columns * 130 + 2, 3)
    cell = sheet[16 : 16 + 128, 2:130]
    np.testing.assert_array_equal(cell, gallery.thumbnail(pictures[0].image, 128))


def test_the_worst_inversions_come_first(params, heads, monkeypatch):
    """Ordered by the squared error of the portrait's view: here views are grey, so brighter portraits are worse."""
    samples = heads_samples(heads, angles=default_model.ANGLES)
    size = params.config.generator.image_resolution
    monkeypatch.setattr(gallery, "_invert", lambda *_: None)
    monkeypatch.setattr(gallery, "render_views", lambda *_: [np.full((size, size, 3), -1, np.float32)])
    light = [one.load(size)[0].image.astype(np.float64) + 1 for one in samples]
    order = np.argsort([-np.mean(x**2) for x in light])
    assert len(samples) > 2
    assert gallery.worst_inverted(params, samples, 2) == [samples[i] for i in order[:2]]


def test_curves_stay_where_no_logs_are_given(made, model, tmp_path, monkeypatch):
    for name in ("samples", "truncation", "interpolation", "inversion", "astronaut"):
        monkeypatch.setattr(gallery, f"{name}_sheet", lambda *_: ASTRONAUT)
    curves = sorted(path.name for path in made.out.glob("*.svg"))
    for name in curves:
        (tmp_path / name).write_bytes((made.out / name).read_bytes())
    files = make_page(PageConfig(tmp_path, str(model), seeds="5"))
    page = (tmp_path / PAGE).read_text()
    assert curves and all(f"![{name[:-4]}]({name})" in page for name in curves)
    assert set(curves) <= {path.name for path in files}


def test_curves_are_means_of_stretches(made):
    lines = [{"kimg": float(i), "a": float(i % 2), "b": None} for i in range(2 * default_model.BINS)]
    x, curves = binned(lines, "kimg", ("a", "b"))
    assert len(x) == default_model.BINS and curves.keys() == {"a"}
    np.testing.assert_allclose(x, 2 * np.arange(default_model.BINS) + 0.5)
    np.testing.assert_allclose(curves["a"], 0.5)
    assert {path.name for path in made.out.glob("*.svg")} == {
        f"default_model_{n}.svg" for n in ("generator", "e1", "e2")
    }


def test_pieces_follow_one_another(logs):
    pieces = [default_model.read_log(path) for path in logs]
    steps = [line["step"] for line in default_model._joined(pieces, critic=False)]
    assert steps == [10, 20, 30, 40, 50]
    assert [line["step"] for line in default_model._joined(pieces, critic=True)] == [10, 20]
    x, curves = binned(default_model._joined(pieces, critic=False), "step", ("l2", "lpips"))
    assert x == steps and curves["l2"] == [0.5, 0.5, 0.5, 0.25, 0.25]
    assert all(math.isnan(y) for y in curves["lpips"][3:])


def test_jpegs_are_as_good_as_they_may_be(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    sizes = []
    for limit in (100_000, 3_000):
        write_jpeg(tmp_path / "a.jpg", noise, max_bytes=limit, comment="of noise")
        sizes.append((tmp_path / "a.jpg").stat().st_size)
        assert sizes[-1] <= limit and default_model._comment(tmp_path / "a.jpg") == "of noise"
    assert sizes[1] < sizes[0]
    with pytest.raises(default_model.InputError, match="takes more than 500 bytes at any quality"):
        write_jpeg(tmp_path / "a.jpg", noise, max_bytes=500)


def test_bad_input_is_named(model, logs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("panojax.files.checkpoint.DEFAULT_FOLDER", tmp_path)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    wrong = {
        "the default model must lie in": [],
        "checkpoint must be a folder": ["--checkpoint", tmp_path / "none"],
        "logs must hold lines of a training": ["--checkpoint", model, "--logs", logs[0], empty],
        "results must be a folder of": ["--checkpoint", model, "--results", tmp_path],
        "seeds must be numbers": ["--checkpoint", model, "--seeds", "x"],
        "inversions must be at least 1": ["--checkpoint", model, "--inversions", "0"],
        "failures must be at least 1": ["--checkpoint", model, "--failures", "0"],
        "portraits_shown must be at least 1": ["--checkpoint", model, "--portraits-shown", "0"],
        "portraits must be photos or folders of them": ["--checkpoint", model, "--portraits", tmp_path],
    }
    for message, arguments in wrong.items():
        assert default_model.main(["--out", str(tmp_path / "page"), *map(str, arguments)]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "page").exists()
