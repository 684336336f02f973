"""Fetches tokens from an endpoint, by the client-credentials grant (RFC 6749, 4.4)."""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

from streams.errors import SettingsError
from streams.settings import tokens
from streams.settings.check import PREFIX
from streams.settings.secrets import read_secret
from streams.settings.tokens import MAX_EPOCH_S, Token, TokenError, check_token

MAX_ANSWER_BYTES: Final = 1 << 16
#: Errors that an endpoint may name (RFC 6749, 5.2). Other words of its answer are not repeated,
#: because they may quote the request.
_ENDPOINT_ERRORS: Final = frozenset(
    {
        "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
    }
)  # fmt: skip


@dataclass(frozen=True)
class TokenEndpoint:
    """A token endpoint and the client that asks it.

    Parameters
    ----------
    url : https, or http on this machine; see :meth:`check`
    client_id, scope : the client, and the scope that it asks for; an empty scope is not sent
    secret_file : holds the client's secret; read for each token, so that it can be replaced
    """

    url: str
    client_id: str
    secret_file: str
    scope: str = ""

    @property
    def source(self) -> str:
        """The setting with the URL, without query, fragment and password."""
        head, _, tail = self.url.partition("#")[0].partition("?")[0].rpartition("@")
        shown = f"{head.partition('://')[0]}://***@{tail}" if head else tail
        return f"oauth_token_url={shown!r}"

    def check(self) -> None:
        """Raise :class:`SettingsError` for a URL that is not safe, or for missing credentials."""
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            host = ""
        is_usable = bool(host) and "@" not in parts.netloc
        is_safe = is_usable and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))
        if not is_safe:
            raise SettingsError(
                f"{self.source} must be https://host/path without a password, http on this machine alone; "
                f"set {PREFIX}OAUTH_TOKEN_URL"
            )
        for name, value in (("oauth_client_id", self.client_id), ("oauth_client_secret_file", self.secret_file)):
            if not value:
                raise SettingsError(f"{self.source} needs {name}; set {PREFIX}{name.upper()}")
        read_secret(self.secret_file, "oauth_client_secret_file")  # a fault shows at the start

    def fetch(self) -> Token:
        """Return a new token.

        Raises
        ------
        TokenError
            In one line: setting, URL without its query, status.
        """
        request = self._request()
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if self.url.lower().startswith("http:"):
            handlers.append(urllib.request.ProxyHandler({}))  # a proxy would read the secret
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=tokens.FETCH_TIMEOUT_S) as answer:
                return _token_of(self.source, answer.read(MAX_ANSWER_BYTES + 1))
        except urllib.error.HTTPError as exc:
            with exc:
                said = _error_of(exc)
            raise TokenError(
                f"{self.source}: HTTP status {exc.code}{said}; see oauth_client_id, its secret and oauth_scope"
            ) from None
        except TokenError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as exc:
            cause = getattr(exc, "reason", exc)
            told = getattr(cause, "verify_message", "") or getattr(cause, "strerror", None) or type(cause).__name__
            raise TokenError(f"{self.source}: no answer ({told}); see whether this machine reaches it") from None

    def _request(self) -> urllib.request.Request:
        try:
            secret = read_secret(self.secret_file, "oauth_client_secret_file")
        except SettingsError as exc:
            raise TokenError(str(exc)) from None
        login = base64.b64encode(f"{quote_plus(self.client_id)}:{quote_plus(secret)}".encode()).decode()
        form = {"grant_type": "client_credentials"} | ({"scope": self.scope} if self.scope else {})
        return urllib.request.Request(  # noqa: S310 - check() lets http and https pass alone
            self.url, urlencode(form).encode(), {"Authorization": f"Basic {login}", "Accept": "application/json"}
        )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Makes a redirect an error: it would carry the secret elsewhere, or lose the form."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow none."""


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _token_of(source: str, body: bytes) -> Token:
    """Return the token in an endpoint's answer."""
    try:
        answer = json.loads(body) if len(body) <= MAX_ANSWER_BYTES else None
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or "access_token" not in answer:
        raise TokenError(f"{source}: HTTP status 200, but no JSON with access_token; name the token endpoint")
    value, lifetime_s = answer["access_token"], answer.get("expires_in", 0)
    check_token(source, value)
    try:
        lifetime_s = float(lifetime_s)  # some endpoints send it as text
    except (TypeError, ValueError, OverflowError):
        lifetime_s = 0.0
    return Token(value, lifetime_s if 0 < lifetime_s < MAX_EPOCH_S else 0.0)


def _error_of(exc: urllib.error.HTTPError) -> str:
    """Return the error that an endpoint names, where it is a known one, in parentheses."""
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError, RecursionError):
        answer = json.loads(exc.read(MAX_ANSWER_BYTES))
        said = answer.get("error") if isinstance(answer, dict) else None
        return f" ({said})" if isinstance(said, str) and said in _ENDPOINT_ERRORS else ""
    return ""
