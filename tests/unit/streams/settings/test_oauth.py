"""The ``oauth_`` settings name where tokens come from; no fault shows a secret or a token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
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
from streams.settings import oauth
from streams.settings.load import KafkaSettings, load_settings
from streams.settings.tokens import Token, TokenError
from tests.support.security.tokens import SECRET, Endpoint, unsecured_token

URL = "https://issuer.example/token"


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
    """Return the token that the settings' clients send."""
    return str(asyncio.run(kafka.client_arguments()["sasl_oauth_token_provider"].token()))


def test_all_clients_share_one_provider(secret: str) -> None:
    """Faust's and aiokafka's clients get no user and no password; the settings show no secret."""
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
    """One line names the setting."""
    with pytest.raises(SettingsError, match=told) as caught:
        by_tokens(**more).client_arguments()
    message = str(caught.value)
    assert "oauth_" in message and "\n" not in message and "MARK" not in message


def test_extensions_stand_beside_the_token(own: Callable[[Any], KafkaSettings]) -> None:
    """RFC 7628 puts extensions into the first message.

    A comma without a name after it belongs to the value.
    """
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
    """The ``oauth_`` settings have no effect on other mechanisms."""
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
    """The client-credentials grant encodes id and secret as RFC 6749 says."""
    kafka = by_tokens(
        oauth_token_url=endpoint.url, oauth_client_id="a b:c", oauth_client_secret_file=secret, oauth_scope="kafka x"
    )
    assert {token_of(kafka) for _ in range(3)} == {token_of(kafka)}
    assert endpoint.asked == [("grant_type=client_credentials&scope=kafka+x", "a b:c", SECRET)]


def test_a_callable_gives_a_token_with_and_without_its_end(own: Callable[[Any], KafkaSettings]) -> None:
    """A callable that gives no expiry is called for each connection, and may keep its token."""
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
    """The line has the setting and not the token."""

    def call() -> Any:
        if isinstance(given, Exception):
            raise given
        return given

    with pytest.raises(TokenError, match=told) as caught:
        token_of(own(call))
    assert "oauth_token_provider='own_tokens:get'" in str(caught.value) and "MARKER" not in str(caught.value)
