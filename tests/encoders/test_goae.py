"""GOAE's networks against PyTorch's outputs, its stages, and its mixing against NumPy."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from conftest import solid_generator

import panojax
from panojax.config import Config, from_json, to_json
from panojax.converters.layout import from_state_dict
from panojax.encoders.goae import GoaeEncoder, GoaeFeatures, cells_of_depth, small
from panojax.encoders.goae_networks import CodeEncoder, FeatureAdapter
from panojax.encoders.stage import Context, run
from panojax.errors import InputError
from panojax.files.checkpoint import load, save
from panojax.generators import generator as G
from panojax.inversion.stages import abstract_variables, init_variables
from panojax.nn.swin import SwinConfig, SwinTransformer
from panojax.viewer.subjects import from_photo

ENCODER = small()


def picture(tag, side):
    return np.clip(0.5 * recipe.normal(f"goae/{tag}", (1, 3, side, side)), -1, 1).transpose(0, 2, 3, 1)


def filled(network, tag, *inputs):
    """The golden file's variables of a network."""
    template = jax.eval_shape(functools.partial(network.init, train=False), jax.random.key(0), *inputs)
    return from_state_dict(template, recipe.state_dict(tag), what=tag)


def test_encoder_is_pytorch_s():
    """Float32 on a CPU: 1e-6 when written; 1e-5 leaves room for other orders of summation."""
    image, want = picture("image", 256), recipe.golden("goae_encoder")
    network = CodeEncoder(SwinConfig(), 14, 512)
    variables = filled(network, "goae_encoder", image)

    @jax.jit
    def both(variables, image):
        taps = SwinTransformer(SwinConfig()).apply({"params": variables["params"]["swin_model"]}, image, train=False)
        return network.apply(variables, image, train=False), taps

    ws, (fine, mid, coarse, query, last) = both(variables, image)
    assert recipe.relative_error(ws, want["ws"]) < 1e-5
    assert recipe.relative_error(ws[:, 0], want["ws_base"]) < 1e-5
    query, last = (np.swapaxes(x, 1, 2) for x in (query, last))
    for name, got in {
        "fine": fine[:, ::256, ::8],
        "mid": mid[:, ::64, ::16],
        "coarse": coarse[:, ::16, ::16],
        "query": query[:, ::16, ::4],
        "last": last[:, ::16, ::4],
    }.items():
        assert recipe.relative_error(got, want[name]) < 1e-5, name


def test_adapter_is_pytorch_s():
    """Float32 on a CPU: 5e-7 when written."""
    difference = picture("afa_rendering", 512) - picture("afa_image", 512)
    features = recipe.normal("goae/afa_features", (1, 512, 32, 32)).transpose(0, 2, 3, 1)
    network = FeatureAdapter()
    variables = filled(network, "goae_afa", features, difference)
    outputs = jax.jit(functools.partial(network.apply, train=False))(variables, features, difference)
    for name, got in zip(("adapted", "gamma", "beta"), outputs):
        got = np.asarray(got).transpose(0, 3, 1, 2)[:, ::16, ::2, ::2]
        assert recipe.relative_error(got, recipe.golden("goae_afa")[name]) < 1e-5, name


def test_authors_sizes():
    """111 and 12 million parameters, whose names and shapes are those of the golden files, both ways."""
    model = Config(panojax.GeneratorConfig(), GoaeEncoder(), encoders=1)
    variables = abstract_variables(model)
    for name, tag in (("goae_codes", "goae_encoder"), ("goae_features", "goae_afa")):
        rows = recipe.manifest(tag)["tensors"]
        state = {row["name"]: np.broadcast_to(np.float32(0), row["shape"]) for row in rows}
        from_state_dict(variables[name], state, what=tag)
    sizes = {name: sum(x.size for x in jax.tree.leaves(part["params"])) for name, part in variables.items()}
    assert {name: round(size / 1e6) for name, size in sizes.items()} == {"goae_codes": 111, "goae_features": 12}


def numpy_blur(mask):
    """9 x 9 Gaussian of sigma 1.5 with mirrored borders, texel by texel."""
    offsets = np.arange(-4, 5)
    kernel = np.exp(-(offsets**2) / (2 * 1.5**2))
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
    padded = np.pad(mask, 4, mode="reflect")
    return np.array([[np.sum(kernel * padded[r : r + 9, c : c + 9]) for c in range(256)] for r in range(256)])


def numpy_mask(depth, label):
    """Plane 0 of the mixing's mask by the spec's words: every pixel's surface point marks the texel that it lies in."""
    cam2world, focal = label[:16].reshape(4, 4).astype(np.float64), float(label[16])
    mask, side = np.zeros((256, 256)), depth.shape[0]
    for i, j in np.ndindex(side, side):
        ray = np.array([((j + 0.5) / side - 0.5) / focal, ((i + 0.5) / side - 0.5) / focal, 1.0])
        x, y, _ = cam2world[:3, 3] + depth[i, j, 0] * (cam2world[:3, :3] @ ray) / np.linalg.norm(ray)
        column, row = (int(np.clip(np.floor((value + 0.5) * 256), 0, 255)) for value in (x, y))
        mask[row, column] = 1
    mask = numpy_blur(mask)
    mask[mask > 0.35] = 1
    return numpy_blur(mask)


