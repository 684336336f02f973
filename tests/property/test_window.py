"""Laws of the window, over any order, repetition and lateness of one user's events."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.contract.records import Event, encode
from streams.contract.windows import WindowState, decode_window
from streams.sequencer.window import Outcome, absorb
from streams.settings.record_limits import SEEN_BYTES, WindowBounds
from tests.support.builders import T0, make_event

SPAN_MS = 1_000


def to_events(times: list[int]) -> list[Event]:
    """Return one event per time, each with its own id; equal times occur."""
    return [make_event(f"e{i:02d}", T0 + ts, item_id=f"i{i % 7}") for i, ts in enumerate(times)]


LOGS = st.lists(st.integers(0, SPAN_MS), min_size=1, max_size=40).map(to_events)
SIZES = st.integers(1, 12)


@st.composite
def arrivals(draw: st.DrawFn) -> list[Event]:
    """Return a log in any order with any repeats, every event at least once."""
    log = draw(LOGS)
    extra = draw(st.lists(st.sampled_from(log), max_size=40))
    return draw(st.permutations(log + extra))


@st.composite
def any_bounds(draw: st.DrawFn) -> WindowBounds:
    """Return bounds of any size, lateness at most the age as the settings demand."""
    age = draw(st.integers(1, SPAN_MS))
    return WindowBounds(draw(SIZES), age, draw(st.integers(0, age)), draw(st.integers(0, 8)), draw(st.integers(0, 8)))


def fold(events: list[Event], bounds: WindowBounds, state: WindowState | None = None) -> Outcome:
    """Absorb events in order; offsets are positions."""
    return absorb(state, list(zip(events, range(len(events)), strict=True)), bounds)


def window_of_log(events: list[Event], bounds: WindowBounds) -> list[tuple[int, str]]:
    """Return the window of a sorted log without repeats, computed without the window's own code."""
    log = sorted({(event.ts, event.event_id) for event in events})
    newest = log[-1][0]
    return [key for key in log if key[0] >= newest - bounds.max_age_ms][-bounds.max_events :]


def held(state: WindowState | None) -> list[tuple[int, str]]:
    """Return the keys in a window."""
    return [(item.ts, item.event_id) for item in state.items] if state else []


@given(arrivals(), SIZES, st.integers(0, 50), st.integers(SPAN_MS, 2 * SPAN_MS))
def test_any_arrival_gives_the_window_of_the_sorted_log(
    events: list[Event], max_events: int, recent: int, lateness: int
) -> None:
    """With lateness enough for all, order and repeats leave no trace."""
    bounds = WindowBounds(max_events, 2 * SPAN_MS, lateness, recent)
    assert held(fold(events, bounds).state) == window_of_log(events, bounds)


@given(arrivals(), any_bounds())
def test_with_lateness_the_window_is_that_of_the_accepted_events(events: list[Event], bounds: WindowBounds) -> None:
    """Only events that were refused as late may be missing; each event is accepted at most once."""
    state: WindowState | None = None
    accepted: list[Event] = []
    for offset, event in enumerate(events):
        outcome = absorb(state, [(event, offset)], bounds)
        if outcome.accepted:
            accepted.append(event)
        state = outcome.state or state
    assert len({event.event_id for event in accepted}) == len(accepted)
    assert held(state) == window_of_log(accepted, bounds)


@given(LOGS, any_bounds())
def test_in_order_nothing_is_late_and_a_second_pass_changes_nothing(log: list[Event], bounds: WindowBounds) -> None:
    """History replayed in order is taken whole, and taken once."""
    ordered = sorted(log, key=lambda event: (event.ts, event.event_id))
    first = fold(ordered, bounds)
    assert (first.accepted, first.duplicate, first.late) == (len(log), 0, 0)
    second = fold(ordered, bounds, first.state)
    assert second.accepted == 0 and second.state is None


@given(arrivals(), any_bounds())
def test_counts_add_up(events: list[Event], bounds: WindowBounds) -> None:
    """Each event is accepted, duplicate or late, and the revision counts the accepted ones."""
    outcome = fold(events, bounds)
    assert outcome.accepted + outcome.duplicate + outcome.late == len(events)
    assert outcome.state is not None and outcome.state.revision == outcome.accepted


@given(arrivals(), any_bounds(), st.data())
def test_batches_do_not_show(events: list[Event], bounds: WindowBounds, data: st.DataObject) -> None:
    """State and counts do not depend on how arrivals are cut into batches.

    The state goes through its wire format between two batches.
    """
    cuts = sorted(data.draw(st.sets(st.integers(1, len(events)))) | {len(events)})
    state: WindowState | None = None
    counts = [0, 0, 0]
    start = 0
    for cut in cuts:
        batch = [(events[i], i) for i in range(start, cut)]
        outcome = absorb(decode_window(encode(state)) if state else None, batch, bounds)
        counts = [a + b for a, b in zip(counts, (outcome.accepted, outcome.duplicate, outcome.late), strict=True)]
        state = outcome.state or state
        start = cut
    whole = fold(events, bounds)
    assert state == whole.state
    assert counts == [whole.accepted, whole.duplicate, whole.late]


@given(arrivals(), any_bounds())
def test_sizes_are_bounded(events: list[Event], bounds: WindowBounds) -> None:
    """No user's state may grow without end."""
    state = fold(events, bounds).state
    assert state is not None
    assert len(state.items) <= bounds.max_events
    assert len(state.recent) <= bounds.max_recent
    assert len(state.seen) <= bounds.max_seen * SEEN_BYTES
    assert held(state) == sorted(held(state))
    assert all(ts >= state.newest_ts - bounds.max_age_ms for ts, _ in held(state))


@st.composite
def run_passes(draw: st.DrawFn) -> list[Event]:
    """Return a run's events in order, mixed with live ones, then a stretch of the run again.

    A crash repeats such a stretch.
    """
    log = sorted(draw(LOGS), key=lambda event: (event.ts, event.event_id))
    run = [make_event(e.event_id, e.ts, item_id=e.item_id, run="r", seq=i) for i, e in enumerate(log)]
    cut = draw(st.integers(0, len(run)))
    back = draw(st.integers(0, cut))
    return run[:cut] + run[back:] + run


@settings(max_examples=200)
@given(run_passes(), any_bounds())
def test_a_run_is_absorbed_once_however_often_it_is_repeated(events: list[Event], bounds: WindowBounds) -> None:
    """Resume and repetition are duplicates at any distance, whatever the memory for ids."""
    outcome = fold(events, bounds)
    distinct = len({event.event_id for event in events})
    assert (outcome.accepted, outcome.late) == (distinct, 0)
    assert outcome.duplicate == len(events) - distinct
