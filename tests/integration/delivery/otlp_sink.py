"""A collector of traces for tests: it takes OTLP over HTTP and keeps the spans."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Sink:
    """The spans that have come, each with the name of its service."""

    def __init__(self) -> None:
        self.endpoint = ""
        self._spans: list[tuple[str, Any]] = []

    def take(self, body: bytes) -> None:
        """Keep the spans of a request."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self._spans += [(named["service.name"], span) for span in scope.spans]

    def trace(self, trace_id: str) -> dict[str, tuple[str, str, str]]:
        """Return the spans of a trace by name: service, id, and the parent's id."""
        return {
            span.name: (service, span.span_id.hex(), span.parent_span_id.hex())
            for service, span in list(self._spans)
            if span.trace_id.hex() == trace_id
        }


@contextmanager
def otlp_sink() -> Iterator[Sink]:
    """Run a collector on a free port of this machine."""
    sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sink.take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        sink.endpoint = f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield sink
        finally:
            server.shutdown()
            thread.join()
