"""Spans from a traced window to the delivery of its list."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from faust.types import EventT

from streams.contract.kafka_records import ConsumedRecord, Headers
from streams.recommender.waiting.pending import Key, PendingWindow
from streams.runtime.tracing import HEADER, Tracing, of_record

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

#: More traced windows than this do not wait for their lists: the oldest traces end without one.
MAX_WAITING: Final = 10_000


class _Read(NamedTuple):
    """A traced window that waits for its list."""

    parent: Context | None
    written_ms: int
    read_ns: int
    offset: int


class TracedLists:
    """Remembers which waiting windows are traced. For one event loop.

    Parameters
    ----------
    topic : that the windows are on
    """

    def __init__(self, tracing: Tracing, topic: str) -> None:
        self._tracing = tracing
        self._topic = topic
        self._waiting: OrderedDict[Key, _Read] = OrderedDict()
        self._begun: dict[Key, Span] = {}

    def read(self, partition: int, records: Sequence[ConsumedRecord]) -> None:
        """Note the traced windows of a batch; a newer window replaces the user's older one."""
        now_ns = time.time_ns()
        for record in records:
            if record.key is None or not any(name == HEADER for name, _ in record.headers):
                continue  # the sequencer has decided: no trace begins here
            is_traced, parent = self._tracing.context(record.headers)
            if is_traced:
                place = (partition, record.key)
                self._waiting.pop(place, None)
                self._waiting[place] = _Read(parent, record.timestamp, now_ns, record.offset)
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popitem(last=False)

    def headers(self, window: PendingWindow[EventT]) -> Headers:
        """Begin the span of a window's list; return the list's header, if it is traced."""
        place = (window.partition, window.key)
        read = self._waiting.get(place)
        if read is None or read.written_ms != window.written_ms or window.is_again:
            return ()
        del self._waiting[place]
        attributes = of_record(self._topic, window.partition, read.offset) | {
            "headrace.revision": window.state.revision
        }
        span = self._begun[place] = self._tracing.begin("recommend", read.parent, read.read_ns, attributes)
        return self._tracing.headers(span)

    def delivered(self, windows: Iterable[PendingWindow[EventT]]) -> None:
        """End the spans of lists that the broker has, with the times of their parts."""
        for window in windows:
            span = self._begun.pop((window.partition, window.key), None)
            if span is None:
                continue
            ended_ns = time.time_ns()
            scored_ns = ended_ns - int(1e9 * (time.monotonic() - window.scored_s)) if window.scored_s else ended_ns
            ready_ns = min(scored_ns, ended_ns - int(1e9 * (time.monotonic() - window.since_s)))
            self._tracing.child("rank", span, ready_ns, scored_ns)
            self._tracing.child("publish", span, scored_ns, ended_ns)
            span.end(ended_ns)

    def forget(self, partitions: Iterable[int]) -> None:
        """Drop what waits of partitions that were taken away."""
        gone = set(partitions)
        for known in (self._waiting, self._begun):
            for place in [each for each in known if each[0] in gone]:
                del known[place]
