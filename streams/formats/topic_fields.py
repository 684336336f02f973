"""Turns the raw values of a foreign record into the fields of the contract, before its checks.

Only what another system writes in its own way is changed: ids that are numbers, times in another
unit, decimals, and tags in one text. All else goes to the contract's checks as it is. Ids, types
and numbers are those of files: :mod:`streams.formats.values`.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

from streams.errors import RecordError
from streams.formats.values import is_missing, number, optional_id, plain_number, type_text

IDS: Final = frozenset({"event_id", "user_id", "item_id", "session_id", "run"})
TIMES: Final = frozenset({"ts", "published_ts", "expires_ts"})
LISTS: Final = frozenset({"tags", "categories"})
#: In a mapping, this stands before the name of a feature: ``features.year``.
FEATURE: Final = "features."
#: The units of a time that is a number, in nanoseconds.
UNITS: Final = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: A time beyond every limit; a larger number does not fit into msgpack.
_FAR_MS: Final = 2**62
_FAR_DIGITS: Final = 25
_DIGITS: Final = re.compile(r"[+-]?[0-9]{1,25}\Z")


def contract_fields(raws: Mapping[str, Any], unit: str, types: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields that have a value, as msgpack can write them.

    Parameters
    ----------
    raws : field of the contract to raw value; ``features.NAME`` is a feature
    unit : of times that are numbers: one of :data:`UNITS`
    types : event types of the source to headrace's; others stay as they are

    Raises
    ------
    RecordError
        When an id, a type, a value or a time is none.
    """
    fields: dict[str, Any] = {}
    features = dict(raws["features"]) if isinstance(raws.get("features"), Mapping) else {}
    for name, raw in raws.items():
        if is_missing(raw) or name == "features":
            continue
        if name.startswith(FEATURE):
            features[name.removeprefix(FEATURE)] = _feature(raw)
        elif name in TIMES:
            fields[name] = time_ms(raw, unit, name)
        elif name == "type":
            kind = type_text(raw)
            fields[name] = types.get(kind, kind)
        else:
            fields[name] = _converted(name, raw)
    if features or "features" in raws and raws["features"] is not None:
        fields["features"] = features or raws["features"]
    return fields


def time_ms(raw: Any, unit: str, field: str = "ts") -> Any:
    """Return a time as ms since 1970, rounded down, computed with integers.

    A date-time without a zone is in UTC.

    Raises
    ------
    RecordError
        When a text is neither a number nor ISO 8601.
    """
    if isinstance(raw, str):
        text = raw.strip()
        if not _DIGITS.match(text):
            return _moment_ms(_parsed(text, field))
        raw = int(text)
    if isinstance(raw, datetime):
        return _moment_ms(raw)
    if isinstance(raw, date):
        return _moment_ms(datetime(raw.year, raw.month, raw.day, tzinfo=UTC))
    if isinstance(raw, float | Decimal) and math.isfinite(raw):
        raw = Decimal(str(raw))
        return int(raw * UNITS[unit]) // UNITS["ms"] if raw.adjusted() < _FAR_DIGITS else _FAR_MS
    if isinstance(raw, int) and not isinstance(raw, bool):
        found = raw * UNITS[unit] // UNITS["ms"]
        return max(-_FAR_MS, min(found, _FAR_MS))
    return raw


def _parsed(text: str, field: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise RecordError("type", field, f"{text[:40]!r} is neither a number nor an ISO 8601 time") from None


def _moment_ms(moment: datetime) -> int:
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000


def _float(raw: int | Decimal) -> float:
    try:
        return float(raw)
    except OverflowError:
        return math.inf if raw > 0 else -math.inf


def _texts(raw: Any) -> Any:
    return [part.strip() for part in raw.split("|") if part.strip()] if isinstance(raw, str) else raw


def _feature(raw: Any) -> Any:
    if isinstance(raw, bool):
        return int(raw)
    return _float(raw) if isinstance(raw, int) else _plain(raw)


def _plain(raw: Any) -> Any:
    """Return a value as msgpack writes it; the contract's checks refuse what is left over."""
    if isinstance(raw, bytes):
        return _utf8(raw)
    if isinstance(raw, Decimal):
        return _float(raw)
    return str(raw) if isinstance(raw, datetime | date | uuid.UUID) else raw


def _utf8(raw: bytes) -> Any:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _converted(name: str, raw: Any) -> Any:
    if name in IDS:
        return optional_id(name, raw)
    if name == "value":
        return number(name, raw)
    if name == "price":
        found = plain_number(raw)
        return _plain(raw) if found is None else found
    return _texts(raw) if name in LISTS else _plain(raw)
