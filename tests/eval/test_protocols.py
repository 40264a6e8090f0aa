"""The protocols from end to end, on synthetic heads laid out as each real set, through the command line.

The blank model's pictures are zero from every camera, so that all figures follow from the true pictures alone.
"""

import json
import pathlib
import re
import signal
import subprocess
import sys
import time

import chex
import jax
import numpy as np
import pytest
from eval_sets import (
    NUMBERS,
    SIDE,
    as_mead,
    as_portraits,
    blank_model,
    hand_networks,
    micro_model,
    one_face,
    write_heads,
)

import panojax
from panojax.data.eg3d_folder import FolderOptions
from panojax.data.prepare import prepare
from panojax.eval import __main__ as command
from panojax.eval.faces import aligned_face
from panojax.eval.methods import Inverter, OptimisationOptions, parse_methods
from panojax.eval.samples import heads_samples, mead_samples, portrait_samples
from panojax.losses.perception import Perception
from panojax.synthetic import storage

NOTHING = [f"--{name}=none" for name in ("lpips", "identity", "aligned", "features")]


@pytest.fixture(autouse=True, scope="module")
def compiled_once(tmp_path_factory):
    """Programs compiled here serve the process that is killed, too."""
    folder = str(tmp_path_factory.mktemp("compiled"))
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", folder)
        yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Folders of sets and models."""
    root = tmp_path_factory.mktemp("eval")
    heads = write_heads(root / "heads")
    panojax.save(micro_model(), root / "micro")
    as_portraits(heads, root / "ffhq")
    as_mead(heads, root / "mead")
    return root


@pytest.fixture(scope="module")
def models():
    """Models by the names of their checkpoints."""
    bare = micro_model().generator_only()
    return {"blank": blank_model(), "micro": micro_model(), "other": micro_model(seed=1), "bare": bare}


@pytest.fixture(autouse=True)
def quick_load(models, monkeypatch):
    """Checkpoints of those names are not read: that would take most of the tests' time."""

    def load(checkpoint, *, dtype="float32"):
        name = pathlib.Path(checkpoint).name
        return models[name].with_dtype(dtype) if name in models else panojax.load(checkpoint, dtype=dtype)

    for place in ("commands.arguments", "eval.methods"):
        monkeypatch.setattr(f"panojax.{place}.load", load)


def run(*arguments):
    return command.main([str(argument) for argument in arguments])


@pytest.fixture
def measured(world, monkeypatch, tmp_path):
    """A function that runs a protocol with networks worked out by hand; its results and folder."""
    monkeypatch.setattr(command, "load_networks", lambda *args, **options: hand_networks())

    def measure(protocol, data, *arguments, model="blank", out=tmp_path / "out"):
        common = ["--data", *data, "--checkpoint", world / model, "--out", out, "--size", SIDE]
        assert run(protocol, *common, *arguments) == 0
        return json.loads((out / "results.json").read_text()), out

    return measure


def true_pictures(world):
    """float [heads, views, H, W, 3] in [-1, 1] on white."""
    rgba = np.stack([storage.read_identity(world / "heads" / f"{n:06d}.zip").rgba for n in NUMBERS]).astype(float)
    alpha = rgba[..., 3:] / 255
    return (rgba[..., :3] / 127.5 - 1) * alpha + 1 - alpha


def colour_cosine(pictures):
    return np.mean([1 / np.sqrt(1 + x.mean() ** 2) for x in pictures])


def aligned_cosine(pictures):
    """Over pictures in which a face is found, with that of a zero picture, which is black beyond its border."""
    faces = [aligned_face(x.astype(np.float32), one_face) for x in (np.zeros((SIDE, SIDE, 3)), *pictures)]
    first, *others = [face.mean() for face in faces if face is not None]
    return np.mean([(1 + first * m) / np.sqrt((1 + first**2) * (1 + m**2)) for m in others])