@pytest.mark.parametrize("case", ["ball, front", "ball, from the side", "noise, with rays that miss"])
def test_mask_equals_numpy(case):
    """Of three depth maps; the other planes are wholly the fitted ones."""
    label = np.asarray(panojax.look_at(0.9 if "side" in case else 0.0, 0.2 if "side" in case else 0.0))
    side = 128
    row, column = (np.mgrid[:side, :side] + 0.5 - side / 2) / (side / 2)
    depth = np.where(row**2 + column**2 < 0.6, 2.7 - 0.25 * np.sqrt(np.maximum(0.6 - row**2 - column**2, 0)), 3.3)
    if "noise" in case:
        depth = np.where(
            recipe.uniform("goae/miss", depth.shape) < 0.3, 3.3, 2.5 + 0.4 * recipe.uniform("goae/d", depth.shape)
        )
    depth = depth[..., None].astype(np.float32)
    model = panojax.GeneratorConfig()
    got = np.asarray(jax.jit(functools.partial(cells_of_depth, model))(depth, label))
    assert got.shape == (3, 3, 256, 256) and np.all(got[1:] == 1)
    want = numpy_mask(depth, label)
    assert 0.02 < want.mean() < 0.98
    for plane in got[0]:
        np.testing.assert_allclose(plane, want, atol=1e-5)


@pytest.fixture(scope="module")
def model():
    """A generator whose planes have 64 texels a side, and an encoder that has learned nothing yet."""
    solid = solid_generator(plane_resolution=64)
    config = Config(solid.config.generator, ENCODER, encoders=1)
    variables = init_variables(config, jax.random.key(1))
    average = 0.1 * recipe.normal("goae/average", (config.generator.num_ws, config.generator.w_dim))
    return solid.with_encoders(ENCODER, variables, latent_average=jnp.asarray(average))


