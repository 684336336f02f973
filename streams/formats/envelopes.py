"""Opens the envelopes of Kafka Connect and of Debezium: ``{"schema": ..., "payload": ...}``.

Rows of Gorse have none; opening one gives its fields the contract's names.

::

    connect     {"schema": S, "payload": ROW}            or ROW alone
    debezium    {"schema": S, "payload": CHANGE}         or CHANGE alone
    CHANGE      {"before": ROW, "after": ROW, "op": OP, "source": ..., "ts_ms": ...}
    OP          "c" | "u" | "d" | "r" | "t"

``schema`` is there where the converter has ``schemas.enable=true``. With it, values of Connect's
and Debezium's logical types become what they stand for: decimals, times, dates.

References
----------
Debezium's documentation, "Data change events" and "Temporal types"; the class ``JsonConverter`` of
Kafka Connect.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from streams.formats.gorse_rows import contract_row

#: The operations of a change that leave a row: create, read (a snapshot), update.
WITH_ROW: Final = frozenset("cru")
DELETE: Final = "d"
OPERATIONS: Final = {
    "c": "create",
    "r": "read",
    "u": "update",
    "d": "delete",
    "t": "truncate",
    "m": "message",
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS: Final[dict[str, int]] = {  # microseconds of one, by the name of the logical type
    "org.apache.kafka.connect.data.Timestamp": 1_000,
    "io.debezium.time.Timestamp": 1_000,
    "io.debezium.time.MicroTimestamp": 1,
    "org.apache.kafka.connect.data.Date": 86_400_000_000,
    "io.debezium.time.Date": 86_400_000_000,
}
_NANOS: Final = "io.debezium.time.NanoTimestamp"
_DECIMAL: Final = "org.apache.kafka.connect.data.Decimal"
_MAX_SCALE: Final = 1_000


class EnvelopeError(ValueError):
    """A record is not what its envelope promises; the message is one line."""


class Change(NamedTuple):
    """A row of a table, and what happened to it: one of :data:`OPERATIONS`.

    ``row`` is the row after the change, before it for a delete; None for ``t`` and ``m``.
    """

    op: str
    row: Mapping[str, Any] | None


def unwrap(value: Any, envelope: str) -> Change:
    """Return the change in a decoded record; a record of Connect or Gorse is a create.

    Parameters
    ----------
    envelope : ``connect``, ``debezium`` or ``gorse``

    Raises
    ------
    EnvelopeError
        When the record has another shape.
    """
    schema, payload = open_payload(value)
    if not isinstance(payload, Mapping):
        raise EnvelopeError(f"payload: {_kind(payload)}, must be an object")
    if envelope == "connect":
        return Change("c", _typed(payload, schema))
    if envelope == "gorse":
        return Change("c", _of_gorse(payload))
    op = payload.get("op")
    if not isinstance(op, str) or op not in OPERATIONS:
        raise EnvelopeError(f"op: {repr(op)[:40]} is none of {', '.join(OPERATIONS)}; is it a change of Debezium?")
    side = "before" if op == DELETE else "after"
    if op not in WITH_ROW and op != DELETE:
        return Change(op, None)
    row = payload.get(side)
    if row is None and op == DELETE:
        return Change(op, None)  # a table without the old row: REPLICA IDENTITY NOTHING
    if not isinstance(row, Mapping):
        raise EnvelopeError(f"{side}: {_kind(row)}, must be an object, the row {side} the change")
    return Change(op, _typed(row, _field_schema(schema, side)))


def _of_gorse(row: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return contract_row(row)
    except ValueError as exc:
        raise EnvelopeError(str(exc)) from None


def open_payload(value: Any) -> tuple[Any, Any]:
    """Return the schema, None without one, and the payload of a decoded key or value."""
    if isinstance(value, Mapping) and "payload" in value and value.keys() <= {"schema", "payload"}:
        return value.get("schema"), value["payload"]
    return None, value


def _field_schema(schema: Any, name: str) -> Any:
    fields = schema.get("fields") if isinstance(schema, Mapping) else None
    for field in fields if isinstance(fields, list) else ():
        if isinstance(field, Mapping) and field.get("field") == name:
            return field
    return None


def _typed(row: Mapping[str, Any], schema: Any) -> Mapping[str, Any]:
    """Return a row whose values of logical types are what they stand for."""
    fields = schema.get("fields") if isinstance(schema, Mapping) else None
    changed: dict[str, Any] = {}
    for field in fields if isinstance(fields, list) else ():
        if not isinstance(field, Mapping):
            continue
        name, logical = field.get("field"), field.get("name")
        if isinstance(name, str) and isinstance(logical, str) and row.get(name) is not None:
            changed[name] = _logical(name, row[name], logical, field.get("parameters"))
    return {**row, **changed} if changed else row


def _logical(name: str, value: Any, logical: str, parameters: Any) -> Any:
    """Return what a value of a logical type stands for; other types stay as they are."""
    if logical == _DECIMAL and isinstance(value, str):
        return _decimal(name, value, parameters)
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    try:
        if logical == _NANOS:
            return _EPOCH + timedelta(microseconds=value // 1_000)
        if logical in _UNITS:
            return _EPOCH + timedelta(microseconds=value * _UNITS[logical])
    except OverflowError:
        raise EnvelopeError(f"{name}: {value} is too large for a time") from None
    return value


def _decimal(name: str, value: str, parameters: Any) -> Decimal:
    """Return a decimal that Connect wrote as base64 of its unscaled value, big-endian."""
    scale = parameters.get("scale") if isinstance(parameters, Mapping) else None
    try:
        digits = int.from_bytes(base64.b64decode(value, validate=True), "big", signed=True)
        places = int(scale if scale is not None else 0)
    except (binascii.Error, TypeError, ValueError) as exc:
        raise EnvelopeError(f"{name}: {value[:40]!r} is no decimal of Connect ({exc})") from exc
    if abs(places) > _MAX_SCALE:
        raise EnvelopeError(f"{name}: scale {places}, limit {_MAX_SCALE}")
    return Decimal(digits).scaleb(-places)


def _kind(value: Any) -> str:
    return "missing" if value is None else f"of type {type(value).__name__}"
