"""Decides whether a worker is stuck, from offsets and a clock that the caller reads.

A worker is alive if its committed offsets move while records wait. A process that merely answers is
not proof.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Final

from streams.kafka.group_watch import PartitionOffsets, Place

#: Records that the worker itself holds may wait this many times longer, as long as it commits
#: others: under back-pressure the partitions take turns, and a slow model is no reason for a
#: restart.
HELD_FACTOR: Final = 5


@dataclass(frozen=True)
class Stall:
    """A partition whose committed offset has not moved for ``seconds`` although records wait."""

    place: Place
    offsets: PartitionOffsets
    seconds: float


class StallJudge:
    """Finds partitions whose committed offset does not move although records wait.

    Parameters
    ----------
    timeout_s : an offset that does not move for longer is a stall; :data:`HELD_FACTOR` times that
        for a partition whose records the worker holds while it commits others
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._committed: dict[Place, int] = {}
        self._since_s: dict[Place, float] = {}
        self._waiting: set[Place] = set()
        self._moved_s: float | None = None

    def restart(self) -> None:
        """Drop all observations: those around a silent broker say nothing about the worker."""
        self._committed.clear()
        self._since_s.clear()
        self._waiting.clear()
        self._moved_s = None

    def standing_s(self, now_s: float) -> dict[Place, float]:
        """Return for how many seconds each partition has not moved although records wait."""
        return {place: now_s - self._since_s[place] for place in self._waiting}

    def observe(self, now_s: float, partitions: Mapping[Place, PartitionOffsets]) -> list[Stall]:
        """Take the broker's offsets of the assigned partitions; return the stalled partitions.

        The time of a newly assigned partition begins now.
        """
        for place in self._since_s.keys() - partitions.keys():
            del self._since_s[place], self._committed[place]
        for place, offsets in partitions.items():
            known = self._committed.get(place)
            if known is not None and offsets.committed > known:
                self._moved_s = now_s
            if known != offsets.committed or not offsets.lag:
                self._since_s[place] = now_s
            self._committed[place] = offsets.committed
        self._waiting = {place for place, offsets in partitions.items() if offsets.lag}
        return [
            Stall(place, offsets, now_s - self._since_s[place])
            for place, offsets in partitions.items()
            if now_s - self._since_s[place] > self._limit_s(now_s, offsets)
        ]

    def _limit_s(self, now_s: float, offsets: PartitionOffsets) -> float:
        moves = self._moved_s is not None and now_s - self._moved_s <= self._timeout_s
        return self._timeout_s * HELD_FACTOR if offsets.is_held and moves else self._timeout_s


class ProgressJudge:
    """Measures for how long a condition has held without any change."""

    def __init__(self) -> None:
        self._seen: Hashable = None
        self._since_s = 0.0

    def observe(self, now_s: float, state: Hashable) -> float:
        """Return for how many seconds ``state`` has not changed; 0 for None."""
        if state is None or state != self._seen:
            self._seen, self._since_s = state, now_s
        return now_s - self._since_s
