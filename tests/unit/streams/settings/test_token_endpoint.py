"""An endpoint gives tokens for client credentials; its faults are one line without secrets."""

from __future__ import annotations

import pytest

from streams.settings import tokens
from streams.settings.token_endpoint import TokenEndpoint
from streams.settings.tokens import TokenError
from tests.support.security.tokens import SECRET, Endpoint


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (401, b'{"error": "invalid_client", "error_description": "MARKER"}', "HTTP status 401 (invalid_client);"),
        (400, b'{"error": "MARKER"}', "HTTP status 400;"),
        (503, b"<html>MARKER", "HTTP status 503;"),
        (302, b"", "HTTP status 302;"),
        (200, b"<html>MARKER", "no JSON with access_token"),
        (200, b'["MARKER"]', "no JSON with access_token"),
        (200, b"[" * 60_000, "no JSON with access_token"),
        (200, b'{"access_token": "MARKER", "more": "' + b"x" * (1 << 16) + b'"}', "no JSON with access_token"),
        (200, b'{"access_token": "MARKER\\u0001auth=x"}', "one word of visible ASCII"),
        (200, b'{"access_token": ["MARKER"]}', "one word of visible ASCII"),
    ],
)
def test_what_an_endpoint_refuses_is_one_line_without_secrets(
    endpoint: Endpoint, secret: str, status: int, body: bytes, told: str
) -> None:
    """The line has setting, URL without query, and status; never the words of the other side."""
    endpoint.status, endpoint.body = status, body
    if status == 302:
        endpoint.headers = {"Location": "http://127.0.0.1:9/MARKER"}
    with pytest.raises(TokenError) as caught:
        TokenEndpoint(endpoint.url, "c", secret).fetch()
    message = str(caught.value)
    assert told in message and "oauth_token_url='http://127.0.0.1:" in message and "\n" not in message
    assert not any(hidden in message for hidden in ("MARKER", SECRET, "marker-of-a-query"))
    assert isinstance(caught.value, OSError), "aiokafka tries again, as after a lost broker"


def test_an_endpoint_that_is_away_is_one_line(endpoint: Endpoint, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens, or the answer does not come in time."""
    with pytest.raises(TokenError, match="no answer .Connection refused.;"):
        TokenEndpoint("http://127.0.0.1:9/t", "c", secret).fetch()
    monkeypatch.setattr(tokens, "FETCH_TIMEOUT_S", 0.1)
    endpoint.delay_s = 0.5
    with pytest.raises(TokenError, match="no answer .TimeoutError.;"):
        TokenEndpoint(endpoint.url, "c", secret).fetch()
