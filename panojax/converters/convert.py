"""From PyTorch checkpoints to one checkpoint of ours."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from panojax.camera import front
from panojax.config import Config
from panojax.converters.encoders import (
    encoder_config,
    own_average,
    read_latent_average,
    split_encoder_state,
    without_average,
)
from panojax.converters.generator_settings import generator_config
from panojax.converters.goae import add_goae
from panojax.converters.layout import fit, from_state_dict
from panojax.converters.read import Checkpoint, read_checkpoint
from panojax.encoders import dual
from panojax.encoders.encoder import abstract_encoder
from panojax.errors import InputError
from panojax.files.checkpoint import check_new, save
from panojax.generators import generator
from panojax.params import Params, abstract_generator

# Latents that the mean style code is taken over where no file gives it.
_AVERAGE_OVER = 10_000


def from_torch(
    state_dict: Mapping[str, np.ndarray],
    init_kwargs: Mapping[str, Any],
    rendering_kwargs: Mapping[str, Any],
    *,
    neural_rendering_resolution: int = 64,
    plane_axes: str | np.ndarray | None = None,
) -> Params:
    """A generator's parameters from its PyTorch state dict.

    With PyTorch and the original code at hand, whose unpickled network `G` carries its options:

        state = {name: tensor.cpu().numpy() for name, tensor in G.state_dict().items()}
        params = panojax.from_torch(state, dict(G.init_kwargs), dict(G.rendering_kwargs))

    Without, from the pickle, which is read without executing anything in it:

        from panojax.converters.read import read_checkpoint

        read = read_checkpoint("network.pkl", "G_ema")
        params = panojax.from_torch(read.state_dict, read.init_kwargs, read.rendering_kwargs)

    Args:
      state_dict: {PyTorch name: array} of a TriPlaneGenerator (PanoHead's or EG3D's). A "renderer.plane_axes", where it
        is a buffer, is taken for `plane_axes`; a "latent_avg" is the encoders', and left out.
      init_kwargs, rendering_kwargs: as the pickle carries them.
      neural_rendering_resolution: side of the volume rendering, as the pickle carries it.
      plane_axes: the renderer's tensor [3, 3, 3], or "panohead", "eg3d" or "eg3d-fixed"; None decides by
        `rendering_kwargs`, see `generator_settings`.

    Raises:
      InputError: a needed option is missing, or the state dict does not fit; all names are reported at once.
    """
    state_dict = without_average(state_dict)
    axes = state_dict.pop("renderer.plane_axes", None)
    config = generator_config(
        init_kwargs,
        rendering_kwargs,
        neural_rendering_resolution=neural_rendering_resolution,
        plane_axes=axes if plane_axes is None else plane_axes,
    )
    variables = from_state_dict(abstract_generator(config), state_dict, what="generator")
    return Params(jax.device_put(variables), config=Config(config))


def convert(
    pickle_path: str | pathlib.Path,
    out: str | pathlib.Path,
    visible: str | pathlib.Path | None = None,
    occluded: str | pathlib.Path | None = None,
    latent_average: str | pathlib.Path | None = None,
    *,
    goae: str | pathlib.Path | None = None,
    afa: str | pathlib.Path | None = None,
    network: str = "G_ema",
    plane_axes: str | None = None,
) -> Params:
    """Converts a generator, and two encoders or GOAE's where they are given, into the checkpoint folder `out`.

    Nothing is written unless everything fits.

    Args:
      pickle_path: PanoHead's or EG3D's network pickle.
      out: folder to make.
      visible, occluded: files of the two encoders; both or neither.
      latent_average: the mean style code that the encoders' codes are offsets from; None takes what the encoders' files
        bring along, then what TriPlaneNet's generator file does, and else computes it from the generator, over 10,000
        latents at the front camera. GOAE's codes are offsets from the generator's own `w_avg`.
      goae, afa: files of GOAE's encoder in place of the two, and of the network that changes the backbone's features;
        without the latter it changes nothing.
      network: which network of the pickle.
      plane_axes: see `from_torch`; None takes those of the pickle's renderer.

    Raises:
      InputError: a file cannot be read or does not fit, or `out` exists.
    """
    check_new(out, "out")
    if (visible is None) != (occluded is None):
        raise InputError(f"visible and occluded must be given together, got {visible} and {occluded}")
    if goae is not None and visible is not None:
        raise InputError("goae must come in place of visible and occluded, got both")
    if afa is not None and goae is None:
        raise InputError("afa must come with goae, whose codes it goes on from, got it alone")
    if latent_average is not None and visible is None and goae is None:
        raise InputError("latent_average must come with visible and occluded, or with goae, got it alone")
    source = read_checkpoint(pickle_path, network)
    if not source.rendering_kwargs:
        raise InputError(
            f"{pickle_path}: expected a generator with rendering_kwargs, got {source.class_name or 'a bare state dict'}"
        )
    params = from_torch(
        source.state_dict,
        source.init_kwargs,
        source.rendering_kwargs,
        neural_rendering_resolution=source.attributes.get("neural_rendering_resolution", _rendering_resolution(source)),
        plane_axes=source.beside.get("renderer.plane_axes") if plane_axes is None else plane_axes,
    )
    if visible is not None and occluded is not None:
        average = None if latent_average is not None else own_average(source)
        params = add_encoders(params, visible, occluded, latent_average, average=average)
    if goae is not None:
        given = None if latent_average is None else _style_codes(params, read_latent_average(latent_average))
        params = add_goae(params, goae, afa, average=given)
    save(params, out)
    return params


def add_encoders(
    params: Params,
    visible: str | pathlib.Path,
    occluded: str | pathlib.Path,
    latent_average: str | pathlib.Path | None = None,
    *,
    average: np.ndarray | None = None,
) -> Params:
    """`params` with the two encoders of released files (`psp_encoder.*`, `triplanenet_encoder.*`).

    Args:
      latent_average: file of the mean style code; None takes that of the encoders' files.
      average: taken where none of these gives one; None computes it.

    Raises:
      InputError: lists what is missing, unused or mis-shaped in both files at once; or the files' mean codes differ.
    """
    shape = params.config.generator
    files = {"visible": read_checkpoint(visible), "occluded": read_checkpoint(occluded)}
    states = {name: split_encoder_state(file.state_dict) for name, file in files.items()}
    encoder = encoder_config(states["visible"], shape)
    template, problems = abstract_encoder(encoder), []
    trees: dict[str, dict[str, Any]] = {}
    for name, groups in states.items():
        trees[name] = {}
        for group, state in groups.items():
            trees[name][group], report = fit(template[group], state)
            if report:
                problems.append(f"{name} {group}: {report}")
    if problems:
        raise InputError(f"the encoders do not fit the networks: {'; '.join(problems)}")
    found: list[np.ndarray | None] = []
    if latent_average is not None:
        found = [read_latent_average(latent_average)]
    else:
        found = [own for file in files.values() if (own := own_average(file)) is not None] or [average]
    codes = [_style_codes(params, mean_style(params) if each is None else each) for each in found]
    if np.abs(codes[0] - codes[-1]).max() > 1e-4:
        raise InputError(
            "latent_avg must be the same in the files of visible and occluded, got two: say which by latent_average"
        )
    encoders = {"both": dual.join(trees["visible"], trees["occluded"]), "latent_average": codes[0]}
    return Params(params.generator, encoders, config=Config(shape, encoder))


def _rendering_resolution(source: Checkpoint) -> int:
    """Where no attribute says it: 64, as the constructors set it, and 128 for TriPlaneNet's bare state dicts."""
    return 128 if source.class_name is None else 64


def _style_codes(params: Params, average: np.ndarray | jax.Array) -> jax.Array:
    """A mean style code [w_dim], [1, w_dim] or [L, w_dim] as one for each layer [L, w_dim]."""
    shape = params.config.generator
    if average.shape[-1] != shape.w_dim or average.size not in (shape.w_dim, shape.num_ws * shape.w_dim):
        raise InputError(
            f"latent_average must be [{shape.w_dim}] or [{shape.num_ws}, {shape.w_dim}], got {average.shape}"
        )
    return jnp.broadcast_to(jnp.asarray(average), (shape.num_ws, shape.w_dim))


def mean_style(params: Params) -> jax.Array:
    """The mean style code [w_dim] over latents, at the front camera."""
    config = params.config.generator
    z = jax.random.normal(jax.random.key(0), (_AVERAGE_OVER, config.z_dim))
    labels = jnp.broadcast_to(front(), (_AVERAGE_OVER, 25))
    return jnp.mean(generator.map_latent(config, params.generator, z, labels)[:, 0], axis=0)
