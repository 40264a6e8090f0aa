"""From PyTorch files to a checkpoint of ours, and the pictures it gives."""

import dataclasses
import pathlib
import pickle
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
import recipe
import scenes
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

import panojax
from panojax.converters import convert as module
from panojax.converters.encoders import own_average
from panojax.converters.layout import torch_name
from panojax.converters.read import read_checkpoint
from panojax.encoders import dual
from panojax.encoders.encoder import abstract_encoder
from panojax.encoders.encoder_config import light, released
from panojax.fields.trigrid import PLANE_AXES

PICKLE = recipe.GOLDEN / "panohead_mini.pkl"
KWARGS = tuple(recipe.manifest("panohead_mini")[name] for name in ("init_kwargs", "rendering_kwargs"))

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
sys.path.insert(0, sys.argv[1])
import jax, numpy as np, panojax, recipe, scenes

panojax.convert(recipe.GOLDEN / "panohead_mini.pkl", sys.argv[2])
params = panojax.load(sys.argv[2])
golden = recipe.golden("panohead_mini")
uniforms = scenes.golden_uniforms("panohead_mini", params.config.generator, 2, 32)
z = recipe.normal("panohead_mini/z", (2, params.config.generator.z_dim))
generate = jax.vmap(lambda z, c: panojax.generate(params, z, c, truncation=1.0))
render = jax.vmap(lambda h, c, u: panojax.render(params, h, c, resolution=32, uniforms=u))
view = jax.jit(render)(jax.jit(generate)(z, golden["camera_label"]), golden["camera_label"], uniforms)
np.savez(sys.argv[3], image=view.image, raw=view.raw, weight=view.weight)
assert not any(name == "torch" or name.startswith("torch.") for name, m in sys.modules.items() if m is not None)
"""


def test_golden_pictures_without_pytorch(tmp_path):
    """convert, load, generate, render: from the pickle and the latent alone, where `import torch` fails."""
    tests = pathlib.Path(recipe.__file__).parent
    command = [sys.executable, "-c", WITHOUT_TORCH, tests, tmp_path / "head", tmp_path / "views.npz"]
    subprocess.run(command, check=True, timeout=300)
    golden = recipe.golden("panohead_mini")
    with np.load(tmp_path / "views.npz") as views:
        assert recipe.relative_error(scenes.to_nchw(views["image"]), golden["image_32"]) <= 1e-5
        assert recipe.relative_error(scenes.to_nchw(views["raw"]), golden["image_raw_32"]) <= 1e-5
        assert recipe.relative_error(views["weight"].reshape(2, -1, 1), golden["weight_32"]) <= 1e-5


def test_discriminator_of_the_same_file():
    found = read_checkpoint(PICKLE, network="D")
    manifest, want = recipe.manifest("tri_discriminator_mini"), recipe.state_dict("tri_discriminator_mini")
    assert (
        found.class_name == "MaskDualDiscriminatorV2" and found.init_kwargs["c_dim"] == manifest["init_kwargs"]["c_dim"]
    )
    assert found.state_dict.keys() == want.keys()
    for name, array in want.items():
        np.testing.assert_array_equal(found.state_dict[name], array)


@pytest.fixture(scope="module")
def state():
    return recipe.state_dict("panohead_mini")


@pytest.fixture(scope="module")
def kwargs():
    manifest = recipe.manifest("panohead_mini")
    return manifest["init_kwargs"], manifest["rendering_kwargs"]


def test_pickle_and_state_dict_give_the_same(state, kwargs, tmp_path):
    converted = panojax.convert(PICKLE, tmp_path / "head")
    direct = panojax.from_torch(state, *kwargs)
    loaded = panojax.load(tmp_path / "head")
    for params in (converted, loaded):
        assert params.config.generator == direct.config.generator and params.encoders is None
        got, want = params.generator, direct.generator
        assert jax.tree.structure(got) == jax.tree.structure(want)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
            np.testing.assert_array_equal(a, b)


def test_layouts(state, kwargs):
    """One kernel of each kind, by hand."""
    params = panojax.from_torch(state, *kwargs, neural_rendering_resolution=48).generator["params"]
    synthesis = params["backbone.synthesis"]["b8"]
    weight = state["backbone.synthesis.b8.conv0.weight"]
    np.testing.assert_array_equal(synthesis["conv0"]["kernel"], weight.transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(
        params["backbone.synthesis"]["b4"]["const"], state["backbone.synthesis.b4.const"].transpose(1, 2, 0)
    )
    np.testing.assert_array_equal(params["decoder"]["net.0"]["kernel"], state["decoder.net.0.weight"].T)


def test_all_misfits_are_reported_at_once(state, kwargs):
    broken = {k: v for k, v in state.items() if k not in ("torgb.bias", "decoder.net.0.weight")}
    broken["wings.weight"] = np.zeros(3, np.float32)
    broken["backbone.mapping.fc0.bias"] = np.zeros(7, np.float32)
    broken["decoder.net.2.bias"] = np.full_like(state["decoder.net.2.bias"], np.nan)
    with pytest.raises(panojax.InputError) as caught:
        panojax.from_torch(broken, *kwargs)
    message = str(caught.value)
    assert "\n" not in message and message.startswith("generator: the state dict does not fit the network: ")
    assert re.search(r"2 missing: [^;]*decoder\.net\.0\.weight \(32, 64\)", message)
    assert re.search(r"2 missing: [^;]*torgb\.bias \(3,\)", message)
    assert "1 unused: wings.weight" in message
    assert "1 mis-shaped: backbone.mapping.fc0.bias: expected (512,) in our layout, got (7,)" in message
    assert "1 not finite: decoder.net.2.bias" in message


def test_names_of_a_file_stay_in_one_line(state, kwargs):
    """Whatever a file calls its arrays and options."""
    init, rendering = kwargs
    for options in ((init, rendering | {"a\nb": 1}), (init | {"a\nb": 1}, rendering), ({"a\nb": 1}, rendering), kwargs):
        with pytest.raises(panojax.InputError) as caught:
            panojax.from_torch(state | {"a\nb": np.zeros(2, np.float32)}, *options)
        assert str(caught.value).isprintable() and "a\\nb" in str(caught.value)


def test_filters_and_batch_counts_are_ignored(state, kwargs):
    extra = state | {"superresolution.block0.resample_filter": np.zeros((4, 4)), "x.num_batches_tracked": np.zeros(())}
    panojax.from_torch(extra, *kwargs)


def refused(message, *args, out, **options):
    """Nothing is written."""
    with pytest.raises(panojax.InputError, match=message) as caught:
        panojax.convert(*args, out=out, **options)
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_what_is_no_generator(tmp_path, state):
    out = tmp_path / "head"
    refused("expected a generator with rendering_kwargs, got MaskDualDiscriminatorV2", PICKLE, out=out, network="D")
    refused("network: expected one of .*, got 'E'", PICKLE, out=out, network="E")
    save_file({"decoder.net.0.weight": state["decoder.net.0.weight"]}, tmp_path / "bare.safetensors")
    bare = tmp_path / "bare.safetensors"
    refused("expected a generator with rendering_kwargs, got a bare state dict", bare, out=out)
    refused("expected a file, got nothing there", tmp_path / "nothing.pkl", out=out)
    refused("expected a file, got a folder", tmp_path, out=out)
    refused("plane_axes must be one of", PICKLE, out=out, plane_axes="sideways")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bare.safetensors"]


def test_encoders_come_in_pairs(tmp_path):
    out = tmp_path / "head"
    refused("visible and occluded must be given together, got a.pt and None", PICKLE, out=out, visible="a.pt")
    refused("visible and occluded must be given together, got None and b.pt", PICKLE, out=out, occluded="b.pt")
    alone = "latent_average must come with visible and occluded, or with goae, got it alone"
    refused(alone, PICKLE, out=out, latent_average="c.npy")


def test_existing_outputs_are_left_alone(tmp_path):
    (tmp_path / "mine").write_text("mine")
    for out in (tmp_path, tmp_path / "mine"):
        with pytest.raises(panojax.InputError, match=f"^out must not exist or be empty, got '{out}'$"):
            panojax.convert(PICKLE, out)
    assert (tmp_path / "mine").read_text() == "mine"


LIGHT = light(
    resolution=32,
    n_styles=10,
    w_dim=512,
    out_channels=288,
    head_width=16,
    widths=(16, 16, 16, 16),
    depths=(1, 1, 1, 1),
)


def torch_layout(array):
    """The inverse of `layout.to_flax` for an encoder's kernels."""
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T if array.ndim == 2 else array


