"""The stages of the package's own encoders: style codes (W+), offsets of the planes (F), features of pixels (local)."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from panojax.camera import mirror
from panojax.config import Config
from panojax.encoders.encoder import abstract_encoder, encode_local, encode_offsets, encode_styles, init_encoder
from panojax.encoders.encoder_config import EncoderConfig
from panojax.encoders.psp import LastLayerEncoder
from panojax.encoders.stage import Context, Estimate, OwnEncoder, Stage, heads_of_codes, initialise
from panojax.errors import InputError
from panojax.fields.local_branch import make_branch
from panojax.generators.generator import Head, View, render_heads
from panojax.inversion.spaces import TRUNCATION, map_latents, release_codes
from panojax.nn.stylegan2 import pool


@dataclasses.dataclass(frozen=True)
class Styles(Stage):
    """W+ stage: style codes of the portrait, and the planes and background that the generator makes of them.

    Source: pSp (Richardson et al. 2021); e4e where the encoder predicts differences.
    """

    encoder: EncoderConfig
    space: str = "w+"
    """What is predicted: codes relative to the mean ("w+"), or latents that the mapping turns into codes, one for each
    layer ("z+") or one for all ("z"), at the front camera with truncation 0.85 (paper, Table 4 and appendix A)."""
    name: str = "psp_encoder"

    def init(self, model: Config, key: jax.Array) -> Any:
        """pSp's network, or one with a single code."""
        if self.space == "z":
            side = self.encoder.resolution
            return jax.jit(_single_code(self.encoder).init)(key, jnp.zeros((1, side, side, 3)))
        return init_encoder(self.encoder, key)[self.name]

    def apply(self, context: Context, variables: Any, estimate: Estimate, *, train: bool) -> tuple[Estimate, Any]:
        """Heads [K N] of codes [K N, L, w_dim]."""
        output = context.each(functools.partial(self._network, train), variables, context.pictures)
        codes, stats = output if train else (output, None)
        codes = codes.astype(jnp.float32)
        if context.released is not None:
            codes = release_codes(codes, context.released)
        if self.space == "w+":
            ws = codes + context.average
        else:
            model = context.model.generator
            latents = jnp.repeat(codes[:, None], model.num_ws, axis=1) if self.space == "z" else codes
            ws = map_latents(model, context.generator, latents, truncation=TRUNCATION)
        return Estimate(heads_of_codes(context, ws)), stats

    def _network(self, train, variables, pictures):
        if self.space != "z":
            return encode_styles(self.encoder, {self.name: variables}, pictures, train=train)
        if not train:
            return _single_code(self.encoder).apply(variables, pictures)
        codes, updated = _single_code(self.encoder).apply(variables, pictures, train=True, mutable=["batch_stats"])
        return codes, updated["batch_stats"]


@dataclasses.dataclass(frozen=True)
class Offsets(Stage):
    """F stage: what is added to the planes, from a rendering of them and what it misses of the portrait.

    Source: TriPlaneNet (Bhattarai et al. 2024).
    """

    encoder: EncoderConfig
    name: str = "triplanenet_encoder"

    def init(self, model: Config, key: jax.Array) -> Any:
        """TriPlaneNet's network."""
        return init_encoder(self.encoder, key)[self.name]

    def apply(self, context: Context, variables: Any, estimate: Estimate, *, train: bool) -> tuple[Estimate, Any]:
        """Heads with other planes. The network's input passes no gradient."""
        heads, field = estimate.heads, context.model.generator.field
        seen = heads if context.styled_gradient else jax.lax.stop_gradient(heads)
        inputs = context.keep(functools.partial(residual_input, context))(seen)
        data = [jax.lax.stop_gradient(inputs)]
        if self.encoder.planes_channels:
            image = field.to_image(jax.lax.stop_gradient(heads.planes))
            data.append(pool(image.astype(jnp.float32), self.encoder.resolution))
        output = context.each(functools.partial(self._network, train), variables, *data)
        offsets, stats = output if train else (output, None)
        planes = field.from_image(pool(offsets.astype(jnp.float32), field.resolution))
        heads = dataclasses.replace(heads, planes=heads.planes + planes.astype(heads.planes.dtype))
        return dataclasses.replace(estimate, heads=heads, styled=inputs[..., :3]), stats

    def _network(self, train, variables, *data):
        return encode_offsets(self.encoder, {self.name: variables}, *data, train=train)


