"""The generator's networks: mapping, synthesis, decoder, super-resolution. Module names are PyTorch's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from panojax import kernels
from panojax.generators.generator_config import SUPERRESOLUTION, GeneratorConfig, count_ws
from panojax.kernels.activations import lrelu, softplus
from panojax.kernels.fusion import weighted_sum
from panojax.nn.layers import parameter
from panojax.nn.stylegan2 import FullyConnected, SynthesisLayer, ToRGB, normalize_2nd_moment, upsample_image


class Mapping(nn.Module):
    """z [N, z_dim] and camera labels [N, c_dim] -> w [N, w_dim]; `w_avg` [w_dim] is a constant."""

    w_dim: int
    layers: int
    lr_multiplier: float = 0.01
    activate_last: bool = True
    embedding: int | None = None
    width: int | None = None

    @nn.compact
    def __call__(self, z, label):
        self.variable("constants", "w_avg", jnp.zeros, (self.w_dim,))
        embedded = normalize_2nd_moment(FullyConnected(self.embedding or self.w_dim, name="embed")(label))
        x = jnp.concatenate([normalize_2nd_moment(z), embedded], axis=-1)
        for i in range(self.layers):
            last = i == self.layers - 1
            width = self.w_dim if last or self.width is None else self.width
            x = FullyConnected(width, self.lr_multiplier, self.activate_last or not last, name=f"fc{i}")(x)
        return x


class SynthesisBlock(nn.Module):
    """One resolution: (conv0), conv1, torgb -> features [N, H, W, features] and the running image [N, H, W, rgb]."""

    features: int
    rgb: int
    up: bool = True
    first: bool = False
    noise: str = "const"
    clamp: float | None = None
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, image, ws):
        """ws [N, 2 or 3, w_dim]: a style for each convolution and for torgb."""
        ws = list(jnp.moveaxis(ws, 1, 0))
        if self.first:
            const = parameter(self, "const", nn.initializers.normal(1.0), (4, 4, self.features))
            x = jnp.broadcast_to(const, (ws[0].shape[0], *const.shape)).astype(self.dtype)
        else:
            x = SynthesisLayer(self.features, self.up, self.noise, self.clamp, name="conv0")(
                x.astype(self.dtype), ws.pop(0)
            )
        x = SynthesisLayer(self.features, False, self.noise, self.clamp, name="conv1")(x, ws.pop(0))
        y = ToRGB(self.rgb, self.clamp, name="torgb")(x, ws.pop(0))
        if image is None:
            return x, y
        return x, (upsample_image(image) if self.up else image) + y


class Synthesis(nn.Module):
    """ws [N, >= num_ws, w_dim] -> image [N, R, R, rgb]; a torgb shares its style with the next block's conv0.

    `stop` ends it after the block of that resolution, with (features [N, r, r, F], image [N, r, r, rgb]); `state` is
    such a pair, from which it goes on.
    """

    resolution: int
    rgb: int
    channel_base: int
    channel_max: int
    noise: str = "const"
    dtype: str = "float32"
    clamp: float | None = None

    @nn.compact
    def __call__(self, ws, state=None, *, stop: int | None = None):
        x, image = (None, None) if state is None else state
        resolution = 4 if state is None else 2 * state[0].shape[1]
        while resolution <= (stop or self.resolution):
            first = resolution == 4
            start = 0 if first else count_ws(resolution // 2) - 1
            x, image = SynthesisBlock(
                block_width(self.channel_base, self.channel_max, resolution),
                self.rgb,
                first=first,
                noise=self.noise,
                clamp=self.clamp,
                dtype=self.dtype,
                name=f"b{resolution}",
            )(x, image, ws[:, start : start + (2 if first else 3)])
            resolution *= 2
        return image if stop is None else (x, image)


def block_width(channel_base: int, channel_max: int, resolution: int) -> int:
    """Features of the block of a resolution."""
    return min(channel_base // resolution, channel_max)


class Decoder(nn.Module):
    """Looked-up features [..., C] -> density [...] before its softplus, and colour features [..., C].

    Without `colours`, these are [..., 0].
    """

    config: GeneratorConfig

    @nn.compact
    def __call__(self, features, *, colours: bool = True):
        config = self.config
        layer = functools.partial(FullyConnected, lr_multiplier=config.decoder_lr_multiplier, dtype=config.dtype)
        hidden = softplus(layer(config.decoder_hidden, name="net.0")(features))
        last = layer(1 + config.field.features, name="net.2")
        if not colours:
            kernel, bias = last.weights(config.decoder_hidden)
            density = weighted_sum(hidden, kernel[:, 0]) + bias[0]
            return density, jnp.zeros((*density.shape, 0))
        output = last(hidden).astype(jnp.float32)
        density, colour = output[..., 0], output[..., 1:]
        if config.decoder_activation == "sigmoid":
            colour = jax.nn.sigmoid(colour) * (1 + 2 * 0.001) - 0.001
        elif config.decoder_activation == "lrelu":
            colour = lrelu(colour)
        return density, colour


class SuperResolution(nn.Module):
    """Raw RGB and features [N, r, r, C] at the input size, last style [N, w_dim] -> image [N, R, R, 3]."""

    config: GeneratorConfig

    @nn.compact
    def __call__(self, rgb, features, w):
        config = self.config
        _, _, ups = SUPERRESOLUTION[config.superresolution]
        ws = jnp.repeat(w[:, None], 3, axis=1)
        for i, (width, up) in enumerate(zip(config.superresolution_channels, ups)):
            block = SynthesisBlock(
                width,
                3,
                up=up,
                noise=config.superresolution_noise,
                clamp=config.superresolution_clamp,
                dtype=config.dtype,
                name=f"block{i}",
            )
            features, rgb = block(features, rgb, ws)
        return rgb


def build(config: GeneratorConfig, *, noise: str = "const") -> dict[str, nn.Module]:
    """The modules of a generator by their PyTorch path. `noise` is the backbone's and the background's noise mode."""
    widths = True, config.mapping_embedding, config.mapping_width
    modules: dict[str, nn.Module] = {
        "backbone.mapping": Mapping(config.w_dim, config.mapping_layers, config.mapping_lr_multiplier, *widths),
        "backbone.synthesis": Synthesis(
            config.field.resolution,
            config.field.channels,
            config.channel_base,
            config.channel_max,
            noise,
            config.dtype,
            config.conv_clamp,
        ),
        "decoder": Decoder(config),
        "superresolution": SuperResolution(config),
    }
    if config.raw_to_rgb:
        modules["torgb"] = ToRGB(3)
    if config.background:
        modules["bcg_synthesis"] = Synthesis(
            config.superresolution_input,
            config.field.features,
            config.channel_base // 2,
            config.channel_max,
            noise,
            config.dtype,
            config.conv_clamp,
        )
    if config.camera_adaptation:
        modules["t_mapping"] = Mapping(3, config.mapping_layers, 1.0, False, *widths[1:])
    return modules


def _example_inputs(config: GeneratorConfig) -> dict[str, tuple[jax.Array, ...]]:
    """What each module of `build` may be called with."""
    side = config.superresolution_input
    return {
        "backbone.mapping": (jnp.zeros((1, config.z_dim)), jnp.zeros((1, config.c_dim))),
        "backbone.synthesis": (jnp.zeros((1, config.num_ws, config.w_dim)),),
        "decoder": (jnp.zeros((1, config.field.features)),),
        "superresolution": (
            jnp.zeros((1, side, side, 3)),
            jnp.zeros((1, side, side, config.field.features)),
            jnp.zeros((1, config.w_dim)),
        ),
        "torgb": (jnp.zeros((1, 1, 1, config.field.features)), jnp.zeros((1, config.w_dim))),
        "bcg_synthesis": (jnp.zeros((1, count_ws(side), config.w_dim)),),
        "t_mapping": (jnp.zeros((1, config.z_dim)), jnp.zeros((1, config.c_dim))),
    }


def init(config: GeneratorConfig, key: jax.Array) -> dict:
    """Random variables {"params": {module path: tree}, "constants": {module path: tree}} of a generator."""
    inputs, modules = _example_inputs(config), build(config)
    variables: dict = {"params": {}, "constants": {}}
    for module_key, (path, module) in zip(jax.random.split(key, len(modules)), modules.items()):
        for collection, tree in module.init(module_key, *inputs[path]).items():
            variables[collection][path] = tree
    return variables


def module_variables(variables: dict, path: str) -> dict:
    """The variables of one module of `build`, for its `apply`."""
    return {collection: trees[path] for collection, trees in variables.items() if path in trees}


def call_networks(config: GeneratorConfig, variables: dict) -> None:
    """Calls each network on blank inputs: for `kernels.prepare`."""
    inputs = _example_inputs(config)
    for path, module in build(config).items():
        module.apply(module_variables(variables, path), *inputs[path], rngs={"noise": jax.random.key(0)})


def prepare(config: GeneratorConfig, variables: dict) -> dict:
    """Variables of a frozen generator that give the same in less time, see `kernels.prepare`."""
    return kernels.prepare(call_networks, config, variables)


def reorder_planes(variables: dict, order: np.ndarray) -> dict:
    """Variables of a generator whose planes' image has its channels in another order: image[..., order]."""
    backbone = kernels.reorder_outputs(variables["params"]["backbone.synthesis"], order, layers=("torgb",))
    return {**variables, "params": {**variables["params"], "backbone.synthesis": backbone}}
