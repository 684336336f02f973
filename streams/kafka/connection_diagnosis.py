"""Finds out why a broker cannot be used: connects once more and returns one reason and one remedy.

Kafka's clients say "unable to bootstrap" for every fault, from a wrong password to a foreign
certificate.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from aiokafka.conn import OAuthAuthenticator
from aiokafka.errors import IllegalSaslStateError, KafkaError, SaslAuthenticationFailed, UnsupportedSaslMechanismError

from streams.kafka.bounded_connections import BoundedConnection, BrokerAnswerError
from streams.settings.tokens import TokenError, TokenProvider

CONNECT_TIMEOUT_S: Final = 3.0
#: In TLS 1.3 the handshake ends before the broker has checked the client's certificate; it refuses
#: the certificate within this time.
ALERT_TIMEOUT_S: Final = 1.0
#: A broker's reason is cut to this many characters.
MAX_REASON: Final = 200
#: A longer word may be a token and is hidden.
LONGEST_WORD: Final = 80
_OTHER_HOST: Final = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_EXPIRED: Final = 10
_NOT_YET_VALID: Final = 9
_HOW_TO_CONNECT: Final = (
    "security_protocol", "ssl_context", "sasl_mechanism", "sasl_plain_username", "sasl_plain_password", "sasl_oauth_token_provider",
)  # fmt: skip


async def why_not(addresses: Sequence[tuple[str, int]], client: Mapping[str, Any], error: BaseException) -> str:
    """Return why a broker gave no answer, a semicolon, and the remedy.

    Parameters
    ----------
    client : the client's arguments: ``security_protocol``, ``ssl_context``, ``sasl_mechanism`` and
        so on
    error : what the client raised
    """
    reachable = [address for address in addresses if await asyncio.to_thread(_connects, *address)]
    if not reachable:
        return "nothing listens there; run headrace broker start, or name another with --broker"
    protocol = str(client.get("security_protocol", "PLAINTEXT"))
    context = client.get("ssl_context")
    if context is None and await asyncio.to_thread(_speaks_tls, *reachable[0]):
        return f"it asks for TLS; set HEADRACE_SECURITY_PROTOCOL, which is {protocol}, to SSL or SASL_SSL"
    if context is not None:
        reason = await asyncio.to_thread(why_no_tls, *reachable[0], context)
        if reason:
            return reason
    return await _why_no_kafka(reachable[0], protocol, client, error)


def why_no_tls(host: str, port: int, context: ssl.SSLContext) -> str:
    """Return why a TLS connection fails, and the remedy; ``""`` when it works."""
    is_open = False
    try:
        with (
            socket.create_connection((host, port), CONNECT_TIMEOUT_S) as raw,
            context.wrap_socket(raw, server_hostname=host) as tls,
        ):
            is_open = True
            tls.settimeout(ALERT_TIMEOUT_S)
            if tls.recv(1):
                return ""
    except ssl.SSLCertVerificationError as exc:
        return _why_untrusted(host, exc)
    except TimeoutError:
        return "" if is_open else "it does not answer a TLS handshake; name the port of a listener with TLS"
    except ssl.SSLError as exc:
        if "CERTIFICATE" in (exc.reason or "") or "UNKNOWN_CA" in (exc.reason or ""):
            return _why_client_refused()
        return _no_tls_there(exc.reason)
    except OSError as exc:
        return _why_client_refused() if is_open else _no_tls_there(exc.strerror)
    return _why_client_refused()  # the broker closed the connection after the handshake


def _no_tls_there(reason: str | None) -> str:
    said = (reason or "the connection was closed").replace("_", " ").lower()
    return (
        f"it does not speak TLS ({said}); name the port of a listener with TLS, "
        "or set HEADRACE_SECURITY_PROTOCOL to PLAINTEXT or SASL_PLAINTEXT"
    )


def _why_untrusted(host: str, exc: ssl.SSLCertVerificationError) -> str:
    if exc.verify_code in _OTHER_HOST:
        return f"its certificate is not for the host name {host!r}; name the broker in HEADRACE_BROKER as its certificate does"
    if exc.verify_code in (_EXPIRED, _NOT_YET_VALID):
        return f"its certificate is not valid now ({exc.verify_message}); renew it, or correct this machine's clock"
    return (
        f"its certificate is not trusted ({exc.verify_message}); "
        "name the file with its authority's certificate in HEADRACE_SSL_CAFILE"
    )


def _why_client_refused() -> str:
    return (
        "it refuses this client's certificate, or asks for one and got none; "
        "name one that its authority has signed, and the key, in HEADRACE_SSL_CERTFILE and HEADRACE_SSL_KEYFILE"
    )


async def _why_no_kafka(
    address: tuple[str, int], protocol: str, client: Mapping[str, Any], error: BaseException
) -> str:
    """Connect once more: the client's bootstrap does not report its error."""
    arguments = {name: client[name] for name in client if name in _HOW_TO_CONNECT}
    connection = _Connection(*address, request_timeout_ms=int(CONNECT_TIMEOUT_S * 1000), **arguments)
    try:
        with quiet("aiokafka"), contextlib.closing(connection):
            await connection.connect()
    except BrokerAnswerError as exc:
        return str(exc)
    except TokenError as exc:
        return f"there is no token to send: {exc}"
    except SaslAuthenticationFailed as exc:
        return _why_refused(client, exc)
    except UnsupportedSaslMechanismError:
        return f"it does not offer HEADRACE_SASL_MECHANISM={client.get('sasl_mechanism')}; set one that it offers"
    except IllegalSaslStateError:
        return f"it does not ask for SASL; set HEADRACE_SECURITY_PROTOCOL, which is {protocol}, to {protocol.removeprefix('SASL_')}"
    except (KafkaError, OSError, TimeoutError) as exc:
        error = exc
    if protocol == "PLAINTEXT":
        return (
            f"it listens but gives no Kafka answer ({type(error).__name__}); name a Kafka broker with --broker, "
            "and set HEADRACE_SECURITY_PROTOCOL if it asks for SASL"
        )
    return (
        f"no answer over {protocol} ({type(error).__name__}); check HEADRACE_SSL_*, HEADRACE_SASL_* and "
        "HEADRACE_SECURITY_PROTOCOL: where the broker asks for SASL it is SASL_SSL or SASL_PLAINTEXT"
    )


