"""What the recommender reads: newest windows, new behaviours, users' vectors, seen items."""

from __future__ import annotations

import numpy as np
import pytest

from models.ranking.lists import RankedBatch
from streams.catalogue.seen_index import SeenIndex
from streams.contract.pseudonyms import short_name
from streams.contract.records import encode
from streams.contract.windows import ListWindow, Trigger, WindowItem, WindowState, seen_hash
from streams.recommender.list_encoding import ListEncoder, Versions
from streams.recommender.list_records import (
    behaviours,
    new_items,
    newest_windows,
    revision_of,
    stored_vectors,
)
from tests.support.builders import T0, FakeRecord


def window(revision: int, n_items: int = 3) -> WindowState:
    """Return a window whose trigger tells its revision."""
    items = [WindowItem(T0 + i, f"e{i}", f"i{i}", "view") for i in range(n_items)]
    return WindowState(1, revision, T0 + n_items, items, Trigger(f"e{revision}", T0 + revision, 100 + revision))


def test_only_a_users_newest_window_of_a_batch_counts() -> None:
    """The newest window contains the older ones of the batch, and has its own time of writing."""
    records = [
        FakeRecord(b"a", encode(window(1)), 0, timestamp=10),
        FakeRecord(b"b", encode(window(1)), 1, timestamp=11),
        FakeRecord(b"a", encode(window(2)), 2, timestamp=12),
    ]
    found = newest_windows(records)
    windows, n_malformed = found.newest, len(found.malformed)
    assert [(key, state.revision, written) for key, state, written in windows] == [(b"b", 1, 11), (b"a", 2, 12)]
    assert n_malformed == 0


def test_of_a_window_only_what_a_list_is_made_of_is_kept() -> None:
    """Ids that only the sequencer needs would double the queue, and triple the decoding."""
    whole = window(7)
    whole.recent, whole.floor, whole.runs, whole.seen = [(1, "x")] * 100, (0, "y"), {"run": 3}, b"1234"
    (_, state, _) = newest_windows([FakeRecord(b"a", encode(whole), 0)]).newest[0]
    assert state == ListWindow(1, 7, whole.newest_ts, whole.items, whole.trigger, b"1234")
    assert len(encode(state)) < len(encode(whole)) / 2


def test_a_removed_window_gives_no_list() -> None:
    """A tombstone after a window says that the user is gone."""
    records = [FakeRecord(b"a", encode(window(1)), 0), FakeRecord(b"a", None, 1), FakeRecord(None, b"x", 2)]
    found = newest_windows(records)
    assert (found.newest, found.removed) == ([], {b"a"})
    assert [(passed.offset, passed.key) for passed in found.malformed] == [(2, None)]


def test_malformed_windows_are_counted_and_cost_only_themselves() -> None:
    """One broken record on ``sequences`` must not stop the lists of other users."""
    found = newest_windows([FakeRecord(b"a", b"\xc1", 0), FakeRecord(b"b", encode(window(4)), 1)])
    windows, n_malformed = found.newest, len(found.malformed)
    assert [state.revision for _, state, _ in windows] == [4]
    assert n_malformed == 1


@pytest.mark.parametrize(
    ("last", "expected"), [(5, []), (4, ["i2"]), (3, ["i1", "i2"]), (0, ["i0", "i1", "i2"]), (9, [])]
)
def test_new_behaviours_are_those_since_the_last_delivered_revision(last: int, expected: list[str]) -> None:
    """Each behaviour counts once; a window that lost old behaviours gives the rest."""
    assert new_items(window(5), last) == expected


def test_seen_index_finds_items_by_hash_and_only_those_of_the_catalogue() -> None:
    """Items that have left the window stay seen; hashes of unknown items are passed over."""
    index = SeenIndex(["i1", "i2", "i3"])
    assert index.items(seen_hash("i3") + seen_hash("gone") + seen_hash("i1")) == {"i1", "i3"}
    assert index.items(b"") == set()


def test_items_of_one_hash_are_all_seen() -> None:
    """Where two ids share a hash, leaving out one too many beats showing one again."""
    one, other = "plumless", "buckeroo"  # a well-known CRC-32 collision
    assert seen_hash(one) == seen_hash(other)
    assert SeenIndex([one, other]).items(seen_hash(one)) == {one, other}


def test_behaviours_keep_order_and_fields() -> None:
    """The model reads a window oldest first."""
    assert [(b.item_id, b.type, b.ts_ms) for b in behaviours(window(1, 2))] == [
        ("i0", "view", T0),
        ("i1", "view", T0 + 1),
    ]


def test_a_stored_vector_is_used_only_where_it_fits() -> None:
    """It must be finite, not zero, of this artifact and of its widths."""

    def stored(vector: list[float], artifact: str = "abc") -> bytes:
        lists = RankedBatch.blank((), 0, np.array([vector], np.float32), np.array([[0.5]], np.float32))
        return ListEncoder().full([(b"u", window(5))], lists, Versions(artifact, 1))[0].vector or b""

    found = stored_vectors(stored([1.5, 1.0]), "abc", 2, 1)
    assert found is not None and (found.vector.tolist(), found.factors.tolist()) == ([1.5, 1.0], [0.5])
    assert stored_vectors(None, "abc", 2, 1) is None
    assert stored_vectors(stored([1.5, 1.0], "other"), "abc", 2, 1) is None
    assert stored_vectors(stored([1.5, 1.0, 1.0]), "abc", 2, 1) is None
    assert stored_vectors(stored([1.5, 1.0]), "abc", 2, 2) is None
    assert stored_vectors(stored([np.nan, 1.0]), "abc", 2, 1) is None
    assert stored_vectors(stored([0.0, 0.0]), "abc", 2, 1) is None
    assert (revision_of(stored([1.0, 1.0])), revision_of(None)) == (5, 0)


def test_names_in_logs_do_not_tell_who_it_is() -> None:
    """But the same user again is the same name."""
    assert short_name(b"alice") == short_name(b"alice") != short_name(b"bob")
    assert "alice" not in short_name(b"alice")
