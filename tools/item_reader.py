"""Catalogues: the items of a file, as fields of the contract's ``Item``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from streams.errors import InputError
from tools.log_formats import raw_rows

ITEM_FIELDS: Final = ("item_id", "title", "text", "category", "tags", "price")


def read_items(path: Path, columns: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the items of a file by id: ``title`` always (the id where it is empty), other fields where they have a value.

    An id that is there twice keeps its last entry. ``tags`` are cut at ``|``; a price that is no number of 0 or more is left out.
    Text that is not UTF-8 is read as Latin-1.

    Parameters
    ----------
    columns : contract name to the file's column, or to its position (from 0) where there is no header

    Raises
    ------
    InputError
        When the file cannot be read, lacks the column of the ids or titles, or has no items.
    """
    items: dict[str, dict[str, Any]] = {}
    for _line, values in raw_rows(path, columns, ITEM_FIELDS, ("item_id", "title"), multiline=True):
        if isinstance(values, str):
            continue
        fields = {
            name: value
            for name, raw in zip(ITEM_FIELDS, values, strict=True)
            if (value := _value(name, raw)) is not None
        }
        item_id = fields.pop("item_id", None)
        if item_id:
            fields.setdefault("title", item_id)
            items[item_id] = fields
    if not items:
        raise InputError(f"{path}: no items; map the columns with --item-columns item_id=NAME,title=NAME")
    return items


def _value(name: str, raw: Any) -> Any:
    """Return a field's value, or None where there is none that can be used."""
    if raw is None or isinstance(raw, bool):
        return None
    if name == "price":
        return _price(raw)
    if name == "tags":
        parts = raw if isinstance(raw, list) else str(raw).split("|")
        return [text for part in parts if (text := _text(part))] or None
    return _text(raw) or None


def _text(raw: Any) -> str:
    text = str(raw).strip()
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "surrogateescape").decode("latin-1")
    return text


def _price(raw: Any) -> float | None:
    try:
        price = float(raw)
    except (TypeError, ValueError):
        return None
    return price if math.isfinite(price) and price >= 0 else None
