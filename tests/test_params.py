"""Checkpoints of ours: written whole, read back the same, refused in one line where they are not whole."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scenes

import panojax
from panojax.config import to_json
from panojax.encoders.offsets import OFFSET_LAYERS
from panojax.fields.trigrid import texel_order
from panojax.files.checkpoint import FORMAT
from panojax.inversion.optimize import invert_wplus
from panojax.kernels import unpack
from panojax.kernels.convolution import MatrixKernel, as_array
from panojax.kernels.preparation import Prepared
from panojax.losses.perception import Perception
from panojax.nn.ir_se import INPUT_LAYER
from panojax.params import abstract_arrays, count, random_params, tiny

# Where reading one array fails, orbax's threads may still read others, and complain when they are done: then and when.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def params():
    return scenes.tiny_params(solid=False)


@pytest.fixture(scope="module")
def generator(params):
    return params.generator_only()


@pytest.fixture
def folder(generator, tmp_path):
    """A checkpoint to break."""
    panojax.save(generator, tmp_path / "head")
    return tmp_path / "head"


def check_same(got, want):
    assert got.config == want.config
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
        np.testing.assert_array_equal(a, b)


def check_refused(folder, message, **options):
    with pytest.raises(panojax.InputError, match=message) as caught:
        panojax.load(folder, **options)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_round_trip(params, generator, tmp_path):
    panojax.save(params, tmp_path / "deep" / "with_encoders")
    check_same(panojax.load(tmp_path / "deep" / "with_encoders"), params)
    panojax.save(generator, tmp_path / "alone")
    check_same(panojax.load(str(tmp_path / "alone")), generator)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["alone", "deep"]  # nothing temporary is left


def test_compute_type_is_chosen_on_loading(folder, generator):
    low = panojax.load(folder, dtype="bfloat16")
    assert low.config.generator.dtype == "bfloat16"
    check_same(low.with_dtype("float32"), generator)  # storage stays float32
    with pytest.raises(panojax.InputError, match="dtype must be one of float32, bfloat16, got 'float64'"):
        panojax.load(folder, dtype="float64")


@pytest.fixture(scope="module")
def uneven(params):
    """Batch norms whose statistics, gains and biases all do something."""
    rng = np.random.default_rng(0)

    def one(path, leaf):
        draw = 0.1 * rng.standard_normal(leaf.shape).astype(np.float32)
        return leaf + draw if path[-1].key in ("scale", "bias", "mean", "var") else leaf

    return params.replace(encoders=jax.tree_util.tree_map_with_path(one, params.encoders))


@pytest.mark.parametrize("backend", ["gpu", "cpu"])
def test_inference_has_its_own_storage(uneven, monkeypatch, backend):
    """Float32 heads and pictures are the same but for rounding, also by the products of matrices that GPUs take."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    if backend == "gpu":  # the way that accelerators take
        monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, cpu, default: default(*args))
    stored = uneven.for_inference()
    assert stored.config.encoder == uneven.config.encoder
    assert stored.config.generator.field.shape == uneven.config.generator.field.shape
    assert len(jax.tree.leaves(stored.encoders)) < 0.4 * len(jax.tree.leaves(uneven.encoders))
    side = uneven.config.generator.image_resolution
    portrait, camera = 0.1 * np.ones((side, side, 3), np.float32), panojax.look_at(0.3)

    @jax.jit
    def inverted(params):
        head = panojax.invert(params, portrait, camera)
        return head, panojax.render(params, head, panojax.look_at(2.0)).image

    for got, want in zip(jax.tree.leaves(inverted(stored)), jax.tree.leaves(inverted(uneven)), strict=True):
        np.testing.assert_allclose(got, want, atol=2e-5 * float(abs(want).max()))


def check_kept(low, stored):
    """The encoders' kernels are in the type and order that layers use, and what else stayed is as it was."""
    found = dict(jax.tree.leaves_with_path(low.encoders["both"]))
    left = jax.tree.leaves_with_path(unpack(stored.encoders["both"]), is_leaf=lambda x: isinstance(x, Prepared))
    kernels = {}
    for path, leaf in left:
        if isinstance(leaf, Prepared) and isinstance(leaf.value, jax.Array | MatrixKernel):
            kernels[path] = leaf = jax.vmap(as_array)(leaf.value)
        elif isinstance(leaf, Prepared):
            continue
        want = found[path]
        if path in kernels and not any(key.key == INPUT_LAYER for key in path):
            want = want.astype("bfloat16")
        if any(key.key in OFFSET_LAYERS for key in path):
            want = want[..., texel_order(want.shape[-1], low.config.generator.plane_depth)]
        assert leaf.dtype == want.dtype
        np.testing.assert_array_equal(leaf, want)
    assert 0 < len(kernels) < len(left) and all(leaf.ndim == 5 for leaf in kernels.values())


