"""One encoder as pure functions: properties on a tiny network, shapes at the sizes that are used."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from panojax.converters.layout import from_state_dict, torch_name
from panojax.encoders.encoder import abstract_encoder, encode_offsets, encode_styles, init_encoder
from panojax.encoders.encoder_config import EncoderConfig, light, released
from panojax.errors import InputError

TINY = light(
    resolution=32,
    n_styles=8,
    w_dim=12,
    out_channels=10,
    head_width=20,
    widths=(16, 16, 32, 32),
    depths=(1, 1, 1, 1),
)
STAGES = [("psp_encoder", encode_styles, 3), ("triplanenet_encoder", encode_offsets, 6)]
each_stage = pytest.mark.parametrize("stage, encode, channels", STAGES, ids=["styles", "offsets"])


@pytest.fixture(scope="module")
def variables():
    return init_encoder(TINY, jax.random.key(0))


def pictures(n, channels, resolution=32):
    return np.clip(0.5 * recipe.normal("encoder/pictures", (n, resolution, resolution, channels)), -1, 1)


@functools.cache
def jitted(encode, config=TINY, *, train=False):
    return jax.jit(functools.partial(encode, config, train=train))


@each_stage
def test_jit_is_eager(variables, stage, encode, channels):
    x = pictures(2, channels)
    assert recipe.relative_error(jitted(encode)(variables, x), encode(TINY, variables, x)) < 1e-5


@each_stage
def test_examples_of_a_batch_are_independent(variables, stage, encode, channels):
    x = pictures(3, channels)
    whole = jitted(encode)(variables, x)
    alone = [jitted(encode)(variables, x[i : i + 1])[0] for i in range(3)]
    mapped = jax.jit(jax.vmap(lambda x: encode(TINY, variables, x[None])[0]))(x)
    assert recipe.relative_error(alone, whole) < 1e-5
    assert recipe.relative_error(mapped, whole) < 1e-5
    assert recipe.relative_error(whole[0], whole[1]) > 0.01


@each_stage
def test_training_updates_every_statistic(variables, stage, encode, channels):
    """The first norm's statistics against NumPy; all others must move, and the output must be the batch's own."""
    x = pictures(2, channels)
    output, stats = jitted(encode, train=True)(variables, x)
    before = variables[stage]["batch_stats"]
    assert jax.tree.structure(stats) == jax.tree.structure(before)
    assert all(np.all(new != old) for new, old in zip(jax.tree.leaves(stats), jax.tree.leaves(before)))

    kernel = np.asarray(variables[stage]["params"]["input_layer.0"]["kernel"], np.float64)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    first = np.einsum("nhwiyx,yxio->nhwo", windows, kernel)
    np.testing.assert_allclose(stats["input_layer.1"]["mean"], 0.1 * first.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)
    want = 0.9 + 0.1 * first.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(stats["input_layer.1"]["var"], want, rtol=1e-5)

    moved = {stage: {**variables[stage], "batch_stats": stats}}
    again, _ = jitted(encode, train=True)(moved, x)
    np.testing.assert_array_equal(again, output)
    assert recipe.relative_error(jitted(encode)(moved, x), jitted(encode)(variables, x)) > 0.01


@each_stage
def test_running_statistics_reach_a_constant_batch(variables, stage, encode, channels):
    """Fed one batch over and over, evaluation becomes training, but for variances that are up to 8/7 as large."""
    x, train, stats = pictures(2, channels), jitted(encode, train=True), variables[stage]["batch_stats"]
    for _ in range(120):
        output, stats = train({stage: {**variables[stage], "batch_stats": stats}}, x)
    evaluated = jitted(encode)({stage: {**variables[stage], "batch_stats": stats}}, x)
    assert recipe.relative_error(evaluated, output) < 0.1


@each_stage
def test_gradients_reach_every_parameter(variables, stage, encode, channels):
    x = pictures(2, channels)
    weight = recipe.normal("encoder/weight", jitted(encode)(variables, x).shape)

    @jax.jit
    @jax.grad
    def gradient(params):
        output, _ = encode(TINY, {stage: {**variables[stage], "params": params}}, x, train=True)
        return jnp.sum(weight * output)

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(variables[stage]["params"])):
        assert np.isfinite(leaf).all() and np.any(leaf != 0), jax.tree_util.keystr(path)


@each_stage
@pytest.mark.parametrize("train", [False, True])
def test_bfloat16_is_close_to_float32(variables, stage, encode, channels, train):
    """bfloat16 keeps eight bits; a dozen layers lose two or three of them."""
    x = pictures(2, channels)
    want, got = (
        jitted(encode, dataclasses.replace(TINY, dtype=dtype), train=train)(variables, x)
        for dtype in ("float32", "bfloat16")
    )
    if train:
        (want, _), (got, stats) = want, got
        assert {leaf.dtype for leaf in jax.tree.leaves(stats)} == {np.dtype("float32")}
    assert got.dtype == jnp.bfloat16
    assert recipe.relative_error(got, want) < 0.03


def test_the_head_sees_the_planes():
    config = dataclasses.replace(TINY, offset_in_channels=9, planes_channels=5)
    variables = init_encoder(config, jax.random.key(0))
    assert "final_head_two.4" in variables["triplanenet_encoder"]["params"]
    x, planes = pictures(1, 9), recipe.normal("encoder/planes", (1, 32, 32, 5))
    encode = jitted(encode_offsets, config)
    assert encode(variables, x, planes).shape == (1, 32, 32, 10)
    assert recipe.relative_error(encode(variables, x, planes), encode(variables, x, -planes)) > 0.01


@pytest.mark.parametrize(
    "config",
    [
        light(resolution=64, n_styles=10, w_dim=256, out_channels=96),
        light(resolution=128),
        light(resolution=256, widths=(32, 48, 64, 80), depths=(1, 2, 3, 2)),
        dataclasses.replace(light(), dtype="bfloat16", param_dtype="bfloat16"),
        released(),
        released(dtype="bfloat16"),
    ],
    ids=["64", "128", "256", "bfloat16", "released", "released-bfloat16"],
)
def test_shapes(config):
    variables, r = abstract_encoder(config), config.resolution
    image, x = (jax.ShapeDtypeStruct((3, r, r, channels), jnp.float32) for channels in (3, 6))
    for train in (False, True):
        codes = jax.eval_shape(functools.partial(encode_styles, config, train=train), variables, image)
        offsets = jax.eval_shape(functools.partial(encode_offsets, config, train=train), variables, x)
        if train:
            (codes, stats), (offsets, offset_stats) = codes, offsets
            assert stats == variables["psp_encoder"]["batch_stats"]
            assert offset_stats == variables["triplanenet_encoder"]["batch_stats"]
        assert codes.shape == (3, config.n_styles, config.w_dim)
        assert offsets.shape == (3, r, r, config.out_channels)
        assert codes.dtype == offsets.dtype == config.dtype
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(variables["psp_encoder"]["params"])} == {config.param_dtype}


def test_released_sizes_are_the_released_networks():
    """Names and shapes, both ways; so no name of the released files is left over or lacking."""
    abstract = abstract_encoder(released())
    for stage, tag in [("psp_encoder", "psp_gradual_style_encoder"), ("triplanenet_encoder", "trigrid_encoder")]:
        rows = recipe.manifest(tag)["tensors"]
        state = {row["name"]: np.broadcast_to(np.float32(0), row["shape"]) for row in rows}
        tree = from_state_dict(abstract[stage], state, what=tag)
        assert jax.tree.map(np.shape, tree) == jax.tree.map(np.shape, abstract[stage])


def test_names_that_do_not_fit_are_all_reported():
    template = abstract_encoder(TINY)["psp_encoder"]
    state = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(template):
        name = torch_name(tuple(entry.key for entry in path[1:]))
        order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(leaf.ndim, range(leaf.ndim))
        state[name] = np.zeros([leaf.shape[axis] for axis in order], np.float32)
    from_state_dict(template, state, what="encoder")
    del state["styles.3.linear.bias"], state["body.2.res_layer.4.running_var"]
    state["body.0.res_layer.1.weight"] = np.zeros((16, 3, 3, 3), np.float32)
    state["styles.8.linear.bias"] = state["stem.weight"] = np.zeros(12, np.float32)
    with pytest.raises(InputError) as error:
        from_state_dict(template, state, what="encoder")
    message = str(error.value)
    assert "2 missing" in message and "2 unused" in message and "1 mis-shaped" in message
    for name in ("styles.3.linear.bias", "body.2.res_layer.4.running_var", "body.0.res_layer.1.weight", "stem.weight"):
        assert name in message


def test_init_fits_the_template(variables):
    abstract = abstract_encoder(TINY)
    chex.assert_trees_all_equal_shapes_and_dtypes(variables, abstract)


def test_init_follows_the_key_and_he(variables):
    again, other = (init_encoder(TINY, jax.random.key(seed)) for seed in (0, 1))
    chex.assert_trees_all_equal(variables, again)
    kernels = [
        tree["triplanenet_encoder"]["params"]["up1.conv"]["double_conv.1"]["kernel"] for tree in (variables, other)
    ]
    assert recipe.relative_error(*kernels) > 1
    for kernel in kernels:
        np.testing.assert_allclose(np.std(kernel), np.sqrt(2 / (9 * 64)), rtol=0.03)
    drawn = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(variables) if path[-1].key == "kernel"]
    assert len({leaf.ravel()[0].item() for leaf in drawn}) == len(drawn)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("config", [TINY, dataclasses.replace(TINY, trunk=light().trunk)], ids=["4 units", "8 units"])
def test_an_untrained_encoder_stays_near_the_mean(config, train):
    """In units of w (about 1) and of tri-grid features (about 1), whatever the depth; yet pictures differ."""
    variables = init_encoder(config, jax.random.key(3))
    codes, offsets = (jitted(encode, config, train=train)(variables, pictures(4, n)) for _, encode, n in STAGES)
    if train:
        codes, offsets = codes[0], offsets[0]
    assert 0.02 < np.std(codes) < 0.3
    assert 0.002 < np.std(offsets) < 0.05
    assert np.std(codes, axis=0).mean() > 0.3 * np.std(codes)


@pytest.mark.parametrize("shape", [(32, 32, 3), (1, 64, 64, 3), (1, 32, 32, 6), (1, 3, 32, 32)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match=r"^image must be \[N, 32, 32, 3\], got \("):
        encode_styles(TINY, {}, jnp.zeros(shape))


def test_inputs_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"^x must be \[N, 32, 32, 6\], got \(1, 32, 32, 9\)"):
        encode_offsets(TINY, {}, jnp.zeros((1, 32, 32, 9)))
    x, planes = jnp.zeros((1, 32, 32, 6)), jnp.zeros((1, 16, 16, 5))
    with pytest.raises(InputError, match=r"planes_channels = 0 channels, got an array of shape \(1, 16, 16, 5\)"):
        encode_offsets(TINY, {}, x, planes)
    config = dataclasses.replace(TINY, planes_channels=5)
    with pytest.raises(InputError, match=r"planes_channels = 5 channels, got None"):
        encode_offsets(config, {}, x)
    with pytest.raises(InputError, match=r"^planes must be \[N, 32, 32, 5\], got \(1, 16, 16, 5\)"):
        encode_offsets(config, {}, x, planes)


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"resolution": 48}, "resolution must be a power of two, at least 32, got 48"),
        ({"resolution": 16}, "resolution must be 32 to 4096, got 16"),
        ({"n_styles": 0}, "n_styles must be 1 to 64, got 0"),
        ({"planes_channels": -1}, "planes_channels must be 0 to 16384, got -1"),
        ({"dtype": "float16"}, "dtype must be float32 or bfloat16, got 'float16'"),
    ],
)
def test_impossible_configurations_are_refused(kwargs, message):
    with pytest.raises(InputError, match=message):
        EncoderConfig(**kwargs)


def test_configurations_are_static_arguments():
    assert hash(light(resolution=128)) == hash(light(resolution=128))
    assert released() == EncoderConfig() != released(dtype="bfloat16")
