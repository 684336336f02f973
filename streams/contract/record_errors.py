"""From msgspec's message to reason, field and detail of a reject.

A message is a fixed text followed by the path of the bad value. The text about a value that is not
allowed quotes the producer. So this module matches texts at their beginning and paths at their end,
and never searches between.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from streams.errors import RecordError
from streams.printable import printable

_PATH: Final = re.compile(r" - at (?:`key` in )?`\$([^`]*)`\Z")
_FIELD: Final = re.compile(r"\.([A-Za-z0-9_]+)")
_MISSING: Final = re.compile(r"Object missing required field `([A-Za-z0-9_]+)`\Z")
_QUOTED_CHARACTERS: Final = 100
#: Beginnings of texts and the reasons they mean; the first match counts. All other texts mean
#: "type".
_REASONS: Final = tuple(
    (re.compile(beginning), reason)
    for beginning, reason in (
        (r"Invalid (?:enum )?value ", "value"),
        (r"Expected `str` matching regex ", "value"),
        (r"Expected `(?:str|bytes|array|object)` of (?:length|at least length|at most length) ", "length"),
        (r"Expected `(?:int|float)` (?:<=|>=|<|>) ", "range"),
        (r"(?:Integer value|Number) out of range\Z", "range"),
    )
)
_NUMBER_FOR_TEXT: Final = re.compile(r"Expected `str(?: \| null)?`, got `(?:int|float)`\Z")


def record_error(exc: msgspec.ValidationError) -> RecordError:
    """Return the error of a record that msgspec refused."""
    text = str(exc)
    found = _PATH.search(text)
    body = text[: found.start()] if found else text
    first = _FIELD.match(found.group(1)) if found else None
    field = first.group(1) if first else ""
    missing = _MISSING.match(body)
    if missing:
        return RecordError("missing", field or missing.group(1), text)
    reason = next((reason for beginning, reason in _REASONS if beginning.match(body)), "type")
    return RecordError(reason, field, _shown(body) + (found.group() if found else "") + _remedy(reason, field, body))


def _shown(body: str) -> str:
    """Return a text as one printable line, cut short where it quotes much."""
    shown = printable(body[: _QUOTED_CHARACTERS + 1])
    return shown if len(shown) <= _QUOTED_CHARACTERS else f"{shown[:_QUOTED_CHARACTERS]}..."


def _remedy(reason: str, field: str, body: str) -> str:
    if reason == "type" and _NUMBER_FOR_TEXT.match(body):
        return f"; quote it: publish {field or 'it'} as a string" if field else "; quote it"
    if reason == "range" and field == "ts":
        if body.startswith("Expected `int` >= "):
            return "; it is before 1990: seconds? publish milliseconds"
        return "; it is after 9999: microseconds? publish milliseconds"
    return ""
