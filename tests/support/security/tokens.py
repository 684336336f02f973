"""Tokens for tests, and an endpoint that issues them.

The tokens are unsigned; Kafka's built-in validator accepts them.
"""

from __future__ import annotations

import json
import threading
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote_plus

SECRET = "marker-5ecret+of a/client"  # noqa: S105 - searched for in all output


def unsecured_token(sub: str, lifetime_s: float = 3600.0) -> str:
    """Return a JWT without a signature."""
    now = time.time()
    claims = {"sub": sub, "iat": now - 1.0, "exp": now + lifetime_s}
    parts = [urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({"alg": "none"}, claims)]
    return ".".join([*parts, ""])


@dataclass
class Endpoint:
    """The answer of an endpoint, and the form, client id and secret of each request that it got."""

    url: str
    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    lifetime_s: float = 3600.0
    delay_s: float = 0.0
    asked: list[tuple[str, str, str]] = field(default_factory=list)


@contextmanager
def token_endpoint() -> Iterator[Endpoint]:
    """Serve client credentials on loopback; the token's ``sub`` is the client's id."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802 - the server's name
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            login = b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
            client_id, secret = (unquote_plus(part) for part in login.split(":"))
            endpoint.asked.append((form, client_id, secret))
            time.sleep(endpoint.delay_s)
            token = unsecured_token(client_id, endpoint.lifetime_s)
            answer = {"access_token": token, "token_type": "Bearer", "expires_in": endpoint.lifetime_s}
            body = json.dumps(answer).encode() if endpoint.body is None else endpoint.body
            self.send_response(endpoint.status)
            for name, value in (endpoint.headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        endpoint = Endpoint(f"http://127.0.0.1:{server.server_port}/token?tenant=marker-of-a-query")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield endpoint
        finally:
            server.shutdown()
            thread.join(10.0)
