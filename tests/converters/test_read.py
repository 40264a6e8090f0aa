"""Checkpoints of every format against what their makers put in: values must match bit for bit."""

import json
import pathlib
import pickle

import ml_dtypes
import numpy as np
import opcodes as op
import pytest
import recipe
import safetensors.numpy

from panojax.converters.read import read_array, read_checkpoint, read_tensors
from panojax.errors import InputError

DATA = pathlib.Path(__file__).parent / "data"
PANOHEAD = recipe.GOLDEN / "panohead_mini.pkl"


def assert_same(got, want):
    """Equal names in equal order, equal dtypes and values, each array contiguous and writable."""
    assert list(got) == list(want)
    for name, array in want.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape), name
        assert np.array_equal(got[name], array), name
        assert got[name].flags.c_contiguous and got[name].flags.writeable, name


def tensors():
    """What data/make_torch_files.py saved as tensors_*.pt, made with NumPy."""
    grid = recipe.normal("grid", (4, 6))
    return {
        "grid": grid,
        "transposed": grid.T,
        "strided": grid[1:, ::2],
        "expanded": np.full((3, 5), grid[0, 0]),
        "scalar": recipe.normal("scalar", ()),
        "empty": np.zeros((0, 3), np.float32),
        "double": recipe.normal("double", (3,)).astype(np.float64),
        "half": recipe.normal("half", (2, 3)).astype(np.float16),
        "bfloat16": recipe.normal("bfloat16", (2, 3)).astype(ml_dtypes.bfloat16),
        "int64": np.arange(-3, 4),
        "int32": np.arange(5, dtype=np.int32),
        "int16": np.arange(5, dtype=np.int16),
        "int8": np.arange(-2, 3, dtype=np.int8),
        "uint8": np.arange(250, 256).astype(np.uint8),
        "bool": np.array([True, False, True]),
        "parameter": recipe.normal("parameter", (2, 2)),
    }


def network():
    """The state dict of the network that data/make_torch_files.py saved, in PyTorch's order."""
    shapes = {"conv.weight": (3, 2, 1, 1), "conv.bias": (3,), "norm.weight": (3,), "norm.bias": (3,)}
    shapes |= {"norm.running_mean": (3,), "norm.running_var": (3,)}
    state = {name: recipe.normal(name, shape) for name, shape in shapes.items()}
    return state | {"norm.num_batches_tracked": np.array(0), "act.weight": recipe.normal("act.weight", (1,))}


@pytest.mark.parametrize("name, tag", [("G_ema", "panohead_mini"), ("D", "tri_discriminator_mini")])
def test_network_pickle(name, tag):
    """The released layout; the source text in the file raises if it is run."""
    checkpoint = read_checkpoint(PANOHEAD, name)
    assert_same(checkpoint.state_dict, recipe.state_dict(tag))
    manifest = recipe.manifest(tag)
    for key, value in checkpoint.init_kwargs.items():
        assert manifest["init_kwargs"].get(key, value) == value, key
    assert checkpoint.rendering_kwargs == manifest.get("rendering_kwargs", {})
    assert json.loads(json.dumps(checkpoint.init_kwargs)) == checkpoint.init_kwargs


def test_network_pickle_beside_the_arrays():
    checkpoint = read_checkpoint(str(PANOHEAD))
    assert checkpoint.class_name == "TriPlaneGenerator"
    assert checkpoint.attributes["neural_rendering_resolution"] == 64
    assert checkpoint.init_kwargs["mapping_kwargs"] == {"num_layers": 2}
    assert checkpoint.init_kwargs["rendering_kwargs"] == checkpoint.rendering_kwargs
    assert read_checkpoint(PANOHEAD, "D").class_name == "MaskDualDiscriminatorV2"


def test_unknown_network_lists_those_there():
    with pytest.raises(InputError, match=r"panohead_mini\.pkl: network: expected one of D, G_ema, got 'E'"):
        read_checkpoint(PANOHEAD, "E")


@pytest.mark.parametrize("name", ["tensors_zip.pt", "tensors_legacy.pt"])
def test_torch_tensors(name):
    checkpoint = read_checkpoint(DATA / name)
    assert_same(checkpoint.state_dict, tensors())
    assert (checkpoint.init_kwargs, checkpoint.rendering_kwargs, checkpoint.class_name) == ({}, {}, None)


@pytest.mark.parametrize("name", ["wrapped_zip.pth", "wrapped_legacy.pth"])
def test_torch_wrapped_state_dict(name):
    checkpoint = read_checkpoint(DATA / name)
    assert_same(checkpoint.state_dict, network())
    assert checkpoint.attributes == {"global_step": 7}


@pytest.mark.parametrize("name", ["network_zip.pt", *(f"network_protocol{n}.pkl" for n in (2, 4, 5))])
def test_torch_network(name):
    """Whole networks of torch's classes; the non-persistent buffer and the empty slot are left out, as in PyTorch."""
    checkpoint = read_checkpoint(DATA / name, "G")
    assert_same(checkpoint.state_dict, network())
    assert checkpoint.rendering_kwargs == {
        "ray_start": 2.25,
        "pivot": [0.0, 0.0, 0.2],
        "sizes": [3, 4],
        "depth": 7,
        "flag": True,
        "dtype": "torch.float16",
        "tags": ["a"],
        "f": [1, None],
    }
    assert [type(checkpoint.rendering_kwargs[key]) for key in ("ray_start", "depth", "flag")] == [float, int, bool]
    assert checkpoint.attributes == {"training": True, "neural_rendering_resolution": 64}
    assert checkpoint.class_name == "torch.nn.modules.container.Sequential"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickled_arrays(tmp_path, protocol):
    """A pickled dict of NumPy arrays, wrapped or not; both memory layouts and byte orders."""
    path = tmp_path / "arrays.bin"
    arrays = {
        "a": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "b": np.arange(3, dtype=">i2"),
        "c": np.zeros((2, 0)),
    }
    want = {name: np.array(array, array.dtype.newbyteorder("="), order="C") for name, array in arrays.items()}
    for value in (
        arrays,
        {"state_dict": {f"module.{name}": array for name, array in arrays.items()}},
        {"G_ema": arrays},
    ):
        path.write_bytes(pickle.dumps(value, protocol))
        assert_same(read_checkpoint(path).state_dict, want)


