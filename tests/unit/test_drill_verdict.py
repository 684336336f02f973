"""The parts of a verdict: what counts as lost, which reject is which event, which counts add up."""

from __future__ import annotations

from streams.records import encode
from streams.window import WindowBounds, absorb
from tests.builders import T0, FakeRecord, make_event
from tools.drill_cluster import unbalanced
from tools.drill_report import Fault, downtime
from tools.drill_verdict import Verdict, WindowLog, coordinates, n_lost


def window(*event_ids: str) -> bytes:
    """Return the encoded window of these events."""
    events = [(make_event(event_id, T0 + i), i) for i, event_id in enumerate(event_ids)]
    state = absorb(None, events, WindowBounds(max_events=2, max_recent=10)).state
    assert state is not None
    return encode(state)


def test_lost_events_are_counted_by_revision_and_by_id() -> None:
    """A window that is behind lacks its revisions; one that went another way lacks the events, at an equal revision."""
    right = window("a", "b", "c", "d")
    assert n_lost(right, right) == 0
    assert n_lost(window("a", "b"), right) == 2
    assert n_lost(window("a", "b", "c", "x"), right) == 1
    assert n_lost(None, right) == n_lost(b"\xc1", right) == 4


def test_a_window_after_a_newer_one_is_stale_though_the_next_hides_it() -> None:
    """What a zombie writes. A repeat byte for byte changes nothing; a forgotten user begins anew; a fence is nobody's window."""
    log = WindowLog()
    first, second, other, third = window("a"), window("a", "b"), window("a", "x"), window("a", "b", "c")
    for value in (first, second, second, third, None, first):
        log.add(b"u1", value)
    assert log.n_stale == 0 and log.newest == {b"u1": first}
    for value in (second, first, third, window("x", "y", "z"), b"\xc1"):
        log.add(b"u1", value)
    assert log.n_stale == 3
    log.add(b"u2", second)
    log.add(b"u2", other)
    assert log.n_stale == 4, "another window of an equal revision"


def test_a_reject_says_which_event_it_holds() -> None:
    """By its headers; one without them is nobody's."""
    headers = [("reason", b"type"), ("partition", b"2"), ("offset", b"17")]
    assert coordinates(FakeRecord(b"k", b"v", headers=headers)) == (2, 17)
    assert coordinates(FakeRecord(b"k", b"v")) == (-1, -1)


def test_counts_must_add_up_on_every_page_and_partition() -> None:
    """The sum may hide a partition that lost one and a partition that made one up."""
    good = {"read": 4, "accepted": 1, "duplicate": 1, "late": 1, "rejected": 1}
    less, more = good | {"accepted": 0}, good | {"accepted": 2}
    total = {name: 2 * n for name, n in good.items()}
    pages = {
        "right": {"total": total, "partitions": {"0": good, "1": good}},
        "wrong": {"total": total, "partitions": {"0": less, "1": more}},
    }
    assert unbalanced(pages) == ["wrong"]


def test_all_zero_is_well_and_any_other_number_is_named() -> None:
    """Repeats on events.rejected are allowed: a restart writes them again."""
    assert Verdict(events=7, rejected=2, rejected_repeats=1).problems() == []
    assert Verdict(lost=1, rejected_extra=2).problems() == ["lost 1", "rejected_extra 2"]


def test_downtime_is_of_the_worst_the_middle_and_each() -> None:
    """No fault, no figure."""
    assert downtime([]) == {"max": None, "median": None, "each": []}
    assert downtime([Fault("a", 1.0), Fault("b", 9.0), Fault("c", 2.0)]) == {
        "max": 9.0,
        "median": 2.0,
        "each": [1.0, 9.0, 2.0],
    }
