"""A model's parameters with their static configuration."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from panojax import kernels
from panojax.config import Config
from panojax.devices.programs import kept_shapes
from panojax.encoders.encoder import abstract_encoder, call_networks, reorder_offsets
from panojax.encoders.encoder_config import EncoderConfig, light
from panojax.encoders.stage import initialise
from panojax.errors import InputError, check_choice
from panojax.generators import networks
from panojax.generators.generator_config import GeneratorConfig


@struct.dataclass
class Params:
    """Parameters of a model: a pytree, whose configuration is static under `jit`.

    Attributes:
      generator: {"params": {module path: tree}, "constants": {module path: tree}}.
      encoders: None, or {"both": variables of the `config.encoders` encoders, stacked along a leading axis,
        "latent_average": [L, w_dim]}.
      config: the networks' shapes and the rendering options.
    """

    generator: Any
    encoders: Any = None
    config: Config = struct.field(pytree_node=False, kw_only=True)

    def generator_only(self) -> "Params":
        """The same without encoders: passing fewer arrays makes each call of a jitted `render` cheaper."""
        config = dataclasses.replace(self.config, encoder=None)
        return self.replace(encoders=None, config=config)  # type: ignore[attr-defined]

    def with_encoders(self, encoder: Any, *variables: Any, latent_average: Any = None) -> "Params":
        """The same generator with other encoders.

        Args:
          encoder: their configuration, an `EncoderConfig` or one of your own (`encoders.stage`).
          variables: {stage's name: {"params", "batch_stats"}} of one encoder, or of a visible and an occluded one.
          latent_average: mean style codes [L, w_dim]; None takes the present encoders'.

        Raises:
          InputError: there are more than two, or no mean codes.
        """
        if latent_average is None and self.encoders is None:
            raise InputError("latent_average must be given where params have no encoders, got None")
        average = self.encoders["latent_average"] if latent_average is None else latent_average
        config = dataclasses.replace(self.config, encoder=encoder, encoders=len(variables))
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *variables)
        encoders = {"both": stacked, "latent_average": average}
        return self.replace(encoders=encoders, config=config)  # type: ignore[attr-defined]

    def with_dtype(self, dtype: str) -> "Params":
        """The same parameters, to compute in "float32" or "bfloat16"."""
        check_choice("dtype", dtype, ("float32", "bfloat16"))
        generator = dataclasses.replace(self.config.generator, dtype=dtype)
        encoder: Any = self.config.encoder
        if hasattr(encoder, "dtype"):
            encoder = dataclasses.replace(encoder, dtype=dtype)
        config = dataclasses.replace(self.config, generator=generator, encoder=encoder)
        return self.replace(config=config)  # type: ignore[attr-defined]

    def for_inference(self) -> "Params":
        """The same parameters, stored as inference reads them: faster, above all on a GPU, with the same results.

        What can be made of the weights alone is made once: the generator's up-sampling kernels and their norms.
        Convolutions' kernels are kept in the compute type, and on GPUs in the order of axes that cuDNN reads, so that
        no call converts or transposes them; the encoders' vectors in one array, as a call takes time for each argument.
        Not for training, saving, nor for other dtypes.
        """
        return prepare(self)

    @property
    def prepared(self) -> bool:
        """Whether these are of `for_inference`."""
        return kernels.is_prepared(self.generator)

    def check_whole(self) -> None:
        """Raises InputError for parameters that `for_inference` made: they can neither be saved nor trained."""
        if self.prepared:
            raise InputError("params must be as loaded, got those of for_inference(), which cannot be saved or trained")


def prepare(params: Params) -> Params:
    """See `Params.for_inference`. Encoders of your own, and the order of channels that they make, stay as they are."""
    if params.prepared:
        return params
    config, generator, encoders = params.config, params.generator, params.encoders
    own = config.encoder is not None and not isinstance(config.encoder, EncoderConfig)
    field, order = config.generator.field.reordered()
    if order is not None and not own:
        generator = networks.reorder_planes(generator, order)
        config = dataclasses.replace(config, generator=dataclasses.replace(config.generator, representation=field))
    if encoders is not None and not own:
        both = encoders["both"]
        if order is not None:
            both = reorder_offsets(both, order)
        architecture: Any = config.encoder
        both = kernels.prepare(call_networks, architecture, both, count=config.encoders)
        encoders = encoders | {"both": kernels.pack(both)}
    return params.replace(  # type: ignore[attr-defined]
        generator=networks.prepare(config.generator, generator), encoders=encoders, config=config
    )


def abstract_arrays(config: Config) -> dict:
    """The checkpoint's arrays as float32 `jax.ShapeDtypeStruct`s."""
    arrays = {"generator": abstract_generator(config.generator)}
    if config.encoder is not None:
        encoder = _abstract_encoder(config)
        average = jax.ShapeDtypeStruct((config.generator.num_ws, config.generator.w_dim), jnp.float32)
        both = jax.tree.map(lambda x: jax.ShapeDtypeStruct((config.encoders, *x.shape), x.dtype), encoder)
        arrays["encoders"] = {"both": both, "latent_average": average}
    return arrays


@functools.lru_cache(maxsize=8)  # a second of tracing, each time that a process reads a checkpoint of this kind
def _abstract_encoder(config: Config) -> dict:
    if isinstance(config.encoder, EncoderConfig):
        return kept_shapes(abstract_encoder, config.encoder)
    stages: Any = config.encoder.stages  # type: ignore[union-attr]
    return jax.eval_shape(lambda: initialise(stages, config, jax.random.key(0)))


def abstract_generator(config: GeneratorConfig) -> dict:
    """The generator's variables as `jax.ShapeDtypeStruct`s."""
    return jax.tree.map(lambda x: x, _abstract_generator(config))  # a caller may change the dictionaries


@functools.lru_cache(maxsize=8)
def _abstract_generator(config: GeneratorConfig) -> dict:
    return kept_shapes(_traced_generator, config)


def _traced_generator(config: GeneratorConfig) -> dict:
    return jax.eval_shape(lambda: networks.init(config, jax.random.key(0)))


def random_params(config: Config, seed: int = 0) -> Params:
    """Parameters for `config` drawn by NumPy, encoders included where it has them: for tests and first steps.

    Kernels are normal, the encoders' by He's rule and the generator's with unit variance (it rescales them when it
    uses them); gains and the style layers' biases are one, other leaves zero. Training starts from `networks.init` and
    `init_encoder`.
    """
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        names = [str(k.key) for k in path]
        if names[-1] in ("scale", "var") or names[-2:] == ["affine", "bias"]:
            return np.ones(leaf.shape, np.float32)
        if names[-1] not in ("kernel", "const", "noise_const"):
            return np.zeros(leaf.shape, np.float32)
        scale = np.sqrt(2 / np.prod(leaf.shape[1:-1])) if names[0] == "encoders" else 1.0
        return rng.standard_normal(leaf.shape, np.float32) * np.float32(scale)

    arrays = jax.tree.map(jnp.asarray, jax.tree_util.tree_map_with_path(fill, abstract_arrays(config)))
    return Params(arrays["generator"], arrays.get("encoders"), config=config)


def tiny() -> Config:
    """A model of a few megabytes for tests and first steps: 128 px pictures, tri-grid 64 x 64 x 3, light encoders."""
    generator = GeneratorConfig(
        z_dim=64,
        w_dim=128,
        channel_base=1024,
        channel_max=32,
        plane_resolution=64,
        image_resolution=128,
        superresolution="2X",
        superresolution_channels=(32, 16),
        rendering_resolution=32,
        depth_samples=24,
        importance_samples=24,
    )
    channels = generator.field.channels
    encoder = light(resolution=64, n_styles=generator.num_ws, w_dim=generator.w_dim, out_channels=channels)
    return Config(generator, encoder)


def count(tree: Any) -> int:
    """Numbers in a pytree of arrays."""
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree))
