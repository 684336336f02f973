"""The sliding window, scenario by scenario.

A name like ``a3`` is an event with id ``a`` at minute 3.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from streams.contract.records import Event
from streams.contract.windows import WindowState, seen_hash
from streams.sequencer.window import Outcome, absorb
from streams.settings.record_limits import MAX_RUNS, SEEN_BYTES, WindowBounds
from tests.support.builders import T0, make_event

MINUTE_MS = 60_000
ROOMY = WindowBounds(max_events=10, max_age_ms=1_000 * MINUTE_MS, allowed_lateness_ms=100 * MINUTE_MS)


def at(name: str) -> Event:
    """Return the event of a name."""
    return make_event(name[0], T0 + int(name[1:]) * MINUTE_MS)


def feed(names: str, bounds: WindowBounds = ROOMY, state: WindowState | None = None) -> Outcome:
    """Absorb the named events in that order of arrival."""
    return absorb(state, [(at(name), offset) for offset, name in enumerate(names.split())], bounds)


def shown(state: WindowState | None) -> str:
    """Return a window by the names of its events."""
    return " ".join(f"{item.event_id}{(item.ts - T0) // MINUTE_MS}" for item in state.items) if state else ""


class Scenario(NamedTuple):
    """Arrivals, and what must come of them."""

    name: str
    arrivals: str
    window: str
    accepted: int
    duplicate: int = 0
    late: int = 0
    bounds: WindowBounds = ROOMY


def bounded(
    max_events: int = 10, max_age_min: int = 1_000, lateness_min: int = 100, max_recent: int = 100
) -> WindowBounds:
    """Return bounds in minutes."""
    return WindowBounds(max_events, max_age_min * MINUTE_MS, lateness_min * MINUTE_MS, max_recent)


SCENARIOS = [
    # minute    1  2  3
    # arrival   a  b  c           each where it belongs
    Scenario("in order", "a1 b2 c3", "a1 b2 c3", 3),
    # minute    1  2  3
    # arrival   c. .. a  then b   inserted between
    Scenario("out of order", "a1 c3 b2", "a1 b2 c3", 3),
    # arrival   newest first      the window is the same
    Scenario("reversed", "c3 b2 a1", "a1 b2 c3", 3),
    # one time, two ids           the id decides
    Scenario("equal times", "b1 a1", "a1 b1", 2),
    # arrival   a  b  b  a        the repeats change nothing
    Scenario("duplicates", "a1 b2 b2 a1", "a1 b2", 2, duplicate=2),
    # minute    0 ......... 200   a at 99 is 101 min behind, b at 100 just inside
    Scenario("late", "x200 a99 b100", "b100 x200", 2, late=1),
    # b at 110 does not turn the clock back: a at 99 is still 101 min behind the newest
    Scenario("late after an older one", "x200 b110 a99", "b110 x200", 2, late=1),
    # a late event sent twice     was never absorbed: late each time
    Scenario("late twice", "x200 a1 a1", "x200", 1, late=2),
    # max 3:    a b c d           a leaves at the old end
    Scenario("trim by count", "a1 b2 c3 d4", "b2 c3 d4", 4, bounds=bounded(max_events=3)),
    # max 3:    b c d, then a     a enters and leaves at once, and counts
    Scenario("older than a full window", "b2 c3 d4 a1", "b2 c3 d4", 4, bounds=bounded(max_events=3)),
    # a left the window           its id is still remembered
    Scenario("duplicate of one that left", "a1 b2 c3 d4 a1", "b2 c3 d4", 4, duplicate=1, bounds=bounded(max_events=3)),
    # age 50:   a1 .. b40 .. c60  a is 59 behind the newest, b 20
    Scenario("trim by age", "a1 b40 c60", "b40 c60", 3, bounds=bounded(max_age_min=50, lateness_min=50)),
    # age 50:   a10 .. c60        exactly as old as allowed: stays
    Scenario("age limit itself", "a10 c60", "a10 c60", 2, bounds=bounded(max_age_min=50, lateness_min=50)),
    # age counts from the newest event: one leap empties the window
    Scenario("a leap in time", "a1 b2 c3 x900", "x900", 4, bounds=bounded(max_age_min=50, lateness_min=50)),
    # max 2, recent 1: a1 is forgotten when c's successor pushes it out; the floor is a1
    Scenario("at the floor", "a1 b2 c3 d4 a1", "c3 d4", 4, late=1, bounds=bounded(max_events=2, max_recent=1)),
    # below the floor             nobody knows whether it was absorbed: late
    Scenario("below the floor", "b2 c3 d4 e5 a1", "d4 e5", 4, late=1, bounds=bounded(max_events=2, max_recent=1)),
    # above the floor             taken, although older than the window
    Scenario("above the floor", "a1 c3 d4 e5 b2", "d4 e5", 5, bounds=bounded(max_events=2, max_recent=1)),
    # no memory beyond the window
    Scenario("no recent memory", "a1 b2 a1", "b2", 2, late=1, bounds=bounded(max_events=1, max_recent=0)),
]


@pytest.mark.parametrize("case", SCENARIOS, ids=[case.name for case in SCENARIOS])
def test_scenario(case: Scenario) -> None:
    """The window and the counts follow from the events, as the timeline above shows."""
    outcome = feed(case.arrivals, case.bounds)
    assert shown(outcome.state) == case.window
    assert (outcome.accepted, outcome.duplicate, outcome.late) == (case.accepted, case.duplicate, case.late)


@pytest.mark.parametrize("case", SCENARIOS, ids=[case.name for case in SCENARIOS])
def test_scenario_in_single_steps(case: Scenario) -> None:
    """How arrivals are cut into batches must not show."""
    state: WindowState | None = None
    for offset, name in enumerate(case.arrivals.split()):
        state = absorb(state, [(at(name), offset)], case.bounds).state or state
    assert state == feed(case.arrivals, case.bounds).state


def test_revision_grows_by_one_per_accepted_event() -> None:
    """Lists are ordered by revision: no step may be missed and none counted twice."""
    first = feed("a1 b2 b2")
    assert first.state is not None and first.state.revision == 2
    second = feed("c3 a1", state=first.state)
    assert second.state is not None and second.state.revision == 3


def test_nothing_new_means_no_state() -> None:
    """A duplicate must not be written again, or every repeat would make a list."""
    state = feed("a1 b2").state
    assert feed("a1 b2", state=state).state is None


def test_given_state_is_not_modified() -> None:
    """The batch may fail after this: the window in the store must be as before."""
    state = feed("a1 b2").state
    before = repr(state)
    feed("c3 d4", state=state)
    assert repr(state) == before


def test_trigger_is_the_last_accepted_event() -> None:
    """A list names the event that caused it, not the newest in time."""
    state = feed("c3 a1 c3").state
    assert state is not None
    assert (state.trigger.event_id, state.trigger.offset) == ("a", 1)


def test_items_that_left_are_remembered_as_seen() -> None:
    """What the user saw long ago is not recommended, up to a bound."""
    bounds = WindowBounds(max_events=1, max_seen=2)
    state = feed("a1 b2 c3 d4", bounds).state
    assert state is not None
    marks = [state.seen[i : i + SEEN_BYTES] for i in range(0, len(state.seen), SEEN_BYTES)]
    assert marks == [seen_hash("item-b"), seen_hash("item-c")]
    nothing = feed("a1 b2", WindowBounds(max_events=1, max_seen=0)).state
    assert nothing is not None and nothing.seen == b""


def replay(run: str, n: int, start: int = 0) -> list[tuple[Event, int]]:
    """Return a run's events of one user, one per minute."""
    return [(make_event(f"e{i:04d}", T0 + i * MINUTE_MS, run=run, seq=i), i) for i in range(start, n)]


