"""Tokens for SASL OAUTHBEARER: from a callable that the operator names, or from a client-credentials endpoint.

Every client of a process shares one provider, whatever event loop and thread it runs on: Faust's consumer has its own of both. No message
holds a secret, a token or the query of a URL.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import importlib
import inspect
import ipaddress
import json
import logging
import math
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

from aiokafka.abc import AbstractTokenProvider

from streams.errors import BrokerError, SettingsError
from streams.settings.check import PREFIX, check_setting
from streams.settings.secrets import read_secret

log = logging.getLogger(__name__)

FETCH_TIMEOUT_S: Final = 10.0
#: A token is renewed this long before it ends, or in the last fifth of its life where that is shorter.
RENEW_BEFORE_S: Final = 60.0
MAX_ANSWER_BYTES: Final = 1 << 16
#: What an endpoint may say is wrong (RFC 6749, 5.2); its other words are not repeated, for they may quote the request.
_ENDPOINT_ERRORS: Final = frozenset(
    {
        "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
    }
)  # fmt: skip
#: What may stand beside a token (RFC 7628, 3.1, as Kafka checks it): the name, of letters, and its value.
_EXTENSION: Final = re.compile(r"(?!auth=)([A-Za-z]+)=([!-~]+)")
#: An expiry above it is in milliseconds: as seconds it would be in the year 5138.
_MAX_EPOCH_S: Final = 1e11


class TokenError(BrokerError, OSError):
    """No token could be had. Kafka's clients take it, being an :class:`OSError`, for a broker that is away, and try again."""


@dataclass(frozen=True)
class Token:
    """A token and how long it is good for, in seconds from now; 0 where that is not known."""

    value: str
    lifetime_s: float = 0.0

    def __repr__(self) -> str:
        return f"Token(***, {self.lifetime_s})"


class TokenProvider(AbstractTokenProvider):
    """Keeps a token until shortly before it ends; safe to use from several event loops and threads.

    Parameters
    ----------
    source : what gives tokens, for error texts: setting and value
    fetch : returns a new token; may block, for it runs in a thread of its own; raises :class:`TokenError`
    extensions : sent with each token, value by name
    """

    def __init__(self, source: str, fetch: Callable[[], Token], extensions: Mapping[str, str] | None = None) -> None:
        self.source = source
        self._fetch = fetch
        self._extensions = dict(extensions or {})
        self._lock = threading.Lock()
        self._token = Token("")
        self._fetched = -math.inf

    def extensions(self) -> dict[str, str]:
        """Return what aiokafka sends beside the token, value by name."""
        return self._extensions

    async def token(self) -> str:
        """Return a token that is good now; the event loop is never blocked."""
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                return await asyncio.to_thread(self._current)
        except TimeoutError:
            raise self._late() from None

    def _current(self) -> str:
        if not self._lock.acquire(timeout=FETCH_TIMEOUT_S):
            raise self._late()
        try:
            age_s = time.monotonic() - self._fetched
            life_s = self._token.lifetime_s
            if age_s >= life_s - min(RENEW_BEFORE_S, life_s / 5):
                self._renew(is_good=age_s < life_s)
            return self._token.value
        finally:
            self._lock.release()

    def _renew(self, *, is_good: bool) -> None:
        """Fetch a token; where that fails, the one at hand serves to its end."""
        began = time.monotonic()
        try:
            self._token = self._fetch()
        except TokenError as exc:
            if not is_good:
                raise
            log.warning("the token at hand serves until its end: %s", exc)
        else:
            self._fetched = began

    def _late(self) -> TokenError:
        return TokenError(f"{self.source}: no token within {FETCH_TIMEOUT_S:g} s; see whether it answers at all")


@cache
def token_provider(
    provider: str, url: str, client_id: str, secret_file: str, scope: str, extensions: str = ""
) -> TokenProvider:
    """Return the provider of the ``oauth_`` settings: the same one for the same settings.

    Raises
    ------
    SettingsError
        When not exactly one of provider and endpoint is set, or what is set cannot be used.
    """
    if bool(provider) == bool(url):
        fault = "both set: leave one of them out" if url else f"both empty: set {PREFIX}OAUTH_TOKEN_PROVIDER or _URL"
        raise SettingsError(
            f"sasl_mechanism='OAUTHBEARER' needs one of oauth_token_provider and oauth_token_url; they are {fault}"
        )
    beside = parse_extensions(extensions)
    if provider:
        source = f"oauth_token_provider={provider!r}"
        call = _imported(provider)
        return TokenProvider(source, lambda: _called(source, call), beside)
    _check_url(url)
    for name, value in (("oauth_client_id", client_id), ("oauth_client_secret_file", secret_file)):
        if not value:
            raise SettingsError(f"oauth_token_url={_shown(url)!r} needs {name}; set {PREFIX}{name.upper()}")
    read_secret(secret_file, "oauth_client_secret_file")  # a fault shows now, not at the first connection
    return TokenProvider(
        f"oauth_token_url={_shown(url)!r}", lambda: fetch_from_endpoint(url, client_id, secret_file, scope), beside
    )


