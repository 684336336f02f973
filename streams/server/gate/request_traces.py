"""Spans of requests: the server's part in the trace of a caller whose ``traceparent`` says so.

::

    caller ─ traceparent ─► door ─────────────────────────────► answer
                            "GET /v1/users/…" (span, kind server)
                              ├ rank: from the question to the end of the model
                              └ publish: until the broker has the events, whose records carry it on

The request under way is a context variable, so that no handler passes it on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from streams.contract.kafka_records import Headers
from streams.runtime.tracing import HEADER, Tracing

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext

#: From this status on the server has failed, and not the caller.
FAILED: Final = 500


class RequestSpan:
    """The span of a request under way. For one event loop."""

    def __init__(self, tracing: Tracing, span: Span) -> None:
        self._tracing = tracing
        self._span = span

    @property
    def context(self) -> SpanContext:
        """What others link to."""
        return self._span.get_span_context()

    def headers(self) -> Headers:
        """Return the header for records that the request brings."""
        return self._tracing.headers(self._span)

    def link(self, other: SpanContext) -> None:
        """Note a span of another trace that the answer comes of."""
        self._span.add_link(other)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Note a part of the request, which the context spans."""
        begun_ns = time.time_ns()
        try:
            yield
        finally:
            self._tracing.child(name, self._span, begun_ns, time.time_ns())

    def end(self, method: str, route: str, status: int) -> None:
        """End the span.

        Parameters
        ----------
        route : with the names of its parameters, not their values; empty for none
        """
        self._span.update_name(f"{method} {route}" if route else method)
        if route:
            self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        if status >= FAILED:
            self._tracing.fail(self._span)
        self._span.end(time.time_ns())


_under_way: ContextVar[RequestSpan | None] = ContextVar("headrace_request", default=None)


def request_under_way() -> RequestSpan | None:
    """Return the span of the request that this code answers; None where it is not traced."""
    return _under_way.get()


@contextmanager
def part_of_request(name: str) -> Iterator[None]:
    """Note a part of the request under way, where it is traced."""
    request = _under_way.get()
    if request is None:
        yield
    else:
        with request.part(name):
            yield


class RequestTraces:
    """Begins spans of requests. For one event loop."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    def begin(self, traceparent: bytes, method: str) -> RequestSpan | None:
        """Return the span of a request, a child of the caller's; None where it is not sampled.

        Parameters
        ----------
        traceparent : the caller's header, as W3C's Trace Context has it
        """
        if not traceparent:
            return None
        is_traced, parent = self._tracing.context(((HEADER, traceparent),))
        if not is_traced:
            return None
        told: Mapping[str, str | int] = {"http.request.method": method}
        return RequestSpan(self._tracing, self._tracing.begin(method, parent, time.time_ns(), told, is_server=True))

    @contextmanager
    def under_way(self, span: RequestSpan | None) -> Iterator[None]:
        """Make a span that of the request under way."""
        token = _under_way.set(span)
        try:
            yield
        finally:
            _under_way.reset(token)
