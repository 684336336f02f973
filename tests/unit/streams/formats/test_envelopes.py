"""Kafka Connect's and Debezium's envelopes, with schemas and without."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from streams.formats.envelopes import Change, EnvelopeError, unwrap

ROW = {"id": 7, "name": "lamp"}


def schema_of(fields: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the schema of a change whose row has these fields."""
    sides = [{"type": "struct", "field": side, "optional": True, "fields": fields} for side in ("before", "after")]
    return {"type": "struct", "fields": [*sides, {"type": "string", "field": "op"}]}


@pytest.mark.parametrize("is_wrapped", [True, False])
def test_a_change_is_opened_with_or_without_a_schema(is_wrapped: bool) -> None:
    change: dict[str, Any] = {"before": None, "after": ROW, "op": "c", "ts_ms": 5, "source": {}, "transaction": None}
    value = {"schema": schema_of([]), "payload": change} if is_wrapped else change
    assert unwrap(value, "debezium") == Change("c", ROW)


def test_a_delete_has_the_row_before_it() -> None:
    assert unwrap({"before": ROW, "after": None, "op": "d"}, "debezium") == Change("d", ROW)
    assert unwrap({"before": None, "after": None, "op": "d"}, "debezium") == Change("d", None)


def test_a_truncate_has_no_row() -> None:
    assert unwrap({"op": "t", "source": {}}, "debezium") == Change("t", None)


@pytest.mark.parametrize("value", [ROW, {"schema": None, "payload": ROW}, {"payload": ROW}])
def test_a_record_of_connect_is_a_create(value: dict[str, Any]) -> None:
    assert unwrap(value, "connect") == Change("c", ROW)


def test_a_field_called_payload_beside_others_is_no_envelope() -> None:
    row = {"payload": "x", "id": 1}
    assert unwrap(row, "connect") == Change("c", row)


@pytest.mark.parametrize(
    ("logical", "raw", "meant"),
    [
        ("io.debezium.time.MicroTimestamp", 1_700_000_000_123_456, datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)),
        ("io.debezium.time.Timestamp", 1_700_000_000_123, datetime(2023, 11, 14, 22, 13, 20, 123000, UTC)),
        ("io.debezium.time.NanoTimestamp", 1_700_000_000_123_456_789, datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)),
        ("org.apache.kafka.connect.data.Timestamp", 0, datetime(1970, 1, 1, tzinfo=UTC)),
        ("org.apache.kafka.connect.data.Date", 19_675, datetime(2023, 11, 14, tzinfo=UTC)),
        ("io.debezium.time.ZonedTimestamp", "2023-11-14T22:13:20Z", "2023-11-14T22:13:20Z"),
        ("org.apache.kafka.connect.data.Decimal", base64.b64encode(b"\xfb\x2e").decode(), Decimal("-12.34")),
        ("com.example.Own", 5, 5),
    ],
)
def test_a_schema_says_what_a_value_stands_for(logical: str, raw: Any, meant: Any) -> None:
    fields = [{"field": "x", "name": logical, "type": "int64", "parameters": {"scale": "2"}}]
    value = {"schema": schema_of(fields), "payload": {"before": None, "after": {"x": raw, "y": None}, "op": "u"}}
    assert unwrap(value, "debezium") == Change("u", {"x": meant, "y": None})
    assert unwrap({"schema": {"fields": fields}, "payload": {"x": raw}}, "connect").row == {"x": meant}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("text", "payload: of type str"),
        ([], "payload: of type list"),
        ({"payload": None, "schema": None}, "payload: missing"),
        ({"a": 1}, "op: None is none of c, r, u, d, t, m"),
        ({"op": "x"}, "op: 'x'"),
        ({"op": ["c"]}, "op: "),
        ({"op": "c", "after": None}, "after: missing"),
        ({"op": "d", "before": 5}, "before: of type int"),
    ],
)
def test_what_is_no_change_is_refused_in_one_line(value: Any, why: str) -> None:
    with pytest.raises(EnvelopeError, match="^" + why) as refused:
        unwrap(value, "debezium")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("raw", "parameters"),
    [("?", {"scale": "2"}), ("AA==", {"scale": "9999"}), ("AA==", {"scale": "x"}), ("AA==", {"scale": []})],
)
def test_a_decimal_that_is_none_is_refused(raw: str, parameters: Any) -> None:
    fields = [{"field": "x", "name": "org.apache.kafka.connect.data.Decimal", "parameters": parameters}]
    with pytest.raises(EnvelopeError, match="^x: "):
        unwrap({"schema": {"fields": fields}, "payload": {"x": raw}}, "connect")


def test_a_time_beyond_all_calendars_is_refused() -> None:
    fields = [{"field": "x", "name": "io.debezium.time.Timestamp"}]
    with pytest.raises(EnvelopeError, match="^x: 9223372036854775807 is too large"):
        unwrap({"schema": {"fields": fields}, "payload": {"x": 2**63 - 1}}, "connect")


@pytest.mark.parametrize(
    "schema", [5, {"fields": 5}, {"fields": [None, {"field": 3, "name": "x"}]}, {"fields": [{"field": "id"}]}]
)
def test_a_broken_schema_changes_nothing(schema: Any) -> None:
    assert unwrap({"schema": schema, "payload": ROW}, "connect") == Change("c", ROW)
