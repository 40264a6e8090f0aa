"""Static configuration of a model: frozen, hashable, JSON in and out."""

import dataclasses
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any

from panojax.encoders.encoder_config import EncoderConfig
from panojax.encoders.goae import GoaeEncoder
from panojax.encoders.stage import OwnEncoder
from panojax.errors import InputError, check_choice
from panojax.generators.generator_config import GeneratorConfig
from panojax.schema import check_config, check_type, hints

# Encoders by stages of their own that the package has: files name them as they name those of others.
_STAGED = {GoaeEncoder.__name__: GoaeEncoder}


@dataclasses.dataclass(frozen=True)
class Config:
    """A model: a generator and, where it can invert pictures, the architecture of its encoders."""

    generator: GeneratorConfig
    encoder: EncoderConfig | OwnEncoder | None = None
    """Of each encoder: the package's, or one of your own (`encoders.stage`)."""
    encoders: int = 2
    """How many there are: a visible and an occluded one whose heads are stitched, or one alone."""
    framing: str = "panohead"
    """How its training pictures were cropped, and photos are to be: as PanoHead's, or "heads", the synthetic ones."""

    def __post_init__(self):
        check_config(self)
        check_choice("framing", self.framing, ("panohead", "heads"))
        if self.encoders not in (1, 2):
            raise InputError(f"encoders must be 1 or 2, got {self.encoders}")
        encoder, channels = self.encoder, self.generator.field.features
        if isinstance(encoder, EncoderConfig) and encoder.local_features and encoder.local_channels != channels:
            raise InputError(
                f"encoder.local_channels must be the generator's plane_features, {channels}, "
                f"got {encoder.local_channels}"
            )


def to_json(config: Any) -> dict:
    """A configuration as nested dicts and lists. What is not the package's is kept by its class's name and settings."""
    data = _plain(dataclasses.asdict(config))
    if isinstance(config, Config):
        data["generator"] = to_json(config.generator)
    elif isinstance(config, GeneratorConfig):
        del data["representation"]
        if config.representation is not None:
            data["representation"] = _named(config.representation)
    encoder = getattr(config, "encoder", None)  # of a model, or of a run that trains one
    if encoder is not None and not isinstance(encoder, EncoderConfig):
        data["encoder"] = _named(encoder)
    return data


def _plain(value: Any) -> Any:
    """Functions as their names."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    return f"{value.__module__}.{value.__qualname__}" if callable(value) and hasattr(value, "__qualname__") else value


def _named(own: Any) -> dict:
    settings = dataclasses.asdict(own) if dataclasses.is_dataclass(own) else {}  # type: ignore[arg-type]
    return {"class": type(own).__name__, **settings}


def from_json(cls: type, data: Mapping[str, Any], own: Collection[Any] = ()) -> Any:
    """The inverse of `to_json` for the dataclass `cls`.

    Args:
      own: representation and encoder that are not the package's: files hold no code, only their class's name.

    Raises:
      InputError: `data` has unknown names (absent ones take defaults), a value that is not of its field's type or
        range, or needs what `own` lacks.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{cls.__name__} must be a mapping, got {type(data).__name__}")
    fields = hints(cls)
    unknown = [ascii(name)[:80].strip("'") for name in data if name not in fields]
    if unknown:
        raise InputError(
            f"{cls.__name__} has no {', '.join(sorted(unknown)[:10])}: the checkpoint is of another version"
        )
    if missing := [
        field.name
        for field in dataclasses.fields(cls)
        if field.name not in data and dataclasses.MISSING is field.default is field.default_factory
    ]:
        raise InputError(f"{cls.__name__} must have {', '.join(missing)}, got {', '.join(data) or 'nothing'}")
    values = {name: _value(name, fields[name], value, own) for name, value in data.items()}
    for name, value in values.items():
        check_type(f"{cls.__name__}.{name}", value, fields[name])
    try:
        return cls(**values)
    except InputError as error:
        raise InputError(f"{cls.__name__}: {error}") from error


def _value(name, hint, value, own):
    if name in ("representation", "encoder") and isinstance(value, Mapping) and "class" in value:
        return _of_class(name, value, own)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        nested = [h for h in typing.get_args(hint) if dataclasses.is_dataclass(h)]
        return _value(name, nested[0], value, own) if nested and value is not None else value
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast(type, hint), value, own)
    if isinstance(value, list):
        return tuple(_value("", None, v, own) for v in value)
    return value


def _of_class(name, value, own):
    wanted = value["class"]
    for candidate in own:
        if type(candidate).__name__ == wanted:
            return candidate
    if name == "encoder" and isinstance(wanted, str) and wanted in _STAGED:
        return from_json(_STAGED[wanted], {field: part for field, part in value.items() if field != "class"}, own)
    given = ", ".join(type(candidate).__name__ for candidate in own) or "none"
    raise InputError(f"own must hold the model's {name}, a {str(wanted)[:80]} that is not the package's, got {given}")
