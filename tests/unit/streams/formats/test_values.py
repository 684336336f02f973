"""Raw values become ids, types and numbers by one set of rules.

A format may give a value in any type.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.contract.records import VERSION, Event, EventDecoder, encode
from streams.errors import RecordError
from streams.formats.values import id_text, number, optional_id, shown, type_text
from tests.support.builders import T0

RAW = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.decimals(allow_nan=True), st.binary(max_size=200),
    st.text(max_size=200), st.text("0123456789.-e ", max_size=30), st.lists(st.integers(), max_size=2),
)  # fmt: skip


@pytest.mark.parametrize(
    "raw", [29, 29.0, "29", " 29\t", "29.0", "29.00", b"29", b" 29.0 ", Decimal(29), Decimal("29.00"), "\u300029"]
)
def test_a_whole_number_is_the_same_id_whatever_holds_it(raw: object) -> None:
    """A number column with a gap, a database's decimal and text give one id."""
    assert id_text("item_id", raw) == "29"


@pytest.mark.parametrize("raw", ["007", "007.0", "1.5", "29.", ".0", "1e5", "29.0.0", "-", "0x1.0", "٢٩.0", "12.50"])
def test_text_that_is_no_whole_float_stays_as_it_is(raw: str) -> None:
    """Codes with leading zeros and versions are no numbers."""
    assert id_text("item_id", raw) == raw


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "missing"), ("", "missing"), (" \t", "missing"), (b"", "missing"), (math.nan, "missing"), (Decimal("nan"), "missing"),
        (True, "type"), (29.5, "type"), (Decimal("29.5"), "type"), (math.inf, "type"), (2.0**53, "type"), ("9007199254740992.0", "type"),
        ([1], "type"), ({"a": 1}, "type"), ("x" * 129, "length"), (10**128, "length"), (10**1000, "length"), ("1" * 140 + ".0", "length"),
        ("\udcff", "malformed"), (b"\xff", "malformed"), ("\ud800", "malformed"),
    ],
)  # fmt: skip
def test_what_is_no_id_is_refused_with_its_reason(raw: object, reason: str) -> None:
    """The reasons are the contract's, the message is one line with the field."""
    with pytest.raises(RecordError) as caught:
        id_text("user_id", raw)
    assert (caught.value.reason, caught.value.field) == (reason, "user_id")
    assert len(str(caught.value)) < 250 and "\n" not in str(caught.value)


def test_a_large_decimal_is_exact_and_a_float_is_not() -> None:
    """A database's decimal keeps all digits, a float has rounded them."""
    assert id_text("item_id", Decimal("9007199254740993")) == id_text("item_id", 9007199254740993) == "9007199254740993"


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (None, None),
        ("", None),
        (math.nan, None),
        (5, 5.0),
        ("4.5", 4.5),
        (" 3 ", 3.0),
        (b"2.5", 2.5),
        (Decimal("1.25"), 1.25),
        ("1e3", 1000.0),
    ],
)
def test_numbers_of_every_type(raw: object, found: float | None) -> None:
    """A text that is a number is that number."""
    assert number("value", raw) == found


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("much", "type"),
        ("4,5", "type"),
        (True, "type"),
        ([1], "type"),
        ("1_0", "type"),
        ("inf", "range"),
        (1e13, "range"),
        (10**400, "range"),
    ],
)
def test_what_is_no_number_is_refused(raw: object, reason: str) -> None:
    """A comma may be a decimal or a thousand; infinity cannot be published."""
    with pytest.raises(RecordError) as caught:
        number("value", raw)
    assert (caught.value.reason, caught.value.field) == (reason, "value")


def test_types_may_be_numbers_and_ids_may_lack() -> None:
    """A log may number its types; a session is optional."""
    assert [type_text(raw) for raw in (1, 1.0, "1", None, " ")] == ["1", "1", "1", "", ""]
    assert (optional_id("session_id", ""), optional_id("session_id", 5)) == (None, "5")


@given(RAW, RAW, RAW)
def test_what_is_taken_keeps_the_contract(user: Any, item: Any, amount: Any) -> None:
    """The contract's own decoder accepts every value that passes, so nothing is refused later."""
    try:
        user_id, item_id, value = id_text("user_id", user), id_text("item_id", item), number("value", amount)
    except RecordError:
        return
    event = Event(VERSION, "e", user_id, item_id, "view", T0, None, value)
    decoded = EventDecoder(0).decode_event(user_id.encode(), encode(event), T0)
    assert (decoded.user_id, decoded.item_id, decoded.value) == (user_id, item_id, value)


@given(RAW)
def test_a_value_is_shown_short_on_one_line(raw: Any) -> None:
    """A message never carries a file into a terminal."""
    assert len(shown(raw)) <= 60
