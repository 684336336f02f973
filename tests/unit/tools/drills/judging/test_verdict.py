"""The parts of a verdict: lost events, rejects and their events, and counts that add up."""

from __future__ import annotations

from streams.contract.records import encode
from streams.sequencer.window import absorb
from streams.settings.record_limits import WindowBounds
from tests.support.builders import T0, FakeRecord, make_event
from tools.drills.cluster import unbalanced
from tools.drills.judging.ledger import WindowLog
from tools.drills.judging.verdict import RejectLog, Verdict, coordinates, n_lost
from tools.drills.report import downtime, n_sent_problems, sort_problems
from tools.drills.session import Fault


def window(*event_ids: str) -> bytes:
    """Return the encoded window of these events."""
    events = [(make_event(event_id, T0 + i), i) for i, event_id in enumerate(event_ids)]
    state = absorb(None, events, WindowBounds(max_events=2, max_recent=10)).state
    assert state is not None
    return encode(state)


def test_lost_events_are_counted_by_revision_and_by_id() -> None:
    """An old window lacks revisions; a wrong window of the same revision lacks events."""
    right = window("a", "b", "c", "d")
    assert n_lost(right, right) == 0
    assert n_lost(window("a", "b"), right) == 2
    assert n_lost(window("a", "b", "c", "x"), right) == 1
    assert n_lost(None, right) == n_lost(b"\xc1", right) == 4


def test_a_window_after_a_newer_one_is_stale_though_the_next_hides_it() -> None:
    """A zombie writes such windows. Equal bytes do not count; a removed user begins anew."""
    log = WindowLog()
    first, second, other, third = window("a"), window("a", "b"), window("a", "x"), window("a", "b", "c")
    for value in (first, second, second, third, None, first):
        log.add(b"u1", value)
    assert log.n_stale == 0
    for value in (second, first, third, window("x", "y", "z"), b"\xc1"):
        log.add(b"u1", value)
    assert log.n_stale == 3
    log.add(b"u2", second)
    log.add(b"u2", other)
    assert log.n_stale == 4, "another window of an equal revision"


def test_a_reject_says_which_event_it_holds() -> None:
    """The headers name the event; a record without them belongs to no event."""
    headers = [("reason", b"type"), ("partition", b"2"), ("offset", b"17")]
    assert coordinates(FakeRecord(b"k", b"v", headers=headers)) == (2, 17)
    assert coordinates(FakeRecord(b"k", b"v")) == (-1, -1)


def reject(value: bytes, offset: int, reason: bytes = b"type") -> FakeRecord:
    """Return a record of events.rejected."""
    return FakeRecord(b"k", value, headers=[("reason", reason), ("partition", b"0"), ("offset", b"%d" % offset)])


def test_a_reject_must_hold_its_event_and_a_reason() -> None:
    """A record with other bytes than its event is wrong, also among several."""
    log = RejectLog()
    for record in (
        reject(b"a", 1),
        reject(b"a", 1),
        reject(b"x", 2),
        reject(b"c", 3, b""),
        reject(b"d", 4),
        reject(b"x", 4),
    ):
        log.add(record)
    for offset, value in enumerate((b"fine", b"a", b"b", b"c", b"d", b"e")):
        log.check(FakeRecord(b"k", value, offset))
    verdict = Verdict()
    log.judge({(0, 1), (0, 2), (0, 3), (0, 5)}, verdict)
    assert (verdict.rejected_missing, verdict.rejected_extra, verdict.rejected_repeats) == (1, 1, 2)
    assert verdict.rejected_wrong == 3 and "rejected_wrong 3" in verdict.problems()


def test_what_was_sent_is_known_without_the_oracle() -> None:
    """Acknowledged events that vanished, and counts that the events cannot have led to."""
    verdict = Verdict(events=10, accepted=6, rejected=2)
    assert n_sent_problems(verdict, 10) == []
    assert n_sent_problems(verdict, 12) == ["lost before the sequencer: 12 events acknowledged, 10 on the topic"]
    assert sort_problems(verdict, {"new": 4, "late-inserted": 1, "late-dropped": 1, "repeat": 2, "malformed": 2}) == []
    assert [line.split()[0] for line in sort_problems(verdict, {"new": 5, "malformed": 3})] == ["accepted", "rejected"]


def test_counts_must_add_up_on_every_page_and_partition() -> None:
    """The sum may hide a partition that lost one and a partition that made one up."""
    good = {"read": 4, "accepted": 1, "duplicate": 1, "late": 1, "rejected": 1, "forgotten": 0}
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
    """Without a fault there is no downtime."""
    assert downtime([]) == {"max": None, "median": None, "each": []}
    assert downtime([Fault("a", 1.0), Fault("b", 9.0), Fault("c", 2.0)]) == {
        "max": 9.0,
        "median": 2.0,
        "each": [1.0, 9.0, 2.0],
    }
