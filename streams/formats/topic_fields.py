"""Turns the raw values of a foreign record into the fields of the contract, before its checks.

Only what another system writes in its own way is changed: ids that are numbers, times in another
unit, decimals, and tags in one text. All else goes to the contract's checks as it is.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

from streams.errors import RecordError
from streams.settings.record_limits import MAX_ID_LENGTH

IDS: Final = frozenset({"event_id", "user_id", "item_id", "session_id", "run"})
NUMBERS: Final = frozenset({"value", "price"})
LISTS: Final = frozenset({"tags", "categories"})
#: In a mapping, this stands before the name of a feature: ``features.year``.
FEATURE: Final = "features."
#: The units of a time that is a number, in nanoseconds.
UNITS: Final = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_EXACT: Final = 2**53
_HUGE: Final = 10**MAX_ID_LENGTH
#: A time beyond every limit; a larger number does not fit into msgpack.
_FAR_MS: Final = 2**62
_FAR_DIGITS: Final = 25
_DIGITS: Final = re.compile(r"[+-]?[0-9]{1,25}\Z")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?\Z")


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
        When a time is none.
    """
    fields: dict[str, Any] = {}
    features = dict(raws["features"]) if isinstance(raws.get("features"), Mapping) else {}
    for name, raw in raws.items():
        if raw is None or name == "features":
            continue
        if name.startswith(FEATURE):
            features[name.removeprefix(FEATURE)] = _feature(raw)
        elif name == "ts":
            fields[name] = time_ms(raw, unit)
        elif name == "type":
            kind = id_text(raw)
            fields[name] = types.get(kind, kind) if isinstance(kind, str) else kind
        else:
            fields[name] = _converter(name)(raw)
    if features or "features" in raws and raws["features"] is not None:
        fields["features"] = features or raws["features"]
    return fields


def id_text(raw: Any) -> Any:
    """Return an id as text: whole numbers and UUIDs as they are written, bytes as UTF-8.

    A value that cannot be an id stays as it is, so that the contract's check refuses it by name.
    """
    if isinstance(raw, str):
        return raw.strip()
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, int):
        return str(raw) if abs(raw) < _HUGE else "9" * (MAX_ID_LENGTH + 1)
    if isinstance(raw, float):
        return str(int(raw)) if raw.is_integer() and abs(raw) < _MAX_EXACT else raw
    if isinstance(raw, Decimal):
        return str(int(raw)) if raw.is_finite() and raw == raw.to_integral_value() else float(raw)
    if isinstance(raw, uuid.UUID):
        return str(raw)
    return _utf8(raw) if isinstance(raw, bytes) else raw


def time_ms(raw: Any, unit: str) -> Any:
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
            return _moment_ms(_parsed(text))
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


def _parsed(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise RecordError("type", "ts", f"{text[:40]!r} is neither a number nor an ISO 8601 time") from None


def _moment_ms(moment: datetime) -> int:
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000


def _number(raw: Any) -> Any:
    if isinstance(raw, str):
        return float(raw) if _NUMBER.match(raw.strip()) else raw
    return _float(raw) if isinstance(raw, int | Decimal) and not isinstance(raw, bool) else raw


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


def _converter(name: str) -> Callable[[Any], Any]:
    if name in IDS:
        return id_text
    if name in NUMBERS:
        return _number
    return _texts if name in LISTS else _plain
