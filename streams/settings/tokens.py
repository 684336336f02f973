"""Tokens for SASL OAUTHBEARER: one provider keeps a token and renews it shortly before its end.

All clients of a process share one provider, whatever event loop and thread they run on: Faust's
consumer has a loop and a thread of its own. No message holds a secret, a token or a URL's query.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from aiokafka.abc import AbstractTokenProvider

from streams.errors import BrokerError

log = logging.getLogger(__name__)

FETCH_TIMEOUT_S: Final = 10.0
#: A token is renewed this long before its end, or in the last fifth of a shorter life.
RENEW_BEFORE_S: Final = 60.0
#: A greater expiry is in milliseconds: as seconds it would be in the year 5138.
MAX_EPOCH_S: Final = 1e11


class TokenError(BrokerError, OSError):
    """A token could not be had.

    It is an :class:`OSError`, so Kafka's clients treat it like an absent broker and try again.
    """


@dataclass(frozen=True)
class Token:
    """A token, and for how many seconds from now it is good; 0 where that is not known."""

    value: str
    lifetime_s: float = 0.0

    def __repr__(self) -> str:
        return f"Token(***, {self.lifetime_s})"


def check_token(source: str, value: object) -> None:
    """Raise :class:`TokenError` for a value that is not a token (RFC 6750: visible ASCII).

    Other characters would break the frame of the request to the broker.
    """
    if not isinstance(value, str) or not value or not all("!" <= char <= "~" for char in value):
        kind = type(value).__name__
        raise TokenError(f"{source}: it gave no token but {kind}; a token is one word of visible ASCII")


class TokenProvider(AbstractTokenProvider):
    """Keeps a token until shortly before its end; several event loops and threads may use it.

    Parameters
    ----------
    source : setting and value that name the source of tokens, for error texts
    fetch : returns a new token or raises :class:`TokenError`; a thread calls it, so it may block
    extensions : value by name; sent with each token
    """

    def __init__(self, source: str, fetch: Callable[[], Token], extensions: Mapping[str, str] | None = None) -> None:
        self.source = source
        self._fetch = fetch
        self._extensions = dict(extensions or {})
        self._lock = threading.Lock()
        self._token = Token("")
        self._fetched = -math.inf

    def extensions(self) -> dict[str, str]:
        """Return the extensions that aiokafka sends with the token, value by name."""
        return self._extensions

    async def token(self) -> str:
        """Return a token that is good now, without blocking the event loop."""
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                return await asyncio.to_thread(self.current)
        except TimeoutError:
            raise self._late() from None

    def current(self) -> str:
        """Return a token that is good now; blocks while one has to be fetched."""
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
        """Fetch a token; where that fails, the present one serves until its end."""
        began = time.monotonic()
        try:
            self._token = self._fetch()
        except TokenError as exc:
            if not is_good:
                raise
            log.warning("the present token serves until its end: %s", exc)
        else:
            self._fetched = began

    def _late(self) -> TokenError:
        return TokenError(f"{self.source}: no token within {FETCH_TIMEOUT_S:g} s; see whether it answers at all")
