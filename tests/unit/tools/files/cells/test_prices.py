"""Prices as shops write them: one reading, two readings, and none."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.files.cells.prices import MAX_PRICE, WrittenPrice, decimal_mark, read_price


def price(raw: Any) -> WrittenPrice:
    """Return a price that must be one."""
    found = read_price(raw)
    assert isinstance(found, WrittenPrice), (raw, found)
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("£7.50", 7.5), ("2.499,00 €", 2499), ("€ 2.499,90", 2499.9), ("3 450,00", 3450), ("19.90 CHF", 19.9),
        ("8,5", 8.5), ("￥36.80", 36.8), ("３６．８０", 36.8), ("US$2,499.99", 2499.99), ("HK$ 128", 128), ("59.9元", 59.9),
        ("Rs. 1,29,999.00", 129_999), ("₹12,34,567", 1_234_567), ("CHF 2'350.–", 2350), ("49,-", 49), ("kr 799,-", 799),
        ("1\u202f250,75\u00a0€", 1250.75), ("&pound;3.20", 3.2), ("\u200e12.50", 12.5), ("0,750", 0.75), ("0.750", 0.75),
        ("3450,125", 3450.125), ("7.654.321", 7_654_321), ("7,654,321.5", 7_654_321.5), ("1e3", 1000), (".5", 0.5),
        ("12.", 12), ("007", 7), ("٣٤٫٥", 34.5), ("R$ 2.499,90", 2499.9), ("99,99 zł", 99.99), (" 5 EUR ", 5), ("0", 0),
    ],
)  # fmt: skip
def test_a_written_price_is_a_number(text: str, value: float) -> None:
    """Currencies, thousands, cents and figures of every kind."""
    found = price(text)
    assert not found.is_ambiguous
    assert found.value(None) == found.value("point") == found.value("comma") == pytest.approx(value)


@pytest.mark.parametrize(
    "raw",
    [
        "", " ", "$", "free", "ask us", "None", "nan", "inf", "1_000", "5 kg", "1.2万", "3折", "10%", "5-10", "$5 - $10", "1,2,3",
        "1.2.3", "2,499,00", "12 34", "1 2 3", "5€50", "12⁹⁹ €", "2½", "0x10", "9" * 80, math.nan, math.inf, 10**400, True, None, [1], {},
    ],
)  # fmt: skip
def test_what_is_no_price_is_refused(raw: Any) -> None:
    assert read_price(raw) == "is no number"


def test_prices_out_of_range_are_refused() -> None:
    """The contract takes 0 to 1e12."""
    below: list[Any] = [-1, "-5", "5-", "(5.00)", "\u22123 €", "€-12", Decimal("-0.01"), "-1,299"]
    for raw in below:
        assert read_price(raw) == "is below 0"
    assert read_price(2 * MAX_PRICE) == read_price("2.000.000.000.000") == "is above 1e12"
    assert [price(raw).value(None) for raw in (0, MAX_PRICE, Decimal("1.50"))] == [0, MAX_PRICE, 1.5]


def test_the_other_prices_tell_what_a_mark_means() -> None:
    """A majority of the prices decides what a mark means.

    ``2,499`` is 2.499 among prices with a decimal comma, 2499 among prices with a point.
    """
    for other, mark, value in (("3,5", "comma", 2.499), ("3.5", "point", 2499), ("1,000,000", "point", 2499)):
        found = decimal_mark([price(other), price("2,499"), price("7")])
        assert found == mark
        assert price("2,499").value(found) == value
    assert decimal_mark(map(price, ["3,5", "4,5", "3.5"])) == "comma"
    assert price("2.499").value("comma") == 2499 and price("2.499").value("point") == 2.499


def test_without_others_a_comma_parts_thousands_and_a_point_does_beside_a_currency() -> None:
    """Programs write a decimal point and no currency."""
    assert decimal_mark(map(price, ["2,499", "7"])) is None
    assert decimal_mark(map(price, ["3,5", "3.5"])) is None
    assert [price(text).value(None) for text in ("2,499", "$2,499", "2.499", "2.499 €")] == [2499, 2499, 2.499, 2499]
    assert price("2,499").is_ambiguous and not price("2499").is_ambiguous


@given(
    st.integers(0, 10**9),
    st.integers(0, 99),
    st.sampled_from([(",", "."), (".", ","), (" ", ","), ("'", "."), ("", ".")]),
)
def test_every_way_of_writing_a_price_is_read_back(whole: int, cents: int, marks: tuple[str, str]) -> None:
    """Thousands and cents in any of the usual ways, with two digits of cents."""
    thousands, mark = marks
    text = f"{whole:,}".replace(",", thousands) + f"{mark}{cents:02d}"
    assert price(text).value(None) == pytest.approx(whole + cents / 100)


@given(st.text(max_size=80) | st.floats() | st.integers() | st.decimals(allow_nan=True) | st.none())
def test_anything_is_a_price_or_a_reason(raw: Any) -> None:
    """A price is in the range of the contract with every mark."""
    found = read_price(raw)
    assert isinstance(found, str) or all(0 <= found.value(mark) <= MAX_PRICE for mark in (None, "point", "comma"))
