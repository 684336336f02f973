"""A schema registry on loopback, and records in the wire format of Confluent's serializers."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import fastavro

from streams.formats.avro_records import HEADER, MAGIC


@dataclass
class FakeRegistry:
    """What the registry answers: path to an object, or to a status; and what it was asked."""

    url: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    failing: int = 0  # so many requests are answered with 503

    def register(self, schema_id: int, schema: Any, **more: Any) -> None:
        """Add a schema."""
        self.answers[f"/schemas/ids/{schema_id}"] = {"schema": json.dumps(schema), **more}

    @property
    def paths(self) -> list[str]:
        """Return the paths that were asked for."""
        return [path for path, _ in self.asked]


@contextmanager
def fake_registry() -> Iterator[FakeRegistry]:
    """Serve a registry until the block ends."""
    registry = FakeRegistry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 - http.server calls it so
            registry.asked.append((self.path, self.headers.get("Authorization")))
            answer = registry.answers.get(self.path, 404)
            if registry.failing:
                registry.failing -= 1
                answer = 503
            status = answer if isinstance(answer, int) else 200
            body = json.dumps({"error_code": status} if isinstance(answer, int) else answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        registry.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()


def wire(schema_id: int, schema: Any, value: Any) -> bytes:
    """Return a value in the wire format."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return HEADER.pack(MAGIC, schema_id) + out.getvalue()