def test_safetensors(tmp_path):
    """Written by the safetensors package; the names keep the file's order, the arrays' dtypes include bfloat16."""
    want = {f"module.{name}": np.array(array, order="C") for name, array in tensors().items()}
    path = tmp_path / "no_suffix"
    safetensors.numpy.save_file(want, path, metadata={"format": "np"})
    got = read_checkpoint(path).state_dict
    assert_same({name: got[name] for name in tensors()}, tensors())
    assert len(got) == len(want)


@pytest.mark.parametrize(
    "array", [np.arange(12.0).reshape(3, 4).T, np.float32(3), np.arange(3, dtype=">i8"), np.zeros((0, 2))]
)
def test_npy_and_npz(tmp_path, array):
    want = {"": np.array(array, np.asarray(array).dtype.newbyteorder("="), order="C")}
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", array)
    np.savez_compressed(tmp_path / "b.npz", array)
    for name in ("a.npy", "a.npz", "b.npz"):
        assert_same({"": read_array(tmp_path / name)}, want)
    assert_same(read_tensors(tmp_path / "a.npy"), want)


def test_npz_with_several_arrays_names_them(tmp_path):
    np.savez(tmp_path / "two.npz", left=np.zeros(2), right=np.zeros(2))
    with pytest.raises(InputError, match=r"expected one array in the \.npz file, got left, right"):
        read_array(tmp_path / "two.npz")


def test_read_tensors_leaves_the_rest():
    assert list(read_tensors(DATA / "latent_avg.pt")) == [""]
    assert read_tensors(DATA / "wrapped_zip.pth") == {}


@pytest.mark.parametrize(
    "value, message",
    [
        ({"G_ema": 3, "step": 1}, "these are none: G_ema, step"),
        ({}, "it is empty"),
        ([1, 2], "expected a dict of networks or a state dict, got a list"),
        ({"a": np.zeros(2), 5: np.zeros(2)}, "these are none: 5"),
        ({"state_dict": {"a": np.zeros(2), "b": "text"}}, "these are none: b"),
    ],
)
def test_pickles_without_a_state_dict(tmp_path, value, message):
    (tmp_path / "value.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(InputError, match=message):
        read_checkpoint(tmp_path / "value.pkl")


def persistent(**state):
    """A network as `torch_utils.persistence` pickles it, the attributes given as opcodes."""
    meta = {
        "type": op.text("class"),
        "version": op.number(6),
        "module_src": op.text("raise SystemExit"),
        "class_name": op.text("G"),
    }
    return op.call(
        op.name("torch_utils.persistence", "_reconstruct_persistent_obj"), op.mapping(**meta, state=op.mapping(**state))
    )


def test_rendering_kwargs_of_the_attribute_go_first(tmp_path):
    init_kwargs = op.mapping(rendering_kwargs=op.mapping(a=op.number(1), b=op.number(2)))
    path = tmp_path / "network.pkl"
    path.write_bytes(op.pickled(persistent(_init_kwargs=init_kwargs, rendering_kwargs=op.mapping(a=op.number(3)))))
    assert read_checkpoint(path).rendering_kwargs == {"a": 3}
    assert read_checkpoint(path).init_kwargs == {"rendering_kwargs": {"a": 1, "b": 2}}
    path.write_bytes(op.pickled(persistent(_init_kwargs=init_kwargs)))
    assert read_checkpoint(path).rendering_kwargs == {"a": 1, "b": 2}
    path.write_bytes(op.pickled(persistent(_init_kwargs=op.text("a"))))
    with pytest.raises(InputError, match="init_kwargs: expected a dict, got a str"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["negated_zip.pt", "negated_legacy4.pt", "negated.pkl"])
def test_negated_tensors(name):
    """PyTorch's negative bit, also in a file of the older format and pickle protocol 4. Before, the sign was lost."""
    pairs = recipe.normal("complex", (3, 2))
    assert_same(
        read_checkpoint(DATA / name).state_dict, {"plain": pairs, "negated": -pairs[:, 1], "weight": -pairs[:, 1]}
    )


def test_unknown_bits_of_tensors(tmp_path):
    for bits, message in (
        (op.mapping(conj=b"\x88"), "expected a plain or a negated tensor, got one with conj"),
        (op.number(3), "a tensor's metadata should be a dict, got an int"),
    ):
        view = op.number(0), op.numbers(2, 3), op.numbers(3, 1)
        tensor = op.call(op.name("torch._utils", "_rebuild_tensor_v2"), op.storage(), *view, b"\x89", b"}", bits)
        (tmp_path / "a.pt").write_bytes(op.torch_zip(op.mapping(a=tensor), {"0": bytes(24)}))
        with pytest.raises(InputError, match=message):
            read_checkpoint(tmp_path / "a.pt")


def test_axes_and_notes_lie_beside_the_network():
    checkpoint = read_checkpoint(PANOHEAD)
    want = [[[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 0, 1], [0, 1, 0]], [[0, 1, 0], [0, 0, 1], [1, 0, 0]]]
    assert list(checkpoint.beside) == ["renderer.plane_axes"]
    np.testing.assert_array_equal(checkpoint.beside["renderer.plane_axes"], want)
