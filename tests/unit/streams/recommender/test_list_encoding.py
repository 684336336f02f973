"""From ranked lists to records: list ids, and what a list tells."""

from __future__ import annotations

import itertools
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from models.base.vocabulary import Degraded
from models.ranking.lists import DEGRADED, SOURCE_NAMES, RankedBatch
from models.ranking.pipeline import Pipeline
from streams.contract.records import Recommendation, RecordDecoder, SourceRank, UserVector
from streams.contract.windows import Trigger, WindowItem, WindowState
from streams.recommender.list_encoding import ListEncoder, Versions, list_id, recommendations
from streams.recommender.list_records import behaviours
from tests.support import tiny_models
from tests.support.builders import T0

VERSIONS = Versions("abc", 3)


def window(revision: int, *item_ids: str) -> WindowState:
    """Return a window whose trigger tells its revision."""
    items = [WindowItem(T0 + i, f"e{i}", item_id, "view") for i, item_id in enumerate(item_ids)]
    return WindowState(1, revision, T0, items, Trigger(f"e{revision}", T0 + revision, 100 + revision))


def test_list_id_is_equal_for_equal_input() -> None:
    """After a crash a list is published again with the same id, so a consumer drops it."""
    assert list_id("u", 1, "e", "a") == list_id("u", 1, "e", "a")


def test_list_id_differs_with_each_part_and_with_their_borders() -> None:
    """Two lists never share an id, whatever their parts.

    Their parts may join to one text, or the user may be in a second life.
    """
    inputs = [
        ("u", 1, "e", "a"),
        ("v", 1, "e", "a"),
        ("u", 2, "e", "a"),
        ("u", 1, "f", "a"),
        ("u", 1, "e", "b"),
        ("u:1", 1, "e", "a"),
        ("u", 11, "e", "a"),
        ("u1", 1, "e", "a"),
        ("u", 1, "e:a", "a"),
        ("u", 1, "e", "a:a"),
        ("", 1, "e", "u1a"),
    ]
    ids = [list_id(*parts) for parts in inputs]
    assert all(one != other for one, other in itertools.combinations(ids, 2))


def one_list(degraded: Degraded = "none") -> RankedBatch:
    """Return a list of one item out of two places."""
    lists = RankedBatch.blank(("i9", "i1"), 2, np.array([[1.5, -2.0, 0.0]], np.float32), np.array([[0.25]], np.float32))
    mf = SOURCE_NAMES.index("mf")
    lists.rows[0, 0], lists.lengths[0], lists.scores[0, 0], lists.because[0, 0] = 0, 1, 0.75, 1
    lists.source_ranks[0, 0, mf], lists.source_scores[0, 0, mf] = 2, 1.25
    lists.degraded[0] = DEGRADED.index(degraded)
    return lists


def test_a_list_tells_what_caused_it_and_what_made_it() -> None:
    """Event, offset, artifact and catalogue generation let a reader trace every list."""
    (made,) = recommendations([(b"u", window(5))], one_list(), VERSIONS, T0)
    assert (made.user_id, made.revision, made.event_id, made.offset, made.event_ts) == ("u", 5, "e5", 105, T0 + 5)
    assert (made.artifact, made.index_generation, made.produced_ts, made.degraded) == ("abc", 3, T0, "none")
    assert made.list_id == list_id("u", 5, "e5", "abc")
    assert msgspec.to_builtins(made.items) == [
        {"item_id": "i9", "score": 0.75, "sources": {"mf": (2, 1.25)}, "because": "i1"}
    ]
    vector = msgspec.msgpack.decode(
        ListEncoder().full([(b"u", window(5))], one_list(), VERSIONS)[0].vector or b"", type=UserVector
    )
    assert np.frombuffer(vector.vector, "<f4").tolist() == [1.5, -2.0, 0.0]
    assert np.frombuffer(vector.factors, "<f4").tolist() == [0.25]
    assert (vector.user_id, vector.revision, vector.artifact) == ("u", 5, "abc")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_batch_on_the_wire_is_its_lists_one_by_one(as_json: bool) -> None:
    """Users with full lists, with popular items alone, and with windows of unknown items."""
    states = [window(1, "i01", "i02"), window(2), window(3, "unknown"), window(4, "i03"), window(5, "i04", "i01")]
    users = [(f"u{i}".encode(), state) for i, state in enumerate(states)]
    lists = Pipeline(tiny_models.artifact()).recommend(tiny_models.catalogue(), [behaviours(state) for state in states])
    decode = RecordDecoder(Recommendation).decode
    made = [decode(one.record) for one in ListEncoder(as_json).full(users, lists, VERSIONS)]
    assert len(made) == len(states)
    for found, ranked, (key, state) in zip(made, lists, users, strict=True):
        assert (found.user_id.encode(), found.revision) == (key, state.revision)
        assert (found.degraded, found.provisional) == (ranked.degraded, False)
        assert [(i.item_id, i.because, i.score) for i in found.items] == [
            (i.item_id, i.because, i.score) for i in ranked.items
        ]
        assert [i.sources for i in found.items] == [
            {name: SourceRank(*place) for name, place in i.sources.items()} for i in ranked.items
        ]


@pytest.mark.parametrize("degraded", ["stale-vector", "mf-only", "popular"])
def test_a_provisional_list_has_an_id_of_its_own(degraded: Degraded) -> None:
    """So the full list of the same revision is news, even when both lists are popular items."""
    users, lists = [(b"u", window(5))], one_list(degraded)
    (final,) = recommendations(users, lists, VERSIONS, T0)
    (made,) = recommendations(users, lists, VERSIONS, T0, provisional=True)
    (again,) = recommendations(users, lists, VERSIONS, T0 + 1, provisional=True)
    assert (made.provisional, final.provisional) == (True, False)
    assert made.list_id == again.list_id != final.list_id == list_id("u", 5, "e5", "abc")
    assert made.degraded == final.degraded == degraded


@pytest.mark.parametrize("where", ["user_vectors", "factors", "scores", "source_scores"])
def test_a_list_with_any_number_that_is_not_finite_is_found(where: str) -> None:
    """Such a list must not be published, nor its vector stored."""
    lists = one_list()
    assert lists.is_finite().tolist() == [True]
    spoilt = getattr(lists, where).copy()
    spoilt.flat[0] = np.inf if where == "scores" else np.nan
    assert replace(lists, **{where: spoilt}).is_finite().tolist() == [False]