def encoder_state(name, config=LIGHT):
    """A state dict of released names and of `config`'s sizes, and the variables that it should become."""
    state, variables = {}, {}
    template = flatten_dict(abstract_encoder(config))
    for (group, collection, *path), leaf in template.items():
        array = np.abs(recipe.normal(f"{name}/{group}/{path}", leaf.shape))
        array /= np.float32(np.sqrt(np.prod(leaf.shape[:-1])))
        key = f"{group}.{torch_name(tuple(path))}"
        state[key] = np.ascontiguousarray(torch_layout(array) if path[-1] == "kernel" else array)
        variables[group, collection, *path] = array
    return state, variables


@pytest.fixture
def encoder_files(tmp_path, monkeypatch):
    """Two encoders' files of a light configuration, which takes the place of the released one."""
    monkeypatch.setattr(module, "encoder_config", lambda groups, shape: LIGHT)
    files = {}
    for name in ("visible", "occluded"):
        save_file(encoder_state(name)[0], tmp_path / f"{name}.safetensors")
        files[name] = tmp_path / f"{name}.safetensors"
    np.save(tmp_path / "average.npy", recipe.normal("average", (10, 512)))
    return files | {"latent_average": tmp_path / "average.npy"}


def test_encoders(encoder_files, tmp_path):
    params = panojax.convert(PICKLE, tmp_path / "head", **encoder_files)
    loaded = panojax.load(tmp_path / "head")
    assert params.config.encoder == loaded.config.encoder == LIGHT
    for got in (params, loaded):
        for which, name in ((dual.VISIBLE, "visible"), (dual.OCCLUDED, "occluded")):
            variables = flatten_dict(dual.part(got.encoders["both"], which))
            want = encoder_state(name)[1]
            assert variables.keys() == want.keys()
            for path, array in want.items():
                np.testing.assert_array_equal(variables[path], array)
        np.testing.assert_array_equal(got.encoders["latent_average"], recipe.normal("average", (10, 512)))