def test_heads_figures_are_those_worked_out_by_hand(world, measured):
    results, out = measured("heads", [world / "heads"], "--methods", "psp", "--shown", "1")
    (found,) = results["sets"].values()
    true, groups = true_pictures(world), found["methods"]["pSp"]["groups"]
    assert list(groups) == ["0", "30", "60", "90", "180"]
    for i, (group, figures) in enumerate(groups.items()):
        views = true[:, i]
        assert figures["pictures"] == len(NUMBERS)
        np.testing.assert_allclose(figures["l2"], np.mean(views**2), rtol=1e-5)
        np.testing.assert_allclose(figures["lpips"], np.mean(np.abs(views)), rtol=1e-5)  # sums in float32
        np.testing.assert_allclose(figures["identity"], colour_cosine(views), rtol=1e-5)
        missed = sum(not one_face(x) for x in views)
        assert figures["missed"] == missed
        if missed < len(NUMBERS):
            np.testing.assert_allclose(figures["aligned"], aligned_cosine(views), rtol=1e-5)
        assert figures["mask"] > 0 and "depth" not in figures, group  # the blank model is thinner than half
    for distances in (found["floor"], found["methods"]["pSp"]["distances"]):  # all its pictures are equal
        assert distances["360"] == pytest.approx({"frechet": 0, "kernel": 0, "kernel_std": 0, "pictures": 3}, abs=1e-9)
    cost = found["methods"]["pSp"]
    assert cost["seconds"] > 0 and cost["memory_mib"] > 0
    files = {path.name for path in out.iterdir()}
    assert {"reconstruction.md", "reconstruction.tex", "true_views.md", "ablation.tex", "heads.png"} < files
    assert "true_views_l2.svg" in files and "true_views_depth.svg" not in files
    table = (out / "true_views.md").read_text()
    assert f"| pSp | {np.mean(true[:, 0] ** 2):.3f} |" in table
    assert "FID" not in table and "FD-mean colour" in table


def test_mead_figures_are_those_worked_out_by_hand(world, measured):
    results, out = measured("mead", [world / "mead" / "manifest.csv"], "--methods", "psp", "--no-cost")
    (found,) = results["sets"].values()
    own, true = found["methods"]["pSp"], true_pictures(world)
    for i, angle in ((1, "30"), (2, "60")):
        np.testing.assert_allclose(own["groups"][angle]["l2"], np.mean(true[:, i] ** 2), rtol=1e-5)
        real = true[:, i].mean(axis=(1, 2))
        frechet = np.sum(real.mean(axis=0) ** 2) + np.trace(np.cov(real, rowvar=False))
        np.testing.assert_allclose(own["distances"][angle]["frechet"], frechet, rtol=1e-5)
        pairs = [(real[j] @ real[k] / 3 + 1) ** 3 for j in range(3) for k in range(3) if j != k]
        np.testing.assert_allclose(own["distances"][angle]["kernel"], np.mean(pairs) + 1 - 2, rtol=1e-5)
        assert found["floor"][angle]["frechet"] == pytest.approx(0, abs=1e-9)
    markdown = (out / "mead.md").read_text()
    assert "LPIPS ±60° ↓ | LPIPS ±30° ↓" in markdown and "| Generator | floor |" in markdown
    assert (out / "mead.png").exists()


def test_portraits_of_two_sets_share_a_table(world, measured):
    data = [f"FFHQ={world / 'ffhq'}:all", f"celeba={world / 'ffhq'},{world / 'ffhq'}:all"]
    results, out = measured("portraits", data, "--methods", "psp", "--no-cost")
    assert [found["samples"] for found in results["sets"].values()] == [3, 6]
    for found in results["sets"].values():
        same = found["methods"]["pSp"]["groups"]["0"]
        np.testing.assert_allclose(same["l2"], np.mean(true_pictures(world)[:, 0] ** 2), rtol=1e-5)
    latex = (out / "reconstruction.tex").read_text()
    assert r"\multicolumn{7}{c}{FFHQ} & \multicolumn{7}{c}{celeba}" in latex


