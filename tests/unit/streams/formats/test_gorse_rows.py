"""Rows of Gorse become the contract's fields, and records become rows of Gorse again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.contract.records import Item, RecordDecoder, User, encode
from streams.errors import RecordError
from streams.formats.envelopes import EnvelopeError, unwrap
from streams.formats.gorse_labels import item_fields, item_labels, user_features, user_labels
from streams.formats.gorse_rows import NO_TIME, gorse_item, gorse_time, gorse_user, item_row, read_time, user_row

ITEM = {
    "ItemId": "2000",
    "IsHidden": True,
    "Labels": {"embedding": [0.1, 0.2, 0.3], "genre": {"main": "comedy", "all": ["a=b", "c"]}, "year": 2015},
    "Categories": ["Comedy", "Animation"],
    "Timestamp": "2022-08-07T00:26:46Z",
    "Comment": "Minions (2015)",
}
USER = {
    "UserId": "1000",
    "Labels": {"gender": "M", "age": 24, "likes": ["x", "y"], "embedding": [0.5, 2]},
    "Comment": "a word",
}
names = st.text(st.sampled_from("ab.%=#1 å"), min_size=1, max_size=4)
leaves = st.one_of(
    st.text(max_size=5),
    st.integers(-(2**40), 2**40),
    st.lists(st.text(max_size=4), min_size=1, max_size=3, unique=True),
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=3),
)
trees = st.dictionaries(names, leaves | st.dictionaries(names, leaves, min_size=1, max_size=2), min_size=1, max_size=3)
labels = trees | st.lists(st.text(max_size=4), min_size=1, max_size=4, unique=True)


def item_again(row: dict[str, Any]) -> dict[str, Any]:
    """Return an item of Gorse after its record was written and read."""
    fields = item_row(row)
    fields |= {"published_ts": read_time(fields["published_ts"])} if "published_ts" in fields else {}
    record = RecordDecoder(Item).decode(msgspec.json.encode({"v": 1} | fields))
    return gorse_item(msgspec.msgpack.decode(encode(record)))


def user_again(row: dict[str, Any]) -> dict[str, Any]:
    """Return a user of Gorse after its record was written and read."""
    record = RecordDecoder(User).decode(msgspec.json.encode({"v": 1} | user_row(row)))
    return gorse_user(msgspec.msgpack.decode(encode(record)))


def test_an_item_and_a_user_come_back_as_they_were() -> None:
    """Whatever Gorse keeps of an item and a user, the record keeps too."""
    assert item_again(ITEM) == ITEM
    assert user_again(USER) == USER


def test_an_item_with_an_id_alone_comes_back_as_gorse_gives_it() -> None:
    """Fields that a body leaves out are Go's zero values."""
    assert item_again({"ItemId": "i"}) == {
        "ItemId": "i", "IsHidden": False, "Categories": [], "Timestamp": NO_TIME, "Labels": None, "Comment": "",
    }  # fmt: skip
    assert user_again({"UserId": "u"}) == {"UserId": "u", "Labels": None, "Comment": ""}


@given(labels)
def test_every_label_that_gorse_takes_comes_back(tree: Any) -> None:
    """Names may hold the marks of paths, and texts those of tags."""
    fields = item_fields(tree)
    assert item_labels(fields.get("features", {}), fields.get("tags", ()), fields.get("vectors", {})) == tree
    assert user_labels(user_features(tree)) == tree


@pytest.mark.parametrize(
    ("tree", "why"),
    [
        ("text", "Labels: 'text', must be an object or a list"),
        ({"a": True}, "Labels.a: True, must be a text, a number, a list or an object"),
        ({"a": {"b": [1, "x"]}}, r"Labels.a.b: \[1, 'x'\], must hold texts alone or numbers alone"),
        ([{"a": 1}], "must hold texts alone"),
    ],
)
def test_labels_that_gorse_refuses_are_refused(tree: Any, why: str) -> None:
    """The message names the path and the value."""
    with pytest.raises(ValueError, match=why):
        item_fields(tree)
    with pytest.raises(ValueError, match=why):
        user_features(tree)


def test_labels_without_end_are_refused() -> None:
    """A tree is as deep as its limit at most."""
    deep: Any = "x"
    for _ in range(40):
        deep = {"a": deep}
    with pytest.raises(ValueError, match="deep, limit 16"):
        user_features(deep)


def test_the_labels_of_a_shops_own_record_are_shown() -> None:
    """Tags beside features are the label ``tags``; a name in the way of another stays whole."""
    assert item_labels({"a": 1.0, "a.b": "x"}, ["t", "a=u"], {}) == {"a": 1, "a.b": "x", "tags": ["t"], "a=": ["u"]}


@pytest.mark.parametrize(
    ("raw", "ts_ms"),
    [
        ("1970-01-01T00:00:01Z", 1_000),
        ("1970-01-01T01:00:00.25+01:00", 250),
        ("1970-01-01", 0),
        ("1700000000", 1_700_000_000_000),
        ("1700000000123", 1_700_000_000_123),
    ],
)
def test_times_are_iso_or_digits(raw: str, ts_ms: int) -> None:
    """Ten digits are seconds, thirteen milliseconds."""
    assert read_time(raw) == ts_ms


def test_another_time_is_refused() -> None:
    """The message has the value and a remedy."""
    with pytest.raises(RecordError, match="'soon' is neither a number nor an ISO 8601 time"):
        read_time("soon")
    with pytest.raises(RecordError, match="'123' is no time; write it as"):
        read_time("123")


def test_times_are_written_as_go_writes_them() -> None:
    """A fraction has no zeros at its end; no time is the year 1."""
    assert [gorse_time(ts) for ts in (0, 1_500, None)] == ["1970-01-01T00:00:00Z", "1970-01-01T00:00:01.5Z", NO_TIME]


def test_a_row_of_something_else_is_refused() -> None:
    """An envelope says what it expected."""
    with pytest.raises(EnvelopeError, match="neither FeedbackType nor ItemId nor UserId"):
        unwrap({"sku": 1}, "gorse")


def test_an_item_older_than_1970_has_no_time() -> None:
    """The contract cannot hold the time of an old film."""
    assert "published_ts" not in item_row({"ItemId": "i", "Timestamp": "1939-12-15T00:00:00Z"})