@pytest.mark.parametrize("backend", ["gpu", "cpu"])
def test_inference_stores_the_compute_type(params, monkeypatch, backend):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    low = params.with_dtype("bfloat16")
    stored = low.for_inference()
    kernels = [x for x in jax.tree.leaves(stored.encoders) if np.ndim(x) == 5]
    exact = [x for x in kernels if x.dtype == "float32"]
    assert len(exact) == len(low.encoders["both"])  # each network's first convolution
    assert len(kernels) > len(exact) and all(x.dtype == "bfloat16" or x.dtype == "float32" for x in kernels)
    was = [x.shape for x in jax.tree.leaves(params.encoders) if np.ndim(x) == 5 and x.shape[-1] != x.shape[-2]]
    now = [x.shape for x in kernels]
    assert any(shape not in now for shape in was) == (backend == "gpu")
    kept = stored.generator["params"]["superresolution"]["block0"]["conv0"]["kernel"].value
    assert {x.dtype for x in jax.tree.leaves(kept.kernel)} == {jnp.dtype("bfloat16")}
    assert kept.energy.dtype == "float32" and isinstance(kept.kernel, MatrixKernel) == (backend == "gpu")
    check_kept(low, stored)
    if backend == "cpu":  # the same operations in the same order, as these batch norms only divide
        side = params.config.generator.image_resolution
        portrait, camera = 0.1 * np.ones((side, side, 3), np.float32), panojax.look_at(0.3)
        invert = jax.jit(lambda params: panojax.invert(params, portrait, camera).planes)
        np.testing.assert_array_equal(invert(stored), invert(low))


def test_inference_storage_is_neither_saved_nor_tuned(params, tmp_path):
    stored = params.for_inference()
    assert stored.for_inference() is stored
    with pytest.raises(panojax.InputError, match=r"params must be as loaded, got those of for_inference\(\)"):
        panojax.save(stored, tmp_path / "stored")
    assert not list(tmp_path.iterdir())
    with pytest.raises(panojax.InputError, match="params must be as loaded"):
        invert_wplus(stored, np.zeros((128, 128, 3)), perception=Perception())


def test_existing_folders_are_left_alone(generator, folder, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    with pytest.raises(panojax.InputError, match=f"checkpoint folder must not exist or be empty, got '{folder}'"):
        panojax.save(generator, folder)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(panojax.InputError, match="checkpoint folder must not exist or be empty"):
        panojax.save(generator, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("kind", ["nothing", "empty folder", "file"])
def test_what_is_no_checkpoint(tmp_path, kind):
    path = tmp_path / "head"
    if kind == "empty folder":
        path.mkdir()
    elif kind == "file":
        path.write_bytes(b"\x80\x04")
    check_refused(path, "checkpoint must be a folder that `panojax convert` wrote, got ")


def files(folder, item):
    return [p for p in (folder / item).rglob("*") if p.is_file()]


@pytest.mark.parametrize("damage", ["removed", "emptied", "garbled"])
@pytest.mark.parametrize("item", ["config", "arrays"])
def test_damaged_checkpoints(folder, item, damage):
    for path in files(folder, item):
        if damage == "removed":
            path.unlink()
        else:
            path.write_bytes(b"" if damage == "emptied" else b"\x00garbage" * 3)
    check_refused(folder, "has no readable configuration: |does not fit its configuration: ")


def test_a_checkpoint_cut_short(folder):
    """Half of its largest file is missing."""
    path = max(files(folder, "arrays"), key=lambda p: p.stat().st_size)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    check_refused(folder, "does not fit its configuration: ")


def edit_config(folder, edit):
    path = folder / "config" / "metadata"
    meta = json.loads(path.read_text())
    edit(meta)
    path.write_text(json.dumps(meta))


@pytest.mark.parametrize(
    "name, value", [("w_dim", 32), ("plane_resolution", 32), ("background", False), ("camera_adaptation", False)]
)
def test_checkpoints_of_another_architecture(folder, name, value):
    edit_config(folder, lambda meta: meta["model"]["generator"].update({name: value}))
    check_refused(folder, "its configuration has another checksum")
    check_refused(folder, "does not fit its configuration: .* expected .*, got ", verify=False)


def test_checkpoints_of_another_version(folder):
    edit_config(folder, lambda meta: meta["model"]["generator"].update(wings=2))
    check_refused(folder, "GeneratorConfig has no wings: the checkpoint is of another version", verify=False)
    edit_config(folder, lambda meta: meta["model"].pop("generator"))
    check_refused(folder, "has no readable configuration: ", verify=False)
    edit_config(folder, lambda meta: meta.update(format=FORMAT + 1))
    check_refused(folder, f"must be of format {FORMAT}, got ", verify=False)


def test_an_installation_without_the_default_model_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("panojax.files.checkpoint.DEFAULT_FOLDER", tmp_path)
    with pytest.raises(panojax.InputError, match=r"the default model must lie in .*: install panojax again"):
        panojax.load()


def test_the_random_model_is_small():
    params = panojax.load("random")
    assert params.config == tiny() and count(params) < 30e6
    chex.assert_tree_all_finite(params)


def test_random_parameters_fit_their_configuration(params):
    arrays = {"generator": params.generator, "encoders": params.encoders}
    chex.assert_trees_all_equal_shapes(abstract_arrays(params.config), arrays)
    again, other = (random_params(params.config, seed) for seed in (0, 1))
    check_same(again, params)
    kernel = ("params", "torgb", "kernel")
    first, second = params.generator, other.generator
    for name in kernel:
        first, second = first[name], second[name]
    assert np.abs(first - second).max() > 0.1


def test_generator_alone(params, generator):
    assert generator.encoders is None and generator.config.encoder is None
    assert to_json(generator.config)["generator"] == to_json(params.config)["generator"]
