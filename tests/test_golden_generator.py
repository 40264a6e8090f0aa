"""The generator against the golden files: every stored quantity of every golden generator.

Tolerance: relative L2 error 1e-5 in float32. Rendered quantities follow from importance samples, and about one ray in
some thousands falls on an edge of the inverse CDF, where rounding picks the other bin: 1e-5 with at most one ray in
2,000 (and the pixels it touches) left out, 1e-3 with all rays.

Each stage starts from the golden output of the one before it where that is stored whole (`ws`).
"""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
import scenes

import panojax
from panojax.camera import camera_rays
from panojax.fields.trigrid import image_from_planes, sample_trigrid
from panojax.generators import generator

EXACT, WITH_ALL_RAYS = 1e-5, 1e-3
RAYS_PER_OUTLIER = 2000

FULL = pytest.param("panohead_full", marks=pytest.mark.slow)
every_model = pytest.mark.parametrize(
    "model", ["panohead_mini", "eg3d_mini", "panohead_sr4x", FULL], indirect=True, scope="module"
)
every_rendering = pytest.mark.parametrize(
    "model, resolution",
    [
        ("panohead_mini", 32),
        ("panohead_mini", 96),
        ("eg3d_mini", 32),
        ("panohead_sr4x", 64),
        pytest.param("panohead_full", 64, marks=pytest.mark.slow),
        pytest.param("panohead_full", 128, marks=pytest.mark.slow),
    ],
    indirect=["model"],
    scope="module",
)


@pytest.fixture(scope="module")
def model(request):
    """A golden generator with its inputs, stored outputs and, from the golden style codes, its heads."""
    tag = request.param
    config, variables = scenes.golden_generator(tag)
    golden = recipe.golden(tag)
    label = golden["camera_label"]
    z = recipe.normal(f"{tag}/z", (len(label), config.z_dim))
    heads = generator.Head(
        planes=synthesize(config, variables, jnp.asarray(golden["ws"])), ws=jnp.asarray(golden["ws"])
    )
    return types.SimpleNamespace(
        tag=tag, config=config, variables=variables, golden=golden, label=label, z=z, heads=heads
    )


synthesize = jax.jit(generator.synthesize, static_argnums=0, static_argnames="noise")
finish = jax.jit(generator.finish, static_argnums=0)
map_latent = jax.jit(generator.map_latent, static_argnums=0, static_argnames="cutoff")
adapt_camera = jax.jit(generator.adapt_camera, static_argnums=0)


def render_volume(config, *args):
    # EG3D's small weights are about 1e-3 and so quantised, by 1 - exp(-x) in float32, to some 1e-5 of themselves. XLA's
    # fused multiply-adds flip their last bits: 9.8e-6 op by op, as the reference runs, but 1.06e-5 jitted.
    return generator.render_volume(config, *args) if config.plane_depth == 1 else jitted_volume(config, *args)


jitted_volume = jax.jit(generator.render_volume, static_argnums=0)


def check(got, want, tolerance=EXACT):
    got = np.asarray(got)
    assert got.shape == want.shape
    assert recipe.relative_error(got, want) <= tolerance


@every_model
@pytest.mark.parametrize(
    "name, options",
    [("ws", {}), ("ws_psi05", {"truncation": 0.5}), ("ws_psi07_cut14", {"truncation": 0.7, "cutoff": 14})],
)
def test_style_codes(model, name, options):
    ws = map_latent(model.config, model.variables, model.z, model.label, **options)
    check(ws, model.golden[name])


@every_model
def test_camera_adaptation(model):
    label, delta = adapt_camera(model.config, model.variables, model.z, model.label)
    check(label, model.golden["camera_label_adapted"])
    check(delta, model.golden["delta_c"])


@every_model
@pytest.mark.parametrize("noise", ["const", "none"])
def test_planes(model, noise):
    planes = model.heads.planes
    if noise != "const":
        planes = synthesize(model.config, model.variables, model.heads.ws, noise=noise)
    channel, texel = (9, 8) if model.tag == "panohead_full" else (5, 4)
    image = scenes.to_nchw(image_from_planes(planes))
    check(image[:, ::channel, ::texel, ::texel], model.golden[f"planes_{noise}"])


@every_model
def test_field(model):
    config, golden = model.config, model.golden

    def features(planes, points):
        scaled = points * (2 / config.box_warp)
        return sample_trigrid(planes, scaled, config.plane_axes, depth_interpolation=config.depth_interpolation)

    points = jnp.asarray(golden["xyz"])
    query = functools.partial(generator.query_field, config, model.variables)
    densities, colours = jax.jit(jax.vmap(query))(model.heads, points)
    check(jax.jit(jax.vmap(features))(model.heads.planes, points)[:, : golden["features"].shape[1]], golden["features"])
    check(densities[..., None], golden["sigma"])
    check(colours[:, : golden["rgb"].shape[1]], golden["rgb"])


