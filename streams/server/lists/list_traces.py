"""Spans of answers with a traced list: the last part of the trace that began with an event."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from streams.contract.kafka_records import Headers
from streams.runtime.tracing import HEADER, Tracing

if TYPE_CHECKING:
    from opentelemetry.context import Context

#: Only the newest traced lists are remembered: the trace of an older one ends with its list.
MAX_LISTS: Final = 10_000


class ListTraces:
    """Remembers which lists are traced. For one event loop."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._contexts: OrderedDict[str, Context | None] = OrderedDict()

    def read(self, list_id: str, headers: Headers) -> None:
        """Note a list whose record may carry a trace."""
        if any(name == HEADER for name, _ in headers):
            is_traced, context = self._tracing.context(headers)
            if is_traced:
                self._contexts[list_id] = context
                if len(self._contexts) > MAX_LISTS:
                    self._contexts.popitem(last=False)

    def answered(self, list_id: str, begun_ns: int) -> None:
        """Note an answer with a list, which began at this time; each answer is a span."""
        if list_id in self._contexts:
            told = {"headrace.list_id": list_id}
            self._tracing.begin("GET list", self._contexts[list_id], begun_ns, told).end(time.time_ns())