def test_second_pass_of_a_run_is_all_duplicates() -> None:
    """A replay is harmless to repeat even where ids and times are long forgotten."""
    bounds = WindowBounds(max_events=5, max_age_ms=10 * MINUTE_MS, allowed_lateness_ms=5 * MINUTE_MS, max_recent=3)
    first = absorb(None, replay("r@1", 500), bounds)
    assert (first.accepted, first.duplicate, first.late) == (500, 0, 0)
    second = absorb(first.state, replay("r@1", 500), bounds)
    assert (second.accepted, second.duplicate, second.late, second.state) == (0, 500, 0, None)


def test_last_event_of_a_run_is_known_by_its_position_alone() -> None:
    """A live event pushed it out of a window without memory; its repeat is still a duplicate."""
    bounds = WindowBounds(max_events=1, max_recent=0)
    first = absorb(None, [(make_event("a", T0, run="r", seq=0), 0), (make_event("b", T0 + 1), 1)], bounds)
    again = absorb(first.state, [(make_event("a", T0, run="r", seq=0), 2)], bounds)
    assert (again.duplicate, again.late) == (1, 0)


def test_run_goes_on_after_an_interruption() -> None:
    """A resumed replay repeats a little and then brings new events."""
    first = absorb(None, replay("r@1", 30), ROOMY)
    resumed = absorb(first.state, replay("r@1", 60, start=20), ROOMY)
    assert (resumed.accepted, resumed.duplicate) == (30, 10)


