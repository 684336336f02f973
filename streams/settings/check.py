"""The check that every setting passes: type and range, as the annotation of its field says.

A field ``partitions: Annotated[int, Meta(ge=1, le=10_000)]`` is a whole number from 1 to 10000.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, Final, get_type_hints

import msgspec
from msgspec import inspect

from streams.errors import SettingsError

PREFIX: Final = "HEADRACE_"
#: Settings whose values are never shown.
SECRETS: Final = frozenset({"sasl_password", "serve_store_password"})


def refused(name: str, value: object, limit: str) -> SettingsError:
    """Return the error for a value, with limit and remedy."""
    shown = "***" if name in SECRETS else repr(value)
    return SettingsError(f"{name}={shown} must be {limit}; set {PREFIX}{name.upper()} or {name} in headrace.toml")


def check_setting(condition: bool, name: str, value: object, limit: str) -> None:
    """Raise :class:`SettingsError` where ``condition`` does not hold."""
    if not condition:
        raise refused(name, value, limit)


def convert_setting(group: type, name: str, value: object) -> Any:
    """Return a value, such as the text of a variable, converted to the type of its field.

    A table of ``headrace.toml`` becomes JSON text.

    Raises
    ------
    SettingsError
        When it is of another type, or outside the field's range.
    """
    kind = kinds(group)[name]
    try:
        text = json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, Mapping) else str(value)
        return msgspec.convert(_parser(kind)(text), kind)
    except (ValueError, msgspec.ValidationError):
        raise refused(name, value, range_of(kind)) from None


def check_fields(group: Any) -> None:
    """Raise :class:`SettingsError` for the first field of a group that is outside its range."""
    for one in fields(group):
        convert_setting(type(group), one.name, getattr(group, one.name))


@cache
def kinds(group: type) -> dict[str, Any]:
    """Return the annotated type of each field of a group."""
    return get_type_hints(group, include_extras=True)


@cache
def _parser(kind: Any) -> Callable[[str], object]:
    """Return the function that reads a setting's text; numbers are written as in Python."""
    return {inspect.IntType: int, inspect.FloatType: float}.get(type(inspect.type_info(kind)), str)


def range_of(kind: Any) -> str:
    """Return the values that an annotated type allows, in words that follow "must be"."""
    limits = inspect.type_info(kind)
    match limits:
        case inspect.IntType() | inspect.FloatType():
            noun = "a whole number" if isinstance(limits, inspect.IntType) else "a number"
            return f"{noun}, at least {limits.ge}" if limits.le is None else f"{noun} from {limits.ge} to {limits.le}"
        case inspect.LiteralType():
            return f"one of {', '.join(kind.__args__)}"
        case inspect.Metadata():
            return str((limits.extra_json_schema or {})["description"])
    return "text"
