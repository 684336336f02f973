"""Comparison: every field that differs is found and named, and rounding alone is no difference."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from streams.contract.records import Recommendation, RecommendedItem, SourceRank, encode
from streams.contract.windows import Trigger, WindowItem, WindowState, seen_hash
from tests.support.builders import T0
from tools.oracle.compare import SCORE_TOLERANCE, Difference, compare_lists, compare_windows


def make_window(**changes: Any) -> bytes:
    """Return an encoded window with every field set, some changed."""
    items = [WindowItem(T0 + i, f"e{i}", f"i{i}", "view") for i in range(3)]
    fields: dict[str, Any] = {
        "v": 1,
        "revision": 9,
        "newest_ts": T0 + 2,
        "items": items,
        "trigger": Trigger("e2", T0 + 2, 40),
        "recent": [(T0 - 2, "d1"), (T0 - 1, "d2")],
        "floor": (T0 - 9, "a"),
        "seen": seen_hash("x") + seen_hash("y"),
        "runs": {"r1": 5, "r2": 7},
    }
    return encode(WindowState(**fields | changes))


def windows_why(**changes: Any) -> str:
    """Return what the comparison says of a window with some fields changed."""
    (difference,) = compare_windows({b"u": make_window(**changes)}, {b"u": make_window()})
    assert (difference.user_id, difference.what) == ("u", "wrong")
    return difference.why


ITEMS = [WindowItem(T0 + i, f"e{i}", f"i{i}", "view") for i in range(3)]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"v": 2}, "is of version 2, this worker reads 1"),
        ({"revision": 8, "items": []}, "revision 8, expected 9"),
        ({"items": ITEMS[:1]}, "events missing: e1, e2"),
        (
            {"items": [*ITEMS, *(WindowItem(T0 + 9, f"z{i}", "i", "view") for i in range(5))]},
            "extra: z0, z1, z2 and 2 more",
        ),
        ({"items": [ITEMS[1], ITEMS[0], ITEMS[2]]}, "order of events: entry 0 e1, expected e0"),
        ({"items": [*ITEMS, ITEMS[2]]}, "order of events: 4 entries, expected 3"),
        ({"items": [*ITEMS[:2], ITEMS[2]._replace(type="click")]}, "event e2 ("),
        ({"trigger": Trigger("e1", T0 + 2, 40)}, "trigger Trigger(event_id='e1'"),
        ({"trigger": Trigger("e2", T0 + 2, 41)}, "offset=41), expected Trigger"),
        ({"newest_ts": T0}, f"newest_ts {T0}, expected {T0 + 2}"),
        ({"recent": [(T0 - 1, "d2"), (T0 - 2, "d1")]}, "recent: entry 0"),
        ({"floor": None}, "floor None, expected"),
        ({"seen": seen_hash("y") + seen_hash("x")}, f"seen: entry 0 {seen_hash('y').hex()}"),
        ({"seen": seen_hash("x")}, "seen: 1 entries, expected 2"),
        ({"runs": {"r2": 7, "r1": 5}}, "runs: entry 0 ('r2', 7), expected ('r1', 5)"),
        ({"runs": {"r1": 5, "r2": 6}}, "runs: entry 1 ('r2', 6), expected ('r2', 7)"),
    ],
)
def test_the_first_field_of_a_window_that_differs_is_named(changes: dict[str, Any], why: str) -> None:
    """With both values, in one line."""
    found = windows_why(**changes)
    assert why in found
    assert "\n" not in found and len(found) < 300


def test_equal_windows_and_no_windows_do_not_differ() -> None:
    """The check has a way to pass."""
    assert compare_windows({b"u": make_window()}, {b"u": make_window()}) == []
    assert compare_windows({}, {}) == []
    assert compare_lists({}, {}) == []


def test_missing_and_extra_windows_are_told_apart_in_order_of_users() -> None:
    """Nobody is passed over, whatever else differs."""
    found, expected = (
        {b"c": make_window(), b"a": b"\xc1"},
        {b"b": make_window(revision=4), b"c": make_window(revision=1)},
    )
    assert compare_windows(found, expected) == [
        Difference("a", "extra", "a window of revision unknown (it does not decode), expected none"),
        Difference("b", "missing", "no window, expected revision 4"),
        Difference("c", "wrong", "revision 9, expected 1"),
    ]


def test_a_damaged_window_is_wrong() -> None:
    """It must not stop the comparison of the others."""
    (difference,) = compare_windows({b"u": b"\xc1", b"v": make_window()}, {b"u": make_window(), b"v": make_window()})
    assert difference.why.startswith("does not decode: malformed")


def test_bytes_count_where_fields_are_equal() -> None:
    """A field that another version wrote and this one does not know is a difference, too."""
    fields = {**msgspec.msgpack.decode(make_window()), "unknown": 1}
    (difference,) = compare_windows({b"u": msgspec.msgpack.encode(fields)}, {b"u": make_window()})
    assert "all fields equal" in difference.why


def test_without_offsets_only_the_triggers_offset_may_differ() -> None:
    """A copy of events in another topic has other offsets, and nothing else."""
    right = {b"u": make_window()}
    other = Trigger("e2", T0 + 2, 99)
    assert compare_windows({b"u": make_window(trigger=other)}, right, with_offsets=False) == []
    assert compare_windows({b"u": make_window(trigger=other)}, right) != []
    wrong = make_window(trigger=other._replace(ts=T0))
    assert compare_windows({b"u": wrong}, right, with_offsets=False)[0].why.startswith("trigger")


def make_list(*items: RecommendedItem, **changes: Any) -> Recommendation:
    """Return a list with some fields changed.

    By default it has three items, two of them nearly equal.
    """
    fields: dict[str, Any] = {
        "v": 1, "list_id": "abc", "user_id": "u", "revision": 9, "event_id": "e2", "offset": 40, "event_ts": T0,
        "produced_ts": T0, "artifact": "a", "index_generation": 3, "degraded": "none",
        "items": list(items or (make_item("i0", 0.5), make_item("i1", 0.1), make_item("i2", 0.1 * (1 - SLIGHT)))),
    }  # fmt: skip
    return Recommendation(**fields | changes)


#: A share of a score within the tolerance, and one beyond it.
SLIGHT, CLEAR = SCORE_TOLERANCE / 4, SCORE_TOLERANCE * 4


def make_item(item_id: str, score: float, **changes: Any) -> RecommendedItem:
    """Return an item of a list with two sources, some fields changed."""
    sources = {"mf": SourceRank(2, -1.5), "next": SourceRank(5, 0.0)}
    fields: dict[str, Any] = {"item_id": item_id, "score": score, "sources": sources, "because": "w"}
    return RecommendedItem(**fields | changes)


def lists_why(found: Recommendation, expected: Recommendation | None = None) -> str:
    """Return why a list is wrong, nothing where it is not."""
    differences = compare_lists({b"u": found}, {b"u": expected or make_list()})
    assert all(difference.what == "wrong" for difference in differences)
    return differences[0].why if differences else ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("v", 2), ("user_id", "x"), ("revision", 8), ("event_id", "e1"), ("offset", 41), ("event_ts", T0 + 1),
        ("artifact", "b"), ("list_id", "x"), ("degraded", "popular"),
    ],
)  # fmt: skip
def test_each_field_of_a_lists_identity_counts(name: str, value: Any) -> None:
    """And is named, with both values."""
    assert lists_why(make_list(**{name: value})) == f"{name} {value}, expected {getattr(make_list(), name)}"


def test_time_and_generation_do_not_count() -> None:
    """They say when and where a list was made, not what it is."""
    assert lists_why(make_list(produced_ts=1, index_generation=99)) == ""


def test_the_id_of_a_degraded_list_does_not_count() -> None:
    """It may be marked as another list than the full one of its window."""
    assert lists_why(make_list(degraded="popular", list_id="x"), make_list(degraded="popular")) == ""


def test_missing_and_extra_lists_are_told_apart() -> None:
    """Nobody is passed over."""
    assert compare_lists({b"a": make_list()}, {b"b": make_list(revision=4)}) == [
        Difference("a", "extra", "a list of revision 9, expected none"),
        Difference("b", "missing", "no list, expected revision 4"),
    ]


BASE = make_list().items


@pytest.mark.parametrize(
    "items",
    [
        [make_item("i0", 0.5 * (1 + SLIGHT)), BASE[1], BASE[2]],
        [BASE[0], make_item("i2", 0.1), make_item("i1", 0.1)],
        [BASE[0], BASE[1], make_item("i9", 0.1)],
        [BASE[0], make_item("i9", 0.1), BASE[1]],
        [
            make_item("i0", 0.5, sources={"mf": SourceRank(2, -1.5 * (1 + SLIGHT)), "next": SourceRank(5, 1e-7)}),
            *BASE[1:],
        ],
    ],
    ids=["score", "neighbours change places", "the last gives way", "the last gives way in front", "sources"],
)
def test_what_rounding_does_is_no_difference(items: list[RecommendedItem]) -> None:
    """Two processes may sum in another order."""
    assert lists_why(make_list(items=items)) == ""


@pytest.mark.parametrize(
    ("items", "why"),
    [
        ([make_item("i0", 0.5 * (1 + CLEAR)), BASE[1], BASE[2]], "item 1 i0: score 0.50002, expected 0.5"),
        ([BASE[1], BASE[0], BASE[2]], "item 1 i1 (0.1), expected i0 (0.5)"),
        ([make_item("i9", 0.5), BASE[1], BASE[2]], "item 1 i9 (0.5), expected none below"),
        ([BASE[0], BASE[1], make_item("i9", 0.09)], "item 3 i9 (0.09), expected i2"),
        ([BASE[0], BASE[1]], "2 items, expected 3"),
        ([BASE[0], BASE[1], BASE[1]], "an item is listed twice"),
        ([make_item("i0", 0.5, because=None), *BASE[1:]], "item 1 i0: because None, expected w"),
        (
            [make_item("i0", 0.5, sources={"mf": SourceRank(2, -1.5)}), *BASE[1:]],
            "item 1 i0: sources mf, expected mf, next",
        ),
        (
            [make_item("i0", 0.5, sources={"mf": SourceRank(3, -1.5), "next": SourceRank(5, 0.0)}), *BASE[1:]],
            "item 1 i0: source mf #3 -1.5, expected #2 -1.5",
        ),
        (
            [make_item("i0", 0.5, sources={"mf": SourceRank(2, -1.5), "next": SourceRank(5, 0.01)}), *BASE[1:]],
            "item 1 i0: source next #5 0.01, expected #5 0",
        ),
    ],
)
def test_what_rounding_cannot_do_is_a_difference(items: list[RecommendedItem], why: str) -> None:
    """Each kind is found, at its place."""
    assert why in lists_why(make_list(items=items))


def test_two_equally_popular_items_may_change_ranks() -> None:
    """Two processes may have counted in another order; two places are no such change."""
    first, other, third = (make_item("i0", 0.5, sources={"popular": SourceRank(rank, 0.3)}) for rank in (4, 5, 6))
    assert lists_why(make_list(other), make_list(first)) == ""
    assert "source popular #6" in lists_why(make_list(third), make_list(first))


def test_stopgap_items_have_no_neighbours() -> None:
    """Their score is 0 by decree, not by rounding: their order is that of popularity, exactly."""
    one, other, third = (make_item(f"i{i}", 0.0) for i in range(3))
    assert lists_why(make_list(one, other), make_list(one, other)) == ""
    assert lists_why(make_list(other, one), make_list(one, other)).startswith("item 1 i1 (0)")
    assert lists_why(make_list(one, third), make_list(one, other)).startswith("item 2 i2 (0)")
