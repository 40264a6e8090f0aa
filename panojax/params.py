"""A model's parameters with their static configuration, and the checkpoint that holds both."""

import contextlib
import dataclasses
import gc
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import struct

from panojax.config import Config, from_json, to_json
from panojax.encoders import dual
from panojax.encoders.encoder import abstract_encoder
from panojax.encoders.encoder_config import light
from panojax.errors import InputError, check_choice
from panojax.files import packed
from panojax.generators import networks
from panojax.generators.generator_config import GeneratorConfig

DEFAULT, RANDOM = "default", "random"
DEFAULT_FOLDER = pathlib.Path(__file__).parent / "default_model"
FORMAT = 1


@struct.dataclass
class Params:
    """Parameters of a model: a pytree, whose configuration is static under `jit`.

    Attributes:
      generator: {"params": {module path: tree}, "constants": {module path: tree}}.
      encoders: None, or {"both": variables of the two encoders, stacked as `encoders.dual` does,
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

    def with_dtype(self, dtype: str) -> "Params":
        """The same parameters, to compute in "float32" or "bfloat16"."""
        check_choice("dtype", dtype, ("float32", "bfloat16"))
        generator = dataclasses.replace(self.config.generator, dtype=dtype)
        encoder = self.config.encoder and dataclasses.replace(self.config.encoder, dtype=dtype)
        config = dataclasses.replace(self.config, generator=generator, encoder=encoder)
        return self.replace(config=config)  # type: ignore[attr-defined]

    def for_inference(self) -> "Params":
        """The same parameters, stored as inference reads them: faster, above all on a GPU, with the same results.

        What can be made of the weights alone is made once: the generator's up-sampling kernels and their norms.
        Convolutions' kernels are kept in the compute type, and on GPUs in the order of axes that cuDNN reads, so that
        no call converts or transposes them; the encoders' vectors in one array, as a call takes time for each argument.
        Not for training, saving, nor for other dtypes.
        """
        if "folded" in self.generator:
            return self
        generator, encoders = networks.fold(self.config.generator, self.generator), self.encoders
        if encoders is not None:
            dtype, output_first = self.config.encoder.dtype, jax.default_backend() == "gpu"  # type: ignore[union-attr]
            depth = self.config.generator.plane_depth
            encoders = encoders | {"both": dual.store(encoders["both"], dtype, depth, output_first)}
        return self.replace(generator=generator, encoders=encoders)  # type: ignore[attr-defined]

    def check_whole(self) -> None:
        """Raises InputError for parameters that `for_inference` made: they can neither be saved nor trained."""
        if "folded" in self.generator:
            raise InputError("params must be as loaded, got those of for_inference(), which cannot be saved or trained")


def load(checkpoint: str | pathlib.Path = DEFAULT, *, dtype: str = "float32") -> Params:
    """Reads a checkpoint that `convert` or `save` wrote, or a packed model.

    Args:
      checkpoint: its folder; or "default", the model that ships with panojax; or "random", a small random one.
      dtype: compute type, "float32" or "bfloat16".

    Raises:
      InputError: there is no checkpoint, it is damaged, or it does not fit its own configuration.
    """
    name, folder = str(checkpoint), checkpoint_folder(checkpoint)
    if name != RANDOM and packed.is_packed(folder):
        return _load_packed(folder).with_dtype(dtype)
    if name == DEFAULT:
        raise InputError(f"the default model must lie in {folder}, but does not: install panojax again, or pack one")
    if name == RANDOM:
        return random_params(tiny()).with_dtype(dtype)
    if not (folder / "_CHECKPOINT_METADATA").exists():
        raise InputError(f"checkpoint must be a folder that `panojax convert` wrote, got {checkpoint}")
    with _unfinished_reads_dropped():
        config, stored, refused = _restore(folder, checkpoint)
        if refused:
            gc.collect()
    if refused:
        raise InputError(refused)
    return Params(stored["generator"], stored.get("encoders"), config=config).with_dtype(dtype)


def checkpoint_folder(checkpoint: str | pathlib.Path) -> pathlib.Path:
    """The folder of a checkpoint's name: a path, or "default" for the one that ships."""
    return DEFAULT_FOLDER if str(checkpoint) == DEFAULT else pathlib.Path(checkpoint).resolve()