class _Connection(BoundedConnection):
    """A connection that recognises a broker's refusal of a token."""

    def authenticator_oauth(self) -> OAuthAuthenticator:
        """Return the object that sends the token and reads the answer."""
        return _Authenticator(sasl_oauth_token_provider=self._sasl_oauth_token_provider)


class _Authenticator(OAuthAuthenticator):
    """Sends a token; on a refusal raises :class:`SaslAuthenticationFailed` with its reason.

    A broker refuses a token in an answer without an error code; its content is the reason (RFC
    7628, 3.2.2). The client must answer once more, so that the broker can end the exchange (3.2.3).
    aiokafka takes the refusal for a good login and sends its first request. The broker still waits
    for the end of the exchange and closes the connection. aiokafka then reports only a node that is
    not ready.
    """

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        """Return the next message to send; None at the end of a good login."""
        if payload:
            raise SaslAuthenticationFailed(payload.decode("utf-8", "replace"))
        return await super().step(payload)  # type: ignore[no-any-return]


def _why_refused(client: Mapping[str, Any], exc: SaslAuthenticationFailed) -> str:
    tokens: TokenProvider | None = client.get("sasl_oauth_token_provider")
    if tokens is not None:
        return (
            f"it refuses the token of {tokens.source} ({broker_reason(exc.args)}); compare the token's "
            "issuer, audience, scope and expiry with what the broker asks for, and correct HEADRACE_OAUTH_SCOPE, "
            "HEADRACE_OAUTH_EXTENSIONS or whoever issues it"
        )
    return (
        f"it refuses user {client.get('sasl_plain_username')!r} or the password, by {client.get('sasl_mechanism')}; correct "
        "HEADRACE_SASL_USERNAME, HEADRACE_SASL_PASSWORD_FILE (or HEADRACE_SASL_PASSWORD) or HEADRACE_SASL_MECHANISM"
    )


def broker_reason(said_by_broker: Sequence[object]) -> str:
    """Return the broker's reason for refusing a token: one line, possible tokens hidden.

    Parameters
    ----------
    said_by_broker : empty, or its first element is JSON with ``status`` (RFC 7628, 3.2.2) or text
    """
    said = str(said_by_broker[0] or "") if said_by_broker else ""
    with contextlib.suppress(ValueError, RecursionError):
        answer = json.loads(said)
        if isinstance(answer, dict):
            said = ", ".join(f"{name} {answer[name]}" for name in ("status", "scope") if answer.get(name))
    words = [word if len(word) <= LONGEST_WORD else "***" for word in said.split()]
    told = "".join(char for char in " ".join(words) if char.isprintable())[:MAX_REASON]
    return told or "it gives no reason"


def _connects(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False


def _speaks_tls(host: str, port: int) -> bool:
    """Return whether a TLS handshake succeeds, with any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), CONNECT_TIMEOUT_S) as raw, context.wrap_socket(raw):
            return True
    except ssl.SSLError as exc:
        return "certificate required" in str(exc).lower()
    except OSError:
        return False


#: The levels of hidden loggers before the attempts that run now, one for each attempt.
_hidden: Final[dict[str, list[int]]] = {}
_hiding: Final = threading.Lock()


@contextlib.contextmanager
def quiet(name: str) -> Iterator[None]:
    """Hide a logger's lines: the exception reports a failed attempt.

    Attempts overlap, so the last one to end gives the logger its level back.
    """
    logger = logging.getLogger(name)
    with _hiding:
        _hidden.setdefault(name, []).append(logger.level)
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        with _hiding:
            first, *others = _hidden[name]
            _hidden[name] = [first] * len(others)
            if not others:
                logger.setLevel(first)