@pytest.mark.parametrize(("rendering", "shown"), [("panohead", 1 / 255), ("own", 0.0)])
def test_panohead_figures_are_those_worked_out_by_hand(world, measured, rendering, shown):
    """The blank model's pictures are 0, as bytes 128."""
    options = ["--split", "test", "--samples", "4", "--seed", "1", "--rendering", rendering]
    results, out = measured("panohead", [world / "heads"], *options)
    assert results["rendering"] == rendering
    true = true_pictures(world).reshape(-1, SIDE, SIDE, 3)
    yaws = np.tile([0, 28, 62, 90, 180, 76], len(NUMBERS))
    assert results["pictures"] == {"all": 18, "front": 12, "back": 6}
    for part, views in (("all", true), ("front", true[yaws < 90]), ("back", true[yaws >= 90])):
        real = views.mean(axis=(1, 2))
        frechet = np.sum((real.mean(axis=0) - shown) ** 2) + np.trace(np.cov(real, rowvar=False))
        np.testing.assert_allclose(results["distances"][part]["frechet"], frechet, rtol=1e-5)
        assert results["floor"][part]["frechet"] == pytest.approx(0, abs=1e-9)
        assert results["scores"][part] == pytest.approx(1)  # all pictures are equal
    assert (results["identity"], results["faces_missed"]) == (pytest.approx(1), 0)
    assert 0 < results["mask_error"] < 1
    name = "FD-mean colour-back" + (", own rendering" if rendering == "own" else "")
    assert f"| {name} ↓ |" in (out / "panohead.md").read_text()


def test_optimisations_render_with_their_own_generator(world, measured, monkeypatch):
    """PTI's views are its tuned generator's: here one without the blank model's zeros."""
    ran = []

    def wplus(params, image, camera, *, perception, config, key):
        ran.append(("wplus", config.steps, image.shape, perception.lpips_network))
        return head

    def pti(params, image, camera, *, perception, config, tuning, key):
        ran.append(("pti", tuning.steps, image.shape, perception.lpips_network))
        return tuned, head

    model = blank_model().config.generator
    head = panojax.Head(np.zeros(model.field.shape, np.float32), np.ones((model.num_ws, model.w_dim), np.float32))
    head, tuned = jax.device_put((head, micro_model().generator_only()), jax.devices()[0])
    monkeypatch.setattr("panojax.inversion.optimize.invert_wplus", wplus)
    monkeypatch.setattr("panojax.inversion.optimize.invert_pti", pti)
    options = ["--methods", "wplus,pti", "--steps", "7", "--loss", "none", "--part", "all", "--limit", "2", "--no-cost"]
    results, out = measured("portraits", [world / "ffhq"], *options)
    methods = results["sets"]["ffhq"]["methods"]
    assert ran == [(kind, 7, (SIDE, SIDE, 3), None) for kind in ("wplus", "wplus", "pti", "pti")]
    np.testing.assert_allclose(
        methods["W+ opt."]["groups"]["0"]["l2"], np.mean(true_pictures(world)[:2, 0] ** 2), rtol=1e-5
    )
    assert methods["PTI"]["distances"]["360"]["frechet"] > 0
    assert "| Optimization | PTI |" in (out / "reconstruction.md").read_text()


@pytest.fixture(scope="module")
def many(world):
    """Forty portraits."""
    heads = write_heads(world / "many_heads", numbers=tuple(range(40)), yaws=(0,))
    return as_portraits(heads, world / "many")


