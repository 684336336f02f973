"""Tokens for OAUTHBEARER: where they come from, how long they are kept, and that no fault shows a secret or a token."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import faust
import pytest
from aiokafka.conn import OAuthAuthenticator
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from streams.errors import SettingsError
from streams.runtime.app import credentials
from streams.settings import oauth, tokens
from streams.settings.load import KafkaSettings, load_settings
from streams.settings.token_endpoint import TokenEndpoint
from streams.settings.tokens import Token, TokenError, TokenProvider
from tests.tokens import SECRET, Endpoint, token_endpoint, unsecured_token

URL = "https://issuer.example/token"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Give an endpoint for client credentials."""
    with token_endpoint() as served:
        yield served


@pytest.fixture
def secret(tmp_path: Path) -> str:
    """Give a file with the client's secret."""
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    file.write_text(SECRET + "\n")
    return str(file)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], KafkaSettings]:
    """Give a function that puts a callable where the settings name one."""

    def settings(call: Any) -> KafkaSettings:
        module = ModuleType("own_tokens")
        module.get = call  # type: ignore[attr-defined]
        monkeypatch.setitem(__import__("sys").modules, "own_tokens", module)
        oauth.token_provider.cache_clear()
        return by_tokens(oauth_token_provider="own_tokens:get")

    return settings


def by_tokens(**more: Any) -> KafkaSettings:
    """Return settings with OAUTHBEARER."""
    return KafkaSettings(security_protocol="SASL_PLAINTEXT", sasl_plaintext="on", sasl_mechanism="OAUTHBEARER", **more)


def token_of(kafka: KafkaSettings) -> str:
    """Return what the settings' clients would send."""
    return str(asyncio.run(kafka.client_arguments()["sasl_oauth_token_provider"].token()))


def test_all_clients_share_one_provider(secret: str) -> None:
    """Faust's and aiokafka's; neither gets a user or a password, and the settings show no secret."""
    settings = load_settings(
        {
            "HEADRACE_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "HEADRACE_SASL_PLAINTEXT": "on",
            "HEADRACE_SASL_MECHANISM": "OAUTHBEARER",
            "HEADRACE_OAUTH_TOKEN_URL": URL,
            "HEADRACE_OAUTH_CLIENT_ID": "c",
            "HEADRACE_OAUTH_CLIENT_SECRET_FILE": secret,
        },
        file=Path("no-such-file.toml"),
    )
    arguments = settings.kafka.client_arguments()
    assert set(arguments) == {"bootstrap_servers", "security_protocol", "sasl_mechanism", "sasl_oauth_token_provider"}
    made = credentials(settings.kafka)
    assert isinstance(made, faust.OAuthCredentials)
    passed_on = credentials_to_aiokafka_auth(made)
    assert passed_on["sasl_oauth_token_provider"] is arguments["sasl_oauth_token_provider"]
    assert (passed_on["security_protocol"], passed_on["sasl_mechanism"]) == ("SASL_PLAINTEXT", "OAUTHBEARER")
    assert SECRET not in repr(settings) + str(settings.shown()) + repr(Token(SECRET, 1.0))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, "both empty"),
        ({"oauth_token_provider": "m:f", "oauth_token_url": URL}, "both set"),
        ({"oauth_token_url": URL, "oauth_client_secret_file": "f"}, "needs oauth_client_id"),
        ({"oauth_token_url": URL, "oauth_client_id": "c"}, "needs oauth_client_secret_file"),
        ({"oauth_token_url": URL, "oauth_client_id": "c", "oauth_client_secret_file": "/none"}, "cannot be read"),
        ({"oauth_token_url": "http://issuer.example/t?k=MARKER"}, "must be https"),
        ({"oauth_token_url": "https://u:MARKER@issuer.example/t"}, "without a password"),
        ({"oauth_token_url": "https://u:MARK@MARKER@[::1/t"}, "must be https"),
        ({"oauth_token_url": "ftp://localhost/t"}, "must be https"),
        ({"oauth_token_url": "issuer.example/t"}, "must be https"),
        ({"oauth_token_provider": "json"}, "module:callable"),
        ({"oauth_token_provider": "no_such_module:f"}, "cannot be imported .ModuleNotFoundError"),
        ({"oauth_token_provider": "json:no_such"}, "cannot be imported .AttributeError"),
        ({"oauth_token_provider": "math:pi"}, "a callable that is not async"),
        ({"oauth_token_provider": "asyncio:open_connection"}, "a callable that is not async"),
        ({"oauth_token_provider": "time:time", "oauth_extensions": "auth=Bearer"}, "oauth_extensions='auth=Bearer'"),
        ({"oauth_token_provider": "time:time", "oauth_extensions": "a=1,a=2"}, "each name once"),
        ({"oauth_token_provider": "time:time", "oauth_extensions": "a-b=1"}, "of letters"),
        ({"oauth_token_provider": "time:time", "oauth_extensions": "a=1\x01b=2"}, "visible ASCII"),
        ({"oauth_token_provider": "time:time", "oauth_extensions": "pool"}, "name=value"),
        ({"oauth_token_provider": "time:time", "oauth_extensions": "a="}, "name=value"),
    ],
)
def test_bad_settings_are_refused_before_any_connection(more: dict[str, str], told: str) -> None:
    """In one line with the setting's name."""
    with pytest.raises(SettingsError, match=told) as caught:
        by_tokens(**more).client_arguments()
    message = str(caught.value)
    assert "oauth_" in message and "\n" not in message and "MARK" not in message


