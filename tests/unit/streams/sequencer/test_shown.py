"""What was shown to a user, in the window: bounded, in order, and absent without impressions."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.base.event_types import DEFAULT_TYPES, EventTypes, TableError, event_types
from streams.contract.records import encode, event_struct
from streams.contract.windows import WindowState, decode_list_window, decode_window, note_shown, shown_entries
from streams.sequencer.packed_window import absorb_packed
from streams.sequencer.window import absorb
from streams.settings.record_limits import MAX_SHOWN, SHOWN_BYTES, WindowBounds, window_bytes
from tests.support.builders import T0

SHOWING = event_types({"view": {}, "seen": {"window": False, "shown": True}})
PASSING = event_types({"view": {}, "seen": {"window": False}})


def events(types: EventTypes, *rows: tuple[str, str, int]) -> list[tuple[Any, int]]:
    """Return events ``(item, type, ms after T0)`` with offsets."""
    kind: Any = event_struct(types)
    return [(kind(1, f"e{n}", "u", item, name, T0 + ms), n) for n, (item, name, ms) in enumerate(rows)]


def folded(types: EventTypes, *rows: tuple[str, str, int]) -> WindowState:
    state = absorb(None, events(types, *rows), WindowBounds(types=types)).state
    assert state is not None
    return state


def test_a_window_remembers_what_was_shown_when_and_how_often() -> None:
    state = folded(SHOWING, ("a", "view", 0), ("b", "seen", 5), ("c", "seen", 6), ("b", "seen", 9), ("c", "seen", 7))
    assert [(last - T0, times) for _, last, times in shown_entries(state.shown)] == [(7, 2), (9, 2)]
    assert [item.item_id for item in state.items] == ["a"]
    assert (state.revision, state.newest_ts) == (1, T0)
    assert decode_list_window(encode(state)).was_shown() == state.shown == decode_window(encode(state)).was_shown()


def test_a_repeated_showing_counts_once() -> None:
    twice = events(SHOWING, ("a", "view", 0), ("b", "seen", 5))
    outcome = absorb(None, [*twice, twice[1]], WindowBounds(types=SHOWING))
    assert outcome.duplicate == 1
    assert outcome.state is not None
    assert [times for _, _, times in shown_entries(outcome.state.shown)] == [1]


def test_a_click_leaves_what_was_shown() -> None:
    before = folded(SHOWING, ("a", "view", 0), ("b", "seen", 5))
    after = folded(SHOWING, ("a", "view", 0), ("b", "seen", 5), ("b", "view", 9))
    assert before.shown == after.shown != b""
    assert [item.item_id for item in after.items] == ["a", "b"]


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 1_000)), max_size=400))
def test_what_was_shown_is_bounded_and_does_not_depend_on_the_order(showings: list[tuple[int, int]]) -> None:
    few = showings[:MAX_SHOWN]
    one = other = b""
    for item, ms in few:
        one = note_shown(one, f"i{item}", T0 + ms)
    for item, ms in reversed(few):
        other = note_shown(other, f"i{item}", T0 + ms)
    assert one == other
    packed = b""
    for item, ms in showings:
        packed = note_shown(packed, f"i{item}", T0 + ms)
        assert len(packed) <= MAX_SHOWN * SHOWN_BYTES
    found = list(shown_entries(packed))
    assert [(last, mark) for mark, last, _ in found] == sorted((last, mark) for mark, last, _ in found)
    assert len({mark for mark, _, _ in found}) == len(found)


def test_of_too_many_the_oldest_is_forgotten() -> None:
    packed = b""
    for n in range(MAX_SHOWN + 5):
        packed = note_shown(packed, f"i{n}", T0 + n)
    assert [last - T0 for _, last, _ in shown_entries(packed)] == list(range(5, MAX_SHOWN + 5))


def test_a_number_of_showings_stays_in_its_bytes() -> None:
    packed = b""
    for n in range(3):
        packed = note_shown(packed, "a", T0 + n)
    ((mark, last, _),) = shown_entries(packed)
    full = packed[:12] + b"\xff\xff"
    assert list(shown_entries(note_shown(full, "a", T0))) == [(mark, last, 65_535)]


def test_damaged_bytes_of_what_was_shown_do_no_harm() -> None:
    packed = note_shown(note_shown(b"", "a", T0), "b", T0 + 1)
    assert len(list(shown_entries(packed[:-3]))) == 1
    assert len(note_shown(packed[:-3], "c", T0)) == 2 * SHOWN_BYTES


def test_the_fast_way_gives_the_same_bytes() -> None:
    rows = [
        ("a", "view", 0),
        ("b", "seen", 5),
        ("c", "view", 6),
        ("b", "seen", 9),
        ("a", "seen", 10),
        ("d", "view", 11),
    ]
    made = events(SHOWING, *rows)
    bounds = WindowBounds(types=SHOWING)
    first = absorb(None, made[:1], bounds).state
    assert first is not None
    packed = absorb_packed(encode(first), made[1:], bounds)
    assert packed is not None
    assert packed[:3] == (5, 0, 0)
    assert packed[3] == encode(folded(SHOWING, *rows))
    assert folded(SHOWING, *rows).shown


def test_without_impressions_a_window_has_the_bytes_that_it_had() -> None:
    """The digests are those of the version before impressions."""
    rng = random.Random(7)
    kinds = list(DEFAULT_TYPES.names)
    rows = [(f"i{rng.randrange(90)}", rng.choice(kinds), 60_000 * n + rng.randrange(50_000)) for n in range(180)]
    value = encode(folded(DEFAULT_TYPES, *rows))
    assert hashlib.sha256(value).hexdigest() == "7b1d569c56577d1d2ad89339456ea15185ae6ab9687f2539c185b847a8149b4c"
    rows = [(item, rng.choice(["view", "seen"]), ms) for item, _, ms in rows]
    value = encode(folded(PASSING, *rows))
    assert hashlib.sha256(value).hexdigest() == "903473230d2653b95cc5ff75163251fe052b3ac1aaed4bd31ea08d5887c09361"
    assert "shown" not in msgspec.msgpack.decode(value)
    shown = encode(folded(SHOWING, *rows))
    with_field = msgspec.msgpack.decode(shown)
    assert list(with_field)[-1] == "shown"
    assert {name: part for name, part in with_field.items() if name != "shown"} == msgspec.msgpack.decode(value)


@pytest.mark.parametrize("fields", [{"shown": True}, {"shown": True, "window": False, "hides": True}])
def test_a_type_that_says_what_was_shown_does_not_enter_the_window(fields: dict[str, bool]) -> None:
    with pytest.raises(TableError, match=r"event_types\.seen\.shown=True must be false or absent beside"):
        event_types({"view": {}, "seen": fields})


def test_the_largest_window_counts_what_was_shown() -> None:
    more = window_bytes(WindowBounds(types=SHOWING)) - window_bytes(WindowBounds(types=PASSING))
    assert more == MAX_SHOWN * SHOWN_BYTES
