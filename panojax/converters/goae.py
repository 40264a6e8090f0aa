"""GOAE's two files, `encoder_FFHQ.pt` and `afa_FFHQ.pt`: plain state dicts, with buffers that follow from sizes."""

import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from panojax.config import Config
from panojax.converters.layout import fit
from panojax.converters.read import read_checkpoint, unwrap_state_dict
from panojax.encoders.goae import GoaeEncoder
from panojax.errors import InputError
from panojax.nn.swin import SwinConfig
from panojax.params import Params

_AUTHORS = GoaeEncoder()
_BLOCK = re.compile(r"swin_model\.layers\.(\d+)\.blocks\.(\d+)\.")
_INDEX = "relative_position_index"  # [window^2, window^2], beside each block's attention


def add_goae(
    params: Params,
    encoder: str | pathlib.Path,
    afa: str | pathlib.Path | None = None,
    *,
    average: Any = None,
    config: GoaeEncoder = _AUTHORS,
) -> Params:
    """`params` with GOAE's encoder.

    Args:
      params: a generator.
      encoder: file of the style codes' network.
      afa: file of the network that changes the backbone's features; None: one that changes nothing.
      average: mean style codes [L, w_dim] that the codes are offsets from; None takes the generator's own `w_avg`.
      config: sizes; the authors'.

    Raises:
      InputError: a file is of other sizes, or lists what is missing, unused or mis-shaped in it; or the generator is
        not one that GOAE works with.
    """
    generator = params.config.generator
    state = unwrap_state_dict(read_checkpoint(encoder).state_dict)
    _check_sizes(encoder, state, config.swin)
    model = Config(generator, config, encoders=1)
    variables: dict[str, Any] = {}
    for stage, path in zip(config.stages, (encoder, afa)):
        if path is None:
            variables[stage.name] = {"batch_stats": {}, **stage.init(model, jax.random.key(0))}
            continue
        template = jax.eval_shape(lambda stage=stage: {"batch_stats": {}, **stage.init(model, jax.random.key(0))})
        given = state if path is encoder else unwrap_state_dict(read_checkpoint(path).state_dict)
        variables[stage.name], report = fit(template, given)
        if report:
            raise InputError(f"{path}: the state dict does not fit {stage.name}: {report}")
    if average is None:
        own = params.generator["constants"]["backbone.mapping"]["w_avg"]
        average = jnp.broadcast_to(jnp.asarray(own), (generator.num_ws, generator.w_dim))
    return params.with_encoders(config, jax.device_put(variables), latent_average=average)


def _check_sizes(path: Any, state: Mapping[str, np.ndarray], swin: SwinConfig) -> None:
    """Raises InputError for an encoder of another depth or window, as far as the file says it."""
    blocks: dict[int, int] = {}
    for name in state:
        if found := _BLOCK.match(name):
            stage, block = map(int, found.groups())
            blocks[stage] = max(blocks.get(stage, 0), block + 1)
    depths = tuple(blocks[stage] for stage in sorted(blocks))
    if depths != swin.depths:
        raise InputError(f"{path}: the encoder must have {list(swin.depths)} blocks in its stages, got {list(depths)}")
    index = state.get(f"swin_model.layers.0.blocks.0.attn.{_INDEX}")
    if index is not None and index.shape[:1] != (swin.window**2,):
        side = math.isqrt(index.shape[0]) if index.ndim else 0
        raise InputError(f"{path}: the encoder must have windows of {swin.window} tokens a side, got {side}")