def parse_extensions(text: str) -> dict[str, str]:
    """Return ``oauth_extensions`` by name: ``name=value`` with commas between; a comma without a name behind it belongs to the value.

    Raises
    ------
    SettingsError
        When a name is not of letters, is ``auth`` or comes twice, or a value is not visible ASCII.
    """
    found = [_EXTENSION.fullmatch(part.strip()) for part in re.split(r",(?=\s*[^,=]*=)", text) if text.strip()]
    names = [match[1] for match in found if match]
    check_setting(
        all(found) and len(set(names)) == len(names),
        "oauth_extensions",
        text,
        "name=value with commas between, each name once, of letters and not auth, values of visible ASCII",
    )
    return {match[1]: match[2] for match in found if match}


def _imported(path: str) -> Callable[[], Any]:
    module, _, name = path.partition(":")
    check_setting(bool(module and name), "oauth_token_provider", path, "module:callable")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as exc:  # noqa: BLE001 - the operator's module may raise anything
        raise SettingsError(
            f"oauth_token_provider={path!r} cannot be imported ({type(exc).__name__}); put its folder into PYTHONPATH"
        ) from None
    is_plain = callable(found) and not inspect.iscoroutinefunction(found)
    check_setting(is_plain, "oauth_token_provider", path, "a callable that is not async")
    return found  # type: ignore[no-any-return]


def _called(source: str, call: Callable[[], Any]) -> Token:
    """Return what the operator's callable gives: a token, or a token and when it ends."""
    try:
        given = call()
    except Exception as exc:  # noqa: BLE001 - the operator's code may raise anything
        raise TokenError(f"{source}: it raised {type(exc).__name__}; call it by itself to see why") from None
    value, ends = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    _check_token(source, value)
    if ends is None:
        return Token(value)
    left_s = ends - time.time() if isinstance(ends, int | float) and ends < _MAX_EPOCH_S else math.nan
    if not left_s > 0:
        raise TokenError(
            f"{source}: its expiry {ends if isinstance(ends, int | float) else type(ends).__name__} is not a time to come; "
            "return seconds since 1970, neither milliseconds nor a lifetime"
        )
    return Token(value, left_s)


def _check_token(source: str, value: object) -> None:
    """Refuse what would break the request's frame or is no token at all (RFC 6750: visible ASCII)."""
    if not isinstance(value, str) or not value or not all("!" <= char <= "~" for char in value):
        raise TokenError(f"{source}: it gave no token but {type(value).__name__}; a token is one word of visible ASCII")


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    is_usable = bool(host) and "@" not in parts.netloc
    is_safe = is_usable and (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host)))
    if not is_safe:
        raise SettingsError(
            f"oauth_token_url={_shown(url)!r} must be https://host/path without a password, http on this machine alone; "
            f"set {PREFIX}OAUTH_TOKEN_URL"
        )


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _shown(url: str) -> str:
    """Return a URL without query, fragment and password."""
    head, _, tail = url.partition("#")[0].partition("?")[0].rpartition("@")
    return f"{head.partition('://')[0]}://***@{tail}" if head else tail


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the secret elsewhere, or lose the form: it is an error."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow none."""


def fetch_from_endpoint(url: str, client_id: str, secret_file: str, scope: str) -> Token:
    """Return a token by the client-credentials grant (RFC 6749, 4.4); the secret's file is read each time, so it may be replaced.

    Raises
    ------
    TokenError
        In one line: setting, URL without its query, status.
    """
    source = f"oauth_token_url={_shown(url)!r}"
    try:
        secret = read_secret(secret_file, "oauth_client_secret_file")
    except SettingsError as exc:
        raise TokenError(str(exc)) from None
    login = base64.b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()).decode()
    form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
    request = urllib.request.Request(  # noqa: S310 - token_provider lets http and https pass alone
        url, urlencode(form).encode(), {"Authorization": f"Basic {login}", "Accept": "application/json"}
    )
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if url.lower().startswith("http:"):
        handlers.append(urllib.request.ProxyHandler({}))  # a proxy would read what stays on this machine
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=FETCH_TIMEOUT_S) as answer:
            return _answered(source, answer.read(MAX_ANSWER_BYTES + 1))
    except urllib.error.HTTPError as exc:
        with exc:
            said = _endpoint_error(exc)
        raise TokenError(
            f"{source}: HTTP status {exc.code}{said}; see oauth_client_id, its secret and oauth_scope"
        ) from None
    except TokenError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as exc:
        cause = getattr(exc, "reason", exc)
        told = getattr(cause, "verify_message", "") or getattr(cause, "strerror", None) or type(cause).__name__
        raise TokenError(f"{source}: no answer ({told}); see whether this machine reaches it") from None


def _answered(source: str, body: bytes) -> Token:
    try:
        answer = json.loads(body) if len(body) <= MAX_ANSWER_BYTES else None
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or "access_token" not in answer:
        raise TokenError(f"{source}: HTTP status 200, but no JSON with access_token; name the token endpoint")
    value, lifetime_s = answer["access_token"], answer.get("expires_in", 0)
    _check_token(source, value)
    try:
        lifetime_s = float(lifetime_s)  # some send it as text
    except (TypeError, ValueError, OverflowError):
        lifetime_s = 0.0
    return Token(value, lifetime_s if 0 < lifetime_s < _MAX_EPOCH_S else 0.0)


def _endpoint_error(exc: urllib.error.HTTPError) -> str:
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError, RecursionError):
        answer = json.loads(exc.read(MAX_ANSWER_BYTES))
        said = answer.get("error") if isinstance(answer, dict) else None
        return f" ({said})" if isinstance(said, str) and said in _ENDPOINT_ERRORS else ""
    return ""
