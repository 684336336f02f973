"""Spans of answers that come of a traced record: the last part of a trace that began with an event.

A pushed list is named by its id, and a user's window, of which a list is made on demand, by the
user's key.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from streams.contract.kafka_records import Headers
from streams.runtime.tracing import HEADER, Tracing
from streams.server.gate.request_traces import request_under_way

if TYPE_CHECKING:
    from opentelemetry.context import Context

#: Only the newest traced records are remembered: the trace of an older one ends with its record.
MAX_LISTS: Final = 10_000
NameT = TypeVar("NameT", str, bytes)


class _AnswerTraces(Generic[NameT]):
    """Remembers which records are traced, by name. For one event loop."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._contexts: OrderedDict[NameT, Context | None] = OrderedDict()

    def read(self, name: NameT, headers: Headers) -> None:
        """Note a record that may carry a trace; it replaces the one of the same name."""
        self.forget(name)
        if any(header == HEADER for header, _ in headers):
            is_traced, context = self._tracing.context(headers)
            if is_traced:
                self._contexts[name] = context
                if len(self._contexts) > MAX_LISTS:
                    self._contexts.popitem(last=False)

    def forget(self, name: NameT) -> None:
        """Remember a record no more."""
        self._contexts.pop(name, None)

    def _answered(self, name: NameT, span_name: str, begun_ns: int, told: dict[str, str | int]) -> None:
        """Note an answer that comes of a record; it is linked with the span of a traced caller."""
        if name not in self._contexts:
            return
        span = self._tracing.begin(span_name, self._contexts[name], begun_ns, told)
        request = request_under_way()
        if request is not None:
            span.add_link(request.context)
            request.link(span.get_span_context())
        span.end(time.time_ns())


class ListTraces(_AnswerTraces[str]):
    """Remembers which pushed lists are traced, by their ids. For one event loop."""

    def answered(self, list_id: str, begun_ns: int) -> None:
        """Note an answer with a list, which began at this time; each answer is a span."""
        self._answered(list_id, "GET list", begun_ns, {"headrace.list_id": list_id})


class WindowTraces(_AnswerTraces[bytes]):
    """Remembers which users' newest windows are traced, by user key. For one event loop."""

    def answered(self, key: bytes, what: str, begun_ns: int, revision: int) -> None:
        """Note an answer that was made of a window, and began at this time; each is a span.

        Parameters
        ----------
        what : names the span
        """
        self._answered(key, what, begun_ns, {"headrace.revision": revision})