def test_the_mean_code_is_computed_where_no_file_gives_it(encoder_files, state, kwargs):
    generator = panojax.from_torch(state, *kwargs)
    params = module.add_encoders(generator, encoder_files["visible"], encoder_files["occluded"])
    average = np.asarray(params.encoders["latent_average"])
    assert average.shape == (10, 512) and (average == average[0]).all()
    others = jax.vmap(lambda z: panojax.map_latent(generator, z)[0])(recipe.normal("many latents", (4000, 64)))
    np.testing.assert_allclose(average[0], np.mean(others, axis=0), atol=6 * np.std(others) / np.sqrt(4000))


CONTAINERS = {
    "beside": lambda state, average: {"state_dict": state, "latent_avg": average, "opts": {"n_styles": 10}},
    "inside": lambda state, average: {"state_dict": state | {"latent_avg": average}, "step": 3},
    "bare": lambda state, average: state | {"latent_avg": average},
    "compiled": lambda state, average: {
        "state_dict": {f"module._orig_mod.{name}": x for name, x in state.items()},
        "latent_avg": average,
    },
    "compiled parts": lambda state, average: {
        "model": {name.replace(".", "._orig_mod.", 1): x for name, x in state.items()},
        "latent_avg": average,
    },
    "pSp": lambda state, average: {
        "state_dict": {name.replace("psp_encoder.", "encoder.", 1): x for name, x in state.items()}
        | {"decoder.style.1.weight": np.zeros((2, 2), np.float32)},
        "latent_avg": average,
    },
    "ema": lambda state, average: {
        "model": {name: np.zeros_like(x) for name, x in state.items()},
        "ema": {"net": state},
        "latent_avg": average,
    },
    "ema beside a state dict": lambda state, average: {
        "state_dict": {name: np.zeros_like(x) for name, x in state.items()},
        "ema": state,
        "latent_avg": average,
    },
    "average by its name": lambda state, average: {
        "state_dict": {name: np.zeros_like(x) for name, x in state.items()},
        "state_dict_ema": state,
        "latent_avg": average,
    },
    "notes of an average": lambda state, average: {"ema": {"decay": 0.999}, "state_dict": state, "latent_avg": average},
    "within an encoder": lambda state, average: {"net": {"state_dict": state | {"psp_encoder.latent_avg": average}}},
    "a batch of one": lambda state, average: {"state_dict": state, "latent_avg": average[None]},
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_containers_of_encoders_and_their_own_mean_code(encoder_files, tmp_path, kind):
    """pSp's and TriPlaneNet's coaches, torch.compile, averages: the mean code of the file is the encoders' own."""
    average = recipe.normal("own average", (10, 512))
    for name in ("visible", "occluded"):
        encoder_files[name] = tmp_path / f"{name}.pkl"
        encoder_files[name].write_bytes(pickle.dumps(CONTAINERS[kind](encoder_state(name)[0], average)))
    files = encoder_files.pop("visible"), encoder_files.pop("occluded")
    generator = panojax.from_torch(recipe.state_dict("panohead_mini"), *KWARGS)
    params = module.add_encoders(generator, *files)
    np.testing.assert_array_equal(params.encoders["latent_average"], average)
    for which, name in ((dual.VISIBLE, "visible"), (dual.OCCLUDED, "occluded")):
        variables = flatten_dict(dual.part(params.encoders["both"], which))
        for path, array in encoder_state(name)[1].items():
            np.testing.assert_array_equal(variables[path], array)
    given = module.add_encoders(generator, *files, encoder_files["latent_average"])
    np.testing.assert_array_equal(given.encoders["latent_average"], recipe.normal("average", (10, 512)))


def test_two_mean_codes_are_refused(encoder_files, tmp_path):
    for i, name in enumerate(("visible", "occluded")):
        own = {"state_dict": encoder_state(name)[0], "latent_avg": np.full(512, i, np.float32)}
        encoder_files[name] = tmp_path / f"{name}.pkl"
        encoder_files[name].write_bytes(pickle.dumps(own))
    average = encoder_files.pop("latent_average")
    message = "latent_avg must be the same in the files of visible and occluded, got two: say which by latent_average"
    refused(message, PICKLE, out=tmp_path / "head", **encoder_files)
    panojax.convert(PICKLE, tmp_path / "head", **encoder_files, latent_average=average)


def test_triplanenets_generator(state, kwargs, encoder_files, tmp_path):
    """{"init_kwargs", "G_ema": state dict, "latent_avg"}: rendered at 128, as TriPlaneNet sets it."""
    init, rendering = kwargs
    average = recipe.normal("own average", (1, 512))
    path = tmp_path / "eg3d.pt"
    arrays = {name: np.asarray(array) for name, array in state.items()}
    file = {"init_kwargs": init | {"rendering_kwargs": rendering}, "G_ema": arrays, "latent_avg": average}
    path.write_bytes(pickle.dumps(file))
    del encoder_files["latent_average"]
    params = panojax.convert(path, tmp_path / "head", **encoder_files)
    direct = panojax.from_torch(state, init, rendering, neural_rendering_resolution=128)
    assert params.config.generator == direct.config.generator
    for got, want in zip(jax.tree.leaves(params.generator), jax.tree.leaves(direct.generator), strict=True):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(params.encoders["latent_average"], np.broadcast_to(average, (10, 512)))


GENERATORS = {
    "nested": lambda state, options, average: {"net": options | {"G_ema": state}, "latent_avg": average},
    "a state dict of its own": lambda state, options, average: {
        **options,
        "G_ema": {"state_dict": {f"module.{name}": x for name, x in state.items()}},
        "latent_avg": average,
    },
    "the mean code inside": lambda state, options, average: {**options, "G_ema": state | {"latent_avg": average}},
}


@pytest.mark.parametrize("kind", GENERATORS)
def test_containers_of_generators(state, kwargs, tmp_path, kind):
    """`init_kwargs` beside the network's arrays, at any depth; the mean code within them is no parameter."""
    init, rendering = kwargs
    average = recipe.normal("own average", (1, 512))
    path = tmp_path / "eg3d.pt"
    arrays = {name: np.asarray(array) for name, array in state.items()}
    path.write_bytes(
        pickle.dumps(GENERATORS[kind](arrays, {"init_kwargs": init | {"rendering_kwargs": rendering}}, average))
    )
    params = panojax.convert(path, tmp_path / "head")
    direct = panojax.from_torch(state, init, rendering, neural_rendering_resolution=128)
    assert params.config.generator == direct.config.generator
    for got, want in zip(jax.tree.leaves(params.generator), jax.tree.leaves(direct.generator), strict=True):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(own_average(read_checkpoint(path)), average)


def test_axes_that_are_a_buffer(state, kwargs):
    """A generator whose renderer registers `plane_axes` has them in its state dict; those given go before them."""
    axes = np.eye(3)[[(0, 1, 2), (0, 2, 1), (2, 1, 0)]]
    own = state | {"renderer.plane_axes": np.float32(axes)}
    assert panojax.from_torch(own, *kwargs).config.generator.plane_axes == PLANE_AXES["eg3d-fixed"]
    given = panojax.from_torch(own, *kwargs, plane_axes="eg3d")
    assert given.config.generator.plane_axes == PLANE_AXES["eg3d"]


def test_misfits_of_both_encoders_are_reported_at_once(encoder_files, tmp_path):
    broken = encoder_state("visible")[0]
    first = next(name for name in broken if name.startswith("psp_encoder.") and name.endswith(".weight"))
    del broken[first]
    broken["triplanenet_encoder.wings"] = np.zeros(3, np.float32)
    save_file(broken, encoder_files["visible"])
    broken = encoder_state("occluded")[0]
    broken[first] = np.zeros((2, 2, 2), np.float32)
    save_file(broken, encoder_files["occluded"])
    name = re.escape(first.removeprefix("psp_encoder."))
    message = (
        f"the encoders do not fit the networks: visible psp_encoder: 1 missing: {name} .*"
        f"; visible triplanenet_encoder: 1 unused: wings; occluded psp_encoder: 1 mis-shaped: {name}: expected "
    )
    refused(message, PICKLE, out=tmp_path / "head", **encoder_files)


def test_encoders_of_another_architecture(encoder_files, tmp_path, monkeypatch):
    """Light encoders are no released ones."""
    monkeypatch.undo()
    message = r"the encoders do not fit the networks: visible psp_encoder: \d+ missing: .* mis-shaped: "
    refused(message, PICKLE, out=tmp_path / "head", **encoder_files)


def test_broken_encoder_files(encoder_files, tmp_path):
    out = tmp_path / "head"
    missing = encoder_files | {"occluded": tmp_path / "none.pt"}
    refused("expected a file, got nothing there", PICKLE, out=out, **missing)
    refused(
        r"state_dict: expected psp_encoder.\* and triplanenet_encoder.\*, got missing groups: ",
        PICKLE,
        out=out,
        **(encoder_files | {"visible": PICKLE}),
    )
    np.save(tmp_path / "average.npy", np.zeros((3, 512), np.float32))
    refused(r"latent_average must be \[512\] or \[10, 512\], got \(3, 512\)", PICKLE, out=out, **encoder_files)


@pytest.mark.parametrize("channels", [6, 9])
def test_input_channels_follow_the_file(channels):
    groups = {"triplanenet_encoder": {"input_layer.0.weight": np.zeros((64, channels, 3, 3))}}
    config = module.encoder_config(groups, panojax.GeneratorConfig())
    assert config == dataclasses.replace(released(), offset_in_channels=channels)


@pytest.mark.parametrize("shuffle", [True, False])
def test_triplanenet_v2_sees_the_planes(shuffle):
    """Nine channels and planes; without `--use_pixelshuffle` a decoder as wide as the trunk."""
    eg3d = panojax.GeneratorConfig(plane_depth=1, depth_interpolation=False)
    want = dataclasses.replace(
        released(), offset_in_channels=9, planes_channels=96, out_channels=96, pixel_shuffle=shuffle
    )
    shapes = flatten_dict(abstract_encoder(want)["triplanenet_encoder"])
    state = {}
    for (_, *path), leaf in shapes.items():
        shape = leaf.shape[:1] if len(leaf.shape) < 4 else (*leaf.shape[:1:-1], *leaf.shape[:2])
        state[torch_name(tuple(path))] = np.broadcast_to(np.float32(0), shape)
    sizes = [state[f"up{i}.conv.double_conv.1.weight"].shape[:2] for i in (1, 2, 3, 4)]
    assert sizes == (
        [(512, 1024), (384, 384), (256, 224), (96, 128)]
        if shuffle
        else [(512, 1024), (256, 768), (128, 384), (64, 192)]
    )
    assert state["final_head_two.0.weight"].shape == (96, 120 if shuffle else 160, 3, 3)
    assert module.encoder_config({"triplanenet_encoder": state}, eg3d) == want


@pytest.mark.slow
def test_released_encoders(tmp_path):
    """A gigabyte of released names and shapes; the W+ stage's codes are the golden ones, and the head is complete."""
    parts = {"psp_encoder": "psp_gradual_style_encoder", "triplanenet_encoder": "trigrid_encoder"}
    state = {f"{group}.{k}": v for group, tag in parts.items() for k, v in recipe.state_dict(tag).items()}
    save_file(state, tmp_path / "encoder.safetensors")
    del state
    generator = scenes.tiny_params(
        encoders=False, w_dim=512, plane_resolution=256, plane_features=32, channel_base=1024
    )
    average = recipe.normal("latent_avg", (1, 512))
    np.save(tmp_path / "average.npy", average)
    file = tmp_path / "encoder.safetensors"
    params = module.add_encoders(generator, file, file, tmp_path / "average.npy")
    picture = np.clip(0.5 * recipe.normal("psp/image", (1, 3, 256, 256)), -1, 1)[0].transpose(1, 2, 0)
    head, inner = scenes.invert(params, picture, return_parts=True)
    codes = recipe.golden("psp_gradual_style_encoder")["codes"][0]
    assert recipe.relative_error(inner.visible.ws - average, codes) <= 1e-5
    assert recipe.relative_error(inner.occluded.ws - average, codes) <= 1e-5
    assert head.planes.shape == (3, 3, 256, 256, 32) and np.isfinite(head.planes).all()
