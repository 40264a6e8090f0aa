"""Static configuration of a model: frozen, hashable, JSON in and out."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from panojax.encoders.encoder_config import EncoderConfig
from panojax.errors import InputError, check_choice
from panojax.fields.representation import Representation
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
        encoder, channels = self.encoder, self.generator.field.features
        if encoder is not None and encoder.local_features and encoder.local_channels != channels:
            raise InputError(
                f"encoder.local_channels must be the generator's plane_features, {channels}, "
                f"got {encoder.local_channels}"
            )


def to_json(config: Any) -> dict:
    """A configuration as nested dicts and lists. A representation of your own is kept by its name and settings."""
    data = dataclasses.asdict(config)
    model = config.generator if isinstance(config, Config) else config
    if isinstance(model, GeneratorConfig):
        holder = data["generator"] if isinstance(config, Config) else data
        own = holder.pop("representation")
        if own is not None:
            holder["representation"] = {"class": type(model.representation).__name__} | own
    return data


def from_json(cls: type, data: Mapping[str, Any], representation: Representation | None = None) -> Any:
    """The inverse of `to_json` for the dataclass `cls`.

    Args:
      representation: what a generator with a representation of its own gets: files hold no code, only its name.

    Raises:
      InputError: `data` has unknown names (absent ones take defaults), or needs another representation.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{cls.__name__} must be a mapping, got {type(data).__name__}")
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise InputError(f"{cls.__name__} has no {', '.join(unknown)}: the checkpoint is of another version")
    values = {name: _value(hints[name], value, representation) for name, value in data.items()}
    if cls is GeneratorConfig:
        values["representation"] = _check_representation(data.get("representation"), representation)
    return cls(**values)


def _check_representation(stored: Any, given: Representation | None) -> Representation | None:
    name = stored.get("class") if isinstance(stored, Mapping) else stored
    if name != (given and type(given).__name__):
        wanted = f"a {name}, which is not the package's" if name else "none but the tri-grid"
        raise InputError(f"representation must be {wanted}, got {'none' if given is None else type(given).__name__}")
    return given


def _value(hint, value, representation):
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        nested = [h for h in typing.get_args(hint) if dataclasses.is_dataclass(h)]
        return _value(nested[0], value, representation) if nested and value is not None else value
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast(type, hint), value, representation)
    if isinstance(value, list):
        return tuple(_value(None, v, None) for v in value)
    return value
