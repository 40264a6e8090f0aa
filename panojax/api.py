"""The public functions: one example at a time, shapes checked, pure; batches by `jax.vmap`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from panojax import camera as cameras
from panojax.arrays import AnyArray, Bool, Float
from panojax.camera_conventions import check_camera
from panojax.devices.programs import KeptFunction
from panojax.errors import InputError, check_choice
from panojax.fields.local_branch import LocalBranch, LocalMix, check_branch
from panojax.generators import generator
from panojax.generators.generator import Head, View
from panojax.inversion import pipeline as inversion
from panojax.inversion import refine, several
from panojax.losses.perception import Perception
from panojax.params import Params
from panojax.render.renderer import draw_uniforms

MAX_SIDE = 4096  # of a volume rendering
BEYOND = 1.2  # as far as bicubic resizing overshoots
BYTES = " in [-1, 1], or a photo (PIL.Image.fromarray)"


def map_latent(
    params: Params,
    z: Float[AnyArray, " z_dim"],
    camera: Float[AnyArray, " 25"] | None = None,
    truncation: float | jax.Array = 1.0,
    cutoff: int | None = None,
) -> Float[jax.Array, "L w_dim"]:
    """Style codes of a latent.

    Args:
      z: [z_dim], standard normal.
      camera: conditioning label [25]; None is the front camera.
      truncation: 1 keeps the code, 0 gives the mean one.
      cutoff: how many of the first codes are truncated, 0 to L; None is all.

    Values are checked where they are known; inside a trace (`jit`, `vmap`, `grad`) NaN goes through.

    Returns:
      ws [L, w_dim].
    """
    config = params.config.generator
    z = check_array("z", z, (config.z_dim,))
    camera = _camera(camera)
    check_finite("z", z)
    check_finite("truncation", truncation)
    if cutoff is not None and (not isinstance(cutoff, int | np.integer) or not 0 <= cutoff <= config.num_ws):
        raise InputError(f"cutoff must be None or 0 to {config.num_ws}, how many style codes there are, got {cutoff!r}")
    return generator.map_latent(config, params.generator, z[None], camera[None], truncation=truncation, cutoff=cutoff)[
        0
    ]


def synthesize(
    params: Params, ws: Float[AnyArray, "L w_dim"], noise: str = "const", key: jax.Array | None = None
) -> Float[jax.Array, "*cells C"]:
    """The tri-grid of style codes.

    Args:
      ws: [L, w_dim].
      noise: the backbone's per-pixel noise: "const", "none", or "random", which needs a `key`.

    Returns:
      planes in the compute type, [*field.shape]: for a tri-grid [3, D, H, W, C].
    """
    config = params.config.generator
    ws = check_array("ws", ws, (config.num_ws, config.w_dim))
    check_finite("ws", ws)
    check_choice("noise", noise, ("const", "none", "random"))
    if noise == "random" and key is None:
        raise InputError('noise "random" needs a key, got None')
    return generator.synthesize(config, params.generator, ws[None], noise=noise, key=key)[0]


def generate(
    params: Params,
    z: Float[AnyArray, " z_dim"],
    camera: Float[AnyArray, " 25"] | None = None,
    truncation: float | jax.Array = 0.7,
    cutoff: int | None = None,
) -> Head:
    """A head from a latent z [z_dim]; `camera` [25] is the conditioning one, None the front. See `map_latent`."""
    ws = map_latent(params, z, camera, truncation, cutoff)
    config = params.config.generator
    heads = generator.make_heads(config, params.generator, synthesize(params, ws)[None], ws[None])
    return jax.tree.map(lambda x: x[0], heads)


def render(
    params: Params,
    head: Head,
    camera: Float[AnyArray, " 25"],
    resolution: int | None = None,
    key: jax.Array | None = None,
    uniforms: tuple[Float[AnyArray, "rays coarse"], Float[AnyArray, "rays fine"]] | None = None,
    *,
    background_ws: Float[AnyArray, "_ w_dim"] | None = None,
    density_noise: float | None = None,
    occupied: Bool[AnyArray, "n n n"] | None = None,
) -> View:
    """A head seen from a camera.

    Args:
      head: from `generate`, `invert`, or `Head(planes=..., ws=...)`.
      camera: label [25].
      resolution: side R of the volume rendering; None is the configuration's.
      key: draws the samples along rays (and random noise); None samples at the middle of each stratum.
      uniforms: the draws themselves, coarse [R * R, S] and fine [R * R, S_fine] in [0, 1); they take the place of
        `key`'s.
      background_ws: style codes [L, w_dim] for the background instead of the head's.
      density_noise: standard deviation of noise on the densities; needs a key. None is the configuration's where there
        is a key, else none.
      occupied: `occupied_cells` of the head: on a CPU its views then take two thirds of the time. Without gradients.

    Returns:
      A View: image [H, W, 3], raw [R, R, 3], depth, weight, mask [R, R, 1].
    """
    check_head(params, head)
    config = params.config.generator
    camera = _camera(camera)
    side = config.rendering_resolution if resolution is None else resolution
    if not 2 <= side <= MAX_SIDE:
        raise InputError(f"resolution must be at least 2 and at most {MAX_SIDE}, got {resolution}")
    if density_noise is None:
        density_noise = config.density_noise if key is not None else 0.0
    check_finite("density_noise", density_noise)
    if key is None and (density_noise or config.superresolution_noise == "random"):
        raise InputError("random noise needs a key, got None")
    ray_key, noise_key, finish_key = (None, None, None) if key is None else jax.random.split(key, 3)
    if uniforms is None:
        uniforms = draw_uniforms(ray_key, (side * side,), config)
    coarse, fine = uniforms
    coarse = check_array("uniforms[0]", coarse, (side * side, config.depth_samples))
    fine = check_array("uniforms[1]", fine, (side * side, config.importance_samples))
    if background_ws is not None:
        background_ws = check_array("background_ws", background_ws, (None, config.w_dim))[None]
        check_finite("background_ws", background_ws)
    batch = jax.tree.map(lambda x: x[None], head)
    rendered = generator.render_volume(
        config,
        params.generator,
        batch,
        camera[None],
        (coarse[None], fine[None]),
        density_noise=density_noise,
        key=noise_key,
        occupied=None if occupied is None else occupied[None],
    )
    view = generator.finish(config, params.generator, rendered, batch, background_ws=background_ws, key=finish_key)
    return jax.tree.map(lambda x: x[0], view)


def occupied_cells(params: Params, head: Head) -> Bool[jax.Array, "n n n"]:
    """Where a head is: which cells of its box are not empty, for `render`. It takes about as long as two views."""
    check_head(params, head)
    return generator.head_occupied(params.config.generator, params.generator, head)


def occlusion_mask(
    params: Params, view: View, camera: Float[AnyArray, " 25"], *, threshold: float | jax.Array = 0.5
) -> Float[jax.Array, " *cells"]:
    """The cells [*field.cells] that a view does not show, for a tri-grid [3, D, H, W]: 1 = occluded, 0 = visible.

    Args:
      view: rendered from `camera` [25]; its depth and weight are used, at their resolution.
      threshold: opacity above which a pixel is foreground.
    """
    camera = _camera(camera)
    check_finite("threshold", threshold)
    side = view.depth.shape[0]
    depth, weight = (
        check_array("view.depth", view.depth, (side, side, 1)),
        check_array("view.weight", view.weight, (side, side, 1)),
    )
    return generator.view_occlusion(params.config.generator, depth, weight, camera, threshold=threshold)


def invert(
    params: Params,
    image: Any,
    camera: Float[AnyArray, " 25"] | None = None,
    *,
    face: str | int = "largest",
    stitching: str = "texel",
    threshold: float | jax.Array = 0.5,
    return_parts: bool = False,
) -> Any:
    """A head from one portrait.

    Args:
      image: a photo (a path, its bytes, or a Pillow picture), which is aligned as the model's training pictures were;
        what `panojax.align` gave; or an array [S, S, 3], RGB in [-1, 1], aligned so already.
      camera: label [25] of an array; None is the front. Photos have their own.
      face: which face of a photo, see `panojax.align`.
      stitching: "texel" or "sample", see `panojax.inversion.pipeline.stitch`.
      threshold: opacity above which a pixel of the portrait's rendering is foreground.
      return_parts: also give both encoders' heads, each with its own local branch if they have one, and the mask.

    Returns:
      A Head, or (Head, Parts).

    Raises:
      InputError: the model has no encoders, an argument has another shape or type, the image another range or NaN
        (which a trace does not know), or a photo shows no face or was cropped for another model.
    """
    if params.config.encoder is None:
        raise InputError(
            "params must hold two encoders to invert a picture, got a generator alone: convert it with encoders"
        )
    check_choice("stitching", stitching, ("texel", "sample"))
    check_finite("threshold", threshold)
    image, camera = _portrait(params, image, camera, face)
    options = {"stitching": stitching, "return_parts": return_parts}
    # One program for all callers, so that a photo gives the same head everywhere, bit for bit.
    known = not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((params, image, camera, threshold)))
    return (_invert_kept if known else _invert)(params, image, camera, _known_number(threshold), **options)


def _invert(params, image, camera, threshold, *, stitching, return_parts):
    model, portraits = (params.config, params.generator, params.encoders), (image[None], camera[None])
    head, parts = inversion.invert_batch(*model, *portraits, stitching=stitching, threshold=threshold)
    result = (head, inversion.localize_parts(*model, parts, *portraits)) if return_parts else head
    return jax.tree.map(lambda x: x[0], result)


_invert_kept = KeptFunction(_invert, ("stitching", "return_parts"), (Head, LocalBranch, LocalMix, inversion.Parts))


def invert_many(
    params: Params,
    images: Any,
    cameras: Any,
    weights: Any = None,
    *,
    stitching: str = "texel",
    threshold: float | jax.Array = 0.5,
) -> Head:
    """One head from several portraits of one person.

    Args:
      images: K portraits [K, S, S, 3], RGB in [-1, 1], aligned as the model's training pictures were.
      cameras: their labels [K, 25], see `panojax.refine_cameras`.
      weights: [K] from 0, how much each counts besides what it shows, how frontally and how sharply; None is 1 each.
      stitching, threshold: as `invert`.

    Returns:
      A Head. Of a single portrait it is `invert`'s.

    Raises:
      InputError: as `invert`; there is no portrait, more than 16, or they have several sizes; no weight is positive.
    """
    if params.config.encoder is None:
        raise InputError(
            "params must hold encoders to invert pictures, got a generator alone: convert it with encoders"
        )
    check_choice("stitching", stitching, ("texel", "sample"))
    check_finite("threshold", threshold)
    images, cameras = check_portraits(params, images, cameras)
    count = len(images)
    weights = check_array("weights", jnp.ones(count) if weights is None else weights, (count,))
    if not isinstance(weights, jax.core.Tracer):
        known_weights = np.asarray(weights)
        if not (np.isfinite(known_weights).all() and known_weights.min() >= 0 and known_weights.max() > 0):
            raise InputError(f"weights must be finite, from 0 and not all 0, got {known_weights.tolist()!s:.80}")
    if count == 1:
        return invert(params, images[0], cameras[0], stitching=stitching, threshold=threshold)
    data = (params, images, cameras, weights, _known_number(threshold))
    known = not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(data))
    return (_invert_many_kept if known else _invert_many)(*data, stitching=stitching)


def _invert_many(params, images, cameras, weights, threshold, *, stitching):
    model = params.config, params.generator, params.encoders
    return several.invert_together(*model, images, cameras, weights, stitching=stitching, threshold=threshold)


_invert_many_kept = KeptFunction(_invert_many, ("stitching",), (Head, LocalBranch, LocalMix))


def refine_cameras(
    params: Params,
    images: Float[AnyArray, "K S S 3"],
    cameras: Float[AnyArray, "K 25"],
    *,
    perception: Perception | None = None,
    config: refine.RefineConfig | None = None,
    progress: Callable[[], object] | None = None,
) -> tuple[Float[jax.Array, "K 25"], refine.Moves]:
    """Cameras of one person's portraits, moved until they agree. See `inversion.refine.refine_cameras`.

    Raises:
      InputError: the model has no encoders, or portraits and cameras are none that `invert_many` takes.
    """
    images, cameras = check_portraits(params, images, cameras)
    config = refine.RefineConfig() if config is None else config
    return refine.refine_cameras(params, images, cameras, perception=perception, config=config, progress=progress)


def check_portraits(params: Params, images: Any, cameras: Any) -> tuple[jax.Array, jax.Array]:
    """Portraits [K, S, S, 3] of one person and their labels [K, 25], or an InputError, see `invert_many`."""
    if isinstance(images, list | tuple):
        sizes = [np.shape(image) for image in images]
        odd = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
        if odd is not None:
            raise InputError(f"images must have one size, got {sizes[0]} and, of images[{odd}], {sizes[odd]}")
        try:
            images = jnp.stack([jnp.asarray(image) for image in images]) if images else jnp.zeros((0, 1, 1, 3))
        except (TypeError, ValueError):
            raise InputError(
                "images must be floats [K, S, S, 3] in [-1, 1], of one size (panojax.align(params, photo).image), "
                f"got a list of {type(images[0]).__name__}"
            ) from None
    if jnp.ndim(images) != 4 or images.shape[1] != images.shape[2] or not images.shape[1]:
        raise InputError(f"images must be [K, S, S, 3], got {jnp.shape(images)}")
    images = check_array("images", images, (None, None, None, 3))
    count = len(images)
    if not 1 <= count <= several.MAX_PHOTOS:
        hint = "" if count == 0 else ": choose the sharpest from all around, as `panojax invert --together` does"
        raise InputError(f"images must be 1 to {several.MAX_PHOTOS} portraits of one person, got {count}{hint}")
    cameras = check_array("cameras", cameras, (count, 25), " (16 extrinsics, then 9 intrinsics, for each of images)")
    for i in range(count):
        if not isinstance(images, jax.core.Tracer):
            check_range(images[i], f"images[{i}]")
        if not isinstance(cameras, jax.core.Tracer):
            model = params.config.generator
            check_camera(cameras[i], f"cameras[{i}]", radius=model.camera_radius, pivot=model.camera_pivot)
    return images, cameras


def _portrait(params, image, camera, face):
    """The array [S, S, 3] and the label [25] of what `invert` is given."""
    if not isinstance(image, jax.Array | np.ndarray):
        from panojax.photo import portrait

        if portrait.is_photo(image):
            if camera is not None:
                raise InputError("camera must be None for a photo, whose alignment estimates it, got a camera")
            aligned = portrait.fit(params, image, face=face)
            image, camera = aligned.image, aligned.camera
        else:
            try:
                image = np.asarray(image, np.float32)
            except (TypeError, ValueError):
                kind = type(image).__name__
                raise InputError(f"image must be a photo or floats [S, S, 3] in [-1, 1], got a {kind}") from None
    if jnp.ndim(image) != 3 or image.shape[0] != image.shape[1] or not image.shape[0]:
        hint = ": channels come last" if jnp.ndim(image) == 3 and image.shape[0] == 3 else ""
        raise InputError(f"image must be [S, S, 3], got {jnp.shape(image)}{hint}")
    image = check_array("image", image, (None, None, 3), BYTES if image.dtype == jnp.uint8 else "")
    camera = _camera(camera)
    if not isinstance(image, jax.core.Tracer):
        check_range(image)
    if not isinstance(camera, jax.core.Tracer):
        check_camera(camera, radius=params.config.generator.camera_radius, pivot=params.config.generator.camera_pivot)
    return image, camera


def check_range(image: Any, name: str = "image") -> None:
    """Raises InputError unless a known image is finite and in [-1, 1], or a little beyond as resizing leaves it."""
    values = np.asarray(image, np.float32)
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"{name} must be finite, got NaN or infinity")
    if max(-low, high) > BEYOND:
        hint = ": it looks like 0 to 255, divide by 127.5 and subtract 1" if low >= 0 and high <= 255 else ""
        raise InputError(f"{name} must be in [-1, 1], got {low:.3g} to {high:.3g}{hint}")


def _camera(camera):
    if camera is None:
        return cameras.front()
    camera = check_array("camera", camera, (25,), " (16 extrinsics, then 9 intrinsics)")
    check_finite("camera", camera)
    if not isinstance(camera, jax.core.Tracer) and not np.asarray(camera)[[16, 20]].all():
        raise InputError("camera must have focal lengths (its 17th and 21st number), got 0")
    return camera


def check_head(params: Params, head: Head, name: str = "head") -> None:
    """Raises InputError unless a head's arrays have the model's shapes and, where they are known, are finite."""
    if not isinstance(params, Params):
        raise InputError(f"params must be a model (panojax.load()), got {_told(params)}")
    if not isinstance(head, Head):
        raise InputError(f"{name} must be a Head (of panojax.invert, generate or load_head), got {_told(head)}")
    config = params.config.generator
    check_array(f"{name}.planes", head.planes, config.field.shape)
    check_array(f"{name}.ws", head.ws, (None, config.w_dim))
    if head.background is not None:
        check_array(f"{name}.background", head.background, (None, None, config.field.features))
    if head.occluded_planes is not None:
        check_array(f"{name}.occluded_planes", head.occluded_planes, config.field.shape)
    if head.local is not None:
        check_branch(head.local, config.field.features, f"{name}.local")
    for part in ("planes", "ws", "background", "occluded_planes"):
        if (value := getattr(head, part)) is not None:
            check_finite(f"{name}.{part}", value)


def _known_number(value):
    """A Python number as an array of no axes, which has a type of its own."""
    return np.float32(value) if isinstance(value, float | int) else value


def check_finite(name: str, value: Any) -> None:
    """Raises InputError for NaN and infinity, where the value is known: a trace does not know it."""
    if isinstance(value, jax.core.Tracer):
        return
    if isinstance(value, jax.Array):
        with jax.ensure_compile_time_eval():  # an array that a trace closes over is known, too
            finite = bool(jnp.isfinite(value).all())  # on its own device
    else:
        finite = bool(np.isfinite(np.asarray(value, np.float32)).all())
    if not finite:
        raise InputError(f"{name} must be finite, got NaN or infinity")


def check_array(name: str, value: Any, shape: tuple[int | None, ...], hint: str = "") -> jax.Array:
    """`value` as an array, or an InputError unless it is of floats and of `shape`, where None is any size."""
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError, OverflowError):
        array = None
    if (
        array is not None
        and len(array.shape) == len(shape)
        and all(want in (None, got) for want, got in zip(shape, array.shape))
        and jnp.issubdtype(array.dtype, jnp.floating)
    ):
        return array
    wanted = ", ".join("any" if n is None else str(n) for n in shape)
    got = _told(value) if array is None else f"{array.dtype} {tuple(array.shape)}"
    raise InputError(f"{name} must be floats [{wanted}]{hint}, got {got}")


def _told(value: Any) -> str:
    """What a value is, for a message: a text itself, else its kind."""
    return f"{value!r:.60}" if isinstance(value, str | int | float) else f"a {type(value).__name__}"