class TestStages:
    """On a small model."""

    def test_the_backbone_in_two_parts_is_the_backbone(self, model):
        config, variables = model.config.generator, model.generator
        ws = jnp.asarray(recipe.normal("goae/ws", (2, config.num_ws, config.w_dim)))

        @jax.jit
        def both(ws):
            pairs = {at: G.synthesize_features(config, variables, ws, at) for at in (4, 32)}
            parts = {at: G.synthesize_from(config, variables, ws, *pair) for at, pair in pairs.items()}
            return G.synthesize(config, variables, ws), pairs, parts

        whole, pairs, parts = both(ws)
        assert pairs[32][0].shape == (2, 32, 32, G.block_features(config, 32)) == (2, 32, 32, 8)
        for at in (4, 32):
            np.testing.assert_allclose(parts[at], whole, rtol=1e-5, atol=1e-5)

    def test_an_untrained_encoder_gives_the_base_s_head(self, model):
        """One code for all layers, and AFA leaves the planes as they are; saved, loaded and prepared alike."""
        image, label = picture("small", 128)[0], np.asarray(panojax.look_at(0.3))
        config = model.config.generator
        head = jax.jit(panojax.invert)(model, image, label)
        added = head.ws - model.encoders["latent_average"]
        np.testing.assert_allclose(added, np.broadcast_to(added[:1], added.shape), atol=1e-5)
        assert 1e-3 < np.std(added[0]) < 1
        planes = jax.jit(lambda ws: G.synthesize(config, model.generator, ws))(head.ws[None])[0]
        assert recipe.relative_error(head.planes, planes) < 1e-5
        prepared = jax.jit(panojax.invert)(model.for_inference(), image, label)
        assert recipe.relative_error(prepared.planes, head.planes) < 1e-4

    def test_a_model_of_one_encoder_is_shown_and_edited(self, model):
        """The viewer has its head alone; fusing parts, which takes two encoders, is refused."""
        subject = from_photo(model, picture("small", 128)[0], np.asarray(panojax.look_at(0.3)), "one")
        (head,) = subject.heads.values()
        assert subject.mask.shape == (3, 3, 64, 64) and 0 < float(np.mean(subject.mask)) < 1
        region = np.ones((3, 64, 64), np.float32)
        with pytest.raises(InputError, match=r"^fuse needs a model with two encoders, got one encoder: fuse=False"):
            panojax.edit(model, head, head, region)

    def test_codes_are_released_in_groups(self, model):
        """Held codes are the base; the gradient of a held group's attention is zero."""
        both = jax.tree.map(
            lambda x: x[0] + np.float32(0.02 * np.arange(x[0].size).reshape(x[0].shape) % 0.1),
            jax.device_get(model.encoders["both"]),
        )
        config, stage = model.config, ENCODER.stages[:1]

        @jax.jit
        def codes(variables, released):
            context = Context(
                model.generator,
                jnp.zeros(()),
                jnp.asarray(picture("small", 64)),
                jnp.asarray(panojax.look_at(0.0))[None],
                released,
                model=config,
            )
            return run(stage, context, variables)[0].heads.ws[0]

        whole = codes(both, jnp.int32(config.generator.num_ws))
        assert all(np.abs(whole[i] - whole[0]).max() > 1e-4 for i in range(1, len(whole)))
        for released in (1, 4, 7):
            held = codes(both, jnp.int32(released))
            np.testing.assert_allclose(held[:released], whole[:released], rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(held[released:], np.broadcast_to(held[:1], held[released:].shape))
        slope = jax.jit(jax.grad(lambda v: jnp.sum(codes(v, jnp.int32(4)) ** 2)))(both)["goae_codes"]["params"]
        assert np.abs(slope["cross_att_coarse"]["linear2"]["kernel"]).max() > 0
        for name in ("mid", "fine"):
            assert not np.any(slope[f"cross_att_{name}"]["linear2"]["kernel"])

    def test_mixing_keeps_the_codes_planes_where_the_portrait_shows_nothing(self, model):
        """Planes after AFA are between the codes' and the adapted ones by the mask; off plane 0 the latter."""
        both = jax.tree.map(lambda x: x[0], model.encoders["both"])
        features = both["goae_features"]
        features["params"]["cross_att_beta"]["linear2"]["bias"] += 1.0
        config, field = model.config.generator, model.config.generator.field
        pictures, labels = jnp.asarray(picture("small", 64)), jnp.asarray(panojax.look_at(0.3))[None]
        context = Context(model.generator, model.encoders["latent_average"], pictures, labels, model=model.config)

        @jax.jit
        def heads(variables):
            estimates = [run(ENCODER.stages[:n], context, variables)[0] for n in (1, 2)]
            ws = estimates[0].heads.ws
            x, image = G.synthesize_features(config, model.generator, ws, 32)
            return [each.heads.planes for each in estimates], G.synthesize_from(
                config, model.generator, ws, x + 1, image
            )

        (of_codes, mixed), adapted = heads(both)
        assert recipe.relative_error(adapted, of_codes) > 0.01
        np.testing.assert_allclose(mixed[:, 1:], adapted[:, 1:], atol=1e-4)
        share = np.asarray((mixed - of_codes)[:, 0] / (adapted - of_codes)[:, 0])
        known = np.abs(np.asarray(adapted - of_codes)[:, 0]) > 0.1
        assert np.all((share > -0.01) & (share < 1.01) | ~known)
        assert share[known].min() < 0.1 and share[known].max() > 0.9
        assert field.cells == (3, 3, 64, 64)

    def test_a_backbone_that_ends_at_32_is_refused(self, model):
        generator = dataclasses.replace(model.config.generator, plane_resolution=32)
        with pytest.raises(
            InputError, match=r"^the backbone must go on from a 32 x 32 block, got one that ends at 32 x"
        ):
            GoaeFeatures(ENCODER).init(Config(generator, ENCODER, encoders=1), jax.random.key(0))
        params = panojax.params.random_params(Config(generator))
        with pytest.raises(InputError, match="the backbone must go on from a 32 x 32 block"):
            panojax.params.abstract_arrays(Config(params.config.generator, ENCODER, encoders=1))

    def test_a_generator_of_few_codes_is_refused(self, model):
        generator = dataclasses.replace(model.config.generator, plane_resolution=16)
        with pytest.raises(InputError, match="the generator must have 8 style codes or more, got 6"):
            abstract_variables(Config(generator, ENCODER, encoders=1))
        generator = dataclasses.replace(model.config.generator, w_dim=30)
        with pytest.raises(InputError, match="the generator's w_dim must be a multiple of 4, got 30"):
            abstract_variables(Config(generator, ENCODER, encoders=1))

    def test_a_model_is_saved_and_loaded(self, model, tmp_path):
        """By its class's name, which the package knows."""
        save(model, tmp_path / "goae")
        again = load(tmp_path / "goae")
        assert again.config == model.config
        jax.tree.map(np.testing.assert_array_equal, again, model)


def test_configurations_are_json_and_back():
    config = Config(solid_generator(64).config.generator, GoaeEncoder(dtype="bfloat16"), encoders=1)
    data = to_json(config)
    assert data["encoder"]["class"] == "GoaeEncoder" and from_json(Config, data) == config
    data["encoder"]["swin"]["window"] = "wide"
    with pytest.raises(InputError, match="window must be a whole number, got 'wide'"):
        from_json(Config, data)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"resolution": 128}, "resolution must be a multiple of 8, and codes_resolution no larger, got 128 and 256"),
        ({"resolution": 516}, "got 516 and 256"),
        ({"codes_resolution": 160}, r"windows of 16 must tile maps of \(40, 20, 10, 5\) tokens a side"),
        ({"widths": (64, 128, 250)}, "widths must be three multiples of 16 up to 8192"),
        ({"resolution": 4096, "codes_resolution": 4096}, "codes resolution over patch must take at most 16 GiB"),
        ({"widths": (8192, 8192, 8192), "depth": 256}, "depth x widths must take at most 16 GiB"),
        ({"dtype": "float16"}, "dtype must be float32 or bfloat16, got 'float16'"),
    ],
)
def test_impossible_sizes_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        GoaeEncoder(**settings)
