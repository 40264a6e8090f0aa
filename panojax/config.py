"""Static configuration of a model: frozen, hashable, JSON in and out."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from panojax.encoders.encoder_config import EncoderConfig
from panojax.errors import InputError, check_choice
from panojax.generators.generator_config import GeneratorConfig
from panojax.schema import check_config, check_type, hints


@dataclasses.dataclass(frozen=True)
class Config:
    """A model: a generator and, where it can invert pictures, the shape of its two encoders."""

    generator: GeneratorConfig
    encoder: EncoderConfig | None = None
    framing: str = "panohead"
    """How its training pictures were cropped, and photos are to be: as PanoHead's, or "heads", the synthetic ones."""

    def __post_init__(self):
        check_config(self)
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
    """The inverse of `to_json` for the dataclass `cls`. Absent names take defaults.

    Raises:
      InputError: an unknown name, or a value that is not of its field's type or range.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{cls.__name__} must be a mapping, got {type(data).__name__}")
    fields = hints(cls)
    unknown = [one_line(str(name)) for name in data if name not in fields]
    if unknown:
        raise InputError(f"{cls.__name__} has no {', '.join(sorted(unknown)[:10])}: it is of another version")
    if missing := [
        field.name
        for field in dataclasses.fields(cls)
        if field.name not in data and dataclasses.MISSING is field.default is field.default_factory
    ]:
        raise InputError(f"{cls.__name__} must have {', '.join(missing)}, got {', '.join(data) or 'nothing'}")
    values = {name: _value(fields[name], value) for name, value in data.items()}
    for name, value in values.items():
        check_type(f"{cls.__name__}.{name}", value, fields[name])
    try:
        return cls(**values)
    except InputError as error:
        raise InputError(f"{cls.__name__}: {error}") from error


def _value(hint, value):
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        nested = [h for h in typing.get_args(hint) if dataclasses.is_dataclass(h)]
        return _value(nested[0], value) if nested and value is not None else value
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast(type, hint), value)
    if isinstance(value, list):
        return tuple(_value(None, v) for v in value)
    return value
