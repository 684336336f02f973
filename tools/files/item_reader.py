"""Reads the items of a catalogue file as fields of the contract's ``Item``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from streams.errors import InputError
from tools.files.file_options import FileOptions, shown_paths
from tools.files.raw_rows import raw_rows

ITEM_FIELDS: Final = ("item_id", "title", "text", "category", "tags", "price", "features")
#: In ``columns``, this stands before the name of a feature: ``features.year=published``.
FEATURE: Final = "features."
#: A float cannot tell whole numbers above this from their neighbours.
MAX_EXACT: Final = 2**53
_CODE: Final = re.compile(r"[+-]?0\d")


def read_items(paths: Sequence[Path], options: FileOptions) -> dict[str, dict[str, Any]]:
    """Return the items of some files by id.

    Each item has a ``title``: its id where the title is empty. Other fields are present where they
    have a value. Of two entries with one id the last one counts. ``tags`` are cut at ``|``. A price
    counts where it is a number of 0 or more. Text that is not UTF-8 is read as Latin-1.
    :func:`read_features` says where ``features`` come from; other columns are not read.

    Raises
    ------
    InputError
        When a file cannot be read, lacks the column of the ids or of the titles, or has no items.
    """
    items: dict[str, dict[str, Any]] = {}
    names = (*ITEM_FIELDS, *feature_columns(options.columns_map()))
    for _file, _line, values in raw_rows(paths, options, names, ("item_id", "title")):
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
        raise InputError(f"{shown_paths(paths)}: no items; map the columns with --item-columns item_id=NAME,title=NAME")
    return items


def feature_columns(columns: Mapping[str, str]) -> list[str]:
    """Return the names in ``columns`` that are features, with their prefix."""
    return [name for name in columns if name.startswith(FEATURE) and name != FEATURE]


def read_features(raws: Mapping[str, Any]) -> dict[str, float | str]:
    """Return the features of a row by name: those of its object ``features``, then its columns.

    A value is a finite number or a text that is not empty; true and false are 1 and 0; every other
    value is left out. In a column, a text such as "1995" becomes a number, because CSV has no
    types. In the object, a text stays a text.

    Parameters
    ----------
    raws : contract name to raw value; Parquet gives an object also as a list of pairs
    """
    given = raws.get("features")
    if isinstance(given, list):
        given = dict(pair for pair in given if isinstance(pair, tuple) and len(pair) == 2)
    named = {name.removeprefix(FEATURE): raw for name, raw in raws.items() if name.startswith(FEATURE)}
    typed = {str(name): _feature_value(raw) for name, raw in given.items()} if isinstance(given, dict) else {}
    typed |= {name: _parsed(value) for name, raw in named.items() if (value := _feature_value(raw)) is not None}
    return {name: value for name, value in typed.items() if name and value is not None}


def _feature_value(raw: Any) -> float | str | None:
    """Return a raw value where it is a finite number or a text that is not empty, else None."""
    if isinstance(raw, str):
        return text_value(raw) or None
    if isinstance(raw, bool | int | float | Decimal):
        return _finite(raw)
    return None


def text_value(raw: Any) -> str:
    """Return a raw value as text, stripped; bytes that are not UTF-8 are read as Latin-1."""
    text = str(raw).strip()
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "surrogateescape").decode("latin-1")
    return text


def id_value(raw: Any) -> str:
    """Return a raw id as text; ``""`` where the value cannot be an id.

    Programs turn a column of whole numbers with a gap into floats, so 29.0 is the id 29. Bytes are
    UTF-8. Text stays as it is. A number with a fraction cannot be an id, nor can a float above
    :data:`MAX_EXACT`.
    """
    if isinstance(raw, bytes):
        return text_value(raw.decode("utf-8", "surrogateescape"))
    if isinstance(raw, float):
        return str(int(raw)) if raw.is_integer() and abs(raw) < MAX_EXACT else ""
    if isinstance(raw, Decimal):
        return str(int(raw)) if raw.is_finite() and raw == raw.to_integral_value() else ""
    return "" if raw is None or isinstance(raw, bool) else text_value(raw)


def list_value(raw: Any) -> list[str]:
    """Return the texts of a list, or of a text that is cut at ``|``, without the empty ones."""
    if raw is None or isinstance(raw, bool):
        return []
    parts = raw if isinstance(raw, list) else text_value(raw).split("|")
    return [text for part in parts if part is not None and (text := text_value(part))]


def _parsed(value: float | str) -> float | str | None:
    """Return a text such as "1995" as a number, another text unchanged; None for nan and infinity.

    Digits after a leading 0, as in a postcode, are a code and stay text.
    """
    if not isinstance(value, str) or _CODE.match(value) or "_" in value or not value.isascii():
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return number if math.isfinite(number) else None


def _value(name: str, raw: Any) -> Any:
    """Return a field's value, or None where it cannot be used."""
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
