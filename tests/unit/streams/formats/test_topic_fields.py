"""A raw value means the same on a topic as in a file."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import pytest

from streams.errors import RecordError
from streams.formats.topic_fields import contract_fields
from streams.formats.values import id_text, number


def outcome(read: Any, *arguments: Any) -> object:
    """Return what a reader makes of a value, or reason and field of its refusal."""
    try:
        return read(*arguments)
    except RecordError as exc:
        return exc.reason, exc.field


RAWS = [
    "a", " a ", "29.0", "29.50", "007", "x" * 129, 29, 29.0, 29.5, 2**53 + 1, float(2**53), True, b"sku", b"\xff",
    Decimal("29.00"), Decimal("29.5"), uuid.UUID(int=7), 10**200, ["a"], {"a": 1}, float("inf"),
]  # fmt: skip


@pytest.mark.parametrize("raw", RAWS, ids=repr)
def test_an_id_is_that_of_a_file(raw: Any) -> None:
    """The text 29.0 is the id 29 here, too, and a number that lost digits is refused."""
    on_topic = outcome(lambda: contract_fields({"item_id": raw}, "ms", {})["item_id"])
    assert on_topic == outcome(id_text, "item_id", raw)


@pytest.mark.parametrize(
    "raw", ["4.5", " 4.5 ", "4,5", "four", 4, Decimal("4.5"), 1e13, True, float("inf"), b"4", []], ids=repr
)
def test_a_value_is_that_of_a_file(raw: Any) -> None:
    on_topic = outcome(lambda: contract_fields({"value": raw}, "ms", {})["value"])
    assert on_topic == outcome(number, "value", raw)


@pytest.mark.parametrize("raw", [None, "", "  ", float("nan"), b" "], ids=repr)
def test_nothing_is_no_field(raw: Any) -> None:
    """The contract then says what it misses."""
    assert contract_fields(dict.fromkeys(("user_id", "type", "value", "price", "ts", "tags"), raw), "ms", {}) == {}


@pytest.mark.parametrize("raw", [1, 1.0, "1", "1.0", Decimal(1)], ids=repr)
def test_a_number_names_a_type(raw: Any) -> None:
    assert contract_fields({"type": raw}, "ms", {"1": "view"}) == {"type": "view"}