def _restore(folder: pathlib.Path, checkpoint: str | pathlib.Path) -> tuple[Config, Any, str]:
    """An orbax checkpoint's configuration, its arrays or None, and why they could not be read, or ""."""
    # Each process of a distributed run reads for itself, onto its own device.
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(), active_processes={jax.process_index()}, barrier_sync_key_prefix="load"
    )
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler(), multiprocessing_options=alone) as checkpointer:
        try:
            meta = checkpointer.restore(folder, ocp.args.Composite(config=ocp.args.JsonRestore())).config
        except Exception as error:
            raise InputError(f"checkpoint {checkpoint} has no readable configuration: {_first_line(error)}") from error
        if not isinstance(meta, dict) or meta.get("format") != FORMAT:
            raise InputError(f"checkpoint {checkpoint} must be of format {FORMAT}, got {str(meta)[:80]}")
        try:
            config = from_json(Config, meta["model"])
        except (InputError, KeyError, TypeError) as error:
            raise InputError(f"checkpoint {checkpoint} has no readable configuration: {_first_line(error)}") from error
        template = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), abstract_arrays(config)
        )
        try:
            _check_shapes(template, ocp.StandardCheckpointHandler().metadata(folder / "arrays").tree)
            items = ocp.args.Composite(arrays=ocp.args.StandardRestore(template, strict=False))
            return config, checkpointer.restore(folder, items).arrays, ""
        except Exception as error:
            return config, None, f"checkpoint {checkpoint} does not fit its configuration: {_first_line(error)}"


def _load_packed(folder: pathlib.Path) -> Params:
    """A packed model on this process's first device."""
    config, arrays = packed.read_packed(folder)
    template = abstract_arrays(config)
    try:
        _check_shapes(template, arrays)
    except InputError as error:
        raise InputError(f"{folder} does not fit its configuration: {error}") from error
    found = dict(jax.tree_util.tree_leaves_with_path(arrays))
    # The template also has the groups without arrays.
    whole = jax.tree_util.tree_map_with_path(lambda path, leaf: found[path], template)
    stored = jax.device_put(whole, jax.local_devices()[0])
    return Params(stored["generator"], stored.get("encoders"), config=config)


@contextlib.contextmanager
def _unfinished_reads_dropped() -> Iterator[None]:
    """Where reading one array fails, orbax leaves the others' reads behind, and Python complains when it frees them.

    It does so in the collection that follows, or in an earlier one that it starts by itself.
    """
    before, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
    try:
        yield
    finally:
        sys.unraisablehook = before


def _check_shapes(expected: Any, stored: Any) -> None:
    """Raises InputError unless both trees have the same names and shapes: orbax itself would pad or cut arrays."""
    want, have = (
        {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}
        for leaves in map(jax.tree_util.tree_leaves_with_path, (expected, stored))
    )
    wrong = [name for name in sorted(want.keys() | have.keys()) if want.get(name) != have.get(name)]
    if wrong:
        first = wrong[0]
        raise InputError(
            f"{len(wrong)} arrays, first {first}, expected {want.get(first, 'none')}, got {have.get(first, 'none')}"
        )


def save(params: Params, folder: str | pathlib.Path) -> None:
    """Writes a checkpoint that `load` reads. It appears under its name when it is whole.

    Raises:
      InputError: `folder` exists, or the parameters are those of `for_inference`.
    """
    params.check_whole()
    target = pathlib.Path(folder).resolve()
    if target.exists():
        raise InputError(f"checkpoint folder must not exist, got {folder}")
    arrays = {"generator": params.generator}
    if params.encoders is not None:
        arrays["encoders"] = params.encoders
    meta = {"format": FORMAT, "model": to_json(params.config)}
    target.parent.mkdir(parents=True, exist_ok=True)
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        items = ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), config=ocp.args.JsonSave(meta))
        checkpointer.save(target, items)


def abstract_arrays(config: Config) -> dict:
    """The checkpoint's arrays as float32 `jax.ShapeDtypeStruct`s."""
    arrays = {"generator": abstract_generator(config.generator)}
    if config.encoder is not None:
        encoder = abstract_encoder(config.encoder)
        average = jax.ShapeDtypeStruct((config.encoder.n_styles, config.encoder.w_dim), jnp.float32)
        both = jax.tree.map(lambda x: jax.ShapeDtypeStruct((2, *x.shape), x.dtype), encoder)
        arrays["encoders"] = {"both": both, "latent_average": average}
    return arrays


def abstract_generator(config: GeneratorConfig) -> dict:
    """The generator's variables as `jax.ShapeDtypeStruct`s."""
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
    channels = 3 * generator.plane_features * generator.plane_depth
    encoder = light(resolution=64, n_styles=generator.num_ws, w_dim=generator.w_dim, out_channels=channels)
    return Config(generator, encoder)


def count(tree: Any) -> int:
    """Numbers in a pytree of arrays."""
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