def test_extensions_stand_beside_the_token(own: Callable[[Any], KafkaSettings]) -> None:
    """As RFC 7628 writes them into the first message; a comma without a name behind it is part of the value."""
    kafka = own(lambda: "t")
    more = replace(kafka, oauth_extensions="logicalCluster=lkc-1, identityPoolId=pool-1,pool-2")
    sent = [
        asyncio.run(OAuthAuthenticator(sasl_oauth_token_provider=settings.tokens()).step(None))[0]
        for settings in (kafka, more)
    ]
    assert sent == [
        b"n,,\x01auth=Bearer t\x01\x01",
        b"n,,\x01auth=Bearer t\x01logicalCluster=lkc-1\x01identityPoolId=pool-1,pool-2\x01\x01",
    ]


def test_other_mechanisms_ask_for_no_token() -> None:
    """The oauth settings do nothing there."""
    kafka = KafkaSettings(
        security_protocol="SASL_PLAINTEXT",
        sasl_plaintext="on",
        sasl_username="u",
        sasl_password="p",
        oauth_token_url="x",
    )
    assert "sasl_oauth_token_provider" not in kafka.client_arguments()
    assert KafkaSettings(sasl_mechanism="OAUTHBEARER").tokens() is None


def test_an_endpoint_is_asked_once_for_a_token(endpoint: Endpoint, secret: str) -> None:
    """By the client-credentials grant; id and secret are coded as RFC 6749 says."""
    kafka = by_tokens(
        oauth_token_url=endpoint.url, oauth_client_id="a b:c", oauth_client_secret_file=secret, oauth_scope="kafka x"
    )
    assert {token_of(kafka) for _ in range(3)} == {token_of(kafka)}
    assert endpoint.asked == [("grant_type=client_credentials&scope=kafka+x", "a b:c", SECRET)]


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
    """Setting, URL without its query, status; never what the other side wrote."""
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
    """Nothing listens, or no answer in time."""
    with pytest.raises(TokenError, match="no answer .Connection refused.;"):
        TokenEndpoint("http://127.0.0.1:9/t", "c", secret).fetch()
    monkeypatch.setattr(tokens, "FETCH_TIMEOUT_S", 0.1)
    endpoint.delay_s = 0.5
    with pytest.raises(TokenError, match="no answer .TimeoutError.;"):
        TokenEndpoint(endpoint.url, "c", secret).fetch()