def test_a_killed_run_goes_on_to_the_same_numbers(world, many, tmp_path):
    def options(out):
        common = ["portraits", "--data", many, "--checkpoint", world / "micro", "--out", out, "--part", "all"]
        return [*map(str, common), "--methods", "psp", "--size", str(SIDE), "--no-cost", *NOTHING]

    killed = tmp_path / "killed"
    records = killed / "records" / "many" / "psp" / "samples"
    process = subprocess.Popen([sys.executable, "-m", "panojax.eval", *options(killed)], stderr=subprocess.PIPE)
    while process.poll() is None and len(list(records.glob("[!.]*.npz"))) < 3:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = {path: path.stat().st_mtime_ns for path in records.glob("[!.]*.npz")}
    assert 3 <= len(done) < 40 and not (killed / "results.json").exists()
    assert run(*options(killed)) == run(*options(tmp_path / "whole")) == 0
    assert all(path.stat().st_mtime_ns == written for path, written in done.items())  # not done again
    for name in ("reconstruction.md", "reconstruction.tex"):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    # Figures of the two processes agree but for what other processors' instructions round differently.
    again, whole = (json.loads((folder / "results.json").read_text()) for folder in (killed, tmp_path / "whole"))
    assert again == whole


def test_shards_make_the_same_records(world, many, tmp_path, capsys):
    options = ["--data", many, "--checkpoint", world / "micro", "--part", "all", "--limit", "5", "--methods", "psp"]
    options += ["--size", SIDE, "--no-cost", *NOTHING]
    assert run("portraits", *options, "--out", tmp_path / "shards", "--shard", "1/2") == 0
    assert "this shard is done" in capsys.readouterr().out and not (tmp_path / "shards" / "results.json").exists()
    assert run("portraits", *options, "--out", tmp_path / "shards", "--shard", "0/2") == 0
    assert run("portraits", *options, "--out", tmp_path / "whole") == 0
    shards, whole = ((tmp_path / name / "results.json").read_text() for name in ("shards", "whole"))
    assert shards == whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--methods", "dual,telepathy"], "methods must be among dual, .*, got 'telepathy'"),
        (["--methods", "e1,e1"], "methods must be one or more with different names"),
        (["--methods", "pSp=psp@OTHER"], "methods must share --checkpoint's generator, .*: mixed models"),
        (["--features", "nowhere.pth"], "features cannot be measured by 'nowhere.pth': .* the path of its weights"),
        (["--lpips", "squeeze"], "lpips cannot be measured by 'squeeze': it must be one of alex, vgg, none"),
        (["--out", "dataset.json/results"], "out must be writable, got .*dataset.json/results"),
        (["--shard", "2/2"], "shard must be INDEX/COUNT with INDEX from 0 to COUNT - 1, got 2/2"),
        (["--devices", "99"], "devices must be 1 to 1 here, got 99"),
        (["--size", "8"], "size must be at least 16, got 8"),
        (["--limit", "0"], "limit must be at least 1, got 0"),
        (["--steps", "0"], "steps must be at least 1, got 0"),
        (["--checkpoint", "nowhere"], "checkpoint must be a folder that `panojax convert` wrote, got 'nowhere'"),
    ],
)
def test_bad_options_are_named(world, tmp_path, capsys, monkeypatch, changes, message):
    monkeypatch.chdir(world / "ffhq")
    common = ["--data", world / "ffhq", "--checkpoint", world / "micro", "--out", tmp_path / "out", "--part", "all"]
    changes = [change.replace("OTHER", str(world / "other")) for change in changes]
    try:
        code = run("portraits", *common, *NOTHING, *changes)
    except SystemExit as stop:  # tyro's own checks
        code = stop.code
    assert code == 2
    captured = capsys.readouterr().err
    assert_matches(captured, message)


def assert_matches(text, pattern):
    assert re.search(pattern, " ".join(text.split())), text


def test_a_folder_of_another_model_s_results_is_refused(world, tmp_path, capsys):
    common = ["--data", world / "ffhq", "--out", tmp_path / "out", "--part", "all", "--size", SIDE, "--no-cost"]
    options = [*common, "--methods", "psp", *NOTHING]
    assert run("portraits", *options, "--checkpoint", world / "micro", "--limit", "1") == 0
    assert run("portraits", *options, "--checkpoint", world / "other", "--limit", "1") == 2
    assert_matches(capsys.readouterr().err, "out must be new or hold results of the same settings, got .* with model ")
    assert run("portraits", *options, "--checkpoint", world / "micro", "--limit", "2") == 2
    assert_matches(capsys.readouterr().err, "with names .* samples 1 there, 2 asked")


