"""Configurations are checked before they are believed, be they from a pickle, a JSON file or a user's own code.

Types come from the dataclasses' annotations, ranges from a table, and the sizes that memory depends on are multiplied
and compared with a budget. A message names the field, what was expected and what came.
"""

import dataclasses
import functools
import inspect
import numbers
import types
import typing
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from panojax.errors import InputError

BUDGET = 2**34
"""Bytes that a model's parameters, a head or a picture's samples may take, each: 16 GiB."""

Ranges = Mapping[str, tuple[float, float]]
"""{field: (least, most)}."""

# Where no range is given.
_USUAL = {int: (-(2**31), 2**53), float: (-1e9, 1e9)}


def check_config(config: Any, ranges: Ranges = MappingProxyType({}), words: tuple[str, ...] = ()) -> None:
    """Checks a dataclass's own fields: their types, and the ranges of numbers.

    Args:
      ranges: of numbers, and of all numbers in tuples; others lie within wide ones.
      words: texts that may take the place of a number.

    Raises:
      InputError: names the first field that is wrong.
    """
    for name, hint in hints(config.__class__).items():
        value = getattr(config, name)
        check_type(name, value, hint)
        if isinstance(value, str) and name in ranges and value not in words:
            raise InputError(f"{name} must be a number or {' or '.join(map(repr, words))}, got {value!r:.80}")
        for number in _numbers(value):
            low, high = ranges.get(name) or _USUAL[int if isinstance(number, numbers.Integral) else float]
            if not low <= number <= high:
                wanted = f"{low:g}" if low == high else f"{low:g} to {high:g}"
                raise InputError(f"{name} must be {wanted}, got {number!r:.80}")


def check_budget(**sizes: float) -> None:
    """Raises InputError for the first of these that takes more bytes than the budget; spaces are written as "_"."""
    for name, size in sizes.items():
        if size > BUDGET:
            raise InputError(
                f"{name.replace('_', ' ')} must take at most {BUDGET / 2**30:g} GiB, got sizes whose product is "
                f"{size / 2**30:.3g} GiB"
            )


def check_type(name: str, value: Any, hint: Any) -> None:
    """Raises InputError unless a value is of an annotated type. Whole numbers serve as floats, lists as tuples.

    Other annotations than numbers, texts, tuples, mappings, unions, literals and dataclasses are not looked at.
    """
    if not _fits(value, hint):
        raise InputError(f"{name} must be {_told(hint)}, got {value!r:.80}")


@functools.lru_cache(maxsize=256)
def hints(cls: type) -> dict[str, Any]:
    """{field: annotation} of a dataclass."""
    resolved = typing.get_type_hints(cls)
    return {field.name: resolved[field.name] for field in dataclasses.fields(cls)}


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is None or hint is type(None):
        return value is None
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in arguments)
    if origin is typing.Literal:
        return any(value is choice or (type(value) is type(choice) and value == choice) for choice in arguments)
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return False
        parts = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        return len(parts) == len(value) and all(map(_fits, value, parts))
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool)
    if isinstance(hint, type) and (hint is str or dataclasses.is_dataclass(hint) or inspect.isabstract(hint)):
        return isinstance(value, hint)
    return True


def _told(hint: Any) -> str:
    """An annotation in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "none"}
    if hint in words:
        return words[hint]
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_told, arguments))
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is tuple and arguments[1:] == (...,):
        return f"a list, each {_told(arguments[0])}"
    if origin is tuple:
        return f"{len(arguments)} values, each {_told(arguments[0])}"
    return f"a {getattr(hint, '__name__', hint)}"


def _numbers(value: Any) -> list[Any]:
    """The numbers in a value, tuples opened; NaN is among them, and lies in no range."""
    if isinstance(value, tuple | list):
        return [number for part in value for number in _numbers(part)]
    return [value] if isinstance(value, numbers.Real) and not isinstance(value, bool) else []
