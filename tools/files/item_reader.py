"""Catalogues: the items of a file, as fields of the contract's ``Item``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from streams.errors import InputError
from tools.files.log_formats import raw_rows

ITEM_FIELDS: Final = ("item_id", "title", "text", "category", "tags", "price", "features")
#: Before the name of a feature in ``columns``: ``features.year=published``.
FEATURE: Final = "features."
#: From here on a float skips whole numbers.
MAX_EXACT: Final = 2**53
_CODE: Final = re.compile(r"[+-]?0\d")


def read_items(path: Path, columns: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the items of a file by id: ``title`` always (the id where it is empty), other fields where they have a value.

    An id that is there twice keeps its last entry. ``tags`` are cut at ``|``; a price that is no number of 0 or more is left out.
    Text that is not UTF-8 is read as Latin-1. ``features`` come from an object in the file, and from the columns that are named for
    them (see :func:`read_features`); other columns are not read.

    Parameters
    ----------
    columns : contract name to the file's column, or to its position (from 0) where there is no header; ``features.NAME`` for
        a feature

    Raises
    ------
    InputError
        When the file cannot be read, lacks the column of the ids or titles, or has no items.
    """
    items: dict[str, dict[str, Any]] = {}
    names = (*ITEM_FIELDS, *feature_columns(columns))
    for _line, values in raw_rows(path, columns, names, ("item_id", "title"), multiline=True):
        if isinstance(values, str):
            continue
        raws = dict(zip(names, values, strict=True))
        fields = {name: value for name in ITEM_FIELDS if (value := _value(name, raws[name])) is not None}
        if features := read_features(raws):
            fields["features"] = features
        item_id = fields.pop("item_id", None)
        if item_id:
            fields.setdefault("title", item_id)
            items[item_id] = fields
    if not items:
        raise InputError(f"{path}: no items; map the columns with --item-columns item_id=NAME,title=NAME")
    return items


def feature_columns(columns: Mapping[str, str]) -> list[str]:
    """Return the contract names of ``columns`` that are features."""
    return [name for name in columns if name.startswith(FEATURE) and name != FEATURE]


def read_features(raws: Mapping[str, Any]) -> dict[str, float | str]:
    """Return the features of a row by name: those of its object ``features``, then those that have their own column.

    Values are finite numbers and texts that are not empty, all others are left out; true and false are 1 and 0. Text in a column
    of its own that says a number is one, for CSV has no types; within the object, text is text.

    Parameters
    ----------
    raws : contract name to raw value; an object of Parquet may also be a list of pairs
    """
    given = raws.get("features")
    if isinstance(given, list):
        given = dict(pair for pair in given if isinstance(pair, tuple) and len(pair) == 2)
    named = {name.removeprefix(FEATURE): raw for name, raw in raws.items() if name.startswith(FEATURE)}
    typed = {str(name): _feature_value(raw) for name, raw in given.items()} if isinstance(given, dict) else {}
    typed |= {name: _parsed(value) for name, raw in named.items() if (value := _feature_value(raw)) is not None}
    return {name: value for name, value in typed.items() if name and value is not None}


def _feature_value(raw: Any) -> float | str | None:
    """Return a finite number or a text that is not empty, else None."""
    if isinstance(raw, str):
        return text_value(raw) or None
    if isinstance(raw, bool | int | float | Decimal):
        return _finite(raw)
    return None


def text_value(raw: Any) -> str:
    """Return a raw value as text without white space around it, read as Latin-1 where it is not UTF-8."""
    text = str(raw).strip()
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "surrogateescape").decode("latin-1")
    return text


def id_value(raw: Any) -> str:
    """Return a raw id as text, ``""`` where it is none.

    A column of whole numbers that once had a gap holds 29.0, which is the id 29; binary values are UTF-8. Text stays as it is. A number
    with a fraction is no id, and neither is one so large that a float cannot tell it from its neighbour.
    """
    if isinstance(raw, bytes):
        return text_value(raw.decode("utf-8", "surrogateescape"))
    if isinstance(raw, float):
        return str(int(raw)) if raw.is_integer() and abs(raw) < MAX_EXACT else ""
    if isinstance(raw, Decimal):
        return str(int(raw)) if raw.is_finite() and raw == raw.to_integral_value() else ""
    return "" if raw is None or isinstance(raw, bool) else text_value(raw)


def list_value(raw: Any) -> list[str]:
    """Return the texts of a list, or of a text cut at ``|``; empty ones are left out."""
    if raw is None or isinstance(raw, bool):
        return []
    parts = raw if isinstance(raw, list) else text_value(raw).split("|")
    return [text for part in parts if part is not None and (text := text_value(part))]


def _parsed(value: float | str) -> float | str | None:
    """Return a text as the number that it says, if any; None where that is nan or inf. Digits after a 0 are a code and stay text."""
    if not isinstance(value, str) or _CODE.match(value) or "_" in value or not value.isascii():
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return number if math.isfinite(number) else None


def _value(name: str, raw: Any) -> Any:
    """Return a field's value, or None where there is none that can be used."""
    if raw is None or isinstance(raw, bool) or name == "features":
        return None
    if name == "price":
        price = _finite(raw)
        return price if price is not None and price >= 0 else None
    if name == "tags":
        return list_value(raw) or None
    if name == "item_id":
        return id_value(raw) or None
    return text_value(raw) or None


def _finite(raw: Any) -> float | None:
    try:
        number = float(raw)
    except (OverflowError, TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