@every_rendering
def test_rendering(model, resolution):
    n, rays = len(model.label), resolution**2
    uniforms = scenes.golden_uniforms(model.tag, model.config, n, resolution)
    golden = {k.removesuffix(f"_{resolution}"): v for k, v in model.golden.items() if k.endswith(f"_{resolution}")}

    if "ray_directions" in golden:  # panohead_full does not store them
        _, directions = camera_rays(jnp.asarray(model.label), resolution)
        check(directions[:, ::7], golden["ray_directions"])

    rendered = render_volume(model.config, model.variables, model.heads, model.label, uniforms)
    view = finish(model.config, model.variables, rendered, model.heads)
    pairs = {
        "feature": (np.asarray(rendered.feature).reshape(n, rays, -1)[:, ::7], golden["feature"]),
        "weight": (np.asarray(rendered.weight).reshape(n, rays, 1), golden["weight"]),
        "raw": (rows(view.raw), rows_nchw(golden["image_raw"])),
        "depth": (rows(view.depth), rows_nchw(golden["image_depth"])),
        "mask": (rows(view.mask), rows_nchw(golden["image_mask"])),
    }
    out = outliers([pairs[name] for name in ("weight", "raw", "depth", "mask")])
    for name, (got, want) in pairs.items():
        check(got, want, WITH_ALL_RAYS)
        keep = ~out[:, ::7] if name == "feature" else ~out
        assert recipe.relative_error(got[keep], want[keep]) <= EXACT, name

    image, want = np.asarray(view.image), golden["image"].transpose(0, 2, 3, 1)
    check(image, want, WITH_ALL_RAYS)
    keep = ~touched(out, image.shape[1], 8 / model.config.superresolution_input)
    assert recipe.relative_error(image[keep], want[keep]) <= EXACT


def rows(picture):
    """[N, R, R, C] -> [N, R * R, C]."""
    return np.asarray(picture).reshape(len(picture), -1, picture.shape[-1])


def rows_nchw(picture):
    return rows(picture.transpose(0, 2, 3, 1))


def outliers(pairs):
    """[N, rays] bool: the rays that may be left out, if off at all: the worst, over several quantities together."""
    # A quantity's share of its own squared norm, so that all count alike.
    errors = [
        np.sum((got.astype(np.float64) - want) ** 2, -1) / np.sum(want.astype(np.float64) ** 2) for got, want in pairs
    ]
    error = np.sum(errors, axis=0)
    allowed = error.size // RAYS_PER_OUTLIER
    out = np.zeros(error.size, bool)
    out[np.argsort(-error, axis=None)[:allowed]] = True
    off = error.ravel() > EXACT**2 / error.size * 100  # ten times what each ray may be off on average
    return (out & off).reshape(error.shape)


def touched(out, side, reach):
    """[N, side, side] bool: the final pixels within `reach`, in units of the picture's side, of rays `out`.

    Eight pixels of the super-resolution's input cover the antialiased resizing and four 3 x 3 convolutions.
    """
    n, rays = out.shape
    resolution = round(rays**0.5)
    centres = (np.arange(side) + 0.5) / side
    result = np.zeros((n, side, side), bool)
    for i, ray in np.argwhere(out):
        y, x = (np.array(divmod(ray, resolution)) + 0.5) / resolution
        near = (np.abs(centres - y)[:, None] < reach) & (np.abs(centres - x) < reach)
        result[i] |= near
    return result


def test_public_functions_give_the_golden_picture():
    """The same numbers through `panojax.*`, one example at a time (not its depth, clipped over the batch)."""
    tag, resolution = "panohead_mini", 32
    manifest, golden = recipe.manifest(tag), recipe.golden(tag)
    params = panojax.from_torch(recipe.state_dict(tag), manifest["init_kwargs"], manifest["rendering_kwargs"])
    config = params.config.generator
    z = recipe.normal(f"{tag}/z", (2, config.z_dim))
    uniforms = scenes.golden_uniforms(tag, config, 2, resolution)
    camera = golden["camera_label"][0]
    ws = jax.jit(panojax.map_latent)(params, z[0], camera)
    check(ws, golden["ws"][0])
    head = panojax.Head(planes=jax.jit(panojax.synthesize)(params, golden["ws"][0]), ws=jnp.asarray(golden["ws"][0]))
    render = jax.jit(panojax.render, static_argnames="resolution")
    view = render(params, head, camera, resolution=resolution, uniforms=(uniforms[0][0], uniforms[1][0]))
    check(view.weight.reshape(-1, 1), golden["weight_32"][0])
    check(view.raw.transpose(2, 0, 1), golden["image_raw_32"][0])
    check(view.mask.transpose(2, 0, 1), golden["image_mask_32"][0])
    check(view.image.transpose(2, 0, 1), golden["image_32"][0])
