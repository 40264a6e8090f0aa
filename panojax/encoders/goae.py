"""GOAE (Yuan et al. 2023): codes by a transformer, then another feature map inside the backbone.

Two stages, of which neither is the package's own. `GoaeCodes` predicts style codes by Swin-V2 and cross attentions.
`GoaeFeatures` looks at what their rendering misses of the portrait and changes the features of the backbone's 32 x 32
block (AFA), from which the backbone goes on to other planes; these serve where the portrait's surface lies on the plane
that faces the front, and elsewhere the codes' own planes do (occlusion-aware mixing).

The authors train it onto EG3D, the dual encoder's authors onto PanoHead; on a tri-grid all slices of a plane share a
mask, which is ours.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from panojax.camera import camera_rays
from panojax.encoders.goae_networks import GROUPS, CodeEncoder, FeatureAdapter
from panojax.encoders.initial import draw_variables
from panojax.encoders.stage import Context, Estimate, Stage, heads_of_codes
from panojax.errors import InputError
from panojax.generators import generator
from panojax.generators.generator import Head
from panojax.nn.attention import CrossAttention
from panojax.nn.layers import Numerics
from panojax.nn.stylegan2 import pool
from panojax.nn.swin import SwinConfig
from panojax.render.renderer import draw_uniforms
from panojax.schema import check_budget, check_config

BLOCK = 32
"""Resolution of the block whose features are changed."""


@dataclasses.dataclass(frozen=True)
class GoaeEncoder:
    """The encoder. The defaults are the authors' sizes; numbers of codes and of channels follow from the generator."""

    resolution: int = 512
    """Side of the portraits that it reads, and of the renderings that they are compared with."""
    codes_resolution: int = 256
    """Side of the portraits that the codes are read in."""
    swin: SwinConfig = dataclasses.field(default_factory=SwinConfig)
    """The transformer of the codes."""
    widths: tuple[int, int, int] = (64, 128, 256)
    """Channels of the second network's IR-SE bottlenecks; each of the three halves the resolution."""
    depth: int = 3
    """Bottlenecks of each width."""
    dtype: str = "float32"
    """Of activations and products: "float32" or "bfloat16"."""
    param_dtype: str = "float32"
    """Of stored parameters."""

    def __post_init__(self):
        check_config(self, {"resolution": (32, 4096), "codes_resolution": (32, 4096), "depth": (1, 256)})
        if min(self.widths) < 16 or max(self.widths) > 2**13 or any(width % 16 for width in self.widths):
            raise InputError(f"widths must be three multiples of 16 up to 8192, got {self.widths}")
        if self.resolution % 8 or self.resolution < self.codes_resolution:
            raise InputError(
                f"resolution must be a multiple of 8, and codes_resolution no larger, got {self.resolution} "
                f"and {self.codes_resolution}"
            )
        tokens = self.swin.sides(self.codes_resolution)[0] ** 2
        check_budget(
            # Layers over tokens, which spread the mid ones to the fine ones; convolutions of the bottlenecks.
            codes_resolution_over_patch=4 * tokens**2 // 2,
            depth_x_widths=4 * 18 * self.depth * sum(width**2 for width in self.widths),
        )
        Numerics(self.dtype, self.param_dtype)

    @property
    def numerics(self) -> Numerics:
        """What the layers need to know of dtypes."""
        return Numerics(self.dtype, self.param_dtype)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Codes, then features."""
        return GoaeCodes(self), GoaeFeatures(self)


def small(*, resolution: int = 64, dtype: str = "float32") -> GoaeEncoder:
    """Hundreds of thousands of parameters, for tests and CPUs."""
    swin = SwinConfig(width=16, depths=(1, 1, 2, 1), heads=(2, 2, 4, 4), window=4, mlp_ratio=2, drop_path=0.0)
    return GoaeEncoder(resolution, resolution, swin, widths=(16, 16, 16), depth=1, dtype=dtype)


@dataclasses.dataclass(frozen=True)
class GoaeCodes(Stage):
    """The portrait's style codes, and the heads that the generator makes of them."""

    encoder: GoaeEncoder
    name: str = "goae_codes"

    def network(self, model: Any) -> CodeEncoder:
        """The network for a model's generator.

        Raises:
          InputError: the generator has fewer codes than the network's groups, or codes that attention cannot split.
        """
        least = sum(GROUPS) + 1
        if model.generator.num_ws < least:
            raise InputError(f"the generator must have {least} style codes or more, got {model.generator.num_ws}")
        _check_heads("w_dim", model.generator.w_dim)
        return CodeEncoder(self.encoder.swin, model.generator.num_ws, model.generator.w_dim, self.encoder.numerics)

    def init(self, model: Any, key: jax.Array) -> Any:
        """Its variables at random."""
        side, network = self.encoder.codes_resolution, self.network(model)
        return draw_variables(_blank, (network, (1, side, side, 3)), key, _deviation)

    def apply(self, context: Context, variables: Any, estimate: Estimate, *, train: bool) -> tuple[Estimate, Any]:
        """Heads of codes; those that training has not released yet are the base alone."""
        network = self.network(context.model)
        draws = {} if context.key is None or not train else {"drop_path": context.key}

        def predict(variables, portraits):
            return network.apply({"params": variables["params"]}, portraits, train=train, rngs=draws)

        codes = context.each(predict, variables, pool(context.pictures, self.encoder.codes_resolution))
        codes = codes.astype(jnp.float32)
        if context.released is not None:
            held = jnp.arange(codes.shape[1])[:, None] >= context.released
            codes = jnp.where(held, codes[:, :1], codes)  # the first code is the base
        return Estimate(heads_of_codes(context, codes + context.average)), {}


