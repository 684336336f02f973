"""The age of lists when they come, and the age that follows when newer windows replace old ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from models.base.types import Float64
from streams.contract.records import Recommendation
from tools.reports.quantile import quantile

#: A list that is older belongs to a late event, whose own time is hours ago. It says nothing about
#: freshness.
LATE_MS: Final = 600_000
BISECTIONS: Final = 60


class Arrival(NamedTuple):
    """A list as it came: time on the monotonic clock, user, age, and whether it is provisional."""

    at_s: float
    user_id: str
    age_ms: int
    is_provisional: bool

    @classmethod
    def of(cls, at_s: float, made: Recommendation) -> Arrival:
        """Return the arrival of a list."""
        return cls(at_s, made.user_id, made.produced_ts - made.event_ts, made.provisional)


def freshness_ms(arrivals: Sequence[Arrival], without: Collection[str]) -> dict[str, float | None]:
    """Return the age of lists: median and 99th percentile in milliseconds, and their number.

    Lists of late events do not count, because those events are old when they come.

    Parameters
    ----------
    without : users whose lists do not count
    """
    ages = [float(a.age_ms) for a in arrivals if a.user_id not in without and a.age_ms < LATE_MS]
    return {"p50": quantile(ages, 50), "p99": quantile(ages, 99), "n": float(len(ages))}


def busiest_minute(arrivals: Sequence[Arrival], user_id: str) -> int:
    """Return the most lists of one user within any 60 seconds."""
    recent: deque[float] = deque()
    most = 0
    for arrival in arrivals:
        if arrival.user_id != user_id:
            continue
        recent.append(arrival.at_s)
        while recent[0] <= arrival.at_s - 60.0:
            recent.popleft()
        most = max(most, len(recent))
    return most


def superseding_wait_s(events_per_s: float, shares: Float64, lists_per_s: float) -> float:
    """Return how many seconds users wait for a list when newer windows replace waiting ones.

    A user of ``x`` events a second waits ``w`` seconds, gets a list, and waits again from the next
    event on. So the user gets a list every ``w + 1/x`` seconds, which is ``x / (1 + w x)`` lists a
    second. The result is the ``w`` at which this rate, summed over all users, equals
    ``lists_per_s``; 0 where there are more lists than events.

    Parameters
    ----------
    events_per_s : events a second of all users
    shares : (n_users,) float64: each user's share of the events
    lists_per_s : lists that the workers make a second, above 0
    """
    rates = events_per_s * shares
    low, high = 0.0, len(rates) / lists_per_s  # all users wait all the time
    if float(rates.sum()) <= lists_per_s:
        return 0.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if float((rates / (1 + middle * rates)).sum()) > lists_per_s:
            low = middle
        else:
            high = middle
    return high