def test_a_callable_gives_a_token_with_and_without_its_end(own: Callable[[Any], KafkaSettings]) -> None:
    """Without one it is called for each connection: it may keep its token itself."""
    calls: list[int] = []

    def bare() -> str:
        calls.append(1)
        return unsecured_token("u")

    def timed() -> tuple[str, float]:
        return bare(), time.time() + 900.0

    kafka = own(bare)
    assert token_of(kafka).startswith("eyJ") and token_of(kafka) and len(calls) == 2
    kafka = own(timed)
    assert token_of(kafka) == token_of(kafka) and len(calls) == 3


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, "gave no token but NoneType"),
        ("", "gave no token"),
        ("MARKER MARKER", "one word of visible ASCII"),
        (("MARKER", 3600), "neither milliseconds nor a lifetime"),
        (("MARKER", time.time() * 1000 + 9e6), "neither milliseconds nor a lifetime"),
        (("MARKER", float("nan")), "not a time to come"),
        (("MARKER", "MARKER"), "its expiry str"),
        (("MARKER", 1, 2), "gave no token but tuple"),
        (ValueError("MARKER"), "it raised ValueError"),
    ],
)
def test_what_a_callable_gives_wrong_is_one_line(own: Callable[[Any], KafkaSettings], given: Any, told: str) -> None:
    """With the setting, without the token."""

    def call() -> Any:
        if isinstance(given, Exception):
            raise given
        return given

    with pytest.raises(TokenError, match=told) as caught:
        token_of(own(call))
    assert "oauth_token_provider='own_tokens:get'" in str(caught.value) and "MARKER" not in str(caught.value)


def test_a_token_is_renewed_before_its_end_and_serves_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that is away for a while costs nothing while the token at hand is good."""
    now = [0.0]
    monkeypatch.setattr("streams.settings.tokens.time.monotonic", lambda: now[0])
    given: list[Token | TokenError] = [Token("a", 1000.0), TokenError("away"), Token("b", 100.0), TokenError("away")]

    def fetch() -> Token:
        found = given.pop(0)
        if isinstance(found, TokenError):
            raise found
        return found

    provider = TokenProvider("s", fetch)
    seen = []
    for moment in (0.0, 939.0, 941.0, 950.0, 1029.0):
        now[0] = moment
        seen.append(provider.current())
    assert seen == ["a", "a", "a", "b", "b"]
    now[0] = 1051.0
    with pytest.raises(TokenError, match="away"):
        provider.current()


def test_threads_with_loops_of_their_own_share_one_fetch() -> None:
    """Faust's consumer runs beside the main loop; neither loop stands still meanwhile."""
    calls: list[int] = []
    ticks: list[int] = []

    def fetch() -> Token:
        calls.append(1)
        time.sleep(0.3)
        return Token("t", 900.0)

    provider = TokenProvider("s", fetch)

    async def ask() -> str:
        asked = asyncio.create_task(provider.token())
        while not asked.done():
            ticks.append(1)
            await asyncio.sleep(0.01)
        return await asked

    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(asyncio.run(ask()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)
    assert (found, len(calls)) == (["t"] * 4, 1)
    assert len(ticks) > 20


def test_a_source_that_hangs_costs_a_bounded_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client gets an error that it takes for a broker that is away."""
    monkeypatch.setattr(tokens, "FETCH_TIMEOUT_S", 0.1)
    free = threading.Event()

    def fetch() -> Token:
        free.wait(10.0)
        return Token("t", 900.0)

    async def ask() -> None:
        try:
            await TokenProvider("s", fetch).token()
        finally:
            free.set()

    with pytest.raises(TokenError, match="s: no token within 0.1 s"):
        asyncio.run(ask())
