"""What a promotion takes out of windows, and where the live sequencer goes on after it."""

from __future__ import annotations

from streams.contract.marks import new_life
from streams.contract.records import encode
from streams.sequencer.window import absorb
from streams.settings.record_limits import WindowBounds
from tests.support.builders import make_event
from tools.replay.rebuild.promotion_plan import n_losing, promoted_windows, resume_offsets, without_forgotten


def window(names: str, max_events: int = 50) -> bytes:
    """Return the encoded window of events named by one letter each, which is also their time."""
    events = [(make_event(name, ord(name)), at) for at, name in enumerate(names)]
    state = absorb(None, events, WindowBounds(max_events=max_events)).state
    assert state is not None
    return encode(state)


def test_events_that_have_left_a_full_window_are_not_lost() -> None:
    """In a window of two that went on, event a has left it and is not lost.

    An event that the run never had, newer than the run's events, is lost.
    """
    full = window("abc", max_events=2)
    assert n_losing({b"u1": full}, {b"u1": window("ab")}) == 0
    assert n_losing({b"u1": full}, {b"u1": window("abcd")}) == 1
    assert n_losing({b"u1": window("bc")}, {b"u1": window("abc")}) == 1, "one that has let go of nothing never had it"


def test_the_live_sequencer_goes_on_where_it_was_but_not_beyond_the_copy_and_not_before_the_run() -> None:
    """Otherwise the live topics would never reject malformed events that only the run has read."""
    committed = {0: 3, 1: 9, 2: 0}
    begins, copied = {0: 0, 1: 0, 2: 4, 3: 2}, {0: 5, 1: 7, 2: 8, 3: 6}
    assert resume_offsets(committed, begins, copied) == {0: 3, 1: 7, 2: 4, 3: 2}


def test_a_promotion_gives_no_window_of_a_former_life_back() -> None:
    """Of a user forgotten since the run was made, the live window stays as it is, or none."""
    mark = 1_000
    new = absorb(new_life(mark), [(make_event("n", mark + 1), 9)], WindowBounds()).state
    assert new is not None
    run = {b"gone": window("ab"), b"back": window("ab"), b"u1": window("ab")}
    live = {b"back": encode(new), b"u1": window("a"), b"late": window("a")}
    marks = {b"gone": mark, b"back": mark, b"late": mark}
    of_run, of_live = without_forgotten(run, live, marks)
    assert set(promoted_windows(of_run, of_live, lambda _key, state: state.trigger.offset)) == {b"u1"}
    assert set(promoted_windows(run, live, lambda _key, state: state.trigger.offset)) == {*run, b"late"}
