"""Features of items and users.

They are the object ``features`` of a row, and columns that are named as features.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

#: In ``columns``, this stands before the name of a feature: ``features.year=published``.
FEATURE: Final = "features."
_CODE: Final = re.compile(r"[+-]?0\d")


def feature_columns(columns: Mapping[str, str]) -> list[str]:
    """Return the names in ``columns`` that are features, with their prefix."""
    return [name for name in columns if name.startswith(FEATURE) and name != FEATURE]


def raw_features(raws: Mapping[str, Any]) -> Iterator[tuple[str, Any, bool]]:
    """Yield name, raw value and whether a column gave it: first of the object, then of the columns.

    Parameters
    ----------
    raws : contract name to raw value; Parquet gives an object also as a list of pairs
    """
    given = raws.get("features")
    if isinstance(given, list):
        given = dict(pair for pair in given if isinstance(pair, tuple) and len(pair) == 2)
    for name, raw in given.items() if isinstance(given, dict) else ():
        if name:
            yield str(name), raw, False
    for name, raw in raws.items():
        if name.startswith(FEATURE):
            yield name.removeprefix(FEATURE), raw, True


def feature_value(raw: Any, *, is_column: bool) -> float | str | None:
    """Return a feature: a finite number or a text; None where the raw value is neither.

    True and false are 1 and 0. In a column, a text such as "1995" becomes a number, because CSV has
    no types; digits after a leading 0, as in a postcode, are a code and stay text. In an object a
    text stays a text.
    """
    if isinstance(raw, str):
        text = raw.strip()
        return (_parsed(text) if is_column else text) if text else None
    if isinstance(raw, bool | int | float | Decimal):
        return _finite(raw)
    return None


def _parsed(text: str) -> float | str | None:
    """Return a text such as "1995" as a number, another text unchanged.

    None stands for nan and infinity.
    """
    if _CODE.match(text) or "_" in text or not text.isascii():
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else None


def _finite(raw: float | Decimal) -> float | None:
    try:
        number = float(raw)
    except (OverflowError, ValueError):  # too large, or a signalling NaN
        return None
    return number if math.isfinite(number) else None