@dataclasses.dataclass(frozen=True)
class GoaeFeatures(Stage):
    """AFA and the mixing: planes of other features, from a rendering of the codes' heads minus the portrait."""

    encoder: GoaeEncoder
    name: str = "goae_features"

    def init(self, model: Any, key: jax.Array) -> Any:
        """Its variables, which change nothing yet.

        Raises:
          InputError: the backbone does not go on from a 32 x 32 block.
        """
        width = generator.block_features(model.generator, BLOCK)
        _check_heads("32 x 32 block's width", width)
        shapes = (1, BLOCK, BLOCK, width), (1, 32, 32, 3)
        return draw_variables(_blank, (self._network, *shapes), key, _deviation)

    def apply(self, context: Context, variables: Any, estimate: Estimate, *, train: bool) -> tuple[Estimate, Any]:
        """Heads with other planes. Neither rendering, depth nor mask pass a gradient."""
        heads, model = estimate.heads, context.model.generator
        seen = heads if context.styled_gradient else jax.lax.stop_gradient(heads)
        rendering = context.keep(functools.partial(self._rendering, context))(seen)
        difference = jax.lax.stop_gradient(rendering - context.pictures)
        backbone = context.keep(lambda ws: generator.synthesize_features(model, context.generator, ws, BLOCK))
        features, image = backbone(heads.ws)

        def adapt(variables, features, difference):
            network, collections = self._network, ["batch_stats"] if train else []
            (adapted, _, _), updated = network.apply(variables, features, difference, train=train, mutable=collections)
            return adapted, updated.get("batch_stats")

        features, stats = context.each(adapt, variables, features, difference)
        go_on = context.keep(functools.partial(generator.synthesize_from, model, context.generator))
        planes = go_on(heads.ws, features, image)
        fitted = dataclasses.replace(heads, planes=planes)
        mask = fitted_cells(context, jax.lax.stop_gradient(fitted))
        mixed = dataclasses.replace(heads, planes=model.field.blend(heads.planes, planes, mask))
        return dataclasses.replace(estimate, heads=mixed, styled=rendering), stats

    @property
    def _network(self) -> FeatureAdapter:
        return FeatureAdapter(self.encoder.widths, self.encoder.depth, self.encoder.numerics)

    def _rendering(self, context, heads):
        view = generator.render_heads(context.model.generator, context.generator, heads, context.labels)
        return pool(view.image.astype(jnp.float32), self.encoder.resolution)


def _check_heads(name: str, width: int) -> None:
    if width % CrossAttention.heads:
        raise InputError(f"the generator's {name} must be a multiple of {CrossAttention.heads}, got {width}")


def _blank(network: nn.Module, *shapes: tuple[int, ...]) -> Any:
    """Variables of a network that reads arrays of these shapes."""
    return network.init(jax.random.key(0), *map(jnp.zeros, shapes), train=False)


def _deviation(path: tuple[str, ...], shape: tuple[int, ...]) -> float | None:
    """Of a kernel at the start: Lecun's rule, He's for the bottlenecks, 1 for equalised layers, and a tenth for the
    codes' base, which starts near the mean codes. Feed-forward layers of cross attentions start as they are. Patches'
    biases are drawn, too, as PyTorch does: tokens of a black background would be zeros, and norms make these large."""
    if "patch_embed" in path and path[-2:] == ("proj", "bias"):
        return 0.1
    if path[-1] not in ("kernel", "in_proj_kernel") or path[-2] in ("linear1", "linear2"):
        return None
    if path[-2].startswith("output_layer"):
        return 1.0
    gain = 2 if path[1].startswith(("body", "input_layer")) else 1
    return (0.1 if path[-2] == "mapper_base_channel.2" else 1.0) * math.sqrt(gain / math.prod(shape[:-1]))


def fitted_cells(context: Context, heads: Head) -> jax.Array:
    """Where planes that were fitted to the portrait serve, [N, *field.cells], from the depth that they show of it.

    The depth has half the planes' resolution: 128 x 128 for planes of 256 x 256.
    """
    model = context.model.generator
    side = model.field.resolution // 2
    uniforms = draw_uniforms(None, (len(context.labels), side * side), model)
    depth = generator.render_volume(model, context.generator, heads, context.labels, uniforms, colours=False).depth
    return jax.vmap(functools.partial(cells_of_depth, model))(depth, context.labels)


def cells_of_depth(model: Any, depth: jax.Array, label: jax.Array) -> jax.Array:
    """`Representation.fitted` of a depth map [R, R, 1] that is seen from label [25]: [*field.cells]."""
    side = depth.shape[0]
    origins, directions = camera_rays(label, side)
    points = (origins + depth.reshape(-1, 1) * directions) * (2 / model.box_warp)
    return model.field.fitted(points.reshape(side, side, 3))