def test_sets_with_missing_labels_are_refused(world, tmp_path, capsys):
    folder = as_portraits(world / "heads", tmp_path / "ffhq")
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({"labels": content["labels"][1:]}))
    options = ["--checkpoint", world / "micro", "--out", tmp_path / "out", *NOTHING]
    assert run("portraits", "--data", folder, *options, "--part", "all") == 2
    assert_matches(capsys.readouterr().err, "data folder .* free of errors, got 1 problem: 000003.png has no label")
    assert run("mead", "--data", world / "mead" / "manifest.csv", "--labels", folder / "dataset.json", *options) == 2
    assert_matches(capsys.readouterr().err, "000003_front.png has no label in ")
    (tmp_path / "heads").mkdir()
    assert run("heads", "--data", tmp_path / "heads", *options) == 2
    assert_matches(capsys.readouterr().err, "data's dataset.json, written when all heads are finished, must be there")
    assert not (tmp_path / "out").exists()


def test_models_without_encoders_are_refused(world, tmp_path, capsys):
    options = ["--data", world / "ffhq", "--part", "all", "--out", tmp_path / "out", *NOTHING]
    assert run("portraits", *options, "--checkpoint", "bare") == 2
    assert_matches(capsys.readouterr().err, "methods: dual needs two encoders, --checkpoint has none")


def test_only_moments_with_a_front_camera_are_taken(world):
    samples = mead_samples(world / "mead" / "manifest.csv", labels=None, left="positive", masks=None)
    assert [[picture.group for picture in sample.load(SIDE)] for sample in samples] == [["0", "30", "60"]] * 3
    with pytest.raises(panojax.InputError, match=r"split must be one of those in .* \(test\), got 'train'"):
        heads_samples(world / "heads", split="train", angles=(30,))


def test_prepared_sets_are_read_as_their_folders(world, tmp_path):
    """A split of one name or another; pictures to the bit."""
    options = {"size": SIDE, "test_share": 1.0}
    prepared = prepare(FolderOptions(world / "ffhq", "ffhq", **options), tmp_path)
    from_folder, from_set = (
        portrait_samples([folder], part=part) for folder, part in ((world / "ffhq", "all"), (prepared, "validation"))
    )
    assert len(from_set) == len(NUMBERS)
    pictures = [
        sorted((float(p.image.sum()), *p.camera) for s in samples for p in s.load(SIDE))
        for samples in (from_folder, from_set)
    ]
    np.testing.assert_allclose(*pictures, rtol=1e-6)
    with pytest.raises(panojax.InputError, match=r"split must be one of test, got 'train'"):
        portrait_samples([prepared], part="train")


def test_methods_run_the_encoders_and_stages_they_name(models, monkeypatch):
    """Their functions stand in for what they compute, which has tests of its own."""

    def single(params, encoder, image, label, *, offsets):
        return encoder, offsets

    def dual(params, image, label, *, stitching):
        return params.encoders, stitching

    monkeypatch.setattr("panojax.eval.methods.single_head", single)
    monkeypatch.setattr("panojax.eval.methods.dual_head", dual)
    portrait, encoders = (np.zeros((SIDE, SIDE, 3)), np.zeros(25), jax.random.key(0)), models["micro"].encoders
    first, second = (jax.tree.map(lambda x, i=i: x[i], encoders["both"]) for i in (0, 1))
    expected = [(first, True), (second, True), (first, False), (encoders, "texel"), (encoders, "sample")]
    for method, (arrays, option) in zip(parse_methods("e1,e2,psp,dual,dual-sample"), expected, strict=True):
        _, found = Inverter(method, models["micro"], Perception(), OptimisationOptions())(*portrait)
        assert found[1] == option
        chex.assert_trees_all_equal(found[0], arrays)
