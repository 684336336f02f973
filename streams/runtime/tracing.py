"""Traces by OpenTelemetry, from an event over its window to its list; off unless a setting says so.

::

    producer ─ traceparent ─► events ─ sequence ─► sequences ─ recommend ─► recommendations
                              header    span        header       span        header

Each record that comes of a traced one has the header ``traceparent`` of W3C's Trace Context, so one
trace spans all hops. A record with the header is traced where the header says so; of the others a
share begins a trace of its own.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from streams.contract.kafka_records import Headers
from streams.errors import SettingsError
from streams.health.counters import own_version
from streams.settings.watching import WatchingSettings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

HEADER: Final = "traceparent"
#: Longest time that the end of a worker waits for spans that are not sent yet, in milliseconds.
FLUSH_MS: Final = 3_000


class Tracing:
    """Begins spans and carries their context in headers of records. Safe on any thread.

    Parameters
    ----------
    provider : sends the spans that have ended
    share : of records without a context, how many begin a trace
    """

    def __init__(self, provider: TracerProvider, share: float) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._share = share
        self._tracer = provider.get_tracer("headrace")
        self._propagator = TraceContextTextMapPropagator()

    def context(self, headers: Headers) -> tuple[bool, Context | None]:
        """Return whether a record is traced, and the context that its header carries."""
        given = next((value for name, value in headers if name == HEADER and value), None) if headers else None
        if given is None:
            return random.random() < self._share, None
        from opentelemetry.trace import get_current_span

        context = self._propagator.extract({HEADER: given.decode("latin-1")})
        carried = get_current_span(context).get_span_context()
        return (carried.trace_flags.sampled, context) if carried.is_valid else (False, None)

    def begin(
        self,
        name: str,
        parent: Context | None,
        begun_ns: int,
        attributes: Mapping[str, str | int],
        *,
        is_server: bool = False,
    ) -> Span:
        """Begin a span at a time of the past, in nanoseconds since the epoch.

        Parameters
        ----------
        is_server : whether it answers a caller that waits
        """
        from opentelemetry.trace import SpanKind

        kind = SpanKind.SERVER if is_server else SpanKind.INTERNAL
        return self._tracer.start_span(
            name, context=parent, kind=kind, start_time=begun_ns, attributes=dict(attributes)
        )

    def fail(self, span: Span) -> None:
        """Note that what a span is about has failed."""
        from opentelemetry.trace import StatusCode

        span.set_status(StatusCode.ERROR)

    def child(self, name: str, parent: Span, begun_ns: int, ended_ns: int) -> None:
        """Note a part of a span that has ended."""
        from opentelemetry.trace import set_span_in_context

        self.begin(name, set_span_in_context(parent), begun_ns, {}).end(ended_ns)

    def headers(self, span: Span) -> Headers:
        """Return the header for what came of a span's record."""
        from opentelemetry.trace import set_span_in_context

        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, set_span_in_context(span))
        return ((HEADER, carrier[HEADER].encode()),)

    def close(self) -> None:
        """Send what has ended, and stop; blocks for at most :data:`FLUSH_MS`."""
        self._provider.force_flush(FLUSH_MS)
        self._provider.shutdown()


def of_record(topic: str, partition: int, offset: int | None = None) -> dict[str, str | int]:
    """Return the attributes of a span about a record, in OpenTelemetry's words for messaging."""
    found: dict[str, str | int] = {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": str(partition),
    }
    return found if offset is None else found | {"messaging.kafka.offset": offset}


def open_tracing(settings: WatchingSettings, service: str, instance: str) -> Tracing | None:
    """Return what sends traces to the collector of the settings; None where none is named.

    Parameters
    ----------
    service, instance : how the spans name the app and this worker

    Raises
    ------
    SettingsError
        When the packages of the extra ``traces`` are not installed.
    """
    if not settings.traces_endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as exc:
        raise SettingsError(
            f"traces_endpoint={settings.traces_endpoint!r} needs the packages of OpenTelemetry: install headrace[traces], "
            "or leave HEADRACE_TRACES_ENDPOINT empty"
        ) from exc
    named: dict[str, Any] = {"service.name": service, "service.instance.id": instance, "service.version": own_version()}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.traces_endpoint)))
    return Tracing(provider, settings.traces_share)
