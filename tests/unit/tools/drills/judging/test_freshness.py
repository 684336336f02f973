"""The age of lists, and the age that follows when newer windows replace waiting ones."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from streams.contract.records import Recommendation
from streams.contract.windows import ListWindow, Trigger
from streams.recommender.waiting.window_queue import WindowQueue
from tools.drills.events import EventSource, Shares, shares_of_users
from tools.drills.judging.freshness import Arrival, busiest_minute, freshness_ms, superseding_wait_s
from tools.drills.kinds.overload import CRAWLER, CRAWLER_PER_MINUTE, HOT_USER, overload_report


def arrival(user: str, age_ms: int, at_s: float = 0.0, *, is_provisional: bool = False) -> Arrival:
    """Return a list made so long after its event."""
    made = Recommendation(1, "x", user, 1, "e", 0, 1_000, 1_000 + age_ms, "a", 1, "none", [], is_provisional)
    return Arrival.of(at_s, made)


def test_lists_of_the_busiest_minute_are_counted_in_a_sliding_one() -> None:
    """The minute may begin at any time."""
    arrivals = [arrival("crawler", 0, at) for at in (0.0, 50.0, 59.0, 61.0, 100.0, 110.5)]
    arrivals.append(arrival("u1", 0, 59.5))
    assert busiest_minute(sorted(arrivals), "crawler") == 4
    assert busiest_minute([], "crawler") == 0


def test_freshness_is_that_of_others_and_not_of_late_events() -> None:
    """Lists of the hot user and of late events do not count."""
    arrivals = [arrival(user, age) for user, age in (("u1", 100), ("u2", 300), ("hot", 9_000), ("u3", 7_200_000))]
    assert freshness_ms(arrivals, {"hot"}) == {"p50": 200.0, "p99": pytest.approx(298.0), "n": 2.0}


def test_the_figures_of_an_overload_tell_full_lists_from_provisional_ones() -> None:
    """Workers sustain their full lists; the hot user and the crawler are not among others."""
    during = [arrival("u1", 8_000), arrival("u2", 6_000), arrival(HOT_USER, 90), arrival(CRAWLER, 90)]
    during += [arrival("u2", 1_000, is_provisional=True)] * 2
    report = overload_report(during, [arrival("u1", 50)], events_per_s=200.0, seconds=2.0, n_users=10)
    assert (report["sustained_per_s"], report["overload_factor"]) == (2, 100.0)
    assert report["others_freshness_ms"]["n"] == 2 and report["others_first_list_ms"]["n"] == 4
    assert report["others_first_list_ms"]["p50"] == 3_500.0
    others_per_s = 100 - CRAWLER_PER_MINUTE / 60
    assert report["superseding_wait_s"] == round(superseding_wait_s(others_per_s, shares_of_users(10), 1.0), 1) > 5


def test_the_shares_of_users_are_those_that_the_events_are_drawn_with() -> None:
    """Most active first; counted in 50,000 events."""
    source = EventSource(20, ["i"], 1, Shares(0, 0, 0))
    counts = Counter(source.next(0).key for _ in range(50_000))
    shares = shares_of_users(20)
    assert shares.sum() == pytest.approx(1.0)
    assert [counts[f"u{i}".encode()] / 50_000 for i in range(20)] == pytest.approx(list(shares), abs=0.01)


def test_who_gets_more_lists_than_events_does_not_wait_and_alike_users_wait_for_each_other() -> None:
    """Ten users with an event a second, five lists a second: each waits one second."""
    alike = np.full(10, 0.1)
    assert superseding_wait_s(10.0, alike, 10.0) == 0.0
    assert superseding_wait_s(10.0, alike, 5.0) == pytest.approx(1.0)
    assert superseding_wait_s(1e9, alike, 5.0) == pytest.approx(2.0), "one list of everybody"


def test_the_queue_before_the_model_keeps_to_the_wait() -> None:
    """With 500 events and 25 lists a second, :class:`WindowQueue` lets users wait this long."""
    rng = np.random.default_rng(1)
    shares, clock = shares_of_users(300), [0.0]
    pending: WindowQueue[int] = WindowQueue(clock=lambda: clock[0])
    waits: list[float] = []
    since: dict[int, float] = {}
    for tick in range(2_000):
        clock[0] = tick / 25
        for user in rng.choice(300, size=20, p=shares):
            since.setdefault(int(user), clock[0])
            pending.add(0, [(b"%d" % user, ListWindow(1, tick, 0, [], Trigger("e", 0, 0)), 0)], tick)
        (taken,) = pending.take(1_000, 1)
        waits.append(clock[0] - since.pop(int(taken.key)))
    expected = superseding_wait_s(500.0, shares, 25.0)
    assert 0.8 * expected < np.median(waits[1_000:]) < max(waits) < 1.25 * expected
