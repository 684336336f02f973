"""When items are shown and hidden, and what a record changes."""

from __future__ import annotations

import pytest

from streams.catalogue.changes import Schedule, rest_key, text_key
from streams.contract.item_records import is_shown, next_change_ms
from streams.contract.records import Item


def item(item_id: str = "a", title: str = "A", **fields: object) -> Item:
    """Return an item."""
    return Item(1, item_id, title, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "shown_at"),
    [
        ({}, {0, 10, 20, 30}),
        ({"available": True}, {0, 10, 20, 30}),
        ({"available": False, "published_ts": 10}, set()),
        ({"published_ts": 10}, {10, 20, 30}),
        ({"expires_ts": 20}, {0, 10}),
        ({"published_ts": 10, "expires_ts": 20}, {10}),
        ({"published_ts": 20, "expires_ts": 10}, set()),
    ],
)
def test_an_item_is_shown_from_its_publication_until_it_expires(fields: dict[str, object], shown_at: set[int]) -> None:
    """The first moment belongs to the time, the last one does not."""
    assert {now for now in (0, 10, 20, 30) if is_shown(item(**fields), now)} == shown_at  # type: ignore[arg-type]


def test_the_schedule_says_what_to_do_and_when() -> None:
    """An item is due at each change of its state, in order of time; others are not kept."""
    schedule = Schedule()
    schedule.put(item("a", published_ts=10, expires_ts=30), 0)
    schedule.put(item("b", expires_ts=20), 0)
    schedule.put(item("c"), 0)
    schedule.put(item("d", published_ts=5), 7)
    assert len(schedule) == 2 and schedule.next_ms() == 10
    assert schedule.take_due(9) == {}
    assert schedule.take_due(10) == {"a": True}
    assert schedule.take_due(35) == {"b": False, "a": False}
    assert len(schedule) == 0 and schedule.next_ms() is None


def test_a_newer_record_or_a_removal_replaces_what_was_planned() -> None:
    """Only the newest record counts."""
    schedule = Schedule()
    schedule.put(item("a", published_ts=10), 0)
    schedule.put(item("a", published_ts=40), 0)
    schedule.put(item("b", published_ts=10), 0)
    schedule.put(item("b", available=False, published_ts=10), 0)
    schedule.put(item("c", published_ts=10), 0)
    schedule.remove("c")
    assert schedule.take_due(39) == {"a": False}  # as it is already: its old time has come
    assert schedule.take_due(40) == {"a": True}
    assert schedule.next_ms() is None
    assert next_change_ms(item(available=False, published_ts=10), 0) is None


def test_keys_tell_texts_and_other_features_apart() -> None:
    """A price is no text; whether an item can be had is neither, unless nobody said it before."""
    plain = item(text="words", tags=["x"], price=1.0)
    assert text_key(plain) == text_key(item(text="words", tags=["x"], price=2.0))
    assert rest_key(plain) != rest_key(item(text="words", tags=["x"], price=2.0))
    assert rest_key(plain) == rest_key(item(text="other", price=1.0, expires_ts=5))
    sold_out, back = (item(price=1.0, available=available) for available in (False, True))
    assert rest_key(sold_out) == rest_key(back) != rest_key(plain)
    for other in (item("a", "B"), item(text="other"), item(text="words", tags=["y"]), item(category="c")):
        assert text_key(other) != text_key(plain)
