"""How records flow, measured on the topics themselves while somebody looks.

::

    events ──► sequencer ──► sequences ──► recommender ──► recommendations
       │  committed offset       │   committed offset            │
       └──── timestamps ─────────┴───────── timestamps ──────────┘

Rates come from the growth of offsets, lag from what each group has committed. Delays come from the
newest records of the three topics: a window names the event that made it, a list names both.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, NamedTuple

from aiokafka.errors import KafkaError

from streams.errors import HeadraceError

log = logging.getLogger(__name__)

TOPICS: Final = ("events", "sequences", "recommendations")
#: What each app reads.
READ_BY: Final[dict[str, str]] = {"events": "sequencer", "sequences": "recommender"}
EDGES: Final = ("event_window", "window_list", "event_list")
TICK_S: Final = 2.0
IDLE_S: Final = 60.0
#: Looks that are kept: ten minutes.
KEPT: Final = 300


class Offsets(NamedTuple):
    """Where the topics and the groups are, at a moment.

    Parameters
    ----------
    at_s : monotonic seconds
    ends : sum of the end offsets, by topic
    committed : sum of the committed offsets, by the topic that the app reads
    lag : sum over the partitions, by the topic that the app reads
    """

    at_s: float
    ends: Mapping[str, int]
    committed: Mapping[str, int]
    lag: Mapping[str, int]


class Delay(NamedTuple):
    """How long records took: quantiles in milliseconds, of how many."""

    p50_ms: float
    p99_ms: float
    n: int


class Look(NamedTuple):
    """One look at the flow.

    Parameters
    ----------
    at_ms : time, in ms since 1970
    written : records per second, by topic
    read : committed records per second, by the topic that the app reads
    lag : by the topic that the app reads
    delays : by edge; an edge without samples has none
    """

    at_ms: int
    written: Mapping[str, float]
    read: Mapping[str, float]
    lag: Mapping[str, int]
    delays: Mapping[str, Delay]


def delay_of(samples_ms: Iterable[float]) -> Delay | None:
    """Return the quantiles of delays (nearest rank); None without a sample."""
    found = sorted(max(0.0, one) for one in samples_ms)  # clocks of two machines
    if not found:
        return None
    return Delay(found[(len(found) - 1) // 2], found[min(len(found) - 1, int(0.99 * len(found)))], len(found))


def look_between(before: Offsets, after: Offsets, delays: Mapping[str, Delay], at_ms: int) -> Look:
    """Return what two sets of offsets say."""
    seconds = max(1e-3, after.at_s - before.at_s)

    def rates(old: Mapping[str, int], new: Mapping[str, int]) -> dict[str, float]:
        return {topic: max(0, end - old.get(topic, end)) / seconds for topic, end in new.items()}

    return Look(
        at_ms, rates(before.ends, after.ends), rates(before.committed, after.committed), dict(after.lag), delays
    )


class Source(NamedTuple):
    """Where a :class:`FlowWatch` gets its numbers."""

    offsets: Callable[[], Awaitable[Offsets]]
    delays: Callable[[], Awaitable[dict[str, Delay]]]
    close: Callable[[], Awaitable[None]]


class FlowWatch:
    """Looks at the flow every :data:`TICK_S`, while somebody asks. For one event loop.

    Parameters
    ----------
    open_source : connects
    """

    def __init__(self, open_source: Callable[[], Awaitable[Source]], tick_s: float = TICK_S) -> None:
        self._open_source = open_source
        self._tick_s = tick_s
        self._looks: deque[Look] = deque(maxlen=KEPT)
        self._watching: asyncio.Task[None] | None = None
        self._asked_s = 0.0
        self.problem = ""

    def looks(self) -> list[Look]:
        """Return the looks so far, oldest first; begin to look if nobody did."""
        self._asked_s = time.monotonic()
        if self._watching is None or self._watching.done():
            self._watching = asyncio.ensure_future(self._watch_while_asked())
        return list(self._looks)

    async def _watch_while_asked(self) -> None:
        while time.monotonic() - self._asked_s < IDLE_S:
            try:
                await self._watch()
            except (HeadraceError, KafkaError, OSError, TimeoutError) as exc:
                self.problem = str(exc) or type(exc).__name__
                log.warning("the flow cannot be looked at, trying again: %s", self.problem)
                await asyncio.sleep(self._tick_s)
        self._looks.clear()

    async def _watch(self) -> None:
        source = await self._open_source()
        try:
            before = await source.offsets()
            while time.monotonic() - self._asked_s < IDLE_S:
                await asyncio.sleep(self._tick_s)
                after = await source.offsets()
                delays = await source.delays()
                self._looks.append(look_between(before, after, delays, int(1000 * time.time())))
                before, self.problem = after, ""
        finally:
            await source.close()