@dataclasses.dataclass(frozen=True)
class Local(Stage):
    """Local branch: features of the portrait's pixels, from what the joined head misses of it.

    Source: E3DGE (Lan et al. 2023), for any representation.
    """

    encoder: EncoderConfig
    name: str = "local_encoder"
    joined: bool = True

    def init(self, model: Config, key: jax.Array) -> Any:
        """A small F-stage-like network, and the layers that lookups are modulated by."""
        return init_encoder(self.encoder, key)[self.name]

    def apply(self, context: Context, variables: Any, estimate: Estimate, *, train: bool) -> tuple[Estimate, Any]:
        """Heads with a `LocalBranch`. Neither rendering nor input pass a gradient."""
        # By `jit` where nothing learns, so that a head and its parts are traced and lowered once.
        localize = _localize if train else _localize_once
        heads, stats = localize(self, context, variables, estimate.heads, train=train)
        return dataclasses.replace(estimate, heads=heads), stats

    def network(self, train: bool, variables: Any, inputs: jax.Array) -> Any:
        """`encode_local`."""
        return encode_local(self.encoder, {self.name: variables}, inputs, train=train)


def _localize(stage, context, variables, heads, *, train):
    inputs, view = local_input(context, heads)
    output = context.keep(functools.partial(stage.network, train))(variables, inputs)
    features, fusion, stats = output if train else (*output, None)
    return dataclasses.replace(heads, local=make_branch(features, view, context.labels, fusion)), stats


_localize_once = jax.jit(_localize, static_argnums=0, static_argnames="train")


def residual_input(context: Context, heads: Head) -> jax.Array:
    """The F stage's input [N, R, R, 6 or 9]: the rendering y, the residual x - y, and maybe the mirrored residual.

    The mirrored residual is the flipped portrait minus the head seen from the mirrored camera.
    """
    encoder: Any = context.model.encoder
    render = functools.partial(render_heads, context.model.generator, context.generator, heads)
    rendering = pool(render(context.labels).image, encoder.resolution)
    channels = [rendering, context.pictures - rendering]
    if encoder.offset_in_channels == 9:
        other = render(mirror(context.labels)).image
        channels.append(context.pictures[:, :, ::-1] - pool(other, encoder.resolution))
    return jnp.concatenate(channels, axis=-1)


def local_input(context: Context, heads: Head) -> tuple[jax.Array, View]:
    """The local branch's input [N, R, R, 4], see `encode_local`, and the views of the heads so far.

    Neither passes a gradient.
    """
    encoder: Any = context.model.encoder
    model = context.model.generator
    view = jax.lax.stop_gradient(render_heads(model, context.generator, heads, context.labels))
    depth = (view.depth - model.camera_radius) * view.weight * (2 / model.box_warp)
    residual = context.pictures - pool(view.image.astype(jnp.float32), encoder.resolution)
    return jax.lax.stop_gradient(jnp.concatenate([residual, pool(depth, encoder.resolution)], axis=-1)), view


def stages_of(
    encoder: EncoderConfig | OwnEncoder | None, *, space: str = "w+", offsets: bool = True, local: bool = True
) -> tuple[Stage, ...]:
    """The stages of an encoder.

    Args:
      encoder: the package's, or one of your own.
      space: what the package's predicts, see `Styles`.
      offsets: whether there is an F stage; False is pSp.
      local: whether its local branch is used, if it has one.

    Raises:
      InputError: there is no encoder.
    """
    if encoder is None:
        raise InputError("model must have an encoder, got a generator alone")
    if not isinstance(encoder, EncoderConfig):
        return tuple(encoder.stages)
    stages: list[Stage] = [Styles(encoder, space)]
    if offsets:
        stages.append(Offsets(encoder))
    if local and encoder.local_features:
        stages.append(Local(encoder))
    return tuple(stages)


def init_variables(model: Config, key: jax.Array, *, space: str = "w+", offsets: bool = True) -> dict[str, Any]:
    """Random variables {stage's name: {"params", "batch_stats"}} of the model's encoder. Not to be jitted.

    Raises:
      InputError: the model has no encoder.
    """
    encoder = model.encoder
    stages = stages_of(encoder, space=space, offsets=offsets)
    if not isinstance(encoder, EncoderConfig):
        return initialise(stages, model, key)
    variables = init_encoder(encoder, key)  # all networks of one draw
    if space == "z":
        variables["psp_encoder"] = Styles(encoder, space).init(model, key)
    return {stage.name: variables[stage.name] for stage in stages}


def abstract_variables(model: Config, *, space: str = "w+", offsets: bool = True) -> dict[str, Any]:
    """What `init_variables` gives, as `jax.ShapeDtypeStruct`s."""
    encoder = model.encoder
    stages = stages_of(encoder, space=space, offsets=offsets)
    if not isinstance(encoder, EncoderConfig):
        return jax.eval_shape(lambda: initialise(stages, model, jax.random.key(0)))
    variables = abstract_encoder(encoder)
    if space == "z":
        variables["psp_encoder"] = jax.eval_shape(lambda: Styles(encoder, space).init(model, jax.random.key(0)))
    return {stage.name: variables[stage.name] for stage in stages}


def _single_code(encoder: EncoderConfig) -> nn.Module:
    return LastLayerEncoder(encoder.trunk, encoder.w_dim, encoder.numerics)
