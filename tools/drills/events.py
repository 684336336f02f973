"""The events of a drill: new, repeated, late and malformed ones, in a seeded order.

Users and items are drawn log-uniformly, so that the user or the item of rank r has a share
proportional to 1 / r, as in shops. That is Zipf's law with exponent 1 (Zipf, *Human Behavior and
the Principle of Least Effort*, 1949).
"""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from models.base.types import Float64
from models.base.vocabulary import EVENT_TYPES
from streams.contract.kafka_records import OutRecord
from streams.contract.records import VERSION, Event, encode
from tools.drills.malformed import MALFORMED

#: A repeat is one of this many last events.
REPEATABLE: Final = 10_000
HOUR_MS: Final = 3_600_000
Sort = Literal["new", "repeat", "late-inserted", "late-dropped", "malformed"]


@dataclass(frozen=True)
class Shares:
    """Shares of the events, each 0 to 1.

    Parameters
    ----------
    repeat : events that were sent before, byte for byte
    late : late events; half of them are within the allowed lateness, so that the window takes them
        in
    malformed : events that break the contract, one kind after the other
    """

    repeat: float = 0.10
    late: float = 0.05
    malformed: float = 0.01


def shares_of_users(n_users: int) -> Float64:
    """Return each user's share of the events, most active first: (n_users,) float64 with sum 1."""
    ranks = np.arange(1, n_users + 1, dtype=np.float64)
    return np.log1p(1 / ranks) / math.log(n_users + 1)


class EventSource:
    """Makes a drill's events one by one, each as the record to publish.

    Equal arguments and equal clocks give equal events. ``last_id`` is the id of the event that was
    made last; ids rise.

    Parameters
    ----------
    item_ids : items of the events
    lateness_ms : the sequencer's allowed lateness
    prefix : begins each event id; sources that publish to one topic need different ones
    """

    def __init__(
        self,
        n_users: int,
        item_ids: Sequence[str],
        seed: int,
        shares: Shares,
        *,
        lateness_ms: int = 24 * HOUR_MS,
        prefix: str = "e",
    ) -> None:
        self.sent: Counter[Sort] = Counter()
        self._n_users = n_users
        self._item_ids = item_ids
        self._shares = shares
        self._lateness_ms = lateness_ms
        self._prefix = prefix
        self._rng = random.Random(seed)  # noqa: S311 - a reproducible load, nothing secret
        self._recent: deque[OutRecord] = deque(maxlen=REPEATABLE)
        self._kinds = tuple(MALFORMED.values())
        self._n = 0
        self.last_id = ""

    def first_events(self, now_ms: int) -> Iterator[OutRecord]:
        """Yield one new event of each user."""
        for user in range(self._n_users):
            self.sent["new"] += 1
            yield self._event(f"u{user}", now_ms)

    def next(self, now_ms: int) -> OutRecord:
        """Return the next event, at ``now_ms`` milliseconds since the Unix epoch."""
        draw, shares = self._rng.random(), self._shares
        if draw < shares.malformed:
            self.sent["malformed"] += 1
            return self._kinds[self.sent["malformed"] % len(self._kinds)](self.sent["malformed"])
        draw -= shares.malformed
        if draw < shares.repeat and self._recent:
            self.sent["repeat"] += 1
            return self._rng.choice(self._recent)
        draw -= shares.repeat
        user = f"u{self._rank(self._n_users)}"
        if 0 <= draw < shares.late:
            return self._late(user, now_ms)
        self.sent["new"] += 1
        return self._event(user, now_ms)

    def of_user(self, user_id: str, now_ms: int) -> OutRecord:
        """Return a new event of one user."""
        self.sent["new"] += 1
        return self._event(user_id, now_ms)

    def _late(self, user: str, now_ms: int) -> OutRecord:
        if self._rng.random() < 0.5:
            self.sent["late-inserted"] += 1
            return self._event(user, now_ms - self._rng.randrange(60_000, self._lateness_ms // 2))
        self.sent["late-dropped"] += 1
        return self._event(user, now_ms - self._lateness_ms - self._rng.randrange(HOUR_MS, 48 * HOUR_MS))

    def _event(self, user: str, ts_ms: int) -> OutRecord:
        self._n += 1
        self.last_id = f"{self._prefix}{self._n:010d}"
        item = self._item_ids[self._rank(len(self._item_ids))]
        event = Event(VERSION, self.last_id, user, item, EVENT_TYPES[self._n % 3], ts_ms)
        record = OutRecord(user.encode(), encode(event))
        self._recent.append(record)
        return record

    def _rank(self, n: int) -> int:
        """Return a rank from 0 below ``n``, log-uniformly."""
        return min(n - 1, int((n + 1) ** self._rng.random()) - 1)
