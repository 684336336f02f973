"""Laws of windows over tables of event types, on drawn tables and events."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from models.base.event_types import DEFAULT_TYPES, EventTypes, event_types
from streams.contract.records import Event, EventDecoder, encode, event_struct
from streams.contract.windows import WindowState, decode_window, seen_hash
from streams.sequencer.absorb_batch import absorb_batch
from streams.sequencer.window import absorb
from streams.settings.record_limits import SEEN_BYTES, WindowBounds
from tests.support.builders import T0, FakeRecord

KINDS: dict[str, dict[str, Any]] = {
    "view": {},
    "收藏": {"weight": 2},
    "rating": {"positive_when": ">= 4"},
    "dislike": {"hides": True},
    "block": {"hides": True, "window": False},
    "impression": {"window": False},
    "teaser": {"window": False, "shown": True},
}
BOUNDS = WindowBounds(max_events=4, max_age_ms=50, allowed_lateness_ms=30, max_recent=3, max_seen=4)


@st.composite
def tables(draw: st.DrawFn) -> EventTypes:
    """Draw a table that has ``view`` and some of the other kinds."""
    names = draw(st.lists(st.sampled_from(sorted(KINDS)), unique=True))
    return event_types({name: KINDS[name] for name in ("view", *(n for n in names if n != "view"))})


@st.composite
def streams(draw: st.DrawFn, types: EventTypes, ids: int = 12) -> list[Event]:
    """Draw events of one user; an id may come twice, then as the same event."""
    drawn = draw(st.lists(st.integers(0, ids), min_size=1, max_size=30))
    seed = draw(st.randoms(use_true_random=False))
    made: dict[int, Event] = {}
    names: Any = types.names
    for number in drawn:
        if number not in made:
            kind = event_struct(types)
            made[number] = kind(
                1, f"e{number}", "u", f"i{seed.randrange(5)}", seed.choice(names), T0 + seed.randrange(60),
                value=seed.choice([None, 2.0, 4.0]),
            )  # fmt: skip
    return [made[number] for number in drawn]


@st.composite
def cases(draw: st.DrawFn) -> tuple[EventTypes, list[Event]]:
    """Draw a table and events of its types."""
    types = draw(tables())
    return types, draw(streams(types))


def fold(types: EventTypes, events: list[Event]) -> tuple[WindowState | None, list[tuple[int, int, int]]]:
    """Return the last window, and the three counts of each event, absorbed one by one."""
    bounds, state, counts = replace(BOUNDS, types=types), None, []
    for offset, event in enumerate(events):
        outcome = absorb(state, [(event, offset)], bounds)
        counts.append((outcome.accepted, outcome.duplicate, outcome.late))
        state = outcome.state or state
        state = decode_window(encode(state)) if state else None
    return state, counts


@given(cases())
def test_each_event_has_one_outcome_and_a_repeat_is_never_accepted(case: tuple[EventTypes, list[Event]]) -> None:
    """Events that do not enter the window count as all others do."""
    types, events = case
    _, counts = fold(types, events)
    assert all(sum(one) == 1 for one in counts)
    accepted = [event.event_id for event, (n, _, _) in zip(events, counts, strict=True) if n]
    assert len(accepted) == len(set(accepted))


@given(cases())
def test_a_type_that_does_not_enter_is_in_no_window_and_makes_no_revision(
    case: tuple[EventTypes, list[Event]],
) -> None:
    """Without its events, items, revision, newest time and hidden items are the same."""
    types, events = case
    passing = {name for name, one in types.table if not one.window and not one.hides}
    state, counts = fold(types, events)
    without, _ = fold(types, [event for event in events if event.type not in passing])
    names = {item.type for item in state.items} if state else set()
    assert names <= set(types.window_types.names) and not names & (passing | {"block"})
    if without is None:
        assert state is None or (state.revision, state.items, state.newest_ts) == (0, [], 0)
        return
    assert state is not None
    assert [item[:1] + item[2:] for item in state.items] == [item[:1] + item[2:] for item in without.items]
    assert (state.revision, state.newest_ts, state.hidden) == (without.revision, without.newest_ts, without.hidden)
    assert (state.seen, state.recent, state.floor) == (without.seen, without.recent, without.floor)


@given(st.lists(st.integers(0, 59), unique=True, max_size=40), st.lists(st.integers(0, 59), max_size=3), st.data())
def test_impressions_make_no_hiding_event_late(shown: list[int], hid: list[int], data: st.DataObject) -> None:
    """The window accepts as many blocks as it remembers.

    The number and the order of impressions do not matter.
    """
    types = event_types({name: KINDS[name] for name in ("view", "block", "impression")})
    kind = event_struct(types)
    times = [("impression", at) for at in shown] + [("block", at) for at in hid]
    log = [kind(1, f"e{i}", "u", f"i{i}", name, T0 + at) for i, (name, at) in enumerate(times)]  # type: ignore[arg-type]
    events = data.draw(st.permutations(log))
    _, counts = fold(types, events)
    names: list[str] = [event.type for event in events]
    blocked = [one for name, one in zip(names, counts, strict=True) if name == "block"]
    assert blocked == [(1, 0, 0)] * len(hid)


def test_a_window_of_an_earlier_headrace_knows_its_hiding_events() -> None:
    """It has them among the events that passed; their repeats are duplicates, and it goes on."""
    types = event_types({name: KINDS[name] for name in ("view", "block")})
    kind = event_struct(types)
    old = kind(1, "b1", "u", "i1", "block", T0)  # type: ignore[arg-type]
    state, _ = fold(types, [old])
    assert state is not None and state.hiding == [(T0, "b1")]
    before = msgspec.structs.replace(state, passed=state.hiding, hiding=[])
    bounds = replace(BOUNDS, types=types)
    again = absorb(before, [(old, 1)], bounds)
    assert (again.accepted, again.duplicate) == (0, 1)
    newer = absorb(before, [(kind(1, "b2", "u", "i2", "block", T0 - 1), 2)], bounds)  # type: ignore[arg-type]
    assert newer.state is not None
    assert (newer.state.passed, newer.state.hiding) == ([(T0, "b1")], [(T0 - 1, "b2")])


@given(cases())
def test_batches_of_any_size_give_the_same_window(case: tuple[EventTypes, list[Event]]) -> None:
    """The sequencer's batches and the oracle's folds agree, and nothing outgrows its bound."""
    types, events = case
    one_by_one, counts = fold(types, events)
    bounds = replace(BOUNDS, types=types)
    at_once = absorb(None, list(zip(events, range(len(events)), strict=True)), bounds)
    assert at_once.accepted == sum(n for n, _, _ in counts)
    if at_once.accepted:
        assert at_once.state == one_by_one
        state = at_once.state
        assert state is not None
        assert max(len(state.passed), len(state.hiding)) <= bounds.max_recent
        assert len(state.hidden) <= bounds.max_seen * SEEN_BYTES


@given(cases())
def test_the_item_of_the_last_hiding_event_is_hidden(case: tuple[EventTypes, list[Event]]) -> None:
    """The newest hidden items stay, however many other items were seen since."""
    types, events = case
    state, counts = fold(types, events)
    hiding = [
        event.item_id for event, (n, _, _) in zip(events, counts, strict=True) if n and types.by_name[event.type].hides
    ]
    newest = list(dict.fromkeys(reversed(hiding)))[: BOUNDS.max_seen]
    found = b"" if state is None else state.hidden
    assert found == b"".join(seen_hash(item) for item in reversed(newest))
    assert state is None or found in state.had()


@given(streams(DEFAULT_TYPES))
def test_the_default_table_leaves_windows_as_they_were(events: list[Event]) -> None:
    """Equal bytes, without a field more: the names of the table in another order change nothing."""
    other = event_types({"view": {}, "purchase": {"weight": 5}, "click": {}})
    assert event_struct(DEFAULT_TYPES) is Event
    state, counts = fold(DEFAULT_TYPES, events)
    assert (state, counts) == fold(other, events)
    assert state is not None and not state.hidden and not state.passed
    assert b"hidden" not in encode(state) and b"passed" not in encode(state)


@given(cases(), st.integers(1, 7))
def test_the_four_counts_add_up(case: tuple[EventTypes, list[Event]], size: int) -> None:
    """Types that the table lacks are rejected, with the names that it has."""
    types, events = case
    decoder = EventDecoder(10**6, types)
    held: dict[bytes, bytes] = {}
    strange = event_struct(event_types({"strange": {}}))(1, "s", "u", "i", "strange", T0)  # type: ignore[arg-type]
    for start in range(0, len(events), size):
        batch = [*events[start : start + size], strange]
        records = [FakeRecord(b"u", encode(event), start + i) for i, event in enumerate(batch)]
        result = absorb_batch(records, held.get, decoder, replace(BOUNDS, types=types), T0)
        held.update(result.windows)
        counts = result.counts
        assert counts.read == counts.accepted + counts.duplicate + counts.late + counts.rejected
        (reject,) = result.rejects
        assert (reject.error.reason, reject.error.field) == ("value", "type")
        assert f"must be one of {', '.join(types.names)}" in str(reject.error)
