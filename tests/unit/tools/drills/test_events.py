"""A drill's events are seeded, have their shares, and end in the sequencer as they should."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from streams.contract.kafka_records import OutRecord
from streams.contract.records import EventDecoder
from streams.settings.record_limits import WindowBounds
from tests.support.oracle import windows_of
from tools.drills.events import EventSource, Shares

NOW_MS = 1_790_000_000_000
ITEMS = [f"i{i}" for i in range(50)]


class Consumed(NamedTuple):
    """A published event as it would be read."""

    key: bytes | None
    value: bytes | None
    offset: int
    partition: int = 0
    topic: str = "events"
    timestamp: int = NOW_MS
    headers: tuple[tuple[str, bytes], ...] = ()


def make(n: int, seed: int = 1, shares: Shares | None = None) -> tuple[EventSource, list[OutRecord]]:
    """Return a source and its events: one of each of 20 users, and ``n`` more."""
    source = EventSource(20, ITEMS, seed, shares or Shares())
    return source, [*source.first_events(NOW_MS - 1), *(source.next(NOW_MS) for _ in range(n))]


def test_equal_seeds_give_equal_events() -> None:
    """A drill can be repeated; another seed gives other events."""
    plain = Shares(malformed=0.0)  # a malformed event may hold the clock
    assert make(500, 3, plain)[1] == make(500, 3, plain)[1] != make(500, 4, plain)[1]


def test_events_end_as_they_are_meant_to() -> None:
    """Under a window that remembers all, the oracle counts what the source says it has sent."""
    source, records = make(5_000, shares=Shares(repeat=0.1, late=0.1, malformed=0.05))
    consumed = [Consumed(record.key, record.value, offset) for offset, record in enumerate(records)]
    bounds = WindowBounds(max_events=1_000, max_recent=1_000)
    (counts,) = windows_of(consumed, bounds, max_future_skew_ms=1_000).counts.values()
    assert counts.rejected == source.sent["malformed"] > 100
    assert counts.duplicate + counts.late == source.sent["repeat"] + source.sent["late-dropped"]
    assert counts.late >= source.sent["late-dropped"] > 100
    assert counts.accepted == 20 + source.sent["late-inserted"] + source.sent["new"] - 20
    assert source.sent["late-inserted"] > 100


def test_a_few_users_have_most_events_and_all_have_one() -> None:
    """Log-uniform ranks: among 20 users the first has about 23 % of the events (log 2 / log 21)."""
    _, records = make(4_000, shares=Shares(0, 0, 0))
    decode = EventDecoder(0).decode_event
    users = Counter(decode(record.key, record.value, NOW_MS).user_id for record in records)
    assert set(users) == {f"u{i}" for i in range(20)}
    assert 0.18 < users["u0"] / len(records) < 0.28
