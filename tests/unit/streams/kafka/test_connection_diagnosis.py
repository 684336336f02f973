"""Messages about a broker that lets nobody in.

A refused token has the broker's reason; a lost connection is called lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.errors import NodeNotReadyError
from aiokafka.protocol.admin import ApiVersionResponse_v0, SaslAuthenticateResponse_v0, SaslHandShakeResponse_v1

from streams.kafka.connection_diagnosis import MAX_REASON, broker_reason, quiet, why_not
from streams.settings.tokens import Token, TokenProvider

CHALLENGE = b'{"status":"invalid_token","scope":"kafka","openid-configuration":"https://issuer.example"}'
APIS = [(3, 0, 1), (17, 0, 1), (18, 0, 0), (36, 0, 0)]


def answers(challenge: bytes | None) -> list[bytes]:
    """Return a broker's answers up to a login; with None it closes where the token comes."""
    opened = [
        ApiVersionResponse_v0(error_code=0, api_versions=APIS).encode(),
        SaslHandShakeResponse_v1(error_code=0, enabled_mechanisms=["OAUTHBEARER"]).encode(),
    ]
    if challenge is None:
        return opened
    return [
        *opened,
        SaslAuthenticateResponse_v0(error_code=0, error_message=None, sasl_auth_bytes=challenge).encode(),
    ]


def told_by(given: Sequence[bytes]) -> str:
    """Return what is said of a broker that gives these answers to each connection and closes it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for answer in given:
                request = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
                writer.write((len(answer) + 4).to_bytes(4, "big") + request[4:8] + answer)
            await reader.readexactly(4)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    async def ask() -> str:
        client: dict[str, Any] = {
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "OAUTHBEARER",
            "sasl_oauth_token_provider": TokenProvider("oauth_token_url='u'", lambda: Token("eyMARKER", 900.0)),
        }
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            return await why_not([server.sockets[0].getsockname()], client, NodeNotReadyError())

    return asyncio.run(ask())


@pytest.mark.model
def test_a_refused_token_is_named_with_the_brokers_reason() -> None:
    """Kafka gives it in an answer without an error code, which aiokafka takes for a good login."""
    told = told_by(answers(CHALLENGE))
    assert told.startswith("it refuses the token of oauth_token_url='u' (status invalid_token, scope kafka); compare")
    assert "\n" not in told and "eyMARKER" not in told


@pytest.mark.model
@pytest.mark.parametrize("given", [[], answers(None), answers(b"")], ids=["at once", "at the token", "after the login"])
def test_a_lost_connection_is_not_blamed_on_the_token(given: list[bytes]) -> None:
    """A broker that goes away says nothing of the token, wherever it does."""
    told = told_by(given)
    assert "refuses the token" not in told
    assert told.startswith("no answer over SASL_PLAINTEXT (")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ((), "it gives no reason"),
        ((None,), "it gives no reason"),
        (("{}",), "it gives no reason"),
        (('{"status":"invalid_token"}',), "status invalid_token"),
        (("Authentication failed:\ninvalid credentials\x1b[0m",), "Authentication failed: invalid credentials[0m"),
        (("token " + "e" * 300 + " has ended",), "token *** has ended"),
        (("a b " * 200,), ("a b " * 200)[:MAX_REASON]),
        (("[" * 10_000,), "***"),
    ],
)
def test_a_reason_is_one_line_without_a_token(said: tuple[object, ...], told: str) -> None:
    """What a broker says is not trusted to be short, printable or free of the token."""
    assert broker_reason(said) == told


def test_a_logger_is_heard_again_after_attempts_that_overlap() -> None:
    """The first attempt ends while the second one runs."""
    logger = logging.getLogger("headrace.tests.overlapping")
    logger.setLevel(logging.INFO)
    first, second = contextlib.ExitStack(), contextlib.ExitStack()
    first.enter_context(quiet(logger.name))
    second.enter_context(quiet(logger.name))
    first.close()
    assert logger.level == logging.CRITICAL
    second.close()
    assert logger.level == logging.INFO
