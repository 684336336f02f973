"""Whole numbers that a producer wrote as floats.

JSON has one kind of number: ``1.8e12`` is as whole as ``1800000000000``.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

#: Above this a float may stand for several whole numbers.
_MAX_EXACT: Final = 2.0**53


def whole_fields(struct: Any) -> tuple[str, ...]:
    """Return the fields of a struct that take integers."""
    names = []
    for field in msgspec.inspect.type_info(struct).fields:  # type: ignore[attr-defined]  # a struct's info has fields
        kinds = field.type.types if isinstance(field.type, msgspec.inspect.UnionType) else (field.type,)
        if any(isinstance(kind, msgspec.inspect.IntType) for kind in kinds):
            names.append(field.encode_name)
    return tuple(names)


def with_integers(codec: Any, value: bytes, names: tuple[str, ...]) -> bytes | None:
    """Return an encoded map whose named fields have integers for whole floats; None without any.

    Parameters
    ----------
    codec : ``msgspec.json`` or ``msgspec.msgpack``
    """
    try:
        fields = codec.decode(value, type=dict[str, msgspec.Raw])
        numbers = {name: codec.decode(fields[name]) for name in names if name in fields}
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    changed = {
        name: msgspec.Raw(codec.encode(int(number)))
        for name, number in numbers.items()
        if isinstance(number, float) and abs(number) <= _MAX_EXACT and number.is_integer()
    }
    if not changed:
        return None
    encoded: bytes = codec.encode(fields | changed)
    return encoded
