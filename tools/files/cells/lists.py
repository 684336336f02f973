"""Lists in a cell.

They are those of JSON and Parquet, in brackets as programs write them, or cut at a separator.
"""

from __future__ import annotations

import csv
from typing import Any, Final

import msgspec

SEPARATOR: Final = "|"
#: What else shops put between tags; a cell with one of them and without the separator is told of.
OTHERS: Final = (",", ";", "/", "、", "，", "；")


def list_of(raw: Any, separator: str = SEPARATOR) -> list[Any]:
    """Return the values of a list, as they are: a list stays one, a text is cut.

    A text in square brackets is a list of a program: JSON, or ``['a', 'b']`` and ``[a, b]``. Every
    other text is cut at the separator; a text without it is one value.
    """
    if isinstance(raw, list | tuple):
        return list(raw)
    if not isinstance(raw, str):
        return [raw]
    text = raw.strip()
    if text.startswith("[") and text.endswith("]"):
        return _bracketed(text)
    return text.split(separator) if separator else [text]


def _bracketed(text: str) -> list[Any]:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        inner = text[1:-1].strip()
        quote = inner[:1] if inner[:1] in "'\"" and inner else '"'
        rows = csv.reader([inner.replace("\n", " ").replace("\r", " ")], quotechar=quote, skipinitialspace=True)
        try:
            return next(rows, [])
        except csv.Error:  # longer than a cell of a CSV file may be
            return [inner]
    return found if isinstance(found, list) else [text]
