"""What ``headrace items list`` shows of an item."""

from __future__ import annotations

import pytest

from streams.contract.records import Item
from tools.catalogue.shop import item_row


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, ["T"]),
        ({"available": True, "published_ts": 1}, ["T"]),
        ({"available": False}, ["T", "hidden: not available"]),
        ({"expires_ts": 1_000}, ["T", "hidden: expired 1970-01-01 00:00:01 UTC"]),
        ({"published_ts": 253_402_300_799_000}, ["T", "hidden: published 9999-12-31 23:59:59 UTC"]),
    ],
)
def test_a_hidden_item_says_why(fields: dict[str, object], shown: list[str]) -> None:
    """Whoever looks for an item that is in no list finds the reason beside its title."""
    assert item_row(Item(1, "a", "T", **fields)) == shown  # type: ignore[arg-type]
