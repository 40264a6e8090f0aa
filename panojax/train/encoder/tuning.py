"""Parts of the generator that learn with an encoder: the decoder, and the super-resolution.

A generator that saw drawn heads alone draws: its decoder and super-resolution never made the skin and hair of a photo.
With `StepConfig.tune` they learn from the portraits beside the encoder's networks, while the samples and the drawn
heads of the batch keep the sides that no portrait shows as they were (joint training towards photos).

What learns is their difference from the generator's own weights, in steps of `StepConfig.tune_scale`: it begins with 0,
lies among the encoder's networks under the name `RENDERER`, and is added to the generator where a model is assembled.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from panojax.errors import InputError
from panojax.files.checksums import array_sums, json_sum
from panojax.generators import networks
from panojax.generators.generator_config import GeneratorConfig
from panojax.train.encoder.step_config import RENDERER, StepConfig

_MARKS = 8


def parts_of(generator: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The parameters of the generator's parts of these names, as they are: not prepared ones."""
    return {name: generator["params"][name] for name in names}


def with_base(variables: Mapping[str, Any], weights: Mapping[str, Any], *, rescaled: float = 1.0) -> dict[str, Any]:
    """An encoder's variables that remember which generator their renderer was tuned on.

    Args:
      variables: {network: {"params", "batch_stats"}}, with or without a renderer.
      weights: {part: parameters} of the generator's parts that learn, as they are in its model.
      rescaled: the scale that the renderer was tuned with, over the one that it goes on with.

    Raises:
      InputError: the renderer was tuned on another generator, or has other parts.
    """
    mark, known, names = fingerprint(weights), variables.get(RENDERER), ", ".join(weights)
    if known is None:
        known = {"params": jax.tree.map(jnp.zeros_like, weights)}
    elif known["params"].keys() != weights.keys():
        raise InputError(f"start must have tuned {names}, as tune says, got {', '.join(known['params'])}")
    elif not np.array_equal(known["batch_stats"]["base"], mark):
        raise InputError(f"start must have tuned {names} of this generator, got an encoder of another")
    deltas = jax.tree.map(lambda x: rescaled * x, known["params"])
    return {**variables, RENDERER: {"params": deltas, "batch_stats": {"base": mark}}}


def tuned(frozen: Any, deltas: Any, config: StepConfig) -> Any:
    """The frozen networks with the renderer's parts as they are now; without `deltas` as they were.

    Args:
      frozen: `state.Frozen`.
      deltas: {part: parameters}, or None.
    """
    if deltas is None:
        return frozen
    return dataclasses.replace(frozen, generator=_moved(frozen.generator, frozen.tuned, deltas, config.tune_scale))


def _moved(generator: Any, weights: Any, deltas: Any, scale: float) -> Any:
    """The generator with weights + scale deltas in the place of its parts."""
    parts = jax.tree.map(lambda x, delta: x + (scale * delta).astype(x.dtype), weights, deltas)
    return {**generator, "params": {**generator["params"], **parts}}


def tuned_generator(generator: Any, renderer: Mapping[str, Any], config: StepConfig) -> Any:
    """Variables of a generator with the parts that an encoder's training tuned.

    Args:
      generator: variables of the generator that was trained with.
      renderer: {"params", "batch_stats"} of the network `RENDERER`.

    Raises:
      InputError: they were tuned on another generator.
    """
    own = parts_of(generator, sorted(renderer["params"]))
    if not np.array_equal(fingerprint(own), renderer["batch_stats"]["base"]):
        raise InputError("generator must be the one whose decoder and super-resolution were tuned, got another")
    return _moved(generator, own, renderer["params"], config.tune_scale)


def abstract_renderer(model: GeneratorConfig, names: Sequence[str]) -> dict[str, Any]:
    """Shapes of the network `RENDERER`."""
    weights = jax.eval_shape(lambda: networks.init(model, jax.random.key(0)))["params"]
    return {
        "params": {name: weights[name] for name in names},
        "batch_stats": {"base": jax.ShapeDtypeStruct((_MARKS,), jnp.float32)},
    }


def fingerprint(weights: Any) -> np.ndarray:
    """Float32 [8] that tells weights from others; the same before and after they were kept in half precision."""
    total = json_sum(array_sums(jax.tree.map(lambda x: np.asarray(x, np.float16), weights)))
    return np.frombuffer(bytes.fromhex(total), np.uint16)[:_MARKS].astype(np.float32)
