"""Items by the short hashes in windows, some of which are the same for two items."""

from __future__ import annotations

import pytest

from streams.catalogue import seen_index
from streams.catalogue.seen_index import SeenIndex


def first_letter(item_id: str) -> bytes:
    """Return a hash that many items share."""
    return item_id[:1].encode() * 4


def test_all_items_with_a_hash_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three share one; an item that is added again changes nothing."""
    monkeypatch.setattr(seen_index, "seen_hash", first_letter)
    index = SeenIndex(["a1", "b1", "a2", "c1"])
    index.add(["a3", "a1", "a2", "b1"])
    assert index.items(b"aaaa") == {"a1", "a2", "a3"}
    assert index.items(b"bbbbcccczzzz") == {"b1", "c1"}
    assert index.items(b"") == index.items(b"zzzz") == set()
    assert index.items(b"ccccaaaab") == {"a1", "a2", "a3", "c1"}
