"""Static configuration of a model: frozen, hashable, JSON in and out."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from panojax.encoders.encoder_config import EncoderConfig
from panojax.errors import InputError, check_choice
from panojax.generators.generator_config import GeneratorConfig


@dataclasses.dataclass(frozen=True)
class Config:
    """A model: a generator and, where it can invert pictures, the shape of its two encoders."""

    generator: GeneratorConfig
    encoder: EncoderConfig | None = None
    framing: str = "panohead"
    """How its training pictures were cropped, and photos are to be: as PanoHead's, or "heads", the synthetic ones."""

    def __post_init__(self):
        check_choice("framing", self.framing, ("panohead", "heads"))
        encoder, channels = self.encoder, self.generator.plane_features
        if encoder is not None and encoder.local_features and encoder.local_channels != channels:
            raise InputError(
                f"encoder.local_channels must be the generator's plane_features, {channels}, "
                f"got {encoder.local_channels}"
            )


def to_json(config: Any) -> dict:
    """A configuration as nested dicts and lists."""
    return dataclasses.asdict(config)


def from_json(cls: type, data: Mapping[str, Any]) -> Any:
    """The inverse of `to_json` for the dataclass `cls`. Unknown names are an InputError; absent ones take defaults."""
    if not isinstance(data, Mapping):
        raise InputError(f"{cls.__name__} must be a mapping, got {type(data).__name__}")
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise InputError(f"{cls.__name__} has no {', '.join(unknown)}: the checkpoint is of another version")
    return cls(**{name: _value(hints[name], value) for name, value in data.items()})


def _value(hint, value):
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        nested = [h for h in typing.get_args(hint) if dataclasses.is_dataclass(h)]
        return _value(nested[0], value) if nested and value is not None else value
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast(type, hint), value)
    if isinstance(value, list):
        return tuple(_value(None, v) for v in value)
    return value