def test_another_run_brings_the_same_ids() -> None:
    """Under any run name, the rows of a log are the same events."""
    first = absorb(None, replay("r@1", 10), ROOMY)
    assert absorb(first.state, replay("other@1", 10), ROOMY).duplicate == 10


def test_runs_remembered_are_bounded() -> None:
    """A thousand replays must not grow a user's state; the run used last stays."""
    state: WindowState | None = None
    for i in range(MAX_RUNS + 3):
        state = absorb(state, [(make_event(f"e{i}", T0 + i, run=f"r{i}", seq=0), i)], ROOMY).state
    assert state is not None
    assert list(state.runs) == [f"r{i}" for i in range(3, MAX_RUNS + 3)]


def test_late_event_of_a_run_leaves_no_mark_that_a_batch_border_could_lose() -> None:
    """Only accepted events change the state; a late one is judged anew when it comes again."""
    newest = (make_event("x", T0 + 500 * MINUTE_MS), 0)
    late = (make_event("a", T0, run="r", seq=7), 1)
    live = (make_event("y", T0 + 501 * MINUTE_MS), 2)
    together = absorb(None, [newest, late, live], ROOMY).state
    apart = absorb(
        absorb(absorb(None, [newest], ROOMY).state, [late], ROOMY).state or absorb(None, [newest], ROOMY).state,
        [live],
        ROOMY,
    )
    assert together == apart.state


def test_a_run_that_goes_on_is_not_the_one_forgotten() -> None:
    """The run that was used least recently goes, not the one that began first."""
    state: WindowState | None = None
    for i, run in enumerate([*(f"r{n}" for n in range(MAX_RUNS)), "r0", "new"]):
        state = absorb(state, [(make_event(f"e{i}", T0 + i, run=run, seq=i), i)], ROOMY).state
    assert state is not None
    assert "r0" in state.runs
    assert "r1" not in state.runs


def test_what_left_the_window_is_forgotten_oldest_first() -> None:
    """An event that is inserted late and leaves at once is older than those that left before it."""
    bounds = bounded(max_events=2, max_recent=2)
    state = feed("c3 d4 e5 f6 a1", bounds).state
    assert state is not None
    assert [event_id for _, event_id in state.recent] == ["c", "d"]
    assert state.floor == (T0 + MINUTE_MS, "a")
    assert feed("a1", bounds, state).late == 1
