"""How raw values of files and foreign topics become ids, types and numbers: the same everywhere.

A raw value is what a format gives: a text, a number, bytes, a ``Decimal``, a UUID, None. Every
reader of events takes its values from here, so one row has one outcome in each of them.
A refusal is a :class:`~streams.errors.RecordError` with a reason and a field of the contract.
"""

from __future__ import annotations

import math
import re
import uuid
from decimal import Decimal
from typing import Any, Final

from streams.errors import RecordError
from streams.settings.record_limits import MAX_ID_LENGTH

#: A float cannot tell whole numbers from this one on from their neighbours.
MAX_EXACT: Final = 2**53
#: The limit of an event's ``value`` on either side of 0, as in the contract.
MAX_VALUE: Final = 1e12
SHOWN_CHARACTERS: Final = 40
#: Python refuses to write longer whole numbers in decimal; no text is one.
MAX_TEXT_BITS: Final = 4_096
_WHOLE: Final = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def shown(raw: object) -> str:
    """Return a raw value for a message of one line: its repr, cut to 40 characters."""
    if isinstance(raw, str | bytes) and len(raw) > SHOWN_CHARACTERS:
        text = repr(raw[:SHOWN_CHARACTERS])
        return f"{text if len(text) <= SHOWN_CHARACTERS + 3 else text[:SHOWN_CHARACTERS]}..."
    if isinstance(raw, int) and raw.bit_length() > 512:
        return f"a number of {raw.bit_length()} bits"
    text = str(raw) if isinstance(raw, Decimal) else repr(raw)
    return text if len(text) <= SHOWN_CHARACTERS + 2 else f"{text[:SHOWN_CHARACTERS]}..."


def is_missing(raw: object) -> bool:
    """Return whether a raw value stands for no value: None, blank text, or the float NaN."""
    if raw is None:
        return True
    if isinstance(raw, str | bytes):
        return not raw.strip()
    if isinstance(raw, Decimal):
        return raw.is_nan()
    return isinstance(raw, float) and math.isnan(raw)  # pandas writes a missing number as NaN


def id_text(field: str, raw: object) -> str:
    """Return a raw id as the contract's text of 1 to 128 characters.

    White space around it is cut off. Whole numbers are ids. Programs turn a column of whole numbers
    that has a gap into floats, so 29.0 is the id 29, as a number and as a text. Bytes are UTF-8.

    Raises
    ------
    RecordError
        When the value is missing, is no id, is too long or is not UTF-8.
    """
    text = raw.strip() if type(raw) is str else _text(field, raw)
    if not text:
        raise RecordError("missing", field, f"{shown(raw)} is empty; each row needs one")
    if text[-1] == "0" and (whole := _WHOLE.fullmatch(text)):
        text = _whole(field, raw, int(whole[1])) if len(text) <= MAX_ID_LENGTH else text
    if len(text) > MAX_ID_LENGTH:
        raise RecordError(
            "length", field, f"{shown(text)} has {len(text)} characters, limit {MAX_ID_LENGTH}; use shorter ids"
        )
    if not text.isascii():
        check_utf8(field, text)
    return text


def optional_id(field: str, raw: object) -> str | None:
    """Return an id that an event may lack, None where it is missing; else see :func:`id_text`."""
    return None if is_missing(raw) else id_text(field, raw)


def type_text(raw: object) -> str:
    """Return an event type as the log writes it, ``""`` where it is missing.

    A log may number its types: 1, 1.0 and the text "1" are one type.
    """
    return "" if is_missing(raw) else id_text("type", raw)


def number(field: str, raw: object) -> float | None:
    """Return an event's number, None where it is missing.

    Raises
    ------
    RecordError
        When the value is not a finite number from -1e12 to 1e12.
    """
    if is_missing(raw):
        return None
    if isinstance(raw, bytes):
        raw = _text(field, raw)
    found = plain_number(raw)
    if found is None:
        raise RecordError(
            "type", field, f"{shown(raw)} is no number; write digits with a decimal point, or leave it empty"
        )
    if not -MAX_VALUE <= found <= MAX_VALUE:
        raise RecordError("range", field, f"{shown(raw)} is not a finite number from -1e12 to 1e12")
    return found


def check_utf8(field: str, text: str) -> None:
    """Raise :class:`RecordError` where a text holds bytes that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        readable = text.encode("utf-8", "surrogateescape" if not _has_lone(text) else "replace")
        raise RecordError(
            "malformed", field, f"{shown(readable)} is not UTF-8; of a file, name the --encoding, as gb18030"
        ) from None


def _has_lone(text: str) -> bool:
    """Return whether a text has a surrogate that no byte of a file became."""
    return any("\ud800" <= letter <= "\udfff" and not "\udc80" <= letter <= "\udcff" for letter in text)


def _text(field: str, raw: object) -> str:
    """Return a raw value that is no plain text as stripped text; ``""`` where it is missing."""
    if is_missing(raw):
        return ""
    if isinstance(raw, str):
        return raw.strip()
    if isinstance(raw, bytes):
        return raw.decode("utf-8", "surrogateescape").strip()
    if isinstance(raw, uuid.UUID):
        return str(raw)
    if isinstance(raw, int) and not isinstance(raw, bool):
        return str(raw) if abs(raw) < 10**MAX_ID_LENGTH else "9" * (MAX_ID_LENGTH + 1)
    if isinstance(raw, float | Decimal) and math.isfinite(raw) and raw == int(raw):
        return _whole(field, raw, int(raw), is_exact=isinstance(raw, Decimal))
    kind = {bool: "true or false", dict: "an object", list: "a list", tuple: "a list"}.get(type(raw), "no whole number")
    raise RecordError(
        "type", field, f"{shown(raw)} is {kind}, so it cannot be an id; use text or whole numbers below 2^53"
    )


def _whole(field: str, raw: object, found: int, *, is_exact: bool = False) -> str:
    """Return a whole number as text; refuse one that a float may have rounded."""
    if not is_exact and abs(found) >= MAX_EXACT:
        raise RecordError(
            "type",
            field,
            f"{shown(raw)} was stored as a float, which rounds whole numbers from 2^53 on; export it as text",
        )
    return str(found)


def plain_number(raw: Any) -> float | None:
    """Return a raw value as a float, None where it is no number; nan and inf are numbers here."""
    if isinstance(raw, str):
        text = raw.strip()
        if not _NUMBER.fullmatch(text):
            return math.nan if text.lower().lstrip("+-") in ("nan", "inf", "infinity") else None
        return float(text)
    if isinstance(raw, bool) or not isinstance(raw, int | float | Decimal):
        return None
    try:
        return float(raw)
    except OverflowError:
        return math.inf


def plain_text(field: str, raw: object) -> str | None:
    """Return a raw value as text without white space around it, None where it is no text.

    Numbers are text: a film is called 1917. Bytes are UTF-8. True, false, lists and objects are no
    text.

    Raises
    ------
    RecordError
        When the text is not UTF-8.
    """
    if isinstance(raw, bytes):
        raw = raw.decode("utf-8", "surrogateescape")
    if isinstance(raw, bool) or not isinstance(raw, str | int | float | Decimal):
        return None
    if isinstance(raw, int) and raw.bit_length() > MAX_TEXT_BITS:
        return None
    text = (str(int(raw)) if isinstance(raw, float) and raw.is_integer() else str(raw)).strip()
    if not text.isascii():
        check_utf8(field, text)
    return text
